"""Bench `train`: tokens per second of LoRA on smollm2, ftlab against `trl sft` as it comes.

Both read the same rows in the same order, eight a step, with the same adapter and step size, on the same cores.
TRL keeps its defaults (16-bit autocast over 32-bit weights, gradient checkpointing, padding) and is only told to
use the CPU. Imports, loading and the first steps are left out: what is compared is the steady pace. Tokens are
real ones, without padding.
"""

import ast
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftlab.errors import FtlabError

BATCH, RANK, LEARNING_RATE = 8, 8, 1e-3
STEPS = 6
FIRST = 2  # steps left out: memory is laid out and kernels are chosen in them
CORES = 2
WORDS = (40, 270)  # of a row, about 100 to 500 tokens; the last third is the answer


def measure(rounds: int = 3, model: str = "smollm2") -> dict[str, Any]:
    """Medians of `rounds` pairs of runs, one after the other; `model` is any reference on this disk."""
    from ftlab.data import save
    from ftlab.models import references

    base = Path(references.fetch(references.resolve(model)).base)
    pairs = []
    with TemporaryDirectory() as folder:
        place = Path(folder)
        rows = save(make_rows(STEPS * BATCH), place / "rows" / "train.jsonl")
        for number in range(rounds):
            ours = _ftlab(base, rows, place, number)
            theirs = _trl(base, rows, place)
            pairs.append((ours, theirs))
    tokens = pairs[0][0].tokens
    speeds = [(ours.speed(tokens), theirs.speed(tokens)) for ours, theirs in pairs]
    differences = [
        abs(one - other) / other
        for ours, theirs in pairs
        for one, other in zip(ours.losses, theirs.losses, strict=True)
    ]
    return {
        "ratio": round(statistics.median(ours / theirs for ours, theirs in speeds), 2),
        "loss_difference": round(statistics.mean(differences), 5),
        "tokens_per_second": round(statistics.median(ours for ours, _ in speeds), 1),
        "trl_tokens_per_second": round(statistics.median(theirs for _, theirs in speeds), 1),
        "ratios": [round(ours / theirs, 2) for ours, theirs in speeds],
        "tokens": sum(tokens[FIRST:]),
        "steps": STEPS - FIRST,
        "rounds": rounds,
    }


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Instructions with an account to go on with: long prompts, lengths spread evenly, a third of it the answer."""
    from ftlab.wren import corpus

    rng = random.Random(seed)
    documents = corpus.documents(count * WORDS[1])
    rows = []
    for _ in range(count):
        size = rng.randint(*WORDS)
        words: list[str] = []
        while len(words) < size:
            words += next(documents).split()
        cut = size * 2 // 3
        task = "Read this account of a village and go on with it as its author would.\n\n"
        rows.append(
            {
                "prompt": [{"role": "user", "content": task + " ".join(words[:cut])}],
                "completion": [{"role": "assistant", "content": " ".join(words[cut:size])}],
            }
        )
    return rows


class Course:
    """One run: the time each step ended at in seconds, its loss, and its tokens where known."""

    def __init__(self, times: list[float], losses: list[float], tokens: list[float] | None = None) -> None:
        self.times, self.losses, self.tokens = times, losses, tokens or []

    def speed(self, tokens: list[float]) -> float:
        """Tokens per second over the steady steps."""
        return sum(tokens[FIRST:]) / (self.times[-1] - self.times[FIRST - 1])


def _ftlab(base: Path, rows: Path, place: Path, number: int) -> Course:
    from ftlab import events
    from ftlab.config import RunConfig

    folder = place / f"run-{number}"
    folder.mkdir()
    config = RunConfig.from_dict(
        {
            "model": str(base),
            "method": {"kind": "lora", "rank": RANK, "learning_rate": LEARNING_RATE},
            "data": {"train": str(rows), "mask": "completion", "max_length": 1024},
            "batch_size": BATCH,
            "max_steps": STEPS,
            "schedule": "constant",
            "warmup": 0,
            "threads": CORES,
            "device": "cpu",
            "trainer": {"train_sampling_strategy": "sequential"},
        }
    )
    (folder / "config.json").write_text(config.to_json(), "utf-8")
    _run([sys.executable, "-m", "ftlab.methods", str(folder)], "ftlab")
    found, _ = events.read(folder / "events.jsonl")
    measured = [event for event in found if isinstance(event, events.Measured)]
    totals = [event.values["tokens"] or 0.0 for event in measured]
    return Course(
        [event.time for event in measured],
        [event.values["loss"] or float("nan") for event in measured],
        [total - before for before, total in zip([0.0, *totals], totals, strict=False)],
    )


def _trl(base: Path, rows: Path, place: Path) -> Course:
    options: dict[str, Any] = {
        "model_name_or_path": base,
        "dataset_name": rows.parent,
        "output_dir": place / "trl",
        "use_cpu": True,
        "use_peft": True,
        "lora_r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0,
        "lora_target_modules": "all-linear",
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    command = [str(Path(sys.executable).with_name("trl")), "sft"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    times, losses = [], []
    for moment, line in _run(command, "trl sft"):
        if line.startswith("{'loss'"):
            times.append(moment)
            losses.append(float(ast.literal_eval(line)["loss"]))
    if len(losses) != STEPS:
        raise FtlabError(f"trl sft told {len(losses)} of {STEPS} steps; its output has changed")
    return Course(times, losses)


def _run(command: list[str], name: str) -> list[tuple[float, str]]:
    """The lines the command prints, each with the time it came at. Raises FtlabError where it fails."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    environment = os.environ | quiet | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(CORES)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        lines = [(time.time(), line.strip()) for line in process.stdout]
    if process.returncode:
        tail = "\n".join(line for _, line in lines[-15:])
        raise FtlabError(f"{name} failed with {process.returncode}:\n{tail}")
    return lines
