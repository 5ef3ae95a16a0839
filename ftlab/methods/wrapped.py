"""Adapters around a model, and PEFT's names for it: continued, merged, saved."""

from pathlib import Path
from typing import Any

from ftlab.methods.lora import LoRA


def lora_config(adapter: LoRA, *, scores: bool = False) -> Any:
    """PEFT's settings; with `scores`, the head that gives the score is trained and saved beside the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.scaled_by,
        lora_dropout=adapter.dropout,
        target_modules=targets_of(adapter.targets),
        use_rslora=adapter.rslora,
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
    )


def targets_of(targets: str | list[str]) -> Any:
    """The modules that get an adapter, as PEFT wants them named."""
    return ["q_proj", "k_proj", "v_proj", "o_proj"] if targets == "attention" else targets


def is_wrapped(model: Any) -> bool:
    """Whether PEFT's layers or prompts are around the model."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


def continued(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run on it, to be trained on."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def merged(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run added to its weights."""
    from peft import PeftModel

    whole = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return whole.requires_grad_(requires_grad=True)  # PEFT had frozen the base


def save(model: Any, folder: Path, base_reference: str) -> None:
    """The adapter, or the whole model; safetensors."""
    if is_wrapped(model):
        config = model.peft_config["default"]
        config.base_model_name_or_path = base_reference  # else a path of this machine is written down
        model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    else:
        model.save_pretrained(str(folder))
