"""What ftlab changes in TRL's trainers: their columns, their forward, their reference and their checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ftlab.methods import adapters, documents, portions

PROMPT_WRITER = "prompt_writer.safetensors"
"""In a checkpoint: what writes the soft prompt, a table or a small network."""


class Fed:
    """Stands before a TRL trainer in its bases; the loss and the loop stay TRL's."""

    own_fields: tuple[str, ...] = ()
    """Fields that the unpadded forward has to give; empty: TRL's own forward stays."""
    lays_rows_end_to_end = False
    _is_asked = False
    _portion_tokens = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._give_forward()
        if not getattr(self, "padding_free", False):  # there TRL's own collator keeps packed rows apart
            self.data_collator = portions.Apart(self.data_collator)
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")  # TRL's copy of a continued adapter; its scores are known by now

    model: Any
    args: Any
    accelerator: Any
    data_collator: Any
    callback_handler: Any
    _metrics: Any
    compute_ref_log_probs: Any
    optimizer: Any
    regroup: Callable[[Any, Any], None]
    """Of the recipe: sees the optimiser and the model before the first step."""

    def create_optimizer(self, *arguments: Any, **options: Any) -> Any:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*arguments, **options)  # type: ignore[misc]
        if is_new:
            self.regroup(optimizer, self.model)
        return optimizer

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # the columns of data.render are what is trained on

    def _give_forward(self) -> None:
        """Puts the unpadded forward and the quick adapters in place, once."""
        from peft import PeftModel

        if self._is_asked or not self.own_fields:
            return
        self._is_asked = True
        is_wrapped = isinstance(self.model, PeftModel)
        inner = self.model.get_base_model() if is_wrapped else self.model
        if documents.fits(inner):
            documents.install(inner, self.own_fields)
            self.lays_rows_end_to_end = True
            self._portion_tokens = portions.fitting(inner)
            if is_wrapped:
                adapters.quicken(self.model)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and back, in portions where the loss is a sum over tokens that are counted beforehand."""
        step = super().training_step  # type: ignore[misc]
        is_alone = self.args.world_size == 1  # several processes average their gradients after every way back
        is_fixed = not getattr(self, "draws_in_step", False)  # else the rows are not yet what is learned from
        is_cut = (
            is_alone
            and is_fixed
            and self.lays_rows_end_to_end
            and num_items_in_batch is not None
            and "labels" in inputs
        )
        parts = portions.cut(inputs, self._portion_tokens) if is_cut else [inputs]
        if len(parts) == 1:
            return step(model, inputs, num_items_in_batch)
        told = self._metrics["train"]
        before = {name: len(values) for name, values in told.items()}
        loss = sum(step(model, part, num_items_in_batch) for part in parts)
        counts = [int((part["labels"][:, 1:] != documents.IGNORE).sum()) for part in parts]
        for name, values in told.items():
            own = values[before.get(name, 0) :]
            if len(own) == len(parts):  # a mean a portion; TRL would take the mean of these means
                mean = sum(value * count for value, count in zip(own, counts, strict=True)) / max(
                    1, sum(counts)
                )
                values[before.get(name, 0) :] = [mean]
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The model; beside a soft prompt the network that writes it, which PEFT leaves out."""
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        writer = prompt_writer(self.model)
        if writer is not None:
            from safetensors.torch import save_file

            save_file(writer.state_dict(), Path(output_dir or self.args.output_dir) / PROMPT_WRITER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        writer = prompt_writer(self.model)
        if writer is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        from safetensors.torch import load_file

        writer.load_state_dict(load_file(Path(resume_from_checkpoint) / PROMPT_WRITER))

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:  # noqa: ARG002
        """The dataset with the log-probabilities that the model has now, before it learns: the reference.

        Scored by the forward that training uses, so that the first loss is ln 2 to the last digits.
        """
        self._give_forward()
        columns: dict[str, list[float]] = {"ref_chosen_logps": [], "ref_rejected_logps": []}
        was_training = self.model.training
        self.model.eval()
        for start in range(0, len(dataset), batch_size):
            rows = dataset.select(range(start, min(start + batch_size, len(dataset)))).to_list()
            batch = {
                name: value.to(self.accelerator.device) for name, value in self.data_collator(rows).items()
            }
            with torch.no_grad():
                scores = self.compute_ref_log_probs(self.model, batch)
            for title, values in zip(columns, scores, strict=True):
                columns[title] += values.float().tolist()
        self.model.train(was_training)
        for title, column in columns.items():
            dataset = dataset.add_column(title, column)
        return dataset

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        from transformers import Trainer

        def write() -> None:
            Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001  # TRL's would write a model card as well

        for callback in self.callback_handler.callbacks:
            if hasattr(callback, "save_checkpoint"):
                callback.save_checkpoint(write, self)


def prompt_writer(model: Any) -> Any:
    """The module that writes a model's soft prompt, if it has one."""
    writers = getattr(model, "prompt_encoder", None)
    return None if writers is None else writers["default"]
