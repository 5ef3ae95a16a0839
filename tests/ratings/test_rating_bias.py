"""Bias: side, length, haste, consistency and gold, with the figures of the project's reliability page."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ftlab.ratings.analysis import bias


@pytest.mark.parametrize(("left", "p"), [(530, 0.0620), (532, 0.0463)])
def test_R7_the_binomial_test_of_a_thousand_votes(left, p):
    assert bias.position(left, 1000).p == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize(("difference", "n"), [(0.05, 783), (0.03, 2178)])
def test_R7_votes_needed_to_notice_a_habit(difference, n):
    assert bias.needed(difference) == n


@pytest.mark.parametrize(("yes", "n"), [(0, 4), (3, 7), (5, 10), (10, 10), (480, 1000), (0, 0)])
def test_p_is_scipys(yes, n):
    assert bias.binomial_p(yes, n) == pytest.approx(binomtest(yes, n).pvalue if n else 1.0)


@pytest.mark.parametrize(
    ("left", "n", "alarm"),
    [
        (650, 1000, True),  # far, and surely so
        (350, 1000, True),
        (520, 1000, False),  # near
        (9, 10, False),  # far, but ten votes are no evidence
        (10_250, 20_000, False),  # surely not a half, but within three points
    ],
)
def test_R7_the_alarm_asks_for_a_small_p_and_a_large_share(left, n, alarm):
    assert bias.position(left, n).alarm is alarm


def test_no_decisive_vote_is_undefined_and_no_alarm():
    found = bias.position(0, 0)
    assert found.share.value is None and found.p is None and not found.alarm
    assert found.share.reason == "undefined: no answer prefers a side"


def test_R8_the_longer_answer_counts_whichever_slot_it_is_in():
    found = bias.longer([0.5, -0.5, 0.0, 0.2], [1, 0, 1, 0], [0, 1, 0, 1], [10, 10, 99, 5])
    assert (found.value, found.n) == (20 / 25, 25)


def test_R8_pairs_of_one_length_tell_nothing():
    found = bias.longer([0, 0], [1, 0], [0, 1])
    assert found.value is None and "unlike length" in found.reason


def test_R5_repeats_are_consistent_where_the_same_answer_is_preferred():
    first, again = [1, 1, -1, 0, 2], [1, -1, -1, 0, 3]
    found = bias.consistency(first, again, [0, 0, 0, 0, 0], [1, 1, 1, 1, 1])
    assert (found.same.value, found.same.n) == (0.8, 5)


def test_R5_who_follows_the_side_prefers_another_answer_each_time():
    found = bias.consistency([1, -1, 1], [-1, 1, 1], [0, 1, 0], [1, 0, 1])
    assert found.followed_side == 2
    assert bias.consistency([], [], [], []).same.reason == "undefined: nothing was asked twice yet"


@pytest.mark.parametrize(("right", "n", "flagged"), [(13, 20, True), (14, 20, False), (0, 19, False)])
def test_R6_a_rater_is_flagged_below_seventy_percent_of_twenty(right, n, flagged):
    assert bias.gold_accuracy(right, n).flagged is flagged


def test_R6_without_gold_there_is_no_accuracy():
    assert bias.gold_accuracy(0, 0).accuracy.value is None


def test_R9_unknown_times_are_neither_hasty_nor_in_the_median():
    found = bias.pace([500, 3000, -1, 5000], [1, 0, 1, 0])
    assert found.median_seconds == 3.0
    assert (found.hasty.value, found.hasty.n) == (1 / 3, 3)
    assert bias.pace(np.array([-1]), np.array([0])).median_seconds is None
