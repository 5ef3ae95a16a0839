"""What to ask next and when to stop: the posterior of the strengths, expected information, the stop signal."""

import math
from itertools import combinations

import choix
import numpy as np
import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Settings, settled
from ftlab.ratings.choosing import Duels, expected_information, posterior


def table(count, *duels):
    wins = np.zeros((count, count))
    for one, two, first, second in duels:
        wins[one, two] += first
        wins[two, one] += second
    return wins


def names(count):
    return [f"m{n}" for n in range(count)]


def test_g_pref_3_strengths_go_to_the_log_odds_as_the_prior_goes():
    found = posterior(["a", "b"], table(2, (0, 1, 3, 1)), prior=1e4)
    assert found.difference("a", "b")[0] == pytest.approx(math.log(3), abs=1e-6)


def test_the_posterior_is_that_of_penalised_bradley_terry():
    duels = [(0, 1, 20, 10), (1, 2, 20, 10), (0, 2, 24, 6)]
    data = [pair for i, j, a, b in duels for pair in [(i, j)] * a + [(j, i)] * b]
    prior = 0.7
    wanted = choix.opt_pairwise(3, data, alpha=1 / (2 * prior**2), tol=1e-12)
    found = posterior(names(3), table(3, *duels), prior)
    assert found.mean == pytest.approx(wanted - wanted.mean(), abs=1e-4)
    assert found.ranked() == ["m0", "m1", "m2"]


def test_the_spread_of_one_difference_is_that_of_fisher_information_and_prior():
    found = posterior(["a", "b"], table(2, (0, 1, 50, 50)), prior=1.5)
    information = 100 * 0.25 * 2 + 1 / 1.5**2  # along (1, -1) / sqrt 2
    assert found.difference("a", "b") == pytest.approx((0, math.sqrt(2 / information)))


def test_information_is_a_bit_at_most_and_nothing_where_all_is_known():
    assert expected_information(0, 1e-9) == pytest.approx(0, abs=1e-9)
    assert expected_information(8, 0.1) < 0.001
    assert 0 < expected_information(0, 1) < expected_information(0, 3) < 1
    assert expected_information(2, 1) == pytest.approx(expected_information(-2, 1))
    assert expected_information(2, 1) < expected_information(0, 1)
    draws = np.random.default_rng(0).normal(0.5, 1.2, 400_000)
    p = 1 / (1 + np.exp(-draws))
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    mean = p.mean()
    wanted = -(mean * np.log2(mean) + (1 - mean) * np.log2(1 - mean)) - entropy.mean()
    assert expected_information(0.5, 1.2) == pytest.approx(wanted, abs=0.002)


def test_a_model_and_itself_tell_nothing():
    assert posterior(["a", "b"], table(2)).information("a", "a") == 0


def _accuracy(seed, active, votes):
    """Share of the pairs that the ranking has the right way round after each ten votes on eight models."""
    dice = np.random.default_rng(seed)
    truth = dice.permutation(np.linspace(-2.5, 2.5, 8))
    pairs = list(combinations(range(8), 2))
    wins, shares = np.zeros((8, 8)), []
    for vote in range(1, votes + 1):
        i, j = pairs[dice.integers(len(pairs))]
        if active:
            believed = posterior(names(8), wins)
            bits = [believed.information(f"m{i}", f"m{j}") for i, j in pairs]
            best = [pair for pair, value in zip(pairs, bits, strict=True) if value > max(bits) - 1e-9]
            i, j = best[dice.integers(len(best))]
        if dice.random() < 1 / (1 + math.exp(truth[j] - truth[i])):
            wins[i, j] += 1
        else:
            wins[j, i] += 1
        if vote % 10 == 0:
            mean = posterior(names(8), wins).mean
            shares.append(np.mean([(mean[i] > mean[j]) == (truth[i] > truth[j]) for i, j in pairs]))
    return shares


def test_active_choice_needs_fewer_votes_than_uniform_for_the_same_ranking():
    active = np.mean([_accuracy(seed, True, 150) for seed in range(16)], axis=0)
    uniform = np.mean([_accuracy(seed, False, 200) for seed in range(16)], axis=0)
    assert active[9:15].mean() > uniform[9:15].mean() + 0.01  # 100 to 150 votes
    assert active[12:15].mean() >= uniform[17:20].mean()  # 140 active ones are worth 190


def rows(count, one="strong", two="weak"):
    return [
        {
            "prompt": f"{one}, {two}: {n}",
            "responses": [{"model": one, "text": f"{one} {n}"}, {"model": two, "text": f"{two} {n}"}],
        }
        for n in range(count)
    ]


def _vote(store, make_event, winner, count, rater="ann"):
    for _ in range(count):
        task = store.next(rater, "b")
        choice = "tie" if winner is None else "left" if task.left.startswith(winner) else "right"
        store.record(make_event(task, choice=choice, strength=int(winner is not None)))


def test_a_ranking_is_settled_when_neighbours_are_told_apart(store, make_event):
    store.add(rows(40), "b", settings=Settings(repeats=0, gold=0))
    assert settled(store, "b") == (
        "not settled",
        "strong and weak are not told apart at 90 % yet; 40 ratings are left",
    )
    _vote(store, make_event, "strong", 3)
    assert not settled(store, "b")
    _vote(store, make_event, "strong", 9)
    assert settled(store, "b") == ("settled", "all 2 models are told apart at 90 %, each from the next")


def test_a_ranking_that_nothing_left_could_settle_is_undecided_and_over(store, make_event):
    store.add(rows(40), "b", settings=Settings(repeats=0, gold=0))
    _vote(store, make_event, None, 36)
    verdict, why = settled(store, "b")
    assert verdict == "undecided"
    assert "4 ratings are left, too few to tell" in why


def test_votes_of_judges_and_repeats_settle_nothing(store, make_event):
    store.add(rows(40), "b", settings=Settings(repeats=0, gold=0))
    while (task := store.next("judge", "b", kind="judge")) is not None:
        store.record(make_event(task, choice="left" if task.left.startswith("weak") else "right"))
    _vote(store, make_event, "strong", 12)
    assert settled(store, "b")
    _, why = settled(store, "b")
    assert why.startswith("all 2 models")


def test_a_model_that_was_never_compared_is_not_told_apart(store, make_event):
    store.add([*rows(12), *rows(30, "weak", "third")], "b", settings=Settings(overlap=1, repeats=0, gold=0))
    _vote(store, make_event, "strong", 12)
    verdict, why = settled(store, "b")
    assert verdict == "not settled"
    assert "third" in why
    assert "30 ratings are left" in why


def test_only_pairs_are_settled_and_one_model_is_no_ranking(store):
    store.open_batch("single", mode="single")
    with pytest.raises(RatingError, match="only pairs are ranked"):
        settled(store, "single")
    store.add(rows(2, "same", "same"), "b", settings=Settings(repeats=0, gold=0))
    assert settled(store, "b") == ("not settled", "there are no two models to compare")


def test_what_was_said_after_the_models_were_shown_chooses_nothing(store, make_event):
    store.add(rows(3), "b", settings=Settings(repeats=0, gold=0))
    kept_up = Duels()

    def wins(duels):
        with store.database.reading() as connection:
            return dict(duels.wins(connection, "b"))

    task = store.next("ann", "b")
    store.record(make_event(task, choice="left"))
    assert sum(map(sum, wins(kept_up).values())) == 1
    store.reveal(task.assignment_id)
    store.record(make_event(store.task(task.assignment_id), "revise", choice="right"))
    assert wins(kept_up) == wins(Duels()) == {}
