"""A look at a configuration before anything is trained: what is wrong with it, and what it would take."""

import copy
import math
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

from ftlab import data
from ftlab.config import RunConfig
from ftlab.errors import ConfigError, DataError, FtlabError, ModelError
from ftlab.home import home
from ftlab.methods import documents, footprint, ground, hardware, probe, start, trainers
from ftlab.methods.ground import Ground
from ftlab.methods.recipes import Recipe, recipe_of
from ftlab.methods.recipes.soft import OnTop

Send = Callable[[dict[str, Any]], None]
Made = TypeVar("Made")

HASHED_AT_ONCE = (
    4 << 30
)  # bytes of a base above which its tensors are hashed by the run, not by the look before it
TRIED_BYTES = 4 << 30  # of a base above which loading it alone takes longer than anybody waits for a forecast
FILLED = 0.95  # of the free memory that a trial may touch
_PATH = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): (.*)", re.DOTALL)


def inspect(message: dict[str, Any], send: Send) -> None:
    """Sends {"finding": …} for each fault and remark, then {"figures": …} where the faults allow any.

    `message["config"]` is a configuration as `RunConfig.to_dict` gives it; `message["probe"]` whether a few steps
    are tried. Raises FtlabError for a configuration that is none.
    """
    from ftlab.methods.training import quiet

    quiet()
    config = RunConfig.from_dict(message["config"])
    look = _Look(config, send)
    laid = look.survey()
    if laid is not None:
        send({"figures": look.figures(laid, tries=bool(message["probe"]))})


