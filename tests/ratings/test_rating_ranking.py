"""Ranking: Bradley and Terry's goldens, choix and statsmodels as oracles, and rankings that must be refused."""

import math

import choix
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.sparse.csgraph import connected_components

from ftlab.errors import RatingError
from ftlab.ratings.analysis.ranking import (
    ELO_PER_NAT,
    _groups,
    bradley_terry,
    elo,
    fit,
    length_coefficient,
    length_controlled,
    why_undefined,
)

TOLERANCE = 1e-6


def strengths(ranking):
    return {one.model: one.strength for one in ranking.places}


def test_G11_three_to_one_is_the_logarithm_of_three():
    found = bradley_terry("AB", [[0, 3], [1, 0]])
    a, b = found.places
    assert a.strength - b.strength == pytest.approx(1.098612, abs=TOLERANCE)
    assert a.elo - b.elo == pytest.approx(190.8485, abs=1e-4)


def test_G12_a_triangle_of_three_models():
    found = bradley_terry("ABC", [[0, 20, 24], [10, 0, 20], [6, 10, 0]])
    assert strengths(found) == pytest.approx({"A": 0.693147, "B": 0, "C": -0.693147}, abs=TOLERANCE)
    assert found.places[0].elo == pytest.approx(120.412, abs=1e-3)
    ratios = [math.exp(one.strength) for one in found.places]
    assert [ratio / ratios[-1] for ratio in ratios] == pytest.approx([4, 2, 1], abs=TOLERANCE)


def test_G13_a_tie_is_half_a_win_for_each():
    found = bradley_terry("AB", [[0, 2], [0, 0]], [[0, 2], [2, 0]])
    assert strengths(found) == pytest.approx({"A": 0.549306, "B": -0.549306}, abs=TOLERANCE)


