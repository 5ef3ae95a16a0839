"""The trainer of a run: TRL's, with its settings, fed with ftlab's columns."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.methods import checkpoints, ranks
from ftlab.methods.fed import Fed
from ftlab.methods.hardware import Hardware
from ftlab.methods.recipes import Recipe

OWN = {
    "output_dir": "the run's folder",
    "resume_from_checkpoint": "Run.resume()",
    "max_length": "data.max_length",
    "packing": "data.packing",
    "dataset_kwargs": "data",
    "dataset_text_field": "data",
    "completion_only_loss": "data.mask",
    "assistant_only_loss": "data.mask",
    "chat_template_path": "the model's own template",
    "precompute_ref_log_probs": "nothing: the reference is computed once, before training",
}
"""Keys of TRL's configuration that belong to ftlab, and what decides them."""


def check_keys(recipe: Recipe) -> None:
    """Raises ConfigError for keys of `trainer:` that TRL does not have, with the nearest that it has."""
    config, kind = recipe.config, recipe.config_class()
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


def arguments(recipe: Recipe, hardware: Hardware, folder: Path, *, evaluates: bool, every_steps: int) -> Any:
    """TRL's configuration: what RunConfig, the method and the hardware say, then `trainer:` over it."""
    config: RunConfig = recipe.config
    schedule = config.schedule
    if schedule == "constant" and config.warmup:
        schedule = "constant_with_warmup"  # type: ignore[assignment]
    values: dict[str, Any] = {
        "output_dir": str(folder / "checkpoints" / f"{checkpoints.ASIDE}trainer"),
        "per_device_train_batch_size": ranks.share_of(config.batch_size),
        "per_device_eval_batch_size": ranks.share_of(config.batch_size),
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
    if ranks.count() > 1:
        values |= {
            "ddp_timeout": ranks.SILENT_SECONDS,
            "ddp_backend": "gloo" if hardware.device == "cpu" else None,
        }
    values |= recipe.arguments(hardware)
    kind = recipe.config_class()
    try:
        return kind(**values | dict(config.trainer))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer: {kind.__name__} refuses these settings: {error}") from error


def build(
    recipe: Recipe,
    hardware: Hardware,
    model: Any,
    tokenizer: Any,
    args: Any,
    train: Any,
    evaluation: Any,
    callback: Any,
) -> Any:
    """The trainer, with ftlab's forward where the hardware wants it; `model` may hold an adapter already."""
    options = recipe.options()
    model = recipe.dressed(model, tokenizer)
    adapter = recipe.adapter(model, tokenizer)
    if adapter is not None:
        options["peft_config"] = adapter
    # where padding is told by a token that also ends an answer, transformers reads the score before that end
    is_told_apart = not recipe.gives_scores or tokenizer.pad_token_id != tokenizer.eos_token_id
    own_forward = hardware.device == "cpu" and hardware.padding == "none" and is_told_apart
    kind = recipe.trainer_class()
    own = {"own_fields": recipe.own_fields if own_forward else (), "regroup": recipe.regroup}
    fed = type(f"Fed{kind.__name__}", (Fed, kind), own)
    trainer = fed(
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
