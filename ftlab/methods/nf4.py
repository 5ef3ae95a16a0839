"""Weights of four bits: NF4, the levels of a normal distribution, one scale a block (Dettmers et al. 2023, QLoRA).

A weight is stored as the nearest of 16 levels, times the largest magnitude of its block. With double quantization the
scales themselves are kept in 8 bits, in blocks of 256, less their mean. Layers of bitsandbytes are
made of the numbers found here, so that an adapter is served on the very weights that it was trained on.

Axes: N number of a matrix, laid row by row; K block; S number within a block; O, I outputs and inputs of a layer.
"""

import importlib.util
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftlab.errors import ConfigError

OFFSET = 0.9677083
"""The quantile of the outermost level: the one that costs a normally distributed weight least."""
SCALES = 256  # blocks that share a scale of scales
LEAST = 1e-38  # what a block of zeros is divided by


@cache
def levels() -> Tensor:
    """The 16 levels from -1 to 1, rising: 7 below zero, zero, 8 above, each as likely as the next."""
    above = torch.special.ndtri(torch.linspace(OFFSET, 0.5, 9)[:-1].double())
    below = -torch.special.ndtri(torch.linspace(OFFSET, 0.5, 8)[:-1].double())
    found = torch.cat([below, above.new_zeros(1), above]).sort().values.float()
    return found / found.max()


@cache
def scale_levels() -> Tensor:
    """256 levels from -1 to 1, denser towards zero: 1 sign, an exponent and a fraction of bits that vary (Dettmers 2016)."""
    found = [torch.tensor([0.0, 1.0])]
    for exponent in range(7):
        bounds = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = 10.0 ** (exponent - 6) * ((bounds[:-1] + bounds[1:]) / 2)
        found += [middles, -middles]
    return torch.cat(found).sort().values


def bits_per_weight(block: int = 64, *, double_quantization: bool = True) -> float:
    """What one weight takes, its share of the scales included: 4.127 for blocks of 64."""
    return 4 + (8 / block + 32 / (block * SCALES) if double_quantization else 32 / block)


def pack(codes_N: Tensor) -> Tensor:
    """Two codes of 0 to 15 a byte, the first in the upper half; N is even."""
    codes_N = codes_N.to(torch.uint8)
    return codes_N[::2] << 4 | codes_N[1::2]


def unpack(packed: Tensor) -> Tensor:
    """The codes again, as bytes of their own."""
    return torch.stack([packed >> 4, packed & 15], dim=1).view(-1)


@dataclass(frozen=True)
class Quantized:
    """A matrix in NF4. `scales` (K) are numbers, or, where `second` and `mean` are there, codes of numbers."""

    packed: Tensor
    scales: Tensor
    second: Tensor | None
    mean: Tensor | None
    shape: torch.Size
    block: int

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix as it is reckoned with; each level times its block's scale, in 32 bits first."""
        pairs = functional.embedding(self.packed.int(), _pairs(self.packed.device))
        whole = pairs.view(-1, self.block).mul_(self.whole_scales()[:, None]).view(-1)
        return whole[: math.prod(self.shape)].view(self.shape).to(dtype)

    def whole_scales(self) -> Tensor:
        """The largest magnitude of each block, as far as it was kept."""
        if self.second is None or self.mean is None:
            return self.scales
        coarse = functional.embedding(self.scales.int(), scale_levels().to(self.packed.device)[:, None])[:, 0]
        return coarse * self.second.repeat_interleave(SCALES)[: len(coarse)] + self.mean

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        kept = (self.packed, self.scales, self.second, self.mean)
        return sum(tensor.nbytes for tensor in kept if tensor is not None)


@cache
def _pairs(device: torch.device) -> Tensor:
    """Both levels of each byte: one look-up gives two weights."""
    byte = torch.arange(256)
    return levels()[torch.stack([byte >> 4, byte & 15], dim=1)].to(device)


