"""RunView: the fold over events, the Python half, and the page."""

import array
import math
import random
import threading
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.errors import RunError
from ftlab.events import Ended, Evaluated, Measured, Noted, Sampled, Saved, Started
from ftlab.widgets.curve import Curve
from ftlab.widgets.run_view import RunView

PAYLOAD = '<img src=x onerror="window.hacked=1">'
WHERE = [{"role": "user", "content": "Where does Tom live?"}]


class Log:
    """A run as a view meets one: a list of events that grows."""

    def __init__(self, events=(), status="running", reason=""):
        self.name, self.written, self.status, self.reason = "tour-sft", list(events), status, reason
        self.stops = 0
        self.refusal = None

    def events(self, offset=0):
        return self.written[offset:], len(self.written)

    def stop(self):
        if self.refusal:
            raise self.refusal
        self.stops += 1

    def wait(self, timeout=None):
        return self.status


def started(at=0.0, total=10, **settings):
    return Started(
        at, "tour-sft", 1, "cpu", {"threads": 2, **settings}, 2_000_000, 120_000, 512, total, "3fa2c9aa0011"
    )


def training(steps=10, *, dpo=False, gap=None, end=True):
    """A run of a figure a second."""
    events = [started(total=steps), Noted(0.0, "warning", "3 rows were cut")]
    for step in range(1, steps + 1):
        values = {
            "loss": None if step == gap else 3.0 / step,
            "learning_rate": 1e-3,
            "tokens_per_second": 5000.0,
        }
        values["memory_mib"] = 400.0 + step
        if dpo:
            values |= {"rewards/margins": step / 10, "rewards/accuracies": min(1.0, 0.5 + step / 20)}
        events.append(Measured(float(step), step, step / 5, values))
        if step % 5 == 0:
            events.append(Evaluated(step + 0.1, step, {"eval_loss": 4.0 / step, "eval_runtime": 1.0}))
            events.append(Sampled(step + 0.2, step, WHERE, f"answer at {step}"))
    return [*events, Ended(steps + 1.0, steps, "finished", "all steps are done")] if end else events


def picture(view):
    return {
        name: getattr(view, name)
        for name in view.trait_names(sync=True)
        if not name.startswith("_") and name != "layout"
    }


def drawn(view):
    """{series: [(step, value)]} as the page reads it."""
    steps, values, at, read = array.array("i"), array.array("f"), 0, {}
    steps.frombytes(view.steps)
    values.frombytes(view.values)
    for one in view.series:
        read[one["name"]] = list(
            zip(steps[at : at + one["length"]], values[at : at + one["length"]], strict=True)
        )
        at += one["length"]
    assert at == len(steps) == len(values)
    return read


def heard(view, name):
    """What the page would get back for a command."""
    replies = []
    view.send = lambda message, buffers=None: replies.append(message)
    view._handle_custom_msg({"id": "1", "type": name}, [])
    return replies[-1]


figures = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
steps = st.integers(0, 60)
events = st.lists(
    st.one_of(
        st.builds(
            Measured,
            st.floats(0, 1e4),
            steps,
            st.floats(0, 9),
            st.dictionaries(st.sampled_from(["loss", "kl"]), figures),
        ),
        st.builds(Evaluated, st.floats(0, 1e4), steps, st.dictionaries(st.just("loss"), figures)),
        st.builds(Sampled, st.floats(0, 1e4), steps, st.just(WHERE), st.text(max_size=5)),
        st.builds(Noted, st.floats(0, 1e4), st.just("info"), st.text(max_size=5)),
        st.builds(Saved, st.floats(0, 1e4), steps, st.just("x"), st.just("model"), st.just("0")),
        st.builds(Ended, st.floats(0, 1e4), steps, st.sampled_from(["finished", "failed"]), st.just("why")),
        st.builds(started, st.floats(0, 1e4)),
    ),
    max_size=40,
)


