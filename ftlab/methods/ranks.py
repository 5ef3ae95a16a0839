"""The processes that train one run together, as torchrun starts them: each has its share of a batch, the first speaks.

Who is who is read from torchrun's variables; a process that was started alone is the first of one.
"""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from ftlab import events
from ftlab.errors import ConfigError
from ftlab.events import Ended, Event, Noted
from ftlab.process import Process
from ftlab.warm.keeper import EVENTS, record_start

SILENT_SECONDS = 300
"""How long one process waits for another before the run ends; `trainer.ddp_timeout` says otherwise."""

Made = TypeVar("Made")


def own() -> int:
    """The number of this process among those of the run, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def here() -> int:
    """How many of them share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(count())))


def is_first() -> bool:
    return own() == 0


def share_of(batch_size: int) -> int:
    """Rows of a batch for each process. Raises ConfigError where they cannot be dealt out evenly."""
    if batch_size % count():
        raise ConfigError(
            f"batch_size: {batch_size} rows cannot be dealt out to {count()} processes; take a multiple of {count()}"
        )
    return batch_size // count()


def told_by_first(make: Callable[[], Made]) -> Made:
    """What the first process makes of it; all the others wait for that."""
    if count() == 1:
        return make()
    from torch import distributed

    box: list[Any] = [make() if is_first() else None]
    distributed.broadcast_object_list(box, src=0)
    made: Made = box[0]
    return made


def all_told(value: Made) -> list[Made]:
    """What every process says, in their order."""
    if count() == 1:
        return [value]
    from torch import distributed

    box: list[Any] = [None] * count()
    distributed.all_gather_object(box, value)
    return box


class Crew:
    """The processes of one run, as the first of them sees them: it tells how they ended, once."""

    def __init__(self, folder: Path, append: Callable[[Event], None]) -> None:
        self._folder, self._append = folder, append
        self._processes: list[Process | None] = []
        self._patience_seconds = float(SILENT_SECONDS)
        self._is_told = False
        if count() > 1 and is_first():
            if "TORCHELASTIC_RUN_ID" in os.environ:
                record_start(folder, os.getppid())  # torchrun outlives a process that dies
            signal.signal(signal.SIGTERM, self._terminated)  # torchrun's word when another one died

    def meet(self, device: str, patience_seconds: float) -> None:
        """Has the processes find each other; raises RuntimeError where one does not come."""
        if count() > 1:
            from torch import distributed

            # before transformers does, which leaves a process group on a CPU without a time limit
            self._patience_seconds = patience_seconds
            distributed.init_process_group(
                "nccl" if device == "cuda" else "gloo", timeout=timedelta(seconds=patience_seconds)
            )
            own_process = Process.of(os.getpid())
            told = all_told(own_process.to_dict() if own_process else None)
            self._processes = [Process.from_dict(values) for values in told]

    def failed(self, step: int, reason: str) -> None:
        """Writes the run's Ended; from another process than the first, a note of its own failure."""
        if self._is_told:
            return
        self._is_told = True
        if is_first():
            self._append(Ended(time.time(), step, "failed", self._cause(reason)))
        else:
            text = f"process {own()} of {count()} failed: {reason}"
            events.append(self._folder / EVENTS, Noted(time.time(), "warning", text))

    def _cause(self, reason: str) -> str:
        """What another process failed of, where this one only missed it."""
        if count() > 1 and "Timed out waiting" in reason:
            return (
                f"another process of {count()} did not answer within {self._patience_seconds:g} s ({reason})"
            )
        gone = [number for number, process in enumerate(self._processes) if process and not process.alive]
        if count() == 1 or not gone:
            return reason
        number = gone[0]
        found, _ = events.read(self._folder / EVENTS)
        start = f"process {number} of {count()} failed: "
        texts = [event.text for event in found if isinstance(event, Noted) and event.text.startswith(start)]
        if texts:
            return texts[-1]
        process = self._processes[number]
        assert process is not None
        return (
            f"process {number} of {count()} (pid {process.pid}) died without a word, as by SIGKILL or for lack of "
            "memory; started again, the run goes on from its newest checkpoint"
        )

    def _terminated(self, *_: Any) -> None:
        found = events.read(self._folder / EVENTS)[0]
        step = max((event.step for event in found if isinstance(event, events.Measured)), default=0)
        self.failed(step, "terminated (SIGTERM)")
        os._exit(128 + signal.SIGTERM)
