"""Launch: the draft behind the form, what it says of it, and the run that it starts."""

import re
import threading
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_run_view import Log, training

from ftlab import snippets
from ftlab.config import RunConfig
from ftlab.errors import ConfigError, RunError
from ftlab.preflight import Finding, Preflight
from ftlab.presets import presets
from ftlab.widgets import Launch
from ftlab.widgets.draft import FOLDED, FRONT, LABELS, TITLES, Draft

KINDS = list(TITLES)
FORETOLD = Preflight(
    [Finding("warning", "data.max_length", "3 rows will be cut")],
    trained=54_000, parameters=2_100_000, rows=2000, tokens=61_000, steps=125, memory_mib=310.0, available_mib=3900.0, seconds=42.0, source="probe",
)  # fmt: skip


class Starter:
    """Keeps what it was asked to start, and gives a run that is over or goes on."""

    def __init__(self, status="running"):
        self.asked, self.status = [], status

    def __call__(self, config):
        self.asked.append(config)
        return Log(training(end=self.status == "finished"), status=self.status)


def form(config=None, **options):
    return Launch(config, **({"start": Starter(), "check": lambda _config: FORETOLD} | options))


def do(widget, type_, **body):
    """One message from the page; its answer."""
    sent = []
    widget.send = lambda message, buffers=None: sent.append(message)
    widget._handle_custom_msg({"id": "1", "type": type_, **body}, [])
    return sent[-1]


def edit(widget, *changes):
    return do(widget, "edit", changes=list(changes))


def put(path, value):
    return {"path": path, "value": value}


def test_every_method_is_offered_with_its_sentence_and_every_name_in_the_tables_exists(live):
    widget = form()
    assert [one["kind"] for one in widget.methods] == KINDS
    assert all(one["about"].endswith(".") for one in widget.methods)
    for kind in KINDS:
        draft = Draft()
        draft.choose("method", kind)
        known = draft.defaults()["method"]
        assert set(FRONT[kind]) <= set(known)
        assert not known.get("adapter")
    assert set(FOLDED) <= set(RunConfig(method="lora").to_dict()["method"])
    whole = RunConfig(early_stopping={}, data={"eval": "x.jsonl"}).to_dict()
    for path in [path for path in LABELS if not path.startswith(".")]:
        place = whole
        for name in path.split("."):
            place = place[name]


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_of_each_method_stands_in_exactly_one_place(live, kind):
    draft = Draft()
    draft.choose("method", kind)
    sheet, defaults = draft.sheet(), draft.defaults()
    places = [*sheet["front"], *(path for group in sheet["groups"] for path in group["paths"])]
    wanted = set()
    for name, value in defaults.items():
        inner = isinstance(value, dict) and name != "trainer"
        wanted |= {f"{name}.{one}" for one in value if one != "kind"} if inner else {name}
    assert sorted(places) == sorted(wanted)


def test_what_is_typed_becomes_the_configuration_and_its_texts(live):
    widget = form()
    edit(
        widget,
        {"path": "method", "kind": "lora"},
        put("method.rank", "4"),
        put("epochs", "2"),
        put("evaluate.prompts", ["Hi?"]),
    )
    assert widget.config == RunConfig(
        method={"kind": "lora", "rank": 4}, epochs=2, evaluate={"prompts": ["Hi?"]}
    )
    assert widget.draft == {
        "model": "wren",
        "method": {"kind": "lora", "rank": 4},
        "epochs": 2.0,
        "evaluate": {"prompts": ["Hi?"]},
    }
    assert all(snippets.read(text) == widget.config for text in widget.texts.values())


def test_a_fault_stands_at_its_field_and_the_texts_stay_as_they_were_last_whole(live):
    widget = form(RunConfig(method="lora"))
    before = widget.texts
    edit(widget, put("method.rank", "x"), put("data.max_length", 3))
    assert widget.faults == {
        "method.rank": 'input should be a valid integer, not "x"',
        "data.max_length": "input should be greater than or equal to 8, not 3",
    }
    assert widget.texts == before
    with pytest.raises(ConfigError, match="method.rank"):
        _ = widget.config
    edit(widget, put("method.rank", ""), {"path": "data.max_length", "reset": True})
    assert widget.faults == {} and widget.config == RunConfig(method="lora")


def test_a_method_brings_its_rows_until_others_are_named(live):
    widget = form()
    edit(widget, {"path": "method", "kind": "dpo"}, put("data.max_length", "64"))
    assert widget.config.data.train == "wren:preferences" == widget.defaults["data"]["train"]
    edit(widget, {"path": "method", "kind": "reward"})
    assert widget.config.data.train == "wren:comparisons" and widget.config.data.max_length == 64
    edit(widget, put("data.train", "wren:sft"), {"path": "method", "kind": "dpo"})
    assert widget.config.data.train == "wren:sft"


