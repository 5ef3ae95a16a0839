"""A line chart as PNG bytes: the picture a notebook keeps where no browser draws one.

Drawn with Pillow, because a headless run has neither a page nor Chrome (which plotly's own exporter, kaleido,
asks for), and because matplotlib with its companions is several times Pillow's size for one kind of chart.
It stands on an opaque white card, so that it reads in a dark notebook as well.
"""

import base64
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Okabe and Ito's colours in the order that keeps 3:1 contrast on white and on #111; dashes and marks repeat
# the difference for those who do not see it.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b86a93", "#8a7400", "#5b7fa3")
DASHES = ((), (9, 5), (2, 4), (10, 4, 2, 4), (14, 5), (5, 5))

_INK, _FAINT, _CARD = "#333333", "#dddddd", "#ffffff"
_OVERSAMPLING = 2  # Pillow draws without antialiasing; a picture twice as large, reduced, has it
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 54, 46  # margins in pixels of the finished picture


@dataclass(frozen=True)
class Line:
    """One series; a value that is None, NaN or infinite is a gap with a mark on the axis below it."""

    name: str
    steps: Sequence[float]
    values: Sequence[float | None]
    points: bool = False  # marks joined by nothing, for what is measured seldom


@dataclass(frozen=True)
class _Frame:
    """Where the plotting area lies in pixels, and the data range that it covers."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, step: float, value: float) -> tuple[float, float]:
        across = (step - self.x[0]) / (self.x[1] - self.x[0])
        up = (value - self.y[0]) / (self.y[1] - self.y[0])
        left, right = _LEFT * _OVERSAMPLING, self.width - _RIGHT * _OVERSAMPLING
        top, bottom = _TOP * _OVERSAMPLING, self.height - _BOTTOM * _OVERSAMPLING
        return left + across * (right - left), bottom - up * (bottom - top)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) from `low` to `high`, ends included."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / stride - 1e-9)
    return [round(k * stride, 12) for k in range(first, math.floor(high / stride + 1e-9) + 1)]


def png(
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str, width: int = 720, height: int = 300
) -> bytes:
    """The chart as a PNG of `width` by `height` pixels; without a finite value it says so."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (width * _OVERSAMPLING, height * _OVERSAMPLING), _CARD)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13 * _OVERSAMPLING)
    draw.text(
        (12 * _OVERSAMPLING, 8 * _OVERSAMPLING),
        title,
        fill=_INK,
        font=ImageFont.load_default(15 * _OVERSAMPLING),
    )
    frame = _frame(lines, canvas.width, canvas.height)
    if frame is None:
        draw.text(
            (canvas.width / 2, canvas.height / 2), "no finite value yet", fill=_INK, font=font, anchor="mm"
        )
    else:
        _draw_axes(draw, frame, font, x_label, y_label)
        _draw_names(draw, lines, font)
        for position, line in enumerate(lines):
            _draw_line(draw, frame, line, position)
    small = canvas.resize((width, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(out, "PNG", optimize=True)  # a fifth of RGB
    return out.getvalue()


def image(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    alt: str,
    width: int = 720,
    height: int = 300,
) -> str:
    """The same as an `<img>` that carries its bytes, which survives JupyterLab's sanitizer and nbconvert."""
    data = png(lines, title=title, x_label=x_label, y_label=y_label, width=width, height=height)
    return (
        f'<img src="data:image/png;base64,{base64.b64encode(data).decode("ascii")}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto;border-radius:4px">'
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _frame(lines: Sequence[Line], width: int, height: int) -> _Frame | None:
    values = [float(v) for line in lines for v in line.values if v is not None and math.isfinite(v)]
    if not values:
        return None
    steps = [float(s) for line in lines for s in line.steps]
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    first, last = min(steps), max(steps)
    return _Frame(width, height, (first, last if last > first else first + 1), (low - room, high + room))


def _draw_axes(
    draw: "ImageDraw", frame: _Frame, font: "FreeTypeFont | ImageFont", x_label: str, y_label: str
) -> None:
    unit = _OVERSAMPLING
    for value in ticks(*frame.y):
        x, y = frame.at(frame.x[0], value)
        draw.line([(x, y), frame.at(frame.x[1], value)], fill=_FAINT, width=unit)
        draw.text((x - 7 * unit, y), f"{value:.6g}", fill=_INK, font=font, anchor="rm")
    for step in ticks(*frame.x, count=7):
        if step != int(step):
            continue  # there is no half step
        x, y = frame.at(step, frame.y[0])
        draw.line([(x, y), (x, y + 4 * unit)], fill=_INK, width=unit)
        draw.text((x, y + 7 * unit), f"{step:g}", fill=_INK, font=font, anchor="ma")
    draw.line([frame.at(frame.x[0], frame.y[0]), frame.at(frame.x[1], frame.y[0])], fill=_INK, width=unit)
    draw.text(
        (frame.width - _RIGHT * unit, frame.height - 5 * unit), x_label, fill=_INK, font=font, anchor="rd"
    )
    draw.text((12 * unit, 31 * unit), y_label, fill=_INK, font=font)


def _draw_names(draw: "ImageDraw", lines: Sequence[Line], font: "FreeTypeFont | ImageFont") -> None:
    """The names in their colours, dash and mark in front, right-aligned above the plot."""
    unit = _OVERSAMPLING
    x = float(draw.im.size[0] - _RIGHT * unit)
    for position, line in reversed(list(enumerate(lines))):
        x -= draw.textlength(line.name, font=font)
        draw.text((x, 32 * unit), line.name, fill=_INK, font=font)
        x -= 34 * unit
        y = 40 * unit
        if line.points:
            _draw_mark(draw, x + 14 * unit, y, position)
        else:
            _draw_dashed(draw, [(x, y), (x + 28 * unit, y)], position)
        x -= 14 * unit


def _draw_line(draw: "ImageDraw", frame: _Frame, line: Line, position: int) -> None:
    unit = _OVERSAMPLING
    for piece in _pieces(line):
        spots = [frame.at(step, value) for step, value in piece]
        if line.points or len(spots) == 1:
            for x, y in spots:
                _draw_mark(draw, x, y, position)
        else:
            _draw_dashed(draw, spots, position)
    for step, value in zip(line.steps, line.values, strict=True):
        if not _is_finite(value):
            x, y = frame.at(step, frame.y[0])
            for sign in (-1, 1):
                ends = [
                    (x - 5 * unit, y - 8 * unit - sign * 5 * unit),
                    (x + 5 * unit, y - 8 * unit + sign * 5 * unit),
                ]
                draw.line(ends, fill="#b00020", width=2 * unit)


def _pieces(line: Line) -> Iterator[list[tuple[float, float]]]:
    """The runs of finite values between the gaps."""
    piece: list[tuple[float, float]] = []
    for step, value in zip(line.steps, line.values, strict=True):
        if value is not None and math.isfinite(value):
            piece.append((float(step), float(value)))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _draw_mark(draw: "ImageDraw", x: float, y: float, position: int) -> None:
    size, colour = 4.5 * _OVERSAMPLING, PALETTE[position % len(PALETTE)]
    match position % 3:
        case 0:
            draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)
        case 1:
            draw.polygon(
                [(x, y - 1.3 * size), (x + 1.3 * size, y), (x, y + 1.3 * size), (x - 1.3 * size, y)],
                fill=colour,
            )
        case _:
            draw.rectangle((x - size, y - size, x + size, y + size), fill=colour)


def _draw_dashed(draw: "ImageDraw", spots: Sequence[tuple[float, float]], position: int) -> None:
    """A joined line in the position's colour and dash; the dash runs on over the corners."""
    colour, width = PALETTE[position % len(PALETTE)], 2 * _OVERSAMPLING
    dash = DASHES[position % len(DASHES)]
    if not dash:
        draw.line(list(spots), fill=colour, width=width, joint="curve")
        return
    lengths = [part * _OVERSAMPLING for part in dash]
    part, left = 0, float(lengths[0])
    for (x, y), (to_x, to_y) in itertools.pairwise(spots):
        length = math.hypot(to_x - x, to_y - y)
        done = 0.0
        while done < length:
            stretch = min(left, length - done)
            if part % 2 == 0:
                begin, end = done / length, (done + stretch) / length
                ends = [(x + (to_x - x) * f, y + (to_y - y) * f) for f in (begin, end)]
                draw.line(ends, fill=colour, width=width)
            done, left = done + stretch, left - stretch
            if left <= 0:
                part = (part + 1) % len(lengths)
                left = float(lengths[part])
