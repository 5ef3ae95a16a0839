"""Runs that wait for their turn, and the small process that starts them one after the other.

    runs/.line/NAME.json   this run waits: its place, and which of its processes was the last when it began to
               slots       how many trainings may go on at once; no file: one
               lock        held by the carrier as long as it lives; holds which process that is
               carrier.log what the carrier said

The carrier is needed only while somebody waits: whoever adds a run, waits for one or lists them starts it where
there is none, so that a killed one costs nothing but the time until somebody looks. It trains nothing itself.
An entry is spent once another process than `after` was put into its run's folder; nobody has to take it away in
the same moment, and no run is started twice.
"""

import contextlib
import fcntl
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ftlab.config import NAME
from ftlab.errors import RunError
from ftlab.home import home
from ftlab.process import Process, read_json, write_whole
from ftlab.run.attempt import process_of
from ftlab.run.shelf import run_folders, runs_folder
from ftlab.warm import _import_path, environment

if TYPE_CHECKING:
    from ftlab.run.run import Run

CARRIER = (sys.executable, "-m", "ftlab.run")
"""The command that carries the line whose lock's descriptor comes behind it."""

LOOK_SECONDS = 0.5
"""How soon the carrier sees that the line or the number of slots has changed; the end of a training it sees at once."""

MOST_SLOTS = 64

_log = logging.getLogger(__name__)


class StartingError(RunError):
    """Another process starts the run at this very moment."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the line."""

    name: str
    place: float
    """Lower comes first; the time of joining unless somebody moved it."""
    after: Process | None
    fault: str = ""
    """Why it could not be started; it waits no more."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None where nothing readable waits there."""
        values = read_json(path)
        if values is None or not isinstance(values.get("place"), int | float):
            return None
        after = Process.from_dict(values.get("after"))
        return cls(path.stem, float(values["place"]), after, str(values.get("fault") or ""))

    def write(self) -> None:
        """Raises RunError where the disk refuses it."""
        values: dict[str, Any] = {"place": self.place, "fault": self.fault}
        values["after"] = self.after.to_dict() if self.after else None
        try:
            _folder().mkdir(mode=0o700, exist_ok=True)
            write_whole(_path(self.name), json.dumps(values).encode("ascii"))
        except OSError as error:
            raise RunError(
                f"{_path(self.name)}: {self.name} cannot wait: {error.strerror or error}"
            ) from error

    @property
    def is_spent(self) -> bool:
        """Whether the run was started since, or is gone."""
        folder = runs_folder() / self.name
        return not folder.is_dir() or process_of(folder) != self.after

    @property
    def waits(self) -> bool:
        return not self.fault and not self.is_spent


def entry(name: str) -> Entry | None:
    """What the line knows of a run; None where it does not wait and did not fail to start."""
    found = Entry.read(_path(name))
    return None if found is None or found.is_spent else found


def waiting() -> list[Entry]:
    """Those whose turn comes, in order."""
    found = [Entry.read(path) for path in _folder().glob("*.json") if NAME.fullmatch(path.stem)]
    return sorted((one for one in found if one and one.waits), key=lambda one: (one.place, one.name))


def queued() -> list["Run"]:
    """The runs that wait for their turn, the next one first."""
    from ftlab.run.run import Run

    carried()
    return [Run(runs_folder() / one.name) for one in waiting()]


def join(name: str, position: int | None = None) -> None:
    """Lets a run wait, at the end or at this position (1: next); who waits already is moved."""
    others = [one.place for one in waiting() if one.name != name]
    place = time.time()
    if others and place <= others[-1]:
        place = others[-1] + 1.0  # moved there, or a clock that went back
    if position is not None and position <= len(others):
        before = others[position - 2] if position > 1 else others[0] - 2.0
        place = (before + others[max(0, position - 1)]) / 2
    Entry(name, place, process_of(runs_folder() / name)).write()
    carried()


def leave(name: str) -> None:
    """Takes a run out of the line; nothing where it is not in it."""
    _path(name).unlink(missing_ok=True)


