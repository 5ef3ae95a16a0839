"""Every widget in every state, light and dark, held against axe-core's rules (WCAG 2.2 A and AA, best practices)."""

from pathlib import Path

import pytest
from test_run_view import Log, training

from ftlab.ratings import Ratings
from ftlab.widgets import Rate, RunView

AXE = Path(__file__).parents[2] / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
PLAIN = {"repeats": 0.0, "gold": 0.0}
MODES = {"pair": 2, "single": 1, "rank": 4, "edit": 1, "dialogue": 2}
KEYS = {
    "pair": ("1", "5", "2"),
    "single": ("g", "5"),
    "rank": ("2", "1", "2", "3", "Enter"),
    "edit": ("Control+Enter",),
    "dialogue": ("1", "2"),
}
CHOSEN = {"pair": ("1",), "single": ("g",), "rank": ("1", "1", " "), "edit": ("6",), "dialogue": ("2",)}
SUMMARY = """async (scope) => {
  const { violations } = await axe.run(scope, { resultTypes: ['violations'] });
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, any }) => `${html.slice(0, 160)} ${any[0]?.message ?? ''}`).join(' | ')}`);
}"""

STILL = {"reduced_motion": "reduce"}
"""No transitions: half way between two colours nothing has its contrast."""

theme = pytest.mark.parametrize("theme", ["light", "dark"])


def findings(page, scope):
    """Serious and critical findings; the script is there once a page."""
    assert AXE.is_file(), "axe-core is not installed: run `python hatch_build.py test`"
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=str(AXE))
    return page.evaluate(SUMMARY, scope)


def ready(page):
    page.locator(".rate[data-open=true]").wait_for()
    return page


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


@theme
@pytest.mark.parametrize("mode", list(MODES))
def test_rate_has_no_serious_finding_from_the_first_task_to_the_end(bench, live, mode, theme):
    with Ratings() as ratings:
        text = "Tom lives in a **cottage**.\n\n1. `two` rooms\n2. [a door](https://example.org)\n\n| a | b |\n|---|---|\n| 1 | 2 |"
        rows = [
            {
                "prompt": [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": f"Where? {n}"},
                ],
                "responses": [{"model": f"m{i}", "text": f"{text}\n\n{i}"} for i in range(MODES[mode])],
            }
            for n in range(2)
        ]
        settings = {**PLAIN, "flags": True, "labels": ["funny", "rude"], "safety": mode == "pair"}
        ratings.add(rows, mode, mode=mode, settings=settings, instructions="First.")
        ratings.open_batch(mode, instructions="Second.")
        widget = Rate(ratings, mode, "ann")
        page = ready(bench.open(widget, theme=theme, **STILL))
        seen = {"fresh": findings(page, ".rate")}
        page.locator(".rate-head").click()
        press(page, *CHOSEN[mode])
        seen["chosen"] = findings(page, ".rate")
        press(page, "Escape", "f")
        seen["flagging"] = findings(page, ".rate")
        press(page, "Escape", "p", "z")
        seen["paused"] = findings(page, ".rate")
        press(page, "z", "p")
        if mode == "rank":
            page.get_by_role("button", name="Start over").click()
            page.locator("[data-card=A]").focus()
        press(page, *KEYS[mode])
        page.get_by_text("✓ Saved (entry 1)").wait_for()
        ready(page)
        seen["saved"] = findings(page, ".rate")
        press(page, "Escape", "e")
        page.get_by_text("looking at 1").wait_for()
        seen["gone back"] = findings(page, ".rate")
        press(page, "Escape", "u")
        page.get_by_text("✓ Taken back (entry 2)").wait_for()
        ready(page)
        seen["undone"] = findings(page, ".rate")
        page.evaluate("model.deaf = true")
        press(page, "Escape", "s")
        page.get_by_text("Saving…").wait_for()
        seen["saving"] = findings(page, ".rate")
        page.evaluate("model.dead = true")
        page.get_by_text("Disconnected").wait_for(timeout=6000)
        seen["disconnected"] = findings(page, ".rate")
        page.evaluate("model.deaf = model.dead = false")
        page.get_by_text("✓ Skipped (entry 3)").wait_for(timeout=15_000)
        ready(page)
        press(page, "Escape", "s")
        page.get_by_text("✓ Skipped (entry 4)").wait_for()
        page.get_by_role("button", name="Show the models").wait_for()
        seen["end"] = findings(page, ".rate")
        page.get_by_role("button", name="Show the models").click()
        page.locator(".rate-end").wait_for()
        seen["models"] = findings(page, ".rate")
        assert {state: found for state, found in seen.items() if found} == {}


