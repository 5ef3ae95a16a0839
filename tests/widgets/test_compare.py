"""Compare: the Python half by itself, and the page against it."""

import threading
from html import unescape
from typing import ClassVar

import pytest

from ftlab.answers import Answer, Delta, Fingerprint, Sampling
from ftlab.errors import ConfigError, DataError, ModelError
from ftlab.ratings import Ratings
from ftlab.widgets.compare import Compare

PAYLOAD = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>**bold** [a](javascript:window.hacked=1)'


class Scripted(Compare):
    """A comparison whose models say what a test wrote down, word by word, and wait where it says so."""

    says: ClassVar[dict] = {}
    adapters: ClassVar[dict] = {}
    waits = None  # an event that every word after the first waits for
    seen: ClassVar[list] = []

    @classmethod
    def made(cls, says, prompts, *, adapters=None, waits=None, **options):
        kind = type(
            "Scripted", (cls,), {"says": says, "adapters": adapters or {}, "waits": waits, "seen": []}
        )
        return kind(list(says), prompts, **options)

    @classmethod
    def _ask(cls, prompts, references, sampling=None, *, cancel=None, note=None):
        cls.seen.append((prompts, sampling))
        for place, prompt in enumerate(prompts):
            for reference in references:
                yield from cls._one(place, prompt, reference, sampling, cancel)

    @classmethod
    def _one(cls, place, prompt, reference, sampling, cancel):
        said = cls.says[reference]
        if isinstance(said, Exception):
            raise said
        text = said(prompt) if callable(said) else said
        adapter = cls.adapters.get(reference)
        proof = Fingerprint("3fa2c9aa0011", adapter, adapter is not None, "a81b22ff0011", sampling)
        for number, word in enumerate(text.split(" ")):
            if number and cls.waits is not None:
                while not cls.waits.wait(0.02):
                    if cancel.is_set():
                        yield place, Answer(reference, prompt, word, number, "cancelled", 0.0, proof)
                        return
            yield Delta(reference, place, word if not number else f" {word}")
        yield place, Answer(reference, prompt, text, len(text.split()), "end", 0.25, proof)


TWO = {"wren": "Tom has a cat.", "run:sft": "Tom has a dog."}
ADAPTED = {"run:sft": "77ab01cc0011"}


def heard(widget, name, **body):
    """What the page would get back for a command."""
    replies = []
    widget.send = lambda message, buffers=None: replies.append(message)
    widget._handle_custom_msg({"id": "1", "type": name, **body}, [])
    return replies[-1]


def settled(widget):
    """Waits until no answer is being written."""
    for thread in threading.enumerate():
        if thread.name == "compare":
            thread.join(20)
    assert widget.state == "idle"
    return widget


