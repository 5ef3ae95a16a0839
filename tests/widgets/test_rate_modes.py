"""Rate in each of its modes: by keyboard alone, by mouse and by finger, as it reaches the store."""

import pytest

from ftlab.ratings import Ratings, Recording
from ftlab.widgets import Rate

PLAIN = {"repeats": 0.0, "gold": 0.0}
RANKED = ("in a cottage", "dogs dogs", "by the river", "a house")


def rows(mode, count=3):
    """Tasks whose texts tell where they came from, so that the order shown can be read off the page."""
    many = {"pair": 2, "single": 1, "rank": 4, "edit": 1, "dialogue": 2, "demonstration": 0}[mode]
    return [
        {
            "prompt": f"Where does Tom live? ({number})",
            "responses": [{"model": f"m{n}", "text": f"{RANKED[n]} {number}"} for n in range(many)],
        }
        for number in range(1, count + 1)
    ]


@pytest.fixture
def store(live):
    with Ratings() as ratings:
        yield ratings


@pytest.fixture
def desk(bench, store):
    """`desk(mode, **settings)`: the widget and a page that shows it."""

    def make(mode, count=3, *, page=None, **settings):
        kind = "edit" if mode == "demonstration" else mode
        store.add(rows(mode, count), mode, mode=kind, settings={**PLAIN, **settings}, seed="fixed")
        widget = Rate(store, mode, "ann")
        return widget, ready(bench.open(widget, **(page or {})))

    return make


def ready(page):
    page.locator(".rate[data-open=true]").wait_for()
    return page


def saved(page, words="✓ Saved"):
    page.get_by_role("status").get_by_text(words).wait_for()
    return page


def said(store, batch):
    """(kind, choice, strength, scores, comment) of what stands, in the order of the tasks."""
    names = ("kind", "choice", "strength", "scores", "comment")
    return [tuple(row[name] for name in names) for row in store.current(batch)]


def by_text(widget, ranks):
    """Ranks in the order shown as {text: rank}."""
    return dict(zip(widget.ratings.at("ann", "rank", 1).texts, ranks, strict=True))


# pair


def test_one_click_on_a_stop_says_side_and_degree(desk, store):
    _, page = desk("pair")
    stops = page.get_by_role("radiogroup", name="Which answer is better, and by how much?").get_by_role(
        "radio"
    )
    assert stops.count() == 7
    for place, seen in ((0, 1), (3, 2), (5, 3)):
        ready(page)
        stops.nth(place).click()
        saved(page, f"✓ Saved (entry {seen})")
    assert [row[1:3] for row in said(store, "pair")] == [("left", 3), ("tie", 0), ("right", 2)]


def test_a_stop_is_one_touch(desk, store):
    _, page = desk("pair", page={"width": 420, "has_touch": True, "is_mobile": True})
    page.get_by_role("radio", name="B is slightly better").tap()
    saved(page)
    assert said(store, "pair")[0][1:3] == ("right", 1)


@pytest.mark.parametrize("first", ["safety", "preference"])
def test_where_the_batch_asks_for_safety_both_are_needed_in_whatever_order(desk, store, first):
    _, page = desk("pair", safety=True)
    page.locator(".rate-head").click()
    for key in ("6", "1", "2") if first == "safety" else ("1", "2", "6"):
        assert store.last_seq() == 0
        page.keyboard.press(key)
    saved(page)
    assert said(store, "pair")[0] == ("rate", "left", 2, {"safety": "left_safe"}, "")


# single


def test_thumbs_and_grade_by_keyboard_are_one_rating(desk, store):
    _, page = desk("single", scale="both", flags=True, labels=["funny"])
    page.locator(".rate-head").click()
    for key in ("g", "6"):
        page.keyboard.press(key)
    saved(page, "✓ Saved (entry 1)")
    ready(page).keyboard.press("b")
    page.keyboard.press("Control+Enter")
    saved(page, "✓ Saved (entry 2)")
    assert [row[3] for row in said(store, "single")] == [{"thumb": "up", "likert": 6}, {"thumb": "down"}]


