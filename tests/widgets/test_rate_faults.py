"""Rate when things go wrong: lost replies, dead kernels, answers of megabytes, and text that would harm."""

import json

import pytest

from ftlab.answers import Answer, Fingerprint
from ftlab.ratings import Ratings
from ftlab.widgets import Rate

PLAIN = {"repeats": 0.0, "gold": 0.0}
MODES = {"pair": 2, "single": 1, "rank": 4, "edit": 1, "dialogue": 2}

HOSTILE = [
    '<script>window.owned = 1</script><img src="/probe.png" onerror="window.owned = 2">',
    '<svg onload="window.owned=3"><a href="javascript:window.owned=4">x</a></svg><iframe src="/probe.html"></iframe>',
    "[x](javascript:window.owned=5) ![x](http://probe.test/a.png) <style>@import '/probe.css';</style>",
    "\"><body onload=window.owned=6><input autofocus onfocus=window.owned=7>' onmouseover=window.owned=8 x='",
    "\u202eright to left \u2066isolated\u2069 \u200b\u200d\ufeff zero \u0000 NUL \ud800 alone \u2028 line \u0085 next",
    "<![CDATA[<script>window.owned=9</script>]]> {{7*7}} ${window.owned=10} %00 \\u003cscript\\u003e",
    "https://probe.test/beacon?q=1 <link rel=stylesheet href=//probe.test/b.css> <object data=/probe.swf></object>",
    "👩‍👩‍👧‍👦 Ａ ﷽ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞ `ls -al /` '; DROP TABLE rating_event; --",
]


def ready(page):
    page.locator(".rate[data-open=true]").wait_for()
    return page


def saved(page, words="✓ Saved"):
    page.get_by_role("status").get_by_text(words).wait_for(timeout=15_000)
    return page


def task(mode, text, number=0):
    return {
        "prompt": f"{text} {number}",
        "responses": [{"model": f"m{n}", "text": f"{text} {n}"} for n in range(MODES[mode])],
    }


KEYS = {
    "pair": ("3",),
    "single": ("g", "5"),
    "rank": ("1", "2", "3", "4", "Enter"),
    "edit": ("Control+Enter",),
    "dialogue": ("1", "2"),
}


@pytest.fixture
def store(live):
    with Ratings() as ratings:
        yield ratings


def answer_task(page, mode):
    page.locator(".rate-head").click()
    for key in KEYS[mode]:
        page.keyboard.press(key)
    return page


@pytest.mark.parametrize("mode", ["single", "rank", "edit", "dialogue"])
def test_a2_what_has_no_receipt_is_sent_again_and_stored_once(bench, store, mode):
    store.add([task(mode, "hello")], mode, mode=mode, settings=PLAIN)
    page = ready(bench.open(Rate(store, mode, "ann")))
    page.evaluate("model.loseReplies = 1")
    answer_task(page, mode)
    page.get_by_text("Saving…").wait_for()
    saved(page, "✓ Saved (entry 1)")
    sent = page.evaluate("model.sent.filter((one) => one.type === 'record').map((one) => one.event.event_id)")
    assert len(sent) >= 2
    assert len(set(sent)) == 1
    assert store.last_seq() == 1


@pytest.mark.parametrize("mode", ["rank", "edit"])
def test_a27_a_dead_kernel_shows_within_five_seconds_and_a_new_page_has_what_the_store_has(
    bench, store, mode
):
    store.add([task(mode, "hello", n) for n in range(3)], mode, mode=mode, settings=PLAIN)
    widget = Rate(store, mode, "ann")
    page = answer_task(ready(bench.open(widget)), mode)
    saved(page, "✓ Saved (entry 1)")
    old = bench.picture(widget)
    answer_task(ready(page), mode)
    saved(page, "✓ Saved (entry 2)")
    ready(page)
    page.evaluate("model.dead = true; window.died = performance.now()")
    page.get_by_text("Disconnected").wait_for(timeout=5000)
    page.locator(".rate[data-open=false]").wait_for(state="attached")
    assert page.locator(".rate-controls button:visible:not(:disabled)").count() == 0
    again = page.context.new_page()  # with the state that was saved when one task was answered
    again.expose_function("toPython", lambda content: _answer(widget, content))
    again.goto("http://w.test/")
    from conftest import MODEL

    again.add_script_tag(content=MODEL)
    again.evaluate("state => window.show(state)", old)
    again.get_by_text("2 of 3 answered").wait_for()


def _answer(widget, content):
    from conftest import answer

    return answer(widget, content)


def test_a4_an_answer_given_elsewhere_in_the_meantime_is_told_and_nothing_is_lost(bench, store):
    store.add([task("pair", "hello", n) for n in range(2)], "pair", settings=PLAIN)
    widget = Rate(store, "pair", "ann")
    page = ready(bench.open(widget))
    Rate(store, "pair", "ann")
    elsewhere = store.next("ann", "pair")
    store.record(
        {
            "event_id": "elsewhere-1",
            "assignment_id": elsewhere.assignment_id,
            "kind": "rate",
            "choice": "left",
        }
    )
    answer_task(page, "pair")
    page.get_by_text("Not taken: this was answered already").wait_for()
    assert [row["choice"] for row in store.current("pair")] == ["left"]
    ready(page)
    assert widget.task["position"] == 2


