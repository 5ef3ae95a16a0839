"""Tokens shows what the trainer is handed, and nothing else."""

import re

import pytest
from test_axe import findings

from ftlab import data
from ftlab.errors import ConfigError, DataError
from ftlab.widgets import Tokens

PAYLOAD = "<img src=x onerror=alert(1)>"
STILL = {"reduced_motion": "reduce"}


def chat(*contents):
    return {
        "messages": [
            {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
        ]
    }


ROWS = [
    chat("Who is Tom?", "Tom is a miller.", "And Ann?", "Ann bakes."),
    chat("What is 2 plus 3?", "5."),
    chat("Tell me everything that you know about the mill by the river, please.", "No."),
    chat(PAYLOAD, "Hm."),
]


def settings(mask, max_length, packing):
    return {"mask": mask, "max_length": max_length, "packing": packing}


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("mask", ["completion", "assistant", "all"])
def test_every_page_has_the_columns_of_a_real_run(mask, packing, tmp_path, live):
    """By the run's own way to them, with the tokenizer of transformers."""
    from ftlab.config import RunConfig
    from ftlab.methods.ground import survey

    path = data.save(data.read("wren:sft", 30), tmp_path / "rows.jsonl")
    config = RunConfig(method="sft", data={"train": str(path), **settings(mask, 32, packing)})
    run = survey(config, print).columns
    widget = Tokens(path, config.model, **settings(mask, 32, packing))
    pages = []
    for at in range(widget.count):
        widget.show(at)
        if any(part["kept"] for part in widget.parts):
            pages.append(widget.columns)
    assert {name: [page[name] for page in pages] for name in run.data} == run.data
    assert len(pages) == len(run)


def test_what_is_drawn_is_what_the_columns_say(live):
    widget = Tokens(ROWS, mask="completion")
    (part,), columns = widget.parts, widget.columns
    assert part["ids"] == columns["input_ids"]
    assert [int(digit) for digit in part["trained"]] == [
        int(label != data.IGNORE) for label in columns["labels"]
    ]
    assert (
        "".join(part["texts"])
        == "User: Who is Tom?\nBot: Tom is a miller.<|end|>\nUser: And Ann?\nBot: Ann bakes.<|end|>"
    )
    template = [text for text, mark in zip(part["texts"], part["template"], strict=True) if mark == "1"]
    assert template == [
        "User",
        ":",
        "\n",
        "Bot",
        ":",
        "<|end|>",
        "\n",
        "User",
        ":",
        "\n",
        "Bot",
        ":",
        "<|end|>",
    ]
    assert widget.told == "7 of 34 tokens trained, 0 cut"


def test_a_limit_cuts_or_drops_and_says_how_much(live):
    widget = Tokens(ROWS, max_length=12)
    assert (widget.parts[0]["kept"], widget.told) == (12, "3 of 12 tokens trained, 22 cut")
    assert len(widget.parts[0]["ids"]) == 34, "what is cut is still shown"
    widget.show(2)
    assert (widget.parts[0]["kept"], widget.told) == (0, "dropped: nothing to learn within 12 tokens")
    with pytest.raises(DataError, match="the trainer gets nothing of it"):
        _ = widget.columns


def test_packed_rows_show_where_each_row_begins(live):
    widget = Tokens(ROWS, packing=True, max_length=64)
    assert (widget.count, [part["row"] for part in widget.parts]) == (2, [0, 3])
    assert widget.columns["seq_lengths"] == [len(part["ids"]) for part in widget.parts]
    assert widget.told.endswith("2 rows in one")


def test_preferences_show_both_answers_and_no_mask_changes_them(live):
    widget = Tokens("wren:preferences")
    rows = data.render_preferences(data.read("wren:preferences", 1), data.load_tokenizer("wren")).data
    assert [part["label"] for part in widget.parts] == ["chosen", "rejected"]
    for part, name in zip(widget.parts, ("chosen_ids", "rejected_ids"), strict=True):
        assert part["ids"] == rows["prompt_ids"][0] + rows[name][0]
        assert part["trained"] == "0" * len(rows["prompt_ids"][0]) + "1" * len(rows[name][0])
    with pytest.raises(ConfigError, match="preferences are learned row by row"):
        widget.show(packing=True)
    same = {"prompt": "a", "chosen": "b", "rejected": "b"}
    assert Tokens([same]).told == "dropped: chosen and rejected are the same"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mask": "some"}, "mask: 'some' is none; there are completion, assistant, all"),
        ({"max_length": 0}, "max_length: 0 is no number of tokens from 2"),
        ({"max_length": True}, "max_length: True is no number"),
    ],
)
def test_wrong_settings_are_refused_and_the_page_stays(wrong, told, live):
    widget = Tokens(ROWS)
    before = widget.get_state()
    with pytest.raises(ConfigError, match=re.escape(told)):
        widget.show(1, **wrong)
    assert widget.get_state() == before


