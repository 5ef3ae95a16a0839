"""A method as it is carried out; the one here learns from examples with every weight."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlab import data
from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.methods import adapters, start, wrapped
from ftlab.methods.hardware import Hardware
from ftlab.methods.lora import LoRA
from ftlab.methods.sft import SFT

Note = Callable[[str], None]


class Recipe:
    """Called in the order in which the functions stand here; each sees what the ones before it made."""

    freezes = False
    """Whether the base's own weights stay as they are."""
    gives_scores = False
    """Whether the result is a judge, which writes no answers."""
    embedded: tuple[str, ...] = ("wren:sft",)
    """Embedded rows whose held-out part is evaluated on where nothing else is said."""
    own_fields: tuple[str, ...] = ("log_probs", "entropy", "is_top1")
    """What the losses and figures of TRL's trainer read, token by token; see `documents`."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def check(self, begin: start.Start) -> None:
        """Raises ConfigError or ModelError, before anything is loaded, for what cannot be carried out."""

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        """The rows as token columns."""
        return data.render(rows, tokenizer, self.config.data.mask, self.config.data.max_length)

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:  # noqa: ARG002
        """The model to train; what the start brings as an adapter is added to its weights."""
        model = start.load(begin, hardware.weights, hardware.attention)
        if begin.adapter is None:
            return model
        note(f"the adapter of {begin.reference} was merged into its base {begin.base_reference}")
        return wrapped.merged(model, begin.adapter)

    def adapter(self, model: Any, tokenizer: Any) -> Any:  # noqa: ARG002
        """PEFT's configuration of what is put on the model and learns; None where the model itself learns."""
        return None

    def learned_from(self, columns: data.Columns, model: Any, tokenizer: Any, note: Note) -> data.Columns:  # noqa: ARG002
        """The columns as the trainer gets them; where a teacher answers first, with its answers."""
        return columns

    def dressed(self, model: Any, tokenizer: Any) -> Any:  # noqa: ARG002
        """The model with what the recipe puts on it by itself, in place of `adapter`, which is asked next."""
        return model

    def arguments(self, hardware: Hardware) -> dict[str, Any]:
        """What the method adds to TRL's configuration."""
        values: dict[str, Any] = {
            "dataset_kwargs": {"skip_prepare_dataset": True},
            # on a GPU, position_ids that begin anew keep packed rows apart, also without flash attention
            "padding_free": hardware.device == "cuda"
            and (hardware.padding == "none" or self.config.data.packing),
        }
        if isinstance(self.config.method, SFT):
            values["neftune_noise_alpha"] = self.config.method.neftune_alpha
        return values

    def config_class(self) -> Any:
        """TRL's configuration class."""
        from trl.trainer.sft_config import SFTConfig

        return SFTConfig

    def trainer_class(self) -> Any:
        """TRL's trainer, or a child of it."""
        from trl.trainer.sft_trainer import SFTTrainer

        return SFTTrainer

    def options(self) -> dict[str, Any]:
        """What the trainer's constructor takes beyond what every trainer takes."""
        return {}

    def regroup(self, optimizer: Any, model: Any) -> None:
        """Gives parameters other step sizes, before the first step."""

    def facts(self, begin: start.Start, model: Any) -> dict[str, Any]:
        """What the method adds to the manifest of its result."""
        rounded = begin.quantization if wrapped.is_wrapped(model) else None
        return {} if rounded is None else {"quantization": rounded}

    def save(self, model: Any, folder: Path, base_reference: str) -> None:
        """The result: an adapter, or the whole model."""
        wrapped.save(model, folder, base_reference)


class OnLoRA(Recipe):
    """A method that learns through every weight or, where it has one, through a low-rank adapter."""

    _first: dict[str, Any] | None = None
    """The adapter's first values, where they are a part of the weights."""

    @property
    def low_rank(self) -> LoRA | None:
        """The adapter's settings."""
        found: LoRA | None = getattr(self.config.method, "adapter", None)
        return found

    def check(self, begin: start.Start) -> None:
        """Raises ConfigError where the start brings an adapter of another kind, which would be trained on as it is."""
        if self.low_rank is None or begin.adapter is None:
            return
        kind = wrapped.kind_of(begin.adapter)
        if kind not in (*wrapped.SOFT, "LORA"):  # soft prompts are refused with a better reason
            raise ConfigError(
                f"model: {begin.reference} is {kind} on {begin.base_reference}, which no low-rank adapter can stand on; "
                f"start from {begin.base_reference}, or merge it first (ftlab.models.merging.merge)"
            )

    @property
    def freezes(self) -> bool:  # type: ignore[override]
        return self.low_rank is not None

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:
        """An adapter that the start brings is trained on where the method trains one, else merged."""
        if begin.adapter is None or self.low_rank is None:
            return super().model(begin, hardware, tokenizer, note)
        note(
            f"the adapter of {begin.reference} is trained on, with the rank, alpha and targets it has; "
            f"the base stays {begin.base_reference}"
        )
        return wrapped.continued(start.load(begin, hardware.weights, hardware.attention), begin.adapter)

    def adapter(self, model: Any, tokenizer: Any) -> Any:  # noqa: ARG002
        if self.low_rank is None or wrapped.is_wrapped(model):
            return None
        return wrapped.lora_config(self.low_rank, model, scores=self.gives_scores)

    def dressed(self, model: Any, tokenizer: Any) -> Any:
        """With an adapter that takes a part of the weights over, whose first values are needed when it is saved."""
        if self.low_rank is None or self.low_rank.start not in wrapped.TAKEN or wrapped.is_wrapped(model):
            return model
        whole, self._first = wrapped.with_part_taken(model, self.adapter(model, tokenizer))
        return whole

    def regroup(self, optimizer: Any, model: Any) -> None:
        if self.low_rank is not None and self.low_rank.plus is not None:
            adapters.hasten(optimizer, model, self.low_rank.plus)

    def save(self, model: Any, folder: Path, base_reference: str) -> None:
        super().save(model, folder, base_reference)
        if self._first is not None:
            wrapped.give_back(folder, self._first)
