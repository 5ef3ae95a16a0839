"""How the latest process of a run stands, and why it ended: derived from what it and its parent left in the folder."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftlab.events import Ended, Started, milestones
from ftlab.process import Process, read_json
from ftlab.warm.keeper import EXIT, LOG, PROCESS

Status = Literal["created", "queued", "starting", "running", "finished", "stopped", "diverged", "failed"]
ENDS = ("finished", "stopped", "diverged", "failed")

STOP = "stop"
NOW = b"now"

EXIT_SECONDS = 1.0
"""How long a parent may take to record how its trainer ended."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of the attempt of one process after `offset` bytes of events.jsonl."""

    process: Process | None
    offset: int = 0
    has_started: bool = False
    ended: Ended | None = None

    def looked(self, path: Path) -> "Attempt":
        """The same after what has been written since; a run is asked often, and its file may be long."""
        events, offset = milestones(path, self.offset)
        if offset == self.offset:
            return self
        ended = next((event for event in reversed(events) if isinstance(event, Ended)), self.ended)
        has_started = self.has_started or any(isinstance(event, Started) for event in events)
        return Attempt(self.process, offset, has_started, ended)


def process_of(folder: Path) -> Process | None:
    """The process that was last put into the folder; None where none ever was."""
    return Process.from_dict(read_json(folder / PROCESS))


def why(folder: Path) -> str:
    """What is known of the end of a process that wrote no Ended; empty where there never was one."""
    record = read_json(folder / PROCESS) or {}
    process, keeper = Process.from_dict(record), Process.from_dict(record.get("keeper"))
    if process is None:
        return ""
    if not process.of_this_boot:
        return (
            "interrupted: the machine was started anew meanwhile; resume() goes on from the newest checkpoint"
        )
    limit = time.monotonic() + EXIT_SECONDS
    while (end := _exit(folder, process)) is None and keeper and keeper.alive and time.monotonic() < limit:
        time.sleep(0.01)
    last = _last_line(folder / LOG, int(record.get("log", 0)))
    if end is None:
        return (
            f"the process ended without a word, and so did its parent; last line of {LOG}: {last or '(none)'}"
        )
    if end.get("signal"):
        was_asked = (folder / STOP).is_file() and (folder / STOP).read_bytes() == NOW
        return "killed by stop('now')" if was_asked else _signal_words(int(end["signal"]))
    if not end.get("code") or not last:
        return f"the process ended with exit code {end.get('code')} before the run did; see {folder / LOG}"
    return last


def _exit(folder: Path, process: Process) -> dict[str, Any] | None:
    end = read_json(folder / EXIT)
    return end if end and Process.from_dict(end) == process else None


LONGEST_REASON = 2000
"""Characters; a progress bar may be one line of megabytes."""


def _last_line(log: Path, offset: int) -> str:
    """The last line that says something, cut where it goes on and on; for a traceback that is the error itself."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset, size - 65_536))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip()[:LONGEST_REASON] for line in reversed(lines) if line.strip()), "")


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