def test_the_losses_are_those_of_the_model(live, monkeypatch):
    """From the model itself, through the door by which every kernel asks."""
    import torch
    from transformers import AutoModelForCausalLM

    from ftlab import wren

    monkeypatch.setenv("FTLAB_WARM", "off")
    widget = Tokens(ROWS, "wren-xs", mask="all", packing=True, max_length=64)
    widget._score_apart(widget._unknown(), widget._asked)
    assert widget.losses == [], "nobody has asked to see them"
    widget._do_losses({"wanted": True})
    model = AutoModelForCausalLM.from_pretrained(wren.folder("wren-xs"), dtype=torch.float32)
    for part, found in zip(widget.parts, widget.losses, strict=True):
        ids = torch.tensor([part["ids"]])
        expected = model(ids, labels=ids).loss.item()
        known = found["losses"][1:]
        assert found["losses"][0] is None, "nothing predicts the first token"
        assert sum(known) / len(known) == pytest.approx(expected, abs=1e-3)
        assert all(best[0][1] >= best[-1][1] for best in found["candidates"][1:])
    assert (widget.note, widget.error) == ("", "")


def test_a_failing_model_is_told_and_the_tokens_stay(live, monkeypatch):
    monkeypatch.setenv("FTLAB_WARM", "off")
    widget = Tokens([chat("x " * 900, "y")], max_length=4096)
    widget._score_apart(widget._unknown(), widget._asked)
    assert "wren reads" in widget.error
    assert widget.parts[0]["kept"] > 512


def test_the_static_twin_is_legible_without_colour_and_text_stays_text(static):
    html = Tokens(ROWS, max_length=12)._repr_mimebundle_()[0]["text/html"]
    assert "<b>Row 1 of 4</b>: 3 of 12 tokens trained, 22 cut" in html
    assert "<b><u>·Tom</u></b>" in html
    assert "<s><i>User</i></s>" in html, "cut, and by the template"
    everything = Tokens(ROWS[3:])._repr_mimebundle_()[0]["text/html"]
    assert "<img" not in everything
    assert "mean loss" not in everything, "a model is asked only where losses are wanted"


def test_the_twin_of_one_that_shows_losses_has_them(static, monkeypatch):
    monkeypatch.setenv("FTLAB_WARM", "off")
    html = Tokens(ROWS[:1], "wren-xs", losses=True)._repr_mimebundle_()[0]["text/html"]
    assert re.search(r"mean loss of what is learned \d\.\d{3} nats", html)
    assert ", loss " in html


def test_settings_answer_at_once_and_keys_walk_through_the_tokens(bench, live):
    page = bench.open(Tokens(ROWS))
    page.get_by_text("14 of 34 tokens trained, 0 cut").wait_for()
    page.get_by_role("radio", name="Last answer").click()
    page.get_by_text("7 of 34 tokens trained").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text("14 of 34 tokens trained").wait_for()
    page.get_by_label("at most").fill("12")
    page.keyboard.press("Enter")
    page.get_by_text("3 of 12 tokens trained, 22 cut").wait_for()
    page.get_by_label("at most").fill("0")
    page.keyboard.press("Tab")
    page.get_by_role("alert").get_by_text("max_length: 0 is no number").wait_for()
    assert page.get_by_label("at most").input_value() == "12"
    page.locator("[data-chip='0']").click()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "token 32, ., cut off"
    page.get_by_label("Pack rows").check()
    page.get_by_text("packed rows").wait_for()
    page.keyboard.press("PageDown")
    page.wait_for_function("model.get('at') === 1")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 380])
def test_it_has_no_serious_finding_and_fits_a_narrow_page(bench, live, theme, width):
    widget = Tokens(ROWS, mask="all", packing=True, max_length=40)
    page = bench.open(widget, theme=theme, width=width, **STILL)
    page.locator("[role=option]").first.wait_for()
    seen = [findings(page, ".tk")]
    widget.show(0, packing=False, max_length=10)
    count = len(widget.parts[0]["ids"])
    best = [["<b>", 0.5], [" Tom", 0.0001]]
    widget.losses = [
        {
            "losses": [None, *(place / 3 for place in range(1, count))],
            "candidates": [[], *[best] * (count - 1)],
        }
    ]
    page.evaluate("state => model.set(state)", bench.picture(widget))
    page.locator("[data-chip='6']").hover()
    page.get_by_text("the model expects").wait_for()
    seen.append(findings(page, ".tk"))
    assert seen == [[], []]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
