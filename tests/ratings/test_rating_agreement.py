"""Agreement: the goldens of the project's reliability page, the libraries as oracles, and figures that do not exist."""

import math
import time

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from ftlab.ratings.analysis.agreement import (
    CEILINGS,
    Patterns,
    calibration,
    cohen_kappa,
    confusion,
    gwet_ac,
    kappa_of_table,
    krippendorff_alpha,
    percent,
)
from ftlab.ratings.analysis.statistic import DRAWS, resample

TOLERANCE = 1e-6


def matrix(*rows):
    """ "1 2 *" is a rater who left out the third item."""
    return np.array([[math.nan if cell == "*" else float(cell) for cell in row.split()] for row in rows])


CANONICAL = matrix(
    "1 2 3 3 2 1 4 1 2 * * *",
    "1 2 3 3 2 2 4 1 2 5 * 3",
    "* 3 3 3 2 3 4 2 2 5 1 *",
    "1 2 3 3 2 4 4 1 2 5 1 *",
)
VOTES = matrix("0 0 2 2 1 0 2 0", "0 0 2 1 1 0 2 *", "0 2 2 2 1 * 2 0")
LIKERT = matrix("5 5 4 5 3 5 1 5", "5 4 4 5 3 4 2 5", "5 5 3 5 4 * 1 5")
THIRD_PARTY = matrix(
    "* * * * * 3 4 1 2 1 1 3 3 * 3", "1 * 2 1 3 3 4 3 * * * * * * *", "* * 2 1 3 4 4 * 2 1 1 3 3 * 4"
)
TWO = matrix("1 2 3 4 5 5 3 2 4 1", "2 2 3 5 5 4 3 1 4 1")
PARADOX = np.array([[1] * 90 + [1] * 5 + [0] * 5, [1] * 90 + [0] * 5 + [1] * 5], dtype=float)


@pytest.mark.parametrize(
    ("level", "value"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107)]
)
def test_G1_alpha_of_the_canonical_example(level, value):
    assert krippendorff_alpha(CANONICAL, level).value == pytest.approx(value, abs=TOLERANCE)


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.725490), ("ordinal", 0.734848)])
def test_G2_alpha_of_votes(level, value):
    assert krippendorff_alpha(VOTES, level).value == pytest.approx(value, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("level", "value"), [("nominal", 0.364162), ("ordinal", 0.800376), ("interval", 0.870588)]
)
def test_G3_alpha_of_skewed_likert_ratings(level, value):
    assert krippendorff_alpha(LIKERT, level).value == pytest.approx(value, abs=TOLERANCE)


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.691358), ("interval", 0.810845)])
def test_G4_alpha_of_the_librarys_own_example(level, value):
    assert krippendorff_alpha(THIRD_PARTY, level).value == pytest.approx(value, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("ratings", "value", "reason"),
    [
        (matrix("1 1 1", "1 1 1"), None, "undefined: every answer is the same"),
        (matrix("1 * 2", "* 1 *"), None, "undefined: no item was answered by two raters"),
        (matrix("1", "2"), 0.0, ""),
        (matrix("1 2 1", "1 2 1"), 1.0, ""),
        (matrix("0 1 0 1", "1 0 1 0"), -0.75, ""),
    ],
)
def test_G5_degenerate_alphas_are_undefined_or_exact(ratings, value, reason):
    found = krippendorff_alpha(ratings)
    assert found.value == (None if value is None else pytest.approx(value, abs=TOLERANCE))
    if value is None:
        assert found.reason.startswith(reason)
        assert (found.low, found.high) == (None, None)


def test_G6_kappa_of_counts():
    assert kappa_of_table([[20, 5], [10, 15]]).value == pytest.approx(0.4, abs=TOLERANCE)


def test_G7_kappa_and_percent_of_choices():
    a, b = matrix("0 0 2 2 1 0 2 0", "0 0 2 1 1 0 2 2")
    assert percent([a, b]).value == pytest.approx(0.75, abs=TOLERANCE)
    assert cohen_kappa(a, b).value == pytest.approx(0.609756, abs=TOLERANCE)


