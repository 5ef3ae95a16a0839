"""Bench `rate_million`: a store with a million events against an empty one, side by side.

Both have as many tasks left to ask. What a click costs is what the Rate widget does for it: the event is stored, the next task made and stored, the
progress read. The two stores take turns, click by click, so that a busy disk is busy for both.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from ftlab.bench.million import BATCH, RATERS, SETTINGS, SPARE, fill
from ftlab.ratings import Ratings, Task

EVENTS = 1_000_000
ROUNDS = 5
CLICKS = 100
WARM_UP = 20

_BOARD = """
import json, sys, time
from ftlab.ratings import Ratings
store = Ratings(sys.argv[1])
started = time.perf_counter()
from ftlab.ratings.analysis.board import board
found = board(store, sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

_EXPORT = """
import json, sys, time
from ftlab.ratings import Ratings
store = Ratings(sys.argv[1])
started = time.perf_counter()
done = store.export(sys.argv[3], kind="preference", batch=sys.argv[2])
seconds = time.perf_counter() - started
# not ru_maxrss, which a child takes over from the process it was forked from
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak_mib": int(peak.split()[1]) / 1024, "rows": done.rows}))
"""


def measure() -> dict[str, Any]:
    """p95 of a click in both stores and their ratio (the median of five rounds); board and export at a million."""
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as name:
        folder = Path(name)
        started = time.perf_counter()
        fill(folder / "full.db", EVENTS)
        filled = time.perf_counter() - started
        figures = _clicks(folder)
        board = _child(_BOARD, folder / "full.db", BATCH)
        export = _child(_EXPORT, folder / "full.db", BATCH, folder / "preferences.jsonl")
    return {
        **figures,
        "board_seconds": round(board["seconds"], 2),
        "export_seconds": round(export["seconds"], 2),
        "export_peak_mib": round(export["peak_mib"]),
        "export_rows": export["rows"],
        "fill_seconds": round(filled, 1),
    }


def _clicks(folder: Path) -> dict[str, Any]:
    with Ratings(folder / "full.db") as full, Ratings(folder / "empty.db") as empty:
        empty.add(_rows(SPARE), BATCH, seed="million", settings=SETTINGS)
        sides = [_Rater(full), _Rater(empty)]
        for _ in range(WARM_UP):
            for side in sides:
                side.click()
        rounds = []
        for _ in range(ROUNDS):
            times = [[side.click() for side in sides] for _ in range(CLICKS)]
            rounds.append([_p95(column) for column in zip(*times, strict=True)])
    ratios = [full_p95 / empty_p95 for full_p95, empty_p95 in rounds]
    return {
        "p95_ratio": round(statistics.median(ratios), 2),
        "full_p95_ms": round(statistics.median(row[0] for row in rounds), 2),
        "empty_p95_ms": round(statistics.median(row[1] for row in rounds), 2),
        "rounds": [round(ratio, 2) for ratio in ratios],
    }


class _Rater:
    """The one who is there longest, and goes on."""

    def __init__(self, store: Ratings) -> None:
        self._store = store
        self._task = self._next()

    def _next(self) -> Task:
        task = self._store.next(RATERS[0], BATCH)
        if task is None:
            raise RuntimeError("the batch is too small for so many clicks")
        return task

    def click(self) -> float:
        """Milliseconds from the event to the receipt, the next task and the progress."""
        event = {
            "event_id": uuid4().hex,
            "assignment_id": self._task.assignment_id,
            "prev_event_id": self._task.prev_event_id,
            "kind": "rate",
            "choice": "left",
            "strength": 2,
        }
        started = time.perf_counter()
        self._store.record(event)
        self._task = self._next()
        self._store.progress(RATERS[0], BATCH)
        return 1000 * (time.perf_counter() - started)


def _rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Question {n}: where does Tom live?",
            "responses": [
                {"model": "wren", "text": f"In a cottage by the river. {n}"},
                {"model": "run:sft", "text": f"dogs {n}"},
            ],
        }
        for n in range(count)
    ]


def _child(program: str, *arguments: object) -> dict[str, Any]:
    """What a fresh interpreter prints, as it would be in a kernel of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def _p95(values: Any) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
