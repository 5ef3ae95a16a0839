"""Adapters around a model, and PEFT's names for it: continued, merged, saved."""

import json
import math
from pathlib import Path
from typing import Any

from ftlab.errors import ConfigError, ModelError
from ftlab.methods.lora import LoRA

SOFT = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
"""PEFT's names for soft prompts."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TAKEN = ("pissa", "olora")
"""Starts of an adapter that are a part of the weights, which is taken from them."""
_FIRST = {"zero": True}  # of our names for first values, those that PEFT has no word for


def lora_config(adapter: LoRA, model: Any, *, scores: bool = False) -> Any:
    """PEFT's settings; with `scores`, the head that gives the score is trained and saved beside the adapter.

    Raises ConfigError where the model lacks a layer that is named, or has one too small for the adapter.
    """
    from peft import LoraConfig

    layers = targeted(adapter.targets, model)
    if adapter.start in TAKEN:
        _check_that_parts_are_there(adapter, layers)

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.scaled_by,
        lora_dropout=adapter.dropout,
        init_lora_weights=_FIRST.get(adapter.start, adapter.start),
        target_modules=list(ATTENTION) if adapter.targets == "attention" else adapter.targets,
        use_dora=adapter.dora,
        use_rslora=adapter.rslora,
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
    )


def targeted(targets: str | list[str], model: Any) -> dict[str, Any]:
    """The linear layers that get an adapter, by their full names; never the head.

    Raises ConfigError where a name is no layer's.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    heads = (model.get_output_embeddings(), getattr(model, "score", None))
    there = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and not any(layer is head for head in heads)
    }
    if targets == "all-linear":
        return there
    names = ATTENTION if targets == "attention" else targets
    found = {name: layer for name, layer in there.items() if any(_is_called(name, one) for one in names)}
    strange = [one for one in names if not any(_is_called(name, one) for name in there)]
    if strange:
        known = dict.fromkeys(name.rsplit(".", 1)[-1] for name in there)
        raise ConfigError(
            f"targets: the model has no linear layer called {' or '.join(map(repr, strange))} that can be adapted; "
            f'there are {", ".join(known)}, or "all-linear"'
        )
    return found


def _is_called(name: str, short: str) -> bool:
    return name == short or name.endswith(f".{short}")


def _check_that_parts_are_there(adapter: LoRA, layers: dict[str, Any]) -> None:
    sizes = {name: min(layer.weight.shape) for name, layer in layers.items()}
    least = min(sizes, key=sizes.__getitem__)
    if adapter.rank > sizes[least]:
        raise ConfigError(
            f"rank: {adapter.start} takes the {adapter.rank} largest parts of each weight, and {least} has {sizes[least]}; "
            f'use a rank up to {sizes[least]}, other targets, or start "zero"'
        )


def with_part_taken(model: Any, config: Any) -> tuple[Any, dict[str, Any]]:
    """The model with an adapter that takes a part of its weights over, and the values that it starts from.

    From here on the adapter goes by the name of a plain one: PEFT would take the part away again wherever it reads
    the settings, from a checkpoint or for a copy.
    """
    from peft import get_peft_model, get_peft_model_state_dict

    whole = get_peft_model(model, config)
    whole.peft_config["default"].init_lora_weights = True
    values = get_peft_model_state_dict(whole, save_embedding_layers=False)
    return whole, {name: value.clone() for name, value in values.items() if ".lora_" in name}


def give_back(folder: Path, first: dict[str, Any]) -> None:
    """Makes of an adapter that took a part of the weights over a plain one of twice the rank, on the untouched base.

    W' = (W - s B0 A0) + s B A = W + s [B, -B0] [A; A0]; what it counts stays the same.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(weights)
    for name, value in first.items():
        ours, theirs = tensors[name], value.to("cpu", tensors[name].dtype)
        tensors[name] = torch.cat([ours, theirs]) if ".lora_A" in name else torch.cat([ours, -theirs], dim=1)
    save_file(tensors, weights, metadata={"format": "pt"})
    values = json.loads(settings.read_text("utf-8"))
    values["r"] *= 2
    values["lora_alpha"] *= math.sqrt(2) if values["use_rslora"] else 2
    settings.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def is_wrapped(model: Any) -> bool:
    """Whether PEFT's layers or prompts are around the model."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


def kind_of(folder: Path) -> str:
    """PEFT's name for what the folder holds: "LORA", "IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", …"""
    return str(json.loads((folder / "adapter_config.json").read_text("utf-8"))["peft_type"])


def continued(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run on it, to be trained on."""
    from peft import PeftModel

    _refuse_prompt(folder)
    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def merged(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run added to its weights."""
    from peft import PeftModel

    _refuse_prompt(folder)
    whole = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return whole.requires_grad_(requires_grad=True)  # PEFT had frozen the base


def _refuse_prompt(folder: Path) -> None:
    if kind_of(folder) in SOFT:
        base = json.loads((folder / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
        raise ModelError(
            f"{folder} holds a soft prompt, which no weight can take up; train from its base {base}, "
            "or go on with it by prompt_tuning or prefix_tuning"
        )


def save(model: Any, folder: Path, base_reference: str) -> None:
    """The adapter, or the whole model; safetensors."""
    if is_wrapped(model):
        config = model.peft_config["default"]
        config.base_model_name_or_path = base_reference  # else a path of this machine is written down
        model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    else:
        model.save_pretrained(str(folder))
