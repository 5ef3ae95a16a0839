"""Runs: the table, what can be done from it, and several runs over each other."""

import array
import itertools
import json
import math
import os
import sys
import time
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipywidgets import Widget
from test_axe import STILL, findings

from ftlab.config import RunConfig
from ftlab.errors import RunError
from ftlab.events import Ended, Evaluated, Measured, Sampled, Started, append, encode, skim
from ftlab.process import Process, write_whole
from ftlab.run import Run, runs
from ftlab.warm import plain
from ftlab.widgets import sheet
from ftlab.widgets.glance import Glance
from ftlab.widgets.runs import MOST_COMPARED, Runs
from ftlab.widgets.versus import Course, curves

ACTOR = Path(__file__).parents[1] / "actor.py"
PAYLOAD = '<img src=x onerror="window.hacked=1">'
WHERE = [{"role": "user", "content": "Where does Tom live?"}]


@pytest.fixture(autouse=True)
def acted(monkeypatch):
    """What is started here is trained by actor.py, and ended at the end."""
    monkeypatch.setenv("FTLAB_WARM", "off")
    monkeypatch.setattr(plain, "TRAINER", (sys.executable, str(ACTOR)))
    yield
    Widget.close_all()  # a follower that lives on would look into the next test's home
    for run in runs():
        if process := run._process():
            process.kill()
            run.wait(30)


def course(steps=10, *, scale=3.0, tokens=100, speed=1.0, gap=None, start=0.0, every=5):
    """What a run of `speed` seconds a step writes."""
    yield Started(start, "x", 1, "cpu", {}, 100, 10, 64, steps, "3fa2c9aa0011")
    for step in range(1, steps + 1):
        values = {
            "loss": None if step == gap else scale / step,
            "tokens": float(tokens * step),
            "memory_mib": 400.0,
        }
        yield Measured(start + speed * step, step, step / steps, values)
        if step % every == 0:
            yield Evaluated(start + speed * step, step, {"loss": scale / step + 1})
            yield Sampled(start + speed * step, step, WHERE, f"answer {scale:g} at {step}")


def ended(name, events=None, *, status="finished", reason="", **fields):
    """A run that is over, as its trainer would have left it."""
    run = Run.create(RunConfig(name=name, **fields))
    for event in course() if events is None else events:
        append(run.folder / "events.jsonl", event)
    append(run.folder / "events.jsonl", Ended(99.0, 10, status, reason))
    own = Process.of(1) or Process("boot", 1, "1")
    record = {**own.to_dict(), "started": "0", "offset": 0, "log": 0}  # no such process any more
    write_whole(run.folder / "process.json", json.dumps(record).encode())
    return run


@pytest.fixture
def heard(live):
    """`heard(widget, "stop", name="first")`: what the page would get back for a command."""

    def ask(widget, kind, /, **body):
        replies = []
        widget.send = lambda message, buffers=None: replies.append(message)
        widget._handle_custom_msg({"id": "1", "type": kind, **body}, [])
        return replies[-1]

    return ask


def row(widget, name):
    (found,) = [row for row in widget.rows if row["name"] == name]
    return found | widget.live.get(name, {})


def drawn(widget):
    """{run: [(step, value, tokens, seconds)]} as the page reads it."""
    columns = []
    for code, trait in (("i", "steps"), ("f", "values"), ("f", "tokens"), ("f", "seconds")):
        column = array.array(code)
        column.frombytes(getattr(widget, trait))
        columns.append(column)
    points, at, read = list(zip(*columns, strict=True)), 0, {}
    for one in widget.curves:
        read[one["run"]] = points[at : at + one["length"]]
        at += one["length"]
    assert at == len(points)
    return read


