"""Several runs over each other: one figure of each along steps, tokens or seconds, and what they answered."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from ftlab.events import Event, Measured
from ftlab.widgets.curve import Curve
from ftlab.widgets.story import Series, Story

CLOCK = 400  # buckets of tokens and seconds over the steps: both rise evenly, so that a straight line between fits
TEXTS = 24  # answers to a prompt that are shown of each run; the first and the last stay
SHOWN_CHARACTERS = 2000

FIRST = "loss"


class Course:
    """One run's story, with the tokens and the seconds that it had used at each step."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.story = Story()
        self._tokens, self._seconds = Curve(CLOCK), Curve(CLOCK)
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Takes one event in."""
        self.story.add(event)
        if isinstance(event, Measured):
            self._tokens.add(event.step, event.values.get("tokens"))
            self._seconds.add(event.step, self.story.seconds)

    def series(self, name: str) -> Series | None:
        """The curve of this name; None where the run has none."""
        return next((one for one in self.story.series() if one.name == name), None)

    def clocks(self, steps: list[int]) -> tuple[list[float], list[float]]:
        """Tokens and seconds at each of these steps; NaN where they are not known."""
        return _along(self._tokens, steps), _along(self._seconds, steps)

    def answers(self) -> list[dict[str, Any]]:
        """What it answered to each fixed prompt, shortened."""
        return [
            {
                "prompt": one["prompt"],
                "texts": [
                    {"step": text["step"], "text": text["text"][:SHOWN_CHARACTERS]}
                    for text in _thinned(one["texts"])
                ],
            }
            for one in self.story.samples()
        ]


def metrics(courses: Iterable[Course]) -> list[dict[str, str]]:
    """[{name, label, panel, unit}]: the figures that any of the runs has, the loss first."""
    found = {
        one.name: {"name": one.name, "label": one.label, "panel": one.panel, "unit": one.unit}
        for course in courses
        for one in course.story.series()
    }
    return list(found.values())


def curves(courses: Mapping[str, Course], metric: str) -> dict[str, Any]:
    """The traits curves, steps, values, tokens and seconds: one stretch for each run that has the figure."""
    infos: list[dict[str, Any]] = []
    steps, values = array("i"), array("f")
    tokens, seconds = array("f"), array("f")
    for name, course in courses.items():
        series = course.series(metric)
        if series is None:
            continue
        points = series.curve.points()
        at = [step for step, _ in points]
        infos.append({"run": name, "kind": series.kind, "unit": series.unit, "length": len(points)})
        steps.extend(at)
        values.extend(value for _, value in points)
        for packed, clock in zip((tokens, seconds), course.clocks(at), strict=True):
            packed.extend(clock)
    return {
        "curves": infos,
        "steps": steps.tobytes(),
        "values": values.tobytes(),
        "tokens": tokens.tobytes(),
        "seconds": seconds.tobytes(),
    }


def answers(courses: Mapping[str, Course]) -> list[dict[str, Any]]:
    """[{prompt, runs: {name: [{step, text}]}}]: each prompt that any of them was asked, in order of asking."""
    found: dict[str, dict[str, Any]] = {}
    for name, course in courses.items():
        for one in course.answers():
            row = found.setdefault(repr(one["prompt"]), {"prompt": one["prompt"], "runs": {}})
            row["runs"][name] = one["texts"]
    return list(found.values())


def _along(curve: Curve, steps: list[int]) -> list[float]:
    """The curve's value at each step, on a straight line between the points that are known."""
    points = curve.points()
    known = [step for step, _ in points]
    return [_between(points, bisect_left(known, step), step) for step in steps]


def _between(points: list[tuple[int, float]], place: int, step: int) -> float:
    if not points:
        return float("nan")
    if place >= len(points):
        return points[-1][1]
    right, above = points[place]
    if place == 0 or right == step:
        return above
    left, below = points[place - 1]
    return below + (above - below) * (step - left) / (right - left)


def _thinned(texts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most TEXTS of them, evenly spread, both ends kept."""
    if len(texts) <= TEXTS:
        return texts
    return [texts[round(place * (len(texts) - 1) / (TEXTS - 1))] for place in range(TEXTS)]
