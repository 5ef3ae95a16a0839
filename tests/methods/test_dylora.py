"""An adapter that DyLoRA trained is one at every rank, and a rank that was not drawn stays as it is."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from safetensors.torch import load_file
from torch import nn

from ftlab.errors import ConfigError
from ftlab.events import Measured, Started
from ftlab.methods import nested, train
from ftlab.methods.dylora import DyLoRA
from ftlab.models import load
from tests.methods.conftest import sft_rows, told

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT's to change

Make = Callable[..., Path]
MOST = 8


class Body(nn.Module):
    """One linear layer, under a name that an adapter can be put on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(x)
        return output


def adapted(draw: nested.Draw | None, *, alpha: float = 16, rank: int = MOST) -> tuple[Any, Any]:
    """A layer with an adapter that says something, and the layer itself; split into ranks where there is a draw."""
    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["layer"], init_lora_weights=False)
    model = get_peft_model(Body(), config)
    if draw is not None:
        assert nested.split(model, draw) == 1
    (layer,) = [one for one in model.modules() if isinstance(one, Linear)]
    return model, layer


X = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


def test_a_rank_is_a_lora_of_its_first_rows_counted_alpha_over_rank_times() -> None:
    draw = nested.Draw(MOST)
    model, layer = adapted(draw)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    for rank in range(1, MOST + 1):
        draw.rank = rank
        expected = layer.base_layer(X) + 16 / rank * X @ a[:rank].T @ b[:, :rank].T
        assert torch.allclose(model.train()(X), expected, atol=1e-5)
    draw.rank = 2
    change = model.train()(X) - layer.base_layer(X)
    assert torch.allclose(change, 8.0 * X @ a[:2].T @ b[:, :2].T, atol=1e-5)


def test_at_full_rank_and_whenever_it_does_not_learn_it_is_plain_lora() -> None:
    draw = nested.Draw(MOST)
    model, _ = adapted(draw)
    plain, _ = adapted(None)
    assert torch.allclose(model.train()(X), plain(X), atol=1e-6)
    draw.rank = 1
    assert torch.allclose(model.eval()(X), plain(X), atol=1e-6)
    assert not torch.allclose(model.train()(X), plain(X), atol=1e-2)
    with model.disable_adapter():
        assert torch.equal(model(X), plain.base_model.model.layer.base_layer(X))


@pytest.mark.parametrize("update", ["normal", "frozen"])
def test_a_step_pulls_the_ranks_up_to_the_drawn_one_or_that_one_alone(update: Any) -> None:
    draw = nested.Draw(MOST, update=update)
    draw.rank = 3
    model, layer = adapted(draw)
    model.train()(X).square().sum().backward()
    for thin in (layer.lora_A["default"], layer.lora_B["default"]):
        pulled = [
            number
            for number in range(MOST)
            if getattr(thin, f"rank_{number}").grad is not None
            and getattr(thin, f"rank_{number}").grad.abs().max() > 0
        ]
        assert pulled == ([0, 1, 2] if update == "normal" else [2])


