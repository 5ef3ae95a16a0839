"""Takes the pictures of this folder: notebooks really run in JupyterLab, each widget light and dark.

    python docs/screenshots.py [--only tour|modes|launching] [--work FOLDER] [--narrow FOLDER]

The one folder keeps the first training, so that a second call is quick; into the other go, for looking only, the
widgets as they are in a window half as wide.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from ftlab.bench.jupyter import Notebook, browser, jupyter, write_notebook

DOCS = Path(__file__).parent
NOTEBOOKS = DOCS.parent / "notebooks"
WIDE, NARROW, WINDOW = 1120, 560, {"width": 1440, "height": 1040}
TALL = 1700  # a widget is cut off where it ends below the window
SCALE = 1.5
COLOURS = 128
WAIT_MS = 300_000  # a training may take minutes on a busy machine
THEMES = ("light", "dark")


MODES = (
    """
from ftlab import Board, Rate, Ratings, Sampling
from ftlab.judges import gold
from ftlab.ratings import judge, simulate
from ftlab.wren import rows

ratings = Ratings()
settings = {"repeats": 0, "gold": 0}
question = "How do I get rid of the weeds between my beans?"
answers = [
    "Pull them out by the root after rain: the ground lets go of them then.",
    "Weeds are plants that grow where nobody wants them. There are many kinds of weeds.",
    "Pull them out by the root after rain. Cover the ground with straw then, and few will come back.",
    "Ask somebody else.",
]


def tasks(count):
    responses = [{"model": f"model {place}", "text": text} for place, text in enumerate(answers[:count])]
    return [{"prompt": question, "responses": responses}]
""",
    """
ratings.add(tasks(1), "single", mode="single", seed="docs", settings={**settings, "flags": True, "labels": ["off topic"]})
Rate(ratings, "single")
""",
    """
ratings.add(tasks(4), "rank", mode="rank", seed="docs", settings=settings)
Rate(ratings, "rank")
""",
    """
ratings.add(tasks(1), "edit", mode="edit", seed="docs", settings={**settings, "scale": "likert"})
Rate(ratings, "edit")
""",
    """
Rate(ratings, "talk", models=["wren", "wren-s"], sampling=Sampling(max_new_tokens=6, temperature=0.4))
""",
    """
pairs = [{"prompt": row["prompt"], "responses": row["responses"][:2]} for row in rows("candidates", "train", 240)]
ratings.add(pairs, "board", seed="docs", settings={"overlap": 2, "repeats": 0.05, "gold": 0})
simulate(ratings, "board", "ann", gold, noise=0.05)
simulate(ratings, "board", "ben", gold, noise=0.15, position=0.8, seed=1)
judge(ratings, "board", "gold judge", gold)
Board(ratings, "board")
""",
)
"""Cells of a notebook with every mode of Rate, and a Board of two simulated raters."""

LAUNCHING = (
    """
from ftlab import Flipbook, Launch, RunConfig, Runs, Tokens, launch
from ftlab.wren import rows

slow = RunConfig(name="careful", model="wren-xs", data={"train": "wren:sft", "max_rows": 600}, epochs=2, learning_rate=5e-4)
for run in (launch(slow), launch(slow.with_(name="bold", learning_rate=4e-3)), launch(slow.with_(name="small", method="lora"))):
    run.wait(check=True)
""",
    """
Launch(RunConfig(name="first-lora", model="wren", method={"kind": "lora", "rank": 4}, epochs=2))
""",
    """
Tokens([row for row in rows("sft", n=60) if row["family"] == "about"], model="wren", losses=True)
""",
    """
