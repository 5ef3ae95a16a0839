"""The whole store as one file of records, and back: the same events under the same numbers and hashes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Integer, RowMapping, Select, Table, func, insert, select, tuple_, update

from ftlab import __version__
from ftlab.errors import RatingError
from ftlab.ratings import log, opinions, standing
from ftlab.ratings import schema as t
from ftlab.ratings.chain import verify
from ftlab.ratings.exchange import export as exports
from ftlab.ratings.exchange import files
from ftlab.ratings.exchange.census import Census
from ftlab.ratings.storage.database import LastEvent

FORMAT = "ftlab raw 1"
_PART = 2_000

_DERIVED = ("standing", "tally")
TABLES = tuple(table for table in t.metadata.sorted_tables if table.name not in _DERIVED)
"""What is exported, in an order in which each row's references come before it."""

_OF_NO_EVENT = ("alias", "quarantine", "opening", "pointer")
"""Tables whose rows belong to no event: left out where the log is cut at one."""

_LIVING: dict[str, tuple[str, ...]] = {
    "assignment": ("leased_until", "head_event_id", "is_open"),
    "opening": ("missing", "back"),
    "pointer": ("turn", "taken"),
}
"""Columns that follow the log: of two stores the one with the longer log knows them."""


def columns() -> dict[str, str]:
    """The columns of the Parquet file: every column of every table, null where a row has none of it."""
    found = {"table": "text", "format": "text"}
    for table in TABLES:
        for column in table.columns:
            kind = "count" if isinstance(column.type, Integer) else "text"
            assert found.setdefault(column.name, kind) == kind, column.name
    return found


def export(connection: Connection, path: str | Path, batch: str | None, upto: int | None) -> exports.Exported:
    """`Ratings.export(kind="raw")` on an open connection.

    Without `upto` and `batch` all there is, which `restore` takes back. With them an extract, for reading: what
    the events up to that one are about, or those of one batch.
    """
    goal = files.goal(path)
    exports.check_folder(goal.parent)
    if batch is not None:
        opinions.check_batch(connection, batch)
    last = log.until(connection, upto)
    head = {
        "table": "",
        "format": FORMAT,
        "seq": last,
        "schema_version": t.REVISION,
        "app_version": __version__,
        "batch": batch,
        "reason": "" if upto is None and batch is None else "extract",
    }
    with files.Files([goal], columns()) as written:
        sink = written.sinks[0]
        sink.write(head)
        for row in _records(connection, batch, upto):
            sink.write(row)
        hashes, rows = written.settle(), sink.rows
    census, excluded = Census(), dict[str, int]()
    for task in opinions.read(connection, batch, last, t.MODES):
        census.see(task, task.votes)
    about = {"kind": "raw", "excluded": excluded, "seq": last, "batch": batch, **census.figures()}
    about |= exports.origin(connection, census.batches, last)
    exports.describe(goal.parent, {goal.name: (hashes[0], rows)}, about)
    return exports.Exported(goal, rows, excluded, last, {goal.name: hashes[0]})


def _records(connection: Connection, batch: str | None, upto: int | None) -> Iterator[dict[str, Any]]:
    cut = None if upto is None else _Cut(connection, upto)
    for table in TABLES:
        if cut is not None and table.name in _OF_NO_EVENT:
            continue
        wanted = _of_batch(table, batch)
        if cut is not None:
            wanted = cut.narrow(table, wanted)
        names = [
            f"{column.name}" for column in table.columns
        ]  # plain text: SQLAlchemy's own names are a subclass
        with connection.execute(wanted.execution_options(yield_per=_PART)) as rows:
            for row in rows:
                record = {"table": f"{table.name}", **dict(zip(names, row, strict=True))}
                if cut is not None and table.name == "assignment":
                    cut.set_back(record)
                yield record


