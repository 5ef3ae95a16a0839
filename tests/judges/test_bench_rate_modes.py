"""What the bench of the modes stands on: the same presses about the same answers, and nothing but the store between."""

import pytest

from ftlab.bench.rate_modes import PRESSES, PROMPTS, _one, tasks
from ftlab.judges import Features
from ftlab.wren import rows


@pytest.fixture(scope="module")
def features():
    return Features("wren")


def test_every_mode_has_the_same_presses_and_three_of_them_the_same_answers():
    seen = {}
    for kind, presses in PRESSES.items():
        batch = tasks(kind, seed=0)
        assert len(batch) * presses == PROMPTS * PRESSES["rank"]
        seen[kind] = {(str(task["prompt"]), one["text"]) for task in batch for one in task["responses"]}
    assert seen["single"] == seen["pair"] == seen["rank"]
    assert len({prompt for prompt, _ in seen["pair_fresh"]}) > 2 * len({prompt for prompt, _ in seen["pair"]})


@pytest.mark.parametrize(("mode", "least_rows"), [("single", 190), ("pair", 120), ("rank", 200)])
def test_presses_become_a_reward_model_through_the_store_alone(mode, least_rows, tmp_path, features):
    found, count = _one(tmp_path, mode, 1, features, rows("comparisons", "eval", 150))
    assert count >= least_rows
    assert found.accuracy > 0.75
