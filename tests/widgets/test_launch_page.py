"""Launch in a page: hands on keyboard and mouse, and what the page asks of Python."""

from itertools import pairwise

import pytest
from test_axe import STILL, findings
from test_launch import FORETOLD, Starter, form

from ftlab.config import RunConfig
from ftlab.errors import RunError

PATIENCE_MS = 8000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("ftlab.widgets.launch.CHECK_SECONDS", 0.01)


def shown(bench, widget, **options):
    page = bench.open(widget, **options)
    page.set_default_timeout(PATIENCE_MS)
    page.locator(".la-card input:checked").wait_for()
    return page


def field(page, label):
    return page.get_by_label(label, exact=True)


def has(page, text):
    page.get_by_text(text).first.wait_for()


def until(page, widget, holds):
    """The page's words have reached Python, in that they hold there."""
    for _ in range(200):
        if holds(widget):
            return
        page.wait_for_timeout(20)
    raise AssertionError(widget.draft)


def test_a_method_is_chosen_and_only_its_fields_are_unfolded(bench, live):
    widget = form()
    page = shown(bench, widget)
    assert field(page, "Rank").count() == 0
    page.get_by_role("radio", name="LoRA", exact=True).check()
    field(page, "Rank").wait_for()
    assert field(page, "Dropout").is_hidden() and widget.config.method.kind == "lora"
    page.get_by_text("More: LoRA").click()
    assert field(page, "Dropout").is_visible()
    page.get_by_role("radio", name="LoRA", exact=True).press("ArrowRight")
    field(page, "Block").wait_for(state="attached")
    assert widget.config.method.kind == "qlora"


def test_every_field_says_what_it_is_within_which_range_and_what_holds_by_default(bench, live):
    page = shown(bench, form(RunConfig(method="lora")))
    rank = field(page, "Rank")
    told = page.evaluate(
        "input => input.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id)?.textContent).join(' ')",
        rank.element_handle(),
    )
    assert "Width of the adapter" in told and "From 1 up to 1,024, whole numbers; default 8." in told
    assert field(page, "Alpha").get_attribute("placeholder") == "twice the rank"
    unnamed = page.evaluate("""() => [...document.querySelectorAll('.la-form input, .la-form select, .la-form textarea, .la-form [role=group]')]
      .filter((one) => !one.closest('.la-cards') && !one.labels?.length && !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')).map((one) => one.outerHTML.slice(0, 120))""")
    assert unnamed == []


def test_what_does_not_fit_is_told_at_the_field_counted_at_the_top_and_holds_the_start(bench, live):
    widget = form(RunConfig(method="lora"))
    page = shown(bench, widget)
    rank = field(page, "Rank")
    rank.fill("many")
    has(page, "1 field to mend")
    assert page.locator(".la-start").is_disabled() and rank.get_attribute("aria-invalid") == "true"
    assert "valid integer" in page.locator('[data-path="method.rank"] .la-fault').inner_text()
    assert rank.input_value() == "many"
    has(page, "As it was before the mistake")
    page.get_by_text("More: Data").click()
    field(page, "Max length").fill("3")
    has(page, "2 fields to mend")
    page.get_by_text("More: Data").click()
    page.locator(".la-wrong button", has_text="Max length").click()
    assert page.evaluate("document.activeElement.id").endswith("data-max_length")
    page.keyboard.press("Control+a")
    page.keyboard.type("300")
    rank.fill("4")
    page.locator(".la-count").wait_for(state="hidden")
    assert page.locator(".la-start").is_enabled()
    assert widget.config.method.rank == 4 and widget.config.data.max_length == 300


def test_a_change_is_marked_and_taken_back(bench, live):
    widget = form(RunConfig(method="lora"))
    page = shown(bench, widget)
    field(page, "Rank").fill("16")
    page.locator('[data-path="method.rank"] .la-mark').wait_for()
    page.get_by_role("button", name="Rank: back to 8").click()
    page.locator('[data-path="method.rank"] .la-mark').wait_for(state="hidden")
    field(page, "Rank").press("Tab")
    assert field(page, "Rank").input_value() == "8" and widget.config.method.rank == 8
    page.get_by_text("More: Training").click()
    field(page, "Seed").fill("7")
    has(page, "1 changed")


