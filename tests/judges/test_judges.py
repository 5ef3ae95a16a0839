"""Scoring judges on wren: the gold one, calibrated against itself, and one that a run has trained."""

import json
import os
import subprocess
import sys

import pytest

from ftlab.config import RunConfig
from ftlab.errors import DataError, ModelError
from ftlab.judges import gold, reward
from ftlab.methods import train
from ftlab.ratings import Ratings, simulate
from ftlab.ratings.judging import judge
from ftlab.wren import rows


def pairs(count):
    return [
        {"prompt": row["prompt"], "responses": row["responses"][:2]}
        for row in rows("candidates", "eval", count)
    ]


def test_the_gold_judge_tells_the_embedded_worlds_answers_apart_and_knows_no_other_world():
    row = rows("preferences", "eval", 1)[0]
    assert gold(row["prompt"], row["chosen"][0]["content"]) > gold(
        row["prompt"], row["rejected"][0]["content"]
    )
    with pytest.raises(DataError, match="embedded world alone"):
        gold([{"role": "user", "content": "What is the capital of France?"}], "Paris.")


def test_candidates_are_distinct_and_mostly_span_several_gold_rewards():
    found = rows("candidates", "train", 200)
    assert all(len({response["text"] for response in row["responses"]}) == 4 for row in found)
    spans = [
        len({gold(row["prompt"], response["text"]) for response in row["responses"]}) > 1 for row in found
    ]
    assert sum(spans) / len(spans) > 0.9  # the contrast without which a reward model learns nothing
    assert rows("candidates", "train", 20) == found[:20]
    assert not {str(row["prompt"]) for row in found} & {
        str(row["prompt"]) for row in rows("candidates", "eval")
    }


def test_comparisons_are_as_the_gold_judge_has_them_with_llama_2s_degrees():
    found = rows("comparisons", "train", 200)
    for row in found:
        lead = gold(row["prompt"], row["chosen"][0]["content"]) - gold(
            row["prompt"], row["rejected"][0]["content"]
        )
        assert lead > 0
        assert row["margin"] == sum(lead >= least for least in (0.3, 0.9, 1.5))
    assert {row["margin"] for row in found} == {0, 1, 2, 3}
    assert rows("comparisons", "train", 30) == found[:30]


def test_a_gold_judge_agrees_with_a_rater_made_of_it_but_for_the_raters_slips(tmp_path):
    with Ratings(tmp_path / "gold.db") as ratings:
        ratings.add_pairs(pairs(60), batch="b")
        simulate(ratings, "b", "ann", gold, noise=0.2, seed=1)
        judge(ratings, "b", "gold", gold)
        said = {}
        for row in ratings.current("b"):
            said.setdefault(row["rater_kind"], {}).setdefault(row["position"], set()).add(row["winner"])
        decided = [
            (next(iter(said["simulated"][place])), next(iter(winners)))
            for place, winners in said["judge"].items()
            if len(winners) == 1 and None not in winners and place in said["simulated"]
        ]
        same = sum(one == other for one, other in decided) / len(decided)
    assert len(decided) > 35
    assert 0.65 < same < 0.95


def test_a_trained_judge_rates_a_batch_as_gold_would_mostly(own_home):
    folder = own_home / "runs" / "rm"
    folder.mkdir(parents=True)
    config = RunConfig(
        name="rm",
        model="wren-xs",
        method="reward",
        data={"train": "wren:comparisons", "max_rows": 480},
        learning_rate=2e-3,
        evaluate={"every_steps": 1000},
        device="cpu",
        threads=1,
    )
    (folder / "config.json").write_text(config.to_json())
    train(folder)
    trained = reward("run:rm")
    tests = rows("comparisons", "eval", 150)
    trained.read((row["prompt"], row[side][0]["content"]) for row in tests for side in ("chosen", "rejected"))
    right = sum(
        trained(row["prompt"], row["chosen"][0]["content"])
        > trained(row["prompt"], row["rejected"][0]["content"])
        for row in tests
    )
    assert right / len(tests) > 0.7
    with Ratings() as ratings:
        ratings.add_pairs(pairs(10), batch="b")
        assert judge(ratings, "b", "trained", trained) == 20
        assert {row["rater_kind"] for row in ratings.current("b")} == {"judge"}


def test_a_judge_made_of_a_model_that_answers_says_what_it_needs():
    with pytest.raises(ModelError, match='RunConfig\\(method="reward"\\)'):
        reward("wren")([{"role": "user", "content": "Hi"}], "Hello.")


def test_judges_load_no_model_libraries_into_the_kernel():
    code = (
        "import sys, json, ftlab.judges, ftlab.scoring\n"
        "print(json.dumps(sorted({'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules))))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert json.loads(found.stdout) == []
