"""What a script needs to know of a configuration: where the model lies, which rows are read, what TRL is told."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ftlab.config import RunConfig
from ftlab.data import Rows, read, recognise, save
from ftlab.errors import DataError
from ftlab.methods.lora import Adapter
from ftlab.scripts.text import Bare

EVALUATION_ROWS = 128  # of the embedded held-out rows, as in a run
HUB = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


class Plan:
    """`path` is where the script will lie; None where only its text is wanted."""

    def __init__(self, config: RunConfig, path: Path | None) -> None:
        self.config = config
        self.method: Any = config.method
        self.path = path

    @property
    def needs_ftlab(self) -> str:
        """What of the method TRL and PEFT do not have; empty where they have all of it."""
        kind = self.method.kind
        if kind == "dylora":
            return "DyLoRA: PEFT has no adapter whose every rank is trained"
        if kind == "distillation" and self.method.objective.kind == "minillm":
            return "MiniLLM: TRL's trainer has the gradient of the paper, and not its mixed sampling nor its loss"
        if kind == "context_distillation" and self.method.loss == "kl":
            return (
                "Context distillation by the odds of every token: TRL has only its kin that learns from texts"
            )
        if kind == "context_distillation" and self.method.keep_if_better is not None:
            return "Answers kept only where a reward model prefers them"
        return ""

    def model(self, reference: str) -> tuple[str, str | None]:
        """(folder or hub id of the base, folder of an adapter on it), as transformers and PEFT take them.

        Raises ModelError where the reference names no single model.
        """
        from ftlab.models import references, smollm2

        source = references.refuse_composed(references.resolve(reference))
        base = source.base
        if base == smollm2.NAME:
            base = smollm2.folder() if smollm2.folder().is_dir() else HUB[smollm2.NAME]
        return str(base), None if source.adapter is None else str(source.adapter)

    @cached_property
    def is_rough(self) -> bool:
        """Whether the base of the start is kept in four bits."""
        return bool(self.method.kind == "qlora")

    @property
    def embedded(self) -> bool:
        return self.config.data.train.startswith("wren:")

    @property
    def train_file(self) -> str:
        """What the script reads: a file of its own where rows are made or cut, else the one that was named."""
        return self._file(self.config.data.train, self.config.data.max_rows)

    @property
    def eval_file(self) -> str | None:
        """None: nothing is evaluated on."""
        source = self._evaluation
        return None if source is None else self._file(source, None)

    def _file(self, source: str, count: int | None) -> str:
        if not source.startswith("wren:") and source.endswith(".jsonl") and count is None:
            return source
        name = (
            source.removeprefix("wren:").replace(":", "-")
            if source.startswith("wren:")
            else Path(source).stem
        )
        return f"{name}.jsonl" if not source.startswith("wren:") else f"wren-{name}.jsonl"

    @property
    def _evaluation(self) -> str | None:
        data = self.config.data
        if data.eval is not None:
            return data.eval
        own = {"dpo": "wren:preferences", "reward": "wren:comparisons"}.get(self.method.kind, "wren:sft")
        return f"{own}:eval" if data.train == own and not self.is_taught else None

    @property
    def is_taught(self) -> bool:
        """Whether a teacher's text stands where the rows' own answers were."""
        kind = self.method.kind
        return kind == "context_distillation" or (
            kind == "distillation" and self.method.objective.kind == "sequence"
        )

    def save_rows(self) -> None:
        """Writes the files that the script reads beside it, where it does not read one that is there already."""
        assert self.path is not None
        data = self.config.data
        if not Path(self.train_file).is_absolute():
            save(read(data.train, data.max_rows), self.path.parent / self.train_file)
        if (
            self.eval_file is not None
            and self._evaluation is not None
            and not Path(self.eval_file).is_absolute()
        ):
            count = None if data.eval is not None else EVALUATION_ROWS
            save(read(self._evaluation, count), self.path.parent / self.eval_file)

    @cached_property
    def rows(self) -> Rows:
        """The first rows, to see what they look like; a conversation is assumed where they cannot be read yet."""
        try:
            return read(self.config.data.train, 8)
        except DataError:
            if self.path is not None:
                raise
            row = {
                "prompt": [{"role": "user", "content": ""}],
                "completion": [{"role": "assistant", "content": ""}],
            }
            return Rows([row], self.config.data.train)

    @property
    def row_format(self) -> str:
        return recognise(self.rows[0], self.rows.source)

    @property
    def is_conversation(self) -> bool:
        row = self.rows[0]
        return not isinstance(row.get("prompt", row.get("chosen", row.get("messages", row.get("text")))), str)

    @property
    def on_gpu(self) -> bool | None:
        """None: decided where the script runs."""
        return {"cpu": False, "cuda": True, "auto": None}[self.config.device]

    def peft_lora(self, adapter: Adapter) -> dict[str, Any]:
        """Arguments of LoraConfig."""
        values: dict[str, Any] = {"r": adapter.rank, "lora_alpha": adapter.scaled_by}
        if adapter.dropout:
            values["lora_dropout"] = adapter.dropout
        values["target_modules"] = ATTENTION if adapter.targets == "attention" else adapter.targets
        start = getattr(adapter, "start", "zero")
        if start != "zero":
            values["init_lora_weights"] = start
        for ours, theirs in (("dora", "use_dora"), ("rslora", "use_rslora")):
            if getattr(adapter, ours, False):
                values[theirs] = True
        values["task_type"] = "SEQ_CLS" if self.method.kind == "reward" else "CAUSAL_LM"
        return values

    def settings(self) -> dict[str, Any]:
        """Arguments that every configuration class of TRL takes; what `trainer:` says comes last."""
        config = self.config
        schedule: str = config.schedule
        if schedule == "constant" and config.warmup:
            schedule = "constant_with_warmup"
        values: dict[str, Any] = {
            "output_dir": Bare("OUTPUT"),
            "per_device_train_batch_size": config.batch_size,
            "per_device_eval_batch_size": config.batch_size,
            "num_train_epochs": config.epochs,
            "max_steps": config.max_steps or -1,
            "learning_rate": config.peak_learning_rate,
            "lr_scheduler_type": schedule,
            "warmup_steps": config.warmup,
            "weight_decay": config.weight_decay,
            "max_grad_norm": config.max_grad_norm,
            "seed": Bare("SEED"),
            "data_seed": Bare("SEED"),
            "use_cpu": Bare("not GPU"),
            "bf16": Bare("BF16"),
            "gradient_checkpointing": False,
            "logging_steps": 1,
            "report_to": list(config.trackers) or "none",
            **self._saving(),
        }
        if self.method.kind == "sft" and self.method.neftune_alpha is not None:
            values["neftune_noise_alpha"] = self.method.neftune_alpha
        return values

    def _saving(self) -> dict[str, Any]:
        config = self.config
        values: dict[str, Any] = {"save_strategy": "no"}
        if every := config.checkpoint.every_steps:
            values = {
                "save_strategy": "steps",
                "save_steps": every,
                "save_total_limit": config.checkpoint.keep,
            }
        if self.eval_file is not None:
            values |= {
                "eval_strategy": "steps",
                "eval_steps": config.evaluate.every_steps or Bare("max(1, STEPS // 10)"),
            }
            stopping = config.early_stopping
            if stopping is not None:
                values |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
                if stopping.keep_best:
                    saved = {"save_strategy": "steps", "save_steps": values["eval_steps"]}
                    values |= {**saved, "load_best_model_at_end": True}
        return values