class _Look:
    """One inspection. Every stage goes on where an earlier fault leaves it anything to look at."""

    def __init__(self, config: RunConfig, send: Send) -> None:
        self.config, self._send = config, send
        self._faulty: set[str] = set()
        self._weights_bytes = 0
        self._model_config: Any = None

    def tell(self, level: str, field: str, text: str) -> None:
        if level == "error":
            if field.startswith("method.") and field in self._faulty:
                return  # a recipe and this look may ask after the same model
            self._faulty.add(field)
        self._send({"finding": {"level": level, "field": field, "text": text}})

    def survey(self) -> Ground | None:
        """Data, model and method; None where a fault leaves nothing to measure."""
        config = self.config
        self.began = time.perf_counter()
        recipe = self._try("method", lambda: recipe_of(config))
        if recipe is None:
            return None
        self._try("trainer", lambda: trainers.check_keys(recipe))
        rows = self._try("data.train", lambda: data.read(config.data.train, config.data.max_rows))
        held_out = self._try("data.eval", lambda: ground.held_out_rows(recipe))
        begin = self._try("model", lambda: self._begin(recipe))
        self._others()
        if begin is None:
            return None
        self._try("method", lambda: recipe.check(begin))
        tokenizer = self._try("model", lambda: start.tokenizer_of(begin))
        if tokenizer is None:
            return None
        self._fits_together(begin, tokenizer)
        columns = (
            None if rows is None else self._try("data.train", lambda: self._rendered(recipe, rows, tokenizer))
        )
        evaluation = (
            None if held_out is None else self._try("data.eval", lambda: recipe.render(held_out, tokenizer))
        )
        for text in columns.notes if columns else ():
            self.tell("note", "data.train", text)
        for text in evaluation.notes if evaluation else ():
            self.tell("note", "data.eval", text)
        if columns is None or self._faulty:
            return None
        return Ground(recipe, begin, tokenizer, columns, evaluation)

    def _rendered(self, recipe: Recipe, rows: data.Rows, tokenizer: Any) -> data.Columns:
        columns = recipe.render(rows, tokenizer)
        return data.packed(columns, self.config.data.max_length) if self.config.data.packing else columns

    def _try(self, field: str, do: Callable[[], Made]) -> Made | None:
        """What it makes; an error a person can mend becomes a finding at the field that it names, else at `field`."""
        try:
            return do()
        except FtlabError as error:
            if isinstance(error, ModelError) and field.startswith("data."):
                field = "model"  # rows were to be rendered, and the tokenizer could not
            elif isinstance(error, DataError) and not field.startswith("data."):
                field = "data.train"
            for text in str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]:
                named = _PATH.fullmatch(text)
                if named and named[1].partition(".")[0] in RunConfig.model_fields:
                    self.tell("error", named[1], named[2])
                else:
                    self.tell("error", field, text)
            return None

    def _begin(self, recipe: Recipe) -> start.Start:
        """The start as a run finds it; the weights of a large base, or of one that is elsewhere, stay unread."""
        from transformers import AutoConfig

        from ftlab.models import fingerprints, references

        notes: list[str] = []
        source = references.resolve(self.config.model)
        folder = start.described(source, notes.append)
        self._model_config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        files = fingerprints.weight_files(folder) if any(folder.glob("*.safetensors")) else []
        self._weights_bytes = sum(path.stat().st_size for path in files)
        if files and (self._weights_bytes <= HASHED_AT_ONCE or source.adapter is not None):
            begin = start.find(self.config.model, notes.append, scores=recipe.gives_scores)
        else:
            parameters = fingerprints.count_numbers(folder) if files else _counted(self._model_config)
            scores = bool(files) and references.is_reward_model(source)
            begin = start.Start(
                self.config.model, folder, self.config.model, folder, None, "", parameters, scores
            )
        if not files:
            offline = os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}
            gib = begin.parameters * 2 / (1 << 30)
            self.tell(
                "error" if offline else "note",
                "model",
                f"the weights of {self.config.model} are not on this disk"
                + (
                    ", and HF_HUB_OFFLINE forbids to fetch them"
                    if offline
                    else f"; the run fetches them first, about {gib:.1f} GiB"
                ),
            )
        for text in notes:
            self.tell("note", "model", text)
        return begin

    def _others(self) -> None:
        """Models that the method names besides the start."""
        from ftlab.models import references

        for name, is_judge in (("teacher", False), ("keep_if_better", True)):
            reference = getattr(self.config.method, name, None)
            if reference is None:
                continue

            def look(reference: str = reference, name: str = name, is_judge: bool = is_judge) -> None:
                source = references.fetch(references.resolve(reference))
                if references.is_reward_model(source) != is_judge:
                    wanted = (
                        "a reward model, which gives scores" if is_judge else "a model that writes answers"
                    )
                    raise ConfigError(f"method.{name}: {reference} is not {wanted}")

            self._try(f"method.{name}", look)

    def _fits_together(self, begin: start.Start, tokenizer: Any) -> None:
        """Tokenizer, template and special ids against the base, by number and by hash."""
        rows = int(self._model_config.get_text_config().vocab_size)
        if len(tokenizer) > rows:
            self.tell(
                "error",
                "model",
                f"the tokenizer knows {len(tokenizer)} tokens and the model {rows}; they do not belong together",
            )
        for name in ("eos_token_id", "bos_token_id"):
            own, models = getattr(tokenizer, name), getattr(self._model_config, name, None)
            known = models if isinstance(models, list) else [models]
            if own is not None and models is not None and own not in known:
                self.tell(
                    "warning",
                    "model",
                    f"{name} is {own} in the tokenizer and {models} in the model's config.json: answers may not end "
                    "where the model ends them; take the tokenizer that came with the model",
                )
        template, recorded = start.template_sha256(tokenizer), start.recorded_template(begin)
        if recorded is not None and recorded != template:
            self.tell(
                "error",
                "model",
                f"{begin.reference} was trained with the chat template {recorded[:12]}, and its tokenizer has "
                f"{template[:12]} now; put the template back that its manifest.json names",
            )
        if begin.adapter is None or begin.tokenizer == begin.base:
            return
        bases = start.template_sha256(start.tokenizer_of(replace(begin, tokenizer=begin.base)))
        if bases != template:
            self.tell(
                "warning",
                "model",
                f"the adapter {begin.reference} has another chat template ({template[:12]}) than its base "
                f"({bases[:12]}); the adapter's is used",
            )

    def figures(self, laid: Ground, *, tries: bool) -> dict[str, Any]:
        """What the run takes: tried where it may be, else estimated."""
        surveyed = time.perf_counter() - self.began
        recipe = laid.recipe
        chosen = hardware.choose(
            self.config.device, self.config.threads, laid.begin.parameters, frozen=recipe.freezes
        )
        before = hardware.resident_mib() if chosen.device == "cpu" else 0.0
        room = hardware.available_mib(chosen.device) + before
        shape = footprint.Shape.of(self._model_config, laid.begin.parameters)
        tokens = probe.sizes(laid.columns)
        found: dict[str, Any] = {
            "rows": len(laid.columns),
            "tokens": sum(tokens),
            "available_mib": room,
            "shape": asdict(shape),
            "longest_batch": self._micro() * max(tokens),
            "free_bytes": shutil.disk_usage(home()).free,
            "device": chosen.device,
        }
        self._send({"surveyed": True})
        estimate = self._estimate(laid, chosen, shape, tokens, before)
        first_seconds = estimate["step_seconds"] * self._micro() / self.config.batch_size  # four small steps
        is_quick = self._weights_bytes <= TRIED_BYTES and first_seconds <= probe.MOST_SECONDS
        if tries and self._weights_bytes and is_quick and estimate["memory_mib"] <= FILLED * room:
            trial = self._tried(laid, FILLED * room)
            if trial is None:
                return found | estimate
            return (
                found
                | self._measured(trial, estimate)
                | {"loading_seconds": trial.loading_seconds + surveyed}
            )
        return found | estimate

    def _tried(self, laid: Ground, room_mib: float) -> probe.Trial | None:
        """The trial; what it fails of, the run would fail of."""
        try:
            return self._try("method", lambda: probe.try_out(laid, room_mib))
        except Exception as error:  # noqa: BLE001 - torch and its libraries have any number of kinds
            traceback.print_exc()  # the log of the warm process
            self.tell("error", "method", f"the first steps fail: {type(error).__name__}: {error}")
            return None

    def _measured(self, trial: probe.Trial, estimate: dict[str, Any]) -> dict[str, Any]:
        setting = replace(
            footprint.Setting(**estimate["setting"]),
            trained=trial.trained,
            tokens=min(trial.heaviest, trial.together),
            logits_kept=not trial.lays_rows_end_to_end,
        )
        return {
            "source": "probe",
            "parameters": trial.parameters,
            "trained": trial.trained,
            "steps": trial.total_steps,
            "memory_mib": trial.memory_mib,
            "step_seconds": trial.step_seconds,
            "evaluating_seconds": trial.evaluating_seconds,
            "saving_seconds": trial.saving_seconds,
            "saved_bytes": trial.saved_bytes,
            "setting": asdict(setting),
            "libraries_mib": estimate["libraries_mib"],
        }

    def _estimate(
        self,
        laid: Ground,
        chosen: hardware.Hardware,
        shape: footprint.Shape,
        tokens: list[int],
        before: float,
    ) -> dict[str, Any]:
        """From the configuration alone, and the speed of one product of matrices."""
        parameters, trained, together = _numbers(laid, self._model_config, max(tokens))
        micro = self._micro()
        heaviest = sum(sorted(tokens)[-micro:]) if chosen.padding == "none" else micro * max(tokens)
        setting = footprint.Setting(
            trained=trained,
            tokens=min(heaviest, together) if chosen.padding == "none" and together else heaviest,
            weights="nf4" if self.config.method.kind == "qlora" else chosen.weights,
            short_products=chosen.autocast,
            checkpointing=chosen.gradient_checkpointing
            or bool(self.config.trainer.get("gradient_checkpointing")),
        )
        steps = self._steps(len(tokens))
        a_step = sum(tokens) / len(tokens) * self.config.batch_size
        speed = _operations_a_second(chosen)
        size = (trained if laid.recipe.freezes else parameters) * 4
        return {
            "source": "estimate",
            "parameters": parameters,
            "trained": trained,
            "steps": steps,
            "memory_mib": footprint.memory_mib(shape, setting, libraries=before),
            "step_seconds": footprint.operations(shape, setting, a_step) / speed,
            "evaluating_seconds": footprint.operations(
                shape, setting, sum(probe.sizes(laid.evaluation)) if laid.evaluation else 0.0
            )
            / speed
            / 3,
            "saving_seconds": size / probe.DISK_BYTES_A_SECOND,
            "loading_seconds": parameters * 2 / probe.DISK_BYTES_A_SECOND,
            "saved_bytes": size,
            "setting": asdict(setting),
            "libraries_mib": before,
        }

    def _micro(self) -> int:
        return int(self.config.trainer.get("per_device_train_batch_size", self.config.batch_size))  # type: ignore[arg-type]

    def _steps(self, rows: int) -> int:
        config = self.config
        return config.max_steps or math.ceil(math.ceil(rows / config.batch_size) * config.epochs)


