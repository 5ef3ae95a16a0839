"""What a rater sees: the task to rate, blind, and how far it is to the end."""

import json

from sqlalchemy import Connection, RowMapping, func, insert, select, text

from ftlab.errors import RatingError
from ftlab.ratings import batches, log, places, queue, standing
from ftlab.ratings import schema as t
from ftlab.ratings.batches import Batch
from ftlab.ratings.mixing import golds, repeats
from ftlab.ratings.places import Pointer
from ftlab.ratings.storage.database import utc_now
from ftlab.ratings.tasks import Progress, Task

_COUNTED = 50  # openings still free are counted up to here; where there are more, others' share is unknown


def span(connection: Connection, batch: Batch, rater: str) -> int:
    """How many tasks it comes to for this rater: asked already, still to be asked, mixed in between."""
    pointers = places.pointers(connection, batch.name, rater)
    new, last = places.asked(connection, batch.name, rater, pointers)
    known = places.counts(connection, batch.name)
    left = max(0, known.new - new)
    if batch.settings.overlap is not None and left:
        free = places.left(connection, batch.name, rater, _COUNTED)
        left = left if free is None else free
    upto, done = new + left, pointers.get(places.MIXED, Pointer()).turn
    known_ones, same_ones = golds(batch, rater), repeats(batch, rater)
    gold = known_ones.between(new, upto) + (done < 2 * new + 1 and known_ones.is_due(new))
    again = same_ones.between(new, upto) + (done < 2 * new + 2 and same_ones.is_due(new))
    gold = min(gold, known.gold - pointers.get(places.GOLD, Pointer()).taken)
    return last + left + gold + again - _passed(connection, batch, rater)


def _passed(connection: Connection, batch: Batch, rater: str) -> int:
    """How many tasks this rater was asked that wait for others now."""
    if batch.settings.overlap is None:
        return 0
    a = t.assignment.c
    gone = select(func.count()).where(
        a.rater_id == rater, a.batch == batch.name, text("assignment.is_open = 1"), a.leased_until.is_(None)
    )
    return connection.execute(gone).scalar_one()


def progress(connection: Connection, rater: str, batch: Batch) -> Progress:
    """How far this rater is, from what was counted when it was stored."""
    y = t.tally.c
    counted = (
        select(y.kind, y.n)
        .join_from(t.tally, t.rater, t.rater.c.number == y.rater_no)
        .where(y.batch == batch.name, t.rater.c.rater_id == rater)
    )
    kinds = {row.kind: row.n for row in connection.execute(counted)}
    rated, skipped, flagged = (kinds.get(kind, 0) for kind in (standing.RATING, standing.SKIP, standing.FLAG))
    whole = max(span(connection, batch, rater), rated + skipped + flagged)
    return Progress(total=whole, rated=rated, skipped=skipped, flagged=flagged)


def task(connection: Connection, row: RowMapping) -> Task:
    """What the rater of this assignment may see."""
    i = t.instruction.c
    batch = batches.get(connection, row["batch"])
    about = (
        connection.execute(
            select(t.task.c.prompt_json, i.text, i.version)
            .join_from(
                t.task,
                t.instruction,
                (i.batch == t.task.c.batch) & (i.version == t.task.c.instruction_version),
            )
            .where(t.task.c.task_id == row["task_id"])
        )
        .mappings()
        .one()
    )
    answers = queue.responses(connection, row["task_id"])
    head = log.event(connection, row["head_event_id"]) if row["head_event_id"] else None
    return Task(
        assignment_id=row["assignment_id"],
        batch=row["batch"],
        mode=batch.mode,
        instructions=about["text"],
        instructions_version=about["version"],
        prompt=json.loads(about["prompt_json"]),
        texts=tuple(answers[slot]["text"] for slot in json.loads(row["order_json"])),
        position=row["place"],
        total=max(row["place"], span(connection, batch, row["rater_id"])),
        state=log.state(head),
        prev_event_id=row["head_event_id"],
        settings=batch.settings.for_page(),
    )


def reveal(connection: Connection, assignment_id: str) -> tuple[str, ...]:
    """See `Ratings.reveal`."""
    row = queue.assignment(connection, assignment_id)
    if row["is_open"]:
        raise RatingError("the models' names are shown once a rating is stored, not before")
    seen = select(t.reveal).where(t.reveal.c.assignment_id == assignment_id)
    if connection.execute(seen).first() is None:
        connection.execute(
            insert(t.reveal).values(
                assignment_id=assignment_id, event_id=row["head_event_id"], server_utc=utc_now()
            )
        )
    answers = queue.responses(connection, row["task_id"])
    return tuple(answers[slot]["model_ref"] for slot in json.loads(row["order_json"]))
