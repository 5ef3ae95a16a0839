"""Figures and the twins that they leave."""

import base64
import io
import math
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from PIL import Image

from ftlab import picture, plots
from ftlab.errors import DataError
from ftlab.ratings.exchange.export import WinRate

ROWS = [
    {"step": s, "loss": None if s == 4 else 3.0 / s} | ({"eval/loss": 4.0 / s} if s % 5 == 0 else {})
    for s in range(1, 11)
]
BEFORE_AFTER = [
    {"group": "helpful", "model": "wren", "n": 40, "correct": 6},
    {"group": "helpful", "model": "run:sft", "n": 40, "correct": 34},
    {"group": "polite", "model": "wren", "n": 20, "correct": 1},
    {"group": "polite", "model": "run:sft", "n": 20, "correct": 20},
]
WON = WinRate("run:dpo", "run:sft", 8, 3, 1, 0, 12, 0.7083, 0.46, 0.87)


@dataclass
class Told:
    name: str

    def metrics(self):
        return ROWS


def png_of(html):
    [data] = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def count(image, colour, near=40):
    wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return sum(
        n
        for n, pixel in image.getcolors(1 << 24)
        if max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) < near
    )


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_importing_plots_brings_neither_plotly_nor_pillow_nor_pandas():
    code = "import sys, ftlab.plots; print([m for m in ('plotly', 'PIL', 'pandas', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_and_its_rows_give_the_same_curve_with_gaps_and_marks():
    of_run, of_rows = plots.loss_curve(Told("tour")), plots.loss_curve(ROWS)
    training, evaluation, gap = of_run.data
    assert list(training.y) == list(of_rows.data[0].y)
    assert training.y[3] is None and training.connectgaps is False
    assert (training.mode, evaluation.mode) == ("lines", "markers")
    assert list(evaluation.x) == [5, 10]
    assert (gap.name, list(gap.x)) == ("not a number", [4])
    assert "nats" in training.hovertemplate and "step" in training.hovertemplate


def test_a_value_that_no_row_has_is_named_with_those_there_are():
    with pytest.raises(DataError, match="'reward'.*eval/loss, loss"):
        plots.loss_curve(ROWS, ["reward"])


def test_bars_stand_with_n_and_their_wilson_interval():
    figure = plots.accuracy_bars(BEFORE_AFTER)
    before, after = figure.data
    assert list(before.y) == [0.15, 0.05] and list(after.y) == [0.85, 1.0]
    low, high, n = after.customdata[0]
    assert n == 40 and 0.7 < low < 0.85 < high < 0.95
    assert after.error_y.arrayminus[0] == pytest.approx(0.85 - low)
    assert before.marker.pattern.shape != after.marker.pattern.shape


@pytest.mark.parametrize(
    "table", [WON, [WON], [{"a": "x", "b": "y", "rate": 0.5, "low": 0.1, "high": 0.9, "n": 3}]]
)
def test_win_rates_take_one_or_many_as_objects_or_mappings(table):
    [marks] = plots.win_rates(table).data
    assert 0 < marks.x[0] < 1 and "n = " in marks.y[0]


def test_a_pair_that_nobody_rated_is_named_without_a_mark():
    nobody = WinRate("a", "b", 0, 0, 0, 0, 0, None, 0.0, 1.0)
    figure = plots.win_rates([WON, nobody])
    assert figure.data[0].x[1] is None
    assert "not rated" in plots.static(figure)


def test_a_data_frame_is_a_table_too():
    pandas = pytest.importorskip("pandas")
    figure = plots.accuracy_bars(pandas.DataFrame(BEFORE_AFTER))
    assert list(figure.data[1].y) == [0.85, 1.0]


def test_the_gold_judges_scores_are_a_table_too():
    scores = pytest.importorskip("ftlab.wren.scores")
    [bars] = plots.accuracy_bars(
        [scores.Score("wren", "right", 3, 12), scores.Score("wren", "rude", 6, 12)]
    ).data
    assert list(bars.x) == ["right", "rude"] and list(bars.y) == [0.25, 0.5]


def test_a_row_that_lacks_a_column_is_told_with_its_place():
    with pytest.raises(DataError, match="row 1 has no 'n'"):
        plots.accuracy_bars([BEFORE_AFTER[0], {"group": "x", "model": "y"}])
    with pytest.raises(DataError, match="not str"):
        plots.accuracy_bars("rows")


@pytest.mark.parametrize("front_end", ["static", "lab"])
def test_every_figure_leaves_a_twin_and_is_live_only_where_somebody_looks(monkeypatch, front_end):
    monkeypatch.setenv("FTLAB_FRONTEND", front_end)
    for figure in (plots.loss_curve(ROWS), plots.win_rates(WON), plots.accuracy_bars(BEFORE_AFTER)):
        bundle = figure._repr_mimebundle_()
        assert "<script" not in bundle["text/html"] and (
            "<img" in bundle["text/html"] or "<table" in bundle["text/html"]
        )
        assert ("application/vnd.plotly.v1+json" in bundle) == (front_end == "lab")


def test_the_twin_of_bars_says_every_figure_and_escapes_names():
    html = plots.static(plots.accuracy_bars([{**BEFORE_AFTER[1], "model": "<b>x</b>"}]))
    assert "0.85" in html and ">40<" in html and "&lt;b&gt;x&lt;/b&gt;" in html and "<b>x" not in html


def test_the_twin_of_a_curve_is_a_picture_with_the_curve_and_the_mark_for_its_gap():
    gapped, whole = (
        png_of(plots.static(plots.loss_curve(ROWS))),
        png_of(plots.static(plots.loss_curve(ROWS[4:]))),
    )
    assert count(gapped, picture.PALETTE[0]) > 200
    assert count(gapped, "#b00020") > 20 and count(whole, "#b00020") == 0
    assert 'alt="Loss: training 3 at 1, 0.3 at 10; evaluation' in plots.static(plots.loss_curve(ROWS))


def test_a_chart_without_a_finite_value_is_still_a_picture():
    data = picture.png(
        [picture.Line("loss", [1, 2], [None, math.nan])], title="t", x_label="step", y_label="nats"
    )
    assert Image.open(io.BytesIO(data)).size == (720, 300)


def test_one_point_and_one_value_need_no_range():
    data = picture.png([picture.Line("loss", [3], [2.0])], title="t", x_label="step", y_label="nats")
    assert count(Image.open(io.BytesIO(data)).convert("RGB"), picture.PALETTE[0]) > 20


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 4.7), (1e-6, 3e-6), (0, 12345), (2, 2)])
def test_ticks_are_few_round_and_inside(low, high):
    marks = picture.ticks(low, high)
    assert 1 <= len(marks) <= 8
    assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)


@pytest.mark.parametrize("paper", ["#ffffff", "#111111"])
def test_ink_and_colours_keep_their_contrast_on_light_and_on_dark(paper):
    assert contrast(plots._INK, paper) >= 4.3
    assert min(contrast(colour, paper) for colour in picture.PALETTE) >= 3
