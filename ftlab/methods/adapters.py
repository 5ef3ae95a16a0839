"""Low-rank adapters in the base weights' own number format, one matrix product less each way.

PEFT keeps adapter weights in 32 bits and converts every activation to match, which on a CPU costs more than the
adapter itself. Here the thin weights are converted instead; what learns stays in 32 bits.
"""

import types
from typing import Any

from torch import Tensor
from torch.nn import functional

from ftlab.methods.nf4 import NF4Linear, is_bitsandbytes


def quicken(model: Any) -> int:
    """Replaces the forward of every plain LoRA layer on a frozen linear weight; returns how many there are.

    The weight may be one of four bits. Layers that have a forward of their own already (`nested`) keep it.

    A layer goes back to PEFT's own forward whenever it is merged, switched off, or has not exactly one
    active adapter, so reference passes and generation see what they always saw.
    """
    from peft.tuners.lora.layer import Linear
    from torch import nn

    count = 0
    for layer in model.modules():
        if not isinstance(layer, Linear) or layer.fan_in_fan_out or "forward" in vars(layer):
            continue
        base = layer.base_layer
        if type(base) is nn.Linear or isinstance(base, NF4Linear) or is_bitsandbytes(base):
            layer.forward = types.MethodType(_forward, layer)
            count += 1
    return count


def hasten(optimizer: Any, model: Any, times: float) -> None:
    """Gives B a step size so many times that of A (LoRA+, Hayou et al. 2024); vectors, such as DoRA's, go with B."""
    fast = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (".lora_B." in name or parameter.ndim == 1)
    }
    for group in list(optimizer.param_groups):
        members = group["params"]
        group["params"] = [one for one in members if id(one) not in fast]
        moved = [one for one in members if id(one) in fast]
        if moved:
            optimizer.add_param_group({**group, "params": moved, "lr": group["lr"] * times})


def _forward(layer: Any, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
    active = layer.active_adapters
    name = active[0] if len(active) == 1 else None
    if (
        name not in layer.lora_A
        or layer.disable_adapters
        or layer.merged
        or name in layer.lora_variant
        or arguments
        or options
        or layer.lora_A[name].bias is not None
        or layer.lora_B[name].bias is not None
    ):
        output: Tensor = type(layer).forward(layer, x, *arguments, **options)
        return output
    rows_ND = x.reshape(-1, x.shape[-1])
    thin_NR = (
        functional.linear(layer.lora_dropout[name](rows_ND), layer.lora_A[name].weight.to(x.dtype))
        * layer.scaling[name]
    )
    whole = layer.base_layer(rows_ND).addmm(thin_NR, layer.lora_B[name].weight.to(x.dtype).T)
    return whole.view(*x.shape[:-1], -1)
