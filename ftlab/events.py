"""What happened: the lines that a run appends to events.jsonl.

One JSON object a line, "type" first. `time` is seconds since 1970 (UTC). Only the standard library is used:
widgets and trainers both import this.
"""

import errno
import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from time import time as now
from typing import Any, Literal

Level = Literal["info", "warning"]
Outcome = Literal["finished", "stopped", "diverged", "failed"]
Values = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Started:
    """A process began to train; a resumed run has one for each time it began."""

    time: float
    run: str
    pid: int
    device: str
    settings: dict[str, Any]
    """What was chosen for the hardware found, and every value that `trainer:` put in its place."""
    parameters: int
    """Numbers in the model, adapter included."""
    trained: int
    """Numbers of those that learn."""
    rows: int
    """Training rows left after rendering."""
    total_steps: int
    base: str
    """First 12 hex digits of the base weights' sha256."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one optimiser step. None: the number was NaN or infinite."""

    time: float
    step: int
    epoch: float
    values: Values


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Figures on the evaluation rows. None: the number was NaN or infinite."""

    time: float
    step: int
    values: Values


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the model answered to one of the fixed prompts."""

    time: float
    step: int
    prompt: list[dict[str, str]]
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """Weights reached the disk whole; `path` is relative to the run's folder."""

    time: float
    step: int
    path: str
    kind: Literal["checkpoint", "model"]
    sha256: str
    """Of the folder's manifest, which holds the sha256 of every file in it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a reader of the run should know."""

    time: float
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line of each attempt. A resumed run goes on behind it with another Started."""

    time: float
    step: int
    status: Outcome
    reason: str


Event = Started | Measured | Evaluated | Sampled | Saved | Noted | Ended

_TYPES: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (Started, Measured, Evaluated, Sampled, Saved, Noted, Ended)
}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _TYPES.values()}
_DURABLE = (Saved, Ended)
_ON_THE_WAY = tuple(b'{"type":"%s"' % kind.encode() for kind in _TYPES if kind not in {"Started", "Ended"})
_SKIMMED = 8192  # bytes of a first look for each line of it: below that reading all costs no more


def finite(value: Any) -> Any:
    """The same value with every NaN and infinity, at any depth, as None: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def encode(event: Event) -> bytes:
    """One line, newline included. ASCII only, so that no text in it can look like a line's end."""
    kind = type(event)
    row = {"type": kind.__name__} | {name: finite(getattr(event, name)) for name in _FIELDS[kind]}
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Event:
    """The event of one line.

    A line that is no event of this version becomes a Noted warning, so that a newer trainer's run or a
    damaged disk block costs one line and not the run. Fields that are not known are left out.
    """
    try:
        row = json.loads(line)
        kind = _TYPES[row["type"]]
        return kind(**{name: row[name] for name in _FIELDS[kind]})
    except (ValueError, KeyError, TypeError) as error:
        shown = line[:80].decode("utf-8", "replace")
        return Noted(now(), "warning", f"a line of events.jsonl was left out ({error!r}): {shown}")


def append(path: Path, event: Event) -> None:
    """Adds one whole line with one write, on the disk before it returns where it is a Saved or Ended.

    One process writes to a run at a time. What a killed one left as half a line is closed first, what a full
    disk cuts short is taken back, so that the next line stays readable in both cases. Raises OSError.
    """
    line = encode(event)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(file, line)
        if written < len(line):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, "no space left for an event", str(path))
        if isinstance(event, _DURABLE):
            os.fsync(file)
    finally:
        os.close(file)


def read(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """The events of every whole line from byte `offset` on, and the offset to read from next.

    Half a line stays where it is until its end has been written. No file yet: no events. A file shorter than
    `offset` was written anew and is read from its start.
    """
    lines, offset = _lines(path, offset)
    return [decode(line) for line in lines], offset


def milestones(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """As `read`, without decoding what is measured, said or saved on the way: Started, Ended, and what is unknown."""
    lines, offset = _lines(path, offset)
    return [decode(line) for line in lines if not line.startswith(_ON_THE_WAY)], offset


def skim(path: Path, count: int) -> tuple[list[Event], int | None]:
    """About `count` events from all over the file, in order, its first and last lines among them; for a first look.

    And the offset to read from next, None where events were passed over. A short file is read whole.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _SKIMMED * count:
                return read(path)
            lines = file.read(_SKIMMED).splitlines(keepends=True)[:-1]
            at = sum(map(len, lines))
            for place in range(1, count):
                if (target := size * place // count) <= at or target >= size - _SKIMMED:
                    continue
                file.seek(target)
                file.readline()  # the rest of a line
                lines.append(file.readline())
                at = file.tell()
            file.seek(max(at, size - _SKIMMED))
            tail = file.read().split(b"\n")
    except FileNotFoundError:
        return [], 0
    lines += tail[1:-1]  # but for the halves at both ends
    return [decode(line) for line in lines if line.strip()], None


def _lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines from `offset` on, and the offset behind them."""
    try:
        with path.open("rb") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    whole = data.rfind(b"\n") + 1
    return [line for line in data[:whole].split(b"\n") if line.strip()], offset + whole
