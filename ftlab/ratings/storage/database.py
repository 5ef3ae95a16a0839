"""An open store: its connections, its transactions and what their failures mean to a person.

Two kinds: a SQLite file (sqlite.py) and a PostgreSQL database (postgres.py). The tables are the same.
"""

import ctypes
import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ftlab.errors import RatingError
from ftlab.ratings.schema import REVISION

BUSY_MS = 10_000
"""Longest wait for another writer; with 8 writers the slowest of 65,000 commits took 3.6 s."""

RECONNECT_S = 10.0
"""How long a server that was reached before is tried again before a person hears of it."""

_Result = TypeVar("_Result")


class StoreBusy(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """Another process held the store for longer than 10 s; nothing was written, try again."""


class NotSaved(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The disk is full or failed; nothing was written, and what was stored before is whole."""


class ConnectionLost(NotSaved):
    """The server went away, perhaps during COMMIT: send again, an event is stored once only."""


class DamagedStore(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The file is no whole SQLite database; it is left as it is."""


class SuspectStore(UserWarning):
    """The store may lack events that had a receipt: its log was deleted, or it was copied while in use."""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The newest event of a store: number (0 where there is none), hash, and when it was stored (UTC)."""

    seq: int
    row_hash: str
    server_utc: str | None

    def __str__(self) -> str:
        """As reported on opening."""
        return f"last event {self.seq} at {self.server_utc}" if self.seq else "no event yet"


def utc_now() -> str:
    """Now, as ISO 8601 in UTC with microseconds and "Z"."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def crash_point(name: str) -> None:
    """Ends the process by SIGKILL where `$FTLAB_CRASH_AT` names this place: a seam of the crash tests.

    The places are "before_insert" (inside the transaction), "before_commit" (the event is inserted) and
    "after_commit" (there is no receipt yet).
    """
    if os.environ.get("FTLAB_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def open_database(where: str | Path) -> "Database":
    """The store at a path, "sqlite:///path" or "postgresql://user@host/name"; made where there is none.

    RatingError where it cannot be: what it says never holds a password.
    """
    text = str(where)
    if re.match(r"postgres(ql)?(\+\w+)?://", text):
        from ftlab.ratings.storage.postgres import PostgresDatabase  # needs the extra "postgres"

        return PostgresDatabase(text)
    from ftlab.ratings.storage.sqlite import SqliteDatabase

    return SqliteDatabase(where)


class Database(ABC):
    """A store that is open. `place` names it without secrets.

    Safe for threads (a connection serves one at a time) and across a fork (the child opens its own).
    `writable` is False for a store of a newer ftlab, which can still be read. `opened` is the newest event
    that was found on opening.
    """

    path: Path | None = None

    def __init__(self, place: str) -> None:
        self.place = place
        self.writable = True
        self.opened = LastEvent(0, "", None)
        self._engine: Engine | None = None
        self._pid = os.getpid()
        self._reached = False

    # opening

    def _open(self) -> None:
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        with self.reading() as connection:
            revision = self._revision(connection)
            self._check_on_opening(connection)
        if revision is None or revision < REVISION:
            if revision is not None:
                self._before_upgrade()
            self._upgrade()
        self.writable = revision is None or revision <= REVISION
        with self.reading() as connection:
            self.opened = newest(connection)

    def _revision(self, connection: Connection) -> str | None:
        tables = self._tables(connection)
        if not tables:
            return None
        revision = None
        if "alembic_version" in tables:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        # others count their revisions in alembic_version too, but seldom with four digits
        if "rating_event" not in tables or not re.fullmatch(r"\d{4}", str(revision)):
            strange = min(tables - {"alembic_version"}, default="alembic_version")
            raise RatingError(f"{self.place} is a database of another program ({strange!r} in it)")
        return str(revision)

    def _upgrade(self) -> None:
        # here, not above: a store that is up to date opens without Alembic
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%")
        )
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @abstractmethod
    def _tables(self, connection: Connection) -> set[str]: ...

    @abstractmethod
    def _check_on_opening(self, connection: Connection) -> None: ...

    @abstractmethod
    def _before_upgrade(self) -> None: ...

    @abstractmethod
    def _make_engine(self) -> Engine: ...

    @abstractmethod
    def _in_words(self, error: Exception) -> Exception:
        """The error as a person reads it; `error` itself where it is none of the store's."""

    @abstractmethod
    def quick_check(self, connection: Connection) -> None:
        """DamagedStore where the structure of the store is damaged."""

    @abstractmethod
    def backup(self, path: str | Path) -> Path:
        """A whole copy of this moment, made while others may write; FileExistsError where `path` is taken."""

    # transactions

    @property
    def engine(self) -> Engine:
        """The connections of this process."""
        if self._engine is not None and self._pid != os.getpid():
            # Closing an inherited connection could drop the parent's locks, its WAL file or its session at
            # the server, and so could collecting it: the copy is kept for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
            self._engine = None
        if self._engine is None:
            self._pid = os.getpid()
            self._engine = self._make_engine()
        return self._engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, the only one that writes at its time; none of it on any error."""
        if not self.writable:
            raise RatingError(
                f"{self.place} was written by a newer ftlab: it can be read and exported here, not written; "
                "upgrade ftlab"
            )
        with self._explained(), self._connected() as connection:
            connection.info.pop("ftlab_last", None)
            with connection.begin():
                yield connection
            self._committed(connection.info.pop("ftlab_last", None))

    def repeated(self, work: Callable[[Connection], _Result]) -> _Result:
        """What `work` returns, after its commit; done again on a new connection where one was lost.

        Where the connection was lost during COMMIT its outcome is unknown: `work` must look up what is there
        already. It starts once the server has settled the first attempt, whose lock it waits for.
        """
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                with self.writing() as connection:
                    result = work(connection)
            except ConnectionLost:
                if time.monotonic() > deadline:
                    raise
            else:
                return result

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent picture; holds up no writer and cannot write itself."""
        with self._explained(), self._connected() as plain:
            connection = self._for_reading(plain)
            with connection.begin() as transaction:
                try:
                    yield connection
                finally:
                    transaction.rollback()
                    self._after_reading(connection)

    @contextmanager
    def erasing(self) -> Iterator[Connection]:
        """A writing transaction that takes words out, as thoroughly as the kind of store allows."""
        with self.writing() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection; where the server was reached before, it is tried again for 10 s."""
        deadline, wait = time.monotonic() + RECONNECT_S, 0.02
        while True:
            try:
                connection = self.engine.connect()
                break
            except DBAPIError as error:
                away = isinstance(self._in_words(error), ConnectionLost)
                if not (away and self._reached) or time.monotonic() > deadline:
                    raise
                time.sleep(wait)
                wait = min(0.5, wait * 2)
        self._reached = True
        with connection:
            yield connection

    def _for_reading(self, connection: Connection) -> Connection:
        return connection.execution_options(ftlab_reading=True)

    def _after_reading(self, connection: Connection) -> None:  # noqa: B027 - nothing to do, by default
        """Takes back what `_for_reading` set."""

    def _committed(self, last: LastEvent | None) -> None:  # noqa: B027 - nothing to do, by default
        """Called after each commit, with the event it ended with."""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_words(error) from error

    def close(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def newest(connection: Connection) -> LastEvent:
    """The newest event of the log."""
    row = connection.exec_driver_sql(
        "SELECT seq, row_hash, server_utc FROM rating_event ORDER BY seq DESC LIMIT 1"
    ).first()
    return LastEvent(0, "0" * 64, None) if row is None else LastEvent(*row)


def words_of(error: Exception) -> str:
    """What the driver said, in one line."""
    cause: Any = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())


def flush(path: Path) -> None:
    """Flush to the disk (fsync), of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stamp() -> str:
    """Now, for a file name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
