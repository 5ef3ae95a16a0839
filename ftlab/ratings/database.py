"""An open store: its file, its connections, its transactions and what their failures mean to a person."""

import ctypes
import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from ftlab.errors import RatingError
from ftlab.ratings import filesystem
from ftlab.ratings.schema import REVISION

SAFE_SQLITE = (3, 51, 3)
"""Older ones may corrupt a WAL file that two processes write (fixed in 3.51.3)."""

BUSY_MS = 10_000
"""Longest wait for another writer; with 8 writers the slowest of 65,000 commits took 3.6 s."""

_SETTINGS = (
    f"busy_timeout={BUSY_MS}",
    "journal_mode=WAL",
    "synchronous=FULL",  # a commit is on the disk before its receipt
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "mmap_size=0",
)

_QUICK_CHECK_BYTES = 64 * 2**20  # above it the check on opening would take seconds; `verify` makes it then


class StoreBusy(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """Another process held the store for longer than 10 s; nothing was written, try again."""


class NotSaved(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The disk is full or failed; nothing was written, and what was stored before is whole."""


class DamagedStore(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The file is no whole SQLite database; it is left as it is."""


def utc_now() -> str:
    """Now, as ISO 8601 in UTC with microseconds and "Z"."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def crash_point(name: str) -> None:
    """Ends the process by SIGKILL where `$FTLAB_CRASH_AT` names this place: a seam of the crash tests.

    The places are "before_commit" (the event is inserted) and "after_commit" (there is no receipt yet).
    """
    if os.environ.get("FTLAB_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def choose_driver(candidates: list[ModuleType]) -> ModuleType:
    """The first DB-API module with an SQLite that is safe for several writers; else RatingError."""
    for module in candidates:
        if module.sqlite_version_info >= SAFE_SQLITE:
            return module
    found = ", ".join(f"{module.__name__} has {module.sqlite_version}" for module in candidates)
    raise RatingError(
        f"SQLite {'.'.join(map(str, SAFE_SQLITE))} or newer is needed to store ratings ({found}): older "
        "ones may damage a database that two kernels write. `pip install pysqlite3` brings one."
    )


def _driver() -> ModuleType:
    candidates: list[ModuleType] = [sqlite3]
    with suppress(ImportError):  # only asked for where the standard library's SQLite is too old
        import pysqlite3

        candidates.append(pysqlite3)
    return choose_driver(candidates)


def file_of(path_or_url: str | Path) -> Path:
    """The file meant by a path or by "sqlite:///path"; RatingError for another kind of URL."""
    text = str(path_or_url)
    if "://" in text:
        if not text.startswith("sqlite:///"):
            scheme = text.split("://", 1)[0]
            raise RatingError(f"ratings are stored in a SQLite file, not in {scheme!r}: give a path")
        text = text.removeprefix("sqlite:///")
    if text in ("", ":memory:"):
        raise RatingError("ratings in memory would be lost with the kernel: give a path")
    return Path(text).expanduser().absolute()


class Database:
    """One SQLite file in WAL mode with full synchronisation; made with mode 0600 where there is none.

    Safe for threads (a connection serves one at a time) and across a fork (the child opens its own).
    `writable` is False for a file of a newer ftlab, which can still be read.
    """

    def __init__(self, path_or_url: str | Path) -> None:
        self.path = file_of(path_or_url)
        self._module = _driver()
        network = filesystem.network_of(self.path)
        if network:
            raise RatingError(
                f"{self.path} lies on a network file system ({network}), where SQLite loses data: "
                "set FTLAB_HOME to a folder on a disk of this machine, or give such a path"
            )
        self._engine: Engine | None = None
        self._pid = os.getpid()
        if not self.path.exists():
            self._create()
        self.writable = True
        self._open()

    def _create(self) -> None:
        """Makes the whole store beside its place and links it there: nobody ever sees half of one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")  # mode 0600
        except OSError as error:
            raise NotSaved(f"{self.path} cannot be made ({error.strerror}): choose another folder") from error
        os.close(handle)
        place, self.path = self.path, Path(name)
        try:
            self._upgrade()
            self.close()
            # FileExistsError: another process was faster, and its store is as good
            with suppress(FileExistsError):
                os.link(name, place)
                flush(place.parent)
        finally:
            self.path = place
            for leftover in (name, f"{name}-wal", f"{name}-shm"):
                Path(leftover).unlink(missing_ok=True)

    def _open(self) -> None:
        with self.reading() as connection:
            revision = self._revision(connection)
            if self.path.stat().st_size <= _QUICK_CHECK_BYTES:
                self.quick_check(connection)
        if revision is None or revision < REVISION:
            if revision is not None:
                self.backup(self.path.with_name(f"{self.path.name}.before-{REVISION}-{_stamp()}"))
            self._upgrade()
        self.writable = revision is None or revision <= REVISION

    def _revision(self, connection: Connection) -> str | None:
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
        if "alembic_version" not in tables:
            if tables:
                raise RatingError(f"{self.path} is a database of another program ({min(tables)!r} in it)")
            return None
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())

    def quick_check(self, connection: Connection) -> None:
        """DamagedStore where SQLite finds the structure of the file damaged."""
        answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if answer != "ok":
            raise DamagedStore(f"{self.path} is damaged ({answer}): it is left as it is; restore a backup")

    def _upgrade(self) -> None:
        # here, not above: a store that is up to date opens without Alembic
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%")
        )
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @property
    def engine(self) -> Engine:
        """The connections of this process."""
        if self._engine is not None and self._pid != os.getpid():
            # Closing an inherited connection could drop the parent's locks or its WAL file, and so could
            # collecting it: the copy is kept for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
            self._engine = None
        if self._engine is None:
            self._pid = os.getpid()
            engine = create_engine(
                "sqlite://",
                module=self._module,
                creator=self._connect,
                pool_size=4,
                max_overflow=60,
                poolclass=QueuePool,
            )
            event.listen(engine, "begin", _begin)
            self._engine = engine
        return self._engine

    def _connect(self) -> Any:
        # mode=rw: a file that was moved away is an error, not a new empty store
        connection = self._module.connect(
            f"file:{quote(str(self.path))}?mode=rw",
            uri=True,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: Any) -> None:
        for setting in _SETTINGS:
            answer = connection.execute(f"PRAGMA {setting}").fetchall()
            if setting == "journal_mode=WAL" and answer != [("wal",)]:
                raise RatingError(
                    f"{self.path}: its file system takes no write-ahead log; choose another disk"
                )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, begun IMMEDIATE and committed at the end; none of it on any error."""
        if not getattr(self, "writable", True):
            raise RatingError(
                f"{self.path} was written by a newer ftlab: it can be read and exported here, not written; "
                "upgrade ftlab"
            )
        with self._explained(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent picture; holds up no writer and cannot write itself."""
        with self._explained(), self.engine.connect() as plain:
            connection = plain.execution_options(ftlab_reading=True)
            with connection.begin() as transaction:
                try:
                    yield connection
                finally:
                    transaction.rollback()
                    connection.connection.driver_connection.execute("PRAGMA query_only=OFF")  # type: ignore[union-attr]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_words(error) from error
        except self._module.DatabaseError as error:
            raise self._in_words(error) from error

    def _in_words(self, error: Exception) -> Exception:
        cause = getattr(error, "orig", None) or error
        words = str(cause)
        if "locked" in words or "busy" in words:
            return StoreBusy(f"{self.path} is held by another process ({words}): NOT saved, try again")
        if "full" in words or "disk I/O" in words or "unable to open" in words:
            return NotSaved(
                f"{self.path}: NOT saved ({words}); free disk space or mend the folder, then try again"
            )
        if any(sign in words for sign in ("malformed", "not a database", "decode")):
            return DamagedStore(f"{self.path} is damaged ({words}): it is left as it is; restore a backup")
        if isinstance(error, OperationalError):
            return NotSaved(f"{self.path}: NOT saved ({words})")
        return error

    def backup(self, path: str | Path) -> Path:
        """A whole copy of this moment, made by SQLite's backup API while others may write; mode 0600.

        FileExistsError where `path` is taken.
        """
        goal = Path(path).expanduser().absolute()
        if goal.exists():
            raise FileExistsError(f"{goal} exists: give the backup another name")
        handle, name = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}-")
        os.close(handle)
        try:
            with self._explained(), self.engine.connect() as source:
                copy = self._module.connect(name)
                try:
                    source.connection.driver_connection.backup(copy)  # type: ignore[union-attr]
                finally:
                    copy.close()
            flush(Path(name))
            os.link(name, goal)
        finally:
            Path(name).unlink(missing_ok=True)
        flush(goal.parent)
        return goal

    def close(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def flush(path: Path) -> None:
    """Flush to the disk (fsync), of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("ftlab_reading"):
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")
    else:  # a transaction that reads first and then writes would fail at once when another one wrote
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