class TestTable:
    def test_each_run_has_its_row_newest_first_with_what_it_came_to(self):
        ended("first", method="lora")
        ended("second", status="failed", reason="killed", model="wren-s")
        Run.create(RunConfig(name="third"))
        table = Runs()
        assert [one["name"] for one in table.rows] == ["third", "second", "first"]
        assert row(table, "third")["status"] == "created"
        assert "loss" not in row(table, "third")
        first = row(table, "first")
        assert (first["method"], first["model"], first["data"]) == ("lora", "wren", "wren:sft")
        assert (first["step"], first["total"], first["status"]) == (10, 10, "finished")
        assert (first["loss"], first["eval_loss"], first["memory"]) == (0.3, 1.3, 400.0)
        assert first["seconds"] == 99.0
        assert first["spark"] == [round(3 / step, 4) for step in range(1, 11)]
        assert row(table, "second")["reason"] == "killed"

    def test_a_broken_run_is_in_the_table_and_says_so(self):
        run = ended("first")
        (run.folder / "config.json").write_text("{")
        (run.folder / "process.json").unlink()
        assert (row(Runs(), "first")["status"], "method" in row(Runs(), "first")) == ("failed", False)
        assert "not JSON" in row(Runs(), "first")["reason"]

    def test_a_run_that_trains_moves_and_what_rests_is_not_sent_again(self):
        ended("old")
        run = Run.create(RunConfig(name="new", trainer={"act": "hold"}))
        table = Runs()
        run.start()
        while run.metrics() == [] or run.metrics()[-1]["step"] < 3:
            assert run.status in {"starting", "running"}
        table.refresh()
        still = table.rows
        assert table.live["new"]["step"] == 3
        append(run.folder / "events.jsonl", Measured(time.time(), 4, 1.0, {"loss": 0.125}))
        table.refresh(all_of_them=False)
        assert table.live["new"]["loss"] == 0.125
        assert table.rows == still
        run.stop().wait(30)
        table.refresh()
        assert table.live == {}
        assert (row(table, "new")["status"], row(table, "new")["loss"]) == ("stopped", 0.125)

    def test_a_run_that_is_made_anew_under_an_old_name_is_another_run(self):
        run = ended("first", method="lora")
        table = Runs()
        run.delete()
        Run.create(RunConfig(name="first", method="sft"))
        table.refresh()
        assert (row(table, "first")["method"], row(table, "first")["status"]) == ("sft", "created")
        assert "loss" not in row(table, "first")

    def test_the_table_takes_any_source_of_runs(self):
        ended("first")
        ended("second")
        table = Runs(lambda: [run for run in runs() if run.name == "first"])
        assert [one["name"] for one in table.rows] == ["first"]

    def test_a_long_run_is_skimmed_first_and_read_whole_a_little_later(self):
        ended("long", course(9000, gap=7000))
        table = Runs()
        assert (row(table, "long")["loss"], row(table, "long")["total"]) == (3 / 9000, 9000)
        assert None not in row(table, "long")["spark"]
        while table._go_on():
            pass
        assert None in row(table, "long")["spark"]
        assert row(table, "long")["eval_loss"] == 3 / 9000 + 1

    @settings(max_examples=25)
    @given(st.lists(st.integers(1, 9), max_size=30))
    def test_any_batching_gives_the_same_row(self, sizes):
        events = [*course(40, gap=3), Ended(41.0, 40, "stopped", ""), *course(50, start=60.0)]
        pieces, left = Glance(), list(events)
        for size in sizes:
            for event in left[:size]:
                pieces.add(event)
            left = left[size:]
        for event in left:
            pieces.add(event)
        assert pieces.told() == Glance(events).told()
        assert pieces.told()["seconds"] == 41.0 + 50.0


class TestCommands:
    def test_stop_start_queue_and_delete_do_what_they_say(self, heard):
        run = Run.create(RunConfig(name="one", trainer={"act": "hold"}))
        table = Runs()
        assert heard(table, "start", name="one")["type"] == "done"
        while run.status != "running":
            assert run.status in {"created", "starting", "running"}
            assert table.error == ""
        assert "is not deleted" in heard(table, "delete", name="one")["error"]
        waits = Run.create(RunConfig(name="two", trainer={"act": "finish"}))
        table.refresh()
        heard(table, "queue", name="two")
        assert (row(table, "two")["status"], row(table, "two")["position"]) == ("queued", 1)
        heard(table, "dequeue", name="two")
        assert row(table, "two")["status"] == "created"
        heard(table, "stop", name="one")
        run.wait(30)
        table.refresh()
        assert row(table, "one")["status"] == "stopped"
        assert heard(table, "delete", name="two")["type"] == "done"
        assert not waits.folder.exists()
        assert [one["name"] for one in table.rows] == ["one"]
        assert "was removed meanwhile" in heard(table, "stop", name="two")["error"]

    def test_a_clone_is_made_from_the_edited_configuration(self, heard):
        ended("first", method="lora")
        table = Runs()
        text = heard(table, "config", name="first")["yaml"]
        reply = heard(table, "clone", name="first", yaml=text.replace("rank: 8", "rank: 2"), then="create")
        assert reply["name"] == "first-rank-2"
        assert Run.open("first-rank-2").config.method.rank == 2
        assert table.rows[0]["name"] == "first-rank-2"
        fault = heard(table, "clone", name="first", yaml=text.replace("rank: 8", "rnak: 2"), then="start")
        assert (fault["type"], fault["ours"]) == ("error", True)
        assert "did you mean 'rank'?" in fault["error"]
        assert len(runs()) == 2

    def test_opening_a_run_tells_whoever_observes(self, heard):
        ended("first")
        table, seen = Runs(), []
        table.observe(lambda change: seen.append(change["new"]), "chosen")
        heard(table, "choose", name="first")
        assert seen == ["first"]

    def test_one_run_is_open_at_a_time_and_goes_with_what_shows_it(self, heard):
        ended("first")
        ended("second")
        table = Runs()
        heard(table, "choose", name="first")
        first = table._opened
        assert first.name == "first" and table.view == first.model_id
        heard(table, "choose", name="first")
        assert table._opened is first, "open already"
        heard(table, "choose", name="second")
        assert table._opened.name == "second" and first.comm is None
        heard(table, "delete", name="second")
        assert table.view == "", "what is deleted is open no longer"
        heard(table, "choose", name="first")
        heard(table, "shut")
        assert table.view == ""
        heard(table, "choose", name="first")
        shown = table._opened
        table.close()
        assert shown.comm is None


