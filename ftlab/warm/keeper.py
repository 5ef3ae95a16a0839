"""What the parent of a trainer leaves in the run's folder: which process it is, and how it ended."""

import json
import os
import time
from pathlib import Path
from typing import Any

from ftlab.process import Process, write_whole

PROCESS = "process.json"
EXIT = "exit.json"
LOG = "log.txt"
EVENTS = "events.jsonl"


def record_start(folder: Path, pid: int) -> Process:
    """Writes process.json for a child that has not begun yet; `offset` and `log` tell this attempt from the last.

    Raises OSError (nothing is left half-written), and ProcessLookupError where the child is gone.
    """
    process, keeper = Process.of(pid), Process.of(os.getpid())
    if process is None or keeper is None:
        raise ProcessLookupError(f"process {pid} ended before it began")
    values = process.to_dict() | {
        "keeper": keeper.to_dict(),
        "time": time.time(),
        "offset": _size(folder / EVENTS),
        "log": _size(folder / LOG),
    }
    _write(folder / PROCESS, values)
    return process


def record_end(folder: Path, process: Process, status: int) -> None:
    """Writes exit.json from what waitpid said. Raises OSError; FileNotFoundError where the folder is gone."""
    code = os.waitstatus_to_exitcode(status)
    values = process.to_dict() | {
        "time": time.time(),
        "code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
    }
    _write(folder / EXIT, values)


def _write(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=2).encode("ascii") + b"\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
