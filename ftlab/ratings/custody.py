"""An open store in somebody's care: where it is, closing, checking, copying it, and who is in it."""

from pathlib import Path
from types import TracebackType
from typing import Self

from ftlab.errors import RatingError
from ftlab.home import home
from ftlab.ratings.chain import Verified, verify
from ftlab.ratings.names import names, rename
from ftlab.ratings.redaction import redact
from ftlab.ratings.storage.database import LastEvent, newest, open_database


class Custody:
    """What `Ratings` is, but for tasks and opinions."""

    def __init__(self, path_or_url: str | Path | None = None) -> None:
        self.database = open_database(path_or_url if path_or_url is not None else home() / "ratings.db")

    @property
    def place(self) -> str:
        """Where the store is: a path, or a URL without its password."""
        return self.database.place

    @property
    def path(self) -> Path:
        """The database file; RatingError where the store is on a server."""
        if self.database.path is None:
            raise RatingError(f"{self.place} is on a server, not in a file")
        return self.database.path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r})"

    def close(self) -> None:
        """Closes the connections; any later call opens new ones."""
        self.database.close()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes."""
        self.close()

    def verify(self) -> Verified:
        """Recomputes every hash: of the log, of the answers, of the sides; names the first bad event."""
        with self.database.reading() as connection:
            self.database.quick_check(connection)
            return verify(connection)

    def backup(self, path: str | Path) -> Path:
        """A whole copy of this moment, made while others may write; a server's is made by `pg_dump`."""
        return self.database.backup(path)

    def last_event(self) -> LastEvent:
        """The newest event: "last event 812 at 2026-11-23T09:30:00Z"; what was found on opening, and now."""
        with self.database.reading() as connection:
            return newest(connection)

    def rename(self, rater: str, name: str) -> None:
        """Calls the rater of this id `name` from now on; the id, which the ratings carry, stays."""
        with self.database.writing() as connection:
            rename(connection, rater, name)

    def names(self) -> dict[str, str]:
        """How each rater is called now, by id."""
        with self.database.reading() as connection:
            return names(connection)

    def redact(self, event_id: str, reason: str) -> None:
        """Takes out what a person wrote in an event, for good: comment, edited text, labels.

        The event stays, with its choice and its hashes, and `verify` reports it as redacted. Backups and
        exports made before still hold the words.
        """
        with self.database.erasing() as connection:
            redact(connection, event_id, reason)
