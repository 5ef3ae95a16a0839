"""Pages made beforehand, turned by hand: a slider or a choice for each thing that may differ.

What takes seconds to compute (an answer after 30 examples, or after 300; an adapter cut to rank 1, or to 8) is
computed once, and then answers the hand at once, also where no kernel is left to ask.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, ClassVar

import traitlets

from ftlab.errors import ConfigError
from ftlab.picture import Line, image
from ftlab.widgets.widget import LabWidget

MOST_PAGES = 600
TWIN_PAGES = 6  # of a flipbook that nobody can turn


@dataclass(frozen=True)
class Said:
    """A text as somebody wrote it: a prompt, an answer."""

    kind: ClassVar[str] = "said"
    label: str
    text: str
    note: str = ""

    def html(self) -> str:
        note = f" <small>{escape(self.note)}</small>" if self.note else ""
        quote = "white-space:pre-wrap;border-left:3px solid #888888;margin:2px 0 8px;padding:2px 0 2px 10px"
        text = escape(self.text) or "<i>the text is empty</i>"
        return f'<div><b>{escape(self.label)}</b>{note}</div><div style="{quote}">{text}</div>'


@dataclass(frozen=True)
class Bars:
    """Named figures from `low` to `high`; one that is None is told as missing."""

    kind: ClassVar[str] = "bars"
    title: str
    rows: Sequence[tuple[str, float | None]]
    low: float = 0.0
    high: float = 1.0
    unit: str = ""

    def html(self) -> str:
        cells = "".join(
            f'<tr><td style="{_NARROW};text-align:left">{escape(name)}</td>'
            f'<td style="{_NARROW};width:200px;text-align:left">{self._bar(value)}</td>'
            f'<td style="{_NARROW};text-align:right">{escape(_figure(value, self.unit))}</td></tr>'
            for name, value in self.rows
        )
        return (
            f"<div><b>{escape(self.title)}</b></div>"
            f'<table style="margin:2px 0 10px"><tbody>{cells}</tbody></table>'
        )

    def _bar(self, value: float | None) -> str:
        if value is None or not math.isfinite(value) or self.high <= self.low:
            return ""
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return f'<span style="display:inline-block;height:10px;width:{share:.1%};background:#2f7fd1"></span>'


@dataclass(frozen=True)
class Word:
    """A piece of text with a weight from -1 to 1 (0: no colour) and what is said of it."""

    text: str
    weight: float = 0.0
    about: str = ""


@dataclass(frozen=True)
class Words:
    """Words in colour, by weight; `plus` and `minus` say what the colours mean."""

    kind: ClassVar[str] = "words"
    title: str
    words: Sequence[Word]
    plus: str = ""
    minus: str = ""

    def html(self) -> str:
        chips = "".join(
            f'<span title="{escape(word.about)}" style="{_chip(word.weight)}">{escape(_visible(word.text))}</span>'
            for word in self.words
        )
        legend = "; ".join(
            f"{sign} {words}" for sign, words in (("orange:", self.plus), ("blue:", self.minus)) if words
        )
        return f"<div><b>{escape(self.title)}</b> <small>{escape(legend)}</small></div><div>{chips}</div>"


@dataclass(frozen=True)
class Cells:
    """A table of text and figures."""

    kind: ClassVar[str] = "cells"
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def html(self) -> str:
        head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in self.head)
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="text-align:left">{escape(_figure(cell))}</td>' for cell in row)
            + "</tr>"
            for row in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f"<div><b>{escape(self.title)}</b></div>{table}"


@dataclass(frozen=True)
class Curves:
    """Lines over a common axis; `here` marks a place on it."""

    kind: ClassVar[str] = "curves"
    title: str
    lines: Sequence[Line]
    x: str = ""
    y: str = ""
    here: float | None = None

    def html(self) -> str:
        told = "; ".join(
            f"{line.name} from {_figure(line.values[0])} to {_figure(line.values[-1])}"
            for line in self.lines
            if line.values
        )
        alt = f"{self.title}: {told}"
        return image(list(self.lines), title=self.title, x_label=self.x, y_label=self.y, alt=alt)


@dataclass(frozen=True)
class Heat:
    """A matrix in colours, blue below zero and orange above; `most` is the value of the full colour (None: the largest)."""

    kind: ClassVar[str] = "heat"
    title: str
    values: Sequence[Sequence[float]]
    most: float | None = None
    about: str = ""

    def html(self) -> str:
        flat = [abs(value) for row in self.values for value in row]
        size = f"{len(self.values)} x {len(self.values[0]) if self.values else 0}"
        most = f", largest {max(flat):.4g}" if flat else ""
        return f"<div><b>{escape(self.title)}</b> <small>{size}{most}. {escape(self.about)}</small></div>"


Block = Said | Bars | Words | Cells | Curves | Heat


@dataclass(frozen=True)
class _Axis:
    name: str
    values: list[Any]
    at: int = 0
    labels: list[str] = field(default_factory=list)

    def to_page(self) -> dict[str, Any]:
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)
        kind = "slider" if numbers and len(self.values) > 2 else "choice"
        return {"name": self.name, "labels": self.labels, "kind": kind}


class Flipbook(LabWidget):
    """`Flipbook({"examples": [0, 30, 300]}, page)`, where `page(examples=30)` gives the blocks of that page.

    Every page is made when the flipbook is; `start` names the one that is open first. Raises ConfigError where an
    axis has no values, or there would be more than 600 pages.
    """

    stem = "flipbook"

    title = traitlets.Unicode("").tag(sync=True)
    about = traitlets.Unicode("").tag(sync=True)
    """What may be seen here, in a sentence."""
    axes: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{name, labels, kind}]: kind is slider or choice."""
    at: traitlets.List[int] = traitlets.List(traitlets.Int()).tag(sync=True)
    """The place on each axis; the page follows when the kernel changes it."""
    pages: traitlets.List[list[dict[str, Any]]] = traitlets.List().tag(sync=True)
    """Blocks of every page, the last axis turning quickest."""

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any]],
        page: Callable[..., Sequence[Block]],
        *,
        title: str = "",
        about: str = "",
        start: Mapping[str, Any] | None = None,
    ) -> None:
        self._axes = [_axis(name, values, (start or {}).get(name)) for name, values in axes.items()]
        unknown = set(start or {}) - set(axes)
        if unknown:
            raise ConfigError(f"start names {sorted(unknown)}; the axes are {', '.join(axes)}")
        count = 1
        for axis in self._axes:
            count *= len(axis.values)
        if count > MOST_PAGES:
            raise ConfigError(f"{count} pages are too many to turn; {MOST_PAGES} is the most")
        names = [axis.name for axis in self._axes]
        try:
            inspect.signature(page).bind(**dict.fromkeys(names))
        except TypeError as error:
            raise ConfigError(
                f"page: {error}; its arguments are named like the axes: {', '.join(names)}"
            ) from None
        places = itertools.product(*(axis.values for axis in self._axes))
        self._blocks = [list(page(**dict(zip(names, values, strict=True)))) for values in places]
        super().__init__(
            title=title,
            about=about,
            axes=[axis.to_page() for axis in self._axes],
            at=[axis.at for axis in self._axes],
            pages=[[{"kind": block.kind, **_plain(asdict(block))} for block in one] for one in self._blocks],
        )

    def _do_turn(self, message: dict[str, Any]) -> None:
        """The page was turned by hand; `at` follows, so that a cell below can read it."""
        at = message.get("at")
        if (
            not isinstance(at, list)
            or len(at) != len(self._axes)
            or not all(
                isinstance(place, int) and 0 <= place < len(axis.values)
                for place, axis in zip(at, self._axes, strict=True)
            )
        ):
            raise ConfigError(f"at is {at!r}; wanted a place on each of {len(self._axes)} axes")
        self.at = at

    def page_at(self, places: Sequence[int]) -> list[Block]:
        """The blocks of the page at these places on the axes."""
        number = 0
        for axis, place in zip(self._axes, places, strict=True):
            number = number * len(axis.values) + place
        return self._blocks[number]

    def _summary(self) -> str:
        places = ", ".join(
            f"{axis.name} {axis.labels[at]}" for axis, at in zip(self._axes, self.at, strict=True)
        )
        return f"Flipbook {self.title}: {len(self.pages)} pages, open at {places}"

    def _twin(self) -> str:
        """The pages along the first axis, the others as they stand; at most six, evenly spread."""
        first = self._axes[0]
        shown = _spread(len(first.values), TWIN_PAGES)
        told = f" {len(shown)} of {len(self.pages)} pages:" if len(shown) < len(self.pages) else ""
        head = f"<p><b>{escape(self.title)}</b></p><p>{escape(self.about)}<small>{told}</small></p>"
        pages, drawn = "", set[str]()
        for place in shown:
            at = [place, *self.at[1:]]
            named = ", ".join(
                f"{axis.name}: {axis.labels[one]}" for axis, one in zip(self._axes, at, strict=True)
            )
            pages += f"<hr><p><u>{escape(named)}</u></p>"
            for block in self.page_at(at):
                html = block.html()
                if isinstance(block, Curves | Cells) and html in drawn:
                    html = f"<p><b>{escape(block.title)}</b>: as above</p>"
                drawn.add(html)
                pages += html
        return f'<div style="max-width:760px">{head}{pages}</div>'


