"""Takes the pictures of this folder: the tour, really run in JupyterLab, each widget light and dark.

    python docs/screenshots.py [--work FOLDER] [--narrow FOLDER]

The one folder keeps the first training, so that a second call is quick; into the other go, for looking only, the
widgets as they are in a window half as wide.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from ftlab.bench.jupyter import Notebook, browser, jupyter

DOCS = Path(__file__).parent
NOTEBOOKS = DOCS.parent / "notebooks"
WIDE, NARROW, WINDOW = 1120, 560, {"width": 1440, "height": 1040}
TALL = 1700  # a widget is cut off where it ends below the window
SCALE = 1.5
COLOURS = 128
WAIT_MS = 600_000  # a training may take minutes on a busy machine
THEMES = ("light", "dark")


class Tour:
    """The tour in a page, run cell by cell as a person does."""

    def __init__(self, page: Any, server: Any, *, narrow: Path | None) -> None:
        self.page = page
        self.narrow = narrow
        self.book = Notebook.open(page, server, "00_tour.ipynb")
        self.sources = [cell.source for cell in nbformat.read(server.folder / "00_tour.ipynb", 4).cells]
        page.evaluate("window.jupyterapp.shell.collapseLeft(); window.jupyterapp.shell.collapseRight();")

    def cell(self, *words: str) -> int:
        """Place of the first cell that holds all these words."""
        return next(n for n, source in enumerate(self.sources) if all(word in source for word in words))

    def run(self, *words: str) -> Any:
        """Run the cell with these words and give its place in the page. Raises RuntimeError where it fails."""
        index = self.cell(*words)
        self.book.run(index)
        for output in self.book.outputs(index):
            if output["output_type"] == "error":
                raise RuntimeError(f"cell {index} of the tour failed: {output['ename']}: {output['evalue']}")
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def theme(self, theme: str) -> None:
        """Change Lab's theme, and wait until it is there."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })",
            f"JupyterLab {theme.capitalize()}",
        )
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str(theme == "light").lower()
        )

    def shoot(self, widget: Any, name: str) -> None:
        """The widget in both themes, with no pointer over it."""
        self.page.mouse.move(0, 0)
        for theme in THEMES:
            self.theme(theme)
            for folder, width in ((DOCS, WIDE), (self.narrow, NARROW)):
                if folder is not None:
                    self.resize(width, TALL)
                    widget.scroll_into_view_if_needed()
                    save(widget.screenshot(animations="disabled"), folder / f"{name}-{theme}.png")
        self.theme("light")
        self.resize(WIDE, TALL)

    def shoot_window(self, cell: Any, name: str) -> None:
        """The whole window with this cell at the top."""
        self.resize(**WINDOW)
        cell.evaluate("node => node.scrollIntoView({ block: 'start' })")
        save(self.page.screenshot(animations="disabled"), DOCS / f"{name}.png")
        self.resize(WIDE, TALL)


def save(png: bytes, path: Path) -> None:
    """With a palette: much smaller, and no difference to be seen."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def answered(desk: Any) -> Any:
    """The comparison, once every column has its answer."""
    desk.get_by_role("button", name="Cancel").wait_for(state="hidden")
    desk.locator(".cmp-foot", has_text="token").last.wait_for()
    return desk


def turn_to_telling(desk: Any) -> None:
    """Turn to the first prompt that the first model gets wrong and all others get right, each in its own words.

    Where there is none such, to the first.
    """
    following = desk.get_by_role("button", name="Next prompt")
    while True:
        signs = "all => all.map((one) => one.classList.contains('ft-good'))"
        verdicts = desk.locator(".cmp-verdict").evaluate_all(signs)
        texts = desk.locator(".cmp-body").all_inner_texts()
        if verdicts and not verdicts[0] and all(verdicts[1:]) and len(set(texts)) == len(texts):
            return
        if following.is_disabled():
            break
        following.click()
    while (previous := desk.get_by_role("button", name="Previous prompt")).is_enabled():
        previous.click()


def rate_the_longer(page: Any, desk: Any, until: str) -> None:
    """Rate by keyboard, always for the longer answer, until the progress reads like that."""
    desk.focus()
    while not (before := desk.locator(".rate-progress").inner_text()).startswith(until):
        desk.locator("[role=radio]:not(:disabled)").first.wait_for()
        left, right = desk.locator(".rate-answer").all_inner_texts()
        page.keyboard.press("1" if len(left) >= len(right) else "2")
        page.keyboard.press("2")
        page.wait_for_function(
            "before => document.querySelector('.rate-progress').innerText !== before", arg=before
        )


def take(tour: Tour) -> None:
    """Run the tour and take the pictures on the way."""
    page = tour.page
    for words in ("epochs = 3", "ratings = Ratings()", "def verdict"):
        tour.run(words)

    training = tour.run("RunView(tuned)").locator(".rv")
    training.locator(".rv-chip:not([data-status=starting]):not([data-status=created])").wait_for()
    page.wait_for_function(
        """() => { const bar = document.querySelector('.rv progress');
          return bar.value > 0.55 * bar.max || document.querySelector('.rv-chip').dataset.status === 'finished'; }"""
    )
    tour.shoot(training, "run_view")
    tour.run("tuned.wait")

    both = answered(tour.run("Compare([model, tuned.reference]").locator(".cmp"))
    turn_to_telling(both)
    tour.shoot(both, "compare")

    tour.run("add_pairs", 'batch="tour"')
    desk = tour.run("Rate(ratings", 'batch="tour"').locator(".rate")
    desk.locator("[role=radio]:not(:disabled)").first.wait_for()
    rate_the_longer(page, desk, "3 of 12")
    desk.locator("[role=radio]:not(:disabled)").first.wait_for()
    desk.locator(".rate-status.ft-good").wait_for()
    tour.shoot(desk, "rate")
    rate_the_longer(page, desk, "12 of 12")

    tour.run("RunView(preferred)")
    tour.run("preferred.wait")
    last = tour.run("[model, tuned.reference, preferred.reference]")
    three = answered(last.locator(".cmp"))
    turn_to_telling(three)
    tour.shoot_window(page.locator(".jp-Notebook .jp-Cell").nth(tour.cell("Look again: what have")), "tour")


@contextmanager
def workplace(given: Path | None) -> Iterator[Path]:
    """A folder with the tour in it; of an earlier call's only the first training is kept."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="ftlab-docs-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    given.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(given / ".jupyter", ignore_errors=True)
    for path in [*(given / ".ftlab").glob("ratings.db*"), *(given / ".ftlab").glob("runs/*-dpo")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    yield given


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="where to work, kept; a new folder by default")
    parser.add_argument("--narrow", type=Path, help="where pictures of narrow windows go; none by default")
    options = parser.parse_args()
    if options.narrow:
        options.narrow.mkdir(parents=True, exist_ok=True)
    with workplace(options.work) as folder:
        shutil.copytree(NOTEBOOKS, folder, dirs_exist_ok=True)
        (folder / ".jupyter").mkdir()
        environment = {"FTLAB_WARM_IDLE": "60"}  # nobody uses the warm process behind us
        with jupyter(folder, environment=environment) as server, browser() as started:
            page = started.new_page(viewport={"width": WIDE, "height": TALL}, device_scale_factor=SCALE)
            page.set_default_timeout(WAIT_MS)
            take(Tour(page, server, narrow=options.narrow))


if __name__ == "__main__":
    main()
