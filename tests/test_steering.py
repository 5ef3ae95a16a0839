"""Clone and modify, and delete: what a run is made from, and what may go."""

import json
import sys
from pathlib import Path

import pytest

from ftlab.config import RunConfig
from ftlab.differences import ABSENT, differences
from ftlab.errors import ConfigError, RunError
from ftlab.run import Run, launch, runs
from ftlab.warm import plain

ACTOR = Path(__file__).with_name("actor.py")


@pytest.fixture(autouse=True)
def acted(monkeypatch):
    """Runs are trained by actor.py; what still runs at the end is ended."""
    monkeypatch.setenv("FTLAB_WARM", "off")
    monkeypatch.setattr(plain, "TRAINER", (sys.executable, str(ACTOR)))
    yield
    for run in runs():
        if process := run._process():
            process.kill()
            run.wait()


def test_a_clone_is_the_same_but_for_what_was_changed_and_says_so():
    run = Run.create(RunConfig(name="tour-sft", method="lora", epochs=2, evaluate={"prompts": ["Who?"]}))
    clone = run.clone({"method.rank": 16}, batch_size=8)
    assert (clone.name, clone.status) == ("tour-sft-rank-16-batch_size-8", "created")
    assert clone.config == run.config.with_({"method.rank": 16, "batch_size": 8, "name": clone.name})
    assert clone.origin.run == "tour-sft"
    assert clone.origin.changes == {"method.rank": (8, 16), "batch_size": (16, 8)}
    assert run.origin is None


def test_clones_get_names_of_their_own():
    run = Run.create(RunConfig(name="mine"))
    assert [run.clone().name for _ in range(2)] == ["mine-2", "mine-3"]
    assert run.clone(name="other").name == "other"
    with pytest.raises(RunError, match="'other' is there already"):
        run.clone(name="other")
    long = run.clone(**{"data.train": "/a/very/long/path/of/some/rows.jsonl", "model": "smollm2"})
    assert long.name == "mine-model-smollm2-train"


def test_a_clone_with_another_method_takes_that_methods_data_and_keeps_the_rest():
    run = Run.create(RunConfig(name="mine", epochs=3, seed=5))
    clone = run.clone(method="dpo")
    assert clone.config.data.train == "wren:preferences"
    assert (clone.config.epochs, clone.config.seed) == (3, 5)
    assert clone.origin.changes["data.train"] == ("wren:sft", "wren:preferences")
    kept = Run.create(RunConfig(name="own", data={"train": "wren:sft", "max_rows": 9})).clone(method="lora")
    assert kept.config.data.max_rows == 9


def test_an_edited_copy_of_the_yaml_makes_a_clone():
    run = Run.create(RunConfig(name="mine", method="lora"))
    clone = run.clone(run.config.to_yaml().replace("rank: 8", "rank: 4"))
    assert (clone.name, clone.origin.changes) == ("mine-rank-4", {"method.rank": (8, 4)})
    assert run.clone("name: other\nseed: 3\n").name == "other"
    for text, told in (
        ("seed: 1\nseed: 2", "'seed' is there twice"),
        ("[1]", "expected keys"),
        ("{", "not YAML"),
    ):
        with pytest.raises(ConfigError, match=told):
            run.clone(text)


def test_a_wrong_change_is_told_and_leaves_nothing():
    run = Run.create(RunConfig(name="mine"))
    with pytest.raises(ConfigError, match=r"epocs: no such key .*did you mean 'epochs'"):
        run.clone(epocs=2)
    assert runs() == [run]


def test_a_warm_clone_starts_from_a_result_or_a_checkpoint_that_is_there():
    run = Run.create(RunConfig(name="mine"))
    with pytest.raises(RunError, match="mine has no result to start from"):
        run.clone(warm=True)
    for place in ("model", "checkpoints/step-20", "checkpoints/step-40"):
        (run.folder / place).mkdir(parents=True)
        (run.folder / place / "manifest.json").write_text("{}")
    warm = run.clone(warm=True)
    assert (warm.name, warm.config.model) == ("mine-warm", "run:mine")
    assert warm.origin.changes == {"model": ("wren", "run:mine")}
    assert run.clone(warm=40).config.model == str(run.folder / "checkpoints" / "step-40")
    with pytest.raises(RunError, match=r"no checkpoint of step 30; there are: \[20, 40\]"):
        run.clone(warm=30)
    with pytest.raises(RunError, match="what mine-warm-2, mine-warm started from"):
        run.delete()


def test_an_ended_run_is_deleted_with_everything_and_its_name_is_free():
    run = launch(name="mine", trainer={"act": "finish"})
    run.wait(30)
    run.delete()
    assert runs() == []
    assert not [path for path in run.folder.parent.iterdir() if path.name.startswith(".gone")]
    assert Run.create(RunConfig(name="mine")).status == "created"


def test_a_run_that_goes_on_is_not_deleted():
    run = launch(trainer={"act": "hold"})
    with pytest.raises(RunError, match=r"is not deleted; stop\(\) ends it first"):
        run.delete()
    run.stop().wait(30)
    run.delete()
    assert runs() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "run:mine"},
        {"model": "run:mine@3"},
        {"model": "0.5*run:mine + 0.5*run:other"},
        {"method": {"kind": "distillation", "teacher": "run:mine"}},
    ],
)
def test_a_run_that_others_start_from_is_not_deleted(changes):
    mine, near = Run.create(RunConfig(name="mine")), Run.create(RunConfig(name="mine-2"))
    Run.create(RunConfig(name="after", **changes))
    with pytest.raises(RunError, match=r"its result is what after started from"):
        mine.delete()
    near.delete()
    assert {run.name for run in runs()} == {"mine", "after"}


def test_a_run_behind_a_prompt_is_not_deleted(own_home):
    run = Run.create(RunConfig(name="mine"))
    (own_home / "prompts").mkdir()
    (own_home / "prompts" / "rule.json").write_text(json.dumps({"model": "run:mine", "system": "Be brief."}))
    with pytest.raises(RunError, match="prompt:rule started from"):
        run.delete()


def test_differences_are_told_field_by_field_and_nothing_else():
    sft, lora = RunConfig(method="sft"), RunConfig(method="lora", epochs=2, evaluate={"prompts": ["a"]})
    found = differences([sft.to_dict(), lora.to_dict()])
    assert found["method.kind"] == ["sft", "lora"]
    assert found["method.rank"] == [ABSENT, 8]
    assert found["epochs"] == [1.0, 2.0]
    assert found["evaluate.prompts"] == [[], ["a"]]
    assert not {path for path in found if path.startswith(("data", "checkpoint", "seed"))}
    assert differences([sft.to_dict()] * 3) == {}
