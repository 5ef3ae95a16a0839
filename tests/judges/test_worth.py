"""What clicks are worth: on wren, by the gold judge's held-out pairs."""

import random
import time

import pytest

from ftlab.errors import DataError
from ftlab.judges import Features, fit, gold, worth
from ftlab.wren import rows


@pytest.fixture(scope="module")
def features():
    """Asked for once by all tests here, as by a needle."""
    return Features("wren")


def clicks(count, noise=0.0, seed=0):
    rng = random.Random(seed)
    return [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]} if rng.random() < noise else row
        for row in rows("comparisons", "train", count, seed=seed)
    ]


def test_sixty_clicks_make_a_reward_model_within_two_seconds(features):
    features([("Hi", "Hello.")])  # the model is loaded, as it is once answers were compared
    before = time.process_time()
    found = worth(clicks(60), features)
    seconds = time.process_time() - before
    assert found.accuracy > 0.75
    assert [point.clicks for point in found.points] == [10, 20, 30, 40, 50, 60]
    low, high = found.points[-1].interval
    assert 0 < low < found.accuracy < high < 1
    assert found.points[-1].n == 200
    assert "60 clicks" in str(found)
    assert (
        seconds < 4
    )  # of computing, whoever else is using the machine; a figure for a machine of its own is 2


def test_more_clicks_are_worth_more_and_clicks_the_wrong_way_round_teach_the_opposite(features):
    few, many = (worth(clicks(count), features, steps=1).accuracy for count in (5, 200))
    assert many > 0.88
    assert many > few + 0.05
    assert worth(clicks(100, noise=1.0), features, steps=1).accuracy < 0.2


def test_the_same_answers_are_asked_for_once(features):
    worth(clicks(60), features)
    asked = []
    known = features._known
    worth(clicks(60), features, note=asked.append)
    assert features._known is known
    fresh = Features("wren")
    rank = {"prompt": "Who are you?", "event_ids": ["event-01"]}
    texts = [f"I am {name}." for name in ("Wren", "Tom", "Mia", "Ann", "Bob", "Eve")]
    pairs = [
        rank | {"chosen": one, "rejected": other} for i, one in enumerate(texts) for other in texts[i + 1 :]
    ]
    assert len(pairs) == 15
    found = worth(pairs, fresh, held_out=clicks(4))
    assert found.points[-1].clicks == 1
    ranked = [row | {"mode": "rank"} for row in pairs]
    assert worth(ranked, fresh, held_out=clicks(4)).points[-1].clicks == 6
    assert len(fresh._known) == 6 + 8  # six bodies for fifteen pairs, and the held-out ones


def test_thumbs_count_and_a_rating_by_three_is_three_clicks(features):
    thumbs = [
        {
            "prompt": row["prompt"],
            "completion": [{"role": "assistant", "content": response["text"]}],
            "label": gold(row["prompt"], response["text"]) > 0.5,
            "event_ids": [f"event-{index}-{place}"],
        }
        for index, row in enumerate(rows("candidates", "train", 50))
        for place, response in enumerate(row["responses"])
    ]
    assert worth(thumbs, features, steps=1).accuracy > 0.8
    three = [row | {"event_ids": ["a", "b", "c"]} for row in clicks(1)]
    assert worth(three, features).points[-1].clicks == 3


def test_no_click_is_worth_something_undefined_and_says_so(features):
    found = worth([], features)
    assert found.accuracy is None
    assert found.points == ()
    assert "undefined" in str(found)


def test_prompts_that_were_rated_are_not_held_out(features):
    held_out = rows("comparisons", "eval", 20)
    found = worth(held_out[:10], features, held_out=held_out, steps=1)
    rated = {str(row["prompt"]) for row in held_out[:10]}
    assert found.points[-1].n == sum(str(row["prompt"]) not in rated for row in held_out)
    with pytest.raises(DataError, match="no held-out pair is left"):
        worth(held_out, features, held_out=held_out)


def test_own_pairs_are_tried_on_clicks_about_other_prompts(features):
    found = worth(clicks(80), features, held_out="own", steps=1)
    assert found.points[-1].n == 80
    assert found.accuracy > 0.7
    assert worth(clicks(1), features, held_out="own").accuracy is None
    turned = worth(clicks(80, noise=1.0), features, held_out="own", steps=1)
    assert turned.accuracy == found.accuracy  # your own clicks, whatever they prefer, are what is foretold


def test_a_fitted_probe_is_a_judge(features):
    probe = fit(clicks(200), features)
    tests = rows("comparisons", "eval", 100)
    right = sum(
        probe(row["prompt"], row["chosen"][0]["content"])
        > probe(row["prompt"], row["rejected"][0]["content"])
        for row in tests
    )
    assert right >= 85


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": "a", "rejected": "b"},
        {"prompt": "Hi", "completion": "a", "label": "good"},
        {"prompt": "Hi", "chosen": [], "rejected": "b"},
    ],
)
def test_rows_that_say_nothing_are_refused_by_number(row, features):
    with pytest.raises(DataError, match="row 0"):
        worth([row], features)
