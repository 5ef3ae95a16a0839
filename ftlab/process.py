"""Which process: boot, number and start time together, because a number alone is given out again."""

import contextlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of this machine."""

    boot: str
    pid: int
    started: str
    """When it began, in the system's own unit; compared, never computed with."""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now; None where there is none, or only its zombie."""
        started = _started(pid)
        return None if started is None else cls(_boot(), pid, started)

    @classmethod
    def from_dict(cls, values: Any) -> Self | None:
        """What `to_dict` gave; None for anything else."""
        try:
            return cls(str(values["boot"]), int(values["pid"]), str(values["started"]))
        except (KeyError, TypeError, ValueError):
            return None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether this very process runs; a zombie doesn't."""
        return self.boot == _boot() and _started(self.pid) == self.started

    @property
    def of_this_boot(self) -> bool:
        return self.boot == _boot()

    def kill(self) -> bool:
        """Ends it at once (SIGKILL); False where it had ended already. Never hits a later owner of the number."""
        if not hasattr(os, "pidfd_open"):
            if self.alive:
                os.kill(self.pid, signal.SIGKILL)
                return True
            return False
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The handle holds the number, so what is asked now is still true when the signal is sent.
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def write_whole(path: Path, data: bytes) -> None:
    """Written beside it, on the disk, then renamed: who finds the file finds all of it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file written whole; None where there is no such file, or something else in it."""
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _boot() -> str:
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    import psutil

    return str(round(psutil.boot_time()))


def _started(pid: int) -> str | None:
    """When the process of this number began; None for a zombie or no process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may hold anything, also parentheses; fields 3 (state) and 22 (start) follow it.
        rest = stat.rpartition(")")[2].split()
        return None if rest[0] in "ZX" else rest[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None
