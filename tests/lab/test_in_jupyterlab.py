"""The lab as a person has it: a real kernel, a real trainer, a real database, and hands on mouse and keyboard."""

import json
import os
import re
import signal

import nbformat
import psutil
import pytest

from ftlab.events import Saved
from ftlab.notebook import chapters
from ftlab.ratings import Ratings
from ftlab.run import Run, runs

pytestmark = pytest.mark.browser

MODEL = "wren-s"

RUN = f"""
from ftlab import RunConfig, RunView, launch
lesson = RunConfig(
    name="NAME", model={MODEL!r}, method="lora", data={{"train": "wren:sft", "max_rows": 64}}, batch_size=4,
    epochs=1000, schedule="constant", evaluate={{"prompts": ["Who are you?"], "max_new_tokens": 12}},
)
run = launch(lesson)
RunView(run)
"""
RATE = """
from ftlab import Rate, Ratings
ratings = Ratings()
ratings.add_pairs([
    {"prompt": f"Where does Tom live? ({n})",
     "responses": [{"model": "good", "text": f"In a cottage by the river. ({n})"}, {"model": "bad", "text": f"dogs ({n})"}]}
    for n in range(6)], batch="NAME", seed="sides")
desk = Rate(ratings, batch="NAME", rater="ann")
desk
"""
# keeps the main thread busy, prints and sets traits, until the test has seen what it wants to see
BUSY = """
import time
from pathlib import Path
started = time.monotonic()
while not Path("enough").exists() and time.monotonic() - started < 250:
    desk.instructions = f"Busy for {time.monotonic() - started:.1f} s"
    print(".", end="", flush=True)
    time.sleep(0.02)
assert Path("enough").exists(), "nobody came"
"""

# the page's widgets may not run, load or leave anything that a model says
HOSTILE = [
    '<img src="/xss-probe" onerror="window.__xss = 1"><script>window.__xss = 2</script>',
    "[a link](javascript:window.__xss=3) ![a picture](http://xss-probe.test/a.png)",
    '<svg onload="window.__xss=4"></svg><iframe src="http://xss-probe.test/"></iframe>',
    '<a href="javascript:window.__xss=5">a link</a> <style>@import "http://xss-probe.test/a.css";</style>',
]

CHIP = "[...document.querySelectorAll('.rv-chip')].at(-1)?.dataset.status"


def step(book):
    """The step that RunView tells."""
    return int(re.search(r"step ([\d,]+)", book.text(".rv-figures"))[1].replace(",", ""))


def steps_pass(book):
    """Wait until RunView tells of a later step than now."""
    book.until(
        "seen => Number(document.querySelector('.rv-figures')?.textContent.match(/step ([\\d,]+)/)?.[1].replaceAll(',', '')) > seen",
        step(book),
    )


def status(book, *wanted):
    book.until(f"wanted => wanted.includes({CHIP})", list(wanted))


def receipt(book, words):
    """Wait for a tick with these words."""
    book.page.locator(".rate-status.ft-good", has_text=words).wait_for()


def ready(book):
    """Wait until a pair is on the screen and can be judged."""
    book.page.locator(".rate [role=radio]:not(:disabled)").first.wait_for()


def judge(book, *keys):
    """Press keys, then wait for the receipt of the last one."""
    seen = book.text(".rate-status")
    ready(book)
    for key in keys:
        book.page.keyboard.press(key)
    book.until(
        "seen => { const told = document.querySelector('.rate-status'); return told.classList.contains('ft-good') && told.textContent !== seen; }",
        seen,
    )


def said(batch, rater="ann"):
    """Every event of a rater's tasks, in the order in which they came, as (position, kind, choice, strength)."""
    found = []
    with Ratings() as ratings:
        for position in range(1, 100):
            if (task := ratings.at(rater, batch, position)) is None:
                break
            found += [
                (event["seq"], position, event["kind"], event["choice"], event["strength"])
                for event in ratings.history(task.assignment_id)
            ]
    return [tuple(event[1:]) for event in sorted(found)]