def test_thumbs_alone_are_one_key(desk, store):
    _, page = desk("single", scale="thumbs")
    page.locator(".rate-head").click()
    page.keyboard.press("b")
    saved(page)
    assert said(store, "single")[0][3] == {"thumb": "down"}


def test_flags_labels_and_comment_are_on_the_page_and_stored_with_the_rating(desk, store):
    _, page = desk("single", scale="likert", flags=True, labels=["funny", "rude"])
    assert page.get_by_role("group", name="Flags").get_by_role("button").count() == 11
    page.locator(".rate-head").click()
    page.keyboard.press("i")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    page.keyboard.type("too short")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="rude").click()
    page.keyboard.press("c")
    page.keyboard.type("7 dwarfs, gold")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    saved(page)
    (row,) = said(store, "single")
    assert row[3] == {"likert": 2, "flags": ["hallucination"], "labels": ["too short", "rude"]}
    assert row[4] == "7 dwarfs, gold"
    ready(page)
    assert page.get_by_role("button", name="too short").is_visible()  # proposed from now on
    assert page.get_by_role("button", name="too short").get_attribute("aria-pressed") == "false"


def test_flags_of_several_answers_are_kept_apart(desk, store):
    _, page = desk("pair", flags=True)
    page.get_by_role("button", name="Expresses an opinion").click()
    page.get_by_role("radio", name="B", exact=True).click()
    page.get_by_role("button", name="Hallucination").click()
    page.get_by_role("radio", name="B, 1 flag").wait_for()
    page.get_by_role("radio", name="Tie", exact=True).click()
    saved(page)
    assert said(store, "pair")[0][3] == {"flags": [["opinion"], ["hallucination"]]}


# rank


def test_digits_rank_the_cards_one_after_the_other(desk, store):
    widget, page = desk("rank")
    page.locator(".rate-head").click()
    for key in ("3", "1", "3", "2", "Enter"):
        page.keyboard.press(key)
    saved(page)
    assert said(store, "rank")[0][3] == {"ranks": [3, 1, 3, 2]}
    assert widget.last["words"] == "ranking 1: B, then D, then A = C"


def test_a_card_is_picked_up_moved_tied_and_dropped_by_keys_and_told(desk, store):
    _, page = desk("rank")
    page.locator(".rate-head").click()
    for key in ("1", "2", "3", "4"):
        page.keyboard.press(key)
    page.locator("[data-card=D]").focus()
    page.keyboard.press("Space")
    page.get_by_text("Answer D picked up, rank 4").wait_for(state="attached")
    page.keyboard.press("ArrowUp")
    page.get_by_text("Answer D: rank 3, tied with C").wait_for(state="attached")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    page.get_by_text("Answer D dropped, rank 2").wait_for(state="attached")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")  # back to where it was picked up
    assert page.evaluate("document.activeElement.dataset.card") == "D"
    page.keyboard.press("Enter")
    saved(page)
    assert said(store, "rank")[0][3] == {"ranks": [1, 3, 4, 2]}


def test_best_k_needs_k_cards_and_leaves_the_others_without_a_rank(desk, store):
    _, page = desk("rank", best=2)
    page.locator(".rate-head").click()
    page.locator("[data-card=C]").focus()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    assert page.get_by_text("choose the best 2: 1 more").is_visible()
    page.locator("[data-card=A]").focus()
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    saved(page)
    assert said(store, "rank")[0][3] == {"ranks": [2, None, 1, None]}


def box(page, name):
    found = page.locator(f"[data-answer={name}]").bounding_box()
    return found["x"], found["y"], found["width"], found["height"]


def grip(page, name):
    """The middle of a card's handle."""
    found = page.locator(f"[data-card={name}]").bounding_box()
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def drag(page, name, to):
    """By mouse, in a few steps as a hand makes them."""
    x, y = grip(page, name)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, (y + to) / 2, steps=3)
    page.mouse.move(x, to, steps=3)
    page.mouse.up()


def middle(page, name):
    _, y, _, height = box(page, name)
    return y + height / 2


def settled(page):
    """Once the cards have glided to their places."""
    page.wait_for_function("!document.getAnimations().some((one) => one.playState === 'running')")


