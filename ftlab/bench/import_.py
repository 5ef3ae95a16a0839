"""Bench `import`: what `import ftlab, ftlab.widgets` costs a fresh interpreter."""

import statistics
import subprocess
import sys

_CODE = """
import time; start = time.perf_counter()
import ftlab, ftlab.widgets
seconds = time.perf_counter() - start
import sys; print(seconds, int("torch" in sys.modules))
"""


def measure(times: int = 7) -> dict[str, float]:
    """Median seconds of `times` fresh interpreters, and 1 where torch was loaded."""
    seconds, torch = [], []
    for _ in range(times):
        out = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
        first, second = out.stdout.split()
        seconds.append(float(first))
        torch.append(int(second))
    return {"seconds": round(statistics.median(seconds), 4), "torch": max(torch)}