class TestFold:
    @given(events, st.lists(st.integers(1, 7), max_size=40))
    def test_any_batching_of_the_same_events_draws_the_same_picture(self, all_events, sizes):
        whole, pieces = RunView(Log(status="created")), RunView(Log(status="created"))
        whole.update(all_events)
        left = list(all_events)
        for size in sizes:
            batch, left = left[:size], left[size:]
            pieces.update(batch)
        pieces.update(left)
        assert picture(whole) == picture(pieces)

    @given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=400))
    def test_a_capped_curve_keeps_the_extremes_and_its_bound(self, values):
        curve = Curve(buckets=16)
        for step, value in enumerate(values):
            curve.add(step, value)
        points = curve.points()
        assert len(points) <= 2 * 16
        assert {min(values), max(values)} <= {value for _, value in points}
        assert [step for step, _ in points] == sorted(step for step, _ in points)
        assert all(values[step] == value for step, value in points)

    def test_a_gap_survives_the_capping(self):
        curve = Curve(buckets=8)
        for step in range(100):
            curve.add(step, None if step == 37 else 1.0)
        assert [step for step, value in curve.points() if math.isnan(value)] == [37]

    def test_the_steps_that_a_resumed_run_does_again_replace_the_old_ones(self):
        curve = Curve()
        for step, value in [(1, 5.0), (2, 4.0), (3, 9.0), (4, 9.0), (3, 3.0), (4, 2.0)]:
            curve.add(step, value)
        assert curve.points() == [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]

    def test_a_resumed_run_runs_again_and_counts_its_time_on(self):
        view = RunView(Log(status="created"))
        view.update([started(0), Measured(10, 1, 0, {"loss": 1.0}), Ended(20, 1, "stopped", "asked to")])
        view.update([started(1000), Measured(1005, 2, 0, {"loss": 1.0})])
        assert (view.status, view.reason) == ("running", "")
        assert view.progress["seconds"] == 25

    def test_the_time_to_go_follows_the_pace_so_far(self):
        view = RunView(Log(status="created"))
        view.update([started(0, total=100), Measured(2, 1, 0, {}), Measured(22, 11, 0, {})])
        assert view.progress["eta_seconds"] == pytest.approx(89 * 2)

    def test_evaluation_is_drawn_as_marks_beside_training_and_its_clock_is_not(self):
        view = RunView(Log(training(), "finished"))
        kinds = {one["name"]: (one["panel"], one["kind"]) for one in view.series}
        assert kinds["loss"] == ("Loss", "line") and kinds["eval/loss"] == ("Loss", "points")
        assert "eval/runtime" not in kinds
        assert drawn(view)["eval/loss"] == [(5, pytest.approx(0.8)), (10, pytest.approx(0.4))]


class TestPythonHalf:
    def test_a_view_opened_later_draws_the_whole_past(self, static):
        early = RunView(Log(training(end=False)))
        log = Log(training(), "finished")
        early.update([log.written[-1]])
        late = RunView(log)
        assert picture(early)["steps"] == picture(late)["steps"]
        assert picture(early)["progress"] == picture(late)["progress"]
        assert (late.status, late.reason) == ("finished", "all steps are done")

    def test_a_run_that_died_without_a_word_is_told_with_the_runs_own_reason(self, static):
        log = Log(training(end=False))
        view = RunView(log)
        log.status, log.reason = "failed", "killed by signal 9, most likely out of memory"
        view.poll()
        assert (view.status, view.reason) == ("failed", log.reason)

    def test_a_page_sees_the_run_go_on_by_itself(self, live):
        log = Log(training(end=False))
        view = RunView(log)
        over = threading.Event()
        view.observe(lambda change: change["new"] == "finished" and over.set(), "status")
        log.written.append(Ended(20.0, 10, "finished", "all steps are done"))
        log.status = "finished"
        assert over.wait(10)

    def test_stop_asks_the_run_once_and_says_so_until_it_ends(self, live):
        log = Log(training(end=False))
        view = RunView(log)
        assert heard(view, "stop")["type"] == "done"
        view.poll()
        assert (log.stops, view.status) == (1, "stopping")
        log.written.append(Ended(20.0, 10, "stopped", "asked to"))
        log.status = "stopped"
        view.poll()
        assert (view.status, view.reason) == ("stopped", "asked to")

    def test_a_stop_that_fails_is_told_to_the_page(self, live):
        log = Log(training(end=False))
        log.refusal = RunError("tour-sft: the disk is full; free some space and press Stop again")
        view = RunView(log)
        reply = heard(view, "stop")
        assert reply["type"] == "error" and "free some space" in reply["error"]
        assert view.status == "running"

    def test_where_nobody_can_click_showing_it_waits_and_leaves_picture_table_and_samples(self, static):
        class Slow(Log):
            def wait(self, timeout=None):
                self.written, self.status = training(gap=3), "finished"
                return self.status

        data, _ = RunView(Slow())._repr_mimebundle_()
        page = data["text/html"]
        assert set(data) == {"text/plain", "text/html"}
        assert data["text/plain"] == "<RunView tour-sft: finished, step 10 of 10>"
        assert '<img src="data:image/png;base64,iVBOR' in page
        assert "training 3 at step 1, 0.3 at step 10" in page
        assert "answer at 5" in page and "answer at 10" in page and "3 rows were cut" in page

    def test_the_twin_escapes_what_models_and_trainers_say(self, static):
        log = Log(
            [started(note=PAYLOAD), Sampled(1, 1, [{"role": "user", "content": PAYLOAD}], PAYLOAD)],
            "failed",
            PAYLOAD,
        )
        page = RunView(log)._twin()
        assert "<img src=x" not in page
        assert unescape(page).count(PAYLOAD) >= 4

    def test_a_run_that_nobody_started_is_shown_without_waiting(self, static):
        view = RunView(Log(status="created"))
        data, _ = view._repr_mimebundle_()
        assert "created" in data["text/html"]