def _axis(name: str, values: Sequence[Any], start: Any) -> _Axis:
    found = list(values)
    if not found:
        raise ConfigError(f"the axis {name!r} has no values; give it one at least")
    if start is not None and start not in found:
        raise ConfigError(f"start: {name} has no {start!r}; it has {found}")
    return _Axis(name, found, 0 if start is None else found.index(start), [_label(value) for value in found])


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(values: Any) -> Any:
    """Lists and dicts of what JSON has; NaN as None."""
    if isinstance(values, Mapping):
        return {name: _plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if hasattr(values, "item") and not isinstance(values, str):
        values = values.item()
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def _figure(value: Any, unit: str = "") -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    text = (
        f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    )
    return f"{text} {unit}".strip()


_NARROW = "padding:0 10px 0 0;vertical-align:middle"
"""Of a cell in a twin: a list of bars is read at a glance, not scrolled through."""


def _visible(text: str) -> str:
    return text.replace("\n", "↵") or "∅"


def _chip(weight: float) -> str:
    """Inline colours that read on a light and on a dark page: the letters bring their own ground."""
    share = min(1.0, abs(weight))
    base = (213, 94, 0) if weight > 0 else (0, 114, 178)
    red, green, blue = (round(255 - share * 0.6 * (255 - one)) for one in base)
    return (
        f"display:inline-block;margin:1px;padding:1px 3px;white-space:pre-wrap;color:#111111;"
        f"background-color:#{red:02x}{green:02x}{blue:02x}"
    )


__all__ = ["Bars", "Block", "Cells", "Curves", "Flipbook", "Heat", "Line", "Said", "Word", "Words"]
