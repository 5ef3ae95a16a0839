"""Trainings that are timed: the same rows through ftlab and through a plain script, each in a process of its own.

Imports, loading and the first steps are left out of the pace, for what is compared is the steady one. Tokens are
real ones, without padding. Memory is the most that the process held at once (its peak resident set).
"""

import ast
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.errors import FtlabError

BATCH = 8
STEPS = 6
FIRST = 2  # steps left out: memory is laid out and kernels are chosen in them
CORES = 2
WORDS = (40, 270)  # of a row, about 100 to 500 tokens; the last third is the answer


@dataclass
class Course:
    """One training: the time each step ended at in seconds, its loss, its tokens where known, and the peak in MiB."""

    times: list[float]
    losses: list[float]
    peak_mib: float
    tokens: list[float] = field(default_factory=list)

    def speed(self, tokens: list[float]) -> float:
        """Tokens per second over the steady steps."""
        return sum(tokens[FIRST:]) / (self.times[-1] - self.times[FIRST - 1])


def difference(ours: Course, theirs: Course) -> float:
    """How far the losses lie apart, as a share of theirs; the mean over the steps."""
    pairs = list(zip(ours.losses, theirs.losses, strict=True))
    return sum(abs(one - other) / abs(other) for one, other in pairs) / len(pairs)


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


def in_ftlab(folder: Path, base: Path, rows: Path, method: dict[str, Any], **fields: Any) -> Course:
    """A run of ftlab in the new `folder`, by its trainer alone: neither a notebook nor a warm process is there."""
    from ftlab import events
    from ftlab.config import RunConfig

    folder.mkdir(parents=True)
    config = RunConfig.from_dict(
        {
            "model": str(base),
            "method": method,
            "data": {"train": str(rows), "mask": "completion", "max_length": 1024},
            "batch_size": BATCH,
            "max_steps": STEPS,
            "schedule": "constant",
            "warmup": 0,
            "threads": CORES,
            "device": "cpu",
            "trainer": {"train_sampling_strategy": "sequential"},
        }
        | fields
    )
    (folder / "config.json").write_text(config.to_json(), "utf-8")
    _, peak = _run([sys.executable, "-m", "ftlab.methods", str(folder)], "ftlab")
    found, _ = events.read(folder / "events.jsonl")
    measured = [event for event in found if isinstance(event, events.Measured)]
    totals = [event.values["tokens"] or 0.0 for event in measured]
    return Course(
        [event.time for event in measured],
        [event.values["loss"] or float("nan") for event in measured],
        peak,
        [total - before for before, total in zip([0.0, *totals], totals, strict=False)],
    )


def in_trl(place: Path, base: Path, rows: Path, options: dict[str, Any]) -> Course:
    """`trl sft` with its defaults, but for the options; it is only told to use the CPU and what to measure."""
    given = {
        "model_name_or_path": base,
        "dataset_name": rows.parent,
        "output_dir": place / "trl",
        "use_cpu": True,
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": BATCH,
        "lr_scheduler_type": "constant",
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    } | options
    command = [str(Path(sys.executable).with_name("trl")), "sft"]
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    return _told(command, "trl sft")


def in_script(name: str, *arguments: object) -> Course:
    """A script of `plain/`, which prints TRL's own line for each step."""
    path = Path(__file__).with_name("plain") / f"{name}.py"
    return _told([sys.executable, str(path), *map(str, arguments), str(STEPS), str(BATCH)], path.name)


def _told(command: list[str], name: str) -> Course:
    lines, peak = _run(command, name)
    times, losses = [], []
    for moment, line in lines:
        if line.startswith("{'loss'"):
            times.append(moment)
            losses.append(float(ast.literal_eval(line)["loss"]))
    if len(losses) != STEPS:
        raise FtlabError(f"{name} told {len(losses)} of {STEPS} steps; its output has changed")
    return Course(times, losses, peak)


def _run(command: list[str], name: str) -> tuple[list[tuple[float, str]], float]:
    """The lines the command prints, each with the time it came at; and the peak memory of it in MiB.

    Raises FtlabError where it fails.
    """
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
        _, status, used = os.wait4(process.pid, 0)  # the only wait that tells this process's own peak
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(line for _, line in lines[-15:])
        raise FtlabError(f"{name} failed with {process.returncode}:\n{tail}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB on Linux
    return lines, used.ru_maxrss / unit
