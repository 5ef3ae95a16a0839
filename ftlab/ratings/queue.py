"""What is asked of whom: batches, their tasks in order, and the assignments made of them."""

import json
import secrets
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select

from ftlab.errors import RatingError
from ftlab.ratings import log
from ftlab.ratings import schema as t
from ftlab.ratings.clean import canonical, clean, digest
from ftlab.ratings.database import utc_now
from ftlab.ratings.sides import order
from ftlab.ratings.tasks import Item, Task


def name(value: str, what: str) -> str:
    """A name fit to be stored; RatingError where it is empty or longer than 200 characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise RatingError(f"a {what} has a name of 1 to 200 characters, not {str(value)[:80]!r}")
    return clean(value).text


def open_batch(connection: Connection, batch: str, instructions: str, seed: str | None) -> int:
    """The version of the instructions that holds for rows added now; makes the batch where there is none."""
    known = connection.execute(select(t.batch).where(t.batch.c.name == batch)).mappings().first()
    if known is None:
        connection.execute(
            insert(t.batch).values(
                name=batch,
                mode="pair",
                seed=seed or secrets.token_hex(16),
                settings_json="{}",
                created_utc=utc_now(),
            )
        )
    elif known["mode"] != "pair":
        raise RatingError(f"batch {batch!r} is of mode {known['mode']!r}: pairs need a batch of their own")
    elif seed is not None and seed != known["seed"]:
        raise RatingError(f"batch {batch!r} has its seed already: sides that were shown stay as they were")
    i = t.instruction.c
    newest = (
        connection.execute(select(t.instruction).where(i.batch == batch).order_by(i.version.desc()).limit(1))
        .mappings()
        .first()
    )
    text = clean(instructions).text
    if newest is not None and text in ("", newest["text"]):
        return int(newest["version"])
    version = 1 if newest is None else int(newest["version"]) + 1
    connection.execute(
        insert(t.instruction).values(batch=batch, version=version, text=text, created_utc=utc_now())
    )
    return version


def store_items(connection: Connection, items: list[Item], batch: str, version: int) -> int:
    """The number of items that were new; they are put at the end of the batch."""
    before = ordinal = total(connection, batch)
    for item in items:
        task_id = item.identity(batch, "pair")
        if connection.execute(select(t.task.c.ordinal).where(t.task.c.task_id == task_id)).first():
            continue
        ordinal += 1
        connection.execute(
            insert(t.task).values(
                task_id=task_id,
                batch=batch,
                instruction_version=version,
                ordinal=ordinal,
                prompt_json=canonical(item.prompt),
                tags_json=item.tags,
                replaced=item.replaced,
                raw_hash=item.raw_hash,
                created_utc=utc_now(),
            )
        )
        connection.execute(insert(t.response), _response_rows(task_id, item))
    return ordinal - before


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


def register(connection: Connection, rater: str, kind: str | None) -> None:
    """Makes the rater known; RatingError where one of this name is of another kind."""
    known = connection.execute(select(t.rater.c.kind).where(t.rater.c.rater_id == rater)).scalar()
    if kind is not None and kind not in t.RATERS:
        raise RatingError(f"a rater is one of {', '.join(t.RATERS)}, not {kind!r}")
    if known is None:
        connection.execute(
            insert(t.rater).values(rater_id=rater, kind=kind or "person", created_utc=utc_now())
        )
    elif kind is not None and kind != known:
        raise RatingError(f"rater {rater!r} is known as {known!r}: choose another name for a {kind!r}")


def next_assignment(connection: Connection, rater: str, batch: str) -> RowMapping | None:
    """The rater's first unanswered assignment, made now where all are answered; None at the end."""
    a = t.assignment.c
    mine = (a.rater_id == rater) & (a.batch == batch)
    unanswered = select(t.assignment).where(mine, a.is_open == 1).order_by(a.ordinal, a.repeat_no).limit(1)
    found = connection.execute(unanswered).mappings().first()
    if found is not None:
        return found
    seen = connection.execute(select(func.max(a.ordinal)).where(mine, a.is_open == 0)).scalar() or 0
    ahead = select(t.task).where(t.task.c.batch == batch, t.task.c.ordinal > seen)
    row = connection.execute(ahead.order_by(t.task.c.ordinal).limit(1)).mappings().first()
    if row is None:
        if not total(connection, batch):
            names = connection.execute(select(t.batch.c.name).order_by(t.batch.c.name)).scalars().all()
            raise RatingError(
                f"there is no batch {batch!r} with tasks; there is {', '.join(names) or 'none'}"
            )
        return None
    _assign(connection, row, rater)
    return connection.execute(unanswered).mappings().one()


def _assign(connection: Connection, row: RowMapping, rater: str) -> None:
    seed = connection.execute(select(t.batch.c.seed).where(t.batch.c.name == row["batch"])).scalar_one()
    count = len(responses(connection, row["task_id"]))
    repeat_no = 0
    connection.execute(
        insert(t.assignment).values(
            assignment_id=assignment_name(row["task_id"], rater, repeat_no),
            task_id=row["task_id"],
            rater_id=rater,
            batch=row["batch"],
            ordinal=row["ordinal"],
            repeat_no=repeat_no,
            is_gold=0,
            order_json=canonical(order(seed, row["task_id"], rater, repeat_no, count)),
            created_utc=utc_now(),
            is_open=1,
        )
    )


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


def responses(connection: Connection, task_id: str) -> list[RowMapping]:
    """The answers of a task, by slot."""
    wanted = select(t.response).where(t.response.c.task_id == task_id).order_by(t.response.c.slot)
    return list(connection.execute(wanted).mappings())


def total(connection: Connection, batch: str) -> int:
    """How many tasks the batch holds; 0 where there is none."""
    return connection.execute(select(func.max(t.task.c.ordinal)).where(t.task.c.batch == batch)).scalar() or 0


def task(connection: Connection, row: RowMapping) -> Task:
    """What the rater of this assignment may see."""
    i = t.instruction.c
    about = (
        connection.execute(
            select(t.task.c.prompt_json, i.text, i.version, t.batch.c.mode)
            .join_from(
                t.task,
                t.instruction,
                (i.batch == t.task.c.batch) & (i.version == t.task.c.instruction_version),
            )
            .join(t.batch, t.batch.c.name == t.task.c.batch)
            .where(t.task.c.task_id == row["task_id"])
        )
        .mappings()
        .one()
    )
    answers = responses(connection, row["task_id"])
    head = log.event(connection, row["head_event_id"]) if row["head_event_id"] else None
    return Task(
        assignment_id=row["assignment_id"],
        batch=row["batch"],
        mode=about["mode"],
        instructions=about["text"],
        instructions_version=about["version"],
        prompt=json.loads(about["prompt_json"]),
        texts=tuple(answers[slot]["text"] for slot in json.loads(row["order_json"])),
        position=row["ordinal"],
        total=total(connection, row["batch"]),
        state=log.state(head),
        prev_event_id=row["head_event_id"],
    )
