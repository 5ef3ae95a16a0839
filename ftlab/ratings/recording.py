"""A recorded session: clicks that find their task again, by its content, its place or a rule."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from ftlab.errors import RatingError
from ftlab.ratings.exchange.export import write_whole
from ftlab.ratings.schema import CHOICES
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Task

_FORMAT = "ftlab recording 2"
_KNOWN = ("ftlab recording 1", _FORMAT)  # 1 knew pairs only
_SPACE = UUID("7d4a2f0c-93a6-5d2b-8b1e-0c1f7e6a9d55")  # so that a replayed click has the same id each time


def _sides(task: Task, length: Callable[[str], int]) -> str:
    left, right = length(task.left), length(task.right)
    return "tie" if left == right else "left" if left > right else "right"


def _ranks(task: Task, length: Callable[[str], int]) -> dict[str, Any]:
    lengths = [length(text) for text in task.texts]
    return {"ranks": [1 + sum(other > one for other in lengths) for one in lengths]}


def _thumb(task: Task, thumb: str) -> dict[str, Any]:
    said = {"thumb": thumb, "likert": 7 if thumb == "up" else 1}
    asked = {"thumbs": ("thumb",), "likert": ("likert",)}.get(str(task.settings.get("scale")), tuple(said))
    return {key: said[key] for key in asked}


_BY_CHOICE: dict[str, Callable[[Task], str]] = {
    "longer": lambda task: _sides(task, len),
    "shorter": lambda task: _sides(task, lambda text: -len(text)),
    **{choice: (lambda _, choice=choice: choice) for choice in CHOICES},  # type: ignore[misc]
}
_BY_SCORES: dict[str, dict[str, Callable[[Task], dict[str, Any]]]] = {
    "rank": {
        "longer": lambda task: _ranks(task, len),
        "shorter": lambda task: _ranks(task, lambda text: -len(text)),
        "tie": lambda task: {"ranks": [1] * len(task.texts)},
    },
    "single": {"up": lambda task: _thumb(task, "up"), "down": lambda task: _thumb(task, "down")},
    "edit": {"as_is": lambda task: {"text": task.texts[0] if task.texts else ""}},
}

RULES = tuple(dict.fromkeys([*_BY_CHOICE, *(rule for rules in _BY_SCORES.values() for rule in rules)]))
"""How a click can say what it prefers without naming an answer: the replay applies it to those it finds."""


@dataclass(frozen=True, slots=True)
class Click:
    """What was said about one task.

    The task is found by `task` (`Task.key`: prompt and answers), else by `position` (from 1). What is said:
    `chosen`, the preferred text of a pair; `scores`, where ranks and flags are in the order of the texts
    sorted, and "left_safe" is of the first of these; or `rule`, a name in RULES that the mode knows. Kind
    "skip" or "flag" needs none of them.
    """

    task: str | None = None
    position: int | None = None
    kind: str = "rate"
    chosen: str | None = None
    rule: str | None = None
    strength: int | None = None
    scores: dict[str, Any] | None = None
    comment: str = ""
    shown_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """Clicks, and the rule for tasks that none of them is about (None: such a task is an error)."""

    clicks: tuple[Click, ...]
    otherwise: str | None = None
    rater: str = "replay"
    note: str = ""
    _by_task: dict[str, Click] = field(init=False, repr=False, compare=False)
    _by_place: dict[int, Click] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the rules and makes the index."""
        for rule in (self.otherwise, *(click.rule for click in self.clicks)):
            if rule is not None and rule not in RULES:
                raise RatingError(f"a recording has no rule {rule!r}; there are {', '.join(RULES)}")
        object.__setattr__(self, "_by_task", {click.task: click for click in self.clicks if click.task})
        by_place = {click.position: click for click in self.clicks if click.position is not None}
        object.__setattr__(self, "_by_place", by_place)

    def click_for(self, task: Task) -> Click:
        """The click about this task: by content, then by place, then by the rule for the others."""
        click = self._by_task.get(task.key) or self._by_place.get(task.position)
        if click is not None:
            return click
        if self.otherwise is None:
            raise RatingError(f"the recording has no click for task {task.position} of batch {task.batch!r}")
        return Click(rule=self.otherwise)

    def event_for(self, task: Task, *, session_id: str | None = None) -> dict[str, Any]:
        """What `Ratings.record` takes; the same event, id included, for the same task and state."""
        click = self.click_for(task)
        event: dict[str, Any] = {
            "event_id": uuid5(_SPACE, f"{task.assignment_id}|{task.prev_event_id}").hex,
            "assignment_id": task.assignment_id,
            "kind": click.kind,
            "prev_event_id": task.prev_event_id,
            "comment": click.comment,
            "shown_ms": click.shown_ms,
            "session_id": session_id,
        }
        if click.kind == "rate" and task.mode in _TWO:
            event["choice"] = choice = _choice(click, task)
            if choice in ("left", "right"):
                event["strength"] = 1 if click.strength is None else click.strength
        scores = _scores(click, task)
        return event if scores is None else event | {"scores": scores}

    @classmethod
    def of(cls, ratings: Ratings, batch: str, rater: str) -> "Recording":
        """What a rater's answers to a batch come to in the end, keyed by content and independent of sides."""
        clicks = []
        for row in ratings.current(batch):
            if row["rater"] != rater or row["repeat_no"]:
                continue
            task = ratings.task(row["assignment_id"])
            choice = row["choice"]
            scores = None if task.state is None else task.state.scores
            clicks.append(
                Click(
                    task=task.key,
                    position=task.position,
                    kind="rate" if row["kind"] == "revise" else row["kind"],
                    chosen=task.texts[("left", "right").index(choice)]
                    if choice in ("left", "right")
                    else None,
                    rule=choice if choice in ("tie", "both_bad") else None,
                    strength=row["strength"],
                    scores=None if scores is None else _turned(scores, _sorted(task.texts)),
                    comment=row["comment"],
                    shown_ms=row["shown_ms"],
                )
            )
        return cls(tuple(clicks))

    def save(self, path: str | Path) -> Path:
        """Writes JSON; without the rater's own name."""
        goal = Path(path).expanduser().absolute()
        clicks = [
            {name: value for name, value in asdict(click).items() if value not in (None, "")}
            for click in self.clicks
        ]
        body = {
            "format": _FORMAT,
            "rater": self.rater,
            "note": self.note,
            "otherwise": self.otherwise,
            "clicks": clicks,
        }
        write_whole(goal, (json.dumps(body, indent=1, ensure_ascii=True) + "\n").encode())
        return goal

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Reads what `save` wrote; RatingError that names the file and the click."""
        place = Path(path).expanduser()
        try:
            body = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RatingError(f"{place} is no recording: {error}") from error
        if not isinstance(body, dict) or body.get("format") not in _KNOWN:
            raise RatingError(f"{place} is no recording: 'format' is not {' or '.join(map(repr, _KNOWN))}")
        clicks = []
        for number, click in enumerate(body.get("clicks", [])):
            try:
                clicks.append(Click(**click))
            except TypeError as error:
                raise RatingError(f"{place}, click {number}: {error}") from error
        return cls(tuple(clicks), body.get("otherwise"), body.get("rater", "replay"), body.get("note", ""))


_TWO = ("pair", "dialogue")


def _choice(click: Click, task: Task) -> str:
    if click.chosen is not None:
        sides = {task.left: "left", task.right: "right"}
        if click.chosen in sides:
            return sides[click.chosen]
        if click.rule is None:
            raise RatingError(
                f"task {task.position}: the answer that the recording prefers is not shown here "
                f"({click.chosen[:60]!r}); record by rule where answers are generated anew"
            )
    if click.rule is None:
        raise RatingError(f"task {task.position}: the click says neither 'chosen' nor 'rule'")
    return _rule(click.rule, task, _BY_CHOICE)(task)


def _scores(click: Click, task: Task) -> dict[str, Any] | None:
    if click.scores is not None:
        return _turned(click.scores, _unsorted(task.texts))
    if click.kind != "rate" or task.mode in _TWO:
        return None
    if click.rule is None:
        raise RatingError(f"task {task.position}: the click says neither 'scores' nor 'rule'")
    return _rule(click.rule, task, _BY_SCORES[task.mode])(task)


def _rule(name: str, task: Task, known: dict[str, Callable[[Task], Any]]) -> Callable[[Task], Any]:
    if name not in known:
        raise RatingError(
            f"task {task.position}: the rule {name!r} says nothing in mode {task.mode!r}; "
            f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"
        )
    return known[name]


def _sorted(texts: Sequence[str]) -> list[int]:
    """The places of the texts shown, in the order of the texts sorted."""
    return sorted(range(len(texts)), key=texts.__getitem__)


def _unsorted(texts: Sequence[str]) -> list[int]:
    """For each text shown, its place among the texts sorted."""
    places = _sorted(texts)
    return [places.index(place) for place in range(len(texts))]


_OTHER_SIDE = {"left_safe": "right_safe", "right_safe": "left_safe"}


def _turned(scores: dict[str, Any], places: list[int]) -> dict[str, Any]:
    """The scores of answers in another order: first that at place `places[0]`, and so on."""
    turned = dict(scores)
    for key in ("ranks", "judged"):
        if isinstance(scores.get(key), list):
            turned[key] = [scores[key][place] for place in places]
    flags = scores.get("flags")
    if isinstance(flags, list) and len(places) > 1:
        turned["flags"] = [flags[place] for place in places]
    if places == [1, 0] and scores.get("safety") in _OTHER_SIDE:
        turned["safety"] = _OTHER_SIDE[scores["safety"]]
    return turned


def replay(ratings: Ratings, batch: str, recording: Recording) -> int:
    """Answers the batch as recorded, through `Ratings.record`; the number of answers given now."""
    count = 0
    while (task := ratings.next(recording.rater, batch, kind="replay")) is not None:
        ratings.record(recording.event_for(task, session_id="replay"))
        count += 1
    return count
