"""Adapters that may be cut to any rank: DyLoRA (Valipour et al. 2023), in the form of PEFT's layers.

A step draws a rank b and computes h = W x + (alpha / b) B[:, :b] A[:b] x. Every rank is a parameter of its own, so
that an optimiser leaves those above b alone: no gradient, no momentum, no decay. Saved, they are plain LoRA.

Axes: R rank, I and O the layer's inputs and outputs, N token.
"""

import random
import types
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARE = 0.5  # of the geometric draw: each rank is drawn half as often as the one below


class Draw:
    """The rank that is in force, and how it is drawn; one for all layers of a model."""

    def __init__(
        self,
        most: int,
        least: int = 1,
        *,
        kind: Literal["uniform", "geometric"] = "uniform",
        update: Literal["normal", "frozen"] = "normal",
        seed: int = 0,
    ) -> None:
        self.most, self.least, self.kind, self.update, self.seed = most, least, kind, update, seed
        self.rank = most

    def at(self, step: int) -> int:
        """The rank of this step, from 0 on; it follows from seed and step alone, so that a resumed run draws alike."""
        rng = random.Random(f"{self.seed}/{step}")
        ranks = range(self.least, self.most + 1)
        if self.kind == "uniform":
            return rng.choice(ranks)
        return rng.choices(ranks, [SHARE**place for place in range(len(ranks))])[0]


class Thin(nn.Module):
    """One of the two thin matrices in place of PEFT's linear layer, under the same name in a state: `weight`.

    axis: which of its axes is the rank, 0 for A (RI) and 1 for B (OR).
    """

    def __init__(self, weight: Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.ranks = weight.shape[axis]
        self.bias = None  # PEFT's layers ask
        for number, row in enumerate(weight.detach().unbind(axis)):
            self.register_parameter(f"rank_{number}", nn.Parameter(row.clone()))

    def first(self, count: int, *, last_only: bool = False) -> Tensor:
        """The first so many ranks, one a row; with `last_only`, those before the last are there but do not learn."""
        rows = [getattr(self, f"rank_{number}") for number in range(count)]
        if last_only:
            rows = [*(row.detach() for row in rows[:-1]), rows[-1]]
        return torch.stack(rows)

    @property
    def weight(self) -> Tensor:
        """All ranks, laid as PEFT lays them: RI or OR."""
        rows = self.first(self.ranks)
        return rows.T if self.axis else rows

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        weight = self.weight.contiguous()
        destination[f"{prefix}weight"] = weight if keep_vars else weight.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        _, _, missing, _, errors = rest
        key = f"{prefix}weight"
        if key not in state_dict:
            missing.append(key)
            return
        rows = state_dict[key].unbind(self.axis)
        if len(rows) != self.ranks:
            errors.append(f"{key}: {len(rows)} ranks where {self.ranks} were expected")
            return
        with torch.no_grad():
            for number, row in enumerate(rows):
                getattr(self, f"rank_{number}").copy_(row)


def split(model: Any, draw: Draw) -> int:
    """Makes each rank of the model's LoRA layers a parameter of its own, drawn by `draw`; returns how many layers."""
    from peft.tuners.lora.layer import Linear

    count = 0
    for layer in model.modules():
        if isinstance(layer, Linear):
            (name,) = layer.active_adapters
            layer.lora_A[name] = Thin(layer.lora_A[name].weight, 0)
            layer.lora_B[name] = Thin(layer.lora_B[name].weight, 1)
            layer.forward = types.MethodType(_forward_of(draw), layer)
            count += 1
    return count


def _forward_of(draw: Draw) -> Any:
    def forward(layer: Any, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if layer.disable_adapters or layer.merged or arguments or options:
            whole: Tensor = type(layer).forward(layer, x, *arguments, **options)
            return whole
        (name,) = layer.active_adapters
        a, b = layer.lora_A[name], layer.lora_B[name]
        rank = draw.rank if layer.training else a.ranks
        alone = layer.training and draw.update == "frozen"
        base = layer.base_layer(x).view(-1, layer.out_features)
        inputs = layer.lora_dropout[name](x.reshape(-1, x.shape[-1]))
        a_RI, b_RO = (thin.first(rank, last_only=alone).to(x.dtype) for thin in (a, b))
        thin_NR = functional.linear(inputs, a_RI) * (layer.lora_alpha[name] / rank)
        return base.addmm(thin_NR, b_RO).view(*x.shape[:-1], -1)

    return forward


class Drawing:
    """Stands before a trainer in its bases: draws a rank before each step, and tells it."""

    draw: Draw
    state: Any

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        self.draw.rank = self.draw.at(self.state.global_step)
        return super().training_step(*arguments, **options)  # type: ignore[misc]

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        if "loss" in logs:
            logs = {**logs, "drawn_rank": float(self.draw.rank)}
        super().log(logs, *arguments, **options)  # type: ignore[misc]
