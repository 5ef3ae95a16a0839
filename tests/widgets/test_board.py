"""Board: what the person who leads a session sees, as ratings come in; the Python half, the twin and the page."""

import json
import re
import threading
from html import unescape
from pathlib import Path
from uuid import uuid4

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Ratings
from ftlab.widgets import Board
from ftlab.widgets import board as half
from ftlab.widgets.presence import Presence
from ftlab.widgets.widget import VIEW

PAYLOAD = '<img src=x onerror="window.hacked=1">'
AXE = Path(__file__).parents[2] / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
MODELS = ("base", "tuned", "large")


def row(n, a, b):
    return {
        "prompt": f"Question {n}? {PAYLOAD}",
        "responses": [
            {"model": a, "text": f"{a} {n} {PAYLOAD}" + " word" * (n % 7)},
            {"model": b, "text": f"{b} {n}" + " word" * (n % 5)},
        ],
    }


def rate(store, rater, count=None, *, kind=None, rule=None):
    """Answers what there is; by default the model later in MODELS is better, and every fourth time it is not."""
    done = 0
    while (count is None or done < count) and (task := store.next(rater, "b", kind=kind)) is not None:
        left, right = (MODELS.index(text.split()[0]) for text in task.texts)
        is_left = rule(task) if rule else (left > right) != (int(task.texts[0].split()[1]) % 4 == 0)
        event = {
            "event_id": uuid4().hex,
            "assignment_id": task.assignment_id,
            "kind": "rate",
            "shown_ms": 3000,
        }
        event |= {
            "choice": "left" if is_left else "right",
            "strength": 2,
            "prev_event_id": task.prev_event_id,
        }
        store.record(event)
        done += 1


def is_stronger(left, right):
    return MODELS.index(left.split()[0]) > MODELS.index(right.split()[0])


@pytest.fixture
def store(tmp_path):
    with Ratings(tmp_path / "ratings.db") as ratings:
        pairs = [("base", "tuned"), ("tuned", "large"), ("base", "large")]
        rows = [row(n, *pairs[n % 3]) for n in range(36)]
        ratings.add(rows, "b", mode="pair", seed="b", settings={"repeats": 0.0, "gold": 0.0})
        yield ratings


@pytest.fixture
def rated(store):
    """Two persons with something to disagree on, and a simulated rater beside them."""
    rate(store, "ann")
    rate(store, "ben", rule=lambda task: len(task.left) > len(task.right))
    rate(store, "machine", kind="simulated", rule=lambda _: True)
    return store


@pytest.fixture
def threads():
    """Ends the watchers that a test has started."""
    made = []
    yield made
    for widget in made:
        widget.close()
        widget._asked.set()
        widget._presence.hear()
        if widget._watcher is not None:
            widget._watcher.join(10)
            assert not widget._watcher.is_alive()


