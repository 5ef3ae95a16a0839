"""Who may take which task: openings with the raters still missing, leases, and how far each rater is.

Each task has an opening in a lane; a rater goes along a lane by its turns and never back, so that the next
task is one step in an index however many there are. What a rater gave back (lease over, skipped, flagged) is
put at the end of a list of its own, of which each rater looks at an entry once.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, select, text, update

from ftlab.ratings import schema as t
from ftlab.ratings import standing
from ftlab.ratings.batches import Batch
from ftlab.ratings.said import Said
from ftlab.ratings.sides import chance, pick

CALIBRATION = 0
"""The lane that every rater goes along first; those of the other tasks are 1 and above."""

GOLD = -1
"""The lane of the tasks with a known answer."""

TALK = -2
"""The lane of the turns of conversations, which nobody is asked but the one who leads them."""

AGAIN, BACK, MIXED = -3, -4, -5
"""Pointers without a lane: repeats, what others gave back, and the new task after which all was mixed in."""

EVERYONE = -1
"""`missing` of a task that every rater is asked."""

UNIFORM_LANES = 16
"""Tasks in random order lie in so many lanes, between which each rater changes in an order of their own."""

FOREVER = "9999"
"""`leased_until` of what no other rater waits for, in a batch where they wait."""

_REAPED = 32  # leases that are over, given back at one call: the rest is for the next one


class New(NamedTuple):
    """A task that was just stored."""

    task_id: str
    ordinal: int
    lineup: int
    is_gold: bool


class Pointer(NamedTuple):
    """How far a rater is in a lane: the last turn, and how many were taken."""

    turn: int = 0
    taken: int = 0


class Counts(NamedTuple):
    """How many tasks a batch has for every rater, with a known answer, and as turns of conversations."""

    new: int
    gold: int
    talk: int


# openings


def add(connection: Connection, batch: Batch, tasks: Sequence[New]) -> None:
    """Makes the openings of tasks that were just put at the end of the batch."""
    if not tasks:
        return
    known = counts(connection, batch.name)
    golds = _shuffled(batch, [task for task in tasks if task.is_gold])
    rows = [_row(batch, GOLD, known.gold + n, task, EVERYONE) for n, task in enumerate(golds, start=1)]
    fresh = [task for task in tasks if not task.is_gold]
    free = max(0, batch.settings.calibration - (known.new - len(tasks)))
    rows += [_row(batch, CALIBRATION, task.ordinal, task, EVERYONE) for task in fresh[:free]]
    rest = fresh[free:]
    order = rest if batch.settings.order == "given" else _shuffled(batch, rest)
    turns = [task.ordinal for task in rest]
    rows += [
        _row(batch, _lane(batch, task), turn, task, _raters_for(batch, task))
        for turn, task in zip(turns, order, strict=True)
    ]
    connection.execute(insert(t.opening), rows)


def add_turn(connection: Connection, batch: Batch, task: New) -> None:
    """Makes the closed opening of a conversation's next turn: it belongs to the one who leads it."""
    turn = counts(connection, batch.name).talk + 1
    connection.execute(insert(t.opening), [_row(batch, TALK, turn, task, 0)])


def _row(batch: Batch, lane: int, turn: int, task: New, missing: int) -> dict[str, Any]:
    return {"batch": batch.name, "lane": lane, "turn": turn, "ordinal": task.ordinal, "missing": missing}


def _shuffled(batch: Batch, tasks: Sequence[New]) -> list[New]:
    return sorted(tasks, key=lambda task: chance(batch.seed, "turn", task.task_id))


def _lane(batch: Batch, task: New) -> int:
    if batch.settings.order == "active":
        return task.lineup
    if batch.settings.order == "uniform":
        return 1 + pick(batch.seed, UNIFORM_LANES, "lane", task.task_id)
    return 1


def _raters_for(batch: Batch, task: New) -> int:
    if batch.settings.overlap is None:
        return EVERYONE
    return batch.settings.overlap + is_double(batch, task.task_id)


def is_double(batch: Batch, task_id: str) -> bool:
    """Whether this task is one of the share that one rater more than `overlap` is asked (R4)."""
    return chance(batch.seed, "double", task_id) < batch.settings.double


def counts(connection: Connection, batch: str) -> Counts:
    """By three looks into an index."""
    o = t.opening.c
    last = connection.execute(select(func.max(t.task.c.ordinal)).where(t.task.c.batch == batch)).scalar() or 0
    gold, talk = (
        connection.execute(select(func.max(o.turn)).where(o.batch == batch, o.lane == lane)).scalar() or 0
        for lane in (GOLD, TALK)
    )
    return Counts(last - gold - talk, gold, talk)