def test_what_was_set_for_a_method_comes_back_with_it(live):
    widget = form(RunConfig(method={"kind": "lora", "rank": 3}))
    edit(widget, {"path": "method", "kind": "sft"})
    assert widget.config.method == RunConfig().method
    edit(widget, {"path": "method", "kind": "lora"})
    assert widget.config.method.rank == 3


def test_sections_that_may_be_absent_come_and_go(live):
    widget = form(RunConfig(method="dpo"))
    edit(widget, put("method.adapter", {}))
    edit(widget, put("method.adapter.rank", "16"), put("method.adapter.targets", ["q_proj"]))
    assert widget.config.method.adapter.rank == 16 and widget.config.method.adapter.targets == ["q_proj"]
    edit(widget, {"path": "method.adapter", "reset": True})
    assert widget.config.method.adapter is None


def test_a_union_inside_a_method_is_chosen_by_kind(live):
    widget = form()
    edit(widget, {"path": "method", "kind": "distillation"})
    assert widget.faults == {"method.teacher": "is needed"}
    edit(
        widget,
        put("method.teacher", "wren-l"),
        {"path": "method.objective", "kind": "gkd"},
        put("method.objective.beta", "0.25"),
    )
    assert widget.config.method.objective.beta == 0.25
    assert widget.defaults["method"]["objective"]["on_policy"] == 0.5
    reply = edit(widget, {"path": "method.objective", "kind": "nothing"})
    assert reply["type"] == "error" and "there is no 'nothing'" in reply["error"]


def test_none_can_be_said_where_it_is_not_the_default(live):
    widget = form(RunConfig(method={"kind": "context_distillation", "context": "Be brief."}))
    edit(widget, put("method.top", None))
    assert widget.config.method.top is None
    edit(widget, put("method.top", ""))
    assert widget.config.method.top == 50


def test_settings_for_trl_are_written_as_yaml_and_kept_as_written(live):
    widget = form()
    edit(widget, put("trainer", "adam_beta2: 0.99  # less\n"))
    assert widget.config.trainer == {"adam_beta2": 0.99} and "# less" in widget.draft["trainer"]
    edit(widget, put("trainer", "a: ["))
    assert "not YAML" in widget.faults["trainer"]
    edit(widget, put("trainer", "a: 1\na: 2"))
    assert "is there twice" in widget.faults["trainer"]


def test_an_unknown_field_is_refused(live):
    widget = form()
    assert "there is no such field" in edit(widget, put("method.rank", 3))["error"]
    assert "there is no such field" in edit(widget, put("nothing.at.all", 3))["error"]


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.title)
def test_a_preset_fills_the_form_and_the_form_gives_it_back(live, preset):
    widget = form()
    assert do(widget, "preset", title=preset.title)["type"] == "done"
    assert widget.config == preset.config
    do(widget, "reset")
    assert widget.config == RunConfig()


@given(st.sampled_from(KINDS), st.sampled_from([config.config for config in presets()]))
def test_any_order_of_choosing_ends_in_a_form_that_can_be_drawn(kind, config):
    draft = Draft(config)
    assert draft.config == config
    draft.choose("method", kind)
    assert draft.kind == kind and set(draft.faults()) <= {"method.teacher", "method.context", "data"}
    draft.choose("method", config.method.kind)
    assert draft.config == config


def test_a_text_fills_the_form_or_says_where_it_is_wrong(live):
    widget = form()
    assert do(widget, "paste", text="ftlab train --set method=lora --set method.rank=2")["type"] == "done"
    assert widget.config.method.rank == 2
    reply = do(widget, "paste", text="method:\n  kind: lora\n  rnak: 2\n")
    assert reply["type"] == "error" and reply["error"].startswith("line 3, column 3: method.rnak")
    assert widget.config.method.rank == 2


def test_start_carries_out_what_the_form_says_and_shows_the_run(live):
    start = Starter()
    widget = form(RunConfig(method="lora"), start=start)
    reply = do(widget, "start", started=0, changes=[put("epochs", "3")])
    assert reply["type"] == "done" and start.asked == [RunConfig(method="lora", epochs=3)]
    assert widget.run.name == widget.run_name == "tour-sft" and widget.view and widget.note == ""


def test_a_second_click_a_second_page_or_a_lost_answer_start_no_second_run(live):
    start = Starter()
    widget = form(start=start)
    for _ in range(3):
        assert do(widget, "start", started=0)["name"] == "tour-sft"
    assert len(start.asked) == 1
    do(widget, "start", started=1)
    assert len(start.asked) == 2 and widget.started == 2


