"""A run: a folder, and the process that fills it.

    NAME/config.json      what was asked for
         data.json        hashes of the files that it was to learn from, as they were then
         events.jsonl     what happened, a line each
         log.txt          what trainer and libraries printed
         process.json     which process trains, written by its parent before it begins
         exit.json        how that process ended, written by its parent
         stop             there: the trainer finishes its step, saves and ends
         checkpoints/     enough to go on from
         model/           the result, manifest.json last

Everything is read from the folder, so that any process on the machine sees the same run; opening one again in a
new kernel is no different from having started it.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from ftlab.config import NAME, RunConfig
from ftlab.errors import ConfigError, RunError
from ftlab.events import Ended, Evaluated, Event, Measured, Started, read
from ftlab.home import home
from ftlab.process import Process, read_json, write_whole
from ftlab.warm import request
from ftlab.warm.keeper import EVENTS, EXIT, LOG, PROCESS

Status = Literal["created", "starting", "running", "finished", "stopped", "diverged", "failed"]
ENDS = ("finished", "stopped", "diverged", "failed")

CONFIG = "config.json"
DATA = "data.json"
STOP = "stop"
_NOW = b"now"
LOOK_SECONDS = 0.06
"""Between two looks at a running run: about 15 batches a second, as much as a browser draws."""

EXIT_SECONDS = 1.0
"""How long a parent may take to record how its trainer ended."""

_log = logging.getLogger(__name__)


class View(Protocol):
    """Anything that draws events."""

    def update(self, events: list[Event], /) -> Any:
        """Takes the events since the last call, in order; any batching comes to the same picture."""


class Run:
    """One folder below the home's `runs`. Use `create`, `open` or `runs()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen = _Seen(None)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    @classmethod
    def create(cls, config: RunConfig) -> Self:
        """Makes the folder, whole or not at all; nothing is started.

        A name made from method and model gets -2, -3… where it is taken; a name that was given is refused then.
        Raises RunError for that, and where the folder cannot be written.
        """
        config = config.anchored()
        try:
            root = runs_folder()
            # Below the root, so that the rename stays on one file system; the dot keeps it out of every listing.
            with tempfile.TemporaryDirectory(prefix=".new-", dir=root, ignore_cleanup_errors=True) as draft:
                for name in _names(config):
                    text = config.with_(name=name).to_json()
                    write_whole(Path(draft) / DATA, json.dumps(_data_hashes(config)).encode("ascii"))
                    write_whole(Path(draft) / CONFIG, text.encode("utf-8"))
                    with contextlib.suppress(FileExistsError):
                        _rename_new(Path(draft), root / name)
                        return cls(root / name)
        except OSError as error:
            raise RunError(
                f"{error.filename or home()}: no run can be created: {error.strerror or error}"
            ) from error
        raise RunError(
            f"a run named {config.name!r} is there already ({root / config.name}); "
            f"take another name, or leave it empty to have one made; Run.open({config.name!r}) opens that one"
        )

    @classmethod
    def open(cls, name: str) -> Self:
        """The run of this name ("run:NAME" too). Raises RunError where there is none, or no readable one."""
        name = name.removeprefix("run:")
        if not NAME.fullmatch(name):
            raise RunError(
                f"{name!r} is no name of a run; those have a to z, 0 to 9, '.', '_' and '-', no leading dot"
            )
        run = cls(runs_folder() / name)
        if not run.folder.is_dir():
            known = [other.name for other in runs()]
            raise RunError(f"no run {name!r} in {runs_folder()}; there are: {', '.join(known) or 'none yet'}")
        _ = run.config
        return run

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def reference(self) -> str:
        """What Compare, a judge or another run's `model` takes: "run:NAME"."""
        return f"run:{self.name}"

    @property
    def config(self) -> RunConfig:
        """What was asked for. Raises RunError where config.json is missing or damaged."""
        path = self.folder / CONFIG
        try:
            return RunConfig.from_json(path.read_bytes(), source=str(path))
        except OSError as error:
            raise RunError(
                f"{path}: the run is broken: {error.strerror}; remove {self.folder} or restore it"
            ) from None
        except ConfigError as error:
            raise RunError(
                f"the run is broken, restore its configuration or remove {self.folder}:\n{error}"
            ) from None

    @property
    def status(self) -> Status:
        """Derived anew from the folder and the process each time; nobody has to be told.

        "starting" lasts until the trainer's first event; a process that died without a word is "failed".
        """
        return self._state()[0]

    @property
    def reason(self) -> str:
        """Why it ended, in words; empty while it hasn't."""
        status, ended = self._state()
        if ended:
            return ended.reason
        return self._why() if status == "failed" else ""

    @property
    def pid(self) -> int | None:
        """The number of the process that trains now; None where none does."""
        process = self._process()
        return process.pid if process and process.alive else None

    def start(self) -> Self:
        """Starts the trainer in a session of its own and returns as soon as it is recorded.

        It survives interrupt, restart and death of this process. Raises RunError where the run was started before.
        """
        with self._lock():
            status = self.status
            if status in {"starting", "running"}:
                raise RunError(
                    f"{self.name} is running already (process {self.pid}); follow() shows it, stop() ends it, "
                    "and launch(config) makes another run of the same kind"
                )
            if status != "created":
                raise RunError(
                    f"{self.name} has {status} already; resume() goes on where it was, launch(config) begins anew"
                )
            _ = self.config
            self._launch()
        return self

    def resume(self) -> Self:
        """Goes on from the newest whole checkpoint, or from the start where there is none.

        Raises RunError where the run is going on, was never started, is finished, or diverged (the same numbers
        would come again).
        """
        with self._lock():
            status = self.status
            ways_out = {
                "created": "start() starts it",
                "starting": f"process {self.pid} is at it",
                "running": f"process {self.pid} is at it; stop() ends it",
                "finished": f"launch(config.with_(model={self.reference!r})) trains its result further",
                "diverged": "the same numbers would come again; launch it with a lower learning_rate",
            }
            if status in ways_out:
                raise RunError(f"{self.name} is {status} and cannot be resumed: {ways_out[status]}")
            _ = self.config
            self._wait_for_process()
            self._launch()
        return self

    def stop(self, how: Literal["saving", "now"] = "saving") -> Self:
        """Has the trainer finish its step, save and end; "now" kills it and loses what the last checkpoint lacks.

        Returns at once; `wait()` waits for the end. A run that has finished or stopped is left as it is. Raises
        RunError where nothing runs that could be stopped.
        """
        status = self.status
        if status in {"finished", "stopped"}:
            return self
        if status not in {"starting", "running"}:
            raise RunError(
                f"{self.name} is not running, so nothing is stopped: {status}. {self.reason}".rstrip(". ")
            )
        process = self._process()
        try:
            (self.folder / STOP).write_bytes(_NOW if how == "now" else b"")
        except OSError as error:
            if how != "now":
                raise RunError(
                    f"{self.folder / STOP}: cannot be written ({error.strerror}); stop('now') kills process {self.pid}"
                ) from error
        if how == "now" and process:
            process.kill()
        return self

    def wait(self, timeout: float | None = None, *, check: bool = False) -> Status:
        """Waits for the end, at most `timeout` seconds, and gives the status, whichever it is then.

        With `check`, raises RunError with the reason unless the run finished or was stopped.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        while (status := self.status) not in ENDS and (limit is None or time.monotonic() < limit):
            if status == "created":
                raise RunError(f"{self.name} was never started; start() starts it")
            time.sleep(LOOK_SECONDS)
        if check and status not in {"finished", "stopped"}:
            raise RunError(f"{self.name} {status}: {self.reason or 'not at its end yet'}")
        return status

    def events(self, offset: int = 0) -> tuple[list[Event], int]:
        """Whole lines of events.jsonl from byte `offset` on, and the offset for the next call."""
        return read(self.folder / EVENTS, offset)

    def metrics(self) -> list[dict[str, Any]]:
        """One row a step: "step", "epoch", the figures, and those of an evaluation as "eval/…".

        Where a resumed run went over a step again, the last time counts.
        """
        rows: dict[int, dict[str, Any]] = {}
        for event in self.events()[0]:
            if isinstance(event, Measured):
                rows.setdefault(event.step, {}).update(
                    {"step": event.step, "epoch": event.epoch}, **event.values
                )
            elif isinstance(event, Evaluated):
                figures = {f"eval/{name}": value for name, value in event.values.items()}
                rows.setdefault(event.step, {"step": event.step}).update(figures)
        return [rows[step] for step in sorted(rows)]

    def follow(self, *views: View) -> "Following":
        """Gives every event, first the past and then what comes, to each view's `update`, from a thread.

        It ends behind the end of the run. A view whose update raises is dropped with the traceback in the log.
        """
        following = Following(self, views)
        following.start()
        return following

    def _process(self) -> Process | None:
        return Process.from_dict(read_json(self.folder / PROCESS))

    def _state(self) -> tuple[Status, Ended | None]:
        record = read_json(self.folder / PROCESS)
        process = Process.from_dict(record)
        if record is None or process is None:
            return ("failed" if self._fault() else "created"), None
        is_alive = process.alive  # asked before reading, so that a dying trainer's last lines still count
        seen = self._seen if self._seen.process == process else _Seen(process, int(record.get("offset", 0)))
        self._seen = seen = seen.looked(self.folder / EVENTS)
        if seen.ended:
            return seen.ended.status, seen.ended
        if not is_alive:
            return "failed", None
        return ("running" if seen.has_started else "starting"), None

    def _why(self) -> str:
        """What is known of the end of a process that wrote no Ended."""
        record = read_json(self.folder / PROCESS) or {}
        process, keeper = Process.from_dict(record), Process.from_dict(record.get("keeper"))
        if process is None:
            return self._fault()
        if not process.of_this_boot:
            return "interrupted: the machine was started anew meanwhile; resume() goes on from the newest checkpoint"
        limit = time.monotonic() + EXIT_SECONDS
        while (end := self._exit(process)) is None and keeper and keeper.alive and time.monotonic() < limit:
            time.sleep(0.01)
        last = _last_line(self.folder / LOG, int(record.get("log", 0)))
        if end is None:
            return f"the process ended without a word, and so did its parent; last line of {LOG}: {last or '(none)'}"
        if end.get("signal"):
            was_asked = (self.folder / STOP).is_file() and (self.folder / STOP).read_bytes() == _NOW
            return "killed by stop('now')" if was_asked else _signal_words(int(end["signal"]))
        if not end.get("code") or not last:
            return f"the process ended with exit code {end.get('code')} before the run did; see {self.folder / LOG}"
        return last

    def _fault(self) -> str:
        """Why the run is broken; empty where its configuration can be read."""
        try:
            _ = self.config
        except RunError as error:
            return str(error)
        return ""

    def _exit(self, process: Process) -> dict[str, Any] | None:
        end = read_json(self.folder / EXIT)
        return end if end and Process.from_dict(end) == process else None

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while a process is put into the folder. Raises RunError where another one holds it."""
        try:
            with (self.folder / ".lock").open("w", encoding="ascii") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise RunError(
                        f"{self.name} is being started by another process at this moment"
                    ) from None
                yield
        except OSError as error:
            raise RunError(f"{self.folder}: the run cannot be started: {error.strerror or error}") from error

    def _launch(self) -> None:
        (self.folder / STOP).unlink(missing_ok=True)
        with contextlib.closing(request({"do": "train", "dir": str(self.folder)})) as replies:
            for reply in replies:
                if "error" in reply:
                    raise RunError(f"{self.folder}: the run cannot be started: {reply['error']}")

    def _wait_for_process(self) -> None:
        """The last process may still be tidying up behind its Ended."""
        process = self._process()
        limit = time.monotonic() + 30
        while process and process.alive:
            if time.monotonic() > limit:
                raise RunError(
                    f"{self.name} ended, but its process {process.pid} has not gone for 30 s; kill it, then resume"
                )
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of the attempt of one process after `offset` bytes of events.jsonl."""

    process: Process | None
    offset: int = 0
    has_started: bool = False
    ended: Ended | None = None

    def looked(self, path: Path) -> "_Seen":
        """The same after what has been written since; a run is asked often, and its file may be long."""
        events, offset = read(path, self.offset)
        if not events:
            return self
        ended = next((event for event in reversed(events) if isinstance(event, Ended)), self.ended)
        has_started = self.has_started or any(isinstance(event, Started) for event in events)
        return _Seen(self.process, offset, has_started, ended)


class Following(threading.Thread):
    """The thread that carries a run's events to views. `errors` holds what views raised."""

    def __init__(self, run: Run, views: tuple[View, ...]) -> None:
        super().__init__(name=f"ftlab-follow-{run.name}", daemon=True)
        self._followed = run
        self._views = list(views)
        self._given_up = threading.Event()
        self.errors: list[Exception] = []

    def stop(self) -> None:
        """Ends the thread after the batch at hand; the run goes on."""
        self._given_up.set()

    def run(self) -> None:
        offset, step = 0, 0
        while self._views and not self._given_up.is_set():
            status, ended = self._followed._state()  # noqa: SLF001 - asked before reading, so that nothing comes behind it
            events, offset = self._followed.events(offset)
            step = max([step, *(event.step for event in events if isinstance(event, Measured))])
            is_over = status in ENDS
            if is_over and ended is None:
                # The trainer could not say so itself; a view need not know the difference.
                events.append(Ended(time.time(), step, "failed", self._followed.reason))
            if events:
                self._deliver(events)
            if is_over:
                return
            self._given_up.wait(LOOK_SECONDS)

    def _deliver(self, events: list[Event]) -> None:
        for view in list(self._views):
            try:
                view.update(list(events))
            except Exception as error:  # noqa: BLE001 - one view's fault is not the others'
                self._views.remove(view)
                self.errors.append(error)
                _log.exception("%s: %r raised and is followed no more", self._followed.name, view)