def outbox(book):
    """What waits in the browser."""
    return [
        json.loads(entry)
        for entry in book.page.evaluate(
            "Object.keys(localStorage).filter((key) => key.startsWith('ftlab:outbox:')).map((key) => localStorage.getItem(key))"
        )
    ]


def picture(book):
    """The first chart, as pixels."""
    return book.page.evaluate("document.querySelector('.rv-stage canvas').toDataURL()")


def test_a_curve_moves_while_a_run_trains_and_the_stop_button_leaves_a_checkpoint(open_book):
    book = open_book(RUN.replace("NAME", "moves"))
    book.run(0)
    status(book, "running")
    book.page.locator(".rv-stage canvas").first.wait_for()
    steps_pass(book)
    before = picture(book)
    steps_pass(book)
    book.until("before => document.querySelector('.rv-stage canvas').toDataURL() !== before", before)
    run = Run.open("moves")
    trainer = psutil.Process(run.pid)
    book.page.get_by_role("button", name="Stop", exact=True).click()
    status(book, "stopped")
    assert run.wait(30) == "stopped"
    trainer.wait(30)
    saved = [event for event in run.events()[0] if isinstance(event, Saved) and event.kind == "checkpoint"]
    assert saved[-1].step >= step(book)
    assert (run.folder / saved[-1].path / "manifest.json").is_file()


def test_after_a_reload_and_after_a_kernel_restart_run_and_ratings_are_found_again(open_book):
    book = open_book(RUN.replace("NAME", "found"), RATE.replace("NAME", "found"))
    book.run(0)
    book.run(1)
    status(book, "running")
    book.page.locator(".rate-head").click()
    judge(book, "3")
    book.save()

    book.reload()
    status(book, "running")
    steps_pass(book)
    book.page.locator(".rate-progress", has_text="1 of 6 answered").wait_for()
    book.page.locator(".rate-head").click()
    judge(book, "4")

    trainer = Run.open("found").pid
    book.restart()
    book.run(0)
    book.run(1)
    status(book, "running")
    steps_pass(book)
    book.page.locator(".rv-stage[aria-label*='at step 1 to']").wait_for()  # the whole past
    assert Run.open("found").pid == trainer
    assert [run.name for run in runs()].count("found") == len([r for r in runs() if "found" in r.name]) == 1
    book.page.locator(".rate-progress", has_text="2 of 6 answered").wait_for()
    assert said("found") == [(1, "rate", "tie", 0), (2, "rate", "both_bad", 0)]

    book.page.get_by_role("button", name="Stop", exact=True).click()
    status(book, "stopped")


def test_ratings_by_keyboard_alone_are_stored_as_pressed_and_no_key_reaches_the_notebook(open_book):
    book = open_book(RATE.replace("NAME", "keys"), "kept = 'as it is'")
    before = book.sources()
    book.run(0)
    book.page.locator(".rate").focus()
    judge(book, "1", "2")  # A, clearly
    judge(book, "2", "4")  # B, negligibly
    judge(book, "u")
    judge(book, "2", "1")  # B, significantly
    judge(book, "1", "Escape", "4")  # A; no: both bad
    judge(book, "s")
    ready(book)
    book.page.keyboard.press("c")
    book.page.keyboard.type("dd a b m")  # in command mode each of these would change the notebook
    book.page.keyboard.press("Escape")
    judge(book, "3")
    for key in ("d", "d", "a", "b", "m", "y", "x", "j", "k", "Shift+Enter"):
        book.page.keyboard.press(key)
    assert said("keys") == [
        (1, "rate", "left", 2),
        (2, "rate", "right", 0),
        (2, "undo", None, None),
        (2, "rate", "right", 3),
        (3, "rate", "both_bad", 0),
        (4, "skip", None, None),
        (5, "rate", "tie", 0),
    ]
    with Ratings() as ratings:
        assert ratings.at("ann", "keys", 5).state.comment == "dd a b m"
        assert ratings.verify()
    assert book.sources() == before
    assert book.text(".rate-progress").startswith("5 of 6 answered (1 skipped)")
    assert outbox(book) == []


