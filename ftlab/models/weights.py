"""Weights in memory: a base once, with every adapter that is asked for on top of it.

LoRA adapters lie beside the base's own linear layers, and one forward pass serves rows of several of them and of
the bare base. Rows of one adapter stand together, so that each adapter's part is a view and two thin products;
PEFT's own mixed batches index and copy rows in every layer instead, which costs more than a small model's pass.
"""

import gc
import json
import os
import types
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftlab.errors import ModelError
from ftlab.models.decoding import Forward
from ftlab.models.fingerprints import base_sha256, count_numbers, text_sha256

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

BARE = "__base__"
"""The name, among adapters, of none."""

_MEMORY_VARIABLE = "FTLAB_MODEL_MEMORY_MIB"
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SOFT_PROMPTS = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT"}
# Starting values that leave the base's own weights alone; the others change them when the adapter is put on.
_HARMLESS_STARTS = {True, False, None, "gaussian", "orthogonal", "eva", "mica", "lora_ga"}


class Base:
    """A base model in memory and the adapters on it; `adapters` are by name, the newest last."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, reference: str) -> None:
        self.folder, self.device = folder, device
        self.model = _read(folder, dtype, device, reference)
        self.context = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)
        self.adapters: dict[str, bool] = {}  # whether its rows may stand in one batch with others'
        self._peft: PeftModel | None = None
        self._segments: list[tuple[str, int, int]] | None = None  # (adapter, first row, row behind the last)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, adapters included; tied ones count once."""
        seen = {weight.data_ptr(): weight.nbytes for weight in self.model.parameters()}
        return sum(seen.values())

    @property
    def vocabulary(self) -> int:
        """How many ids the model has embeddings for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def put_on(self, folder: Path, name: str, reference: str) -> None:
        """Load an adapter under a name; nothing happens where it is loaded already.

        Raises ModelError where it does not fit this base, weight by weight.
        """
        if name in self.adapters:
            return
        from peft import PeftModel

        config = adapter_config(folder, reference)
        config.inference_mode = True
        if config.peft_type == "LORA" and config.init_lora_weights in _HARMLESS_STARTS:  # type: ignore[attr-defined]
            config.init_lora_weights = False  # type: ignore[attr-defined]  # overwritten in a moment
        try:
            if self._peft is None:
                self._peft = PeftModel(self.model, config, adapter_name=name, autocast_adapter_dtype=False)
            else:
                self._peft.add_adapter(name, config)
            outcome = self._peft.load_adapter(
                str(folder), name, is_trainable=False, autocast_adapter_dtype=False, torch_device=str(self.device)
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(f"{reference}: the adapter does not fit {self.folder}: {_first_line(error)}") from error
        amiss = [f"missing {key}" for key in outcome.missing_keys if f".{name}" in key]
        amiss += [f"superfluous {key}" for key in outcome.unexpected_keys]
        if amiss:
            raise ModelError(
                f"{reference}: the adapter was made for another model than {self.folder}: {amiss[0]}"
                + (f" and {len(amiss) - 1} more" if len(amiss) > 1 else "")
            )
        self._peft.eval()
        # Off for good: rows get their adapters through `_segments`, and `switched` turns one on for a while.
        self._peft.base_model.disable_adapter_layers()
        self.adapters[name] = self._is_mixable(name, config)

    def is_mixable(self, name: str) -> bool:
        """Whether rows of this adapter may stand in one batch with rows of others."""
        return name == BARE or self.adapters[name]

    def forward_for(self, names: Sequence[str]) -> Forward:
        """A forward pass for rows of these adapters, in this order, equal names side by side."""
        if any(not self.is_mixable(name) for name in names):
            return self._switched(names[0])

        def forward(alive: Sequence[int], **inputs: Any) -> Any:
            self._segments = _segments([names[row] for row in alive])
            try:
                return self.model(**inputs)
            finally:
                self._segments = None

        return forward

    def _switched(self, name: str) -> Forward:
        peft = self._peft
        assert peft is not None

        def forward(_alive: Sequence[int], **inputs: Any) -> Any:
            peft.base_model.set_adapter(name, inference_mode=True)
            peft.base_model.enable_adapter_layers()
            try:
                return self.model(**inputs)
            finally:
                peft.base_model.disable_adapter_layers()

        return forward

    def _is_mixable(self, name: str, config: "PeftConfig") -> bool:
        from peft.tuners.lora.layer import Linear, LoraLayer

        plain = ("modules_to_save", "trainable_token_indices", "target_parameters", "lora_bias", "alora_invocation_tokens")
        if config.peft_type != "LORA" or any(getattr(config, setting, None) for setting in plain):
            return False
        layers = [layer for layer in self.model.modules() if isinstance(layer, LoraLayer) and _has(layer, name)]
        fits = all(
            isinstance(layer, Linear)
            and type(layer.get_base_layer()) is nn.Linear
            and name in layer.lora_A
            and name not in layer.lora_variant
            and not layer.fan_in_fan_out
            for layer in layers
        )
        if fits:
            for layer in layers:
                layer.forward = types.MethodType(self._layer_forward, layer)
        return fits

    def _layer_forward(self, layer: Any, x_BTD: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if self._segments is None:
            output: Tensor = type(layer).forward(layer, x_BTD, *arguments, **options)
            return output
        output = layer.base_layer(x_BTD)
        for name, start, end in self._segments:
            if name in layer.lora_A:
                rows_ND = x_BTD[start:end].reshape(-1, x_BTD.shape[-1])
                thin_NR = nn.functional.linear(rows_ND, layer.lora_A[name].weight)
                part = output[start:end].view(-1, output.shape[-1])
                part.addmm_(thin_NR, layer.lora_B[name].weight.T, alpha=layer.scaling[name])
        return output


_bases: "OrderedDict[tuple[str, ...], Base]" = OrderedDict()


def base_for(folder: Path, adapter: Path | None, adapter_name: str, reference: str) -> Base:
    """The base in this folder, shared by all that ask; the longest unused are let go where memory is short.

    Adapters of one kind share a base. One whose starting values change the base's weights gets its own.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = count_numbers(folder)
    dtype = _dtype(device, numbers)
    settings = text_sha256((folder / "config.json").read_text("utf-8"))
    kind = "" if adapter is None else _kind(adapter_config(adapter, reference), adapter_name)
    key = (base_sha256(folder), settings, str(dtype), str(device), kind)
    if key not in _bases:
        _make_room(numbers * dtype.itemsize)
        _bases[key] = Base(folder, dtype, device, reference)
    _bases.move_to_end(key)
    return _bases[key]


