"""LoRA and its variants are what their papers say, and what is saved answers as what was trained."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from ftlab import data
from ftlab.config import RunConfig
from ftlab.errors import ConfigError, ModelError
from ftlab.events import Measured, Started
from ftlab.methods import adapters, checkpoints, train, wrapped
from ftlab.methods.lora import LoRA
from ftlab.models import merging
from ftlab.models.fingerprints import base_sha256
from tests.methods.conftest import preference_rows, told

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT's to change

Make = Callable[..., Path]
IDS = torch.arange(20)[None] % 60


def values(folder: Path, name: str) -> list[float]:
    return [event.values[name] for event in told(folder, Measured)]


def model_of(folder: Path) -> Any:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def answered(base: Path, adapter: Path | None = None) -> torch.Tensor:
    model = model_of(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        logits: torch.Tensor = model(IDS).logits
    return logits


def count(width: int, rank: int, targets: list[str]) -> int:
    """Numbers of an adapter on one layer's square attention weights, counted by PEFT on a model without numbers."""
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=width // 64,
        max_position_embeddings=8,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        whole = get_peft_model(model, wrapped.lora_config(LoRA(rank=rank, targets=targets), model))
    return int(whole.get_nb_trainable_parameters()[0])


@pytest.mark.parametrize(
    ("width", "layers", "rank", "targets", "expected"),
    [
        (4096, 1, 8, ["q_proj"], 65_536),
        (12_288, 96, 1, ["q_proj", "v_proj"], 4_718_592),
        (12_288, 96, 8, ["q_proj", "v_proj"], 37_748_736),
        (12_288, 96, 4, ["q_proj", "v_proj"], 18_874_368),
        (12_288, 96, 2, ["q_proj", "k_proj", "v_proj", "o_proj"], 18_874_368),
    ],
)
def test_an_adapter_has_as_many_numbers_as_in_the_paper(
    width: int, layers: int, rank: int, targets: list[str], expected: int
) -> None:
    assert layers * count(width, rank, targets) == expected


@pytest.mark.parametrize("first", ["zero", "gaussian"])
def test_at_first_the_adapter_says_nothing_and_only_b_is_pulled(tiny: Path, first: Any) -> None:
    base = model_of(tiny)
    before = base(IDS).logits.detach()
    torch.manual_seed(0)
    model = get_peft_model(base, wrapped.lora_config(LoRA(start=first, rank=4), base))
    a = model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight
    assert a.std().item() == pytest.approx(1 / 4 if first == "gaussian" else 1 / math.sqrt(3 * 32), rel=0.2)
    assert torch.equal(model(IDS).logits, before)
    model(IDS, labels=IDS).loss.backward()
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            assert parameter.grad.abs().max() == 0, name
        if "lora_B" in name:
            assert parameter.grad.abs().max() > 0, name


def test_the_change_has_no_more_ranks_than_the_adapter_and_is_where_it_was_asked_for(make_run: Make) -> None:
    method = {"kind": "lora", "rank": 3, "targets": "attention"}
    folder = make_run("thin", method=method, epochs=2, learning_rate=1e-2)
    train(folder)
    tensors = load_file(folder / "model" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in tensors} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    for name, a in tensors.items():
        if "lora_A" in name:
            change = tensors[name.replace("lora_A", "lora_B")].double().numpy() @ a.double().numpy()
            assert 0 < np.linalg.matrix_rank(change) <= 3


def test_singular_values_say_how_much_a_cut_to_a_rank_loses() -> None:
    flat, full = np.array([[3.0, 4.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 5.0]])
    assert np.linalg.svd(flat)[1] == pytest.approx([7.071068, 0], abs=1e-6)
    strengths = np.linalg.svd(full)[1]
    assert strengths == pytest.approx([6.242943, 0.160181], abs=2e-6)
    assert strengths.prod() == pytest.approx(abs(np.linalg.det(full)))


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"dora": True},
    "olora": {"start": "olora"},
    "pissa-rslora": {"start": "pissa", "rslora": True, "alpha": 5},
}