class TestComparison:
    def test_runs_lie_over_each_other_by_steps_tokens_and_seconds(self, heard):
        ended("slow", course(10, tokens=50, speed=2.0))
        ended("fast", course(20, tokens=100, speed=0.5, scale=2.0))
        table = Runs(selected=["slow", "fast"])
        seen = drawn(table)
        assert list(seen) == ["slow", "fast"]
        assert seen["slow"] == [(n, pytest.approx(3 / n), 50.0 * n, 2.0 * n) for n in range(1, 11)]
        assert seen["fast"][-1] == (20, pytest.approx(0.1), 2000.0, 10.0)
        heard(table, "metric", name="eval/loss")
        assert [step for step, *_ in drawn(table)["slow"]] == [5, 10]
        assert drawn(table)["slow"][0][2:] == (250.0, 10.0)
        assert [one["name"] for one in table.metrics][:2] == ["loss", "eval/loss"]

    def test_only_the_fields_that_differ_are_told(self):
        ended("one", method="lora", epochs=2)
        ended("two", method={"kind": "lora", "rank": 4}, epochs=2, max_steps=9)
        found = {line["path"]: line["values"] for line in Runs(selected=["one", "two"]).differences}
        assert found == {"method.rank": ["8", "4"], "max_steps": ["none", "9"]}

    def test_their_answers_to_a_prompt_stand_side_by_side(self):
        ended("one")
        ended("two", course(5, scale=2.0))
        (answers,) = Runs(selected=["one", "two"]).answers
        assert answers["prompt"] == WHERE
        assert [text["step"] for text in answers["runs"]["one"]] == [5, 10]
        assert answers["runs"]["two"] == [{"step": 5, "text": "answer 2 at 5"}]

    def test_a_run_that_is_not_there_and_too_many_are_refused(self, heard):
        for number in range(MOST_COMPARED + 1):
            ended(f"run-{number}", [])
        table = Runs()
        with pytest.raises(RunError, match="no run 'nobody'; there are: run-10"):
            table.compare(["nobody", "run-1"])
        assert (
            "11 runs are too many"
            in heard(table, "select", names=[one["name"] for one in table.rows])["error"]
        )
        assert table.selected == []

    def test_a_compared_run_that_is_deleted_leaves_the_picture(self, heard):
        for name in ("one", "two", "three"):
            ended(name)
        table = Runs(selected=["one", "two", "three"])
        heard(table, "delete", name="two")
        assert (table.selected, list(drawn(table))) == (["one", "three"], ["one", "three"])

    def test_ten_runs_of_a_hundred_thousand_steps_are_drawn_at_once_and_in_full_later(self):
        first = ended("run-0", [])
        lines = b"".join(encode(event) for event in course(100_000, gap=50_001, every=1000))
        (first.folder / "events.jsonl").write_bytes(lines + encode(Ended(1e5, 100_000, "finished", "")))
        for number in range(1, MOST_COMPARED):
            run = ended(f"run-{number}", [])
            (run.folder / "events.jsonl").unlink()
            os.link(first.folder / "events.jsonl", run.folder / "events.jsonl")
        table = Runs()
        began = time.thread_time()
        table.compare([one["name"] for one in table.rows])
        assert time.thread_time() - began < 0.3  # of this thread: the machine may have other work
        seen = drawn(table)
        assert len(seen) == MOST_COMPARED
        for points in seen.values():
            assert points[-1][0] == 100_000
            assert len(points) > 200
        table._go_on()
        name = table.selected[0]
        assert None in row(table, name)["spark"]  # the row has become exact along with the curve
        assert any(math.isnan(value) for _, value, *_ in drawn(table)[name])
        assert all(len(points) < 3000 for points in drawn(table).values())

    def test_a_skimmed_file_keeps_its_order_its_ends_and_leaves_out_no_short_one(self, tmp_path):
        path = tmp_path / "events.jsonl"
        events = [*course(3000), Ended(1.0, 3000, "finished", "")]
        path.write_bytes(b"".join(map(encode, events)))
        found, offset = skim(path, 20)
        assert offset is None
        assert 20 < len(found) < 400
        places = [events.index(event) for event in found]
        assert places == sorted(set(places))
        assert (places[0], places[-1]) == (0, len(events) - 1)
        assert max(b - a for a, b in itertools.pairwise(places)) < 2 * len(events) / 20
        assert skim(path, 2000) == (events, path.stat().st_size)
        assert skim(tmp_path / "none", 5) == ([], 0)

    def test_clocks_between_known_steps_lie_on_a_straight_line(self):
        one = Course(course(5000, tokens=7, speed=0.25))
        told = curves({"one": one}, "loss")
        tokens, steps = array.array("f"), array.array("i")
        tokens.frombytes(told["tokens"])
        steps.frombytes(told["steps"])
        assert list(tokens) == pytest.approx([7.0 * step for step in steps])