def test_G8_weights_of_kappa_and_ac2():
    a, b = TWO
    kappas = [cohen_kappa(a, b, weights).value for weights in (None, "linear", "quadratic")]
    assert kappas == pytest.approx([0.5, 0.75, 0.9], abs=TOLERANCE)
    assert gwet_ac(TWO, "quadratic").value == pytest.approx(0.9, abs=TOLERANCE)
    assert krippendorff_alpha(TWO, "ordinal").value == pytest.approx(0.905, abs=5e-4)


def test_G9_where_one_value_dominates_kappa_fails_and_ac1_does_not():
    assert percent(PARADOX).value == pytest.approx(0.9, abs=TOLERANCE)
    assert cohen_kappa(*PARADOX).value == pytest.approx(-0.052632, abs=TOLERANCE)
    assert gwet_ac(PARADOX).value == pytest.approx(0.889503, abs=TOLERANCE)


def test_G10_kappa_of_constant_raters_is_undefined():
    found = cohen_kappa([1, 1, 1], [1, 1, 1])
    assert found.value is None
    assert found.reason == "undefined: both raters always say the same one value"
    assert found.n == 3


answers = st.lists(
    st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=6, max_size=6), min_size=2, max_size=5
)


@settings(deadline=None, max_examples=60)
@given(answers, st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_is_the_librarys_wherever_the_library_has_one(rows, level):
    ratings = np.array([[math.nan if cell is None else float(cell) for cell in row] for row in rows])
    found = krippendorff_alpha(ratings, level)
    try:
        with np.errstate(all="ignore"):
            wanted = krippendorff.alpha(ratings, level_of_measurement=level)
    except ValueError:
        wanted = math.nan
    if math.isfinite(wanted):
        assert found.value == pytest.approx(wanted, abs=1e-9)
    else:
        assert found.value is None and found.reason.startswith("undefined: ")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=30),
    st.sampled_from([None, "linear", "quadratic"]),
)
def test_kappa_is_scikit_learns(pairs, weights):
    a, b = zip(*pairs, strict=True)
    found = cohen_kappa(a, b, weights)
    # Its weights count the values that occur, ours measure between them: the same where none is left out.
    labels = sorted(set(a) | set(b))
    if len(labels) < 2:
        assert found.value is None
        return
    if weights is not None and labels != list(range(labels[0], labels[-1] + 1)):
        return
    wanted = cohen_kappa_score(a, b, weights=weights)
    assert found.value == (None if math.isnan(wanted) else pytest.approx(wanted, abs=1e-9))


def test_percent_without_ties_leaves_the_ties_out_and_counts_what_is_left():
    ratings = matrix("1 0 1 -1", "1 1 -1 0")
    assert percent(ratings).value == 0.25
    found = percent(ratings, without=(0,))
    assert (found.value, found.n) == (0.5, 2)


def test_three_raters_of_an_item_agree_by_pairs():
    assert percent(matrix("1", "1", "2")).value == pytest.approx(1 / 3)


def test_the_interval_is_the_same_every_time_and_holds_the_value():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    ratings = np.stack([np.where(rng.random(400) < 0.7, truth, rng.integers(0, 3, 400)) for _ in range(3)])
    one, again = krippendorff_alpha(ratings.astype(float)), krippendorff_alpha(ratings.astype(float))
    assert (one.low, one.high) == (again.low, again.high)
    assert one.low < one.value < one.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        same = rng.random(150) < 0.73
        found = percent(np.stack([np.ones(150), np.where(same, 1.0, 0.0)]))
        covered += found.low <= 0.73 <= found.high
    assert 180 <= covered <= 199  # 95 % of 200, by chance 180 to 198 in all but one case in a thousand


