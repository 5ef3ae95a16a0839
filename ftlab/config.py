"""What to train: one frozen description that cell, form, shell and papermill share."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, ValidationInfo, field_validator

from ftlab.errors import ConfigError
from ftlab.methods.context_distillation import ContextDistillation
from ftlab.methods.distillation import Distillation
from ftlab.methods.dpo import DPO
from ftlab.methods.dylora import DyLoRA
from ftlab.methods.ia3 import IA3
from ftlab.methods.lora import LoRA
from ftlab.methods.prompt_tuning import PrefixTuning, PromptTuning, PTuning
from ftlab.methods.qlora import QLoRA
from ftlab.methods.reward import Reward
from ftlab.methods.sft import SFT
from ftlab.section import Section, explain, faults

NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,79}")
"""What a run may be called: no path, no leading dot, the same on every file system."""

Method = (
    SFT
    | LoRA
    | QLoRA
    | DyLoRA
    | PromptTuning
    | PrefixTuning
    | PTuning
    | IA3
    | ContextDistillation
    | Distillation
    | DPO
    | Reward
)
"""Everything that a model can be put through, in the order in which the lab presents it."""

PACKS = ("sft", "lora", "qlora", "dylora")
"""Methods that learn from nothing but examples, which may stand behind each other in one row."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _named(field: str) -> BeforeValidator:
    """A bare string stands for a section with this one field set."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


class Data(Section):
    """Which rows are learned from, and which of their tokens count."""

    train: str = Field(
        "wren:sft",
        min_length=1,
        description='Rows to learn from: "wren:NAME" of the embedded world, or the path of a .jsonl file.',
    )
    eval: str | None = Field(
        None,
        min_length=1,
        description="Rows to evaluate on, written like train; none: the embedded data's own held-out rows, if any.",
    )
    max_rows: int | None = Field(None, gt=0, description="Use only the first so many rows; none: all.")
    max_length: int = Field(
        512,
        ge=8,
        le=1_048_576,
        description="Longest row in tokens; longer ones are cut at the end and counted.",
    )
    mask: Literal["completion", "assistant", "all"] = Field(
        "assistant",
        description="Which tokens count in the loss: the last answer, every answer, or all.",
    )
    packing: bool = Field(
        False,
        description="Fill each row up to max_length with whole rows, which do not see each other.",
    )


class Evaluate(Section):
    """How often the run is looked at from outside, and with which prompts."""

    every_steps: int | None = Field(
        None, gt=0, description="Evaluate and sample after so many optimiser steps; none: ten times a run."
    )
    prompts: list[str] = Field(
        [],
        max_length=32,
        description="Answered at step 0, at each evaluation and at the end; the same each time.",
    )
    max_new_tokens: int = Field(48, gt=0, le=4096, description="Longest answer to a fixed prompt, in tokens.")


class Checkpoint(Section):
    """How often enough is saved to go on after a crash as if there had been none."""

    every_steps: int | None = Field(
        None, gt=0, description="Save after so many optimiser steps; none: when stopped and at the end only."
    )
    keep: int = Field(2, ge=1, le=1000, description="How many checkpoints stay; older whole ones go first.")


class EarlyStopping(Section):
    """When to end because nothing gets better."""

    patience: int = Field(3, gt=0, le=1000, description="End after so many evaluations without a better one.")
    least: float = Field(
        0.0, ge=0, le=1e6, description="What counts as better: lower by more than this, in nats."
    )
    keep_best: bool = Field(True, description="Save the weights of the best evaluation, not of the last.")


def _own_data(values: dict[str, Any]) -> Data:
    own = {"dpo": "wren:preferences", "reward": "wren:comparisons"}
    return Data(train=own.get(values["method"].kind, "wren:sft"))


class RunConfig(Section):
    """Everything that decides what a run does.

    `RunConfig(method="lora", data="rows.jsonl")`: a bare string is taken as a section's main field.
    Raises ConfigError with one line for each fault.
    """

    name: str = Field(
        "",
        max_length=80,
        description="Folder of the run: a to z, 0 to 9, dot, dash, underscore; empty: made from method and model.",
    )
    model: str = Field(
        "wren",
        min_length=1,
        description='What to start from: "wren", "smollm2", a local folder, a hub id, or "run:NAME".',
    )
    method: Annotated[Method, Field(discriminator="kind"), _named("kind")] = Field(
        SFT(),
        description="How it learns, from what, and which weights.",
    )
    data: Annotated[Data, _named("train")] = Field(
        default_factory=_own_data,
        description="What it learns from; by default the embedded rows for the method.",
    )
    epochs: float = Field(
        1.0, gt=0, le=1000, description="How often each row is seen, in passes over the data."
    )
    max_steps: int | None = Field(
        None,
        gt=0,
        description="End after so many optimiser steps, whatever epochs says; none: epochs decides.",
    )
    batch_size: int = Field(16, gt=0, le=65_536, description="Rows per optimiser step.")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Highest step size, per optimiser step; none: the method's own."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Course of the step size after the warm-up: to zero along this curve, or kept."
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Share of all steps in which the step size rises from zero."
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Pull of the weights towards zero, per step and unit of step size (AdamW).",
    )
    max_grad_norm: float = Field(
        1.0, gt=0, le=1e6, description="Gradients longer than this (Euclidean, all weights) are cut to it."
    )
    seed: Seed = Field(0, description="Of order, initial adapter weights and dropout.")
    evaluate: Evaluate = Field(Evaluate(), description="How often the run is looked at from outside.")
    checkpoint: Checkpoint = Field(
        Checkpoint(), description="How often enough is saved to go on after a crash."
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="End when the evaluation loss gets no better; none: go on to the end."
    )
    trackers: list[Literal["trackio", "tensorboard", "wandb"]] = Field(
        [], description="Report the figures there as well, besides the run's own; nothing leaves by default."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto: the GPU if there is one."
    )
    threads: int | None = Field(
        None, gt=0, le=1024, description="CPU threads; none: chosen for model size and cores, and printed."
    )
    trainer: dict[str, JsonValue] = Field(
        {},
        description="Handed as it is to the TRL config class, over everything chosen here; wrong keys are told.",
    )

    @field_validator("data")
    @classmethod
    def _packs_examples(cls, data: Data, info: ValidationInfo) -> Data:
        method = info.data.get("method")  # absent where it is at fault itself
        if data.packing and method is not None and method.kind not in PACKS:
            raise ValueError(
                f"packing is for {', '.join(PACKS)}, and {method.kind} learns from each row by itself: "
                "set data.packing to false"
            )
        return data

    @field_validator("early_stopping")
    @classmethod
    def _has_evaluations(cls, stopping: EarlyStopping | None, info: ValidationInfo) -> EarlyStopping | None:
        data = info.data.get("data")  # absent where it is at fault itself
        if stopping is not None and data is not None and not (data.eval or data.train.startswith("wren:")):
            raise ValueError("needs rows to evaluate on: name them as data.eval")
        return stopping

    @field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(f"use a to z, 0 to 9, '.', '_' and '-', no leading dot, as in {slug(name)!r}")
        return name

    @property
    def peak_learning_rate(self) -> float:
        """The highest step size that is really used: this configuration's, else the method's."""
        return self.method.learning_rate if self.learning_rate is None else self.learning_rate

    @property
    def title(self) -> str:
        """The name, or the one made from method and model: "lora-wren"."""
        model = self.model.removeprefix("run:").rstrip("/").rsplit("/", 1)[-1]
        return self.name or slug(f"{self.method.kind}-{model}")

    @classmethod
    def from_dict(cls, values: object, *, source: str = "") -> Self:
        """Raises ConfigError, each line led by `source`, where the values don't fit."""
        if not isinstance(values, dict):
            raise ConfigError(
                f"{source or 'configuration'}: expected keys and values, not {type(values).__name__}"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = explain(cls, error).splitlines()
        raise ConfigError("\n".join(f"{source}: {line}" if source else line for line in lines))

    @classmethod
    def faults(cls, values: object) -> dict[str, str]:
        """{path of the field: what is wrong with it}; empty where the values make a configuration."""
        try:
            cls.model_validate(values)
        except ValidationError as error:
            return faults(cls, error)
        return {}

    @classmethod
    def from_yaml(cls, path: Path | str) -> Self:
        """Raises ConfigError with line and column where the file is no YAML, or names a key twice."""
        path = Path(path)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None
        return cls.from_dict(parse_yaml(text, str(path)), source=str(path))

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "") -> Self:
        """Raises ConfigError with line and column where the text is no JSON."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{source or 'configuration'}: not JSON: {error}") from None
        return cls.from_dict(values, source=source)

    def to_dict(self) -> dict[str, Any]:
        """Every field, also the untouched ones, so that a later version with other defaults reads the same."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Indented, with a newline at the end."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_yaml(self) -> str:
        """Every field in the order it is declared; `from_yaml` reads it back as an equal configuration."""
        import yaml

        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110)
        return text

    def with_(self, changes: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """The same with some fields replaced: `with_(**{"method.rank": 4, "epochs": 2})`; checked again as a whole.

        Text is taken for numbers where numbers are due, so the shell's `--set path=value` may come in as it is.
        Fields that were never set keep following the others: another method brings its own data with it.
        """
        whole = self.to_dict()
        tree = {field: whole[field] for field in whole if field in self.model_fields_set}
        for path, value in {**(changes or {}), **more}.items():
            _put(tree, whole, path, _plain(value))
        return self.from_dict(tree)

    def anchored(self, folder: Path | None = None) -> Self:
        """The same with relative paths made absolute from `folder` (default: the working directory).

        A trainer runs elsewhere and a run is resumed from elsewhere, so a run's own copy holds no relative path.
        """
        folder = (folder or Path.cwd()).resolve()
        changes: dict[str, Any] = {}
        for key, source in (("data.train", self.data.train), ("data.eval", self.data.eval)):
            if source is not None and not source.startswith("wren:"):
                changes[key] = str(folder / Path(source).expanduser())
        if self.model.startswith((".", "~")) or (folder / self.model / "config.json").is_file():
            changes["model"] = str((folder / Path(self.model).expanduser()).resolve())
        return self.with_(changes) if changes else self

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (2020-12) with a description, a default and a range for each field."""
        return cls.model_json_schema()


def slug(text: str) -> str:
    """The nearest thing to `text` that a run may be called."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).lstrip(".-")[:80] or "run"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def _put(tree: dict[str, Any], whole: dict[str, Any], path: str, value: Any) -> None:
    """Sets `path` in the tree; a section on the way that isn't there yet is taken from `whole`."""
    head, dot, rest = path.partition(".")
    if not dot:
        tree[head] = value
        return
    inner = whole.get(head)
    if isinstance(bare := tree.get(head), str):  # named by its main field; the others start at their defaults
        tree[head], inner = {"train" if head == "data" else "kind": bare}, None
    if not isinstance(tree.get(head), dict):
        # A section that exists by default only: its other fields are kept as they are now.
        tree[head] = dict(inner) if isinstance(inner, dict) else {}
    _put(tree[head], inner if isinstance(inner, dict) else {}, rest, value)


def parse_yaml(text: str, source: str) -> object:
    """What the text says. Raises ConfigError with `source`, line and column where it is no YAML or says it twice."""
    import yaml

    class Strict(yaml.SafeLoader):
        """Refuses a key that is named twice, of which YAML would silently keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    where = f"{source}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
                    raise ConfigError(f"{where}: {key.value!r} is there twice")
                seen.add(key.value)
            made: dict[Any, Any] = super().construct_mapping(node, deep)
            return made

    try:
        return yaml.load(text, Loader=Strict)  # noqa: S506 - Strict is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{where}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from None
