"""A recorded session: clicks that find their task again, by its content, its place or a rule."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from ftlab.errors import RatingError
from ftlab.ratings.export import write_whole
from ftlab.ratings.schema import CHOICES
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Task

_FORMAT = "ftlab recording 1"
_SPACE = UUID("7d4a2f0c-93a6-5d2b-8b1e-0c1f7e6a9d55")  # so that a replayed click has the same id each time


def _sides(task: Task, length: Callable[[str], int]) -> str:
    left, right = length(task.left), length(task.right)
    return "tie" if left == right else "left" if left > right else "right"


RULES: dict[str, Callable[[Task], str]] = {
    "longer": lambda task: _sides(task, len),
    "shorter": lambda task: _sides(task, lambda text: -len(text)),
    **{choice: (lambda _, choice=choice: choice) for choice in CHOICES},  # type: ignore[misc]
}
"""How a click can say what it prefers without naming a side: of which the replay takes the sides it finds."""


@dataclass(frozen=True, slots=True)
class Click:
    """What was said about one task.

    The task is found by `task` (`Task.key`: prompt and answers), else by `position` (from 1). What is said:
    `chosen`, the preferred text; or `rule`, a name in RULES; kind "skip" or "flag" needs neither.
    """

    task: str | None = None
    position: int | None = None
    kind: str = "rate"
    chosen: str | None = None
    rule: str | None = None
    strength: int | None = None
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
        if click.kind == "rate":
            event["choice"] = choice = _choice(click, task)
            if choice in ("left", "right"):
                event["strength"] = 1 if click.strength is None else click.strength
        return event

    @classmethod
    def of(cls, ratings: Ratings, batch: str, rater: str) -> "Recording":
        """What a rater's answers to a batch come to in the end, keyed by content and independent of sides."""
        clicks = []
        for row in ratings.current(batch):
            if row["rater"] != rater or row["repeat_no"]:
                continue
            task = ratings.task(row["assignment_id"])
            choice = row["choice"]
            clicks.append(
                Click(
                    task=task.key,
                    position=task.position,
                    kind="rate" if row["kind"] == "revise" else row["kind"],
                    chosen={"left": task.left, "right": task.right}.get(choice),
                    rule=choice if choice in ("tie", "both_bad") else None,
                    strength=row["strength"],
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
        if not isinstance(body, dict) or body.get("format") != _FORMAT:
            raise RatingError(f"{place} is no recording: 'format' is not {_FORMAT!r}")
        clicks = []
        for number, click in enumerate(body.get("clicks", [])):
            try:
                clicks.append(Click(**click))
            except TypeError as error:
                raise RatingError(f"{place}, click {number}: {error}") from error
        return cls(tuple(clicks), body.get("otherwise"), body.get("rater", "replay"), body.get("note", ""))


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
    return RULES[click.rule](task)


def replay(ratings: Ratings, batch: str, recording: Recording) -> int:
    """Answers the batch as recorded, through `Ratings.record`; the number of answers given now."""
    count = 0
    while (task := ratings.next(recording.rater, batch, kind="replay")) is not None:
        ratings.record(recording.event_for(task, session_id="replay"))
        count += 1
    return count
