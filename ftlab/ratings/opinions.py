"""What the raters think of each task at one moment of the log, and what that comes to."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, select

from ftlab.errors import RatingError
from ftlab.ratings import schema as t

Aggregate = Literal["majority", "all", "unanimous"]

_RANK = {"person": 0, "replay": 0, "simulated": 1, "judge": 2}
"""Who outranks whom where kinds of raters meet on a task: the lowest number counts alone."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One rater's standing opinion; `winner` is a slot, None where there is none."""

    event_id: str
    rater: str
    rater_kind: str
    kind: str
    choice: str | None
    winner: int | None
    strength: int

    @property
    def is_rating(self) -> bool:
        """False for undone, skipped and flagged ones."""
        return self.kind in ("rate", "revise")


@dataclass(frozen=True, slots=True)
class Opinions:
    """A task with all votes on it, oldest first; models and texts by slot."""

    task_id: str
    batch: str
    position: int
    prompt: list[dict[str, str]]
    models: tuple[str, str]
    texts: tuple[str, str]
    votes: tuple[Vote, ...]

    def of_kinds(self, kinds: Sequence[str] | None) -> tuple[tuple[Vote, ...], int]:
        """The votes that count, never of two ranks, and how many were left aside."""
        standing = [vote for vote in self.votes if vote.kind != "undo"] or list(self.votes)
        votes = [vote for vote in standing if kinds is None or vote.rater_kind in kinds]
        if kinds is None:
            best = min((_RANK[vote.rater_kind] for vote in votes if vote.is_rating), default=None)
            votes = [vote for vote in votes if best is None or _RANK[vote.rater_kind] == best]
        return tuple(votes), len(standing) - len(votes)


@dataclass(frozen=True, slots=True)
class Finding:
    """What some votes come to: a winning slot, or the reason why there is none.

    `margin` is the mean strength in favour of the winner (ties count 0, votes for the other one negative),
    at least 0. `agreement` is the winner's share of the ratings.
    """

    winner: int | None
    reason: str
    votes: tuple[Vote, ...]
    margin: float = 0.0
    agreement: float = 0.0


def read(connection: Connection, batch: str | None, upto: int) -> Iterator[Opinions]:
    """Tasks of pair mode on which anything was said up to event `upto`, in the order of batch and position."""
    e, a, k = t.rating_event.c, t.assignment.c, t.task.c
    after = t.rating_event.alias("after")
    one, two = t.response.alias("one"), t.response.alias("two")
    wanted = (
        select(
            k.task_id,
            k.batch,
            k.ordinal,
            k.prompt_json,
            one.c.model_ref.label("model_0"),
            one.c.text.label("text_0"),
            two.c.model_ref.label("model_1"),
            two.c.text.label("text_1"),
            a.order_json,
            a.rater_id,
            t.rater.c.kind.label("rater_kind"),
            e.event_id,
            e.kind,
            e.choice,
            e.strength,
        )
        .join_from(t.rating_event, t.assignment, e.assignment_id == a.assignment_id)
        .join(t.task, k.task_id == a.task_id)
        .join(t.batch, (t.batch.c.name == k.batch) & (t.batch.c.mode == "pair"))
        .join(t.rater, t.rater.c.rater_id == a.rater_id)
        .join(one, (one.c.task_id == k.task_id) & (one.c.slot == 0))
        .join(two, (two.c.task_id == k.task_id) & (two.c.slot == 1))
        .where(
            e.seq <= upto,
            a.repeat_no == 0,
            ~select(after.c.seq).where(after.c.prev_event_id == e.event_id, after.c.seq <= upto).exists(),
        )
        .order_by(k.batch, k.ordinal, e.seq)
    )
    if batch is not None:
        check_batch(connection, batch)
        wanted = wanted.where(k.batch == batch)
    rows = connection.execute(wanted).mappings()
    for _, group in groupby(rows, key=lambda row: row["task_id"]):
        yield _opinions(list(group))


def _opinions(rows: list[RowMapping]) -> Opinions:
    first = rows[0]
    return Opinions(
        task_id=first["task_id"],
        batch=first["batch"],
        position=first["ordinal"],
        prompt=json.loads(first["prompt_json"]),
        models=(first["model_0"], first["model_1"]),
        texts=(first["text_0"], first["text_1"]),
        votes=tuple(_vote(row) for row in rows),
    )


def _vote(row: RowMapping) -> Vote:
    sides = {"left": 0, "right": 1}
    shown = json.loads(row["order_json"])
    return Vote(
        event_id=row["event_id"],
        rater=row["rater_id"],
        rater_kind=row["rater_kind"],
        kind=row["kind"],
        choice=row["choice"],
        winner=shown[sides[row["choice"]]] if row["choice"] in sides else None,
        strength=row["strength"] or 0,
    )