def quantize(weight_OI: Tensor, block: int = 64, *, double_quantization: bool = True) -> Quantized:
    """The nearest levels, and the scales; the last block is filled up with zeros where numbers lack."""
    flat_N = weight_OI.detach().reshape(-1).float()
    blocks_KS = functional.pad(flat_N, (0, -len(flat_N) % block)).view(-1, block)
    scales_K, codes_KS = _nearest(blocks_KS, levels().to(flat_N.device))
    packed = pack(codes_KS.view(-1))
    if not double_quantization:
        return Quantized(packed, scales_K, None, None, weight_OI.shape, block)
    mean = scales_K.mean()
    centred = functional.pad(scales_K - mean, (0, -len(scales_K) % SCALES)).view(-1, SCALES)
    second, codes = _nearest(centred, scale_levels().to(flat_N.device))
    kept = codes.view(-1)[: len(scales_K)].to(torch.uint8)
    return Quantized(packed, kept, second, mean, weight_OI.shape, block)


def _nearest(blocks_KS: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The largest magnitude of each block, and the place of the nearest level to each number over it."""
    most_K = blocks_KS.abs().amax(1)
    scaled_KS = (blocks_KS * (1.0 / most_K.clamp(min=LEAST))[:, None]).clamp_(-1, 1)
    return most_K, torch.bucketize(scaled_KS, (known[:-1] + known[1:]) / 2, out_int32=True)


class NF4Linear(nn.Linear):
    """A linear layer that keeps its weights in NF4 and never learns.

    It is whole again only as long as its product takes, both ways: no more than one layer at a time. `weight` is
    made anew each time it is asked for; writing into it changes nothing.
    """

    packed: Tensor
    scales: Tensor
    second: Tensor | None
    mean: Tensor | None

    def __init__(self, linear: nn.Linear, block: int = 64, *, double_quantization: bool = True) -> None:
        nn.Module.__init__(self)  # of a Linear's own making only the bias is left
        self.in_features, self.out_features = linear.in_features, linear.out_features
        kept = quantize(linear.weight, block, double_quantization=double_quantization)
        self.block = block
        for name in ("packed", "scales", "second", "mean"):
            self.register_buffer(name, getattr(kept, name))
        self.bias = linear.bias

    @property
    def quantized(self) -> Quantized:
        """What is kept."""
        shape = torch.Size((self.out_features, self.in_features))
        return Quantized(self.packed, self.scales, self.second, self.mean, shape, self.block)

    @property
    def weight(self) -> Tensor:
        """The matrix in 32 bits."""
        return self.quantized.dense()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that Linear gives it
        output: Tensor = _Product.apply(input, self)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, block={self.block}, double_quantization={self.second is not None}"


class _Product(torch.autograd.Function):
    """x W^T, of which x has a gradient; W is made whole again on the way back, instead of being kept until then."""

    @staticmethod
    def forward(context: Any, x: Tensor, layer: NF4Linear) -> Tensor:
        context.layer = layer
        return functional.linear(x, layer.quantized.dense(x.dtype))

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ context.layer.quantized.dense(grad.dtype), None


def linears(model: Any) -> dict[str, nn.Linear]:
    """The layers that are kept in four bits: every linear one but the head, which the loss or the score is read from."""
    heads = [model.get_output_embeddings(), getattr(model, "score", None)]
    return {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and not any(layer is head for head in heads)
    }


def quantize_model(
    model: Any,
    block: int = 64,
    *,
    double_quantization: bool = True,
    backend: Literal["torch", "bitsandbytes"] = "torch",
) -> list[str]:
    """Replaces the model's `linears` one after the other by layers of four bits; returns their names.

    Raises ConfigError where bitsandbytes is asked for and is not there, or cannot hold one of the layers.
    """
    found = linears(model)
    reason = unfit_for_bitsandbytes(model, block) if backend == "bitsandbytes" else None
    if reason is not None:
        raise ConfigError(f'method.backend: {reason}; use backend "torch", or another block')
    for name, linear in found.items():
        parent, _, child = name.rpartition(".")
        small = (
            _bitsandbytes_layer(linear, block, double_quantization=double_quantization)
            if backend == "bitsandbytes"
            else NF4Linear(linear, block, double_quantization=double_quantization)
        )
        setattr(model.get_submodule(parent), child, small)
    return list(found)


def round_through(
    model: Any,
    block: int = 64,
    double_quantization: bool = True,
    *,
    dtype: torch.dtype | None = None,
) -> int:
    """Rounds the weights of the model's `linears` to what four bits keep of them, in place; returns how many.

    They are left in the number format `dtype`, or in their own. They should come as they are stored, or longer:
    rounded to a shorter format before, some go to another level.
    """
    found = linears(model)
    with torch.no_grad():
        for layer in found.values():
            kept = quantize(layer.weight, block, double_quantization=double_quantization)
            layer.weight.data = kept.dense(dtype or layer.weight.dtype)
    return len(found)


def bytes_per_weight(model: Any) -> float:
    """Bytes that a weight of the model's four-bit layers takes, its share of the scales included.

    Raises ValueError where there is no such layer.
    """
    layers = _small(model)
    if not layers:
        raise ValueError("the model has no layer of four bits")
    return bytes_kept(model) / sum(layer.in_features * layer.out_features for layer in layers)


def count_numbers(model: Any) -> int:
    """The model's parameters, each number of a four-bit layer among them."""
    small = _small(model)
    packed = {id(layer.weight) for layer in small if not isinstance(layer, NF4Linear)}
    others = sum(one.numel() for one in model.parameters() if id(one) not in packed)
    return others + sum(layer.in_features * layer.out_features for layer in small)


def bytes_kept(model: Any) -> int:
    """Bytes of all four-bit layers' weights and scales together."""
    kept = 0
    for layer in _small(model):
        if isinstance(layer, NF4Linear):
            kept += layer.quantized.nbytes
        else:
            state = layer.weight.quant_state
            inner = state.state2
            kept += layer.weight.nbytes + state.absmax.nbytes + (inner.absmax.nbytes + 4 if inner else 0)
    return kept


def _small(model: Any) -> list[Any]:
    return [one for one in model.modules() if isinstance(one, NF4Linear) or is_bitsandbytes(one)]


def is_bitsandbytes(layer: Any) -> bool:
    """Whether the layer is one of four bits of bitsandbytes; asked without importing it."""
    return type(layer).__name__ == "Linear4bit" and type(layer).__module__.startswith("bitsandbytes.")


def unfit_for_bitsandbytes(model: Any, block: int) -> str | None:
    """Why bitsandbytes cannot hold the model's layers, or None where it can."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed; `pip install bitsandbytes`"
    layers = linears(model).items()
    odd = [f"{name} ({layer.in_features})" for name, layer in layers if layer.in_features % block]
    if not odd:
        return None
    # its CPU kernel reads the wrong scales where a row ends within a block, and says nothing
    return (
        f"bitsandbytes multiplies rightly only where a layer's inputs are a multiple of the block, {block}, and those "
        f"of {len(odd)} layers are not, such as {odd[0]}"
    )


def _bitsandbytes_layer(linear: nn.Linear, block: int, *, double_quantization: bool) -> nn.Module:
    import bitsandbytes as bnb

    kept = quantize(linear.weight, block, double_quantization=double_quantization)
    inner = None
    if kept.second is not None:
        inner = bnb.functional.QuantState(
            kept.second, code=scale_levels().to(kept.packed.device), blocksize=SCALES, dtype=torch.float32
        )
    state = bnb.functional.QuantState(
        kept.scales,
        shape=kept.shape,
        code=levels().to(kept.packed.device),
        blocksize=block,
        quant_type="nf4",
        dtype=torch.float32,
        offset=kept.mean,
        state2=inner,
    )
    layer: Any = bnb.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compress_statistics=double_quantization,
        quant_type="nf4",
        device="meta",
    )
    # Quantized here: bitsandbytes' own CPU kernel takes the other of two equally near scales now and then.
    layer.weight = bnb.nn.Params4bit(
        kept.packed[:, None],
        requires_grad=False,
        quant_state=state,
        blocksize=block,
        compress_statistics=double_quantization,
        quant_type="nf4",
        module=layer,
        bnb_quantized=True,
    )
    layer.quant_state = state
    layer.bias = linear.bias
    # on CPUs with 16-bit products it packs the weights anew at the first pass without gradients, and the gradients
    # of the passes after are wrong
    layer.support_avx512bf16_for_cpu = False
    return layer
