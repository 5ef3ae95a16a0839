"""Where the warm process of a home is found: socket, lock and log, named by what it has loaded."""

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ftlab.errors import RunError
from ftlab.home import home

SOCKET_LIMIT = 104
"""Bytes in the path of a Unix socket, less some room (Linux allows 107)."""

_WATCHED = (
    "HF_",
    "HUGGING",
    "TRANSFORMERS_",
    "TORCH",
    "PYTORCH",
    "CUDA_",
    "OMP_",
    "MKL_",
    "TRL_",
    "FTLAB_",
    "PYTHON",
)
_WATCHED_ENDS = ("_PROXY", "_CA_BUNDLE")


@dataclass(frozen=True)
class Place:
    """The three paths that one warm process owns."""

    folder: Path
    tag: str

    @property
    def socket(self) -> Path:
        return self.folder / f"warm-{self.tag}.sock"

    @property
    def lock(self) -> Path:
        return self.folder / f"warm-{self.tag}.lock"

    @property
    def log(self) -> Path:
        return self.folder / f"warm-{self.tag}.log"

    def log_tail(self, lines: int = 12) -> str:
        """The end of what the warm process wrote; empty where it wrote nothing."""
        try:
            text = self.log.read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def own_place() -> Place:
    """The place for this home, this package and this environment.

    The tag changes with the package's sources, the interpreter and the variables that the loaded libraries read
    once: a process that was warmed under other ones is never asked.
    """
    return Place(_folder(), _tag())


def all_places() -> list[Place]:
    """Every place of this home with a socket, whatever it was warmed with."""
    folder = _folder()
    return [Place(folder, path.stem.removeprefix("warm-")) for path in sorted(folder.glob("warm-*.sock"))]


def _folder() -> Path:
    own = home()
    longest = own / "warm-0123456789ab.sock"
    if len(os.fsencode(longest)) <= SOCKET_LIMIT:
        return own
    name = hashlib.sha256(os.fsencode(own)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"ftlab-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RunError(
            f"{folder}: not a private folder of this user, so no socket is put there; "
            f"remove it, or set FTLAB_HOME to a path shorter than {SOCKET_LIMIT - 24} bytes"
        )
    return folder


def _tag() -> str:
    package = Path(__file__).parents[1]
    parts: list[object] = [sys.executable, sys.version, sys.prefix]
    for path in sorted(package.rglob("*.py")):
        stat = path.stat()
        parts.append((str(path), stat.st_mtime_ns, stat.st_size))
    parts += [
        item
        for item in sorted(os.environ.items())
        if item[0].upper().startswith(_WATCHED) or item[0].upper().endswith(_WATCHED_ENDS)
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
