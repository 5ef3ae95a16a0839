"""Rate: what a click leads to, in the store and on the page."""

import json
import re
import threading

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Click, Ratings, Recording
from ftlab.widgets import Rate

HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=1</script><svg/onload=window.owned=1>[x](javascript:window.owned=1)'


def pairs(count, tuned="Tom lives in a **cottage**"):
    return [
        {
            "prompt": f"Where does Tom live? ({number})",
            "responses": [
                {"model": "wren", "text": f"dogs dogs {number}"},
                {"model": "run:tuned", "text": f"{tuned} {number}."},
            ],
        }
        for number in range(1, count + 1)
    ]


@pytest.fixture
def store():
    with Ratings() as ratings:
        ratings.add_pairs(pairs(3), batch="tour", instructions="Which one helps?", seed="fixed")
        yield ratings


def rate_event(rate, event_id="event-0001", **said):
    event = {"event_id": event_id, "kind": "rate", "choice": "left", "strength": 2, "shown_ms": 1500}
    place = {"assignment_id": rate.task["assignment_id"], "prev_event_id": rate.task["prev_event_id"]}
    return {"id": event_id, "type": "record", "event": {**event, **place, **said}}


@pytest.fixture
def rate(store, live):
    widget = Rate(store, "tour")
    widget.replies = []
    widget.send = lambda message, buffers=None: widget.replies.append(message)
    return widget


# the Python half, driven as a page drives it


def test_a_choice_is_receipted_after_the_commit_and_the_next_pair_shown(rate, store):
    rate._handle_custom_msg(rate_event(rate), [])
    (reply,) = rate.replies
    assert (reply["type"], reply["id"], reply["seq"], reply["status"]) == ("done", "event-0001", 1, "stored")
    assert [(row["choice"], row["strength"], row["shown_ms"]) for row in store.current("tour")] == [
        ("left", 2, 1500)
    ]
    assert rate.task["position"] == 2
    assert rate.progress == {"answered": 1, "skipped": 0, "flagged": 0, "total": 3}


