"""Pages turned by hand: each place on the axes shows its own page, with and without a kernel, and in a saved notebook."""

import pytest
from test_axe import STILL, findings

from ftlab.errors import ConfigError
from ftlab.widgets.flipbook import Bars, Cells, Curves, Flipbook, Heat, Line, Said, Word, Words

EXAMPLES = [0, 30, 300, 3000]
RIGHT = {0: 0.0, 30: 0.2, 300: 0.7, 3000: 0.98}


def page(examples, mask):
    return [
        Said("Question", "Who is <b>Mia</b>?", "never seen in training"),
        Said(f"Answer after {examples}", f"{mask}: {'Mia is a baker.' if examples else 'Who is Tom?'}"),
        Bars("On unseen questions", [("right", RIGHT[examples]), ("rude", None if examples == 0 else 0.1)]),
        Curves("Right answers", [Line("right", EXAMPLES, list(RIGHT.values()))], "examples", "", examples),
        Words(
            "Loss of each token",
            [Word("Mia", 0.9, "2.1 nats"), Word(" is", -0.4, "0.2 nats"), Word("\n")],
            "high",
            "low",
        ),
        Cells("Counts", ["what", "n"], [["tokens", 61], ["trained", 37], ["cut", None]]),
        Heat("B", [[0.0, 0.1, -0.4], [0.2, -0.1, 0.0]], about="B is zero at the start"),
    ]


@pytest.fixture
def book():
    return Flipbook(
        {"examples": EXAMPLES, "mask": ["answer", "all"]},
        page,
        title="Before and after",
        about="How many examples does it take?",
        start={"examples": 30},
    )


def test_each_place_on_the_axes_has_its_own_page(book):
    assert len(book.pages) == 8
    assert book.at == [1, 0]
    assert book.page_at([2, 1])[1] == Said("Answer after 300", "all: Mia is a baker.")
    assert repr(book) == "<Flipbook Before and after: 8 pages, open at examples 30, mask answer>"


def test_turning_shows_another_page_and_tells_the_kernel(bench, live, book):
    web = bench.open(book)
    assert web.get_by_text("answer: Mia is a baker.").is_visible()
    web.get_by_role("slider", name="examples").focus()
    web.keyboard.press("ArrowLeft")
    web.get_by_text("answer: Who is Tom?").wait_for()
    web.get_by_role("button", name="all").click()
    web.get_by_text("all: Who is Tom?").wait_for()
    web.wait_for_function("() => window.model.get('at').join() === '0,1'")
    assert book.at == [0, 1]
    assert web.locator(".fb-said b").count() == 0, "text is never markup"


def test_pages_turn_when_no_kernel_is_left(bench, book):
    state = {name: getattr(book, name) for name in ("title", "about", "axes", "at", "pages", "error")}
    web = bench.open(stem="flipbook", state=state)
    web.evaluate("() => { window.model.dead = true; }")
    web.get_by_role("slider", name="examples").press("End")
    web.get_by_text("Answer after 3000").wait_for()


def test_play_goes_to_the_last_page_and_stops(bench, live, book):
    web = bench.open(book)
    web.get_by_role("button", name="Play").click()
    web.get_by_text("Answer after 3000").wait_for()
    web.get_by_role("button", name="▶ Play").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_has_no_serious_finding_wide_or_narrow(bench, live, book, theme):
    for width in (1000, 400):
        web = bench.open(book, theme=theme, width=width, **STILL)
        assert findings(web, ".fb") == []
        assert web.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"


def test_the_twin_shows_the_pages_along_the_first_axis(book):
    twin = book._twin()
    assert [f"Answer after {n}" in twin for n in EXAMPLES] == [True] * 4
    assert "all: Mia" not in twin, "the other axis stays where it is"
    assert "&lt;b&gt;Mia&lt;/b&gt;" in twin
    assert twin.count("<img") == 1 and twin.count("Right answers</b>: as above") == 3, "the same curve once"


def test_a_twin_tells_how_many_pages_it_leaves_out_and_what_is_empty():
    twin = Flipbook({"n": range(9)}, lambda n: [Said("Answer", ""), Bars("b", [("x", n / 8)])])._twin()
    assert "6 of 9 pages" in twin and "the text is empty" in twin
    assert [f"width:{share:.1%}" in twin for share in (0, 0.25, 1)] == [True, True, True]
    assert "pages" not in Flipbook({"n": [1, 2]}, lambda n: [Said("Answer", "yes")])._twin()


def test_bars_stand_apart_under_a_notebooks_own_style(bench, live):
    names = ["short", "a name that needs more room than the others have " * 3, "last"]
    web = bench.open(Flipbook({"n": [1]}, lambda n: [Bars("b", [(name, 0.5) for name in names])]))
    web.add_style_tag(content="body dl { display: block } body dl dt { float: left; width: 20% }")
    lefts = web.evaluate(
        "[...document.querySelectorAll('.fb-track')].map((one) => one.getBoundingClientRect().left)"
    )
    tops = web.evaluate(
        "[...document.querySelectorAll('.fb-bars dt')].map((one) => one.getBoundingClientRect().top)"
    )
    bottoms = web.evaluate(
        "[...document.querySelectorAll('.fb-bars dt')].map((one) => one.getBoundingClientRect().bottom)"
    )
    assert len(set(lefts)) == 1
    assert all(top >= bottom for top, bottom in zip(tops[1:], bottoms, strict=False))


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(ConfigError, match="arguments are named like the axes: n"):
        Flipbook({"n": [1, 2]}, lambda examples: [])
    with pytest.raises(ConfigError, match="'n' has no values"):
        Flipbook({"n": []}, lambda n: [])
    with pytest.raises(ConfigError, match="n has no 7; it has"):
        Flipbook({"n": [1, 2]}, lambda n: [], start={"n": 7})
    with pytest.raises(ConfigError, match="1000 pages are too many"):
        Flipbook({"n": range(10), "m": range(100)}, lambda n, m: [])


def test_a_page_that_is_not_there_is_refused_and_nothing_turns(book):
    with pytest.raises(ConfigError, match="wanted a place on each of 2 axes"):
        book._do_turn({"at": [9, 0]})
    assert book.at == [1, 0]