def check_batch(connection: Connection, batch: str) -> None:
    """RatingError that lists the batches where there is none of this name."""
    names = connection.execute(select(t.batch.c.name).order_by(t.batch.c.name)).scalars().all()
    if batch not in names:
        raise RatingError(f"there is no batch {batch!r}; there is {', '.join(names) or 'none yet'}")


def findings(votes: Sequence[Vote], aggregate: Aggregate, min_strength: int) -> list[Finding]:
    """One finding of a task, or under "all" one of each rating with a preference."""
    ratings = [vote for vote in votes if vote.is_rating]
    if not ratings:
        newest = votes[-1].kind if votes else "undo"
        return [Finding(None, {"undo": "undone", "skip": "skipped", "flag": "flagged"}[newest], tuple(votes))]
    decided = [vote for vote in ratings if vote.winner is not None and vote.strength >= min_strength]
    if aggregate == "all":
        return [
            Finding(vote.winner, "", (vote,), float(vote.strength), 1.0)
            if vote in decided
            else Finding(None, _without(vote), (vote,))
            for vote in ratings
        ]
    return [_joint(ratings, decided, aggregate)]


def _joint(ratings: list[Vote], decided: list[Vote], aggregate: Aggregate) -> Finding:
    if not decided:
        reasons = Counter(_without(vote) for vote in ratings)
        return Finding(None, max(sorted(reasons), key=reasons.__getitem__), tuple(ratings))
    counts = Counter(vote.winner for vote in decided)
    winner = max(sorted(counts, key=str), key=counts.__getitem__)
    if aggregate == "unanimous" and counts[winner] < len(ratings):
        return Finding(None, "not unanimous", tuple(ratings))
    if counts[winner] * 2 == len(decided):
        return Finding(None, "split", tuple(ratings))
    signed = [vote.strength if vote.winner == winner else -vote.strength for vote in ratings]
    margin = max(0.0, sum(signed) / len(ratings))
    return Finding(winner, "", tuple(ratings), margin, counts[winner] / len(ratings))


def _without(vote: Vote) -> str:
    return "weak" if vote.winner is not None else str(vote.choice or "no choice")


def table(connection: Connection, batch: str | None) -> list[dict[str, Any]]:
    """What stands, a row for each answered assignment, with the models' names."""
    e, a, k = t.rating_event.c, t.assignment.c, t.task.c
    one, two = t.response.alias("one"), t.response.alias("two")
    wanted = (
        select(
            k.batch,
            k.ordinal,
            k.instruction_version,
            a.assignment_id,
            a.order_json,
            a.repeat_no,
            a.rater_id,
            t.rater.c.kind.label("rater_kind"),
            one.c.model_ref.label("model_0"),
            one.c.text.label("text_0"),
            two.c.model_ref.label("model_1"),
            two.c.text.label("text_1"),
            *(e[name] for name in _SHOWN),
        )
        .join_from(t.assignment, t.rating_event, a.head_event_id == e.event_id)
        .join(t.task, k.task_id == a.task_id)
        .join(t.rater, t.rater.c.rater_id == a.rater_id)
        .join(one, (one.c.task_id == k.task_id) & (one.c.slot == 0), isouter=True)
        .join(two, (two.c.task_id == k.task_id) & (two.c.slot == 1), isouter=True)
        .where(a.is_open == 0)
        .order_by(k.batch, k.ordinal, e.seq)
    )
    if batch is not None:
        check_batch(connection, batch)
        wanted = wanted.where(k.batch == batch)
    return [_table_row(row) for row in connection.execute(wanted).mappings()]


_SHOWN = ("seq", "event_id", "kind", "choice", "strength", "comment", "shown_ms", "server_utc", "post_reveal")


def _table_row(row: RowMapping) -> dict[str, Any]:
    shown = json.loads(row["order_json"])
    models = [row[f"model_{slot}"] for slot in shown]
    words = sum(len((row[f"text_{slot}"] or "").split()) for slot in shown)
    sides = {"left": 0, "right": 1}
    return {
        "batch": row["batch"],
        "position": row["ordinal"],
        "instructions_version": row["instruction_version"],
        "assignment_id": row["assignment_id"],
        "repeat_no": row["repeat_no"],
        "rater": row["rater_id"],
        "rater_kind": row["rater_kind"],
        "left_model": models[0],
        "right_model": models[1] if len(models) > 1 else None,
        "winner": models[sides[row["choice"]]] if row["choice"] in sides else None,
        **{name: row[name] for name in _SHOWN},
        "post_reveal": bool(row["post_reveal"]),
        "hasty": None if row["shown_ms"] is None else row["shown_ms"] < max(1000, 10 * words),
    }