def until(condition, seconds=20):
    """Waits for what another thread brings about."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        waited.wait(0.02)
    return False


class TestPython:
    def test_the_picture_is_the_report_as_plain_json(self, rated, static):
        board = Board(rated, "b")
        assert board.report["n"] == 72
        assert [one["name"] for one in board.report["judges"]] == ["machine"]
        json.dumps(board.report, allow_nan=False)

    def test_a_batch_that_does_not_exist_is_an_error_of_the_cell(self, store, static):
        with pytest.raises(RatingError, match="no batch 'c'"):
            Board(store, "c")

    def test_a_ranking_that_nothing_left_could_settle_is_not_called_settled(self, store, static):
        board = Board(store, "b")
        assert board.report["settled"]["verdict"] == "not settled"
        rate(store, "ann", rule=lambda task: int(task.left.split()[1]) % 2 == 0)
        board.refresh()
        assert board.report["settled"]["verdict"] == "undecided"
        assert "Undecided: nothing is left to rate" in board._twin()

    def test_models_that_are_all_told_apart_are_settled(self, store, static):
        rate(store, "ann", rule=lambda task: is_stronger(*task.texts))
        board = Board(store, "b")
        assert board.report["settled"]["verdict"] == "settled"
        assert "Settled: all 3 models" in board._twin()

    def test_it_says_in_one_line_what_it_is(self, rated, static):
        assert repr(Board(rated, "b")) == "<Board b: 72 ratings of persons, 36 tasks>"

    def test_showing_it_where_nobody_clicks_counts_what_came_meanwhile(self, store, static):
        board = Board(store, "b")
        rate(store, "ann", 5)
        data, _ = board._repr_mimebundle_()
        assert "<Board b: 5 ratings" in data["text/plain"]
        assert VIEW not in data

    def test_ratings_are_drawn_as_they_come_in_while_a_page_listens(self, store, live, threads):
        board = Board(store, "b")
        threads.append(board)
        assert board.report["n"] == 0
        rate(store, "ann", 4)
        assert until(lambda: board.report["n"] == 4)
        assert board.behind == 0

    def test_where_no_page_listens_the_store_is_not_asked(self, store, live, threads, monkeypatch):
        asked = []
        monkeypatch.setattr(half, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(
            half, "Presence", lambda: Presence(absent_seconds=0.0)
        )  # gone as soon as it was heard
        monkeypatch.setattr(type(store), "last_seq", lambda _: asked.append(1) or 0)
        board = Board(store, "b")
        threads.append(board)
        hellos = []
        assert until(lambda: hellos.append(board._do_hello({})) or len(asked) >= 5)
        assert len(asked) <= len(hellos)  # without a pause it would have asked thousands of times

    def test_asking_to_refresh_returns_at_once_and_the_report_follows(
        self, store, live, threads, monkeypatch
    ):
        monkeypatch.setattr(half, "POLL_SECONDS", 600)
        board = Board(store, "b")
        threads.append(board)
        rate(store, "ann", 3)
        replies = []
        board.send = lambda message, buffers=None: replies.append(message)
        board._handle_custom_msg({"id": "1", "type": "refresh"}, [])
        assert replies == [{"id": "1", "type": "done"}]
        assert until(lambda: board.report["n"] == 3)

    def test_an_error_while_keeping_up_is_shown_and_the_watch_goes_on(
        self, store, live, threads, monkeypatch
    ):
        monkeypatch.setattr(half, "POLL_SECONDS", 0.01)
        board = Board(store, "b")
        threads.append(board)
        whole = type(store).last_seq

        def broken(_):
            raise RatingError("the disk is gone")

        monkeypatch.setattr(type(store), "last_seq", broken)
        assert until(lambda: board.error == "the disk is gone")
        monkeypatch.setattr(type(store), "last_seq", whole)
        rate(store, "ann", 2)
        assert until(lambda: board.report["n"] == 2 and board.error == "")

    def test_long_answers_are_cut_for_the_page_and_said_to_be(self, store, static):
        store.add([row(99, "base", "tuned") | {"prompt": "p" * 20_000}], "b")

        def is_later(task):
            return MODELS.index(task.left.split()[0]) > MODELS.index(task.right.split()[0])

        rate(store, "ann", rule=is_later)
        rate(
            store,
            "machine",
            kind="simulated",
            rule=lambda task: is_later(task) != (len(task.prompt[0]["content"]) > 9999),
        )
        [only] = Board(store, "b").report["judges"][0]["disagreements"]
        assert len(only["prompt"]) < 8_100
        assert only["prompt"].endswith("[… 12,000 more characters are not shown]")


class TestTwin:
    def test_it_holds_pictures_with_words_and_tables_and_no_script(self, rated, static):
        twin = Board(rated, "b")._twin()
        pictures = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]*)"', twin)
        assert [alt.split(",")[0] for alt in map(unescape, pictures)] == [
            "Ranking",
            "Agreement",
            "Bias",
            "Pace: ann from 3.0 to 3.0 s; ben from 3.0 to 3.0 s",
        ]
        assert "large" in pictures[0] and "percent with ties" in pictures[1]
        for name in ("ann", "ben", "machine"):
            assert f">{name}<" in twin
        assert PAYLOAD not in twin and "&lt;img src=x" in twin
        assert "<script" not in twin and "<style" not in twin

    def test_an_undefined_ranking_says_why(self, store, static):
        rate(store, "ann", 3, rule=lambda task: task.left.split()[0] > task.right.split()[0])
        assert "undefined: " in Board(store, "b")._twin()

    def test_a_batch_that_nobody_rated_has_a_twin_too(self, store, static):
        assert "Nobody has rated yet" in Board(store, "b")._twin()


class TestPage:
    @pytest.fixture
    def board(self, rated, live, threads):
        made = Board(rated, "b")
        threads.append(made)
        return made

    def test_models_stand_strongest_first_with_their_intervals_and_a_switch_for_length(self, bench, board):
        page = bench.open(board)
        names = page.locator(".bd-forest [data-model]").evaluate_all(
            "all => all.map((one) => one.dataset.model)"
        )
        assert names == [one["model"] for one in board.report["ranking"]["places"]]
        page.get_by_role("button", name="Length taken out").click()
        names = page.locator(".bd-forest [data-model]").evaluate_all(
            "all => all.map((one) => one.dataset.model)"
        )
        assert names == [one["model"] for one in board.report["controlled"]["places"]]
        assert page.get_by_role("button", name="Length taken out").get_attribute("aria-pressed") == "true"
        assert page.evaluate("document.activeElement.textContent") == "Length taken out"

    def test_agreement_stands_beside_what_people_reach_elsewhere(self, bench, board):
        page = bench.open(board)
        section = page.get_by_role("region", name="Agreement")
        assert "InstructGPT, training labelers 71–74 %" in section.inner_text()
        value = board.report["agreement"][0]["value"]
        assert f"{round(100 * value)} %" in section.inner_text()

    def test_a_disagreement_opens_to_both_answers_as_text(self, bench, board):
        page = bench.open(board)
        first = board.report["judges"][0]["disagreements"][0]
        page.locator("summary", has_text=f"task {first['position']}").first.click()
        answers = page.locator(".bd-answer-text")
        assert answers.first.is_visible()
        assert answers.first.inner_text() == first["preferred"]["text"]
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0

    def test_what_is_open_and_focused_stays_so_when_ratings_come_in(self, bench, store, live, threads):
        rate(store, "ann", 20)
        board = Board(store, "b")
        threads.append(board)
        page = bench.open(board)
        wins = page.locator("summary", has_text="Who was preferred to whom")
        wins.focus()
        page.keyboard.press("Enter")
        assert page.locator(".bd-matrix").is_visible()
        rate(store, "ann", 1)
        board.refresh()
        page.evaluate("state => window.model.set(state)", bench.picture(board))
        page.get_by_text("21 ratings of persons").wait_for()
        assert page.locator(".bd-matrix").is_visible()
        assert page.evaluate("document.activeElement.textContent") == "Who was preferred to whom"

    def test_an_alarm_is_told_in_words_and_not_by_colour_alone(self, bench, store, live, threads):
        store.add([row(n, "base", "tuned") for n in range(100, 160)], "b")
        rate(store, "ann", rule=lambda _: True)
        board = Board(store, "b")
        threads.append(board)
        page = bench.open(board)
        assert "The side decides more than chance would" in page.locator(".bd-alarmed").inner_text()
        assert "⚠" in page.locator(".bd-raters").inner_text()

    def test_an_undefeated_model_is_refused_in_words_and_drawn_dashed_with_a_note(
        self, bench, store, live, threads
    ):
        rate(
            store,
            "ann",
            rule=lambda task: MODELS.index(task.left.split()[0]) > MODELS.index(task.right.split()[0]),
        )
        board = Board(store, "b")
        threads.append(board)
        page = bench.open(board)
        assert "large has not lost to any other model" in page.locator(".bd-refused").inner_text()
        assert "alpha = 0.01" in page.locator(".bd-note.ft-warn").inner_text()
        assert page.locator(".bd-dashed").count() == 1

    def test_nobody_has_rated_yet(self, bench, store, live, threads):
        board = Board(store, "b")
        threads.append(board)
        page = bench.open(board)
        assert "Nobody has rated yet" in page.locator(".bd-empty").inner_text()
        assert page.locator(".bd-tile").count() == 0

    def test_refresh_is_asked_of_the_kernel_and_its_error_is_shown(self, bench, board):
        state = bench.picture(board)
        page = bench.open(stem="board", state=state)
        page.get_by_role("button", name="Refresh").click()
        page.wait_for_function("window.model.sent.some((one) => one.type === 'refresh')")
        page.evaluate("window.model.set({ error: 'the disk is gone' })")
        page.get_by_role("alert").get_by_text("the disk is gone").wait_for()

    def test_a_kernel_that_is_gone_is_told(self, bench, board):
        page = bench.open(stem="board", state=bench.picture(board))
        page.evaluate("window.model.dead = true")
        page.get_by_role("button", name="Refresh").click()
        page.get_by_role("alert").get_by_text("Disconnected").wait_for()

    def test_keys_stay_in_the_widget(self, bench, board):
        page = bench.open(board)
        page.evaluate(
            "window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key));"
        )
        page.get_by_role("button", name="Length taken out").focus()
        page.keyboard.press("d")
        page.keyboard.press("d")
        assert page.evaluate("window.leaked") == []

    @pytest.mark.parametrize("width", [420, 1100])
    def test_nothing_is_wider_than_the_page(self, bench, board, width):
        page = bench.open(board, width=width)
        page.locator(".bd-forest").first.wait_for()
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("state", ["rated", "empty"])
    def test_axe_has_nothing_serious_to_say(self, bench, request, live, threads, theme, state):
        board = Board(request.getfixturevalue("rated" if state == "rated" else "store"), "b")
        threads.append(board)
        page = bench.open(board, theme=theme, reduced_motion="reduce")
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.add_script_tag(path=str(AXE))
        found = page.evaluate("axe.run('#cell')")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, [
            (one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in serious
        ]

    def test_a_closed_view_leaves_no_clock_behind(self, bench, board):
        page = bench.open(board)
        page.evaluate("window.controller.abort()")
        left = page.evaluate("[...window.model.listeners.values()].flat().length")
        assert left == 0