def test_G14_a_cycle_makes_all_equal():
    found = bradley_terry("ABC", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert strengths(found) == pytest.approx(dict.fromkeys("ABC", 0.0), abs=TOLERANCE)
    assert not any(found.separated)


def test_G15_an_undefeated_model_is_refused_with_what_would_mend_it():
    found = bradley_terry("AB", [[0, 3], [0, 0]])
    assert not found.is_defined
    assert found.reason.startswith("undefined: A has not lost")
    assert "alpha=0.01" in found.reason


def test_G15_models_never_compared_are_refused_and_named():
    table = np.zeros((4, 4))
    table[0, 1] = table[1, 0] = table[2, 3] = table[3, 2] = 1
    found = bradley_terry("ABCD", table)
    assert not found.is_defined
    assert "{A, B} and {C, D} were never compared" in found.reason
    with pytest.raises(ValueError):  # as the library does
        choix.ilsr_pairwise(4, [(0, 1), (1, 0), (2, 3), (3, 2)])


def test_G15_regularised_it_is_ranked_with_a_visible_note():
    found = bradley_terry("AB", [[0, 3], [0, 0]], alpha=0.01)
    assert strengths(found) == pytest.approx({"A": 2.508640, "B": -2.508640}, abs=TOLERANCE)
    assert "alpha = 0.01" in found.note
    assert found.separated == (False,)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("models", [3, 8, 20])
def test_strengths_are_those_of_choix(models, alpha):
    rng = np.random.default_rng(models)
    table = rng.integers(0, 30, (models, models)).astype(float)
    np.fill_diagonal(table, 0)
    wanted = choix.ilsr_pairwise_dense(table, alpha=alpha)
    assert fit(table, alpha) == pytest.approx(wanted - wanted.mean(), abs=TOLERANCE)


def test_a_lopsided_table_is_fitted_too():
    table = np.array([[0, 100_000, 0], [1, 0, 50_000], [0, 1, 0]], dtype=float)
    found = strengths(bradley_terry("ABC", table))
    assert found["A"] - found["B"] == pytest.approx(math.log(100_000), abs=1e-6)


def test_fewer_than_two_models_and_no_comparisons_are_refused():
    assert bradley_terry("A", [[0]]).reason == "undefined: a ranking needs two models"
    assert bradley_terry("AB", np.zeros((2, 2))).reason == "undefined: nothing was compared yet"


def test_a_model_that_only_loses_leaves_the_others_undefeated_by_it():
    table = np.array([[0, 3, 4], [2, 0, 4], [0, 0, 0]], dtype=float)
    assert why_undefined("ABC", table).startswith("{A, B} have not lost to any other model")


def test_tables_that_are_no_tables_are_refused():
    with pytest.raises(RatingError, match="2 by 2"):
        bradley_terry("AB", [[0, 1, 2]])
    with pytest.raises(RatingError, match="symmetric"):
        bradley_terry("AB", [[0, 1], [1, 0]], [[0, 1], [2, 0]])


def test_more_comparisons_make_narrower_intervals_and_separate_the_models():
    few, many = (bradley_terry("AB", [[0, 12 * k], [8 * k, 0]]) for k in (1, 40))
    assert many.places[0].high - many.places[0].low < (few.places[0].high - few.places[0].low) / 4
    assert (few.separated, many.separated) == ((False,), (True,))
    assert many.places[0].elo_low == pytest.approx(many.places[0].low * ELO_PER_NAT)


def test_draws_that_do_not_decide_are_told_and_where_they_are_most_there_is_no_interval():
    some = bradley_terry("AB", [[0, 3], [1, 0]])
    assert "% of the draws the comparisons do not decide" in some.note
    most = bradley_terry("ABC", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert most.note.startswith("no intervals")
    assert {one.low for one in most.places} == {None}


def test_the_bootstrap_interval_is_about_the_normal_one_where_there_is_much():
    found = bradley_terry("AB", [[0, 600], [400, 0]]).places[0]
    deviation = 0.5 * math.sqrt(1 / 600 + 1 / 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.08)


def comparisons(n=4000, bias=1.5, seed=0):
    """Models of known strengths whose better ones also write longer."""
    rng = np.random.default_rng(seed)
    truth = np.array([0.6, 0.2, -0.2, -0.6])
    a = rng.integers(0, 4, n)
    b = (a + rng.integers(1, 4, n)) % 4
    gap = np.clip(rng.normal(0.35 * (truth[a] - truth[b]), 0.25), -1, 1)
    won = rng.random(n) < 1 / (1 + np.exp(-(truth[a] - truth[b] + bias * gap)))
    return truth, a, b, gap, won


def test_length_control_finds_the_strengths_that_length_had_inflated():
    truth, a, b, gap, won = comparisons()
    table = np.zeros((4, 4))
    np.add.at(table, (np.where(won, a, b), np.where(won, b, a)), 1)
    plain = strengths(bradley_terry("ABCD", table))
    controlled = length_controlled("ABCD", a, b, gap, won, ~won)
    assert plain["A"] - plain["D"] > 1.2 + 0.4
    for one in controlled.places:
        assert one.low < truth["ABCD".index(one.model)] < one.high
    assert controlled.length.low < 1.5 < controlled.length.high
    assert controlled.length.low > 0.5


def test_length_control_is_statsmodels_logistic_regression():
    _, a, b, gap, won = comparisons(600)
    design = np.stack([(a == k) * 1.0 - (b == k) for k in (1, 2, 3)] + [gap], axis=1)
    wanted = sm.Logit(won.astype(float), design).fit(disp=0, cov_type="HC0")
    found = length_controlled("ABCD", a, b, gap, won, ~won)
    places = strengths(found)
    assert [places[m] - places["A"] for m in "BCD"] == pytest.approx(wanted.params[:3].tolist(), abs=1e-6)
    assert found.length.value == pytest.approx(wanted.params[3], abs=1e-6)
    half = (found.length.high - found.length.low) / 2
    assert half == pytest.approx(1.959964 * wanted.bse[3], rel=1e-5)


def test_items_alike_may_be_handed_over_once_with_how_often_they_came():
    _, a, b, gap, won = comparisons(500)
    gap = np.round(gap, 1)
    rows = np.stack([a, b, gap, won, ~won], axis=1).astype(float)
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    one = length_controlled("ABCD", a, b, gap, won, ~won)
    other = length_controlled("ABCD", *kinds.T, times)
    assert strengths(other) == pytest.approx(strengths(one), abs=1e-9)
    assert other.length.low == pytest.approx(one.length.low, abs=1e-9)


def test_votes_on_one_item_are_not_taken_for_as_many_items():
    rng = np.random.default_rng(0)
    gap = rng.uniform(-1, 1, 200)
    won = (rng.random(200) < 0.5 + 0.3 * gap).astype(float)
    single, fourfold = length_coefficient(gap, won, 1 - won), length_coefficient(gap, 4 * won, 4 * (1 - won))
    assert fourfold.value == pytest.approx(single.value)
    assert fourfold.high - fourfold.low == pytest.approx(single.high - single.low)


@pytest.mark.parametrize(
    ("gap", "won", "reason"),
    [
        ([], [], "nothing was compared"),
        ([0, 0], [1, 0], "all of one length"),
        ([0.5, 0.2], [1, 1], "length decides"),
    ],
)
def test_a_coefficient_of_length_that_does_not_exist_says_why(gap, won, reason):
    won = np.array(won, dtype=float)
    found = length_coefficient(gap, won, 1 - won)
    assert found.value is None and found.reason.startswith("undefined: ") and reason in found.reason


def test_length_that_never_varies_within_two_models_cannot_be_told_from_them():
    found = length_controlled("AB", [0] * 10, [1] * 10, [0.3] * 10, [1] * 6 + [0] * 4, [0] * 6 + [1] * 4)
    assert not found.is_defined
    assert "cannot be told apart" in found.reason


def test_elo_depends_on_the_order_which_is_no_property_of_the_models():
    _, a, b, _, won = comparisons(200)
    ratings = elo("ABCD", a, b, won, shuffles=20)
    assert ratings.shape == (21, 4)
    assert ratings.sum(axis=1) == pytest.approx(np.zeros(21), abs=1e-9)
    assert (ratings[1:].max(axis=0) - ratings[1:].min(axis=0)).max() > 50
    assert (elo("ABCD", a, b, won) == ratings[:1]).all()


def test_ties_alone_leave_the_coefficient_of_length_without_an_interval():
    found = length_coefficient([0.2, -0.1, 0.4], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    assert found.value == pytest.approx(0.0)
    assert (found.low, found.high, found.n) == (None, None, 3)
    assert found.reason == "no interval: every item says the same"


@pytest.mark.parametrize("density", [0.0, 0.05, 0.15, 0.4])
def test_who_reaches_whom_by_wins_is_what_scipy_finds(density):
    draws = np.random.default_rng(3)
    for size in (2, 3, 7, 20):
        won = draws.random((size, size)) < density
        groups, member = _groups(won)
        count, label = connected_components(won, directed=True, connection="strong")
        assert groups == count
        assert (np.equal.outer(member, member) == np.equal.outer(label, label)).all()