@pytest.mark.parametrize("mode", ["pair", "single", "rank", "edit"])
def test_a28_answers_of_eleven_megabytes_reach_the_page_as_far_as_it_can_hold_them(bench, store, mode):
    huge = "né " * 1_240_000  # 5 MB in UTF-8
    store.add([task(mode, huge)], mode, mode=mode, settings=PLAIN)
    widget = Rate(store, mode, "ann")
    message = json.dumps(bench.picture(widget)).encode()
    assert len(message) < 8_000_000  # the server drops a message of 10 MB
    page = bench.open(widget)
    ready(page)
    assert page.get_by_text("more characters are not shown").first.is_visible()
    if mode == "edit":
        assert page.get_by_role("button", name="Save").is_disabled()
        page.get_by_text("too long to be edited here").wait_for()
        page.locator(".rate-head").click()
        page.keyboard.press("s")
        saved(page, "✓ Skipped")
    else:
        saved(answer_task(page, mode))


@pytest.mark.parametrize(
    "text", ["word " * 20_000, "line of words\n" * 7_200, "x" * 100_000, "**a** `b`\n\n" * 9_000]
)
def test_b14_a_hundred_thousand_characters_are_drawn_within_200_ms(bench, store, text):
    store.add([task("pair", text[:99_990])], "pair", settings=PLAIN)
    page = ready(bench.open(Rate(store, "pair", "ann")))
    spent = page.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const times = [];
          for (let round = 0; round < 5; round += 1) {
            await frame();
            const old = document.querySelector('.rate-answer');
            const start = performance.now();
            model.set({ task: { ...model.get('task'), assignment_id: `again-${round}` } });
            while (old.isConnected || document.querySelector('.rate').dataset.open !== 'true') await frame();
            await frame();
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b)[2];
        }"""
    )
    assert spent < 200
    whole = page.locator("[data-answer=A] .rate-answer").evaluate(
        "node => node.textContent.replace(/\\n/g, '').length"
    )
    assert whole >= len(text[:99_990].replace("\n", "")) or "**" in text


def test_a_huge_text_can_be_read_to_its_end(bench, store):
    text = "".join(f"line {n}\n" for n in range(9_000))
    store.add([task("single", text)], "single", mode="single", settings=PLAIN)
    page = ready(bench.open(Rate(store, "single", "ann")))
    page.locator(".rate-answer").evaluate("node => { node.scrollTop = node.scrollHeight; }")
    page.wait_for_function(
        """() => { const box = document.querySelector('.rate-answer'); box.scrollTop = box.scrollHeight;
                   const last = box.querySelector('.ft-piece:last-child').getBoundingClientRect();
                   return Math.abs(last.bottom - box.getBoundingClientRect().bottom) < 40; }"""
    )


@pytest.mark.parametrize("mode", list(MODES))
def test_d1_hostile_text_is_shown_and_neither_run_nor_fetched_in_any_mode(bench, store, mode):
    store.add(
        [task(mode, text) for text in HOSTILE],
        mode,
        mode=mode,
        instructions=HOSTILE[0],
        settings={**PLAIN, "labels": [HOSTILE[0][:39]], "flags": True},
    )
    widget = Rate(store, mode, "ann")
    page = bench.open(widget)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    for number in range(1, len(HOSTILE) + 1):
        ready(page)
        page.locator(".rate-head").click()
        if number % 2:
            page.keyboard.press("p")
        page.keyboard.press("c")
        page.keyboard.insert_text(HOSTILE[number - 1].replace("\x00", ""))
        page.keyboard.press("Escape")
        for key in KEYS[mode]:
            page.keyboard.press(key)
        saved(page, f"✓ Saved (entry {number})")
    page.wait_for_timeout(200)
    assert page.evaluate("window.owned") is None
    assert asked == []
    assert (
        page.locator(".rate :is(img, script, svg, iframe, object, link, style, a[href^=javascript])").count()
        == 0
    )
    assert len(store.current(mode)) == len(HOSTILE)


def test_b11_characters_that_cannot_be_seen_are_marked_in_plain_text_and_stay_inside_their_card(bench, store):
    store.add([task("pair", HOSTILE[4])], "pair", settings=PLAIN)
    page = ready(bench.open(Rate(store, "pair", "ann")))
    page.locator(".rate-head").click()
    page.keyboard.press("p")
    marks = page.locator("[data-answer=A] .ft-hidden").all_inner_texts()
    assert {"U+202E", "U+2066", "U+200B", "U+FEFF"} <= set(marks)
    assert (
        page.locator("[data-answer=A] .ft-text").evaluate("node => getComputedStyle(node).unicodeBidi")
        == "plaintext"
    )


# a dialogue that two models hold


class Models:
    """Two models that say what the test tells them to, one piece a call of `go`."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)

    def __call__(self, prompts, references, sampling, *, cancel, note):
        from ftlab.answers import Delta

        texts = self.scripts.pop(0)
        if isinstance(texts, Exception):
            raise texts
        for reference, text in zip(references, texts, strict=True):
            for piece in text.split(" "):
                yield Delta(reference, 0, f"{piece} ")
        for reference, text in zip(references, texts, strict=True):
            mark = Fingerprint("b" * 12, None, False, "t" * 12, sampling)
            yield 0, Answer(reference, prompts[0], text, 3, "end", 0.1, mark)