@pytest.mark.parametrize("dies", ["between two keys", "after_commit"])
def test_a_kernel_killed_in_the_middle_of_a_rating_loses_nothing_and_doubles_nothing(open_book, dies):
    batch = dies.replace(" ", "-")
    book = open_book(
        RATE.replace("NAME", batch),
        "import os\nprint(os.getpid())",
        f"os.environ['FTLAB_CRASH_AT'] = {dies!r}",
    )
    book.run(0)
    book.run(1)
    book.page.locator(".rate").focus()
    judge(book, "3")
    ready(book)
    book.page.keyboard.press("1")
    if dies == "between two keys":
        os.kill(int(book.printed(1)), signal.SIGKILL)
        book.page.keyboard.press("2")
    else:
        book.run(2)
        book.page.locator(".rate").focus()
        book.page.keyboard.press("2")
    pressed = book.page.evaluate("performance.now()")
    book.page.locator(".rate .ft-banner", has_text="Disconnected").wait_for(timeout=20_000)
    assert book.page.evaluate("performance.now()") - pressed < 5000
    book.page.locator(".rate .ft-banner", has_text="One choice is kept in this browser").wait_for()
    assert len(outbox(book)) == 1
    assert len(said(batch)) == (2 if dies == "after_commit" else 1)

    book.settle()
    book.run(0)
    receipt(book, "Saved")
    assert said(batch) == [(1, "rate", "tie", 0), (2, "rate", "left", 2)]
    assert outbox(book) == []
    book.page.locator(".rate-progress", has_text="2 of 6 answered").wait_for()


def test_compare_streams_two_models_of_one_base_that_differ_in_the_adapter_only(open_book):
    book = open_book(
        RUN.replace("NAME", "tuned")
        .replace("RunView(run)", "")
        .replace("epochs=1000", "max_steps=8, learning_rate=1e-2")
        + "run.wait(check=True)",
        f"""
from ftlab import Compare, Ratings, Sampling
desk = Compare([{MODEL!r}, run.reference], ["Who are you?", "Where does Tom live?"], ratings=Ratings(), batch="compared",
               sampling=Sampling(max_new_tokens=24, temperature=1.0))
desk
""",
    )
    book.run(0)
    book.run(1)
    proofs = book.page.locator(".cmp-proof")
    proofs.nth(1).filter(has_text="adapter").wait_for()
    proofs.nth(0).filter(has_text="no adapter").wait_for()
    base, tuned = proofs.all_inner_texts()
    assert re.fullmatch(r"base [0-9a-f]{6}, no adapter", base)
    assert re.fullmatch(rf"{base.removesuffix(', no adapter')} \+ adapter [0-9a-f]{{6}} active", tuned)

    book.page.get_by_role("button", name="Cancel", exact=True).wait_for(state="hidden")
    book.page.get_by_role("button", name="Rate these 2 prompts").click()
    book.page.locator(".cmp-status.ft-good", has_text="2 pairs added").wait_for()
    with Ratings() as ratings:
        assert ratings.batches()["compared"] == 2


def test_answers_end_where_they_are_when_escape_is_pressed(open_book):
    """Hundreds of long answers, so that nobody is quick enough to finish them before Esc is pressed."""
    book = open_book(
        f"""
from ftlab import Compare, Sampling
desk = Compare([{MODEL!r}], [f"What is {{n}} plus {{n}}?" for n in range(400)],
               sampling=Sampling(max_new_tokens=400, temperature=3.0))
desk
""",
        "print(desk.state, any(row['finish'] == 'cancelled' for rows in desk.answers for row in rows.values()))",
    )
    book.run(0)
    book.page.locator(".cmp-caret").first.wait_for()  # words are coming
    book.page.get_by_label("Prompt", exact=True).focus()
    book.page.keyboard.press("Escape")
    book.page.get_by_role("button", name="Cancel", exact=True).wait_for(state="hidden")
    book.run(1)
    assert book.printed(1) == "idle True\n"