_FREE = text("opening.missing <> 0")  # written out: so the index of the free ones fits, see schema.py
_MINE = t.assignment.alias("mine")
_HELD = (
    select(_MINE.c.assignment_id)
    .where(
        _MINE.c.task_id == t.task.c.task_id,
        _MINE.c.rater_id == bindparam("rater"),
        _MINE.c.repeat_no == 0,
    )
    .exists()
)
_NOT_MINE = (
    select(*t.opening.columns, t.task.c.task_id)
    .join_from(
        t.opening,
        t.task,
        (t.task.c.batch == t.opening.c.batch) & (t.task.c.ordinal == t.opening.c.ordinal),
    )
    .where(t.opening.c.batch == bindparam("batch"), ~_HELD)
    .limit(1)
)
_IN_LANE = _NOT_MINE.where(
    t.opening.c.lane == bindparam("lane"), t.opening.c.turn > bindparam("after")
).order_by(t.opening.c.turn)
_FREE_IN_LANE = _IN_LANE.where(_FREE)
_GIVEN_BACK = _NOT_MINE.where(t.opening.c.back > bindparam("after"), _FREE).order_by(t.opening.c.back)


def ahead(
    connection: Connection, batch: Batch, rater: str, lane: int, after: int, *, is_judge: bool = False
) -> RowMapping | None:
    """The next opening of a lane that is free and that this rater does not hold. A judge takes no place."""
    at = {"batch": batch.name, "rater": rater, "lane": lane, "after": after}
    return connection.execute(_IN_LANE if is_judge else _FREE_IN_LANE, at).mappings().first()


def given_back(connection: Connection, batch: Batch, rater: str, after: int) -> RowMapping | None:
    """The next task that another rater gave back and that is free still.

    Where there is none, the pointer passes what this rater gave back: it is not looked at again.
    """
    newest = _newest_back(connection, batch.name)
    if newest <= after:
        return None
    at = {"batch": batch.name, "rater": rater, "after": after}
    found = connection.execute(_GIVEN_BACK, at).mappings().first()
    if found is None:
        move(connection, batch.name, rater, BACK, newest, taken=0)
    return found


def _newest_back(connection: Connection, batch: str) -> int:
    o = t.opening.c
    return connection.execute(select(func.max(o.back)).where(o.batch == batch)).scalar() or 0


def lanes(connection: Connection, batch: str, *, only_free: bool = True) -> list[int]:
    """The lanes of the batch from 1, those with a free opening or all; one look into an index for each."""
    o = t.opening.c
    following = select(func.min(o.lane)).where(o.batch == batch, o.lane > bindparam("before"))
    if only_free:
        following = following.where(_FREE)
    found: list[int] = []
    lane: int | None = CALIBRATION
    while (lane := connection.execute(following, {"before": lane}).scalar()) is not None:
        found.append(lane)
    return found


def left(connection: Connection, batch: str, rater: str, most: int) -> int | None:
    """How many free openings this rater does not hold; None where the batch has `most` free ones or more."""
    o, k = t.opening.c, t.task.c
    free = select(o.ordinal).where(o.batch == batch, o.lane >= CALIBRATION, _FREE)
    # in the index alone: whose they are is only looked up where the answer depends on it
    if connection.execute(free.offset(most - 1).limit(1)).first() is not None:
        return None
    few = free.subquery()
    others = (
        select(func.count())
        .join_from(few, t.task, (k.batch == batch) & (k.ordinal == few.c.ordinal))
        .where(~_HELD)
    )
    return connection.execute(others, {"rater": rater}).scalar_one()


# pointers

_MOVE = text(
    "INSERT INTO pointer (batch, rater_id, lane, turn, taken) VALUES (:batch, :rater_id, :lane, :turn, :taken) "
    "ON CONFLICT (batch, rater_id, lane) DO UPDATE SET turn = excluded.turn, "
    "taken = pointer.taken + excluded.taken"
)


def pointers(connection: Connection, batch: str, rater: str) -> Mapping[int, Pointer]:
    """All of one rater in one batch, by lane."""
    p = t.pointer.c
    wanted = select(p.lane, p.turn, p.taken).where(p.batch == batch, p.rater_id == rater)
    return {row.lane: Pointer(row.turn, row.taken) for row in connection.execute(wanted)}


def move(connection: Connection, batch: str, rater: str, lane: int, turn: int, *, taken: int = 1) -> None:
    """Brings a pointer to this turn."""
    connection.execute(_MOVE, {"batch": batch, "rater_id": rater, "lane": lane, "turn": turn, "taken": taken})


