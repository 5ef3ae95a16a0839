"""The one place that knows TRL's and PEFT's names: their versions may differ here and nowhere else."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.methods import checkpoints, documents
from ftlab.methods.dpo import DPO
from ftlab.methods.fed import Fed
from ftlab.methods.hardware import Hardware
from ftlab.methods.lora import LoRA
from ftlab.methods.reward import Reward
from ftlab.methods.sft import SFT

OWN = {
    "output_dir": "the run's folder",
    "resume_from_checkpoint": "Run.resume()",
    "max_length": "data.max_length",
    "packing": "nothing: rows are laid end to end without padding already",
    "dataset_kwargs": "data",
    "dataset_text_field": "data",
    "completion_only_loss": "data.mask",
    "assistant_only_loss": "data.mask",
    "chat_template_path": "the model's own template",
    "precompute_ref_log_probs": "nothing: the reference is computed once, before training",
}
"""Keys of TRL's configuration that belong to ftlab, and what decides them."""


def check_keys(config: RunConfig) -> None:
    """Raises ConfigError for keys of `trainer:` that TRL does not have, with the nearest that it has."""
    kind = _config_class(config)
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    lines = []
    for key in config.trainer:
        if key in OWN:
            lines.append(f"trainer.{key}: is not set here; {OWN[key]} decides")
        elif key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            advice = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"see the fields of {kind.__name__}"
            )
            lines.append(f"trainer.{key}: {kind.__name__} has no such key; {advice}")
    if lines:
        raise ConfigError("\n".join(lines))


def arguments(
    config: RunConfig, hardware: Hardware, folder: Path, *, evaluates: bool, every_steps: int
) -> Any:
    """TRL's configuration: what RunConfig and the hardware say, then `trainer:` over it."""
    method = config.method
    schedule = config.schedule
    if schedule == "constant" and config.warmup:
        schedule = "constant_with_warmup"  # type: ignore[assignment]
    values: dict[str, Any] = {
        "output_dir": str(folder / "checkpoints" / f"{checkpoints.ASIDE}trainer"),
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.peak_learning_rate,
        "lr_scheduler_type": schedule,
        "warmup_steps": config.warmup,  # below 1, a share of all steps
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": hardware.device == "cpu",
        "bf16": hardware.autocast,
        "gradient_checkpointing": hardware.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a NaN must be seen in the step it happens in
        "report_to": "none",
        "disable_tqdm": True,
        "prediction_loss_only": True,
        "save_strategy": "steps" if config.checkpoint.every_steps else "no",
        "save_steps": config.checkpoint.every_steps or 500,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": every_steps,
        "max_length": None,  # data.render has cut the rows, and counted them
    }
    if isinstance(method, DPO):
        values |= {
            "beta": method.beta,
            "loss_type": [method.loss],
            "label_smoothing": method.label_smoothing,
            # The reference is scored before the first step: no second copy of the model in memory, and no chance
            # for TRL to read it anew from the folder of another model.
            "precompute_ref_log_probs": True,
        }
    elif isinstance(method, Reward):
        values |= {"center_rewards_coefficient": method.center or None}
    else:
        values |= {
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "padding_free": hardware.device == "cuda" and hardware.padding == "none",
        }
    if isinstance(method, SFT):
        values["neftune_noise_alpha"] = method.neftune_alpha
    kind = _config_class(config)
    try:
        return kind(**values | dict(config.trainer))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer: {kind.__name__} refuses these settings: {error}") from error


def build(
    config: RunConfig,
    hardware: Hardware,
    model: Any,
    tokenizer: Any,
    args: Any,
    train: Any,
    evaluation: Any,
    callback: Any,
) -> Any:
    """The trainer, with ftlab's forward where the hardware wants it; `model` may hold an adapter already."""
    from peft import PeftModel

    adapter = adapter_of(config)
    options: dict[str, Any] = {}
    if adapter is not None and not isinstance(model, PeftModel):
        options["peft_config"] = lora_config(adapter, scores=isinstance(config.method, Reward))
    # where padding is told by a token that also ends an answer, transformers reads the score before that end
    is_told_apart = not isinstance(config.method, Reward) or tokenizer.pad_token_id != tokenizer.eos_token_id
    own_forward = hardware.device == "cpu" and hardware.padding == "none" and is_told_apart
    kind = _trainer_class(config, own_forward=own_forward)
    trainer = kind(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        callbacks=[callback],
        **options,
    )
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def adapter_of(config: RunConfig) -> LoRA | None:
    """The adapter that the method trains; None where it trains every weight."""
    if isinstance(config.method, DPO | Reward):
        return config.method.adapter
    return config.method if isinstance(config.method, LoRA) else None


def lora_config(adapter: LoRA, *, scores: bool = False) -> Any:
    """PEFT's settings; with `scores`, the head that gives the score is trained and saved beside the adapter."""
    from peft import LoraConfig

    targets: Any = (
        ["q_proj", "k_proj", "v_proj", "o_proj"] if adapter.targets == "attention" else adapter.targets
    )
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha if adapter.alpha is not None else 2 * adapter.rank,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        use_rslora=adapter.rslora,
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
    )


def continue_adapter(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run on it, to be trained on."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def merge_adapter(model: Any, folder: Path) -> Any:
    """The base with the adapter of an earlier run added to its weights."""
    from peft import PeftModel

    merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return merged.requires_grad_(requires_grad=True)  # PEFT had frozen the base


def save_model(model: Any, tokenizer: Any, folder: Path, base_reference: str) -> None:
    """The adapter, or the whole model, with tokenizer and chat template; safetensors."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        config = model.peft_config["default"]
        config.base_model_name_or_path = base_reference  # else a path of this machine is written down
        model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    else:
        model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _config_class(config: RunConfig) -> Any:
    if isinstance(config.method, DPO):
        from trl.trainer.dpo_config import DPOConfig

        return DPOConfig
    if isinstance(config.method, Reward):
        from trl.trainer.reward_config import RewardConfig

        return RewardConfig
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig


def _trainer_class(config: RunConfig, *, own_forward: bool) -> Any:
    """TRL's trainer for the method, fed with ftlab's columns."""
    if isinstance(config.method, DPO):
        from trl.trainer.dpo_trainer import DPOTrainer as Trainer
    elif isinstance(config.method, Reward):
        from trl.trainer.reward_trainer import RewardTrainer as Trainer
    else:
        from trl.trainer.sft_trainer import SFTTrainer as Trainer
    # the fields that the losses and figures of TRL's trainers read
    fields = ("log_probs", "entropy", "is_top1", *(["mean_logits"] if isinstance(config.method, DPO) else []))
    if isinstance(config.method, Reward):
        fields = documents.SCORE
    return type(f"Fed{Trainer.__name__}", (Fed, Trainer), {"own_fields": fields if own_forward else ()})
