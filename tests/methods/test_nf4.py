"""Four bits a weight are the paper's four bits, and a layer that keeps them computes and learns as it should."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from ftlab.errors import ConfigError
from ftlab.events import Measured, Noted, Started
from ftlab.methods import checkpoints, nf4, train
from tests.methods.conftest import told

Make = Callable[..., Path]

BITSANDBYTES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def normal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def error(whole: Tensor, rounded: Tensor) -> float:
    return float((whole - rounded).norm() / whole.norm())


def test_the_levels_follow_from_the_quantiles_and_are_those_of_bitsandbytes() -> None:
    assert nf4.levels().tolist() == pytest.approx(BITSANDBYTES, abs=1e-6)
    functional = pytest.importorskip("bitsandbytes").functional
    assert torch.equal(nf4.levels(), functional.get_4bit_type("nf4", "cpu"))
    assert torch.equal(nf4.scale_levels(), functional.create_dynamic_map())


def test_a_block_goes_to_its_nearest_levels() -> None:
    block = torch.tensor([[0.5, -0.25, 0.1, 1, -2, 0, 0.03, -1]])
    kept = nf4.quantize(block, 8, double_quantization=False)
    assert kept.scales.tolist() == [2.0]
    assert nf4.unpack(kept.packed).tolist() == [10, 6, 8, 12, 0, 7, 7, 2]
    expected = [0.492225, -0.182100, 0.159161, 0.881420, -2, 0, 0, -1.050146]
    assert kept.dense()[0].tolist() == pytest.approx(expected, abs=1e-6)


def nearest(whole: Tensor, levels: Tensor) -> Tensor:
    """Each number of a block of 64 at the nearest of these levels between -1 and 1."""
    blocks = whole.view(-1, 64)
    most = blocks.abs().amax(1, keepdim=True)
    levels = levels.sort().values
    return (levels[torch.bucketize(blocks / most, (levels[1:] + levels[:-1]) / 2)] * most).view_as(whole)


def test_of_normal_weights_nf4_keeps_more_than_evenly_spaced_and_floating_levels() -> None:
    whole = normal(512, 512)
    fp4 = torch.tensor([0, 0.0052, 0.1667, 0.25, 0.3333, 0.5, 0.6667, 1.0])
    errors = {
        "nf4": error(whole, nf4.quantize(whole, double_quantization=False).dense()),
        "uniform-16": error(whole, nearest(whole, torch.linspace(-1, 1, 16))),
        "int4": error(whole, nearest(whole, torch.arange(-7, 8) / 7)),
        "fp4": error(whole, nearest(whole, torch.cat([fp4, -fp4[1:]]))),
    }
    assert errors == pytest.approx(
        {"nf4": 0.0921, "uniform-16": 0.1006, "int4": 0.1077, "fp4": 0.1220}, abs=0.003
    )
    assert list(errors) == sorted(errors, key=errors.__getitem__)


def test_double_quantization_costs_a_thousandth_and_saves_a_third_of_a_bit() -> None:
    whole = normal(512, 512)
    single, double = (nf4.quantize(whole, double_quantization=twice) for twice in (False, True))
    assert 0 < error(whole, double.dense()) - error(whole, single.dense()) < 0.001
    assert nf4.bits_per_weight() == pytest.approx(4.126953, abs=1e-6)
    assert 8 * double.nbytes / whole.numel() == pytest.approx(
        4.126953, abs=2e-4
    )  # the mean is one number more
    assert 8 * single.nbytes / whole.numel() == nf4.bits_per_weight(double_quantization=False) == 4.5


@pytest.mark.parametrize("twice", [False, True])
def test_a_block_of_zeros_stays_zero(twice: bool) -> None:
    whole = torch.zeros(4, 64)
    assert torch.equal(nf4.quantize(whole, double_quantization=twice).dense(), whole)
    whole[1] = 1.0
    rounded = nf4.quantize(whole, double_quantization=twice).dense()
    assert rounded.isfinite().all()
    assert torch.equal(rounded[[0, 2, 3]], whole[[0, 2, 3]])


def test_two_codes_share_a_byte_and_come_apart_again() -> None:
    codes = torch.arange(256) % 16
    packed = nf4.pack(codes)
    assert (packed.numel(), packed.dtype) == (128, torch.uint8)
    assert packed[0] == 0x01
    assert torch.equal(nf4.unpack(packed).long(), codes)


@pytest.mark.parametrize("block", [64, 256])
@pytest.mark.parametrize("twice", [False, True])
def test_bitsandbytes_makes_the_same_of_the_same_weights(block: int, twice: bool) -> None:
    functional = pytest.importorskip("bitsandbytes").functional
    whole = normal(192, 512) / 20
    ours = nf4.quantize(whole, block, double_quantization=twice)
    packed, state = functional.quantize_4bit(
        whole, blocksize=block, compress_statistics=twice, quant_type="nf4"
    )
    assert torch.equal(packed.view(-1), ours.packed)
    theirs = functional.dequantize_4bit(packed, state)
    if twice:  # of two scales equally near its kernel takes either
        assert (state.absmax != ours.scales).float().mean() < 0.005
        assert error(theirs, ours.dense()) < 2e-3
    else:
        assert torch.equal(theirs, ours.dense())


def test_a_matrix_that_fills_no_whole_block_is_kept_as_well() -> None:
    whole = normal(3, 22)
    rounded = nf4.quantize(whole, 64).dense()
    assert rounded.shape == whole.shape
    assert error(whole, rounded) < 0.15


def model_of(folder: Path) -> Any:
    return LlamaForCausalLM.from_pretrained(folder).eval()


def test_a_layer_computes_with_its_rounded_weights_and_hands_gradients_on() -> None:
    linear = nn.Linear(64, 48)
    small = nf4.NF4Linear(linear, 64)
    x = normal(5, 64).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    small(x).square().sum().backward()
    nn.functional.linear(twin, small.weight, linear.bias).square().sum().backward()
    assert torch.allclose(x.grad, twin.grad, rtol=1e-5, atol=1e-5)
    assert [name for name, _ in small.named_parameters()] == ["bias"], "no parameter, so no gradient, for W"
    assert max(buffer.numel() for buffer in small.buffers()) == 64 * 48 // 2


def test_no_pass_keeps_a_whole_matrix_until_the_way_back() -> None:
    layers = nn.Sequential(*(nf4.NF4Linear(nn.Linear(64, 64, bias=False)) for _ in range(3)))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        layers(normal(2, 64).requires_grad_())
    assert all(size < 64 * 64 for size in kept)


def test_every_linear_layer_but_the_head_is_replaced_and_rounding_through_gives_the_same_logits(
    tiny: Path,
) -> None:
    small, rounded = model_of(tiny), model_of(tiny)
    before = copy.deepcopy(rounded.state_dict())
    names = nf4.quantize_model(small, 32)
    assert len(names) == nf4.round_through(rounded, 32) == 14
    assert not any("lm_head" in name or "embed" in name for name in names)
    changed = {name for name, tensor in rounded.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{name}.weight" for name in names}
    ids = torch.arange(20)[None] % 60
    with torch.no_grad():
        assert torch.allclose(small(ids).logits, rounded(ids).logits, atol=1e-5)
    assert nf4.bytes_per_weight(small) <= 0.55
    assert nf4.count_numbers(small) == sum(one.numel() for one in rounded.parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_layers_of_bitsandbytes_hold_the_same_weights_and_give_the_same_gradients() -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 128, bias=False))
    body.get_output_embeddings = lambda: None  # type: ignore[assignment]
    ours, theirs = copy.deepcopy(body), copy.deepcopy(body)
    nf4.quantize_model(ours)
    nf4.quantize_model(theirs, backend="bitsandbytes")
    assert nf4.bytes_per_weight(theirs) == nf4.bytes_per_weight(ours)
    with torch.no_grad():
        theirs.eval()(normal(2, 128))  # from here on, CPUs with 16-bit products would pack the weights anew
    grads = []
    for small in (ours, theirs):
        x = normal(3, 128).requires_grad_()
        small.train()(x).square().sum().backward()
        grads.append(x.grad)
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-5)


def test_bitsandbytes_is_refused_layers_that_it_reads_wrongly(make_run: Make) -> None:
    pytest.importorskip("bitsandbytes")
    folder = make_run("odd", method={"kind": "qlora", "backend": "bitsandbytes"})
    with pytest.raises(
        ConfigError, match=r"a multiple of the block, 64, and those of 14 layers .*q_proj \(32\).*\"torch\""
    ):
        train(folder)


def test_qlora_trains_an_adapter_on_the_rounded_base_and_says_so(make_run: Make, tiny: Path) -> None:
    method = {"kind": "qlora", "rank": 4, "block": 32}
    folder = make_run("small", method=method, epochs=4, warmup=0, learning_rate=1e-2)
    train(folder)
    losses = [event.values["loss"] for event in told(folder, Measured)]
    assert losses[-1] < losses[0] - 0.1
    facts = checkpoints.manifest(folder / "model")
    assert facts["quantization"] == {"kind": "nf4", "block": 32, "double_quantization": True}
    assert facts["base"]["reference"] == str(tiny)
    (started,) = told(folder, Started)
    settings = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert settings["r"] == 4
    assert len(load_file(folder / "model" / "adapter_model.safetensors")) == 2 * 14
    assert started.parameters - started.trained == sum(one.numel() for one in model_of(tiny).parameters())
    assert any("14 layers are kept in four bits by torch: 4.3" in note.text for note in told(folder, Noted))


def test_what_goes_on_from_qlora_stands_on_the_same_rounded_base(make_run: Make, tiny: Path) -> None:
    quantized = make_run(
        "first", method={"kind": "qlora", "block": 32, "double_quantization": False}, epochs=2
    )
    train(quantized)
    again = {"epochs": 1, "warmup": 0, "batch_size": 24, "model": "run:first"}
    losses = {}
    for name, method in {
        "qlora": {"kind": "qlora", "block": 256},
        "lora": "lora",
        "sft": "sft",
    }.items():
        folder = make_run(name, method=method, **again)
        train(folder)
        losses[name] = told(folder, Measured)[0].values["loss"]
        expected = None if name == "sft" else checkpoints.manifest(quantized / "model")["quantization"]
        assert checkpoints.manifest(folder / "model").get("quantization") == expected
    assert losses["lora"] == pytest.approx(losses["qlora"], abs=1e-5)
    assert losses["sft"] == pytest.approx(losses["qlora"], abs=1e-5)
    bare = make_run("bare", method="lora", **again | {"model": str(tiny)})
    train(bare)
    assert abs(told(bare, Measured)[0].values["loss"] - losses["lora"]) > 1e-3


def test_a_run_learns_the_same_whoever_keeps_the_four_bits(make_run: Make) -> None:
    pytest.importorskip("bitsandbytes")
    losses = {}
    for backend in ("torch", "bitsandbytes"):
        method = {"kind": "qlora", "block": 32, "backend": backend}
        folder = make_run(backend, method=method, model="wren-xs", max_steps=3, warmup=0, learning_rate=1e-2)
        train(folder)
        losses[backend] = [event.values["loss"] for event in told(folder, Measured)]
        assert any(f"in four bits by {backend}" in note.text for note in told(folder, Noted))
    assert losses["bitsandbytes"] == pytest.approx(losses["torch"], abs=1e-4)
    assert losses["torch"][-1] < losses["torch"][0]