class TestTwin:
    def test_where_nobody_can_click_the_table_and_the_comparison_stand_as_text_and_pictures(self, static):
        ended("one", method="lora")
        ended(
            "two", course(12, scale=2.0), method={"kind": "lora", "rank": 4}, status="diverged", reason="NaN"
        )
        data, _ = Runs(selected=["one", "two"])._repr_mimebundle_()
        html = unescape(data["text/html"])
        assert "application/vnd.jupyter.widget-view+json" not in data
        assert data["text/plain"] == "<Runs: 2, 2 of them compared>"
        for words in (
            "diverged: NaN",
            "10 of 10",
            "method.rank",
            "answer 2 at 10 (step 10)",
            "two 0.1667 at step 12",
        ):
            assert words in html
        assert html.count("<img") == 2

    def test_names_that_do_not_fit_above_a_picture_are_numbered(self, static, monkeypatch):
        names = [f"a-run-with-a-long-name-{n}" for n in range(7)]
        for name in names:
            ended(name, method={"kind": "lora", "rank": 4 + len(runs())})
        drawn_lines = []
        monkeypatch.setattr(sheet, "image", lambda lines, **_: drawn_lines.extend(lines) or "")
        html = Runs(selected=names)._repr_mimebundle_()[0]["text/html"]
        assert [line.name for line in drawn_lines[:7]] == ["1", "2", "3", "4", "5", "6", "7"]
        assert "7: a-run-with-a-long-name-6" in html

    def test_names_and_answers_never_become_markup(self, static):
        events = [*course(2), Sampled(2.0, 2, [{"role": "user", "content": PAYLOAD}], PAYLOAD)]
        ended("one", events, reason=PAYLOAD)
        ended("two", events, reason=PAYLOAD)
        html = Runs(selected=["one", "two"])._repr_mimebundle_()[0]["text/html"]
        assert PAYLOAD not in html
        assert PAYLOAD in unescape(html)


def painted(page, scope=".vs"):
    return page.locator(f"{scope} canvas").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0)"
    )