def test_the_tour_is_taken_cell_by_cell_and_rated_by_keyboard(open_book):
    """As a person takes it, with a smaller model, a shorter lesson and fewer questions."""
    code = [cell.source for cell in nbformat.read(chapters()["00_tour"], 4).cells if cell.cell_type == "code"]
    code[0] += '\nmodel, epochs, questions, judged = "wren-s", 0.5, 4, 14'
    book = open_book(*code)
    for index, source in enumerate(code):
        book.run(index)
        assert not [part for part in book.outputs(index) if part["output_type"] == "error"], source
        if 'batch="tour"' in source and "Rate(" in source:
            book.page.locator(".rate").focus()
            for _ in range(4):
                judge(book, "1", "1")
    with Ratings() as ratings:
        assert len(ratings.preferences("tour")) == 4
    assert [Run.open(f"tour-wren-s-sft{more}").status for more in ("", "-dpo")] == ["finished", "finished"]
    assert "run:tour-wren-s-sft-dpo" in book.printed(len(code) - 1)


def test_a_rating_gets_its_receipt_while_a_cell_keeps_the_kernel_busy(open_book, server):
    book = open_book(RATE.replace("NAME", "busy"), BUSY, "pass")
    book.run(0)
    book.run(1, wait=False)
    book.page.locator(".rate-instructions", has_text="Busy for").wait_for()
    book.page.locator(".rate").focus()
    judge(book, "1", "1")
    judge(book, "3")
    assert said("busy") == [(1, "rate", "left", 3), (2, "rate", "tie", 0)]
    (server.folder / "enough").touch()  # without it the cell would not have ended
    book.run(2)
    assert book.printed(1).startswith("...")
    assert "nobody came" not in json.dumps(book.outputs(1))


def test_what_a_model_says_is_shown_and_never_carried_out(open_book, tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"say {n}"}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for n, text in enumerate(HOSTILE)
    ]
    lines = tmp_path / "hostile.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    book = open_book(
        f"""
from ftlab import Compare, Rate, Ratings, RunConfig, RunView, Sampling, launch
asked = [f"say {{n}}" for n in range({len(HOSTILE)})]
run = launch(RunConfig(name="hostile", model={MODEL!r}, method="sft", data={{"train": {str(lines)!r}, "eval": {str(lines)!r}}},
    batch_size={len(HOSTILE)}, epochs=120, learning_rate=1e-2, evaluate={{"every_steps": 120, "prompts": asked, "max_new_tokens": 120}}))
run.wait(check=True)
hostile = {HOSTILE!r}
view = Compare([{MODEL!r}, run.reference], asked + hostile, sampling=Sampling(max_new_tokens=120, temperature=0.0))
view
""",
        "RunView(run)",
        """
ratings = Ratings()
ratings.add_pairs([{"prompt": text, "responses": [{"model": "a", "text": text}, {"model": "b", "text": "b " + text}]}
                   for text in hostile], batch="hostile", instructions=hostile[0])
Rate(ratings, batch="hostile", rater="ann")
""",
    )
    for index in range(3):
        book.run(index)
    book.page.locator(".rv-sample", has_text="window.__xss").first.wait_for()
    formatting = book.page.get_by_role("button", name="Markdown")
    said_by_model = []
    for place in range(2 * len(HOSTILE)):  # first the model says it, then it is asked
        if place:
            book.page.get_by_role("button", name="Next prompt").click()
        book.page.locator(".cmp-foot").nth(1).filter(has_text="token").wait_for()
        formatting.click()
        formatting.click()  # the text as it is
        said_by_model += book.page.locator(".cmp-body").nth(1).all_inner_texts()
    for mark in ("onerror=", "javascript:", "<iframe", "@import"):
        assert any(mark in text for text in said_by_model), said_by_model
    book.page.locator(".rate").focus()
    for number in range(len(HOSTILE)):
        book.page.keyboard.press("p" if number % 2 else "m")
        judge(book, "3")
    assert book.page.evaluate("window.__xss") is None
    assert [url for url in book.requests if "xss-probe" in url] == []
    origins = {url.split("/")[2] for url in book.requests if url.startswith("http")}
    assert origins == {book.server.address.split("/")[2]}
    assert book.page.locator(".ftlab a[href^='javascript']").count() == 0
