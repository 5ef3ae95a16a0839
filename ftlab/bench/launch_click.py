"""Bench `launch_click`: from the click on Start to the first point on the curve, in a real JupyterLab."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from ftlab import warm
from ftlab.bench.jupyter import Notebook, browser, jupyter, write_notebook
from ftlab.notebook import with_environment

ROUNDS = 5
WAIT_MS = 180_000
STEPS = 12

_CELL = f"""
from ftlab import RunConfig
from ftlab.widgets import Launch
form = Launch(RunConfig(model="wren", method="lora", data={{"train": "wren:sft", "max_rows": 256}}, batch_size=8, max_steps={STEPS}))
form
"""

_WATCH = """() => {
  window.launches = [];
  let clicked = 0;
  document.addEventListener('click', (event) => { if (event.target.closest('.la-start')) clicked = performance.now(); }, { capture: true });
  // the words of a chart are written when it has been drawn, and tell from which step to which it goes
  new MutationObserver((changes) => {
    if (!clicked || !changes.some(({ target }) => target.matches?.('.rv-stage') && target.getAttribute('aria-label')?.includes('at step'))) return;
    const since = clicked;
    clicked = 0;
    requestAnimationFrame(() => window.launches.push(performance.now() - since));
  }).observe(document.querySelector('.la'), { attributes: true, attributeFilter: ['aria-label'], subtree: true });
}"""


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Median and worst of `rounds` clicks in seconds, the first launch of all left out; the trainer is warm."""
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as name:
        folder = Path(name)
        (folder / ".jupyter").mkdir()
        write_notebook(folder / "launch.ipynb", [_CELL])
        with (
            jupyter(folder) as server,
            with_environment({"FTLAB_HOME": str(server.home)}),
            browser() as started,
        ):
            try:
                page = started.new_page(viewport={"width": 1280, "height": 1400})
                page.set_default_timeout(WAIT_MS)
                notebook = Notebook.open(page, server, "launch.ipynb")
                notebook.run(0)
                page.locator(".la-start").wait_for()
                page.evaluate(_WATCH)
                for number in range(rounds + 1):
                    _rest(page)
                    page.locator(".la-start").click()
                    page.wait_for_function("count => window.launches.length === count", arg=number + 1)
                    page.locator(".rv-chip[data-status=finished]").wait_for()
                seconds = [spent / 1000 for spent in page.evaluate("window.launches")]
                if notebook.errors:
                    raise AssertionError("\n".join(notebook.errors))
            finally:
                warm.stop()
    return {
        "seconds": round(statistics.median(seconds[1:]), 3),
        "slowest_seconds": round(max(seconds[1:]), 3),
        "first_seconds": round(seconds[0], 3),
        "rounds": rounds,
    }


def _rest(page: Any) -> None:
    """Until the pre-flight is done, which the warm process did: what it thinks of next is the run."""
    page.locator(".la-lines li").first.wait_for()
    page.locator(".la-checking").wait_for(state="hidden")