def slots(number: int | None = None) -> int:
    """How many trainings may go on at once before a run has to wait, 1 to 64; with a number, sets it.

    Runs that were started past the line count as well. Raises RunError where the number is out of range.
    """
    path = _folder() / "slots"
    if number is not None:
        if not 1 <= number <= MOST_SLOTS:
            raise RunError(f"slots: 1 to {MOST_SLOTS} trainings can go on at once, not {number}")
        runs_folder()
        _folder().mkdir(mode=0o700, exist_ok=True)
        write_whole(path, str(number).encode("ascii"))
        carried()
        return number
    try:
        return min(MOST_SLOTS, max(1, int(path.read_text("ascii"))))
    except (FileNotFoundError, ValueError):
        return 1


def carried() -> None:
    """Sees to it that somebody carries the line, where anyone waits. Raises RunError where nobody can."""
    if not waiting():
        return
    lock = _claim()
    if lock is None:
        return
    try:
        with (_folder() / "carrier.log").open("ab") as log:
            carrier = subprocess.Popen(
                [*CARRIER, str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment() | {"PYTHONPATH": _import_path()},
                pass_fds=[lock],  # with the lock on it: it is taken before anybody else can ask
                start_new_session=True,
            )
        _sign(lock, carrier.pid)
    except OSError as error:
        raise RunError(
            f"{_folder()}: nobody can carry the waiting line: {error.strerror or error}"
        ) from error
    finally:
        os.close(lock)
    # Reaped where this process outlives it; it is nobody's business when.
    threading.Thread(target=carrier.wait, name="ftlab-line-reaper", daemon=True).start()


def carried_by() -> Process | None:
    """The process that carries the line; None where none does."""
    process = Process.from_dict(read_json(_folder() / "lock"))
    return process if process and process.alive else None


def carry(lock: int) -> None:
    """Starts one run after the other until nobody waits; `lock` is the descriptor of the lock held for it."""
    held: int | None = lock
    while held is not None:
        try:
            _sign(held, os.getpid())
            _serve()
        finally:
            os.close(held)
        # Who joined between our last look and the end of the lock found it held, and relies on us.
        held = _claim() if waiting() else None


def _serve() -> None:
    while line := waiting():
        busy = [process for process in map(process_of, run_folders()) if process and process.alive]
        if len(busy) < slots():
            _begin(line[0])
        else:
            _wait_for_any(busy)


def _begin(first: Entry) -> None:
    """Starts a run, or notes in its entry why it could not be."""
    from ftlab.run.run import Run

    try:
        run = Run.open(first.name)
        if first.after is None:
            run.start()
        else:
            run.resume()
    except StartingError:
        time.sleep(0.05)  # somebody else has it; the next look tells what came of it
    except RunError as error:
        _log.warning("%s could not be started: %s", first.name, error)
        if first.waits:
            replace(first, fault=str(error)).write()
    else:
        leave(first.name)


def _wait_for_any(processes: list[Process]) -> None:
    """Until one of them ends, at most LOOK_SECONDS."""
    if not hasattr(os, "pidfd_open"):
        time.sleep(LOOK_SECONDS)
        return
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        for process in processes:
            try:
                handle = os.pidfd_open(process.pid)
            except ProcessLookupError:
                return
            stack.callback(os.close, handle)
            poll.register(handle, select.POLLIN)
        poll.poll(LOOK_SECONDS * 1000)


def _claim() -> int | None:
    """The descriptor of the lock, held; None where a carrier lives."""
    with _refusals():
        lock = os.open(_folder() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _sign(lock: int, pid: int) -> None:
    """Writes into the lock who holds it."""
    process = Process.of(pid)
    os.truncate(lock, 0)
    os.pwrite(lock, json.dumps(process.to_dict() if process else {}).encode("ascii"), 0)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{_folder()}: nobody can carry the waiting line: {error.strerror or error}"
        ) from error


def _folder() -> Path:
    return home() / "runs" / ".line"


def _path(name: str) -> Path:
    return _folder() / f"{name}.json"