def forget(base: Base | None = None) -> None:
    """Let go of a base, or of all; models that are still held elsewhere keep theirs."""
    for key in [key for key, held in _bases.items() if base is None or held is base]:
        del _bases[key]
    gc.collect()


def loaded() -> list[Base]:
    """The bases in memory, the longest unused first."""
    return list(_bases.values())


def adapter_config(folder: Path, reference: str) -> "PeftConfig":
    """An adapter's settings. Raises ModelError where they cannot be read, or ask for what cannot be shared."""
    from peft import PeftConfig

    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{reference}: {folder}/adapter_config.json cannot be read: {_first_line(error)}") from error
    if config.peft_type in _SOFT_PROMPTS:
        raise ModelError(f"{reference}: soft prompts ({config.peft_type}) cannot be answered with; wanted LoRA or its like")
    return config


def memory_limit() -> int:
    """Bytes that bases may take together: $FTLAB_MODEL_MEMORY_MIB, else half of what this machine or container has."""
    text = os.environ.get(_MEMORY_VARIABLE)
    if text:
        if not text.isdigit():
            raise ModelError(f"{_MEMORY_VARIABLE} is {text!r}; wanted a whole number of MiB")
        return int(text) << 20
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, _CGROUP_LIMITS):
        limit = path.read_text("ascii").strip() if path.is_file() else ""
        total = min(total, int(limit)) if limit.isdigit() else total
    return total // 2


def _make_room(nbytes: int) -> None:
    limit = memory_limit()
    while _bases and sum(base.nbytes for base in _bases.values()) + nbytes > limit:
        _bases.popitem(last=False)
        gc.collect()


def _dtype(device: torch.device, numbers: int) -> torch.dtype:
    """16 bits on a GPU, 32 on a CPU while they fit.

    Measured on SmolLM2-135M, one thread of a CPU with AVX512-BF16, 4 rows: 64 ms a step in 32 bits, 38 in
    bfloat16, and half the memory. But with bfloat16, 3 of 6 sampled answers of 40 tokens changed with the rows
    beside them, and with 32 bits none did: an answer must not depend on its neighbours.
    """
    if device.type == "cuda":
        return torch.bfloat16
    return torch.float32 if 4 * numbers <= memory_limit() else torch.bfloat16


def _kind(config: "PeftConfig", name: str) -> str:
    if config.peft_type != "LORA":
        return str(config.peft_type)
    return "" if config.init_lora_weights in _HARMLESS_STARTS else name  # type: ignore[attr-defined]


def _read(folder: Path, dtype: torch.dtype, device: torch.device, reference: str) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for each small model buries what a notebook has to say
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, json.JSONDecodeError) as error:
        raise ModelError(f"{reference}: no causal language model can be read in {folder}: {_first_line(error)}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return model.to(device).eval().requires_grad_(False)


def _segments(names: Sequence[str]) -> list[tuple[str, int, int]]:
    found, start = [], 0
    for name, run in groupby(names):
        end = start + sum(1 for _ in run)
        found.append((name, start, end))
        start = end
    return found


def _has(layer: Any, name: str) -> bool:
    return name in layer.lora_A or name in layer.lora_embedding_A


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] if lines else type(error).__name__