@theme
def test_a_dialogue_between_two_turns_has_no_serious_finding(bench, live, theme):
    with Ratings() as ratings:
        widget = Rate(ratings, "talk", "ann", models=["one", "two"])
        state = bench.picture(widget)
        page = bench.open(stem="rate", state=state, theme=theme, **STILL)
        seen = [findings(page, ".rate")]
        talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
        for turn in (
            {"assignment_id": "a" * 16, "prompt": talk, "state": "waiting", "texts": [], "note": ""},
            {
                "assignment_id": "a" * 16,
                "prompt": talk[:1],
                "state": "answering",
                "texts": ["one", "two"],
                "note": "",
            },
        ):
            page.evaluate("turn => model.set({ turn })", turn)
            page.locator(".rate-turn").first.wait_for()
            seen.append(findings(page, ".rate"))
        assert seen == [[], [], []]


@theme
def test_compare_has_no_serious_finding(bench, live, theme):
    answer = {
        "text": "Tom lives in a cottage.",
        "tokens": 6,
        "finish": "end",
        "seconds": 0.3,
        "heading": "base 3fa2c9",
        "weights": "w1",
        "details": {"base": "3fa2c9", "seed": "0"},
        "verdict": {"score": 0.5, "label": "good"},
    }
    other = {
        **answer,
        "text": "Tom lives by the river.",
        "weights": "w2",
        "verdict": {"score": -1.0, "label": "bad"},
    }
    state = {
        "models": ["wren", "run:tuned"],
        "batch": "default",
        "note": "",
        "error": "",
        "state": "idle",
        "prompts": [
            [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where?"}],
            [{"role": "user", "content": "Who?"}],
        ],
        "settings": {"max_new_tokens": 64, "temperature": 0.7, "top_p": 1.0, "seed": 0},
        "answers": [{"wren": answer, "run:tuned": other}, {}],
        "partial": {},
        "progress": {"done": 2, "total": 2},
    }
    page = bench.open(stem="compare", state=state, theme=theme, **STILL)
    seen = {"answered": findings(page, ".cmp")}
    page.get_by_text("Proof").first.click()
    page.get_by_role("button", name="Markdown").click()
    seen["unfolded"] = findings(page, ".cmp")
    page.evaluate("model.set({ state: 'running', partial: { 1: { wren: 'Tom li' } } })")
    page.get_by_role("button", name="Next prompt").click()
    seen["running"] = findings(page, ".cmp")
    page.evaluate("model.set({ state: 'idle', error: 'no such model' })")
    seen["failed"] = findings(page, ".cmp")
    assert {name: found for name, found in seen.items() if found} == {}


@theme
def test_run_view_has_no_serious_finding(bench, live, theme):
    page = bench.open(RunView(Log(training(dpo=True, gap=4))), theme=theme, **STILL)
    page.locator(".rv-stage canvas").first.wait_for()
    assert findings(page, ".rv") == []


def test_a_serious_finding_would_be_seen(bench, live):
    """The other tests would pass as well if the rules were never run."""
    with Ratings() as ratings:
        ratings.add([{"prompt": "Hi", "responses": [{"model": "a", "text": "x"}]}], "x", mode="single")
        page = ready(bench.open(Rate(ratings, "x", "ann"), **STILL))
        page.evaluate("document.querySelector('.rate').append(document.createElement('button'))")
        assert "button-name" in findings(page, ".rate")[0]
