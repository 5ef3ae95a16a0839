"""Measurements: what `ftlab bench` can print, each a figure with its bar.

A bench is a module with `measure() -> dict`; its figures are numbers measured in that call. Ratios are
medians of several alternating measurements in one call, because absolute times differ between machines.
"""

import importlib
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ftlab.errors import FtlabError


@dataclass(frozen=True)
class Bench:
    """One measurement: what it is, and the bar for each figure as (comparison, value)."""

    about: str
    bars: dict[str, tuple[str, float]] = field(default_factory=dict)


BENCHES = {
    "import": Bench(
        "`import ftlab, ftlab.widgets` in a fresh interpreter",
        {"seconds": ("<=", 0.3), "torch": ("<=", 0)},
    ),
    "wren": Bench(
        "wren before and after supervised fine-tuning, judged on held-out prompts",
        {
            "base_accuracy": ("<=", 0.25),
            "tuned_accuracy": (">=", 0.80),
            "base_rude": (">=", 0.2),
            "tuned_rude": ("<=", 0.03),
            "knowledge_kept": (">=", 0.9),
            "seconds": ("<=", 90),
        },
    ),
    "train": Bench(
        "tokens/s of LoRA on smollm2 against `trl sft` with its own defaults",
        {"ratio": (">=", 3.5), "loss_difference": ("<=", 0.02)},
    ),
    "train_methods": Bench(
        "full, LoRA, prompt tuning, distillation on smollm2 against the plainest script of TRL or PEFT: tokens/s, memory",
        {
            "worst_ratio": (">=", 2.5),
            "worst_memory_ratio": ("<=", 1.0),
            "worst_loss_difference": ("<=", 0.02),
        },
    ),
    "methods": Bench(
        "each method on wren against what its paper says it does: the median of three seeds, a row a method",
        {"failed": ("<=", 0), "slowest_seconds": ("<=", 90)},
    ),
    "predict": Bench(
        "memory and time foretold before the start against the run's own, twelve configurations: median errors",
        {"memory_error": ("<=", 0.15), "time_error": ("<=", 0.25)},
    ),
    "resume": Bench(
        "runs killed at random moments, resumed, and their final weights against an uninterrupted run's, bit by bit",
        {"tried": (">=", 20), "exact": (">=", 20)},
    ),
    "launch": Bench(
        "seconds from Run.start() to the first loss, cold and warm, against `trl sft`",
        {"ratio": (">=", 4), "cold_ratio": (">=", 1.2), "warm_seconds": ("<=", 2)},
    ),
    "launch_click": Bench(
        "from the click on Start in the form to the first point on the curve in the browser, warm",
        {"seconds": ("<=", 1.5)},
    ),
    "compare": Bench(
        "answers from four adapters of smollm2 against four separate loads",
        {"memory_ratio": ("<=", 0.4), "time_ratio": ("<=", 0.6)},
    ),
    "swap": Bench(
        "another adapter, and another blend, on smollm2 and wren in memory; rows of all in one batch against each alone",
        {"swap_ms": ("<=", 50), "blend_ms": ("<=", 50), "worst_difference": ("<=", 1e-5)},
    ),
    "tour": Bench(
        "the tour, headless, from the first cell to the last: time, and memory of all its processes",
        {"seconds": ("<=", 180), "peak_mib": ("<=", 1536)},
    ),
    "rate": Bench(
        "key press to receipt in the browser, against a bare fsync (bar: p95_ms <= 60 + 3 fsync_ms)",
        {"over_ms": ("<=", 0)},
    ),
    "rate_kills": Bench(
        "kernels and writers killed while they store, with a client that sends again",
        {"kills": (">=", 200), "lost": ("<=", 0), "doubled": ("<=", 0), "half": ("<=", 0)},
    ),
    "rate_million": Bench(
        "a store of 1,000,000 events against an empty one: from event to receipt and next task; board; export",
        {
            "p95_ratio": ("<=", 1.3),
            "board_seconds": ("<=", 2),
            "export_seconds": ("<=", 12),
            "export_peak_mib": ("<=", 350),
        },
    ),
    "rate_writers": Bench(
        "8 processes that store 1,000 ratings each, on SQLite and on PostgreSQL with a crash of the server",
        {"lost": ("<=", 0), "doubled": ("<=", 0), "over": ("<=", 0), "slowest_seconds": ("<=", 10)},
    ),
    "rate_modes": Bench(
        "what 200 key presses are worth as thumbs, pairs and rankings: accuracy of the reward model made of them",
        {"ordered": (">=", 1), "rank_minus_single": (">=", 0.03)},
    ),
}


def run(name: str) -> dict[str, Any]:
    """The line of one bench: {"bench", "figures", "machine", "missed"}; `missed` lists bars not reached."""
    if name not in BENCHES:
        raise FtlabError(f"no bench {name!r}; there are: {', '.join(BENCHES)}")
    module = importlib.import_module(f"ftlab.bench.{name}" if name != "import" else "ftlab.bench.import_")
    figures = module.measure()
    return {"bench": name, "figures": figures, "machine": machine(), "missed": missed(name, figures)}


def missed(name: str, figures: dict[str, Any]) -> list[str]:
    """The bars that these figures do not reach, as sentences."""
    lines = []
    for figure, (sign, bar) in BENCHES[name].bars.items():
        value = figures[figure]
        if not (value <= bar if sign == "<=" else value >= bar):
            lines.append(f"{figure} is {value:g}, wanted {sign} {bar:g}")
    return lines


def machine() -> dict[str, Any]:
    """What the figures were measured on; no host or user name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }
