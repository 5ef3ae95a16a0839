"""Bench `predict`: memory and time that the look before the start foretells, against those of the run itself."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from ftlab import warm
from ftlab.config import RunConfig
from ftlab.errors import FtlabError
from ftlab.events import Ended, Measured
from ftlab.notebook import with_environment
from ftlab.preflight import check
from ftlab.run import Run

SMOLLM2: dict[str, Any] = {"model": "smollm2", "evaluate": {"every_steps": 100}}  # at the end only
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "wren-xs, every weight": {"model": "wren-xs", "max_steps": 150},
    "wren-xs, 64 rows a step": {"model": "wren-xs", "batch_size": 64, "max_steps": 80},
    "wren-s, rows cut at 24": {
        "model": "wren-s",
        "data": {"train": "wren:sft", "max_length": 24},
        "max_steps": 150,
    },
    "wren, every weight": {"model": "wren", "batch_size": 32, "max_steps": 60},
    "wren, LoRA": {"model": "wren", "method": "lora", "max_steps": 100},
    "wren, LoRA, packed": {
        "model": "wren",
        "method": "lora",
        "data": {"train": "wren:sft", "packing": True, "max_length": 256},
        "max_steps": 40,
    },
    "wren, prompt tuning": {"model": "wren", "method": "prompt_tuning", "max_steps": 60},
    "wren, DPO": {"model": "wren", "method": "dpo", "max_steps": 38},
    "wren-s, reward": {"model": "wren-s", "method": "reward", "max_steps": 38},
    "smollm2, LoRA": SMOLLM2 | {"method": "lora", "batch_size": 4, "max_steps": 12},
    "smollm2, LoRA, 32 rows a step": SMOLLM2 | {"method": "lora", "batch_size": 32, "max_steps": 4},
    "smollm2, every weight": SMOLLM2 | {"batch_size": 8, "max_steps": 6},
}
COMMON: dict[str, Any] = {"device": "cpu"}


def measure(configurations: dict[str, dict[str, Any]] = CONFIGURATIONS) -> dict[str, Any]:
    """Medians of the relative errors; nothing is known of earlier runs, so each forecast is a trial's."""
    from ftlab.models import smollm2

    base = smollm2.ensure()  # before the home is another one, where it would be fetched again
    rows = {}
    with tempfile.TemporaryDirectory() as folder, with_environment({"FTLAB_HOME": folder}):
        try:
            for name, fields in configurations.items():
                model = str(base) if fields["model"] == "smollm2" else fields["model"]
                rows[name] = _compared(RunConfig(**COMMON | fields | {"model": model}))
        finally:
            warm.stop()
    return {
        "memory_error": round(statistics.median(row["memory_error"] for row in rows.values()), 3),
        "time_error": round(statistics.median(row["time_error"] for row in rows.values()), 3),
        "largest_memory_error": round(max(row["memory_error"] for row in rows.values()), 3),
        "largest_time_error": round(max(row["time_error"] for row in rows.values()), 3),
        "checking_seconds": round(statistics.median(row["checking_seconds"] for row in rows.values()), 1),
        "rows": rows,
    }


def _compared(config: RunConfig) -> dict[str, float]:
    warm.warm()
    began = time.monotonic()
    found = check(config)
    checking = time.monotonic() - began
    if found.memory_mib is None or found.seconds is None or found.source != "probe":
        raise FtlabError(f"nothing was tried, so nothing can be compared:\n{found}")
    run = Run.create(config)
    began_at = time.time()
    peak = _peak_mib(run.start())
    if run.wait() != "finished":
        raise FtlabError(f"{run.name} {run.status}: {run.reason}")
    events, _ = run.events()
    seconds = next(event.time for event in events if isinstance(event, Ended)) - began_at
    told = [event.values.get("memory_mib") or 0.0 for event in events if isinstance(event, Measured)]
    memory = max([peak, *told])
    run.delete()
    return {
        "memory_error": round(abs(found.memory_mib - memory) / memory, 3),
        "time_error": round(abs(found.seconds - seconds) / seconds, 3),
        "memory_mib": round(memory, 1),
        "foretold_mib": found.memory_mib,
        "seconds": round(seconds, 2),
        "foretold_seconds": found.seconds,
        "checking_seconds": round(checking, 1),
    }


def _peak_mib(run: Run) -> float:
    """The most that the trainer held, as the system counts it; returns with its end."""
    peak = 0.0
    while (pid := run.pid) is not None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            break  # it ended in between
        peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    return peak
