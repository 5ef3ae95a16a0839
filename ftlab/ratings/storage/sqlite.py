"""A store in one SQLite file: WAL, fully synchronized, on a disk of this machine."""

import os
import random
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from ftlab.errors import RatingError
from ftlab.ratings.schema import REVISION
from ftlab.ratings.storage import filesystem
from ftlab.ratings.storage.database import (
    BUSY_MS,
    DamagedStore,
    Database,
    LastEvent,
    NotSaved,
    StoreBusy,
    SuspectStore,
    flush,
    stamp,
    words_of,
)
from ftlab.ratings.storage.witness import Witness, copied, mark_of

SAFE_SQLITE = (3, 51, 3)
"""Older ones may corrupt a WAL file that two processes write (fixed in 3.51.3)."""

_SETTINGS = (
    f"busy_timeout={BUSY_MS}",
    "journal_mode=WAL",
    "synchronous=FULL",  # a commit is on the disk before its receipt
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "mmap_size=0",
)

_QUICK_CHECK_BYTES = 64 * 2**20  # above it the check on opening would take seconds; `verify` makes it then

_DICE = random.Random()  # its own: the user's seeds are nothing to it, nor it to them

_RESCUE = "it is left as it is; restore a backup, or save what can be read with `ftlab ratings rescue`"


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


def driver() -> ModuleType:
    """The DB-API module to use here."""
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
            raise RatingError(
                f"ratings are stored in a SQLite file or in PostgreSQL, not in {scheme!r}: give a path or "
                "a URL such as 'postgresql://user@host/database'"
            )
        text = text.removeprefix("sqlite:///")
    if text in ("", ":memory:"):
        raise RatingError("ratings in memory would be lost with the kernel: give a path")
    return Path(text).expanduser().absolute()


class SqliteDatabase(Database):
    """One SQLite file in WAL mode with full synchronization; made with mode 0600 where there is none."""

    path: Path

    def __init__(self, path_or_url: str | Path) -> None:
        self.path = file_of(path_or_url)
        super().__init__(str(self.path))
        self._module = driver()
        network = filesystem.network_of(self.path)
        if network:
            raise RatingError(
                f"{self.path} lies on a network file system ({network}), where SQLite loses data: "
                "set FTLAB_HOME to a folder on a disk of this machine, or give such a path, or use PostgreSQL"
            )
        self._witness = Witness(self.path)
        kept = self._witness.read()  # before the store is looked at: others may add to both
        if not self.path.exists():
            self._create()
        self._open()
        self._compare(kept)

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
            self._mark()
            self.close()
            # FileExistsError: another process was faster, and its store is as good
            with suppress(FileExistsError):
                os.link(name, place)
                flush(place.parent)
        finally:
            self.path = place
            for leftover in (name, f"{name}-wal", f"{name}-shm"):
                Path(leftover).unlink(missing_ok=True)

    def _tables(self, connection: Connection) -> set[str]:
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())

    def _check_on_opening(self, connection: Connection) -> None:
        if self.path.stat().st_size <= _QUICK_CHECK_BYTES:
            self.quick_check(connection)

    def _before_upgrade(self) -> None:
        self.backup(self.path.with_name(f"{self.path.name}.before-{REVISION}-{stamp()}"))

    def quick_check(self, connection: Connection) -> None:
        """DamagedStore where SQLite finds the structure of the file damaged."""
        answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if answer != "ok":
            raise DamagedStore(f"{self.path} is damaged ({answer}): {_RESCUE}")

    def _compare(self, kept: LastEvent | None) -> None:
        """Warns where the file holds less than it did, or is a copy that may."""
        with self.reading() as connection:
            words = self._witness.lost(connection, kept, self.opened)
            if kept is None:
                words = copied(connection, self.path, self.opened)
            marked = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if self.writable and marked != mark_of(self.path):
            self._mark()
        if words:
            warnings.warn(SuspectStore(words), stacklevel=5)

    def _mark(self) -> None:
        with self.writing() as connection:
            connection.exec_driver_sql(f"PRAGMA user_version = {mark_of(self.path)}")

    def _committed(self, last: LastEvent | None) -> None:
        if last is not None:
            self._witness.note(last)

    def _make_engine(self) -> Engine:
        engine = create_engine(
            "sqlite://",
            module=self._module,
            creator=self._connect,
            pool_size=4,
            max_overflow=60,
            poolclass=QueuePool,
            hide_parameters=True,  # what raters wrote is no part of an error
        )
        event.listen(engine, "begin", self._begin)
        return engine

    def _begin(self, connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        if connection.get_execution_options().get("ftlab_reading"):
            raw.execute("PRAGMA query_only=ON")
            raw.execute("BEGIN")
        else:
            self._wait_to_write(raw)

    def _wait_to_write(self, raw: Any) -> None:
        """Begins IMMEDIATE: a transaction that reads first and writes later fails where another one wrote.

        SQLite's own waiting asks ever more seldom, so that of many writers the one who waits longest has the
        worst chance. Here all of them ask equally often.
        """
        deadline = time.monotonic() + BUSY_MS / 1000
        raw.execute("PRAGMA busy_timeout=0")
        try:
            while True:
                try:
                    raw.execute("BEGIN IMMEDIATE")
                except self._module.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(_DICE.uniform(0.0005, 0.004))
                else:
                    return
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_MS}")

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

    def _after_reading(self, connection: Connection) -> None:
        connection.connection.driver_connection.execute("PRAGMA query_only=OFF")  # type: ignore[union-attr]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with super()._explained():
                yield
        except self._module.DatabaseError as error:
            raise self._in_words(error) from error

    def _in_words(self, error: Exception) -> Exception:
        words = words_of(error)
        if "locked" in words or "busy" in words:
            return StoreBusy(f"{self.path} is held by another process ({words}): NOT saved, try again")
        if "full" in words or "disk I/O" in words or "unable to open" in words:
            return NotSaved(
                f"{self.path}: NOT saved ({words}); free disk space or mend the folder, then try again"
            )
        if any(sign in words for sign in ("malformed", "not a database", "decode")):
            return DamagedStore(f"{self.path} is damaged ({words}): {_RESCUE}")
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
                    copy.execute(f"PRAGMA user_version = {mark_of(Path(name))}")
                finally:
                    copy.close()
            flush(Path(name))
            os.link(name, goal)
        finally:
            Path(name).unlink(missing_ok=True)
        flush(goal.parent)
        return goal

    @contextmanager
    def erasing(self) -> Iterator[Connection]:
        """A writing transaction after which the old content is gone: from the pages, and from the log.

        Not from backups, and not from the log where another connection reads it just then.
        """
        with self.writing() as connection:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            yield connection
        with self._explained(), self._connected() as plain:
            plain.connection.driver_connection.execute(  # type: ignore[union-attr]
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchall()

    def close(self) -> None:
        """Closes this process's connections; the next use opens new ones."""
        super().close()
        self._witness.close()