def _of_batch(table: Table, batch: str | None) -> Select[Any]:
    """The rows of a table, in the order of their key, or those of one batch."""
    wanted = select(table).order_by(*table.primary_key.columns)
    if batch is None:
        return wanted
    own = select(t.task.c.task_id).where(t.task.c.batch == batch)
    shown = select(t.assignment.c.assignment_id).where(t.assignment.c.batch == batch)
    said = select(t.rating_event.c.event_id).where(t.rating_event.c.assignment_id.in_(shown))
    raters = select(t.assignment.c.rater_id).where(t.assignment.c.batch == batch)
    lineups = select(t.task.c.lineup).where(t.task.c.batch == batch)
    c = table.c
    match table.name:
        case "batch":
            return wanted.where(c.name == batch)
        case "instruction" | "task" | "assignment" | "opening" | "pointer":
            return wanted.where(c.batch == batch)
        case "response" | "gold":
            return wanted.where(c.task_id.in_(own))
        case "rating_event" | "reveal":
            return wanted.where(c.assignment_id.in_(shown))
        case "redaction" | "quarantine":
            return wanted.where(c.event_id.in_(said))
        case "rater" | "alias":
            return wanted.where(c.rater_id.in_(raters))
        case "lineup":
            return wanted.where(c.number.in_(lineups))
    raise AssertionError(table.name)


class _Cut:
    """The store as the events up to one of them knew it."""

    def __init__(self, connection: Connection, upto: int) -> None:
        e = t.rating_event.c
        self._upto = upto
        self._utc = connection.execute(select(e.server_utc).where(e.seq == upto)).scalar() or ""
        newest = (
            select(e.assignment_id, func.max(e.seq).label("seq"))
            .where(e.seq <= upto)
            .group_by(e.assignment_id)
            .subquery()
        )
        heads = select(e.assignment_id, e.event_id, e.kind).join_from(
            newest, t.rating_event, e.seq == newest.c.seq
        )
        self._heads = {row[0]: (row[1], row[2]) for row in connection.execute(heads)}

    def narrow(self, table: Table, wanted: Select[Any]) -> Select[Any]:
        """Only what these events are about."""
        e, a, k, c = t.rating_event.c, t.assignment.c, t.task.c, table.c
        shown = select(e.assignment_id).where(e.seq <= self._upto)
        tasks = select(a.task_id).where(a.assignment_id.in_(shown))
        match table.name:
            case "batch":
                return wanted.where(c.name.in_(select(k.batch).where(k.task_id.in_(tasks))))
            case "instruction":
                under = select(k.batch, k.instruction_version).where(k.task_id.in_(tasks))
                return wanted.where(tuple_(c.batch, c.version).in_(under))
            case "task" | "response" | "gold":
                return wanted.where(c.task_id.in_(tasks))
            case "lineup":
                return wanted.where(c.number.in_(select(k.lineup).where(k.task_id.in_(tasks))))
            case "rater":
                return wanted.where(c.rater_id.in_(select(e.rater_id).where(e.seq <= self._upto)))
            case "assignment":
                return wanted.where(c.assignment_id.in_(shown))
            case "rating_event":
                return wanted.where(c.seq <= self._upto)
            case "redaction":
                return wanted.where(c.event_id.in_(select(e.event_id).where(e.seq <= self._upto)))
            case "reveal":
                return wanted.where(c.assignment_id.in_(shown), c.server_utc <= self._utc)
        raise AssertionError(table.name)

    def set_back(self, assignment: dict[str, Any]) -> None:
        """An assignment as it stood then."""
        head, kind = self._heads[assignment["assignment_id"]]
        assignment |= {"head_event_id": head, "is_open": int(kind == "undo"), "leased_until": None}


def is_raw(record: Mapping[str, Any]) -> bool:
    """Whether this is the first record of such a file."""
    return record.get("table") == "" and record.get("format") == FORMAT


