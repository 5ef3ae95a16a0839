"""What can still be read of a damaged store, row by row into a text file; the store is never touched."""

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Table

from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.chain import row_hash
from ftlab.ratings.clean import digest
from ftlab.ratings.storage.database import flush, utc_now
from ftlab.ratings.storage.pages import Value, open_pages

_HEX64 = re.compile("[0-9a-f]{64}")
_HEX32 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Rescued:
    """What was saved to `path`: rows of each table, how many of them are not as they were stored.

    `torn` rows were found but could not be read. `missing` are the numbers of events that should be there:
    a gap below the newest one that was found; what came after it nobody can know.
    """

    path: Path
    rows: dict[str, int]
    changed: int
    torn: int
    missing: tuple[int, ...]

    def __str__(self) -> str:
        """In words."""
        events = self.rows.get("rating_event", 0)
        found = ", ".join(f"{count} {table}" for table, count in self.rows.items())
        return (
            f"{events} events saved to {self.path} ({found or 'nothing'}); {len(self.missing)} missing, "
            f"{self.changed} changed, {self.torn} unreadable"
        )


def rescue(path: str | Path, goal: str | Path | None = None) -> Rescued:
    """Saves every row of a store that can be read, though SQLite may refuse the file; it is only read.

    A line of JSON for each: {"table", "whole", "row"}, where `whole` is True for an event or answer whose
    hash agrees, False where it does not, None for rows without a hash of their own. To `goal`, or beside the
    store with the ending ".rescued.jsonl"; FileExistsError where that exists, RatingError where there is no
    such store.
    """
    source = Path(path).expanduser().absolute()
    target = Path(goal).expanduser().absolute() if goal else source.with_name(f"{source.name}.rescued.jsonl")
    if not source.is_file():
        raise RatingError(f"there is no file {source}")
    if target.exists():
        raise FileExistsError(f"{target} exists: give another name, nothing is overwritten")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as file:
            found = _save(source, file)
        flush(Path(name))
        os.link(name, target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
    flush(target.parent)
    return Rescued(target, *found)


def _save(source: Path, file: IO[str]) -> tuple[dict[str, int], int, int, tuple[int, ...]]:
    rows: Counter[str] = Counter()
    seen: set[str] = set()
    seqs: set[int] = set()
    changed: dict[str, str] = {}
    kept: dict[str, str] = {}
    torn = 0
    file.write(json.dumps({"ftlab": "rescue", "store": source.name, "utc": utc_now()}) + "\n")
    with open_pages(source) as pages:
        for found in pages.rows():
            if found is None:
                torn += 1
                continue
            known = _recognized(*found)
            if known is None:  # SQLite's own, or of no known form
                continue
            table, row = known
            whole = _whole(table, row)
            line = json.dumps({"table": table, "whole": whole, "row": row}, separators=(",", ":"))
            name = digest(line)
            if name in seen:  # an old copy on a page that was freed
                continue
            seen.add(name)
            rows[table] += 1
            file.write(line + "\n")
            if table == "rating_event":
                seqs.add(row["seq"])
                if whole is False:
                    changed[row["event_id"]] = _hash(row)
            elif table == "redaction":
                kept[row["event_id"]] = row["kept_hash"]
            elif whole is False:
                changed[name] = ""
    truly = sum(kept.get(event) != found_hash for event, found_hash in changed.items())
    missing = tuple(sorted(set(range(1, max(seqs, default=0) + 1)) - seqs))
    return dict(rows), truly, torn, missing


def _recognized(number: int, values: list[Value]) -> tuple[str, dict[str, Any]] | None:
    """The table of a row, by its form, and the row; a page does not tell whose it is."""
    for name, (table, has_form) in _FORMS.items():
        columns = [column.name for column in table.columns]
        fewest = _FEWEST.get(name, len(columns))
        if not fewest <= len(values) <= len(columns):
            continue
        if name in _NUMBERED:  # SQLite keeps an INTEGER PRIMARY KEY as the row's own number
            if values[0] is not None:
                continue
            values = [number, *values[1:]]
        if has_form(values):
            row = dict(zip(columns, values, strict=False))
            if name == "rating_event":
                row.setdefault("late", 0)
            return name, row
    return None


def _is(pattern: re.Pattern[str], value: Value) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _event(v: list[Value]) -> bool:
    return isinstance(v[1], str) and v[4] in t.KINDS and _is(_HEX64, v[20]) and _is(_HEX64, v[21])


def _task(v: list[Value]) -> bool:
    return _is(_HEX64, v[0]) and isinstance(v[3], int) and str(v[4]).startswith("[")


def _assignment(v: list[Value]) -> bool:
    return _is(_HEX32, v[0]) and _is(_HEX64, v[1]) and str(v[7]).startswith("[")


def _response(v: list[Value]) -> bool:
    return _is(_HEX64, v[0]) and _is(_HEX64, v[1]) and isinstance(v[2], int)


_FORMS: dict[str, tuple[Table, Callable[[list[Value]], bool]]] = {
    "batch": (t.batch, lambda v: v[1] in t.MODES and isinstance(v[3], str)),
    "rater": (t.rater, lambda v: v[1] in t.RATERS),
    "instruction": (t.instruction, lambda v: isinstance(v[0], str) and isinstance(v[1], int)),
    "lineup": (t.lineup, lambda v: str(v[1]).startswith("[")),
    "task": (t.task, _task),
    "response": (t.response, _response),
    "gold": (t.gold, lambda v: _is(_HEX64, v[0]) and not _is(_HEX64, v[1])),
    "assignment": (t.assignment, _assignment),
    "rating_event": (t.rating_event, _event),
    "reveal": (t.reveal, lambda v: _is(_HEX32, v[0]) and isinstance(v[1], str)),
    "redaction": (t.redaction, lambda v: _is(_HEX64, v[2])),
    "alias": (t.alias, lambda v: isinstance(v[1], str) and isinstance(v[2], str)),
    "quarantine": (t.quarantine, lambda v: _is(_HEX64, v[0]) and isinstance(v[2], str)),
}
_FEWEST = {"rater": 3, "task": 9, "assignment": 12, "rating_event": 22}
_NUMBERED = ("lineup", "rating_event", "alias")


def _whole(table: str, row: dict[str, Any]) -> bool | None:
    if table == "rating_event":
        return _hash(row) == row["row_hash"]
    if table == "response":
        content = [row["task_id"], row["slot"], row["model_ref"], row["text"], row["generation_json"]]
        return digest(content) == row["response_id"]
    return None


def _hash(row: dict[str, Any]) -> str:
    return row_hash(row) if isinstance(row["schema_version"], str) else ""