def ink(page, panel):
    """Painted pixels of a chart's canvas."""
    return page.locator(f"[data-panel='{panel}'] canvas").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0)"
    )


def reds(page):
    """Pixels in the colour of the mark for a gap, in light: #b3261e."""
    return page.locator("[data-panel='Loss'] canvas").evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += d[i] === 179 && d[i+1] === 38 && d[i+2] === 30; return n; }"
    )


class TestPage:
    def test_the_curve_is_drawn_and_moves_when_figures_come(self, bench, live):
        log = Log(training(50, end=False))
        log.written[40:], later = [], log.written[40:]
        view = RunView(log)
        page = bench.open(view)
        page.locator("[data-panel='Loss'] canvas").wait_for()
        assert ink(page, "Loss") > 500
        before = page.locator("[data-panel='Loss'] .rv-stage").get_attribute("aria-label")
        log.written += later
        view.poll()
        page.evaluate("model.send({ id: 'x', type: 'hello' })")
        page.get_by_text("step 50 of 50").wait_for()
        assert page.locator("[data-panel='Loss'] .rv-stage").get_attribute("aria-label") != before

    def test_a_figure_that_is_no_number_is_a_gap_with_a_mark(self, bench, live):
        whole = bench.open(RunView(Log(training(20), "finished")))
        whole.locator("[data-panel='Loss'] canvas").wait_for()
        broken = bench.open(RunView(Log(training(20, gap=10), "finished")))
        broken.locator("[data-panel='Loss'] canvas").wait_for()
        assert reds(whole) == 0
        assert reds(broken) > 10

    def test_the_pointer_tells_step_and_figure_with_their_unit(self, bench, live):
        page = bench.open(RunView(Log(training(11), "finished")))
        box = page.locator("[data-panel='Loss'] .u-over").bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 40)
        legend = page.locator("[data-panel='Loss'] .rv-legend")
        legend.get_by_text("3.000 nats").wait_for()
        assert legend.inner_text().endswith("step 1")

    def test_rewards_have_their_charts_where_the_run_has_rewards(self, bench, live):
        page = bench.open(RunView(Log(training(20, dpo=True), "finished")))
        page.locator("[data-panel='Rewards'] canvas").wait_for()
        assert ink(page, "Rewards") > 100 and ink(page, "Preferred the chosen") > 100
        page.get_by_role("button", name="Learning rate").click()
        page.locator("[data-panel='Learning rate'] canvas").wait_for()
        page.get_by_role("button", name="Rewards").click()
        assert page.locator("[data-panel='Rewards']").count() == 0

    def test_log_scale_and_smoothing_redraw_the_chart(self, bench, live):
        random.seed(1)
        noisy = [
            started(),
            *(Measured(float(s), s, 0, {"loss": 3 / s + random.random()}) for s in range(1, 60)),
        ]
        page = bench.open(RunView(Log(noisy, "finished")))
        page.locator("[data-panel='Loss'] canvas").wait_for()
        shape = "c => c.toDataURL()"
        plain = page.locator("canvas").first.evaluate(shape)
        page.get_by_role("button", name="Log scale").click()
        logarithmic = page.locator("canvas").first.evaluate(shape)
        page.get_by_label("Smoothing").first.fill("0.9")
        smooth = page.locator("canvas").first.evaluate(shape)
        assert len({plain, logarithmic, smooth}) == 3

    def test_stop_is_sent_and_the_wait_for_the_end_is_shown(self, bench, live):
        log = Log(training(end=False))
        page = bench.open(RunView(log))
        page.get_by_role("button", name="Stop").click()
        page.locator("[data-status='stopping']").wait_for()
        assert log.stops == 1
        assert page.get_by_role("button", name="Stop").is_disabled()
        assert page.evaluate("document.activeElement.classList.contains('rv')")

    def test_a_refused_stop_says_why(self, bench, live):
        log = Log(training(end=False))
        log.refusal = RunError("tour-sft: the disk is full")
        page = bench.open(RunView(log))
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("alert").filter(has_text="the disk is full").wait_for()
        assert page.get_by_role("button", name="Stop").is_enabled()

    def test_the_slider_shows_how_an_answer_changed_and_the_end_follows_the_run(self, bench, live):
        page = bench.open(RunView(Log(training(20), "finished")))
        sheet = page.locator(".rv-sheet")
        assert "answer at 20" in sheet.inner_text()
        slider = page.get_by_label("Step of the samples")
        slider.focus()
        slider.press("Home")
        assert "answer at 5" in sheet.inner_text() and "answer at 20" not in sheet.inner_text()

    def test_what_the_model_says_is_text(self, bench, live):
        log = Log(
            [
                *training(5),
                Sampled(9.0, 9, [{"role": "user", "content": PAYLOAD}], PAYLOAD),
                Noted(9.0, "warning", PAYLOAD),
            ]
        )
        page = bench.open(RunView(log))
        page.get_by_text(PAYLOAD).first.wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("#cell img").count() == 0

    def test_a_dead_kernel_is_told_and_the_run_is_said_to_go_on(self, bench, live):
        page = bench.open(RunView(Log(training(end=False))))
        page.evaluate("model.dead = true")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("alert").filter(has_text="The run goes on without it").wait_for()
        assert page.locator("[data-panel='Loss'] canvas").is_visible()

    def test_a_change_of_theme_recolours_the_chart(self, bench, live):
        page = bench.open(RunView(Log(training(20), "finished")))
        page.locator("[data-panel='Loss'] canvas").wait_for()
        before = page.locator("canvas").first.evaluate("c => c.toDataURL()")
        page.evaluate("document.body.dataset.jpThemeLight = 'false'")
        page.wait_for_function(
            "before => document.querySelector('canvas').toDataURL() !== before", arg=before
        )