def restore(connection: Connection, records: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[int, int, int]:
    """Tasks and events that are new, and events that were there; (place, record) pairs in, as exported.

    The log of the store must be the beginning of the file's, or the other way round: an empty store takes every
    file. Afterwards the whole store is verified. RatingError that names the place where a record does not fit,
    and then nothing is changed.
    """
    pairs = iter(records)
    place, head = next(pairs)
    _check_head(place, head)
    before = log.last(connection)[0]
    tasks = _count(connection, t.task)
    keeper = _Keeper(connection, is_longer=int(head.get("seq") or 0) > before)
    for table, chunk in _chunks(pairs):
        keeper.take(table, chunk)
    keeper.settle()
    found = verify(connection)
    if not found:
        raise RatingError(f"{place}: the records do not hold together: {found}. Nothing was imported")
    newest = log.last(connection)[0]
    return _count(connection, t.task) - tasks, newest - before, keeper.known_events


def _check_head(place: str, head: Mapping[str, Any]) -> None:
    if not is_raw(head):
        raise RatingError(f"{place}: this is no raw export of ftlab; its first record says {FORMAT!r}")
    if head.get("reason"):
        raise RatingError(
            f"{place}: an extract, of one batch or up to one event; a store takes back whole logs only: export "
            "without 'batch' and 'upto'"
        )
    if str(head.get("schema_version")) > t.REVISION:
        raise RatingError(f"{place}: written by a newer ftlab ({head.get('app_version')}); upgrade this one")


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _chunks(
    records: Iterator[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[Table, list[tuple[str, dict[str, Any]]]]]:
    tables = {table.name: table for table in TABLES}
    chunk: list[tuple[str, dict[str, Any]]] = []
    current: Table | None = None
    for place, record in records:
        table = tables.get(str(record.get("table")))
        if table is None:
            raise RatingError(f"{place}: there is no table {record.get('table')!r}")
        if chunk and current is not None and (table is not current or len(chunk) == _PART):
            yield current, chunk
            chunk = []
        current = table
        chunk.append((place, _row(table, place, record)))
    if chunk and current is not None:
        yield current, chunk


def _row(table: Table, place: str, record: Mapping[str, Any]) -> dict[str, Any]:
    row = {}
    for column in table.columns:
        value = record.get(column.name)
        wanted = int if isinstance(column.type, Integer) else str
        if value is None:
            if not column.nullable:
                raise RatingError(f"{place}: {table.name} has no {column.name!r}")
        elif type(value) is not wanted:
            raise RatingError(
                f"{place}: {column.name!r} of {table.name} is {type(value).__name__}, not {wanted.__name__}"
            )
        row[column.name] = value
    return row


class _Keeper:
    """Puts records into the store, where they are new; where the file's log is longer, it knows what lives."""

    def __init__(self, connection: Connection, *, is_longer: bool) -> None:
        self._connection = connection
        self._is_longer = is_longer
        self._lineups: dict[int, int] = {}
        self._numbers = set(connection.execute(select(t.rater.c.number)).scalars())
        self.known_events = 0

    def take(self, table: Table, chunk: list[tuple[str, dict[str, Any]]]) -> None:
        if table is t.lineup:
            for _, row in chunk:
                number = standing.lineup_number(self._connection, json.loads(row["models_json"]))
                self._lineups[row["number"]] = number
            return
        new = []
        known = self._known(table, [row for _, row in chunk])
        for place, row in chunk:
            if table is t.task and row["lineup"] is not None:
                row["lineup"] = self._lineups[row["lineup"]]
            there = known.get(_key(table, row))
            if there is None:
                new.append(self._fit(table, row))
            else:
                self._compare(table, place, there, row)
        if new:
            self._connection.execute(insert(table), new)

    def _compare(self, table: Table, place: str, there: RowMapping, row: dict[str, Any]) -> None:
        living = _LIVING.get(table.name, ())
        aside = (*living, *_OWN.get(table.name, ()))
        if any(there[name] != value for name, value in row.items() if name not in aside):
            raise RatingError(
                f"{place}: the store holds another {table.name} under {_key(table, row)}: its log and this one went "
                "different ways. Import into a new store, Ratings('other.db')"
            )
        self.known_events += table is t.rating_event
        if self._is_longer and any(there[name] != row[name] for name in living):
            same = [column == row[column.name] for column in table.primary_key.columns]
            self._connection.execute(update(table).where(*same).values({name: row[name] for name in living}))

    def _known(self, table: Table, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], RowMapping]:
        keys = list(table.primary_key.columns)
        found = {}
        walker = iter(rows)
        while part := list(islice(walker, 500)):
            wanted = select(table).where(tuple_(*keys).in_([_key(table, row) for row in part]))
            for row in self._connection.execute(wanted).mappings():
                found[_key(table, row)] = row
        return found

    def _fit(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        """Numbers that only this store gives are given anew where they are taken."""
        if table is t.rater:
            if row["number"] in self._numbers:
                row["number"] = max(self._numbers) + 1
            self._numbers.add(row["number"])
        return row

    def settle(self) -> None:
        """What is derived from the log is made again."""
        e = t.rating_event.c
        newest = select(e.seq, e.row_hash, e.server_utc).order_by(e.seq.desc()).limit(1)
        row = self._connection.execute(newest).first()
        if row is not None:
            self._connection.info["ftlab_last"] = LastEvent(*row)
        standing.rebuild(self._connection)


def _key(table: Table, row: Mapping[str, Any] | RowMapping) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key.columns)


_OWN = {
    "rater": ("number",),
    "rating_event": ("comment", "scores_json"),  # redacted here or there; the hash tells all else
}
