"""Bench `tour`: what the first notebook costs, headless, from the first cell to the last."""

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from ftlab.notebook import Execution, chapters, execute

LOOK_SECONDS = 0.5


class Memory(threading.Thread):
    """Watches this process and every process whose FTLAB_HOME is `home`; `peak` is in MiB.

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
            if process.pid != os.getpid() and process.environ().get("FTLAB_HOME") != self._home:
                return 0
            return int(process.memory_full_info().pss)
        except psutil.Error:  # it has ended meanwhile, or is somebody else's
            return 0


def take(folder: Path, **parameters: Any) -> tuple[Execution, float]:
    """Execute the tour into `folder` with a home of its own; (what ran, peak memory of all processes in MiB)."""
    home = folder / "home"
    memory = Memory(home)
    memory.start()
    given = {"report": str(folder / "tour.json"), **parameters}
    done = execute(chapters()["00_tour"], folder / "tour.ipynb", given, environment={"FTLAB_HOME": str(home)})
    return done, memory.stop()


def measure() -> dict[str, float]:
    """Seconds of the whole tour, start of the kernel included, and peak memory of all its processes."""
    with tempfile.TemporaryDirectory() as name:
        start = time.monotonic()
        done, peak = take(Path(name))
        seconds = time.monotonic() - start
        if not done.complete:
            raise RuntimeError(f"the tour did not run to its end: {done.error}")
    return {"seconds": round(seconds, 1), "peak_mib": round(peak)}
