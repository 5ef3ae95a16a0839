"""The modes of Rate as a person has them: a real kernel, a real database, real models, a keyboard."""

import pytest

from ftlab.ratings import Ratings

pytestmark = pytest.mark.browser

SETTINGS = {"repeats": 0.0, "gold": 0.0}
RATE = f"""
from ftlab import Rate, Ratings
ratings = Ratings()
def rows(count):
    return [{{"prompt": f"Where does Tom live? ({{n}})",
              "responses": [{{"model": f"m{{i}}", "text": f"Answer {{n}}.{{i}}, **by** the river"}} for i in range(count)]}} for n in range(2)]
ratings.add(rows(4), "ranks", mode="rank", settings={SETTINGS!r}, seed="sides")
ratings.add(rows(1), "grades", mode="single", settings={SETTINGS!r}, seed="sides")
"""
TALK = """
from ftlab import Rate, Ratings, Sampling
Rate(Ratings(), "talk", "ann", models=["wren-s", "wren"], sampling=Sampling(max_new_tokens=16, temperature=1.0))
"""


def open_desk(book):
    """Wait until the newest desk can be used, and put the focus on it."""
    book.until("[...document.querySelectorAll('.rate')].at(-1)?.dataset.open === 'true'")
    book.page.locator(".rate").last.focus()


def saved(book, words):
    book.page.locator(".rate-status.ft-good", has_text=words).last.wait_for()


def test_rankings_and_grades_are_stored_as_pressed_and_no_key_reaches_the_notebook(open_book):
    book = open_book(
        RATE, "Rate(ratings, 'ranks', 'ann')", "Rate(ratings, 'grades', 'ann')", "kept = 'as it is'"
    )
    before = book.sources()
    book.run(0)
    book.run(1)
    for entry, keys in enumerate((["2", "1", "2", "3", "Enter"], ["1", "1", "1", "4", "Enter"]), 1):
        open_desk(book)
        for key in keys:
            book.page.keyboard.press(key)
        saved(book, f"Saved (entry {entry})")
    book.run(2)
    open_desk(book)
    for key in ("l", "b", "a", "d", "Enter", "Escape", "g", "6"):
        book.page.keyboard.press(key)
    saved(book, "Saved (entry 3)")
    open_desk(book)
    for key in ("d", "d", "x", "y", "m", "b", "2"):  # in command mode the first two would delete the cell
        book.page.keyboard.press(key)
    saved(book, "Saved (entry 4)")
    assert book.sources() == before
    with Ratings() as ratings:
        assert [row["scores"] for row in ratings.current("ranks")] == [
            {"ranks": [2, 1, 2, 3]},
            {"ranks": [1, 1, 1, 2]},
        ]
        assert [row["scores"] for row in ratings.current("grades")] == [
            {"thumb": "up", "likert": 6, "labels": ["bad"]},
            {"thumb": "down", "likert": 2},
        ]


def test_two_models_hold_a_dialogue_that_goes_on_with_the_chosen_answer(open_book):
    book = open_book(TALK)
    book.run(0)
    book.page.locator(".rate-text").fill("Who are you?")
    book.page.keyboard.press("Control+Enter")
    open_desk(book)
    with Ratings() as ratings:
        first = ratings.at("ann", "talk", 1)
    assert book.page.locator("[data-answer]").count() == 2
    book.page.keyboard.press("2")
    book.page.keyboard.press("1")
    saved(book, "Saved")
    book.page.get_by_role("textbox", name="Your next message").fill("Where do you live?")
    book.page.keyboard.press("Control+Enter")
    open_desk(book)
    with Ratings() as ratings:
        second = ratings.at("ann", "talk", 2)
    assert [message["content"] for message in second.prompt] == [
        "Who are you?",
        first.right,
        "Where do you live?",
    ]
