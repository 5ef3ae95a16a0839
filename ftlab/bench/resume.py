"""Bench `resume`: runs killed at random moments, and what their weights are at the end against one that never stopped."""

import hashlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from ftlab import warm
from ftlab.config import RunConfig
from ftlab.errors import FtlabError
from ftlab.events import Ended, Measured, Noted
from ftlab.notebook import with_environment
from ftlab.run import Run

KILLS = 20
COMMON: dict[str, Any] = {
    "model": "wren-xs",
    "data": {"train": "wren:sft", "max_rows": 240},
    "max_steps": 30,
    "batch_size": 8,
    "threads": 1,
    "device": "cpu",
    "evaluate": {"every_steps": 15},
    "checkpoint": {"every_steps": 3},
}
METHODS: dict[str, dict[str, Any]] = {
    "every weight, with noise on what is read": {"kind": "sft", "neftune_alpha": 5.0},
    "adapter with dropout": {"kind": "lora", "dropout": 0.1},
    "adapter of a rank drawn each step": {"kind": "dylora"},
}
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
ASIDE = ".aside-*"


def measure(kills: int = KILLS, seed: int = 0) -> dict[str, Any]:
    """`tried` counts runs that were killed before their end, `exact` those whose final weights differ in no bit."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, with_environment({"FTLAB_HOME": folder}):
        try:
            whole = {name: _whole(method) for name, method in METHODS.items()}
            found: list[tuple[dict[str, Any], bool]] = []
            while len(found) < kills:
                name = list(METHODS)[len(found) % len(METHODS)]
                sha256, seconds = whole[name]
                killed = _killed(METHODS[name], seconds, rng, waits_for_writing=len(found) % 2 == 1)
                if killed is not None:
                    found.append((killed, killed["sha256"] == sha256))
        finally:
            warm.stop()
    return {
        "tried": len(found),
        "exact": sum(is_exact for _, is_exact in found),
        "while_writing": sum(bool(killed["writing"]) for killed, _ in found),
        "steps": [killed["step"] for killed, _ in found],
        "from_a_checkpoint": sum(bool(killed["went_on"]) for killed, _ in found),
    }


def _whole(method: dict[str, Any]) -> tuple[str, float]:
    """Hash of the weights of a run that nobody killed, and the seconds from its first figure to its end."""
    run = Run.create(RunConfig(**COMMON, method=method)).start()
    run.wait(check=True)
    events, _ = run.events()
    first = next(event.time for event in events if isinstance(event, Measured))
    return _sha256(run), events[-1].time - first


def _killed(
    method: dict[str, Any], seconds: float, rng: random.Random, *, waits_for_writing: bool
) -> dict[str, Any] | None:
    """What became of a run that was killed once and resumed; None where it was faster than its death."""
    run = Run.create(RunConfig(**COMMON, method=method)).start()
    while not any(isinstance(event, Measured) for event in run.events()[0]):
        if run.status not in {"starting", "running"}:
            raise FtlabError(f"{run.name} ended before its first step: {run.reason}")
        time.sleep(0.002)
    time.sleep(rng.uniform(0, seconds))
    place = run.folder / "checkpoints"
    limit = time.monotonic() + seconds
    while waits_for_writing and not any(place.glob(ASIDE)) and time.monotonic() < limit:
        time.sleep(0.0005)
    if waits_for_writing:
        time.sleep(rng.uniform(0, 0.02))
    pid = run.pid
    if pid is None:
        return None
    os.kill(pid, signal.SIGKILL)
    run.wait()
    events, _ = run.events()
    if any(isinstance(event, Ended) for event in events):
        return None
    writing = any(place.glob(ASIDE)) or any(run.folder.glob(ASIDE))
    run.resume().wait(check=True)
    told, _ = run.events()
    return {
        "sha256": _sha256(run),
        "writing": writing,
        "step": max(event.step for event in events if isinstance(event, Measured)),
        "went_on": any(isinstance(event, Noted) and event.text.startswith("goes on from") for event in told),
    }


def _sha256(run: Run) -> str:
    path = next(path for name in WEIGHTS if (path := Path(run.folder / "model" / name)).is_file())
    return hashlib.sha256(path.read_bytes()).hexdigest()
