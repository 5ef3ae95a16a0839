"""What is asked of whom: tasks put into a batch, and the assignments made of them, one at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, select

from ftlab.errors import RatingError
from ftlab.ratings import batches, places, standing
from ftlab.ratings import schema as t
from ftlab.ratings.batches import Batch
from ftlab.ratings.clean import canonical, clean, digest
from ftlab.ratings.mixing import APART, golds, repeats
from ftlab.ratings.places import Pointer
from ftlab.ratings.said import Said
from ftlab.ratings.sides import order, pick
from ftlab.ratings.storage.database import utc_now
from ftlab.ratings.tasks import Item

Chooser = Callable[[Connection, Batch, Sequence[int]], Sequence[tuple[int, str]]]
"""Lanes (lineups) with tasks left to the same, the one that tells most first, each with its reason."""

_WINDOW = 200  # how many places back the task of a repeat is looked for


class Choice(NamedTuple):
    """The task to ask next, and why."""

    opening: RowMapping
    reason: str


def name(value: str, what: str) -> str:
    """A name fit to be stored; RatingError where it is empty or longer than 200 characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise RatingError(f"a {what} has a name of 1 to 200 characters, not {str(value)[:80]!r}")
    return clean(value).text


# tasks in


def store_items(connection: Connection, items: list[Item], batch: Batch, version: int) -> int:
    """The number of items that were new; they are put at the end of the batch."""
    ordinal = total(connection, batch.name)
    added = []
    for item in items:
        task_id = item.identity(batch.name, batch.mode)
        if _is_known(connection, task_id):
            continue
        ordinal += 1
        added.append(_store(connection, item, batch, version, ordinal))
    places.add(connection, batch, added)
    return len(added)


def _is_known(connection: Connection, task_id: str) -> bool:
    return connection.execute(select(t.task.c.ordinal).where(t.task.c.task_id == task_id)).first() is not None


def _store(connection: Connection, item: Item, batch: Batch, version: int, ordinal: int) -> places.New:
    task_id = item.identity(batch.name, batch.mode)
    lineup = standing.lineup_number(connection, [answer.model for answer in item.candidates])
    connection.execute(
        insert(t.task).values(
            task_id=task_id,
            batch=batch.name,
            instruction_version=version,
            ordinal=ordinal,
            prompt_json=canonical(item.prompt),
            tags_json=item.tags,
            replaced=item.replaced,
            raw_hash=item.raw_hash,
            created_utc=utc_now(),
            lineup=lineup,
            leaked=int(bool(item.leaks())),
            **standing.measures([answer.text for answer in item.candidates]),
        )
    )
    if item.candidates:
        connection.execute(insert(t.response), _response_rows(task_id, item))
    if item.gold is not None:
        connection.execute(
            insert(t.gold).values(task_id=task_id, expected_json=item.gold, created_utc=utc_now())
        )
    return places.New(task_id, ordinal, lineup, item.gold is not None)


def _response_rows(task_id: str, item: Item) -> list[dict[str, Any]]:
    return [
        {
            "response_id": digest([task_id, slot, candidate.model, candidate.text, candidate.generation]),
            "task_id": task_id,
            "slot": slot,
            "model_ref": candidate.model,
            "generation_json": candidate.generation,
            "text": candidate.text,
            "replaced": candidate.replaced,
            "raw_hash": candidate.raw_hash,
        }
        for slot, candidate in enumerate(item.candidates)
    ]


def store_turn(
    connection: Connection, item: Item, batch: Batch, version: int, rater: str
) -> RowMapping | None:
    """Puts a conversation's next turn into the batch and hands it to its rater; None where the rater has it.

    Models that answer alike make the same turn for two raters who went the same way: it is stored once.
    """
    task_id = item.identity(batch.name, batch.mode)
    if _is_known(connection, task_id):
        held = select(t.assignment.c.assignment_id).where(
            t.assignment.c.assignment_id == assignment_name(task_id, rater, 0)
        )
        if connection.execute(held).first() is not None:
            return None
        return _lead(connection, batch, task_id, rater)
    new = _store(connection, item, batch, version, total(connection, batch.name) + 1)
    places.add_turn(connection, batch, new)
    return _lead(connection, batch, new.task_id, rater)


def _lead(connection: Connection, batch: Batch, task_id: str, rater: str) -> RowMapping:
    """Hands a turn to the one who leads the conversation."""
    turn = places.counts(connection, batch.name).talk
    places.move(connection, batch.name, rater, places.TALK, turn)
    return assign(connection, batch, task_id, rater, "turn")