class TestPythonHalf:
    def test_every_column_is_asked_the_same_with_the_same_settings(self, static):
        compare = Scripted.made(TWO, ["Who?", "What?"], sampling=Sampling(seed=7), system="Be brief.")
        result = compare.run()
        [(prompts, sampling)] = compare.seen
        assert sampling.seed == 7
        assert prompts[1] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What?"},
        ]
        assert [set(row) for row in result.answers] == [set(TWO), set(TWO)]

    def test_a_heading_says_whether_an_adapter_spoke(self, static):
        compare = Scripted.made(TWO, "Who?", adapters=ADAPTED)
        compare.run()
        assert compare.answers[0]["wren"]["heading"] == "base 3fa2c9, no adapter"
        assert compare.answers[0]["run:sft"]["heading"] == "base 3fa2c9 + adapter 77ab01 active"
        assert compare.answers[0]["run:sft"]["details"]["template"] == "a81b22ff0011"

    def test_where_nobody_can_click_showing_it_answers_and_leaves_an_escaped_table(self, static):
        compare = Scripted.made({"wren": PAYLOAD}, "Who <b>are</b> you?")
        data, _ = compare._repr_mimebundle_()
        assert set(data) == {"text/plain", "text/html"}
        assert "<img" not in data["text/html"] and "<b>" not in data["text/html"]
        assert PAYLOAD in unescape(data["text/html"])
        assert "base 3fa2c9, no adapter" in data["text/html"]

    def test_the_judges_verdict_stands_by_the_answer(self, static):
        compare = Scripted.made(
            TWO, "Who?", judge=lambda messages, text: (float("cat" in text), "names the cat")
        )
        compare.run()
        assert compare.answers[0]["wren"]["verdict"] == {"score": 1.0, "label": "names the cat"}
        assert "judge: names the cat (0)" in compare._twin()

    def test_where_nobody_can_click_a_model_that_fails_fails_the_cell(self, static):
        with pytest.raises(ModelError, match="no such run"):
            Scripted.made({"wren": "yes", "run:gone": ModelError("run:gone: no such run")}, "Who?")

    def test_asking_again_for_what_is_there_asks_no_model(self, static):
        compare = Scripted.made(TWO, "Who?")
        assert compare.run().rows() == compare.run().rows()
        assert len(compare.seen) == 1

    def test_an_error_of_a_model_is_raised_and_shown(self, live):
        compare = Scripted.made({"wren": "yes", "run:gone": ModelError("run:gone: no such run")}, "Who?")
        with pytest.raises(ModelError, match="no such run"):
            compare.run()
        assert compare.error == "run:gone: no such run"
        assert compare.state == "idle"

    def test_pairs_go_into_the_ratings_once_and_equal_texts_are_reported(self, live, tmp_path):
        says = {"wren": "same", "run:a": lambda prompt: "same" if "One" in prompt[-1]["content"] else "other"}
        with Ratings(tmp_path / "r.db") as ratings:
            compare = Scripted.made(says, ["One?", "Two?"], ratings=ratings, batch="mine")
            compare.run()
            first, again = heard(compare, "rate"), heard(compare, "rate")
            assert (first["added"], len(first["refused"]), first["known"]) == (1, 1, 0)
            assert (again["added"], again["known"]) == (0, 1)
            assert first["call"] == "Rate(ratings, batch='mine')"
            task = ratings.next("me", "mine")
            assert {task.left, task.right} == {"same", "other"}

    def test_rating_before_any_answer_says_what_to_do(self, live):
        reply = heard(Scripted.made(TWO, "Who?"), "rate")
        assert reply["type"] == "error" and reply["ours"] and "run the prompts first" in reply["error"]

    def test_a_reroll_is_told_of_what_the_page_changed(self, live):
        compare = Scripted.made(TWO, "Who?")
        edits = {"0": [{"role": "user", "content": "Where?"}], "1": [{"role": "user", "content": "New?"}]}
        assert heard(compare, "run", settings={"seed": 9}, edits=edits, indexes=[0])["type"] == "done"
        settled(compare)
        assert [one[0]["content"] for one in compare.prompts] == ["Where?", "New?"]
        assert compare.settings["seed"] == 9
        assert set(compare.answers[0]) == set(TWO) and compare.answers[1] == {}

    @pytest.mark.parametrize(
        ("settings", "word"),
        [({"temperature": -1}, "temperature"), ({"max_new_tokens": 0}, "max_new_tokens")],
    )
    def test_settings_out_of_range_are_refused_by_name(self, live, settings, word):
        reply = heard(Scripted.made(TWO, "Who?"), "run", settings=settings)
        assert reply["type"] == "error" and word in reply["error"]

    def test_no_prompt_no_model_or_a_model_twice_is_said_at_the_door(self, static):
        with pytest.raises(ConfigError, match="no model"):
            Compare([])
        with pytest.raises(ConfigError, match="'wren' twice"):
            Compare(["wren", "wren"])
        with pytest.raises(DataError, match="prompt 2"):
            Compare(["wren"], ["fine", 3])
        with pytest.raises(ConfigError, match="no prompt"):
            Scripted.made(TWO, None).run()

    def test_cancelling_keeps_what_was_written_and_does_not_let_it_be_rated(self, live):
        never = threading.Event()
        compare = Scripted.made(TWO, "Who?", waits=never)
        heard(compare, "run")
        assert heard(compare, "run")["type"] == "error"
        assert heard(compare, "cancel")["type"] == "done"
        settled(compare)
        assert {row["finish"] for row in compare.answers[0].values()} == {"cancelled"}
        assert heard(compare, "rate")["type"] == "error"

    @pytest.mark.parametrize("absent", [True, False])
    def test_an_absent_page_is_sent_nothing_and_finds_all_of_it_on_its_return(
        self, live, monkeypatch, absent
    ):
        monkeypatch.setattr("ftlab.widgets.compare.FLUSH_SECONDS", 0)
        compare = Scripted.made({"wren": "one two three"}, ["Who?"] * 3)
        compare._presence._absent_seconds = 0 if absent else 60
        partial = []
        compare.observe(lambda change: partial.append(change["new"]), "partial")
        compare.run()
        assert any(partial) is not absent
        assert all(row["wren"]["text"] == "one two three" for row in compare.answers)


