"""A store in PostgreSQL: for several raters on several machines. The same tables, one writer at a time."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from ftlab.errors import RatingError
from ftlab.ratings.storage.database import (
    BUSY_MS,
    ConnectionLost,
    DamagedStore,
    Database,
    NotSaved,
    StoreBusy,
    words_of,
)

_LOCK = 718_293
"""First half of the advisory lock's key; the second is the schema's name."""

_HUNG_S = 60
"""A writer that says nothing for so long (a stopped kernel) loses its transaction: others wait for it."""

_BEGIN_WRITING = (
    f"SET LOCAL lock_timeout = {BUSY_MS}; SET LOCAL idle_in_transaction_session_timeout = '{_HUNG_S}s'; "
    f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))"
)

_KEEPALIVE = {  # a network that swallows everything is noticed in half a minute, not in a quarter of an hour
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "connect_timeout": 10,
}

_LOST = ("08", "57P01", "57P02", "57P03", "25P03")  # of SQLSTATE, by their beginning
_FULL = ("53100", "53200", "58030")
_DAMAGED = ("XX001", "XX002")


class PostgresDatabase(Database):
    """A database, or a schema of one, of a PostgreSQL server (12 or newer) with the encoding UTF8.

    URL: "postgresql://user:password@host/database", also with libpq's options; a schema of its own by
    "?options=-csearch_path%3Dname". The password is never printed.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        super().__init__(_without_secrets(self._url))
        self._open()

    def _make_engine(self) -> Engine:
        more = {name: value for name, value in _KEEPALIVE.items() if name not in self._url.query}
        try:
            engine = create_engine(
                self._url,
                connect_args=more | {"application_name": "ftlab"},
                pool_size=4,
                max_overflow=60,
                pool_pre_ping=True,  # a connection that died while idle is replaced before it is used
                hide_parameters=True,  # what raters wrote is no part of an error
            )
        except ModuleNotFoundError as error:
            raise RatingError(
                f"{self.place} needs psycopg, which is not installed: pip install 'ftlab[postgres]'"
            ) from error
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def _tables(self, connection: Connection) -> set[str]:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise RatingError(
                f"{self.place} keeps its text in {encoding}, which loses characters: make the database with "
                "ENCODING 'UTF8'"
            )
        if connection.exec_driver_sql("SELECT current_schema()").scalar() is None:
            raise RatingError(f"{self.place}: the schema of its search_path does not exist; create it first")
        wanted = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        return set(connection.exec_driver_sql(wanted).scalars())

    def _check_on_opening(self, connection: Connection) -> None:
        """A server looks after its files itself."""

    def _before_upgrade(self) -> None:
        """DDL is transactional here: an upgrade that fails leaves nothing behind. Backups are pg_dump's."""

    def quick_check(self, connection: Connection) -> None:
        """Nothing: a server looks after its files itself (`pg_amcheck`)."""

    def _for_reading(self, connection: Connection) -> Connection:
        return connection.execution_options(
            ftlab_reading=True, isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def _in_words(self, error: Exception) -> Exception:
        if not isinstance(error, DBAPIError):
            return error
        state = str(getattr(error.orig, "sqlstate", None) or "")
        words = words_of(error)
        if error.connection_invalidated or state.startswith(_LOST) or _never_came(error, state):
            if not self._reached:
                return ConnectionLost(f"the server of {self.place} cannot be reached ({words})")
            return ConnectionLost(
                f"the connection to {self.place} failed ({words}): NOT known to be saved; try again, what is "
                "stored already is not stored twice"
            )
        if state == "55P03":
            return StoreBusy(f"{self.place} is held by another process ({words}): NOT saved, try again")
        if state == "53300":
            return StoreBusy(f"{self.place} takes no more connections ({words}): NOT saved, try again")
        if state.startswith(_FULL):
            return NotSaved(f"{self.place}: NOT saved ({words}); free disk space of the server, try again")
        if state in _DAMAGED:
            return DamagedStore(f"{self.place} is damaged ({words}): restore a backup")
        if state in ("25006", "42501"):
            return RatingError(f"{self.place} may be read but not written here ({words})")
        if state[:2] in ("28", "3D") or not (state or self._reached):
            return RatingError(f"{self.place} cannot be opened ({words})")
        return error

    def backup(self, path: str | Path) -> Path:
        """RatingError that says how: a server's backup is made by its own tools."""
        raise RatingError(
            f"{self.place} is backed up by PostgreSQL's own tools: pg_dump --format=custom --file={path} and "
            f"the URL; or export everything: Ratings.export({str(path)!r}, kind='raw')"
        )


def _never_came(error: DBAPIError, state: str) -> bool:
    """A connection that could not be made has no SQLSTATE where no server answered."""
    from psycopg import OperationalError

    return not state and isinstance(error.orig, OperationalError)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # "from None": the error of the parser may show the URL with its password
        raise RatingError(
            f"not a URL of PostgreSQL ({type(error).__name__}): 'postgresql://user:password@host/database'"
        ) from None
    if not parsed.database:
        raise RatingError(f"{_without_secrets(parsed)} names no database: add '/name'")
    return parsed.set(drivername="postgresql+psycopg")


def _without_secrets(url: URL) -> str:
    secret = [name for name in url.query if "pass" in name.lower() or "key" in name.lower()]
    plain = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    return plain.difference_update_query(secret).render_as_string()


def _set_up(connection: Any, _: Any) -> None:
    """A receipt means that the commit is on the server's disk, whatever its defaults."""
    was, connection.autocommit = connection.autocommit, True
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = was


def _begin(connection: Connection) -> None:
    # the lock makes writers follow one another as SQLite's do: no gap in `seq`, no task given out twice
    if not connection.get_execution_options().get("ftlab_reading"):
        connection.exec_driver_sql(_BEGIN_WRITING)