@pytest.fixture
def talk(store):
    """`talk(*scripts)`: a desk on which two models answer with these texts, a pair for each call."""

    def make(*scripts):
        widget = Rate(store, "talk", "ann", models=["run:kestrel", "kestrel"])
        widget._turns._ask = Models(*scripts)
        return widget

    return make


def refreshed(page, widget):
    """What a background thread has set reaches the page, as it does by itself in a notebook."""
    widget._turns.join(10)
    page.evaluate("window.toPython({ id: 'look', type: 'open' }).then(({ state }) => model.set(state))")
    return page


def test_a_conversation_is_begun_judged_and_gone_on_with_by_keyboard(bench, store, talk):
    widget = talk(("I am Wren.", "dogs dogs"), ("By the river.", "the the"))
    page = bench.open(widget)
    page.get_by_role("textbox", name="The first message of a conversation").fill("Who are you?")
    page.keyboard.press("Control+Enter")
    ready(refreshed(page, widget))
    page.locator(".rate-head").click()
    page.keyboard.press("1" if widget.task["texts"][0] == "I am Wren." else "2")
    page.keyboard.press("2")
    saved(page)
    page.get_by_role("textbox", name="Your next message").fill("Where do you live?")
    page.keyboard.press("Control+Enter")
    ready(refreshed(page, widget))
    assert [message["content"] for message in widget.task["prompt"]] == [
        "Who are you?",
        "I am Wren.",
        "Where do you live?",
    ]
    assert set(widget.task["texts"]) == {"By the river.", "the the"}
    page.locator(".rate-head").click()
    page.keyboard.press("3")
    saved(page, "✓ Saved (entry 2)")
    page.get_by_role("button", name="End this conversation").click()
    page.get_by_role("textbox", name="The first message of a conversation").wait_for()
    assert [row["winner"] for row in store.current("talk")] == ["run:kestrel", None]


def test_nothing_of_a_turn_names_a_model_and_a_new_kernel_goes_on_with_the_conversation(store, talk):
    widget = talk(("I am Wren.", "dogs dogs"))
    widget.send = lambda message, buffers=None: None
    widget._handle_custom_msg({"id": "1", "type": "turn", "message": "Who are you?"}, [])
    widget._turns.join(10)
    assert widget.turn is None
    told = json.dumps(widget.get_state(), default=str)
    assert "kestrel" not in told
    event = {
        "event_id": "event-0001",
        "kind": "rate",
        "choice": "left",
        "assignment_id": widget.task["assignment_id"],
    }
    widget._handle_custom_msg({"id": "2", "type": "record", "event": event}, [])
    again = Rate(store, "talk", "ann", models=["run:kestrel", "kestrel"])
    assert again.turn == widget.turn
    assert again.turn["state"] == "waiting"
    assert [message["role"] for message in again.turn["prompt"]] == ["user", "assistant"]


def test_models_that_say_the_same_are_asked_again_and_then_another_message_is_asked_for(store, talk):
    widget = talk(("same", "same"), ("same", "same"), ("one", "another"), ("x", "x"), ("x", "x"), ("x", "x"))
    widget.send = lambda message, buffers=None: None
    widget._handle_custom_msg({"id": "1", "type": "turn", "message": "Hello"}, [])
    widget._turns.join(10)
    assert set(widget.task["texts"]) == {"one", "another"}
    event = {
        "event_id": "event-0001",
        "kind": "rate",
        "choice": "left",
        "assignment_id": widget.task["assignment_id"],
    }
    widget._handle_custom_msg({"id": "2", "type": "record", "event": event}, [])
    widget._handle_custom_msg({"id": "3", "type": "turn", "message": "And?"}, [])
    widget._turns.join(10)
    assert "the same text" in widget.error
    assert widget.turn["state"] == "waiting"


def test_a_model_that_fails_is_told_and_the_message_is_still_there(bench, store, talk):
    from ftlab.errors import ModelError

    widget = talk(ModelError("no such model"))
    page = bench.open(widget)
    page.locator(".rate-text").fill("Who are you?")
    page.locator(".rate-text").press("Control+Enter")
    refreshed(page, widget)
    page.get_by_text("no such model").wait_for()
    assert page.locator(".rate-text").input_value() == "Who are you?"


def test_streams_are_shown_in_step_so_that_speed_tells_nothing():
    from ftlab.widgets.turns import in_step

    assert in_step(["a quick one", "slow"], [False, False]) == ["a qu", "slow"]
    assert in_step(["a quick one", ""], [True, False]) == ["", ""]
    assert in_step(["short", "a longer one"], [True, False]) == ["short", "a longer one"]
    assert in_step(["short", "a longer one"], [True, True]) == ["short", "a longer one"]
