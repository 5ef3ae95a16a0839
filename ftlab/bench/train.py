"""Bench `train`: tokens per second of LoRA on smollm2, ftlab against `trl sft` as it comes.

Both read the same rows in the same order, eight a step, with the same adapter and step size, on the same cores.
TRL keeps its defaults (16-bit autocast over 32-bit weights, gradient checkpointing, padding) and is only told to
use the CPU.
"""

import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftlab.bench import courses
from ftlab.bench.courses import BATCH, FIRST, STEPS, Course

RANK, LEARNING_RATE = 8, 1e-3


def measure(rounds: int = 3, model: str = "smollm2") -> dict[str, Any]:
    """Medians of `rounds` pairs of runs, one after the other; `model` is any reference on this disk."""
    from ftlab.data import save
    from ftlab.models import references

    base = Path(references.fetch(references.resolve(model)).base)
    with TemporaryDirectory() as folder:
        rows = save(courses.make_rows(STEPS * BATCH), Path(folder) / "rows" / "train.jsonl")
        pairs = [lora(Path(folder) / str(number), base, rows) for number in range(rounds)]
    tokens = pairs[0][0].tokens
    speeds = [(ours.speed(tokens), theirs.speed(tokens)) for ours, theirs in pairs]
    return {
        "ratio": round(statistics.median(ours / theirs for ours, theirs in speeds), 2),
        "loss_difference": round(statistics.mean(courses.difference(*pair) for pair in pairs), 5),
        "tokens_per_second": round(statistics.median(ours for ours, _ in speeds), 1),
        "trl_tokens_per_second": round(statistics.median(theirs for _, theirs in speeds), 1),
        "ratios": [round(ours / theirs, 2) for ours, theirs in speeds],
        "tokens": sum(tokens[FIRST:]),
        "steps": STEPS - FIRST,
        "rounds": rounds,
    }


def lora(place: Path, base: Path, rows: Path) -> tuple[Course, Course]:
    """The same adapter trained by ftlab and by `trl sft`, one after the other, in folders below `place`."""
    method = {"kind": "lora", "rank": RANK, "learning_rate": LEARNING_RATE}
    options = {
        "use_peft": True,
        "lora_r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0,
        "lora_target_modules": "all-linear",
        "learning_rate": LEARNING_RATE,
    }
    return courses.in_ftlab(place / "run", base, rows, method), courses.in_trl(place, base, rows, options)
