"""Runs do what their configuration says, and tell it in events."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftlab.errors import ConfigError, DataError, FtlabError
from ftlab.events import Ended, Evaluated, Measured, Noted, Sampled, Saved, Started
from ftlab.methods import checkpoints, train
from tests.methods.conftest import preference_rows, sft_rows, told

Make = Callable[..., Path]


def values(folder: Path, name: str) -> list[float]:
    return [event.values[name] for event in told(folder, Measured)]


def test_full_fine_tuning_equals_trl_on_the_same_rows(
    make_run: Make, tiny: Path, tmp_path: Path
) -> None:  # G-HF-1, G-HF-3
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = sft_rows(16)
    folder = make_run(
        "ours", rows, method="sft", max_steps=2, schedule="constant", warmup=0, learning_rate=1e-2
    )
    train(folder)
    args = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_steps=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        data_seed=0,
    )
    theirs = SFTTrainer(
        model=str(tiny),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny),
    )
    theirs.train()
    expected = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    assert values(folder, "loss") == pytest.approx(expected, abs=1e-5)
    ours = load_file(folder / "model" / "model.safetensors")
    for name, tensor in theirs.model.state_dict().items():
        if name in ours:
            assert torch.allclose(ours[name], tensor, atol=1e-5), name


def test_a_run_tells_its_whole_course(make_run: Make, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in sft_rows(5)))
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in sft_rows(16)))
    folder = make_run(
        "course",
        method="sft",
        data={"train": str(source), "eval": str(held_out)},
        max_steps=4,
        evaluate={"every_steps": 2, "prompts": ["who is ann"], "max_new_tokens": 3},
        checkpoint={"every_steps": 2},
    )
    train(folder)
    order = [(type(event).__name__, getattr(event, "step", None)) for event in told(folder)]
    assert order == [
        ("Started", None),
        ("Sampled", 0),
        ("Measured", 1),
        ("Measured", 2),
        ("Evaluated", 2),
        ("Sampled", 2),
        ("Saved", 2),
        ("Measured", 3),
        ("Measured", 4),
        ("Evaluated", 4),
        ("Sampled", 4),
        ("Saved", 4),
        ("Saved", 4),
        ("Ended", 4),
    ]
    (started,) = told(folder, Started)
    assert (started.rows, started.total_steps, started.trained) == (16, 4, started.parameters)
    assert {"threads", "weights", "padding", "device_name"} <= set(started.settings)
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_mib", "tokens"} <= set(
        told(folder, Measured)[0].values
    )
    assert told(folder, Evaluated)[-1].values["loss"] > 0
    assert told(folder, Sampled)[0].prompt == [{"role": "user", "content": "who is ann"}]
    assert checkpoints.fault(folder / "model") is None
    assert told(folder, Saved)[-1].sha256 == checkpoints.sha256_of(folder / "model" / "manifest.json")


def test_samples_leave_no_trace_in_the_training(make_run: Make) -> None:
    lora = {"kind": "lora", "dropout": 0.2}
    silent = make_run("silent", method=lora, epochs=2, warmup=0)
    talkative = make_run(
        "talkative", method=lora, epochs=2, warmup=0, evaluate={"every_steps": 1, "prompts": ["hi"]}
    )
    for folder in (silent, talkative):
        train(folder)
    assert len(told(talkative, Sampled)) == 7
    assert values(silent, "loss") == values(talkative, "loss")


def test_lora_trains_the_adapter_and_only_the_adapter(make_run: Make, tiny: Path) -> None:
    before = load_file(tiny / "model.safetensors")
    folder = make_run("lora", method={"kind": "lora", "rank": 4}, epochs=6, warmup=0, learning_rate=1e-2)
    train(folder)
    (started,) = told(folder, Started)
    weights = load_file(folder / "model" / "adapter_model.safetensors")
    assert started.trained == sum(tensor.numel() for tensor in weights.values())
    assert all("lora_" in name for name in weights)
    assert all(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in load_file(tiny / "model.safetensors").items()
    )
    assert values(folder, "loss")[-1] < values(folder, "loss")[0] - 0.1
    facts = checkpoints.manifest(folder / "model")
    assert (facts["kind"], facts["base"]["reference"]) == ("adapter", str(tiny))
    assert facts["config_sha256"] == checkpoints.sha256_of(folder / "config.json")
    assert json.loads((folder / "model" / "adapter_config.json").read_text())["r"] == 4


@pytest.mark.parametrize(
    "method", ["dpo", {"kind": "dpo", "adapter": {"kind": "lora"}}], ids=["full", "adapter"]
)
@pytest.mark.parametrize("first", ["sft", "lora"])
def test_dpo_starts_at_ln_two_from_the_run_before_and_the_margin_rises(
    make_run: Make, first: str, method: Any
) -> None:
    before = make_run("before", method=first, epochs=3, learning_rate=1e-2)
    train(before)
    folder = make_run(
        "after", preference_rows(), model="run:before", method=method, epochs=4, learning_rate=5e-3, warmup=0
    )
    train(folder)
    assert values(folder, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert values(folder, "rewards/margins")[-1] > 0.05
    facts = checkpoints.manifest(folder / "model")
    is_adapter = not isinstance(method, str)
    assert facts["kind"] == ("adapter" if is_adapter else "model")
    assert facts["started_from"] == "run:before"
    assert {path.name for path in (folder / "model").iterdir() if path.is_dir()} == set(), (
        "no copy of the reference"
    )
    if is_adapter and first == "lora":  # trained on, so its base is still the one below the first adapter
        assert facts["base"] == checkpoints.manifest(before / "model")["base"]


def test_a_stop_ends_the_run_within_a_step_with_everything_saved(make_run: Make) -> None:
    folder = make_run("stopped", method="sft", epochs=10)
    (folder / "stop").touch()
    train(folder)
    (ended,) = told(folder, Ended)
    assert (ended.status, ended.step) == ("stopped", 1)
    assert [event.kind for event in told(folder, Saved)] == ["checkpoint", "model"]
    assert checkpoints.fault(folder / "checkpoints" / "step-1") is None
    assert not (folder / "stop").exists()
    (folder / "config.json").write_text((folder / "config.json").read_text())
    train(folder)
    assert told(folder, Ended)[-1].status == "finished"
    assert "goes on from step-1" in [event.text for event in told(folder, Noted)]
    assert [event.step for event in told(folder, Measured)] == list(range(1, 31))


def test_divergence_ends_the_run_in_the_step_it_shows_in(make_run: Make) -> None:
    folder = make_run(
        "diverged",
        method="sft",
        epochs=20,
        schedule="constant",
        warmup=0,
        checkpoint={"every_steps": 1},
        trainer={"learning_rate": 1e18},
    )
    train(folder)
    (ended,) = told(folder, Ended)
    measured = told(folder, Measured)
    assert ended.status == "diverged"
    assert "not finite at step" in ended.reason
    assert [None in event.values.values() for event in measured] == [False] * (len(measured) - 1) + [True]
    assert ended.step == measured[-1].step
    kept = checkpoints.steps(folder / "checkpoints")
    assert kept
    assert checkpoints.step_of(kept[-1]) < ended.step
    assert checkpoints.fault(kept[-1]) is None
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    ("fields", "error", "told_text"),
    [
        (
            {"trainer": {"lerning_rate": 1}},
            ConfigError,
            "trainer.lerning_rate: SFTConfig has no such key; did you mean 'learning_rate'",
        ),
        (
            {"trainer": {"max_length": 9}},
            ConfigError,
            "trainer.max_length: is not set here; data.max_length decides",
        ),
        ({"trainer": {"optim": "nonsense"}}, ConfigError, "trainer: SFTConfig refuses these settings"),
        ({"data": "/nowhere/rows.jsonl"}, DataError, "/nowhere/rows.jsonl: no such file"),
    ],
)
def test_a_run_that_cannot_start_says_why_before_a_model_is_loaded(
    make_run: Make, fields: dict[str, Any], error: type[Exception], told_text: str
) -> None:
    folder = make_run(
        "refused", method="sft", **{"model": "/nowhere"} | fields if "optim" not in str(fields) else fields
    )
    with pytest.raises(error, match=re.escape(told_text)):
        train(folder)
    (ended,) = told(folder, Ended)
    assert ended.status == "failed"
    assert told_text in ended.reason
    assert not told(folder, Started)


def test_preferences_for_sft_are_refused_with_the_row(make_run: Make) -> None:
    folder = make_run("wrong", preference_rows(2), method="sft")
    with pytest.raises(FtlabError, match=r"wrong.jsonl:1: the keys are .*this method needs 'messages'"):
        train(folder)
    with pytest.raises(FtlabError, match=r"this method needs 'chosen' and 'rejected'"):
        train(make_run("wrong2", sft_rows(2), method="dpo"))


def test_what_trainer_says_wins_and_is_told(make_run: Make) -> None:
    folder = make_run(
        "own", method="sft", epochs=1, trainer={"lr_scheduler_type": "constant", "warmup_steps": 0}
    )
    train(folder)
    assert set(values(folder, "learning_rate")) == {5e-4}
    (started,) = told(folder, Started)
    assert started.settings["trainer"] == {"lr_scheduler_type": "constant", "warmup_steps": 0}
