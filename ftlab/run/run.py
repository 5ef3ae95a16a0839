"""The folder of a run, and what can be done with it."""

import contextlib
import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from ftlab import trackers
from ftlab.config import NAME, RunConfig
from ftlab.errors import ConfigError, RunError
from ftlab.events import Ended, Evaluated, Event, Measured, read, skim
from ftlab.home import home
from ftlab.process import Process, read_json, write_whole
from ftlab.run import cloning, line, shelf
from ftlab.run.attempt import ENDS, NOW, STOP, Attempt, Status, process_of, why
from ftlab.run.cloning import Origin
from ftlab.run.following import LOOK_SECONDS, Following, View
from ftlab.warm import request
from ftlab.warm.keeper import EVENTS, PROCESS


class Run:
    """One folder below the home's `runs`. Use `create`, `open` or `runs()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen = Attempt(None)

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
        Raises RunError for that, and where the folder cannot be written; ConfigError where a tracker is missing.
        """
        made = cls._create(config, shelf.names(config), None)
        if made is None:
            raise RunError(
                f"a run named {config.name!r} is there already ({shelf.runs_folder() / config.name}); take another "
                f"name, or leave it empty to have one made; Run.open({config.name!r}) opens that one"
            )
        return made

    @classmethod
    def _create(cls, config: RunConfig, names: Iterator[str], origin: Origin | None) -> Self | None:
        """The run under the first of these names that is free; None where none is."""
        config = config.anchored()
        trackers.check(config.trackers)
        try:
            root = shelf.runs_folder()
            # Below the root, so that the rename stays on one file system; the dot keeps it out of every listing.
            with tempfile.TemporaryDirectory(prefix=".new-", dir=root, ignore_cleanup_errors=True) as draft:
                if origin is not None:
                    told = {"run": origin.run, "changes": origin.changes}
                    write_whole(Path(draft) / shelf.ORIGIN, json.dumps(told).encode("ascii"))
                for name in names:
                    text = config.with_(name=name).to_json()
                    hashes = json.dumps(shelf.data_hashes(config))
                    write_whole(Path(draft) / shelf.DATA, hashes.encode("ascii"))
                    write_whole(Path(draft) / shelf.CONFIG, text.encode("utf-8"))
                    with contextlib.suppress(FileExistsError):
                        shelf.put(Path(draft), root / name)
                        return cls(root / name)
        except OSError as error:
            raise RunError(
                f"{error.filename or home()}: no run can be created: {error.strerror or error}"
            ) from error
        return None

    @classmethod
    def open(cls, name: str) -> Self:
        """The run of this name ("run:NAME" too). Raises RunError where there is none, or no readable one."""
        name = name.removeprefix("run:")
        if not NAME.fullmatch(name):
            raise RunError(
                f"{name!r} is no name of a run; those have a to z, 0 to 9, '.', '_' and '-', no leading dot"
            )
        run = cls(shelf.runs_folder() / name)
        if not run.folder.is_dir():
            known = [folder.name for folder in shelf.run_folders()]
            raise RunError(
                f"no run {name!r} in {run.folder.parent}; there are: {', '.join(known) or 'none yet'}"
            )
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
        path = self.folder / shelf.CONFIG
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
    def origin(self) -> Origin | None:
        """Of which run it is a clone, and where it differs; None where it is none."""
        values = read_json(self.folder / shelf.ORIGIN)
        if values is None:
            return None
        changes = {path: (was, now) for path, (was, now) in values["changes"].items()}
        return Origin(values["run"], changes)

    @property
    def created(self) -> float:
        """When it was created, seconds since 1970."""
        return shelf.born(self.folder)[0]

    @property
    def status(self) -> Status:
        """Derived anew from the folder and the process each time; nobody has to be told.

        "starting" lasts until the trainer's first event; a process that died without a word is "failed". "queued":
        it waits for its turn, whether for its start or to go on.
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
    def position(self) -> int | None:
        """Its place in the line, 1 is next; None where it does not wait."""
        names = [one.name for one in line.waiting()]
        return names.index(self.name) + 1 if self.name in names else None

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
            self._check_new()
            _ = self.config
            self._launch()
        return self

    def resume(self) -> Self:
        """Goes on from the newest whole checkpoint, or from the start where there is none.

        Raises RunError where the run is going on, was never started, is finished, or diverged (the same numbers
        would come again).
        """
        with self._lock():
            self._check_resumable()
            _ = self.config
            self._wait_for_process()
            self._launch()
        return self

    def enqueue(self, position: int | None = None) -> Self:
        """Lets it wait until a training ends, then start, or go on where it was stopped or failed.

        `position`: its place in the line, 1 is next; none: the end. A run that waits already is moved. The line
        goes on without this process. Raises RunError where it could be neither started nor resumed.
        """
        if position is not None and position < 1:
            raise RunError(f"position {position} in the line: the first one is 1")
        with self._lock():
            if self._attempt()[0] == "created":
                self._check_new()
            else:
                self._check_resumable()
            _ = self.config
            line.join(self.name, position)
        return self

    def dequeue(self) -> Self:
        """Takes it out of the line; it is then as it was before. Raises RunError where it does not wait."""
        if self.status != "queued":
            raise RunError(f"{self.name} does not wait in line, it is {self.status}")
        line.leave(self.name)
        return self

    def stop(self, how: Literal["saving", "now"] = "saving") -> Self:
        """Has the trainer finish its step, save and end; "now" kills it and loses what the last checkpoint lacks.

        Returns at once; `wait()` waits for the end. A run that has finished or stopped is left as it is, one that
        waits for its turn leaves the line. Raises RunError where nothing runs that could be stopped.
        """
        status = self.status
        if status == "queued":
            line.leave(self.name)
            status = self.status  # its turn may have come just then
            if status == "created":
                return self
        if status in {"finished", "stopped"}:
            return self
        if status not in {"starting", "running"}:
            raise RunError(
                f"{self.name} is not running, so nothing is stopped: {status}. {self.reason}".rstrip(". ")
            )
        process = self._process()
        try:
            (self.folder / STOP).write_bytes(NOW if how == "now" else b"")
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
            if status == "queued":
                line.carried()
            time.sleep(LOOK_SECONDS)
        if check and status not in {"finished", "stopped"}:
            raise RunError(f"{self.name} {status}: {self.reason or 'not at its end yet'}")
        return status

    def clone(
        self, changes: Mapping[str, Any] | str | None = None, /, *, warm: bool | int = False, **more: Any
    ) -> Self:
        """A new run with this one's configuration and some fields replaced: `clone(**{"method.rank": 4})`.

        It is created, not started, and called after both: "tour-sft-rank-4"; `origin` tells what differs.
        changes: a mapping, or YAML as `config.to_yaml()` gives it, edited. warm: it starts from this run's result, or
        from its checkpoint of that step, instead of from this run's own beginning. Raises RunError where there is no
        such result, ConfigError as `RunConfig.with_` does.
        """
        own = self.config
        if warm is not False:
            more.setdefault("model", cloning.warm_start(self.folder, warm))
        config = cloning.copied(own, changes, more)
        origin = cloning.origin(self.name, own, config)
        if config.name:
            names = iter([config.name])
        else:
            names = shelf.numbered(cloning.name_of(origin, warm=warm is not False))
        made = self._create(config, names, origin)
        if made is None:
            raise RunError(
                f"a run named {config.name!r} is there already; leave the name out to have one made"
            )
        return made

    def delete(self) -> None:
        """Removes the run with all its checkpoints and its result. There is no way back.

        Raises RunError while it runs or waits, and where another run or a prompt starts from its result.
        """
        with self._lock():
            status = self.status
            if status in {"starting", "running", "queued"}:
                raise RunError(f"{self.name} is {status} and is not deleted; stop() ends it first")
            if needing := shelf.dependants(self.name):
                raise RunError(
                    f"{self.name} is not deleted: its result is what {', '.join(needing)} started from; "
                    "delete those first"
                )
            self._wait_for_process()
            line.leave(self.name)
            try:
                gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.folder.parent))
                self.folder.rename(gone / self.name)
            except OSError as error:
                raise RunError(f"{self.folder}: cannot be removed: {error.strerror or error}") from error
        shutil.rmtree(gone, ignore_errors=True)

    def events(self, offset: int = 0) -> tuple[list[Event], int]:
        """Whole lines of events.jsonl from byte `offset` on, and the offset for the next call."""
        return read(self.folder / EVENTS, offset)

    def skim(self, count: int) -> tuple[list[Event], int | None]:
        """About `count` of its events for a first look, and the offset to go on from; None where some are left out."""
        return skim(self.folder / EVENTS, count)

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

    def follow(self, *views: View) -> Following:
        """Gives every event, first the past and then what comes, to each view's `update`, from a thread.

        It ends behind the end of the run. A view whose update raises is dropped with the traceback in the log.
        """
        following = Following(self, views)
        following.start()
        return following

    def _process(self) -> Process | None:
        return process_of(self.folder)

    def _state(self) -> tuple[Status, Ended | None]:
        status, ended = self._attempt()
        if status not in {"created", "stopped", "failed"}:
            return status, ended
        entry = line.entry(self.name)
        if entry is None or (entry.fault and status != "created"):
            return status, ended
        return ("failed" if entry.fault else "queued"), None

    def _attempt(self) -> tuple[Status, Ended | None]:
        """The state without a look at the line."""
        record = read_json(self.folder / PROCESS)
        process = Process.from_dict(record)
        if record is None or process is None:
            return ("failed" if self._fault() else "created"), None
        is_alive = process.alive  # asked before reading, so that a dying trainer's last lines still count
        seen = self._seen if self._seen.process == process else Attempt(process, int(record.get("offset", 0)))
        self._seen = seen = seen.looked(self.folder / EVENTS)
        if seen.ended:
            return seen.ended.status, seen.ended
        if not is_alive:
            return "failed", None
        return ("running" if seen.has_started else "starting"), None

    def _why(self) -> str:
        """What is known of the end where no Ended tells it."""
        if self._process() is not None:
            return why(self.folder)
        entry = line.entry(self.name)
        return self._fault() or (entry.fault if entry else "")

    def _fault(self) -> str:
        """Why the run is broken; empty where its configuration can be read."""
        try:
            _ = self.config
        except RunError as error:
            return str(error)
        return ""

    def _check_new(self) -> None:
        status = self._attempt()[0]
        if status in {"starting", "running"}:
            raise RunError(
                f"{self.name} is running already (process {self.pid}); follow() shows it, stop() ends it, "
                "and launch(config) makes another run of the same kind"
            )
        if status != "created":
            raise RunError(
                f"{self.name} has {status} already; resume() goes on where it was, launch(config) begins anew"
            )

    def _check_resumable(self) -> None:
        status = self._attempt()[0]
        ways_out = {
            "created": "start() starts it",
            "starting": f"process {self.pid} is at it",
            "running": f"process {self.pid} is at it; stop() ends it",
            "finished": f"launch(config.with_(model={self.reference!r})) trains its result further",
            "diverged": "the same numbers would come again; launch it with a lower learning_rate",
        }
        if status == "created" and self.status == "failed":
            return  # its turn came and it could not be started: then it is tried again
        if status in ways_out:
            raise RunError(f"{self.name} is {status} and cannot be resumed: {ways_out[status]}")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while a process is put into the folder. Raises RunError where another one holds it."""
        try:
            with (self.folder / ".lock").open("w", encoding="ascii") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise line.StartingError(
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
        line.leave(self.name)

    def _wait_for_process(self) -> None:
        """The last process may still be tidying up behind its Ended."""
        process = self._process()
        limit = time.monotonic() + 30
        while process and process.alive:
            if time.monotonic() > limit:
                raise RunError(
                    f"{self.name} ended, but its process {process.pid} has not gone for 30 s; kill it first"
                )
            time.sleep(0.01)


def runs() -> list[Run]:
    """Every run of this home, newest first; also those whose folder is broken (status "failed")."""
    line.carried()
    return [Run(folder) for folder in shelf.run_folders()]