def test_unions_absent_sections_lists_and_words_are_drawn_from_the_schema(bench, live):
    widget = form(RunConfig(method={"kind": "distillation", "teacher": "wren-l"}))
    page = shown(bench, widget)
    field(page, "Objective").select_option("gkd")
    field(page, "On policy").fill("0.25")
    field(page, "LoRA adapter").select_option("lora")
    field(page, "Rank").fill("3")
    field(page, "Targets").select_option("")
    page.get_by_label("Targets, names, 1 of 1").fill("q_proj")
    page.get_by_label("Targets, names, 1 of 1").press("Enter")
    page.get_by_label("Targets, names, 2 of 2").fill("v_proj")
    page.locator('[data-path="evaluate.prompts"]').get_by_role("button", name="+ Add").click()
    page.keyboard.type("Where does Tom live?")
    page.get_by_text("More: Machine").click()
    page.get_by_label("TensorBoard").check()
    field(page, "TRL settings").fill("adam_beta2: 0.9")
    page.get_by_text("More: Looking and saving").click()
    page.get_by_text("More: Data").click()
    field(page, "Evaluation data").fill("held.jsonl")
    field(page, "Early stopping").select_option("EarlyStopping")
    field(page, "Patience").fill("2")
    until(page, widget, lambda one: one.draft.get("early_stopping") == {"patience": 2})
    method = widget.config.method
    assert (method.objective.on_policy, method.adapter.rank, method.adapter.targets) == (
        0.25,
        3,
        ["q_proj", "v_proj"],
    )
    assert widget.config.evaluate.prompts == ["Where does Tom live?"] and widget.config.trackers == [
        "tensorboard"
    ]
    assert widget.config.trainer == {"adam_beta2": 0.9}
    field(page, "LoRA adapter").select_option("")
    until(page, widget, lambda one: one.config.method.adapter is None)
    assert field(page, "Rank").count() == 0


def test_a_number_that_may_be_none_can_be_set_to_none(bench, live):
    widget = form(RunConfig(method={"kind": "context_distillation", "context": "Be brief."}))
    page = shown(bench, widget)
    page.get_by_text("More: Context distillation").click()
    none = page.get_by_role("button", name="Top: none")
    none.click()
    until(page, widget, lambda one: one.config.method.top is None)
    assert none.get_attribute("aria-pressed") == "true" and field(page, "Top").input_value() == ""
    none.click()
    until(page, widget, lambda one: one.config.method.top == 50)
    assert field(page, "Top").input_value() == "50"


def test_what_is_being_typed_is_never_overwritten_by_an_answer(bench, live):
    widget = form()
    page = shown(bench, widget)
    epochs = field(page, "Epochs")
    epochs.press("Control+a")
    epochs.press_sequentially("2.50", delay=130)
    until(page, widget, lambda one: one.config.epochs == 2.5)
    assert epochs.input_value() == "2.50"
    epochs.press("Tab")
    page.wait_for_function("document.querySelector('[id$=-epochs]').value === '2.5'")


def test_the_texts_follow_the_form_and_fill_it(bench, live):
    widget = form()
    page = shown(bench, widget)
    page.get_by_role("radio", name="LoRA", exact=True).check()
    area = page.locator(".la-texts textarea")
    page.wait_for_function("document.querySelector('.la-texts textarea').value.includes('lora')")
    page.get_by_role("tab", name="Python").press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.get_by_role("tab", name="YAML").get_attribute("aria-selected") == "true"
    area.fill("method:\n  kind: lora\n  rnak: 2\n")
    page.get_by_role("button", name="Fill the form").click()
    has(page, "line 3, column 3: method.rnak")
    assert "rnak" in area.input_value()
    area.fill("ftlab train --set method=dpo --set method.beta=0.3")
    page.get_by_role("button", name="Fill the form").click()
    has(page, "The form is filled.")
    assert field(page, "Beta").input_value() == "0.3" and widget.config.method.beta == 0.3
    assert area.input_value().startswith("model: wren\nmethod:\n  kind: dpo")
    page.get_by_role("tab", name="TRL script").click()
    page.wait_for_function("document.querySelector('.la-texts textarea').value.includes('DPOTrainer(')")


def test_a_preset_fills_the_form(bench, live):
    widget = form()
    page = shown(bench, widget)
    field(page, "Begin with").select_option("Distil wren-l into wren-xs")
    field(page, "Teacher").wait_for()
    assert (
        field(page, "Teacher").input_value() == "wren-l" and field(page, "Model").input_value() == "wren-xs"
    )
    has(page, "teach the smallest")
    page.get_by_role("button", name="Reset").click()
    field(page, "Teacher").wait_for(state="detached")
    assert widget.config == RunConfig()


def test_enter_starts_nothing_control_enter_starts_and_a_double_click_starts_one_run(bench, live):
    start = Starter()
    widget = form(start=start)
    page = shown(bench, widget)
    field(page, "Epochs").fill("3")
    field(page, "Epochs").press("Enter")
    until(page, widget, lambda one: one.config.epochs == 3)
    assert not start.asked
    field(page, "Epochs").fill("4")
    field(page, "Epochs").press("Control+Enter")  # what was typed last goes along
    has(page, "✓ tour-sft")
    assert [config.epochs for config in start.asked] == [4.0]
    page.locator(".la-start").dblclick()
    page.wait_for_function("model.get('started') === 2")
    page.wait_for_timeout(200)
    assert len(start.asked) == 2
    assert page.locator(".la-start").inner_text().endswith("Start another")


def test_a_refused_start_is_told_and_a_lost_answer_is_no_second_run(bench, live):
    start = Starter()
    widget = form(
        start=lambda config: (
            (_ for _ in ()).throw(RunError("the disk is full")) if config.epochs == 9 else start(config)
        )
    )
    page = shown(bench, widget)
    field(page, "Epochs").fill("9")
    page.locator(".la-start").click()
    has(page, "the disk is full")
    field(page, "Epochs").fill("1")
    page.locator(".la-start:enabled").wait_for()
    page.evaluate("model.loseReplies = 1")
    page.locator(".la-start").click()
    page.wait_for_function("model.sent.filter(({ type }) => type === 'start').length === 2")
    assert len(start.asked) == 1