def register(connection: Connection, rater: str, kind: str | None) -> str:
    """Makes the rater known; tells the kind, and RatingError where one of this name is of another."""
    known = connection.execute(select(t.rater.c.kind).where(t.rater.c.rater_id == rater)).scalar()
    if kind is not None and kind not in t.RATERS:
        raise RatingError(f"a rater is one of {', '.join(t.RATERS)}, not {kind!r}")
    if known is None:
        known = kind or "person"
        connection.execute(
            insert(t.rater).values(
                rater_id=rater,
                kind=known,
                created_utc=utc_now(),
                number=standing.next_rater_number(connection),
            )
        )
    elif kind is not None and kind != known:
        raise RatingError(f"rater {rater!r} is known as {known!r}: choose another name for a {kind!r}")
    return str(known)


# tasks out


def next_assignment(
    connection: Connection, rater: str, batch: Batch, kind: str, choose: Chooser
) -> RowMapping | None:
    """The rater's first unanswered assignment, made now where all are answered; None at the end.

    However many tasks and events there are, it takes looks into indexes alone: a step forward in each lane.
    """
    waiting = places.unanswered(connection, batch, rater)
    if waiting is not None:
        return assignment(connection, waiting)
    if not total(connection, batch.name):
        raise RatingError(f"batch {batch.name!r} has no tasks yet")
    pointers = places.pointers(connection, batch.name, rater)
    is_judge = kind == "judge"
    if not is_judge:
        mixed = _mixed_in(connection, batch, rater, pointers)
        if mixed is not None:
            return mixed
        if batch.settings.overlap is not None:
            places.reap(connection, batch)
    choice = _choose(connection, batch, rater, pointers, choose, is_judge=is_judge)
    if choice is None:
        return None
    opening = choice.opening
    if choice.reason == "returned":
        places.move(connection, batch.name, rater, places.BACK, opening["back"])
    else:
        places.move(connection, batch.name, rater, opening["lane"], opening["turn"])
    holds = not is_judge and places.take(connection, batch, opening["ordinal"])
    return assign(connection, batch, opening["task_id"], rater, choice.reason, holds_place=holds)


def _choose(
    connection: Connection,
    batch: Batch,
    rater: str,
    pointers: Mapping[int, Pointer],
    choose: Chooser,
    *,
    is_judge: bool,
) -> Choice | None:
    def ahead(lane: int) -> RowMapping | None:
        after = pointers.get(lane, Pointer()).turn
        return places.ahead(connection, batch, rater, lane, after, is_judge=is_judge)

    if batch.settings.calibration and (found := ahead(places.CALIBRATION)) is not None:
        return Choice(found, "calibration")
    if batch.settings.overlap is not None and not is_judge:
        found = places.given_back(connection, batch, rater, pointers.get(places.BACK, Pointer()).turn)
        if found is not None:
            return Choice(found, "returned")
    for lane, reason in _lanes(connection, batch, rater, pointers, choose, is_judge=is_judge):
        found = ahead(lane)
        if found is not None:
            is_extra = found["missing"] == 1 and places.is_double(batch, found["task_id"])
            return Choice(found, "double" if is_extra else reason)
    return None


def _lanes(
    connection: Connection,
    batch: Batch,
    rater: str,
    pointers: Mapping[int, Pointer],
    choose: Chooser,
    *,
    is_judge: bool,
) -> Sequence[tuple[int, str]]:
    """The lanes to look into, in this order, with the reason that is stored."""
    how = batch.settings.order
    if is_judge:
        known = places.lanes(connection, batch.name, only_free=False)
        return [(lane, "judge") for lane in (places.GOLD, places.TALK, *known)]
    if how == "given":
        return [(1, "given")]
    if how == "active":
        return choose(connection, batch, places.lanes(connection, batch.name))
    step = sum(pointer.taken for lane, pointer in pointers.items() if lane > 0)
    first = pick(batch.seed, places.UNIFORM_LANES, "step", rater, step)
    count = places.UNIFORM_LANES
    return [(1 + (first + n) % count, "uniform") for n in range(count)]


def _mixed_in(
    connection: Connection, batch: Batch, rater: str, pointers: Mapping[int, Pointer]
) -> RowMapping | None:
    """A task with a known answer or a repeat, where one is due after the last new task."""
    new, last = places.asked(connection, batch.name, rater, pointers)
    done = pointers.get(places.MIXED, Pointer()).turn  # 2n + 1: gold after new task n, 2n + 2: its repeat
    if new and done < 2 * new + 1 and golds(batch, rater).is_due(new):
        places.move(connection, batch.name, rater, places.MIXED, 2 * new + 1, taken=0)
        after = pointers.get(places.GOLD, Pointer()).turn
        found = places.ahead(connection, batch, rater, places.GOLD, after)
        if found is not None:
            places.move(connection, batch.name, rater, places.GOLD, found["turn"])
            return assign(connection, batch, found["task_id"], rater, "gold")
    if new and done < 2 * new + 2 and repeats(batch, rater).is_due(new):
        places.move(connection, batch.name, rater, places.MIXED, 2 * new + 2, taken=0)
        start = max(pointers.get(places.AGAIN, Pointer()).turn, last - _WINDOW)
        again = _repeatable(connection, batch, rater, start, last - APART)
        if again is not None:
            places.move(connection, batch.name, rater, places.AGAIN, last - APART)
            return assign(connection, batch, again, rater, "repeat", repeat_no=1)
    return None