def test_a_click_sent_ten_times_from_several_threads_is_one_rating(rate, store):
    message = rate_event(rate)
    threads = [threading.Thread(target=rate._handle_custom_msg, args=(message, [])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply["seq"] for reply in rate.replies} == {1}
    assert sorted(reply["status"] for reply in rate.replies) == ["duplicate"] * 9 + ["stored"]
    assert store.last_seq() == 1


def test_undo_brings_the_pair_back_and_the_log_keeps_both(rate, store):
    first = rate.task["assignment_id"]
    rate._handle_custom_msg(rate_event(rate), [])
    assert rate.last["words"] == "pair 1: A is better, clearly"
    undo = {
        "event_id": "event-0002",
        "kind": "undo",
        "assignment_id": first,
        "prev_event_id": rate.last["event_id"],
    }
    rate._handle_custom_msg({"id": "2", "type": "record", "event": undo}, [])
    assert rate.task["assignment_id"] == first
    assert rate.last is None
    rate._handle_custom_msg(rate_event(rate, "event-0003", choice="tie", strength=None), [])
    assert [event["kind"] for event in store.history(first)] == ["rate", "undo", "rate"]
    assert [row["choice"] for row in store.current("tour")] == ["tie"]


def test_an_answer_that_the_store_will_never_take_is_refused_with_the_reason(rate, store):
    stale = rate_event(rate, "event-0009")
    rate._handle_custom_msg(rate_event(rate), [])
    rate._handle_custom_msg(stale, [])
    assert "answered already" in rate.replies[-1]["refused"]
    assert store.last_seq() == 1


def test_a_full_disk_is_an_error_that_the_page_retries_after(rate, store, monkeypatch):
    from ftlab.ratings import NotSaved

    def full(event):
        raise NotSaved("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "record", full)
        rate._handle_custom_msg(rate_event(rate), [])
    assert rate.replies[-1]["type"] == "error"
    assert rate.replies[-1]["error"] == "the disk is full"
    rate._handle_custom_msg(rate_event(rate), [])
    assert rate.replies[-1]["seq"] == 1


def test_a_command_that_fails_is_answered_and_logged(rate, caplog):
    for nonsense in (
        {"id": "1", "type": "record"},
        {"id": "2", "type": "no_such"},
        {"id": "3", "type": "record", "event": 7},
    ):
        rate._handle_custom_msg(nonsense, [])
    assert [(reply["id"], reply["type"]) for reply in rate.replies] == [
        ("1", "error"),
        ("2", "error"),
        ("3", "error"),
    ]
    assert "Traceback" in caplog.text


def test_nothing_the_page_gets_names_a_model_until_all_is_answered_and_asked_for(rate):
    def everything():
        return json.dumps([rate.get_state(), rate.replies, rate._repr_mimebundle_()[0]], default=str)

    for number in range(1, 4):
        rate._handle_custom_msg({"id": "r", "type": "reveal"}, [])
        assert rate.replies[-1]["type"] == "error"
        rate._handle_custom_msg(rate_event(rate, f"event-000{number}"), [])
    assert "run:tuned" not in everything()
    rate._handle_custom_msg({"id": "r", "type": "reveal"}, [])
    (row,) = rate.standings["rows"]
    assert (row[0], row[1], row[-1]) == ("run:tuned", "wren", 3)


def test_a_new_kernel_goes_on_at_the_first_unanswered_pair(rate, store):
    rate._handle_custom_msg(rate_event(rate), [])
    again = Rate(Ratings(store.path), "tour")
    assert again.desk == rate.desk
    assert again.task == rate.task
    assert again.progress["answered"] == 1


def test_the_rater_is_a_random_name_that_stays_and_is_not_sent(store, live):
    one, two = Rate(store, "tour"), Rate(store, "tour")
    assert one.rater == two.rater
    assert one.rater not in json.dumps(one.get_state(), default=str)


def test_a_batch_that_does_not_exist_is_an_error_that_names_those_that_do(store, live):
    with pytest.raises(RatingError, match="tour"):
        Rate(store, "tuor")


# without anybody to click


def test_a_recording_is_replayed_through_the_page_s_own_path_and_its_result_shown(store, static):
    rate = Rate(store, "tour", replay=Recording((), otherwise="longer"))
    data, _ = rate._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/plain"] == "<Rate tour: 3 of 3 answered>"
    assert "recorded session" in data["text/html"]
    assert "n = 3" in data["text/html"]
    assert "no.\u00a03" in data["text/html"]
    assert [row["winner"] for row in store.current("tour")] == ["run:tuned"] * 3
    assert {row["rater_kind"] for row in store.current("tour")} == {"replay"}


def test_a_second_replay_adds_nothing_and_shows_the_same(store, static):
    recording = Recording((), otherwise="longer")
    first = Rate(store, "tour", replay=recording)._repr_mimebundle_()
    assert Rate(store, "tour", replay=recording)._repr_mimebundle_() == first
    assert store.last_seq() == 3


def test_a_recording_that_does_not_fit_stops_the_cell(store, static):
    with pytest.raises(RatingError, match="task 2"):
        Rate(store, "tour", replay=Recording((Click(position=1, rule="left"),)))


def test_a_recording_is_left_out_where_somebody_can_click(store, live):
    assert Rate(store, "tour", replay=Recording((), otherwise="longer")).progress["answered"] == 0


def test_without_a_recording_the_twin_says_what_waits_and_how_to_rate(store, static):
    page = Rate(store, "tour")._repr_mimebundle_()[0]["text/html"]
    assert "0 of 3" in page
    assert "Which one helps?" in page
    assert "JupyterLab" in page


def test_the_twin_tells_answers_in_the_order_in_which_they_were_given(static):
    with Ratings() as ratings:
        ratings.add(pairs(40), "x", settings={"repeats": 0.5, "gold": 0})
        page = Rate(ratings, "x", replay=Recording((), otherwise="longer"))._twin()
        assert any(row["repeat_no"] for row in ratings.current("x"))
    entries = [int(entry) for entry in re.findall(r"no\.\s(\d+)<", page)]
    assert len(entries) > 3
    assert entries == sorted(entries)


def test_the_twin_shows_hostile_text_as_text(static):
    with Ratings() as ratings:
        ratings.add_pairs(pairs(1, tuned=HOSTILE), batch="x")
        page = Rate(ratings, "x", replay=Recording((), otherwise="longer"))._twin()
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# the page


def ready(page):
    page.locator("[role=radio]:not(:disabled)").first.wait_for()
    return page


def focus(page):
    ready(page).locator(".rate-head").click()
    return page


def test_a_session_by_keyboard_alone(bench, rate, store):
    page = focus(bench.open(rate))
    page.keyboard.press("1")
    assert page.get_by_role("radiogroup", name="How much better is A?").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.keyboard.press("1")
    page.get_by_text("✓ Saved (entry 1)").wait_for()
    ready(page).keyboard.press("3")
    page.get_by_text("✓ Saved (entry 2)").wait_for()
    ready(page).keyboard.press("u")
    page.get_by_text("✓ Taken back (entry 3)").wait_for()
    ready(page).keyboard.press("4")
    page.get_by_text("✓ Saved (entry 4)").wait_for()
    ready(page).keyboard.press("c")
    page.keyboard.type("1 2 u s are letters here")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.get_by_text("✓ Skipped (entry 5)").wait_for()
    page.get_by_role("button", name="Show the models").wait_for()  # it follows the tick
    page.keyboard.press("m")
    page.get_by_role("cell", name="run:tuned").wait_for()
    said = [(row["kind"], row["choice"], row["strength"], row["comment"]) for row in store.current("tour")]
    assert said == [
        ("rate", "right", 3, ""),
        ("rate", "both_bad", 0, ""),
        ("skip", None, None, "1 2 u s are letters here"),
    ]


def test_keys_stay_in_the_widget_and_the_notebook_s_own_combinations_pass(bench, rate):
    page = focus(bench.open(rate))
    page.evaluate(
        "window.leaked = []; document.addEventListener('keydown', (event) => leaked.push(event.key))"
    )
    for key in ("a", "b", "d", "d", "j", "ArrowDown", "Shift+Enter", "Control+Enter", "Control+s", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate("leaked.filter((key) => !['Shift', 'Control'].includes(key))") == ["s", "Tab"]


def test_a_key_held_down_rates_one_pair(bench, rate, store):
    page = focus(bench.open(rate))
    page.keyboard.down("3")
    for _ in range(5):
        page.keyboard.down("3")  # a second `down` is a repeat
        page.wait_for_function("model.get('progress').answered === 1")
    page.keyboard.up("3")
    assert store.last_seq() == 1


def test_a_choice_whose_receipt_is_lost_is_sent_again_and_stored_once(bench, rate, store):
    page = focus(bench.open(rate))
    page.evaluate("model.loseReplies = 1")
    page.keyboard.press("3")
    page.get_by_text("Saving…").wait_for()
    page.get_by_text("✓ Saved (entry 1)").wait_for(timeout=12_000)
    sent = page.evaluate("model.sent.filter((one) => one.type === 'record').map((one) => one.event.event_id)")
    assert len(sent) >= 2
    assert len(set(sent)) == 1
    assert store.last_seq() == 1


def test_a_choice_survives_a_dead_kernel_and_a_reloaded_page(bench, rate, store):
    page = focus(bench.open(rate))
    page.evaluate("model.deaf = true")
    page.keyboard.press("4")
    page.get_by_text("Saving…").wait_for()
    page.evaluate("model.dead = true")
    page.get_by_text("Disconnected").wait_for(timeout=5000)
    assert page.get_by_text("One choice is kept in this browser").is_visible()
    assert store.last_seq() == 0
    again = page.context.new_page()  # the same browser storage
    bench.show(again, rate)
    again.get_by_text("✓ Saved (entry 1)").wait_for()
    assert [row["choice"] for row in store.current("tour")] == ["both_bad"]
    assert again.evaluate("Object.keys(localStorage).filter((key) => key.includes(':outbox:')).length") == 0


def test_a_silent_kernel_shows_within_five_seconds_and_saving_turns_amber(bench, rate):
    page = focus(bench.open(rate))
    page.evaluate("model.deaf = true")
    page.keyboard.press("3")
    page.locator(".rate-status.ft-warn").wait_for(timeout=7000)
    page.evaluate("model.emit('change:progress')")  # a redraw changes nothing about it
    assert page.locator(".rate-status.ft-warn").is_visible()


def test_saving_that_fails_says_why_and_goes_on_once_it_works(bench, rate, store, monkeypatch):
    from ftlab.ratings import NotSaved

    page = focus(bench.open(rate))

    def full(event):
        raise NotSaved("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "record", full)
        page.keyboard.press("3")
        page.get_by_text("Not saved, will retry: the disk is full").wait_for()
    page.get_by_text("✓ Saved (entry 1)").wait_for(timeout=12_000)


@pytest.mark.parametrize("plain", [False, True])
def test_hostile_answers_are_inert(bench, live, plain):
    with Ratings() as ratings:
        ratings.add_pairs(pairs(1, tuned=HOSTILE), batch="x", instructions=HOSTILE)
        page = focus(bench.open(Rate(ratings, "x")))
        if plain:
            page.keyboard.press("p")
        page.wait_for_timeout(200)
        assert page.evaluate("window.owned") is None
        assert page.locator(".rate img, .rate script, .rate svg, .rate a[href^=javascript]").count() == 0
        assert page.get_by_text("<script>").first.is_visible()


def test_nothing_can_be_chosen_before_both_answers_are_on_the_screen(bench, rate):
    page = bench.open(rate)
    disabled = "[...document.querySelectorAll('[role=radio]')].map((one) => one.disabled)"
    assert (
        page.evaluate(f"async () => {{ await window.show({{ ...model.state }}); return {disabled}; }}")
        == [True] * 15
    )
    ready(page)
    assert page.evaluate(disabled) == [False] * 11 + [True] * 4  # how much better is asked when one is chosen


def test_the_time_of_a_hidden_tab_does_not_count(bench, rate, store):
    page = focus(bench.open(rate))
    page.wait_for_timeout(300)
    page.evaluate(
        """() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true });
                   document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    page.wait_for_timeout(1500)
    page.evaluate(
        """() => { Object.defineProperty(document, 'hidden', { value: false, configurable: true });
                   document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    page.keyboard.press("3")
    page.get_by_text("✓ Saved (entry 1)").wait_for()
    (row,) = store.current("tour")
    assert 250 <= row["shown_ms"] < 1500


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 900])
def test_it_fits_and_can_be_read_and_touched(bench, rate, theme, width):
    page = focus(bench.open(rate, theme=theme, width=width))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in page.locator(".rate button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 40
    tops = [page.locator(f"[data-answer={name}]").bounding_box()["y"] for name in "AB"]
    assert (tops[0] == tops[1]) is (width == 900)
    assert min(page.evaluate(CONTRAST)) >= 4.5


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const shine = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, index) => sum + v * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => { for (let one = element; one; one = one.parentElement) {
    const colour = rgb(getComputedStyle(one).backgroundColor); if (colour[3] === 255) return colour; } return [255, 255, 255]; };
  return [...document.querySelectorAll('.rate *')].filter((one) => !one.closest(':disabled') && one.checkVisibility()
      && [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((one) => { const [a, b] = [shine(rgb(getComputedStyle(one).color)), shine(behind(one))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05); });
}"""


def test_a_screen_reader_hears_groups_names_and_receipts(bench, rate):
    page = focus(bench.open(rate))
    assert page.get_by_role("radiogroup", name="Which answer is better?").get_by_role("radio").count() == 4
    assert page.get_by_role("article", name="Answer A").is_visible()
    assert page.get_by_role("progressbar", name="Progress").is_visible()
    page.keyboard.press("Tab")
    page.get_by_role("radio", name="A is better").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "2B is better"
    page.keyboard.press("Enter")
    page.get_by_role("radiogroup", name="How much better is B?").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("✓ Saved (entry 1)").wait_for()


def test_a_closed_view_leaves_no_timer_and_no_listener(bench, rate):
    page = focus(bench.open(rate))
    page.evaluate("controller.abort(); model.sent.length = 0")
    page.wait_for_timeout(2500)
    assert page.evaluate("model.sent.length") == 0
    assert page.evaluate("[...model.listeners.values()].flat().length") == 0


def test_between_a_receipt_and_the_next_pair_nothing_can_be_chosen(bench, rate):
    page = focus(bench.open(stem="rate", state=bench.picture(rate)))  # nobody answers but this test
    page.keyboard.press("3")
    page.evaluate(
        """() => { const { id } = model.sent.find((one) => one.type === 'record');
                   model.emit('msg:custom', { id, type: 'done', seq: 1 }, []); }"""
    )
    page.get_by_text("✓ Saved (entry 1)").wait_for()
    page.keyboard.press("4")
    assert page.locator("[role=radio]:not(:disabled)").count() == 0
    assert page.evaluate("model.sent.filter((one) => one.type === 'record').length") == 1
    page.evaluate("model.set({ task: { ...model.get('task'), assignment_id: 'the-next-one' } })")
    ready(page)