def test_the_run_is_shown_below_by_the_notebooks_own_manager(bench, live):
    widget = form(start=Starter())
    page = shown(bench, widget)
    page.evaluate("""() => {
      window.removed = [];
      model.widget_manager = {
        get_model: async (id) => ({ id }),
        create_view: async ({ id }) => { const el = document.createElement('div'); el.textContent = `view ${id.length ? 'of the run' : ''}`; return { el, remove: () => window.removed.push(id) }; },
      };
    }""")
    page.locator(".la-start").click()
    has(page, "view of the run")
    first = widget.view
    page.locator(".la-start:enabled").click()
    page.wait_for_function("window.removed.length === 1")
    assert page.evaluate("window.removed") == [first] and widget.view != first


def test_the_pre_flight_is_told_before_the_start(bench, live):
    widget = form()
    page = shown(bench, widget)
    page.wait_for_function("model.sent.some(({ type }) => type === 'hello')")
    field(page, "Epochs").fill("2")
    for _ in range(100):
        if widget.preflight.get("state") == "done":
            break
        page.wait_for_timeout(20)
    page.evaluate("state => model.set(state)", bench.picture(widget))
    has(page, "trains 54 k of 2.1 M weights")
    has(page, "3 rows will be cut")
    page.locator(".la-findings button").click()
    assert page.evaluate("document.activeElement.id").endswith("data-max_length")
    page.evaluate(
        "model.set({ preflight: { state: 'done', lines: ['900 of 500 MiB of memory'], findings: [], fits: false, advice: ['batch_size 4 (300 MiB)'], error: '' } })"
    )
    has(page, "does not fit into the memory")
    has(page, "Would fit: batch_size 4")


@pytest.mark.parametrize("width", [400, 700, 1400])
@pytest.mark.parametrize("kind", ["distillation", "lora"])
def test_nothing_is_cut_off_at_any_width(bench, live, width, kind):
    method = (
        {"kind": kind, "teacher": "wren-l", "objective": "gkd", "adapter": {}}
        if kind == "distillation"
        else kind
    )
    page = shown(bench, form(RunConfig(method=method)), width=width)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    over = page.evaluate("""() => [...document.querySelectorAll('.la *')].filter((one) => one.getBoundingClientRect().right > document.querySelector('.la').getBoundingClientRect().right + 0.5
      && getComputedStyle(one).position !== 'absolute' && !one.closest('select, textarea, datalist')).map((one) => one.outerHTML.slice(0, 100))""")
    assert over == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_tab_goes_through_the_whole_form_in_the_order_of_the_eye(bench, live):
    page = shown(bench, form(RunConfig(method="lora")), width=500)
    page.locator(".la-head select").focus()
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "(() => { const one = document.activeElement; return one === document.body ? null : [one.tagName, Math.round(one.getBoundingClientRect().top + scrollY)]; })()"
        )
        if place is None:
            break
        seen.append(place)
    tops = [top for _, top in seen]
    assert len(seen) > 20 and all(after >= before - 45 for before, after in pairwise(tops))


@pytest.mark.parametrize(("theme", "width"), [("light", 400), ("dark", 1100), ("light", 1100)])
def test_launch_has_no_serious_finding(bench, live, theme, width):
    widget = form(
        RunConfig(method={"kind": "distillation", "teacher": "wren-l", "objective": "gkd", "adapter": {}})
    )
    page = shown(bench, widget, theme=theme, width=width, **STILL)
    seen = {"fresh": findings(page, ".la")}
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    field(page, "On policy").fill("7")
    has(page, "1 field to mend")
    seen["faulty"] = findings(page, ".la")
    field(page, "On policy").fill("0.5")
    page.locator(".la-count").wait_for(state="hidden")
    page.evaluate("told => model.set({ preflight: told })", {
        "state": "done", "lines": ["about 42 s"], "fits": False, "advice": ["batch_size 4"], "error": "no probe",
        "findings": [{"level": level, "field": "data.max_length", "text": "3 rows"} for level in ("error", "warning", "note")],
    })  # fmt: skip
    page.locator(".la-texts textarea").fill("x: [")
    page.get_by_role("button", name="Fill the form").click()
    has(page, "not YAML")
    seen["foretold"] = findings(page, ".la")
    page.locator(".la-start").click()
    has(page, "✓ tour-sft")
    seen["started"] = findings(page, ".la")
    page.evaluate("model.dead = true")
    page.get_by_text("Disconnected").wait_for()
    seen["disconnected"] = findings(page, ".la")
    assert {state: found for state, found in seen.items() if found} == {}


def test_what_was_foretold_is_what_the_widget_was_given():
    """The other tests lean on it."""
    assert FORETOLD.fits and FORETOLD.ready