class TestPage:
    def test_a_person_finds_compares_clones_and_deletes_with_the_keyboard_alone(self, bench, heard):
        ended("tour-sft", method="lora")
        ended("tour-dpo", course(20, scale=2.0), method={"kind": "lora", "rank": 4})
        ended("other", status="failed", reason=PAYLOAD)
        table = Runs()
        page = bench.open(table, width=1200)
        page.locator("[data-run]").first.focus()
        page.keyboard.press("/")
        page.keyboard.type("tour")
        page.get_by_text("2 of 3").wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press(" ")
        page.keyboard.press("ArrowDown")
        page.keyboard.press(" ")
        page.get_by_text("2 runs compared").wait_for()
        page.locator(".vs canvas").wait_for()
        assert painted(page) > 500
        assert sorted(table.selected) == ["tour-dpo", "tour-sft"]
        page.locator(".vs-scroll").get_by_text("method.rank").wait_for()
        by_step = page.locator(".vs .rv-stage").get_attribute("aria-label")
        page.get_by_label("Along").select_option("seconds")
        assert "at step 20" in by_step
        assert "at 20.00 s" in page.locator(".vs .rv-stage").get_attribute("aria-label")
        page.locator("[data-run=tour-sft]").focus()
        page.keyboard.press("c")
        editor = page.get_by_label("Configuration of the clone, as YAML")
        editor.wait_for()
        editor.fill(editor.input_value().replace("rank: 8", "rank: 2"))
        page.get_by_role("button", name="Only create").click()
        page.locator("[data-run=tour-sft-rank-2]").wait_for()
        assert page.evaluate("document.activeElement.dataset.run") == "tour-sft-rank-2"
        page.keyboard.press("Delete")
        page.get_by_role("alertdialog").wait_for()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.run") == "tour-sft-rank-2"
        page.keyboard.press("Delete")
        page.get_by_role("button", name="Delete it").click()
        page.locator("[data-run=tour-sft-rank-2]").wait_for(state="detached")
        assert {run.name for run in runs()} == {"tour-sft", "tour-dpo", "other"}
        assert page.evaluate("window.hacked") is None

    def test_two_quick_ticks_are_two_runs(self, bench, heard):
        ended("one")
        ended("two")
        table = Runs()
        page = bench.open(table, width=1200)
        ticks = "[...document.querySelectorAll('.rs-tick input')]"
        assert page.evaluate(f"{ticks}.map((tick) => (tick.click(), tick.checked))") == [True, True]
        page.get_by_text("2 runs compared").wait_for()
        assert sorted(table.selected) == ["one", "two"]
        assert page.evaluate(f"{ticks}.map((tick) => tick.checked)") == [True, True]

    def test_an_opened_run_is_shown_below_until_it_is_closed(self, bench, heard):
        ended("one")
        table = Runs()
        page = bench.open(table, width=1200)
        page.evaluate("""() => {
          model.widget_manager = {
            get_model: async (id) => ({ id }),
            create_view: async ({ id }) => { const el = document.createElement('div'); el.textContent = `view of ${id}`; return { el, remove: () => undefined }; },
          };
        }""")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("view of").wait_for()
        assert page.locator(".rs-opened").inner_text().endswith(table.view)
        page.get_by_role("button", name="Close").click()
        page.locator(".rs-opened").wait_for(state="hidden")
        assert table.view == ""
        assert page.evaluate("document.activeElement.dataset.run") == "one"

    def test_a_column_is_sorted_by_a_press_and_a_row_keeps_the_focus(self, bench, heard):
        for name, scale in (("a", 2.0), ("b", 3.0), ("c", 1.0)):
            ended(name, course(10, scale=scale))
        Run.create(RunConfig(name="d"))
        page = bench.open(Runs(), width=1200)
        page.get_by_role("button", name="Loss", exact=True).click()
        order = "[...document.querySelectorAll('[data-run]')].map((row) => row.dataset.run).join('')"
        assert page.evaluate(order) == "cabd"
        page.get_by_role("button", name="Loss", exact=True).click()
        assert page.evaluate(order) == "bacd"  # what is not known stays behind
        assert page.locator("th.rs-loss").get_attribute("aria-sort") == "descending"
        page.locator("[data-run=a]").focus()
        page.evaluate(
            "model.set({ rows: model.get('rows').map((row) => ({ ...row, loss: row.name === 'a' ? 9 : row.loss })) })"
        )
        page.wait_for_function(f"{order}.startsWith('a')")
        assert page.evaluate("document.activeElement.dataset.run") == "a"

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_no_serious_finding_in_table_comparison_editor_and_question(self, bench, heard, theme):
        ended("one", method="lora")
        ended("two", course(20, gap=3), status="diverged", reason="the loss is not a number")
        Run.create(RunConfig(name="three"))
        page = bench.open(Runs(selected=["one", "two"]), theme=theme, width=1200, **STILL)
        page.locator(".vs canvas").wait_for()
        seen = {"table": findings(page, ".rs")}
        page.locator("[data-run=one]").focus()
        page.keyboard.press("c")
        page.locator(".rs-yaml").wait_for()
        seen["editor"] = findings(page, ".rs")
        page.keyboard.press("Escape")
        page.keyboard.press("Delete")
        page.get_by_role("alertdialog").wait_for()
        seen["question"] = findings(page, ".rs")
        page.evaluate("model.dead = true")
        page.keyboard.press("Escape")
        page.get_by_text("Disconnected").wait_for(timeout=15_000)
        seen["disconnected"] = findings(page, ".rs")
        assert not any(seen.values()), seen
