"""Plain LoRA adapters beside a model's own linear layers, all of them in one forward pass.

A linear layer W with adapters k answers row b as W x + B_k A_k x (Hu et al. 2021, eq. 3), k chosen row by row; a
blend is the sum over several k, each with its weight.
Rows of one adapter stand together; where all adapters have as many rows, one batched product serves them all.
PEFT's own mixed batches index and copy rows in every layer, which costs more than a small model's whole pass,
and putting an adapter on through PEFT takes half a second on 30 layers; here it is a stack of two tensors.

Axes: N adapter, B row, T token, M rows of one adapter times tokens, I and O the layer's inputs and outputs, R rank.
"""

import types
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftlab.errors import ModelError
from ftlab.models.mixtures import HARMLESS_STARTS, MORE, scale_of

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True)
class Share:
    """What a row has of one adapter: its place, so many of its ranks (None: all), and how often it counts."""

    place: int
    rank: int | None = None
    factor: float = 1.0


@dataclass
class Rows:
    """Which adapters each row of a batch has: (shares, first row, row behind the last), bare rows left out.

    `even_from` is the first adapted row where every adapter there is has the same number of rows, in order.
    """

    segments: list[tuple[tuple[Share, ...], int, int]]
    even_from: int | None


class Adapters:
    """The plain adapters on one model: names in the order of their loading, and each layer's stacks."""

    def __init__(self, model: nn.Module) -> None:
        # By the names of the bare model: PEFT, should it come on top, moves a layer but keeps the object.
        self.linears = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
        self.names: list[str] = []
        self.mixtures: dict[str, tuple[Share, ...]] = {}
        self.rows: Rows | None = None
        self._stacks: dict[str, _Stack] = {}
        self._settings: dict[str, Any] = {}

    def put_on(self, name: str, config: "PeftConfig", folder: Path, reference: str) -> None:
        """Stack an adapter's matrices onto the layers that they belong to.

        Raises ModelError where a layer or a shape does not fit, or where one is missing.
        """
        settings: Any = config
        scale = scale_of(settings, settings.r)
        pairs = self._fitting(read_tensors(folder, reference), settings, folder, reference)
        place = len(self.names)
        for layer, (a_RI, b_OR) in pairs.items():
            if layer not in self._stacks:
                linear = self.linears[layer]
                self._stacks[layer] = _Stack(linear)
                linear.forward = types.MethodType(self._forward_of(self._stacks[layer]), linear)
            self._stacks[layer].put(place, a_RI, b_OR.T * scale)
        self.names.append(name)
        self._settings[name] = settings
        for stack in self._stacks.values():
            stack.widen(len(self.names))

    def mix(self, name: str, parts: Sequence[tuple[str, float, int | None]]) -> None:
        """A name for (adapter's name, weight, its first ranks or None for all) of each part; no tensor is made.

        Rows add their shares up, so that another weight costs as little as another adapter.
        """
        shares = []
        for adapter, weight, rank in parts:
            settings = self._settings[adapter]
            recount = 1.0 if rank is None else scale_of(settings, rank) / scale_of(settings, settings.r)
            shares.append(Share(self.names.index(adapter), rank, weight * recount))
        self.mixtures[name] = tuple(shares)

    def arrange(self, names: Sequence[str]) -> Rows:
        """Where each adapter's rows lie. Equal names must stand side by side."""
        segments, start = [], 0
        for name, run in groupby(names):
            end = start + sum(1 for _ in run)
            shares = (Share(self.names.index(name)),) if name in self.names else self.mixtures.get(name)
            if shares:
                segments.append((shares, start, end))
            start = end
        counts = {end - first for _, first, end in segments}
        whole = [(Share(place),) for place in range(len(self.names))]
        is_even = (
            [shares for shares, _, _ in segments] == whole
            and len(counts) == 1
            and segments[-1][2] == len(names)
        )
        return Rows(segments, segments[0][1] if is_even else None)

    def _forward_of(self, stack: "_Stack") -> Any:
        def forward(linear: nn.Linear, x: Tensor) -> Tensor:
            output = nn.functional.linear(x, linear.weight, linear.bias)
            if self.rows is not None and self.rows.segments:
                stack.add(output, x, self.rows)
            return output

        return forward

    def _fitting(
        self, tensors: dict[str, Tensor], config: Any, folder: Path, reference: str
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Layer -> (A_RI, B_OR), once all of them are seen to fit and none to be missing."""
        from peft.tuners.tuners_utils import check_target_module_exists

        pairs = {}
        for key in sorted(tensors):
            layer, found, kind = key.removeprefix("base_model.model.").partition(".lora_")
            if not found or layer not in self.linears or kind not in {"A.weight", "B.weight"}:
                raise ModelError(
                    f"{reference}: the adapter does not fit its base, which has no place for {key}"
                )
            pairs[layer] = (
                tensors.get(f"base_model.model.{layer}.lora_A.weight"),
                tensors.get(f"base_model.model.{layer}.lora_B.weight"),
            )
        wanted = {layer for layer in self.linears if check_target_module_exists(config, layer)}
        missing = sorted(wanted - set(pairs)) + [layer for layer, pair in pairs.items() if None in pair]
        if missing or not pairs:
            raise ModelError(
                f"{reference}: the adapter in {folder} is missing weights for {len(missing)} layers of its base, "
                f"such as {missing[0] if missing else 'every one'}; it was made for another model, or is damaged"
            )
        whole: dict[str, tuple[Tensor, Tensor]] = {}
        for layer, (a_RI, b_OR) in pairs.items():
            assert a_RI is not None and b_OR is not None  # noqa: PT018 -- seen above
            linear = self.linears[layer]
            if a_RI.shape != (config.r, linear.in_features) or b_OR.shape != (linear.out_features, config.r):
                raise ModelError(
                    f"{reference}: the adapter does not fit its base: at {layer} it has {config.r} x {a_RI.shape[-1]} "
                    f"and {b_OR.shape[0]} x {config.r}, the layer {linear.in_features} inputs and "
                    f"{linear.out_features} outputs; take the base that it was trained on"
                )
            whole[layer] = (a_RI, b_OR)
        return whole


class _Stack:
    """One layer's thin matrices, A_NIR and B_NRO with the scale in it; zeros where an adapter leaves it alone."""

    def __init__(self, linear: nn.Linear) -> None:
        kind = {"dtype": linear.weight.dtype, "device": linear.weight.device}
        self.a_NIR = torch.zeros(0, linear.in_features, 0, **kind)
        self.b_NRO = torch.zeros(0, 0, linear.out_features, **kind)

    def put(self, place: int, a_RI: Tensor, b_RO: Tensor) -> None:
        self.widen(place + 1, a_RI.shape[0])
        self.a_NIR[place, :, : a_RI.shape[0]] = a_RI.T
        self.b_NRO[place, : b_RO.shape[0]] = b_RO

    def widen(self, count: int, rank: int = 0) -> None:
        """Make room for so many adapters of so high a rank, with zeros."""
        more = count - self.a_NIR.shape[0]
        thicker = max(0, rank - self.a_NIR.shape[2])
        if more > 0 or thicker > 0:
            self.a_NIR = nn.functional.pad(self.a_NIR, (0, thicker, 0, 0, 0, max(0, more)))
            self.b_NRO = nn.functional.pad(self.b_NRO, (0, 0, 0, thicker, 0, max(0, more)))

    def add(self, output: Tensor, x: Tensor, rows: Rows) -> None:
        """Add every adapter's part to the rows that have it, in place."""
        count, inputs, _ = self.a_NIR.shape
        if rows.even_from is not None:
            thin_NMR = torch.bmm(x[rows.even_from :].reshape(count, -1, inputs), self.a_NIR)
            output[rows.even_from :].view(count, -1, output.shape[-1]).baddbmm_(thin_NMR, self.b_NRO)
            return
        for shares, start, end in rows.segments:
            x_MI, output_MO = x[start:end].reshape(-1, inputs), output[start:end].view(-1, output.shape[-1])
            for share in shares:
                thin_MR = x_MI @ self.a_NIR[share.place, :, : share.rank]
                output_MO.addmm_(thin_MR, self.b_NRO[share.place, : share.rank], alpha=share.factor)


def is_plain(config: "PeftConfig") -> bool:
    """Whether the adapter is two thin matrices a layer and nothing else."""
    return (
        config.peft_type == "LORA"
        and not any(getattr(config, setting, None) for setting in MORE)
        and getattr(config, "bias", "none") == "none"
        and getattr(config, "init_lora_weights", True) in HARMLESS_STARTS
    )


def read_tensors(folder: Path, reference: str) -> dict[str, Tensor]:
    """An adapter's tensors by their names. Raises ModelError where its file cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{reference}: {path} cannot be read ({error}); copy or save it again") from error
    return tensors
