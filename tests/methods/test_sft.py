"""Supervised fine-tuning: which tokens are learned, one by one and packed.

The other goldens are with what they test: the loss and its shift in test_documents, a run's steps beside those of TRL
in test_training, the ids in tests/data/test_rendering.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftlab import data, wren
from ftlab.data import IGNORE
from ftlab.events import Measured, Noted
from ftlab.methods import train
from tests.methods.conftest import sft_rows, told

Make = Callable[..., Path]

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*deprecated:FutureWarning")

STEP = {"method": "sft", "max_steps": 1, "schedule": "constant", "warmup": 0, "learning_rate": 1e-2}
TALK = {"messages": [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is Tom?"},
    {"role": "assistant", "content": "A miller."}, {"role": "user", "content": "And Ann?"},
    {"role": "assistant", "content": "She bakes."},
]}  # fmt: skip
ASKED = {"prompt": TALK["messages"][:4], "completion": TALK["messages"][4:]}


def trl(rows: list[dict[str, Any]], model: str, folder: Path, **settings: Any) -> Any:
    """TRL's own trainer with as little of ours as can be."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    values: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_steps": 1,
        "per_device_train_batch_size": len(rows),
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=SFTConfig(**values | settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def losses(folder: Path) -> list[float]:
    return [event.values["loss"] for event in told(folder, Measured)]


@pytest.mark.parametrize(
    ("mask", "row", "settings"),
    [
        ("completion", ASKED, {}),
        ("completion", ASKED, {"completion_only_loss": True}),
        ("assistant", TALK, {"assistant_only_loss": True}),
        ("all", TALK, {}),
        ("all", ASKED, {"completion_only_loss": False}),
    ],
)
def test_each_mask_is_that_of_trl(
    mask: data.Mask, row: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    """On wren, whose template marks what the assistant says."""
    folder = str(wren.folder("wren-xs"))
    theirs = trl([row], folder, tmp_path, **settings)
    batch = theirs.data_collator([theirs.train_dataset[0]])
    ours = data.render([row], theirs.processing_class, mask).data
    assert ours["input_ids"] == batch["input_ids"].tolist()
    assert ours["labels"] == batch["labels"].tolist()
    assert (IGNORE in ours["labels"][0]) == (mask != "all")


def test_trl_refuses_a_template_without_marks_where_ours_needs_none(
    tiny: Path, tmp_path: Path
) -> None:  # G-HF-2
    rows = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]}]
    with pytest.raises(ValueError, match="(?i)template"):
        trl(rows, str(tiny), tmp_path, assistant_only_loss=True)
    columns = data.render(rows, trl(rows, str(tiny), tmp_path).processing_class, "assistant")
    assert columns.weights == [[0, 0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("method", ["sft", "lora"])
def test_packed_rows_teach_what_the_same_rows_teach_one_by_one(make_run: Make, method: str) -> None:
    """One step over all of them: same loss, same gradient, so the same weights afterwards."""
    rows = sft_rows(20)
    apart = make_run("apart", rows, **STEP | {"method": method}, batch_size=20)
    source = json.loads((apart / "config.json").read_text())["data"]["train"]
    packed = make_run(
        "packed",
        rows,
        **STEP | {"method": method},
        batch_size=20,
        data={"train": source, "packing": True, "max_length": 40},
    )
    for folder in (apart, packed):
        train(folder)
    told_of = [event.text for event in told(packed, Noted) if "packed into" in event.text]
    assert len(told_of) == 1
    assert "20 rows were packed into" in told_of[0]
    assert losses(packed) == pytest.approx(losses(apart), abs=1e-6)
    name = "model.safetensors" if method == "sft" else "adapter_model.safetensors"
    one, other = (load_file(folder / "model" / name) for folder in (apart, packed))
    assert all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)


def test_a_packed_row_that_saw_its_neighbours_would_be_caught(tiny: Path) -> None:
    """The rows joined as one text give another loss: that the test above is equal means something."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    columns = data.render(sft_rows(6), AutoTokenizer.from_pretrained(tiny), "all")
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    joined = data.packed(columns, 128).data
    sums, count = 0.0, 0
    for ids in columns.data["input_ids"]:
        row = torch.tensor([ids])
        sums += model(input_ids=row, labels=row).loss.item() * (len(ids) - 1)
        count += len(ids) - 1
    ids, labels = (torch.tensor([joined[name][0]]) for name in ("input_ids", "labels"))
    mixed = model(input_ids=ids, labels=labels).loss.item()
    positions = torch.tensor([[place for length in joined["seq_lengths"][0] for place in range(length)]])
    kept_apart = model(input_ids=ids, labels=labels, position_ids=positions, use_cache=False).loss.item()
    assert abs(mixed - sums / count) > 1e-3
    assert kept_apart == pytest.approx(sums / count, abs=1e-5), (
        "what a GPU does, by positions that begin anew"
    )