def test_cards_are_dragged_into_order_between_others_and_onto_them(desk, store):
    _, page = desk("rank", page={"height": 1400})
    drag(page, "C", box(page, "A")[1] - 20)  # nothing is ranked yet: above the others
    settled(page)
    drag(page, "B", box(page, "C")[1] + box(page, "C")[3] - 4)  # behind C
    settled(page)
    drag(page, "A", middle(page, "B"))  # onto B: a tie
    settled(page)
    drag(page, "D", box(page, "A")[1] + 4)  # before both, behind C
    settled(page)
    page.get_by_role("button", name="Save the ranking").click()
    saved(page)
    assert said(store, "rank")[0][3] == {"ranks": [3, 3, 1, 2]}


def test_a_drag_given_up_by_escape_changes_nothing(desk):
    _, page = desk("rank", page={"height": 1400})
    x, y = grip(page, "D")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 100, steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    assert page.get_by_text("4 still without a rank").is_visible()


def touch(page, name, to):
    """A finger on the card's handle, moved to a height of the window and lifted."""
    x, y = grip(page, name)
    finger = page.context.new_cdp_session(page)

    def put(kind, points):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    put("touchStart", [{"x": x, "y": y}])
    for step in range(1, 6):
        put("touchMove", [{"x": x, "y": y + (to - y) * step / 5}])
    page.wait_for_timeout(
        120
    )  # a finger rests before it lifts; else Chromium takes it for a fling, and the next tap for its end
    put("touchMove", [{"x": x, "y": to}])
    put("touchEnd", [])
    settled(page)


def test_cards_are_dragged_by_finger_and_the_page_stays_where_it_is(desk, store):
    _, page = desk("rank", page={"width": 420, "height": 1400, "has_touch": True, "is_mobile": True})
    touch(page, "B", box(page, "A")[1] - 20)
    touch(page, "D", middle(page, "B"))
    assert page.evaluate("scrollY") == 0
    for name, rank in (("A", 3), ("C", 4)):
        page.get_by_role("button", name=f"Rank {rank} for answer {name}").tap()
        settled(page)
    page.get_by_role("button", name="Save the ranking").tap()
    saved(page)
    assert said(store, "rank")[0][3] == {"ranks": [2, 1, 3, 1]}


# edit


def test_an_answer_is_improved_with_the_difference_before_the_eyes(desk, store):
    widget, page = desk("edit")
    text = page.get_by_role("textbox", name="Improve the answer")
    assert text.input_value() == widget.task["texts"][0] == "in a cottage 1"
    page.locator(".rate-head").click()
    page.keyboard.press("w")
    page.keyboard.press("Control+A")
    page.keyboard.type("in a red cottage, u s p z")
    page.locator(".rate-changes ins", has_text="red").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.keyboard.press("Control+Enter")
    saved(page)
    assert said(store, "edit")[0][3] == {"text": "in a red cottage, u s p z", "likert": 2}


def test_a_demonstration_is_written_where_there_is_no_answer(desk, store):
    _, page = desk("demonstration")
    assert page.get_by_role("button", name="Save", exact=True).is_disabled()
    page.get_by_role("textbox", name="Write the answer that should have been given").fill("By the river.")
    page.get_by_role("button", name="Save", exact=True).click()
    saved(page)
    assert said(store, "demonstration")[0][3] == {"text": "By the river."}


def drafts(page):
    return page.evaluate("Object.keys(localStorage).filter((key) => key.includes(':draft:')).length")


def test_a_draft_outlives_the_page_and_goes_with_its_receipt(bench, desk, store):
    widget, page = desk("edit")
    page.locator(".rate-text").fill("half a thought")
    assert drafts(page) == 1
    again = page.context.new_page()  # the same browser storage
    ready(bench.show(again, widget))
    assert again.locator(".rate-text").input_value() == "half a thought"
    again.keyboard.press("Control+Enter")
    again.locator(".rate-text").press("Control+Enter")
    saved(again)
    assert drafts(again) == 0
    assert len(said(store, "edit")) == 1


def test_an_undone_text_is_there_again(desk):
    _, page = desk("edit")
    page.locator(".rate-text").fill("a better answer")
    page.locator(".rate-text").press("Control+Enter")
    saved(page)
    ready(page)
    page.get_by_role("button", name="Undo").click()
    saved(page, "✓ Taken back")
    ready(page)
    assert page.locator(".rate-text").input_value() == "a better answer"


