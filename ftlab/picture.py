"""A chart as PNG bytes, lines or marks with intervals: what a notebook keeps where no browser draws one.

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
    from PIL.Image import Image as PillowImage
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
class Mark:
    """A named figure with its interval; a value of None is named with `note` in place of a mark."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    series: int = 0
    note: str = ""
    bands: Sequence[tuple[float, float]] = ()
    """Ranges behind this mark for comparison, such as what people reach."""


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
    return _encoded(canvas, width, height)


def _encoded(canvas: "PillowImage", width: int, height: int) -> bytes:
    from PIL import Image

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
    return _embedded(data, alt, width, height)


def marks_png(
    marks: Sequence[Mark],
    *,
    title: str,
    x_label: str,
    names: Sequence[str] = (),
    zero: float | None = None,
    width: int = 720,
) -> bytes:
    """Marks with their intervals, one below the other, as a PNG; `zero` is where a line stands in any case.

    names: of the series, where there is more than one; a mark of the same name as the one before shares its row.
    """
    from PIL import Image, ImageDraw, ImageFont

    unit = _OVERSAMPLING
    rows = [n for n, mark in enumerate(marks) if n == 0 or mark.name != marks[n - 1].name]
    height = 84 + 30 * len(rows) + (12 if not rows else 0)
    canvas = Image.new("RGB", (width * unit, height * unit), _CARD)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13 * unit)
    draw.text((12 * unit, 8 * unit), title, fill=_INK, font=ImageFont.load_default(15 * unit))
    if len(names) > 1:
        _draw_names(draw, [Line(name, [], [], points=True) for name in names], font, y=8 * unit)
    ends = [
        end
        for mark in marks
        for end in (mark.value, mark.low, mark.high, *itertools.chain(*mark.bands))
        if _is_finite(end)
    ]
    spread = [float(end) for end in ends if end is not None] + ([] if zero is None else [zero])
    low, high = min(spread, default=0.0), max(spread, default=1.0)
    room = (high - low) * 0.05 or 0.5
    label = min(250 * unit, max((draw.textlength(mark.name, font=font) for mark in marks), default=0))
    left, right, top = 24 * unit + label, canvas.width - _RIGHT * unit, 40 * unit
    bottom = canvas.height - 42 * unit

    def across(value: float) -> float:
        return left + (value - low + room) / (high - low + 2 * room) * (right - left)

    for value in ticks(low - room, high + room, count=6):
        draw.line([(across(value), top), (across(value), bottom)], fill=_FAINT, width=unit)
        draw.text((across(value), bottom + 5 * unit), f"{value:.6g}", fill=_INK, font=font, anchor="ma")
    if zero is not None:
        draw.line([(across(zero), top), (across(zero), bottom)], fill="#888888", width=2 * unit)
    draw.text((right, canvas.height - 5 * unit), x_label, fill=_INK, font=font, anchor="rd")
    row = -1
    for n, mark in enumerate(marks):
        row += n in rows
        beside = sum(one.name == mark.name for one in marks[rows[row] : rows[row] + len(names or "1")])
        y = top + (30 * row + 15) * unit + (mark.series - (beside - 1) / 2) * 11 * unit * (beside > 1)
        if n in rows:
            draw.text(
                (left - 10 * unit, top + (30 * row + 15) * unit), _fitted(draw, mark.name, font, label), fill=_INK,
                font=font, anchor="rm",
            )  # fmt: skip
        for start, end in mark.bands:
            wide = max(across(end) - across(start), 3 * unit)
            draw.rectangle(
                (across(start), y - 11 * unit, across(start) + wide, y + 11 * unit), fill="#dbe7d6"
            )
        if mark.value is None:
            draw.text((left + 6 * unit, y), mark.note, fill="#666666", font=font, anchor="lm")
            continue
        if mark.low is not None and mark.high is not None:
            spots = [(across(mark.low), y), (across(mark.high), y)]
            draw.line(spots, fill=PALETTE[mark.series % len(PALETTE)], width=2 * unit)
        _draw_mark(draw, across(mark.value), y, mark.series)
    return _encoded(canvas, width, height)


def marks_image(
    marks: Sequence[Mark],
    *,
    title: str,
    x_label: str,
    names: Sequence[str] = (),
    zero: float | None = None,
    width: int = 720,
) -> str:
    """The same as an `<img>`; the words for who cannot see it are made from the marks."""
    told = "; ".join(_mark_told(mark, names) for mark in marks)
    data = marks_png(marks, title=title, x_label=x_label, names=names, zero=zero, width=width)
    height = int.from_bytes(data[20:24], "big")  # of the PNG's header
    return _embedded(data, f"{title}, {x_label}: {told}", width, height)


def _mark_told(mark: Mark, names: Sequence[str]) -> str:
    series = f", {names[mark.series]}" if len(names) > 1 else ""
    if mark.value is None:
        return f"{mark.name}{series}: {mark.note}"
    interval = "" if mark.low is None or mark.high is None else f" ({mark.low:.3g} to {mark.high:.3g})"
    return f"{mark.name}{series}: {mark.value:.3g}{interval}"


def _fitted(draw: "ImageDraw", text: str, font: "FreeTypeFont | ImageFont", room: float) -> str:
    """The text, cut with an ellipsis where it is longer than the room for it."""
    if draw.textlength(text, font=font) <= room:
        return text
    while text and draw.textlength(f"{text}…", font=font) > room:
        text = text[:-1]
    return f"{text}…"


def _embedded(data: bytes, alt: str, width: int, height: int) -> str:
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


def _draw_names(
    draw: "ImageDraw", lines: Sequence[Line], font: "FreeTypeFont | ImageFont", y: float = 32 * _OVERSAMPLING
) -> None:
    """The names in their colours, dash and mark in front, right-aligned above the plot."""
    unit, top = _OVERSAMPLING, y
    x = float(draw.im.size[0] - _RIGHT * unit)
    for position, line in reversed(list(enumerate(lines))):
        x -= draw.textlength(line.name, font=font)
        draw.text((x, top), line.name, fill=_INK, font=font)
        x -= 34 * unit
        y = top + 8 * unit
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
    # where the colours begin anew, another dash goes with each
    dash = DASHES[(position + 2 * (position // len(DASHES))) % len(DASHES)]
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