def test_figures_of_the_newer_methods_have_panels_and_units_of_their_own():
    values = {
        "kl": 0.5,
        "reverse_kl": 0.4,
        "on_policy": 1.0,
        "drawn_rank": 3.0,
        "label_loss": 1.0,
        "mean_reward": 0.1,
    }
    view = RunView(Log([started(), Measured(1.0, 1, 0.1, values)]))
    assert {one["name"]: (one["panel"], one["unit"]) for one in view.series} == {
        "kl": ("Distance to the teacher", "nats per token"),
        "reverse_kl": ("Distance to the teacher", "nats per token"),
        "label_loss": ("Cross-entropy", "nats per token"),
        "on_policy": ("From the student's own answers", "of batches"),
        "drawn_rank": ("Rank drawn", ""),
        "mean_reward": ("Scores", ""),
    }


def test_the_best_evaluation_is_told_and_forgotten_where_a_resumed_run_does_it_again():
    def evaluated(step, loss):
        return Evaluated(float(step), step, {"loss": loss})

    events = [started(), evaluated(2, 3.0), evaluated(4, 1.0), evaluated(6, None)]
    assert (RunView(Log(events)).progress["best_step"], RunView(Log(events)).progress["best_loss"]) == (
        4,
        1.0,
    )
    again = [*events, Ended(7.0, 6, "failed", ""), started(8.0), evaluated(4, 2.0)]
    assert (RunView(Log(again)).progress["best_step"], RunView(Log(again)).progress["best_loss"]) == (4, 2.0)
    assert "best_step" not in RunView(Log(events[:2])).progress
    assert "best evaluation" in RunView(Log(events, "finished"))._twin()