class TestPage:
    def open(self, bench, compare, **options):
        compare._is_fresh = False  # the answers below come when the test says so
        return bench.open(compare, **options)

    def test_prompts_that_were_given_are_answered_as_soon_as_a_page_is_there(self, bench, live):
        page = bench.open(Scripted.made(TWO, "Who?"))
        page.get_by_text("Tom has a cat.", exact=True).wait_for()

    def test_ctrl_enter_asks_with_what_is_in_the_boxes(self, bench, live):
        compare = Scripted.made(TWO, "Who?", adapters=ADAPTED)
        page = self.open(bench, compare)
        page.get_by_label("Seed", exact=True).fill("5")
        page.get_by_label("Prompt", exact=True).fill("Where is Tom?")
        page.keyboard.press("Control+Enter")
        page.get_by_text("4 tokens · 0.25 s · ended by itself").first.wait_for()
        [(prompts, sampling)] = compare.seen
        assert prompts == [[{"role": "user", "content": "Where is Tom?"}]]
        assert sampling.seed == 5
        assert page.get_by_text("base 3fa2c9 + adapter 77ab01 active").is_visible()

    def test_text_streams_in_and_escape_cancels(self, bench, live):
        go = threading.Event()
        compare = Scripted.made(TWO, "Who?", waits=go)
        page = self.open(bench, compare)
        page.evaluate("model.set({ state: 'running', partial: { 0: { wren: 'Tom has' } } })")
        page.get_by_text("Tom has", exact=True).wait_for()
        assert page.locator(".cmp-caret").count() == 1
        page.evaluate("model.set({ partial: { 0: { wren: 'Tom has a' } } })")
        page.get_by_text("Tom has a", exact=True).wait_for()
        page.evaluate("window.toPython = undefined")
        page.get_by_label("Prompt", exact=True).press("Escape")
        page.wait_for_function("model.sent.some((one) => one.type === 'cancel')")

    def test_differences_are_marked_against_the_chosen_pane_without_colour(self, bench, live):
        compare = Scripted.made({**TWO, "run:dpo": "Tom has a small dog."}, "Who?")
        compare.run()
        page = self.open(bench, compare)
        sft = page.locator("[data-reference='run:sft'] .cmp-body")
        assert sft.locator("ins").all_inner_texts() == ["dog"]
        assert sft.locator("del").all_inner_texts() == ["cat"]
        assert "underline" in sft.locator("ins").evaluate("e => getComputedStyle(e).textDecoration")
        assert "line-through" in sft.locator("del").evaluate("e => getComputedStyle(e).textDecoration")
        page.get_by_label("Compare the words with").select_option("run:sft")
        dpo = page.locator("[data-reference='run:dpo'] .cmp-body")
        assert dpo.locator("ins").all_inner_texts() == ["small "] or dpo.locator("ins").all_inner_texts() == [
            " small"
        ]
        page.get_by_role("button", name="Differences").click()
        assert page.locator(".cmp-body ins").count() == 0

    def test_two_panes_with_the_same_weights_are_called_out(self, bench, live):
        compare = Scripted.made({"wren": "One.", "copy": "One.", "run:sft": "Two."}, "Who?", adapters=ADAPTED)
        compare.run()
        page = self.open(bench, compare)
        assert page.get_by_text("Same weights as copy").is_visible()
        assert page.locator("[data-reference='run:sft'] .cmp-same").is_hidden()

    def test_one_click_sends_the_pairs_to_be_rated_and_says_how_to_go_on(self, bench, live, tmp_path):
        with Ratings(tmp_path / "r.db") as ratings:
            compare = Scripted.made(TWO, ["Who?", "What?"], ratings=ratings, batch="tour")
            compare.run()
            page = self.open(bench, compare)
            page.get_by_role("button", name="Rate these 2 prompts").click()
            page.get_by_text("2 pairs added to the batch “tour”").wait_for()
            assert page.get_by_text("Rate(ratings, batch='tour')").is_visible()
            assert ratings.progress("me", "tour").total == 2

    def test_what_a_model_says_is_never_run_in_any_view_of_it(self, bench, live):
        compare = Scripted.made({"wren": PAYLOAD, "run:sft": PAYLOAD + " more"}, PAYLOAD)
        compare.run()
        page = self.open(bench, compare)
        page.get_by_role("button", name="Markdown").click()
        page.get_by_role("button", name="Differences").click()
        page.evaluate(
            "model.set({ answers: [{}], state: 'running', partial: { 0: { wren: model.get('prompts')[0][0].content } } })"
        )
        page.locator(".cmp-caret").wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("#cell img, #cell script, #cell a[href^='javascript']").count() == 0

    def test_an_error_is_shown_in_its_place(self, bench, live):
        says = {
            "wren": "yes",
            "run:gone": ModelError("run:gone: there is no run of this name; see ftlab.runs()"),
        }
        compare = Scripted.made(says, "Who?")
        page = self.open(bench, compare)
        page.get_by_role("button", name="Answer").first.click()
        page.get_by_role("alert").filter(has_text="see ftlab.runs()").wait_for()

    def test_a_setting_that_python_refuses_is_told_by_the_button(self, bench, live):
        page = self.open(bench, Scripted.made(TWO, "   "))
        page.get_by_role("button", name="Answer").first.click()
        page.get_by_role("status").filter(has_text="there is no prompt").wait_for()

    def test_arrows_step_through_the_prompts_and_a_draft_is_kept_on_the_way(self, bench, live):
        compare = Scripted.made(TWO, ["First?", "Second?"])
        compare.run()
        page = self.open(bench, compare)
        box = page.get_by_label("Prompt", exact=True)
        box.fill("First, changed?")
        page.locator(".cmp-body").first.focus()
        page.keyboard.press("ArrowRight")
        assert box.input_value() == "Second?"
        page.keyboard.press("ArrowLeft")
        assert box.input_value() == "First, changed?"

    def test_narrow_pages_stack_the_panes_and_never_scroll_sideways(self, bench, live):
        compare = Scripted.made(TWO, "Who?")
        compare.run()
        page = self.open(bench, compare, width=360)
        boxes = [pane.bounding_box() for pane in page.locator(".cmp-pane").all()]
        assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def test_keys_stay_inside_so_that_the_notebook_does_not_take_them(self, bench, live):
        page = self.open(bench, Scripted.made(TWO, "Who?"))
        page.evaluate("window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key))")
        page.get_by_role("button", name="New seed").focus()
        for key in ("d", "d", "a", "Shift+Enter", "Control+Enter"):
            page.keyboard.press(key)
        assert page.evaluate("leaked.filter((key) => !['Shift', 'Control'].includes(key))") == []