def _skeleton(config: Any, *, scores: bool = False) -> Any:
    """The model with its shapes and no numbers; with `scores`, the one that gives a number for an answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForCausalLM
    if scores:
        kind, config = AutoModelForSequenceClassification, copy.deepcopy(config)
        config.num_labels = 1
    try:
        with torch.device("meta"):
            return kind.from_config(config)
    except ValueError as error:
        raise ModelError(f"no language model can be made of this config.json: {error}") from error


def _counted(config: Any) -> int:
    return sum(parameter.numel() for parameter in _skeleton(config).parameters())


def _numbers(laid: Ground, config: Any, longest: int) -> tuple[int, int, int | None]:
    """(numbers in the model, adapter included; those that learn; tokens of a portion), without a weight in memory."""
    model = _skeleton(config, scores=laid.recipe.gives_scores)
    together = probe.portion(laid.columns, model, longest, end_to_end=documents.fits(model))
    recipe = laid.recipe
    adapter = (
        recipe.peft_config(model) if isinstance(recipe, OnTop) else recipe.adapter(model, laid.tokenizer)
    )
    if adapter is not None:
        from peft import get_peft_model

        if hasattr(adapter, "init_lora_weights"):
            adapter.init_lora_weights = True  # other starts compute with weights, which are not there
        model = get_peft_model(model, adapter)
    parameters = list(model.parameters())
    return (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        together,
    )


def _operations_a_second(chosen: hardware.Hardware) -> float:
    """Of products of matrices in the run's own number format, on its threads."""
    import torch

    hardware.apply(chosen)
    short = chosen.autocast or chosen.weights == "bfloat16"
    matrix = torch.ones(1024, 1024, dtype=torch.bfloat16 if short else torch.float32, device=chosen.device)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(times)