def _repeatable(connection: Connection, batch: Batch, rater: str, after: int, upto: int) -> str | None:
    """A task rated at the places `after` + 1 to `upto`, whose models were not seen; None where none was."""
    a = t.assignment.c
    seen = select(t.reveal.c.assignment_id).where(t.reveal.c.assignment_id == a.assignment_id)
    wanted = (
        select(a.task_id)
        .join_from(t.assignment, t.rating_event, t.rating_event.c.event_id == a.head_event_id)
        .where(
            a.rater_id == rater,
            a.batch == batch.name,
            a.place > after,
            a.place <= upto,
            a.repeat_no == 0,
            a.is_gold == 0,
            t.rating_event.c.kind.in_(("rate", "revise")),
            ~seen.exists(),
        )
        .order_by(a.place)
    )
    rated = connection.execute(wanted).scalars().all()
    return rated[pick(batch.seed, len(rated), "again", rater, upto)] if rated else None


def assign(
    connection: Connection,
    batch: Batch,
    task_id: str,
    rater: str,
    reason: str,
    *,
    repeat_no: int = 0,
    holds_place: bool = False,
) -> RowMapping:
    """Makes an assignment of this task to this rater, its sides decided and stored with the reason.

    `holds_place`: it was taken from the opening, and waits for the rater as long as the lease says.
    """
    k = t.task.c
    about = connection.execute(
        select(k.ordinal, k.lengths_json, t.gold.c.task_id.label("gold"))
        .join_from(t.task, t.gold, t.gold.c.task_id == k.task_id, isouter=True)
        .where(k.task_id == task_id)
    ).one()
    if repeat_no and reason != "repeat":  # a repeat moves this pointer itself, to where it looked
        turn = places.pointers(connection, batch.name, rater).get(places.AGAIN, Pointer()).turn
        places.move(connection, batch.name, rater, places.AGAIN, turn)
    leased_until = None
    if batch.settings.overlap is not None:
        leased_until = places.lease(batch) if holds_place else places.FOREVER
    assignment_id = assignment_name(task_id, rater, repeat_no)
    count = len(json.loads(about.lengths_json))
    connection.execute(
        insert(t.assignment).values(
            assignment_id=assignment_id,
            task_id=task_id,
            rater_id=rater,
            batch=batch.name,
            ordinal=about.ordinal,
            repeat_no=repeat_no,
            is_gold=int(about.gold is not None),
            order_json=canonical(order(batch.seed, task_id, rater, repeat_no, count)),
            leased_until=leased_until,
            created_utc=utc_now(),
            is_open=1,
            place=standing.next_place(connection, rater, batch.name),
            reason=reason,
        )
    )
    return assignment(connection, assignment_id)


def assignment_name(task_id: str, rater: str, repeat_no: int) -> str:
    """The id of an assignment: 32 hexadecimal digits, the same in every store."""
    return digest([task_id, rater, repeat_no])[:32]


def assignment(connection: Connection, assignment_id: str) -> RowMapping:
    """The stored assignment; RatingError where there is none of this id."""
    wanted = select(t.assignment).where(t.assignment.c.assignment_id == assignment_id)
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise RatingError(f"there is no assignment {str(assignment_id)[:80]!r} in this store")
    return row


def at(connection: Connection, rater: str, batch: str, place: int) -> RowMapping | None:
    """The assignment that was this rater's number `place` in this batch, from 1; None where there is none."""
    a = t.assignment.c
    wanted = select(t.assignment).where(a.rater_id == rater, a.batch == batch, a.place == place)
    return connection.execute(wanted).mappings().first()


def responses(connection: Connection, task_id: str) -> list[RowMapping]:
    """The answers of a task, by slot."""
    wanted = select(t.response).where(t.response.c.task_id == task_id).order_by(t.response.c.slot)
    return list(connection.execute(wanted).mappings())


def total(connection: Connection, batch: str) -> int:
    """How many tasks the batch holds; 0 where there is none."""
    return connection.execute(select(func.max(t.task.c.ordinal)).where(t.task.c.batch == batch)).scalar() or 0


def admit(connection: Connection, said: Said) -> bool:
    """Checks a new event against its task, and takes or gives back a place; True where it comes too late."""
    row = assignment(connection, said.assignment_id)
    batch = batches.get(connection, row["batch"])
    said.check(batch.mode, len(json.loads(row["order_json"])), scale=batch.settings.scale)
    return places.settle(connection, batch, row, said)
