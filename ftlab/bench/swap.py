"""Bench `swap`: another adapter, and another blend of adapters, on a base in memory; and rows of all in one batch.

A swap is everything between naming a model and its first forward pass: the reference is read and hashed anew, its
tokenizer looked up, and its adapter chosen. Measured are adapters and blends by turns, as a person would change
between them, each blend with weights that were never asked for before.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.models import Model

MODELS = ("smollm2", "wren")
ADAPTERS = 4
TIMES = 20
PROMPTS = ("What is the capital of France?", "Who are you?", "Name three fruits that grow on trees.")


def measure() -> dict[str, float]:
    """Milliseconds, medians and the slowest of all; `worst_difference` of logits, batched against alone."""
    from ftlab.models import forget

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            made = _make(model, Path(folder) / model)
            found |= {f"{model}_{name}": value for name, value in _measured(made).items()}
            forget()
    names = ("swap_ms", "blend_ms", "worst_difference")
    return {
        **{name: max(found[f"{model}_{name}"] for model in MODELS) for name in names},
        **found,
    }


def _measured(adapters: list[str]) -> dict[str, float]:
    from ftlab.models import load

    for reference in adapters:
        load(reference)
    swaps = [_seconds(adapters[turn % ADAPTERS]) for turn in range(TIMES)]
    blends = [_seconds(reference) for reference in _blends(adapters)]
    return {
        "swap_ms": _ms(statistics.median(swaps)),
        "swap_slowest_ms": _ms(max(swaps)),
        "blend_ms": _ms(statistics.median(blends)),
        "blend_slowest_ms": _ms(max(blends)),
        "worst_difference": _worst_difference(adapters),
    }


def _blends(adapters: list[str]) -> Iterator[str]:
    for turn in range(TIMES):
        first, second = adapters[turn % ADAPTERS], adapters[(turn + 1) % ADAPTERS]
        yield f"{0.05 * turn:.2f}*{first} + {-0.03 * turn:.2f}*{second}"


def _seconds(reference: str) -> float:
    from ftlab.models import load

    began = time.perf_counter()
    model = load(reference)
    model.base.forward_for([model.adapter])
    return time.perf_counter() - began


def _worst_difference(adapters: list[str]) -> float:
    """Over rows of the base, every adapter, a blend and a cut, in one padded batch and each alone.

    The largest difference of a logit, as a share of the largest logit.
    """
    import torch

    from ftlab.answers import as_messages
    from ftlab.models import load

    references = [
        str(load(adapters[0]).source.base),
        *adapters,
        f"0.7*{adapters[0]} + -0.5*{adapters[1]}",
        f"{adapters[2]}@3",
    ]
    models = sorted(map(load, references), key=lambda model: model.base.place(model.adapter))
    rows = [(model, model.encode(as_messages(prompt)).ids) for model in models for prompt in PROMPTS]
    with torch.inference_mode():
        together = _logits(rows)
        alone = [_logits([row])[0] for row in rows]
    differences = [(one - other).abs().max().item() for one, other in zip(together, alone, strict=True)]
    return max(differences) / max(one.abs().max().item() for one in alone)


def _logits(rows: "Sequence[tuple[Model, list[int]]]") -> list[Any]:
    from ftlab.models.feeding import feed

    base = rows[0][0].base
    fed = feed(base.model, [(ids, model.soft) for model, ids in rows], "right")
    forward = base.forward_for([model.adapter for model, _ in rows])
    logits_BTV = forward(range(len(rows)), **fed.inputs).logits
    return [
        row[start : start + len(ids)]
        for row, start, (_, ids) in zip(logits_BTV, fed.starts, rows, strict=True)
    ]


def _make(model: str, folder: Path) -> list[str]:
    """Adapters on every linear layer, with all matrices random, so that each answers in its own way."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from ftlab.models import base_folder

    base, _ = base_folder(model)
    made = []
    for number in range(ADAPTERS):
        torch.manual_seed(number)
        settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), settings)
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01)
        wrapped.save_pretrained(folder / str(number))
        made.append(str(folder / str(number)))
    return made


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
