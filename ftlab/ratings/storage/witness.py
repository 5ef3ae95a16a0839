"""A witness beside a SQLite store: which event was the last to get a receipt, and which file it went into.

SQLite opens a store whose log (`-wal`) was deleted, or that was copied without it, as if nothing had been:
the newest events are simply not there. Two marks tell. `<name>.last` holds number and hash of the last event,
written after its commit: a store that ends before it has lost events. And the store holds the number of its
own file (inode) in `user_version`: where it does not fit, the file is a copy that `backup` did not make.
"""

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, text

from ftlab.ratings.storage.database import LastEvent, stamp

_WIDTH = 160  # one record of fixed width: a single small write, whole or not at all


class Witness:
    """What is kept beside one store. It is a lower bound: a kill between commit and note leaves it behind.

    Nothing here is flushed to the disk: after a power cut it may be older than the store, never newer.
    """

    def __init__(self, store: Path) -> None:
        self.file = store.with_name(f"{store.name}.last")
        self._store = store
        self._handle: int | None = None

    def note(self, last: LastEvent) -> None:
        """Remembers the newest event. A disk that takes no note takes the rating all the same."""
        line = f"{last.seq} {last.row_hash} {last.server_utc}".ljust(_WIDTH - 1) + "\n"
        with suppress(OSError):  # the event is committed, whether a witness saw it or not
            if self._handle is None:
                self._handle = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(self._handle, line.encode("ascii"), 0)

    def read(self) -> LastEvent | None:
        """What was noted; None where nothing was, or a power cut took it."""
        try:
            fields = self.file.read_text(encoding="ascii").split()
            return LastEvent(int(fields[0]), fields[1], fields[2])
        except (OSError, ValueError, IndexError):
            return None

    def lost(self, connection: Connection, kept: LastEvent | None, found: LastEvent) -> str:
        """What is wrong with a store that ends with `found`, in words; "" where nothing is.

        `kept` was read before the picture that `connection` shows: another process may note events later.
        """
        if kept is None:
            return ""
        if found.seq < kept.seq:
            saved = self._set_aside()
            return (
                f"{self._store} ends with event {found.seq}, but event {kept.seq} had its receipt at "
                f"{kept.server_utc}: {kept.seq - found.seq} are missing. Its log (-wal) was deleted, or an "
                f"older file was put in its place: look for the newer one before you go on. ({saved} keeps "
                "the proof.)"
            )
        wanted = text("SELECT row_hash FROM rating_event WHERE seq = :seq")
        if kept.seq and connection.execute(wanted, {"seq": kept.seq}).scalar() != kept.row_hash:
            saved = self._set_aside()
            return (
                f"{self._store}: event {kept.seq} is not the one that had its receipt at {kept.server_utc}: "
                f"another store was put in its place. ({saved} keeps the proof.)"
            )
        return ""

    def _set_aside(self) -> str:
        saved = self.file.with_name(f"{self.file.name}.{stamp()}")
        self.close()
        with suppress(OSError):  # another process that opens the store now did it
            self.file.rename(saved)
        return saved.name

    def close(self) -> None:
        """Closes the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def mark_of(path: Path) -> int:
    """A number for this very file, from 1 to 2^31 - 1: what `user_version` of its store holds."""
    return path.stat().st_ino % (2**31 - 1) + 1


def copied(connection: Connection, store: Path, found: LastEvent) -> str:
    """What to say of a store that was copied without `backup`; "" where it was not, or holds nothing."""
    mark = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if mark in (0, mark_of(store)):
        return ""
    if connection.exec_driver_sql("SELECT 1 FROM task LIMIT 1").scalar() is None:
        return ""
    return (
        f"{store} is a copy that was not made by backup ({found}): where the first was in use just then, its "
        "newest events are missing here. Compare the last event, or copy again with Ratings.backup or "
        "`ftlab ratings backup`."
    )
