"""What ftlab changes in TRL's trainers: their columns, their forward, their reference and their checkpoints."""

from typing import Any

import torch

from ftlab.methods import adapters, documents


class Fed:
    """Stands before a TRL trainer in its bases; the loss and the loop stay TRL's."""

    own_fields: tuple[str, ...] = ()
    """Fields that the unpadded forward has to give; empty: TRL's own forward stays."""
    lays_rows_end_to_end = False
    _is_asked = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._give_forward()
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")  # TRL's copy of a continued adapter; its scores are known by now

    model: Any
    accelerator: Any
    data_collator: Any
    callback_handler: Any
    compute_ref_log_probs: Any

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
            if is_wrapped:
                adapters.quicken(self.model)

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