def asked(connection: Connection, batch: str, rater: str, pointers: Mapping[int, Pointer]) -> tuple[int, int]:
    """How many new tasks this rater was asked, and how many tasks altogether."""
    last = standing.next_place(connection, rater, batch) - 1
    others = (pointers.get(lane, Pointer()).taken for lane in (GOLD, TALK, AGAIN))
    return last - sum(others), last


# leases


def lease(batch: Batch) -> str:
    """Until when a task given now waits for its rater."""
    until = datetime.now(UTC) + timedelta(minutes=batch.settings.lease_minutes)
    return until.isoformat(timespec="microseconds").replace("+00:00", "Z")


def take(connection: Connection, batch: Batch, ordinal: int) -> bool:
    """Takes one of the places of a task; False where there is none left. One that everyone has stays free."""
    o = t.opening.c
    taken = connection.execute(
        update(t.opening)
        .where(o.batch == batch.name, o.ordinal == ordinal, o.missing > 0)
        .values(missing=o.missing - 1)
    )
    return taken.rowcount == 1


def release(connection: Connection, assignment: Mapping[str, Any] | RowMapping) -> None:
    """Gives the place of an assignment back: another rater may take it."""
    o, batch = t.opening.c, assignment["batch"]
    connection.execute(
        update(t.opening)
        .where(o.batch == batch, o.ordinal == assignment["ordinal"])
        .values(missing=o.missing + 1, back=_newest_back(connection, batch) + 1)
    )
    _lease_until(connection, assignment["assignment_id"], None)


def reap(connection: Connection, batch: Batch) -> None:
    """Gives back what raters left behind: unanswered, and the lease is over."""
    a = t.assignment.c
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    over = (
        select(a.assignment_id, a.batch, a.ordinal)
        .where(a.batch == batch.name, text("assignment.is_open = 1"), a.leased_until < now)
        .order_by(a.leased_until)
        .limit(_REAPED)
    )
    for row in connection.execute(over).mappings().all():
        release(connection, row)


def unanswered(connection: Connection, batch: Batch, rater: str) -> str | None:
    """The id of the first assignment that waits for this rater, its lease renewed: the rater is at it.

    One whose lease was over is the rater's again where nobody took the place; else it waits no longer.
    """
    a = t.assignment.c
    waiting = (
        select(a.assignment_id, a.batch, a.ordinal, a.leased_until)
        .where(a.rater_id == rater, a.batch == batch.name, text("assignment.is_open = 1"))
        .order_by(a.place)
        .limit(1)
    )
    if batch.settings.overlap is None:
        row = connection.execute(waiting).first()
        return None if row is None else str(row.assignment_id)
    row = connection.execute(waiting.where(a.leased_until.is_not(None))).first()
    if row is not None:
        if row.leased_until != FOREVER:
            _lease_until(connection, row.assignment_id, lease(batch))
        return str(row.assignment_id)
    row = connection.execute(waiting.where(a.leased_until.is_(None), a.ordinal.in_(_free(batch)))).first()
    if row is None:
        return None
    take(connection, batch, row.ordinal)
    _lease_until(connection, row.assignment_id, lease(batch))
    return str(row.assignment_id)


def _free(batch: Batch) -> "Select[Any]":
    o = t.opening.c
    return select(o.ordinal).where(o.batch == batch.name, o.missing > 0, o.ordinal == t.assignment.c.ordinal)


def settle(
    connection: Connection, batch: Batch, assignment: Mapping[str, Any] | RowMapping, said: Said
) -> bool:
    """Keeps the places of a task in step with what is said about it; True where it comes too late.

    Late is what is said when the lease was over and the place went to another rater. Skipped and flagged
    tasks are given back, since they hold no opinion.
    """
    until = assignment["leased_until"]
    if batch.settings.overlap is None or until == FOREVER:
        return False
    if said.kind in ("skip", "flag"):
        if until is not None:
            release(connection, assignment)
        return False
    if said.kind == "undo":
        if until is not None:  # the task waits for this rater once more
            _lease_until(connection, assignment["assignment_id"], lease(batch))
        return False
    if until is None:
        if not take(connection, batch, assignment["ordinal"]):
            return True
        _lease_until(connection, assignment["assignment_id"], lease(batch))
    return False


def _lease_until(connection: Connection, assignment_id: str, until: str | None) -> None:
    a = t.assignment.c
    connection.execute(
        update(t.assignment).where(a.assignment_id == assignment_id).values(leased_until=until)
    )