def launch(config: RunConfig | None = None, /, **fields: Any) -> Run:
    """Creates and starts: `launch(method="lora", model="wren", epochs=2)`, or a RunConfig with fields to replace.

    With a name, a run that was launched under it with the same configuration on the same data is given back as it
    stands, going on or over, so that a cell finds its run again after a restart of the kernel; where the name was
    given to another run, this one is called NAME-2, -3…
    """
    chosen = RunConfig(**fields) if config is None else config.with_(fields)
    if not chosen.name:
        return Run.create(chosen).start()
    for name in _numbered(chosen.name):
        named = chosen.with_(name=name)
        if not (runs_folder() / name).exists():
            return Run.create(named).start()
        run = Run.open(name)
        if _is_of(run, named.anchored()):
            return run.start() if run.status == "created" else run
    raise AssertionError  # there is always another number


def _is_of(run: Run, config: RunConfig) -> bool:
    """Whether the run was made of this configuration and these data."""
    is_same = run.config.to_dict() == config.to_dict()
    return is_same and read_json(run.folder / DATA) == _data_hashes(config)


def _data_hashes(config: RunConfig) -> dict[str, str]:
    """sha256 of each data file that can be read; what cannot is the trainer's to tell."""
    hashes = {}
    for source in (config.data.train, config.data.eval):
        if source is not None and not source.startswith("wren:") and Path(source).is_file():
            with Path(source).open("rb") as file:
                hashes[source] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def runs() -> list[Run]:
    """Every run of this home, newest first; also those whose folder is broken (status "failed")."""
    folders = [path for path in runs_folder().iterdir() if path.is_dir() and NAME.fullmatch(path.name)]
    return [Run(folder) for folder in sorted(folders, key=_born, reverse=True)]


def runs_folder() -> Path:
    """Where runs are kept: `runs` below the home."""
    folder = home() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _born(folder: Path) -> tuple[float, str]:
    config = folder / CONFIG  # never written again, so its time is the run's
    return (config if config.is_file() else folder).stat().st_mtime, folder.name


def _names(config: RunConfig) -> Iterator[str]:
    if config.name:
        yield config.name
        return
    yield from _numbered(config.title)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        yield f"{name[:73]}-{number}"


def _rename_new(source: Path, target: Path) -> None:
    """Raises FileExistsError where the target is there, also as an empty folder."""
    target.mkdir(mode=0o700)  # claims the name; a rename alone would not tell an empty folder of another run
    source.rename(target)


def _last_line(log: Path, offset: int) -> str:
    """The last line that says something; for a traceback that is the error itself."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset, size - 65_536))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    if number == signal.SIGKILL:
        return (
            "killed by signal 9 (SIGKILL), as the system does when memory runs out: try a smaller batch_size or "
            "max_length; resume() goes on from the newest checkpoint"
        )
    return f"killed by signal {number} ({name}); resume() goes on from the newest checkpoint"
