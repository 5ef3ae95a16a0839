"""The linear head: its loss's known values, and the fit that they have one minimum of."""

import math

import numpy as np
import pytest

from ftlab.errors import DataError
from ftlab.judges.head import Head, _objective


def loss(differences):
    """What a fit minimises, without its prior, where answers differ by so much."""
    return _objective(np.array(differences, dtype=float)[:, None], np.zeros(1), np.ones(1))


@pytest.mark.parametrize(
    ("difference", "expected"), [(0, 0.693147), (1, 0.313262), (2, 0.126928), (-1, 1.313262)]
)
def test_the_fit_minimises_bradley_terrys_loss(difference, expected):
    assert loss([difference]) == pytest.approx(expected, abs=1e-6)


def test_a_ranking_of_four_weighs_as_its_six_pairs():
    rewards = [2.0, 1.0, 0.0, -1.0]
    pairs = [rewards[i] - rewards[j] for i in range(4) for j in range(i + 1, 4)]
    assert loss(pairs) == pytest.approx(1.242228, abs=1e-6)


def test_three_wins_of_four_are_a_lead_of_ln_3():
    features = np.array([[1.0], [-1.0]])
    head = Head.fit(features, [(0, 1)] * 3 + [(1, 0)], [], prior=1e-9)
    first, second = head.scores(features)
    assert first - second == pytest.approx(math.log(3), abs=1e-4)


def test_thumbs_are_fitted_by_the_cross_entropy_of_sigmoid():
    features = np.array([[1.0], [-1.0]])
    thumbs = [(0, True)] * 3 + [(0, False)] + [(1, True)] + [(1, False)] * 3
    head = Head.fit(features, [], thumbs, prior=1e-9)
    high, low = head.scores(features)
    assert high - low == pytest.approx(2 * math.log(3), abs=1e-3)
    assert head.bias == pytest.approx(0.0, abs=1e-3)
    mostly_good = Head.fit(features, [], [(0, True)] * 4 + [(1, True)] * 3 + [(1, False)])
    assert mostly_good.bias > 0.5


def test_the_fit_is_the_minimum_that_a_general_optimiser_finds():
    from scipy.optimize import minimize

    random = np.random.default_rng(3)
    features = random.normal(size=(60, 90))
    pairs = [(int(i), int(j)) for i, j in random.choice(60, size=(50, 2)) if i != j]
    thumbs = [(int(i), bool(i % 2)) for i in random.choice(60, size=20)]
    head = Head.fit(features, pairs, thumbs, prior=2.0)
    scaled = (features - head.center) / head.scale

    def loss(point):
        leads = [scaled[i] @ point[:-1] - scaled[j] @ point[:-1] for i, j in pairs]
        leads += [(1 if good else -1) * (scaled[i] @ point[:-1] + point[-1]) for i, good in thumbs]
        return np.logaddexp(0, -np.array(leads)).sum() + point[:-1] @ point[:-1] + 0.005 * point[-1] ** 2

    found = minimize(loss, np.zeros(91), method="L-BFGS-B", options={"maxiter": 500, "maxfun": 10**6})
    assert loss(np.append(head.weights, head.bias)) <= found.fun + 1e-6


def test_features_that_never_moved_or_hardly_do_not_decide():
    features = np.array([[1.0, 5.0, 1e-9], [-1.0, 5.0, -1e-9], [0.5, 5.0, 0.0]])
    head = Head.fit(features, [(0, 1)], [])
    calm, loud = head.scores(np.array([[0.0, 5.0, 0.0], [0.0, 50.0, 1e-6]]))
    assert abs(calm - loud) < 1.0 or head.weights[1] == 0
    assert head.weights[1] == 0


def test_a_head_of_nothing_is_refused():
    with pytest.raises(DataError, match="no ratings"):
        Head.fit(np.zeros((2, 2)), [], [])
