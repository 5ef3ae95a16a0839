"""What your clicks are worth: how often a reward model made of them prefers what it should.

The reward model is a linear head on what a frozen model makes of the answers (`ftlab.judges.head`), so that the
figure is there a moment after the click.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ftlab.answers import as_messages
from ftlab.errors import DataError
from ftlab.interval import wilson
from ftlab.judges.head import PRIOR, Array, Head, one_thread
from ftlab.scoring import features as ask_features

Row = Mapping[str, Any]
Note = Callable[[str], None]

HELD_OUT = 200
"""Pairs of the embedded world on which clicks are tried: the interval is then about ±0.04, in about a second."""
STEPS = 6
FOLDS = 5


class Features:
    """What one model makes of answers, asked for once each.

    The reference must go on naming the same weights while this is in use.
    """

    def __init__(self, reference: str = "wren") -> None:
        self.reference = reference
        self._known: dict[str, Array] = {}

    def __call__(self, answers: Sequence[tuple[Any, str]], *, note: Note | None = None) -> Array:
        """One row of numbers for each (prompt, text)."""
        keys = [json.dumps([as_messages(prompt), text]) for prompt, text in answers]
        missing = {
            key: {"prompt": prompt, "text": text}
            for key, (prompt, text) in zip(keys, answers, strict=True)
            if key not in self._known
        }
        if missing:
            found = ask_features(list(missing.values()), self.reference, note=note)
            self._known.update(zip(missing, found.astype(np.float64), strict=True))
        return np.array([self._known[key] for key in keys])


@dataclass(frozen=True)
class Point:
    """A reward model of the ratings that took the first `clicks` clicks: right on `right` of `n` held-out pairs."""

    clicks: int
    right: float
    """A pair that it scores equal counts half."""
    n: int

    @property
    def accuracy(self) -> float:
        """0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 90 % interval of the accuracy over held-out pairs; the clicks are taken as they are."""
        return wilson(self.right, self.n)


@dataclass(frozen=True)
class Worth:
    """The accuracy by the number of clicks; `points` is empty where nothing was said, and `reason` says why."""

    points: tuple[Point, ...]
    reference: str
    held_out: str
    reason: str = ""

    @property
    def accuracy(self) -> float | None:
        """Of all clicks together."""
        return self.points[-1].accuracy if self.points else None

    def to_rows(self) -> list[dict[str, Any]]:
        """A row a point: clicks, accuracy, low, high, n."""
        return [
            {
                "clicks": point.clicks,
                "accuracy": point.accuracy,
                "low": point.interval[0],
                "high": point.interval[1],
                "n": point.n,
            }
            for point in self.points
        ]

    def __str__(self) -> str:
        """The needle in words."""
        if not self.points:
            return f"undefined: {self.reason}"
        last = self.points[-1]
        low, high = last.interval
        return (
            f"{last.clicks} clicks make a reward model that is right on {last.accuracy:.2f} "
            f"[{low:.2f}, {high:.2f}] of {last.n} pairs of {self.held_out}"
        )


def worth(
    rows: Iterable[Row],
    features: Features | str = "wren",
    *,
    held_out: Sequence[Row] | Literal["wren", "own"] = "wren",
    steps: int = STEPS,
    prior: float = PRIOR,
    note: Note | None = None,
) -> Worth:
    """The curve over the first clicks, `steps` points evenly spaced and all clicks the last.

    rows: as `Ratings.preferences` and `export` give them, {"prompt", "chosen", "rejected"} or {"prompt",
    "completion", "label"}, in the order of the clicks. Rows of one rating (equal "event_ids") are one click, and
    a ranking (by a row's "mode") is as many as it has answers.
    held_out: "wren", pairs of the embedded world as the gold judge has them, none about a prompt that was rated;
    "own", each of your pairs tried on a reward model of the clicks on other prompts; or preference rows.
    Keep one `Features` for calls that follow one another: an answer's features are then asked for once.
    """
    features = Features(features) if isinstance(features, str) else features
    clicks = _clicks(rows)
    if not clicks:
        return Worth((), features.reference, _named(held_out), "no rating with a preference yet")
    evenly = np.linspace(len(clicks) / steps, len(clicks), steps)
    counts = sorted({max(1, round(count)) for count in evenly})
    if held_out == "own":
        table = _Table(clicks, features, note)
        with one_thread():
            points = [point for count in counts if (point := _crossed(table, clicks[:count], prior))]
        reason = "" if points else "a pair must be tried on clicks about other prompts, and there are none"
        return Worth(tuple(points), features.reference, _named(held_out), reason)
    tests = _tests(held_out, clicks)
    table = _Table([*clicks, *tests], features, note)
    tried = sum(len(test.pairs) for test in tests)
    with one_thread():
        points = [
            Point(
                sum(click.presses for click in clicks[:count]),
                _right(table.head(clicks[:count], prior), table, tests),
                tried,
            )
            for count in counts
        ]
    return Worth(tuple(points), features.reference, _named(held_out))


def fit(
    rows: Iterable[Row], features: Features, *, prior: float = PRIOR, note: Note | None = None
) -> "Probe":
    """A judge made of ratings. Raises DataError where no row says anything."""
    clicks = _clicks(rows)
    table = _Table(clicks, features, note)
    with one_thread():
        return Probe(table.head(clicks, prior), features)


@dataclass(frozen=True)
class Probe:
    """A judge that scores one answer at a time, as `ftlab.ratings` takes judges."""

    head: Head
    features: Features

    def __call__(self, prompt: list[dict[str, str]], text: str) -> float:
        """Higher is better."""
        return float(self.head.scores(self.features([(prompt, text)]))[0])


@dataclass
class _Click:
    """What one rating said: pairs (better, worse) and thumbs, of answers to one prompt."""

    prompt: str
    raters: int
    is_ranking: bool = False
    pairs: list[tuple[str, str]] = field(default_factory=list)
    thumbs: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def presses(self) -> int:
        """What it took in the Rate widget: one, or for a ranking a digit for each card but the last, and Enter."""
        return self.raters * (len(set(self.texts())) if self.is_ranking else 1)

    def texts(self) -> list[str]:
        return [text for pair in self.pairs for text in pair] + [text for text, _ in self.thumbs]


class _Table:
    """Every answer once, with its features."""

    def __init__(self, clicks: Sequence[_Click], features: Features, note: Note | None) -> None:
        answers = dict.fromkeys((click.prompt, text) for click in clicks for text in click.texts())
        self.places = {answer: place for place, answer in enumerate(answers)}
        self.features = features([(json.loads(prompt), text) for prompt, text in answers], note=note)

    def place(self, click: _Click, text: str) -> int:
        return self.places[click.prompt, text]

    def pairs(self, click: _Click) -> list[tuple[int, int]]:
        return [(self.place(click, better), self.place(click, worse)) for better, worse in click.pairs]

    def head(self, clicks: Sequence[_Click], prior: float) -> Head:
        pairs = [pair for click in clicks for pair in self.pairs(click)]
        singles = [(self.place(click, text), good) for click in clicks for text, good in click.thumbs]
        return Head.fit(self.features, pairs, singles, prior)


def _right(head: Head, table: _Table, tests: Sequence[_Click]) -> float:
    places = np.array([pair for test in tests for pair in table.pairs(test)])
    scores = head.scores(table.features)
    leads = scores[places[:, 0]] - scores[places[:, 1]]
    return float((leads > 0).sum() + 0.5 * (leads == 0).sum())


def _crossed(table: _Table, clicks: Sequence[_Click], prior: float) -> Point | None:
    """Each pair tried on the clicks about prompts of the other folds; None where there are no others."""
    prompts = list(dict.fromkeys(click.prompt for click in clicks))
    tried = sum(len(click.pairs) for click in clicks)
    if len(prompts) < 2 or not tried:
        return None
    fold_of = {prompt: place % min(FOLDS, len(prompts)) for place, prompt in enumerate(prompts)}
    right = 0.0
    for fold in range(min(FOLDS, len(prompts))):
        tests = [click for click in clicks if fold_of[click.prompt] == fold and click.pairs]
        if tests:
            rest = [click for click in clicks if fold_of[click.prompt] != fold]
            right += _right(table.head(rest, prior), table, tests)
    return Point(sum(click.presses for click in clicks), right, tried)


def _clicks(rows: Iterable[Row]) -> list[_Click]:
    """The rows by rating, in the order in which ratings first appear."""
    found: dict[tuple[str, ...], _Click] = {}
    for place, row in enumerate(rows):
        if "prompt" not in row:
            raise DataError(f"row {place} has no 'prompt' in {sorted(row)}; export with explicit prompts")
        events = tuple(row.get("event_ids") or (f"row {place}",))
        prompt = json.dumps(as_messages(row["prompt"]))
        click = found.setdefault((prompt, *events), _Click(prompt, len(events), row.get("mode") == "rank"))
        if "chosen" in row and "rejected" in row:
            click.pairs.append((_said(row["chosen"], place), _said(row["rejected"], place)))
        elif "completion" in row and isinstance(row.get("label"), bool):
            click.thumbs.append((_said(row["completion"], place), row["label"]))
        else:
            raise DataError(
                f"row {place} has {sorted(row)}; wanted 'chosen' and 'rejected', or 'completion' and a 'label' "
                "of true or false"
            )
    return list(found.values())


def _said(value: Any, place: int) -> str:
    """The answer's text, of plain text or of a list of one message."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and len(value) == 1 and isinstance(value[0], Mapping):
        return str(value[0].get("content", ""))
    raise DataError(f"row {place}: an answer is text or a list of one message, not {str(value)[:80]!r}")


def _tests(held_out: Sequence[Row] | str, clicks: Sequence[_Click]) -> list[_Click]:
    if held_out == "wren":
        from ftlab.wren import data

        held_out = data.rows("comparisons", "eval", HELD_OUT)
    if isinstance(held_out, str):
        raise DataError(f"'held_out' is {held_out!r}; it is 'wren', 'own' or preference rows")
    rated = {click.prompt for click in clicks}
    tests = [test for test in _clicks(held_out) if test.prompt not in rated and test.pairs]
    if not tests:
        raise DataError("no held-out pair is left: each is about a prompt that was rated")
    return tests


def _named(held_out: Sequence[Row] | str) -> str:
    names = {"wren": "the embedded world", "own": "yours, each unseen"}
    return names.get(held_out, held_out) if isinstance(held_out, str) else "the rows given"
