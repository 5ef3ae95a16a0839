"""Bench `methods`: does each method do on wren what its paper says it does? A row a method, three seeds each.

A row is a module here with `BARS` and `measure(start, seed)`: `start` names a wren that examples have tuned (the
recipe of the bench `wren`), and what is measured is an effect, on prompts that no training has seen.
"""

import importlib
import statistics
import tempfile
import time
from typing import Any

from ftlab import warm
from ftlab.bench.wren import RECIPE
from ftlab.config import RunConfig
from ftlab.notebook import with_environment
from ftlab.run import launch

ROWS = (
    "sft",
    "prompting",
    "prompt_tuning",
    "lora",
    "qlora",
    "dylora",
    "context_distillation",
    "distillation",
)
SEEDS = (0, 1, 2)


def measure(rows: tuple[str, ...] = ROWS, seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """`failed` counts the bars of all rows that the median of the seeds misses; `slowest_seconds` is the longest row."""
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder, with_environment({"FTLAB_HOME": folder}):
        try:
            for seed in seeds:
                start = launch(RunConfig(**RECIPE, seed=seed, name=f"start-{seed}"))
                start.wait(check=True)
                for row in rows:
                    found[row].append(_timed(row, start.reference, seed))
        finally:
            warm.stop()
    medians = {row: _medians(figures) for row, figures in found.items()}
    missed = [line for row in rows for line in _missed(row, medians[row])]
    slowest = max(figures["seconds"] for rows_ in found.values() for figures in rows_)
    return {
        "failed": len(missed),
        "slowest_seconds": slowest,
        "rows": medians,
        "below_their_bars": missed,
        "seeds": len(seeds),
    }


def _timed(row: str, start: str, seed: int) -> dict[str, float]:
    began = time.monotonic()
    figures = dict(_module(row).measure(start, seed))
    return {"seconds": round(time.monotonic() - began, 1), **figures}


def _medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in figures), 4) for name in figures[0]}


def _missed(row: str, medians: dict[str, float]) -> list[str]:
    bars: dict[str, tuple[str, float]] = _module(row).BARS
    return [
        f"{row}: {name} is {medians[name]:g}, wanted {sign} {bar:g}"
        for name, (sign, bar) in bars.items()
        if not (medians[name] <= bar if sign == "<=" else medians[name] >= bar)
    ]


def _module(row: str) -> Any:
    return importlib.import_module(f"ftlab.bench.methods.{row}")
