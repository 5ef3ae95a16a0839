"""Bench `rate`: from a key press to the tick that says "committed", in a real JupyterLab."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from ftlab.bench.jupyter import Notebook, browser, jupyter, write_notebook

PRESSES = 80
WARM_UP = 5

_CELL = f"""
from ftlab.ratings import Ratings
from ftlab.widgets import Rate
ratings = Ratings()
ratings.add_pairs([
    {{"prompt": f"Question {{n}}: where does Tom live?",
      "responses": [{{"model": "a", "text": f"In a cottage by the river. {{n}}"}}, {{"model": "b", "text": f"dogs {{n}}"}}]}}
    for n in range({PRESSES + WARM_UP + 1})], batch="bench", seed="bench")
Rate(ratings, "bench")
"""

_WATCH = """() => {
  window.presses = [];
  let pressed = 0;
  document.addEventListener('keydown', (event) => { if (event.key === '3') pressed = performance.now(); }, { capture: true });
  const status = document.querySelector('.rate-status');
  new MutationObserver(() => {
    if (!pressed || !status.textContent.startsWith('✓')) return;
    window.presses.push(performance.now() - pressed);
    pressed = 0;
  }).observe(status, { childList: true, characterData: true, subtree: true });
}"""


def measure() -> dict[str, Any]:
    """p50 and p95 over 80 presses in ms, p95 of a bare fsync between them on the same disk; over_ms against the bar."""
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as name:
        folder = Path(name)
        (folder / ".jupyter").mkdir()
        write_notebook(folder / "rate.ipynb", [_CELL])
        with jupyter(folder) as server, browser() as started:
            page = started.new_page(viewport={"width": 1280, "height": 1000})
            notebook = Notebook.open(page, server, "rate.ipynb")
            notebook.run(0)
            page.locator(".rate-head").click()
            page.evaluate(_WATCH)
            syncs = []
            for number in range(1, PRESSES + WARM_UP + 1):
                page.locator("[role=radio]:not(:disabled)").first.wait_for()
                page.keyboard.press("3")
                page.wait_for_function("count => window.presses.length === count", arg=number)
                syncs.append(_fsync_ms(server.home / "probe"))
            presses = page.evaluate("window.presses")[WARM_UP:]
    p95, fsync = _p95(presses), _p95(syncs[WARM_UP:])
    return {
        "p50_ms": round(statistics.median(presses), 2),
        "p95_ms": round(p95, 2),
        "fsync_ms": round(fsync, 2),
        "fsync_p50_ms": round(statistics.median(syncs[WARM_UP:]), 2),
        "over_ms": round(p95 - (60 + 3 * fsync), 2),
        "presses": len(presses),
    }


def _fsync_ms(path: Path) -> float:
    """Time of appending 4 kB, about what a rating takes in the log, and waiting for the disk."""
    with path.open("ab") as file:
        file.write(b"x" * 4096)
        file.flush()
        started = time.perf_counter()
        os.fsync(file.fileno())
        return 1000 * (time.perf_counter() - started)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
