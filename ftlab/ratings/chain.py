"""The proof that nothing was changed: hashes of the log, of the answers and of the sides, computed again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ftlab.ratings import schema as t
from ftlab.ratings.clean import digest
from ftlab.ratings.sides import order
from ftlab.ratings.standing import differences

_ANSWER = ("response_id", "slot", "model_ref", "text", "generation_json")

GENESIS = "0" * 64
"""What stands before the first event."""


_ADDED = {"late": "0002"}
"""Columns that a later schema added: an event of an older one was hashed without them."""


def row_hash(row: Mapping[str, Any] | RowMapping) -> str:
    """sha256 over every column of an event but `row_hash` itself; `prev_hash` is one of them.

    A column that the event's own schema did not have is left out where it is 0, as the migration left it.
    """
    version = row["schema_version"]
    return digest(
        {
            name: value
            for name, value in row.items()
            if name != "row_hash" and (value or _ADDED.get(name, "") <= version)
        }
    )


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check found. `bad_seq` is the first event that is not as it was stored, None where all are.

    `redacted` are the numbers of the events whose words were taken out by `redact`: no problem, but told.
    """

    events: int
    last_hash: str
    bad_seq: int | None
    problems: tuple[str, ...]
    redacted: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        """In words."""
        if not self:
            return "\n".join(self.problems)
        taken = f" but {len(self.redacted)} redacted" if self.redacted else ""
        return f"{self.events} events, all as they were stored{taken}; the last hash is {self.last_hash}"


def verify(connection: Connection) -> Verified:
    """Reads the whole store once. A text that is no UTF-8 any more is a finding, not an error."""
    if connection.dialect.name != "sqlite":  # a server's text is UTF-8 or an error of its own
        return _verify(connection)
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        return _verify(connection)
    finally:
        driver.text_factory = str


def _verify(connection: Connection) -> Verified:
    problems: list[str] = []
    bad_seq, events, last = None, 0, GENESIS
    heads: dict[str, tuple[str, str]] = {}
    kept = {row.event_id: row.kept_hash for row in connection.execute(select(t.redaction))}
    redacted = []
    log = select(t.rating_event).order_by(t.rating_event.c.seq)
    for row in connection.execute(log.execution_options(yield_per=5000)).mappings():
        events += 1
        wrong = _wrong(row, events, last, kept.get(row["event_id"]))
        if wrong and bad_seq is None:
            bad_seq = events
            problems.append(f"event {events}: {wrong}")
        if row["event_id"] in kept:
            redacted.append(row["seq"])
        last = row["row_hash"]
        heads[row["assignment_id"]] = (row["event_id"], row["kind"])
    problems += _tasks(connection) + _assignments(connection, heads)
    if not problems:  # they are computed from what was just found to be whole
        problems += differences(connection)
    return Verified(events, last, bad_seq, tuple(problems), tuple(redacted))


def _wrong(row: RowMapping, expected: int, before: str, kept_hash: str | None) -> str:
    if row["seq"] != expected:
        return f"missing; the next one is {row['seq']}"
    if row["prev_hash"] != before:
        return "does not follow the event before it"
    found = row_hash(row)
    if kept_hash is not None:
        return "" if found == kept_hash else "was changed after it was redacted"
    return "" if row["row_hash"] == found else "was changed after it was stored"


def _tasks(connection: Connection) -> list[str]:
    problems = []
    k, r = t.task.c, t.response.c
    wanted = (
        select(k.task_id, k.batch, k.ordinal, k.prompt_json, t.batch.c.mode, *(r[name] for name in _ANSWER))
        .join_from(t.task, t.batch, k.batch == t.batch.c.name)
        .join(t.response, r.task_id == k.task_id, isouter=True)
        .order_by(k.task_id, r.slot)
        .execution_options(yield_per=5000)
    )
    rows = connection.execute(wanted).mappings()
    for task_id, group in groupby(rows, key=lambda row: row["task_id"]):
        answers = []
        for row in group:
            if row["response_id"] is None:  # a task of mode "edit" may have none
                continue
            content = [task_id, row["slot"], row["model_ref"], row["text"], row["generation_json"]]
            if row["response_id"] != digest(content):
                problems.append(f"answer {row['response_id'][:12]}: was changed after it was stored")
            answers.append([row["model_ref"], row["text"]])
        if task_id != digest([row["batch"], row["mode"], _parsed(row["prompt_json"]), sorted(answers)]):
            problems.append(
                f"task {row['ordinal']} of batch {row['batch']!r}: was changed after it was stored"
            )
    return problems


def _assignments(connection: Connection, heads: Mapping[str, tuple[str, str]]) -> list[str]:
    problems = []
    wanted = (
        select(t.assignment, t.batch.c.seed)
        .join_from(t.assignment, t.batch, t.assignment.c.batch == t.batch.c.name)
        .execution_options(yield_per=5000)
    )
    for row in connection.execute(wanted).mappings():
        shown = _parsed(row["order_json"])
        count = len(shown) if isinstance(shown, list) else 0
        if shown != order(row["seed"], row["task_id"], row["rater_id"], row["repeat_no"], count):
            problems.append(f"assignment {row['assignment_id']}: its sides are not those of its seed")
        head, kind = heads.get(row["assignment_id"], (None, "undo"))
        if (row["head_event_id"], row["is_open"]) != (head, int(kind == "undo")):
            problems.append(f"assignment {row['assignment_id']}: does not hold what the log says")
    return problems


def _parsed(text: str) -> Any:
    """The JSON value, or None where the text is damaged: which no hash agrees with."""
    try:
        return json.loads(text)
    except ValueError:
        return None