def test_whole_items_are_drawn_again_so_that_copies_of_a_rater_do_not_narrow_the_interval():
    rng = np.random.default_rng(5)
    pair = np.stack([rng.integers(0, 2, 200), rng.integers(0, 2, 200)]).astype(float)
    two, four = percent(pair), percent(np.concatenate([pair, pair]))
    assert four.high - four.low > 0.6 * (two.high - two.low)


def test_a_draw_has_as_many_items_as_there_are():
    sizes = np.concatenate([block.sum(axis=1) for block in resample([3, 4, 5])])
    assert sizes.tolist() == [12.0] * DRAWS


def test_where_no_item_disagrees_there_is_a_value_and_no_made_up_interval():
    found = percent(matrix("1 2 3 1", "1 2 3 1"))
    assert found.value == 1.0
    assert (found.low, found.high) == (None, None)
    assert found.reason.startswith("no interval: ")


def test_many_raters_of_many_values_take_the_wide_path_to_the_same_figures():
    rng = np.random.default_rng(1)
    ratings = rng.integers(1, 15, (40, 60)).astype(float)
    assert krippendorff_alpha(ratings, "interval").value == pytest.approx(
        krippendorff.alpha(ratings, level_of_measurement="interval"), abs=1e-9
    )


def test_items_that_belong_together_are_drawn_together():
    item, bundle = np.arange(200), np.arange(200) // 50  # four tasks of fifty pairs each
    said = np.repeat((item // 50 % 2)[:, None], 2, axis=1)
    said[:, 1] = 0  # two tasks agree in all pairs, two in none
    rows = np.repeat(item, 2)
    apart = percent(Patterns.of_rows(rows, said.ravel()))
    together = percent(Patterns.of_rows(rows, said.ravel(), bundle=bundle))
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 4 * (apart.high - apart.low)


def test_a_million_items_take_no_longer_than_their_patterns():
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(1_000_000), 2)
    patterns = Patterns.of_rows(item, rng.integers(-4, 5, item.size), range(-4, 5))
    assert patterns.items == 1_000_000 and len(patterns.times) <= 81
    started = time.process_time()
    found = krippendorff_alpha(patterns, "ordinal")
    assert time.process_time() - started < 1.0
    assert abs(found.value) < 0.01 and found.high - found.low < 0.01


def test_confusion_has_the_first_rater_in_rows():
    values, table = confusion([0, 0, 1, math.nan], [0, 1, 1, 1])
    assert values.tolist() == [0, 1]
    assert table.tolist() == [[1, 1], [0, 1]]


class TestCalibration:
    person = np.array([3.0, -2, 1, 0, math.nan, -4, 2, 1])
    judge = np.array([2.0, -1, -3, 1, 1, 4, 0, 1])

    def test_agreement_is_told_with_and_without_ties(self):
        found = calibration(self.person, self.judge)
        assert (found.agreement.value, found.agreement.n) == (3 / 7, 7)
        assert (found.decided.value, found.decided.n) == (3 / 5, 5)

    def test_disagreements_come_surest_first(self):
        assert calibration(self.person, self.judge).disagreements.tolist() == [5, 2]

    def test_a_judge_that_is_right_where_it_is_sure_shows_it(self):
        rng = np.random.default_rng(2)
        gap = rng.normal(0, 2, 4000)
        person = np.where(rng.random(4000) < 1 / (1 + np.exp(-gap)), 1.0, -1.0)
        rows = calibration(person, np.sign(gap), gap).bins
        assert [row["n"] for row in rows] == [800] * 5
        rates = [row["rate"] for row in rows]
        assert rates == sorted(rates) and rates[0] < 0.65 and rates[-1] > 0.95
        assert all(row["low"] < row["rate"] < row["high"] for row in rows)

    def test_nothing_in_common_is_undefined(self):
        found = calibration([math.nan, 1.0], [1.0, math.nan])
        assert found.agreement.value is None and found.kappa.value is None
        assert found.bins == () and found.disagreements.size == 0


def test_every_ceiling_names_its_source_and_lies_between_nought_and_one():
    for one in CEILINGS:
        assert 0 <= one.low <= one.high <= 1 and len(one.source) > 10
