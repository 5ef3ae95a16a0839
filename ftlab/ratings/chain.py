"""The proof that nothing was changed: hashes of the log, of the answers and of the sides, computed again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ftlab.ratings import schema as t
from ftlab.ratings.clean import digest
from ftlab.ratings.sides import order

GENESIS = "0" * 64
"""What stands before the first event."""


def row_hash(row: Mapping[str, Any] | RowMapping) -> str:
    """sha256 over every column of an event but `row_hash` itself; `prev_hash` is one of them."""
    return digest({name: value for name, value in row.items() if name != "row_hash"})


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check found. `bad_seq` is the first event that is not as it was stored, None where all are."""

    events: int
    last_hash: str
    bad_seq: int | None
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        """In words."""
        if self:
            return f"{self.events} events, all as they were stored; the last hash is {self.last_hash}"
        return "\n".join(self.problems)


def verify(connection: Connection) -> Verified:
    """Reads the whole store once. A text that is no UTF-8 any more is a finding, not an error."""
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
    for row in connection.execute(select(t.rating_event).order_by(t.rating_event.c.seq)).mappings():
        events += 1
        wrong = _wrong(row, events, last)
        if wrong and bad_seq is None:
            bad_seq = events
            problems.append(f"event {events}: {wrong}")
        last = row["row_hash"]
        heads[row["assignment_id"]] = (row["event_id"], row["kind"])
    problems += _tasks(connection) + _assignments(connection, heads)
    return Verified(events, last, bad_seq, tuple(problems))


def _wrong(row: RowMapping, expected: int, before: str) -> str:
    if row["seq"] != expected:
        return f"missing; the next one is {row['seq']}"
    if row["prev_hash"] != before:
        return "does not follow the event before it"
    if row["row_hash"] != row_hash(row):
        return "was changed after it was stored"
    return ""


def _tasks(connection: Connection) -> list[str]:
    answers: dict[str, list[list[str]]] = {}
    problems = []
    for row in connection.execute(select(t.response).order_by(t.response.c.task_id)).mappings():
        content = [row["task_id"], row["slot"], row["model_ref"], row["text"], row["generation_json"]]
        if row["response_id"] != digest(content):
            problems.append(f"answer {row['response_id'][:12]}: was changed after it was stored")
        answers.setdefault(row["task_id"], []).append([row["model_ref"], row["text"]])
    wanted = select(t.task, t.batch.c.mode).join_from(t.task, t.batch, t.task.c.batch == t.batch.c.name)
    for row in connection.execute(wanted).mappings():
        content = [
            row["batch"],
            row["mode"],
            _parsed(row["prompt_json"]),
            sorted(answers.get(row["task_id"], [])),
        ]
        if row["task_id"] != digest(content):
            problems.append(
                f"task {row['ordinal']} of batch {row['batch']!r}: was changed after it was stored"
            )
    return problems


def _assignments(connection: Connection, heads: Mapping[str, tuple[str, str]]) -> list[str]:
    problems = []
    wanted = select(t.assignment, t.batch.c.seed).join_from(
        t.assignment, t.batch, t.assignment.c.batch == t.batch.c.name
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
