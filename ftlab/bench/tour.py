"""Bench `tour`: what the first notebook costs, headless, from the first cell to the last."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from ftlab.errors import FtlabError

LOOK_SECONDS = 0.5


class Memory(threading.Thread):
    """Watches every process whose FTLAB_HOME is `home`; `peak` is in MiB.

    Memory is the proportional set size: a page that several processes share counts once.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._home = str(home)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.peak = max(self.peak, sum(self._share(process) for process in psutil.process_iter()) / 2**20)

    def stop(self) -> float:
        """The highest sum seen."""
        self._over.set()
        self.join()
        return self.peak

    def _share(self, process: psutil.Process) -> int:
        try:
            is_ours = process.environ().get("FTLAB_HOME") == self._home
            return int(process.memory_full_info().pss) if is_ours else 0
        except psutil.Error:  # it has ended meanwhile, or is somebody else's
            return 0


def take(folder: Path) -> float:
    """Execute the tour with a home of its own; the peak memory of all its processes in MiB.

    In `folder` are then tour.ipynb, tour.html and tour.json, the closing table. Raises FtlabError with the end of
    what was printed where a cell failed.
    """
    home = folder / "home"
    memory = Memory(home)
    memory.start()
    done = subprocess.run(
        [sys.executable, "-m", "ftlab", "demo", "--out", str(folder)],
        env={**os.environ, "FTLAB_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    peak = memory.stop()
    if done.returncode:
        raise FtlabError(f"the tour did not run to its end:\n{done.stderr[-2000:]}")
    return peak


def measure() -> dict[str, float]:
    """Seconds of the whole tour, start of all its processes included, and the peak of their memory."""
    with tempfile.TemporaryDirectory() as name:
        start = time.monotonic()
        peak = take(Path(name).resolve())
        return {"seconds": round(time.monotonic() - start, 1), "peak_mib": round(peak)}
