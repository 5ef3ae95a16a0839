"""Weights in memory: a base once, with every adapter that is asked for on top of it."""

import contextlib
import gc
import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ftlab.errors import ModelError
from ftlab.models import soft
from ftlab.models.decoding import Forward
from ftlab.models.fingerprints import base_sha256, count_numbers, text_sha256
from ftlab.models.lora import Adapters, is_plain
from ftlab.models.mixtures import HARMLESS_STARTS
from ftlab.models.soft import Soft
from ftlab.models.source import Rounding

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

BARE = "__base__"
"""The name, among adapters, of none."""

_MEMORY_VARIABLE = "FTLAB_MODEL_MEMORY_MIB"
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN_PROMPTS = {"MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE"}
# Below this many numbers a second thread gains nothing, and on a busy machine the two wait for each other.
_TINY = 20_000_000


class Base:
    """A base model in memory and the adapters on it: plain LoRA and soft prompts are ours, all others PEFT's."""

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: torch.device,
        reference: str,
        rounding: Rounding | None,
    ) -> None:
        self.folder, self.device = folder, device
        self.model = _read(folder, dtype, device, reference, rounding)
        self.context = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)
        self.plain = Adapters(self.model)
        self.soft: dict[str, Soft] = {}
        self._peft: PeftModel | None = None
        self._others: set[str] = set()

    @property
    def adapters(self) -> list[str]:
        """The names of all that are loaded."""
        return [*self.plain.names, *self.soft, *sorted(self._others)]

    @property
    def nbytes(self) -> int:
        """Bytes of the base's weights; tied ones count once."""
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
        if name in self.plain.names or name in self.soft or name in self._others:
            return
        config = adapter_config(folder, reference)
        if config.peft_type in soft.KINDS:
            self.soft[name] = soft.read(folder, config, self.model, reference)
        elif is_plain(config):
            self.plain.put_on(name, config, folder, reference)
        else:
            self._put_on_by_peft(folder, name, config, reference)
            self._others.add(name)

    def is_mixable(self, name: str) -> bool:
        """Whether rows of this adapter may stand in one batch with rows of others."""
        return name not in self._others

    def place(self, name: str) -> tuple[int, str]:
        """Where rows of this adapter belong in a batch: bare ones first, then in the order of loading, then blends."""
        if name in self.plain.mixtures:
            return len(self.plain.names), name
        return (self.plain.names.index(name) if name in self.plain.names else -1), name

    def forward_for(self, names: Sequence[str]) -> Forward:
        """A forward pass for rows of these adapters, in this order, equal names side by side."""
        if any(not self.is_mixable(name) for name in names):
            return self._switched(names[0])

        def forward(alive: Sequence[int], **inputs: Any) -> Any:
            self.plain.rows = self.plain.arrange([names[row] for row in alive])
            try:
                return self._run(inputs)
            finally:
                self.plain.rows = None

        return forward

    def _switched(self, name: str) -> Forward:
        peft = self._peft
        assert peft is not None, "an adapter that PEFT put on came with it"

        def forward(_alive: Sequence[int], **inputs: Any) -> Any:
            peft.base_model.set_adapter(name, inference_mode=True)
            peft.base_model.enable_adapter_layers()
            try:
                return self._run(inputs)
            finally:
                peft.base_model.disable_adapter_layers()

        return forward

    def _run(self, inputs: dict[str, Any]) -> Any:
        with fitting_threads(self.model):
            return self.model(**inputs)

    def _put_on_by_peft(self, folder: Path, name: str, config: "PeftConfig", reference: str) -> None:
        from peft import PeftModel

        config.inference_mode = True
        try:
            if self._peft is None:
                with warnings.catch_warnings():  # PEFT asks transformers by a name that is about to go
                    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
                    self._peft = PeftModel(
                        self.model, config, adapter_name=name, autocast_adapter_dtype=False
                    )
            else:
                self._peft.add_adapter(name, config)
            outcome = self._peft.load_adapter(
                str(folder),
                name,
                is_trainable=False,
                autocast_adapter_dtype=False,
                torch_device=str(self.device),
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                f"{reference}: the adapter does not fit {self.folder}: {_first_line(error)}"
            ) from error
        amiss = [f"missing {key}" for key in outcome.missing_keys if f".{name}" in key]
        amiss += [f"superfluous {key}" for key in outcome.unexpected_keys]
        if amiss:
            raise ModelError(
                f"{reference}: the adapter was made for another model than {self.folder}: {amiss[0]}"
                + (f" and {len(amiss) - 1} more" if len(amiss) > 1 else "")
            )
        self._peft.eval()
        self._peft.base_model.disable_adapter_layers()  # `_switched` turns one on for as long as a pass takes


@contextlib.contextmanager
def fitting_threads(model: Any) -> Iterator[None]:
    """One thread for a tiny model on a CPU, and as many as before for any other."""
    if model.device.type != "cpu" or model.num_parameters() >= _TINY:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_bases: "OrderedDict[tuple[str, ...], Base]" = OrderedDict()


def base_for(
    folder: Path, adapter: Path | None, adapter_name: str, reference: str, rounding: Rounding | None = None
) -> Base:
    """The base in this folder, shared by all that ask; the longest unused are let go where memory is short.

    Adapters share a base but for those kinds that PEFT cannot put on one model together. One whose starting values
    change the base's weights gets its own, and so do those that learned on a base of rounded weights.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = count_numbers(folder)
    dtype = _dtype(device, numbers)
    settings = text_sha256((folder / "config.json").read_text("utf-8"))
    kind = "" if adapter is None else _kind(adapter_config(adapter, reference), adapter_name)
    key = (base_sha256(folder), settings, str(dtype), str(device), kind, str(rounding))
    if key not in _bases:
        _make_room(numbers * dtype.itemsize)
        _bases[key] = Base(folder, dtype, device, reference, rounding)
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
        raise ModelError(
            f"{reference}: {folder}/adapter_config.json cannot be read: {_first_line(error)}"
        ) from error
    if config.peft_type in _UNKNOWN_PROMPTS:
        raise ModelError(
            f"{reference}: an adapter of the kind {config.peft_type} cannot be answered with; wanted LoRA or its like, "
            "prompt tuning, P-tuning or prefix tuning"
        )
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
    if config.peft_type in soft.KINDS:
        return ""
    if config.peft_type != "LORA":
        return str(config.peft_type)
    return "" if config.init_lora_weights in HARMLESS_STARTS else name


def _read(
    folder: Path, dtype: torch.dtype, device: torch.device, reference: str, rounding: Rounding | None
) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for each small model buries what a notebook has to say
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype if rounding is None else "auto",  # rounded from what is stored, as in training
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{reference}: no causal language model can be read in {folder}: {_first_line(error)}"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    if rounding is not None:
        from ftlab.methods import nf4

        nf4.round_through(model, rounding.block, rounding.double_quantization, dtype=dtype)
        model = model.to(dtype)
    return model.to(device).eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] if lines else type(error).__name__