Runs(selected=["careful", "bold", "small"])
""",
)
"""Cells of a notebook with the form, a look at tokens, and three runs over each other."""


class Tour:
    """A notebook in a page, run cell by cell as a person does."""

    def __init__(self, page: Any, server: Any, name: str, *, narrow: Path | None) -> None:
        self.page = page
        self.narrow = narrow
        self.book = Notebook.open(page, server, name)
        self.sources = [cell.source for cell in nbformat.read(server.folder / name, 4).cells]
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
                raise RuntimeError(
                    f"cell {index} of {self.book.name} failed: {output['ename']}: {output['evalue']}"
                )
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

    def shoot(self, widget: Any, name: str, themes: Sequence[str] = THEMES) -> None:
        """The widget in these themes, with no pointer over it."""
        self.page.mouse.move(0, 0)
        for theme in themes:
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


def ready(desk: Any) -> Any:
    """A desk that can be used, with the focus on it."""
    desk.page.wait_for_function("desk => desk.dataset.open === 'true'", arg=desk.element_handle())
    desk.focus()
    return desk


def take_modes(tour: Tour) -> None:
    """Use every mode of Rate, and take a picture of each half-way."""
    press = tour.page.keyboard.press
    tour.run("ratings = Ratings()")

    desk = ready(tour.run('Rate(ratings, "single")').locator(".rate"))
    press("g")
    desk.get_by_role("button", name="Satisfies the constraints").click()
    tour.shoot(desk, "rate_single", ["light"])

    desk = ready(tour.run('Rate(ratings, "rank")').locator(".rate"))
    for rank, words in enumerate(("Cover the ground", "the ground lets go", "There are many kinds"), 1):
        card = desk.locator("[data-answer]", has_text=words)
        card.get_by_role("button", name=f"Rank {rank} for answer").click()
    tour.shoot(desk, "rate_rank")

    desk = ready(tour.run('Rate(ratings, "edit")').locator(".rate"))
    press("5")
    text = desk.locator(".rate-text")
    text.fill(f"{text.input_value()} A layer of straw keeps new ones away.")
    desk.locator("ins").first.wait_for()
    tour.shoot(desk, "rate_edit", ["light"])

    desk = tour.run('Rate(ratings, "talk"').locator(".rate")
    desk.get_by_role("textbox").fill("Where does Tom live?")
    press("Control+Enter")
    ready(desk)
    press("1")
    press("2")
    desk.get_by_role("textbox", name="Your next message").fill("And where does Mia live?")
    press("Control+Enter")
    tour.shoot(ready(desk), "rate_dialogue", ["light"])

    board = tour.run('Board(ratings, "board")').locator(".bd")
    board.locator(".bd-raters").wait_for()
    tour.shoot(board, "board")


def take_launching(tour: Tour) -> None:
    """The form with its look before the start, the tokens of a row, and runs side by side."""
    tour.run("import Flipbook")
    form = tour.run("Launch(RunConfig").locator(".la")
    form.locator(".la-lines:not(.la-stale) li").first.wait_for()
    tour.shoot(form, "launch")
    tokens = tour.run("Tokens([row").locator(".tk")
    tokens.get_by_text("nats").first.wait_for()
    tour.shoot(tokens, "tokens")
    table = tour.run("Runs(selected").locator(".rs")
    table.locator("canvas").first.wait_for()
    tour.shoot(table, "runs")


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
    parser.add_argument(
        "--only",
        choices=("tour", "modes", "launching"),
        help="the tour, the modes of Rate and Board, or Launch, Tokens and Runs; by default all",
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
            if options.only in (None, "tour"):
                take(Tour(page, server, "00_tour.ipynb", narrow=options.narrow))
            if options.only in (None, "modes"):
                write_notebook(folder / "modes.ipynb", [cell.strip() for cell in MODES])
                take_modes(Tour(page, server, "modes.ipynb", narrow=options.narrow))
            if options.only in (None, "launching"):
                write_notebook(folder / "launching.ipynb", [cell.strip() for cell in LAUNCHING])
                take_launching(Tour(page, server, "launching.ipynb", narrow=options.narrow))


if __name__ == "__main__":
    main()