# undo, going back, pause, instructions


@pytest.mark.parametrize(
    ("mode", "keys"), [("pair", "3"), ("single", "g5"), ("rank", "1234⏎"), ("dialogue", "11")]
)
def test_undo_brings_the_task_back_in_every_mode(desk, store, mode, keys):
    widget, page = desk(mode)
    first = widget.task["assignment_id"]
    page.locator(".rate-head").click()
    for key in keys:
        page.keyboard.press("Enter" if key == "⏎" else key)
    saved(page, "✓ Saved (entry 1)")
    ready(page).keyboard.press("u")
    saved(page, "✓ Taken back (entry 2)")
    ready(page)
    assert widget.task["assignment_id"] == first
    assert said(store, mode) == []
    assert widget.last is None


def test_going_back_shows_what_was_said_and_changes_it(desk, store):
    widget, page = desk("pair")
    page.locator(".rate-head").click()
    for entry, key in enumerate(("3", "4"), 1):
        page.keyboard.press(key)
        saved(page, f"✓ Saved (entry {entry})")
        ready(page)
    page.keyboard.press("e")
    page.get_by_text("looking at 2").wait_for()
    ready(page).keyboard.press("e")
    page.get_by_text("looking at 1").wait_for()
    ready(page)
    assert page.get_by_role("radio", name="Tie", exact=True).get_attribute("aria-checked") == "true"
    page.keyboard.press("1")
    page.keyboard.press("1")
    saved(page, "✓ Changed (entry 3)")
    assert [row[:3] for row in said(store, "pair")] == [("revise", "left", 3), ("rate", "both_bad", 0)]
    ready(page)
    assert widget.task["position"] == 3
    page.keyboard.press("e")
    page.get_by_text("looking at 2").wait_for()
    ready(page).keyboard.press("n")
    page.get_by_text("2 of 3 answered", exact=True).wait_for()


def test_a_pause_hides_the_task_and_stops_the_clock(desk, store):
    _, page = desk("pair")
    page.locator(".rate-head").click()
    page.wait_for_timeout(300)
    page.keyboard.press("z")
    page.get_by_text("The clock stands still", exact=False).first.wait_for()
    assert not page.locator("[data-answer=A]").is_visible()
    page.keyboard.press("3")
    page.wait_for_timeout(1200)
    assert store.last_seq() == 0
    page.keyboard.press("z")
    ready(page).keyboard.press("3")
    saved(page)
    (row,) = store.current("pair")
    assert 250 <= row["shown_ms"] < 1200


def test_changed_instructions_are_announced_once_they_differ_from_those_read(bench, desk, store):
    widget, page = desk("pair")
    store.add(
        [{"prompt": "new", "responses": [{"model": "a", "text": "x"}, {"model": "b", "text": "y"}]}],
        "pair",
        instructions="Mind the facts.",
    )
    page.locator(".rate-head").click()
    for entry in (1, 2, 3):
        assert not page.get_by_text("The instructions have changed").is_visible()
        page.keyboard.press("3")
        saved(page, f"✓ Saved (entry {entry})")
        ready(page)
    page.get_by_role("status").get_by_text("The instructions have changed").wait_for()
    page.get_by_text("Instructions, version 2").wait_for()
    page.get_by_role("button", name="I have read them").click()
    again = ready(bench.show(page.context.new_page(), widget))
    assert not again.get_by_text("The instructions have changed").is_visible()


def test_the_pace_is_told_after_the_second_task(desk):
    _, page = desk("pair")
    page.locator(".rate-head").click()
    for entry in (1, 2):
        assert page.locator(".rate-pace").inner_text() == ""
        page.keyboard.press("3")
        saved(page, f"✓ Saved (entry {entry})")
        ready(page)
    assert page.locator(".rate-pace").inner_text().endswith("a minute")