@pytest.mark.parametrize("update", ["normal", "frozen"])
def test_momentum_and_decay_leave_ranks_alone_that_were_not_drawn(update: Any) -> None:
    draw = nested.Draw(MOST, update=update, seed=3)
    model, layer = adapted(draw)
    optimizer = torch.optim.AdamW(
        [one for one in model.parameters() if one.requires_grad], lr=0.1, weight_decay=0.1
    )
    model.train()
    for step in range(12):
        draw.rank = draw.at(step)
        before = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach().T
        model(X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        after = layer.lora_A["default"].weight, layer.lora_B["default"].weight.T
        drawn = set(range(draw.rank)) if update == "normal" else {draw.rank - 1}
        for old, new in zip(before, after, strict=True):
            moved = {number for number in range(MOST) if not torch.equal(old[number], new[number])}
            assert moved == drawn


def test_ranks_are_drawn_by_seed_and_step_and_as_often_as_was_said() -> None:
    draw = nested.Draw(6, 2, seed=1)
    drawn = [draw.at(step) for step in range(3000)]
    assert drawn == [nested.Draw(6, 2, seed=1).at(step) for step in range(3000)]
    assert drawn != [nested.Draw(6, 2, seed=2).at(step) for step in range(3000)]
    counts = Counter(drawn)
    assert set(counts) == {2, 3, 4, 5, 6}
    assert all(count == pytest.approx(600, rel=0.15) for count in counts.values())
    often = Counter(nested.Draw(6, 2, kind="geometric", seed=1).at(step) for step in range(3000))
    assert [often[rank] / 3000 for rank in (2, 3, 4, 5, 6)] == pytest.approx(
        [16 / 31, 8 / 31, 4 / 31, 2 / 31, 1 / 31], abs=0.03
    )


@pytest.mark.parametrize("update", ["normal", "frozen"])
def test_a_run_saves_plain_lora_and_tells_the_rank_of_each_step(make_run: Make, update: str) -> None:
    method = {"kind": "dylora", "rank": 4, "alpha": 6, "update": update, "min_rank": 2}
    folder = make_run("dynamic", method=method, epochs=4, warmup=0, learning_rate=1e-2, seed=7)
    train(folder)
    values = [event.values for event in told(folder, Measured)]
    draw = nested.Draw(4, 2, seed=7)
    assert [one["drawn_rank"] for one in values] == [draw.at(step) for step in range(12)]
    assert values[-1]["loss"] < values[0]["loss"] - 0.05
    settings = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["peft_type"]) == (4, 6, "LORA")
    tensors = load_file(folder / "model" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 14
    assert all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in tensors)
    assert told(folder, Started)[0].trained == sum(tensor.numel() for tensor in tensors.values())


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(make_run: Make) -> None:
    method = {"kind": "dylora", "rank": 4}
    settings: dict[str, Any] = {"method": method, "epochs": 3, "weight_decay": 0.1, "learning_rate": 1e-2}
    whole = make_run("whole", **settings)
    train(whole)
    parts = make_run("parts", **settings, checkpoint={"every_steps": 3})
    (parts / "stop").touch()
    train(parts)
    train(parts)
    for name in ("loss", "drawn_rank"):
        assert [one.values[name] for one in told(parts, Measured)] == [
            one.values[name] for one in told(whole, Measured)
        ]
    ours, theirs = (load_file(one / "model" / "adapter_model.safetensors") for one in (parts, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def score(reference: str) -> float:
    """Mean loss in nats of the rows' answers."""
    pairs = [(row["prompt"], row["completion"][0]["content"]) for row in sft_rows()]
    found = [one for scores in load(reference).scores(pairs) for one in scores]
    return -sum(found) / len(found)


def test_cut_to_a_low_rank_it_loses_less_than_plain_lora_does(make_run: Make, tiny: Path) -> None:
    shared: dict[str, Any] = {"max_steps": 80, "batch_size": 12, "warmup": 0, "learning_rate": 1e-2}
    train(make_run("dynamic", method={"kind": "dylora", "rank": 4}, **shared))
    train(make_run("plain", method={"kind": "lora", "rank": 4}, **shared))
    losses = {name: [score(f"run:{name}@{rank}") for rank in (1, 2, 3, 4)] for name in ("dynamic", "plain")}
    assert losses["dynamic"][0] < losses["plain"][0] - 0.05
    assert max(losses["dynamic"]) - min(losses["dynamic"]) < max(losses["plain"]) - min(losses["plain"])
    assert max(losses["dynamic"]) < score(str(tiny)) - 0.1


def test_it_goes_on_from_plain_lora_and_from_itself(make_run: Make) -> None:
    train(make_run("plain", method={"kind": "lora", "rank": 4}, epochs=2, learning_rate=1e-2))
    before = score("run:plain")
    train(make_run("dynamic", model="run:plain", method="dylora", epochs=4, learning_rate=1e-2))
    settings = load("run:dynamic").source.adapter / "adapter_config.json"  # type: ignore[operator]
    assert json.loads(settings.read_text())["r"] == 4, "the adapter keeps its ranks"
    assert score("run:dynamic") < before
    train(make_run("again", model="run:dynamic", method="dylora", max_steps=1))
    first = told(Path(load("run:again").source.adapter or "").parent, Started)[0]  # type: ignore[arg-type]
    assert first.trained > 0


def test_what_cannot_be_cut_is_refused(make_run: Make) -> None:
    with pytest.raises(ConfigError, match="min_rank is 9 and rank 8"):
        DyLoRA(min_rank=9)
    train(make_run("roots", method={"kind": "lora", "rslora": True, "rank": 2}, max_steps=1))
    with pytest.raises(ConfigError, match="counted otherwise than alpha / rank times, and cannot be cut"):
        train(make_run("cut", model="run:roots", method="dylora"))
    train(make_run("narrow", method={"kind": "lora", "rank": 2}, max_steps=1))
    with pytest.raises(ConfigError, match="min_rank: is 3, and the adapter of run:narrow has rank 2"):
        train(make_run("wide", model="run:narrow", method={"kind": "dylora", "min_rank": 3}))