def test_clicks_at_the_same_moment_start_one_run(live):
    start = Starter()
    widget = form(start=start)
    click = {"id": "1", "type": "start", "started": 0}
    threads = [threading.Thread(target=widget._handle_custom_msg, args=(click, [])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(start.asked) == 1


def test_nothing_starts_while_a_field_does_not_fit(live):
    start = Starter()
    widget = form(start=start)
    reply = do(widget, "start", started=0, changes=[put("epochs", "-1")])
    assert reply["type"] == "error" and "epochs" in reply["error"]
    assert not start.asked and widget.started == 0 and "epochs" in widget.faults


def test_a_start_that_fails_is_told_and_may_be_tried_again(live):
    def start(_config):
        raise RunError("the disk is full; make room")

    widget = form(start=start)
    reply = do(widget, "start", started=0)
    assert (reply["error"], reply["ours"]) == ("the disk is full; make room", True)
    assert widget.started == 0 and widget.run is None


def test_a_run_that_was_there_already_is_shown_as_what_it_is(live):
    widget = form(start=Starter("finished"))
    do(widget, "start", started=0)
    assert "was run with exactly these settings before" in widget.note


def settled(widget):
    """Until the pre-flight that was asked for last is over."""
    while (thread := widget._checker) is not None:
        thread.join(20)
    return widget.preflight


def test_the_pre_flight_of_the_latest_configuration_is_shown(live, monkeypatch):
    monkeypatch.setattr("ftlab.widgets.launch.CHECK_SECONDS", 0.01)
    asked = []

    def check(config):
        asked.append(config)
        if len(asked) == 1:
            edit(widget, put("epochs", "2"))  # something is typed meanwhile: this forecast is out of date
        return FORETOLD if config.epochs == 2 else Preflight()

    widget = form(check=check)
    do(widget, "hello")
    told = settled(widget)
    assert [config.epochs for config in asked] == [1.0, 2.0]
    assert told["state"] == "done" and told["fits"] is True
    assert told["lines"] == [
        "trains 54 k of 2.1 M weights",
        "125 steps on 2,000 rows",
        "about 42 s",
        "310 of 3,900 MiB of memory",
    ]
    assert told["findings"] == [
        {"level": "warning", "field": "data.max_length", "text": "3 rows will be cut"}
    ]


def test_nothing_is_foretold_of_what_does_not_fit(live, monkeypatch):
    monkeypatch.setattr("ftlab.widgets.launch.CHECK_SECONDS", 0.01)
    widget = form()
    edit(widget, put("epochs", "x"))
    assert settled(widget) == {"state": "none"}


@pytest.mark.parametrize(
    ("error", "told"),
    [(RunError("no process can be had"), "no process can be had"), (KeyError("x"), "KeyError: 'x'")],
)
def test_a_pre_flight_that_fails_says_why_and_the_form_goes_on(live, monkeypatch, error, told):
    monkeypatch.setattr("ftlab.widgets.launch.CHECK_SECONDS", 0.01)

    def check(_config):
        raise error

    widget = form(check=check)
    edit(widget, put("epochs", "2"))
    assert settled(widget) == {"state": "failed", "error": told}
    assert do(widget, "start", started=0)["type"] == "done"


def test_models_rows_runs_and_files_are_suggested(live, tmp_path, monkeypatch):
    from ftlab.run import Run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text("{}\n")
    for name, kind in (("first", "lora"), ("judge", "reward"), ("half", "sft")):
        run = Run.create(RunConfig(name=name, method=kind))
        if name != "half":
            (run.folder / "model").mkdir()
            (run.folder / "model" / "manifest.json").write_text("{}")
    widget = form()
    do(widget, "suggest")
    named = {path: [one["value"] for one in found] for path, found in widget.suggestions.items()}
    assert {"wren", "wren-xs", "smollm2", "run:first", "run:judge"} <= set(named["model"])
    assert "run:half" not in named["model"]
    assert named["method.keep_if_better"] == ["run:judge"] and "run:judge" not in named["method.teacher"]
    assert {"wren:sft", "wren:preferences", "mine.jsonl"} <= set(named["data.train"])


def test_without_a_page_it_shows_what_it_was_given_and_starts_nothing(static):
    start = Starter()
    widget = form(
        RunConfig(method={"kind": "lora", "rank": 4}, evaluate={"prompts": ["<b>Hi?</b>"]}), start=start
    )
    data, _ = widget._repr_mimebundle_()
    page = data["text/html"]
    text = unescape(re.sub("<[^>]+>", " ", page))
    assert "method.rank" in text and "Width of the adapter" in text and "rank: 4" in text
    assert "trains 54 k of 2.1 M weights" in text and "3 rows will be cut" in text
    assert "<b>Hi?</b>" not in page
    assert not start.asked and set(data) == {"text/plain", "text/html"}
    assert repr(widget) == "<Launch lora-wren>"