@pytest.mark.parametrize("mode", ["pair", "single", "rank", "edit", "dialogue"])
def test_the_keys_of_the_mode_are_told_in_one_line_that_is_always_there(desk, mode):
    _, page = desk(mode)
    told = page.locator(".rate-help").inner_text()
    assert all(word in told for word in ("undo", "skip", "comment", "label", "pause"))
    assert {"pair": "both bad", "single": "good", "rank": "pick up", "edit": "save", "dialogue": "both bad"}[
        mode
    ] in told


def test_the_cards_of_a_pair_are_equally_high_and_nothing_moves_while_a_choice_is_saved(desk):
    _, page = desk("pair")
    assert box(page, "A")[3] == box(page, "B")[3]
    page.locator(".rate-head").click()
    heights = [page.locator(".rate").bounding_box()["height"]]
    for key in ("1", "2"):
        page.keyboard.press(key)
        heights.append(page.locator(".rate").bounding_box()["height"])
    saved(page)
    heights.append(page.locator(".rate").bounding_box()["height"])
    assert len(set(heights)) == 1


# without anybody to click


@pytest.mark.parametrize(
    ("mode", "words"),
    [("single", "of 7"), ("rank", "then"), ("edit", "a better answer"), ("dialogue", "is better")],
)
def test_a_replayed_session_leaves_its_table_in_every_mode(bench, desk, store, monkeypatch, mode, words):
    scores = {
        "single": {"likert": 5},
        "rank": {"ranks": [2, 1, 1, None]},
        "edit": {"text": "in a <b>red</b> cottage"},
        "dialogue": None,
    }[mode]
    store.add(rows(mode), mode, mode=mode, settings={**PLAIN, **({"best": 3} if mode == "rank" else {})})
    while (task := store.next("ann", mode)) is not None:
        event = {"event_id": f"event-{task.position:04}", "assignment_id": task.assignment_id, "kind": "rate"}
        if scores:
            event["scores"] = scores
        else:
            event |= {"choice": "right", "strength": 2}
        store.record(event)
    recording = Recording.of(store, mode, "ann")
    monkeypatch.setenv("FTLAB_FRONTEND", "static")
    widget = Rate(store, mode, replay=recording)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert "3 of 3" in page
    assert "recorded session" in page
    assert words in page
    assert "<b>red" not in page


@pytest.mark.parametrize("mode", ["pair", "single", "rank", "edit", "dialogue"])
@pytest.mark.parametrize(("width", "finger"), [(420, True), (1100, False)])
def test_every_target_is_large_enough_for_a_pointer_and_for_a_finger(desk, mode, width, finger):
    _, page = desk(
        mode, page={"width": width, "has_touch": finger, "is_mobile": finger}, flags=True, labels=["a"]
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [one.bounding_box() for one in page.locator(".rate :is(button, textarea, input):visible").all()]
    least = min(min(box["width"], box["height"]) for box in boxes)
    assert least >= (40 if finger else 24)


def test_a_task_is_flagged_with_what_is_wrong_and_leaves_the_queue(desk, store):
    widget, page = desk("rank")
    page.locator(".rate-head").click()
    page.keyboard.press("f")
    page.keyboard.type("the answers are cut off")
    page.keyboard.press("Escape")  # thought better of it
    assert not page.get_by_role("button", name="Flag it now").is_visible()
    page.keyboard.press("f")
    page.keyboard.press("Control+Enter")
    saved(page, "✓ Flagged (entry 1)")
    page.get_by_text("1 of 3 answered (1 flagged)").wait_for()
    assert said(store, "rank") == [("flag", None, None, None, "the answers are cut off")]
    assert widget.last["words"] == "ranking 1: flagged"


@pytest.mark.parametrize("mode", ["single", "rank", "edit", "demonstration", "dialogue"])
def test_without_anybody_to_click_the_first_task_of_every_mode_is_shown_as_it_waits(store, monkeypatch, mode):
    monkeypatch.setenv("FTLAB_FRONTEND", "static")
    kind = "edit" if mode == "demonstration" else mode
    store.add(rows(mode), mode, mode=kind, settings=PLAIN)
    page = Rate(store, mode, "ann")._repr_mimebundle_()[0]["text/html"]
    assert "0 of 3" in page
    assert "Where does Tom live? (1)" in page
    assert "JupyterLab" in page
