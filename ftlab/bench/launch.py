"""How long it takes from wanting a run to its first loss: ftlab cold, ftlab warm, and `trl sft`."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ftlab import warm
from ftlab.config import RunConfig
from ftlab.errors import FtlabError
from ftlab.events import Measured
from ftlab.notebook import with_environment
from ftlab.run import ENDS, Run

ROUNDS = 3
ROWS = 256
LOOK_SECONDS = 0.002
LIMIT_SECONDS = 600.0
TRL = "import sys; from trl.cli import main; sys.argv[0] = 'trl'; sys.exit(main())"
"""What the command `trl` does, whether its folder is on the PATH or not."""

FIRST_LOSS = re.compile(r"'loss'")
"""How Trainer prints a logged step: a dictionary with its loss."""


def measure(rounds: int = ROUNDS, model: Path | None = None) -> dict[str, Any]:
    """Medians over `rounds` of cold, warm and trl, one after the other in each round; seconds and ratios.

    `model` is a folder, by default wren's. Same model folder, same rows, same batch and CPU for all; trl gets the two
    settings without which its defaults refuse a CPU, and logs each step. Everything happens in a home of its own below
    the temp folder: the measurement must not find the user's warm process, nor leave runs with theirs.
    """
    times: dict[str, list[float]] = {"cold": [], "warm": [], "trl": []}
    with (
        tempfile.TemporaryDirectory(prefix="ftlab-launch-") as name,
        with_environment({"FTLAB_HOME": f"{name}/home"}),
    ):
        folder = Path(name)
        model = model or _model()
        rows = _rows(folder / "rows")
        try:
            for _ in range(rounds):
                warm.stop()
                times["cold"].append(_ours(model, rows))
                times["warm"].append(_ours(model, rows))
                times["trl"].append(_theirs(model, rows.parent, folder / "trl"))
        finally:
            warm.stop()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "ratio": medians["trl"] / medians["warm"],
        "cold_ratio": medians["trl"] / medians["cold"],
        **{f"{name}_seconds": value for name, value in medians.items()},
        "rounds": rounds,
    }


def _model() -> Path:
    """The folder that `wren` names; both sides are given the folder."""
    from ftlab.models import base_folder

    return Path(base_folder("wren")[0])


def _rows(folder: Path) -> Path:
    """Rows of the embedded world as a file, in the conversational form that both sides read."""
    from ftlab import data

    folder.mkdir()
    path = folder / "train.jsonl"
    lines = [json.dumps(row) + "\n" for row in data.read("wren:sft").first(ROWS)]
    path.write_text("".join(lines), "utf-8")
    return path


def _ours(model: Path, rows: Path) -> float:
    """Seconds from `start` to the first loss event; the run is ended then."""
    run = Run.create(RunConfig(model=str(model), method="sft", data=str(rows), batch_size=8, device="cpu"))
    began = time.monotonic()
    run.start()
    offset = 0
    while True:
        over = run.status in ENDS  # asked before reading, so that a short run's last events still count
        events, offset = run.events(offset)
        if any(isinstance(event, Measured) for event in events):
            seconds = time.monotonic() - began
            break
        if over or time.monotonic() - began > LIMIT_SECONDS:
            raise FtlabError(f"{run.folder}: no loss came: {run.status}, {run.reason}")
        time.sleep(LOOK_SECONDS)
    run.stop().wait()
    return seconds


def _theirs(model: Path, rows: Path, output: Path) -> float:
    """Seconds from the start of `trl sft` to the first loss that it prints; it is ended then."""
    command = [
        *(sys.executable, "-c", TRL, "sft"),
        *("--model_name_or_path", str(model), "--dataset_name", str(rows), "--output_dir", str(output)),
        *("--use_cpu", "true", "--bf16", "false", "--per_device_train_batch_size", "8"),
        *("--logging_steps", "1", "--report_to", "none"),
    ]
    began = time.monotonic()
    said = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # it starts children of its own, and all of them are ended
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line)
                if FIRST_LOSS.search(line):
                    return time.monotonic() - began
        finally:
            _end(process.pid)
    raise FtlabError("trl sft ended without a loss; it said:\n" + "".join(said[-20:]))


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