def loss_of(base: Path, folder: Path, adapter: Path | None = None) -> float:
    """Of all rows of a run's data together, by transformers and PEFT alone."""
    from transformers import AutoTokenizer

    config = RunConfig.from_json((folder / "config.json").read_text())
    columns = data.render(
        data.read(config.data.train), AutoTokenizer.from_pretrained(base), config.data.mask, 512
    )
    model = model_of(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    total, count = 0.0, 0
    for ids, labels in zip(columns.data["input_ids"], columns.data["labels"], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        wanted = torch.tensor(labels[1:])
        total += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
        count += int((wanted != -100).sum())
    return total / count


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_stands_on_the_untouched_base_and_goes_on_where_it_ended(
    make_run: Make, tiny: Path, variant: str
) -> None:
    lora = {"kind": "lora", "rank": 4, **VARIANTS[variant]}
    folder = make_run(variant, method=lora, epochs=3, warmup=0, learning_rate=5e-3, batch_size=24)
    train(folder)
    first, *_, last = values(folder, "loss")
    saved = loss_of(tiny, folder, folder / "model")
    assert first == pytest.approx(loss_of(tiny, folder), abs=1e-5), "a run begins where the base is"
    assert saved < last < first
    again = make_run("again", model=f"run:{variant}", method="lora", max_steps=1, batch_size=24)
    train(again)
    assert values(again, "loss") == pytest.approx([saved], abs=1e-5)
    settings = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert settings["r"] == (8 if "start" in lora else 4)
    assert settings["init_lora_weights"] is True
    assert (settings["use_dora"], settings["use_rslora"]) == ("dora" in lora, "rslora" in lora)
    if "dora" in lora:
        tensors = load_file(folder / "model" / "adapter_model.safetensors")
        lengths = {name: tensor for name, tensor in tensors.items() if "magnitude" in name}
        assert len(lengths) == 14
        (learned,) = [tensor for name, tensor in lengths.items() if "layers.0.self_attn.q_proj" in name]
        first_lengths = model_of(tiny).model.layers[0].self_attn.q_proj.weight.norm(dim=1)
        assert 1e-4 < (learned - first_lengths).abs().max() < 0.2


@pytest.mark.parametrize("first", ["pissa", "olora"])
def test_an_adapter_that_took_a_part_of_the_weights_gives_the_same_logits_when_saved(
    tiny: Path, tmp_path: Path, first: Any
) -> None:
    base = model_of(tiny)
    config = wrapped.lora_config(LoRA(rank=4, alpha=6, start=first, rslora=first == "pissa"), base)
    model, begin = wrapped.with_part_taken(base, config)
    model.eval()
    linear = model.base_model.model.model.layers[0].self_attn.q_proj
    weight = model_of(tiny).model.layers[0].self_attn.q_proj.weight
    assert not torch.allclose(linear.base_layer.weight, weight, atol=1e-3), "a part is gone from the base"
    assert torch.allclose(linear.get_delta_weight("default") + linear.base_layer.weight, weight, atol=1e-6)
    if first == "pissa":
        strongest = torch.linalg.svdvals(linear.get_delta_weight("default"))[:4]
        assert torch.allclose(strongest, torch.linalg.svdvals(weight)[:4], atol=1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        expected = model(IDS).logits
    wrapped.save(model, tmp_path, str(tiny))
    wrapped.give_back(tmp_path, begin)
    assert torch.allclose(answered(tiny, tmp_path), expected, atol=2e-5)


def test_the_reference_of_dpo_is_the_base_also_where_the_adapter_took_a_part_of_it(make_run: Make) -> None:
    method = {"kind": "dpo", "adapter": {"kind": "lora", "rank": 4, "start": "pissa"}}
    folder = make_run("dpo", preference_rows(), method=method, epochs=1, warmup=0, learning_rate=5e-3)
    train(folder)
    assert values(folder, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert json.loads((folder / "model" / "adapter_config.json").read_text())["r"] == 8


def test_a_stopped_pissa_with_lora_plus_goes_on_as_if_it_had_not_stopped(make_run: Make) -> None:
    method = {"kind": "lora", "rank": 4, "start": "pissa", "plus": 8, "dropout": 0.1}
    whole = make_run("whole", method=method, epochs=2)
    train(whole)
    parts = make_run("parts", method=method, epochs=2, checkpoint={"every_steps": 2})
    (parts / "stop").touch()
    train(parts)
    train(parts)
    assert values(parts, "loss") == values(whole, "loss")
    ours, theirs = (load_file(one / "model" / "adapter_model.safetensors") for one in (parts, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_lora_plus_gives_b_and_nothing_else_the_larger_steps(tiny: Path) -> None:
    from peft.optimizers import create_loraplus_optimizer

    base = model_of(tiny)
    model = get_peft_model(base, wrapped.lora_config(LoRA(dora=True), base))
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)
    ours = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    adapters.hasten(ours, model, 16.0)
    assert steps(ours) == pytest.approx(steps(theirs))
    assert set(steps(ours).values()) == {1e-3, 1e-3 * 16}


def steps(optimizer: torch.optim.Optimizer) -> dict[int, float]:
    return {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}


def test_with_lora_plus_b_moves_as_many_times_further(make_run: Make, tiny: Path) -> None:
    moved = {}
    for name, plus in {"plain": None, "plus": 16}.items():
        method = {"kind": "lora", "rank": 2, "plus": plus}
        folder = make_run(name, method=method, max_steps=1, warmup=0, schedule="constant", learning_rate=1e-4)
        train(folder)
        assert values(folder, "learning_rate") == [1e-4]
        tensors = load_file(folder / "model" / "adapter_model.safetensors")
        moved[name] = {key: tensor.abs().max().item() for key, tensor in tensors.items() if "lora_B" in key}
    for key, distance in moved["plain"].items():  # Adam's first step is as long as the step size
        assert distance == pytest.approx(1e-4, rel=1e-2)
        assert moved["plus"][key] == pytest.approx(16e-4, rel=1e-2)


def test_dora_is_left_to_peft_by_the_quick_forward(tiny: Path) -> None:
    torch.manual_seed(0)
    base = model_of(tiny)
    config = wrapped.lora_config(LoRA(dora=True, rank=4), base)
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.rand_like(parameter) * 0.1)
    expected = model(IDS).logits
    assert adapters.quicken(model) == 14
    assert torch.equal(model(IDS).logits, expected)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (
            {"kind": "lora", "targets": ["q_proj", "query"]},
            r"no linear layer called 'query'.*there are q_proj, k_proj",
        ),
        ({"kind": "lora", "targets": ["lm_head"]}, r"no linear layer called 'lm_head' that can be adapted"),
        ({"kind": "lora", "targets": ["embed_tokens"]}, r"no linear layer called 'embed_tokens'"),
        (
            {"kind": "lora", "start": "pissa", "rank": 20},
            r"rank: pissa takes the 20 largest.*k_proj has 16; use a rank up to 16",
        ),
        ({"kind": "qlora", "targets": ["query"]}, r"no linear layer called 'query'"),
        ({"kind": "dylora", "targets": ["query"]}, r"no linear layer called 'query'"),
        (
            {"kind": "dpo", "adapter": {"kind": "lora", "targets": ["query"]}},
            r"no linear layer called 'query'",
        ),
    ],
    ids=lambda value: value["kind"] + str(len(str(value))) if isinstance(value, dict) else None,
)
def test_what_the_model_cannot_carry_is_refused_with_what_it_can(
    make_run: Make, method: dict[str, Any], text: str
) -> None:
    rows = preference_rows() if method["kind"] == "dpo" else None
    folder = make_run("refused", rows, method=method)
    with pytest.raises(ConfigError, match=text):
        train(folder)
    assert not told(folder, Started)


def test_a_configuration_that_no_weight_could_follow_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="dora learns the length of the whole weight, and start 'pissa'"):
        LoRA(dora=True, start="pissa")
    with pytest.raises(ConfigError, match="targets: .*list should have at least 1 item"):
        LoRA(targets=[])


@pytest.fixture
def half(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model as models come from the hub: in 16 bits."""
    folder = tmp_path / "half"
    LlamaForCausalLM.from_pretrained(tiny).half().save_pretrained(folder)
    for path in tiny.glob("tokenizer*"):
        (folder / path.name).write_bytes(path.read_bytes())
    for path in tiny.glob("*.jinja"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("method", ["lora", {"kind": "lora", "dora": True}, {"kind": "lora", "rslora": True}])
def test_merged_weights_answer_as_the_adapter_does_and_unmerging_gives_the_base_back(
    make_run: Make, half: Path, tmp_path: Path, method: Any
) -> None:
    folder = make_run("learned", method=method, model=str(half), epochs=2, learning_rate=1e-2)
    train(folder)
    sha256 = merging.merge("run:learned", tmp_path / "merged")
    assert sha256 == base_sha256(tmp_path / "merged") != base_sha256(half)
    assert checkpoints.fault(tmp_path / "merged") is None
    apart = answered(half, folder / "model")
    assert torch.allclose(answered(tmp_path / "merged"), apart, atol=1e-5)
    assert not torch.allclose(answered(half), apart, atol=1e-3)
    if isinstance(method, dict) and method.get("dora"):
        with pytest.raises(ModelError, match="scaled the weights themselves and cannot be subtracted"):
            merging.unmerge(str(tmp_path / "merged"), tmp_path / "back")
    else:
        assert merging.unmerge(str(tmp_path / "merged"), tmp_path / "back") == base_sha256(half)


def test_a_blend_and_a_rounded_base_are_merged_as_they_answer(
    make_run: Make, half: Path, tmp_path: Path
) -> None:
    for name, seed in {"one": 1, "two": 2}.items():
        train(make_run(name, method="lora", model=str(half), seed=seed, max_steps=3, learning_rate=1e-2))
    merging.merge("0.7*run:one + -0.5*run:two@3", tmp_path / "blend")
    assert merging.unmerge(str(tmp_path / "blend"), tmp_path / "back") == base_sha256(half)
    from ftlab.models import load

    prompt, text = "who is ann", "yes well no"
    expected = load("0.7*run:one + -0.5*run:two@3").score(prompt, text)
    assert load(str(tmp_path / "blend")).score(prompt, text) == pytest.approx(expected, abs=1e-5)
    assert load("run:one").score(prompt, text) != pytest.approx(expected, abs=1e-2)

    train(
        make_run(
            "small", method={"kind": "qlora", "block": 32}, model=str(half), max_steps=3, learning_rate=1e-2
        )
    )
    merging.merge("run:small", tmp_path / "small")
    expected = load("run:small").score(prompt, text)
    assert load(str(tmp_path / "small")).score(prompt, text) == pytest.approx(expected, abs=1e-5)


def test_what_cannot_be_merged_is_told(make_run: Make, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a whole model already"):
        merging.merge(str(tiny), tmp_path / "out")
    with pytest.raises(ModelError, match="was not merged by ftlab"):
        merging.unmerge(str(tiny), tmp_path / "out")
    train(make_run("soft", method="prompt_tuning", max_steps=1))
    with pytest.raises(ModelError, match="soft prompt .* no weight can take that up"):
        merging.merge("run:soft", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ModelError, match="is there already"):
        merging.merge(str(tiny), tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_kind_is_not_trained_on_under_the_name_of_lora(make_run: Make) -> None:
    train(make_run("stretched", method="ia3", max_steps=1))
    folder = make_run("lora", model="run:stretched", method="lora")
    with pytest.raises(ConfigError, match=r"run:stretched is IA3 on .*no low-rank adapter can stand on"):
        train(folder)
