"""One run, from its folder's config.json to its model/ folder."""

import contextlib
import math
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from ftlab import data, events
from ftlab.config import RunConfig
from ftlab.errors import FtlabError
from ftlab.events import Ended, Measured, Saved, Started
from ftlab.methods import checkpoints, hardware, samples, start, trainers, wrapped
from ftlab.methods.recipes import Recipe, recipe_of
from ftlab.methods.reporter import CHECKPOINTS, EVENTS, STOP, Log, Reporter

EVALUATION_ROWS = 128  # of the embedded held-out rows: a loss with two digits, for a twentieth of the time
MODEL = "model"


def train(folder: Path) -> None:
    """Carries out the run in `folder`; ends with an Ended event, whatever happens, and raises what failed."""
    folder = folder.resolve()
    log = Log(folder)
    try:
        _train(folder, log)
    except BaseException as error:
        reason = str(error) if isinstance(error, FtlabError) else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted"
        traceback.print_exc()
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            log.append(Ended(time.time(), _last_step(folder), "failed", reason))
        raise


def _train(folder: Path, log: Log) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the process was forked or will fork
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch

    _quiet()
    config = RunConfig.from_json(
        (folder / "config.json").read_text("utf-8"), source=str(folder / "config.json")
    )
    recipe = recipe_of(config)
    trainers.check_keys(recipe)
    rows = data.read(config.data.train, config.data.max_rows)
    held_out = _held_out(recipe)
    begin = start.find(config.model, log.note, scores=recipe.gives_scores)
    recipe.check(begin)
    tokenizer = start.tokenizer_of(begin)
    columns = recipe.render(rows, tokenizer)
    evaluation = None if held_out is None else recipe.render(held_out, tokenizer)

    chosen = hardware.choose(config.device, config.threads, begin.parameters, frozen=recipe.freezes)
    hardware.apply(chosen)
    torch.manual_seed(config.seed)
    model = recipe.model(begin, chosen, tokenizer, log.note)
    start.check_vocabulary(tokenizer, model, begin)
    columns = recipe.learned_from(columns, model, tokenizer, log.note)
    evaluation = evaluation and recipe.learned_from(evaluation, model, tokenizer, log.note)
    for text in columns.notes + [f"evaluation: {note}" for note in (evaluation.notes if evaluation else [])]:
        log.note(text)
    total = config.max_steps or math.ceil(math.ceil(len(columns) / config.batch_size) * config.epochs)
    every = config.evaluate.every_steps or max(1, total // 10)
    args = trainers.arguments(recipe, chosen, folder, evaluates=evaluation is not None, every_steps=every)

    checkpoint = _checkpoint(folder, log)
    prompts = samples.prompts_of(config.evaluate.prompts)
    reporter = Reporter(
        folder,
        log,
        lambda total_steps: _started(folder, chosen, config, begin, trainer, len(columns), total_steps),
        lambda trained: samples.sample(trained, tokenizer, prompts, config.evaluate.max_new_tokens),
        device=chosen.device,
        keep=config.checkpoint.keep,
        sample_every=every,
        tokens_before=_tokens_at(folder, checkpoint),
    )
    trainer = trainers.build(
        recipe,
        chosen,
        model,
        tokenizer,
        args,
        columns.dataset(),
        evaluation.dataset() if evaluation else None,
        reporter,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _finish(folder, log, recipe, begin, reporter, trainer, tokenizer)


def _finish(
    folder: Path,
    log: Log,
    recipe: Recipe,
    begin: start.Start,
    reporter: Reporter,
    trainer: Any,
    tokenizer: Any,
) -> None:
    """The last evaluation and samples, the model, the end."""
    step = trainer.state.global_step
    if reporter.outcome != "diverged":
        if (
            reporter.outcome == "finished"
            and trainer.eval_dataset is not None
            and step % trainer.args.eval_steps
        ):
            trainer.evaluate()
        reporter.sample(step, trainer.model)
        model = trainer.accelerator.unwrap_model(trainer.model)

        def fill(aside: Path) -> None:
            recipe.save(model, aside, begin.base_reference)
            tokenizer.save_pretrained(str(aside))

        facts = _facts(folder, recipe.config, begin, model, step)
        sha256 = checkpoints.write_whole(folder / MODEL, fill, facts)
        log.append(Saved(time.time(), step, MODEL, "model", sha256))
    (folder / STOP).unlink(missing_ok=True)  # heeded; a resumed run must not meet it again
    reporter.end(step)


def _facts(folder: Path, config: RunConfig, begin: start.Start, model: Any, step: int) -> dict[str, Any]:
    """The manifest of a trained model: what it is, and what it was made from."""
    return {
        "kind": "adapter" if wrapped.is_wrapped(model) else "model",
        "base": {"reference": begin.base_reference, "sha256": begin.sha256},
        "started_from": begin.reference,
        "run": folder.name,
        "method": config.method.kind,
        "step": step,
        "config_sha256": checkpoints.sha256_of(folder / "config.json"),
        "data": {"source": config.data.train, "sha256": _data_sha256(config.data.train)},
    }


def _data_sha256(source: str) -> str | None:
    """Of the file's bytes; the embedded world's rows follow from the version of ftlab."""
    return None if source.startswith("wren:") else checkpoints.sha256_of(Path(source).expanduser())


def _started(
    folder: Path,
    chosen: hardware.Hardware,
    config: RunConfig,
    begin: start.Start,
    trainer: Any,
    rows: int,
    total: int,
) -> Started:
    settings = chosen.as_dict() | {"trainer": dict(config.trainer)}
    if chosen.device == "cpu" and not trainer.lays_rows_end_to_end:
        settings["padding"] = "rows"  # an architecture that TRL's own forward has to carry
    sys.stdout.write(f"settings: {settings}\n")  # log.txt
    parameters = list(trainer.model.parameters())
    return Started(
        time=time.time(),
        run=folder.name,
        pid=os.getpid(),
        device=chosen.device,
        settings=settings,
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        rows=rows,
        total_steps=total,
        base=begin.sha256[:12],
    )


def _held_out(recipe: Recipe) -> data.Rows | None:
    """The evaluation rows: those asked for, else the embedded world's own held-out ones."""
    config = recipe.config
    if config.data.eval is not None:
        return data.read(config.data.eval)
    if config.data.train not in recipe.embedded:
        return None
    return data.read(f"{config.data.train}:eval", EVALUATION_ROWS)


def _checkpoint(folder: Path, log: Log) -> Path | None:
    """The newest whole checkpoint of an earlier attempt, told in the log."""
    place = folder / CHECKPOINTS
    checkpoints.clean(place)
    found, notes = checkpoints.newest_whole(place)
    for note in notes:
        log.note(note, "warning")
    if found is not None:
        log.note(f"goes on from {found.name}")
    elif notes:
        log.note("no checkpoint is whole: begins anew", "warning")
    return found


def _tokens_at(folder: Path, checkpoint: Path | None) -> float:
    """Tokens seen up to the checkpoint, as the earlier attempt told them."""
    if checkpoint is None:
        return 0.0
    step = checkpoints.step_of(checkpoint)
    seen = [event.values.get("tokens") for event in _measured(folder) if event.step == step]
    return seen[-1] or 0.0 if seen else 0.0


def _last_step(folder: Path) -> int:
    return max((event.step for event in _measured(folder)), default=0)


def _measured(folder: Path) -> list[Measured]:
    found, _ = events.read(folder / EVENTS)
    return [event for event in found if isinstance(event, Measured)]


def _quiet() -> None:
    """No progress bars in log.txt, and no warnings about what only TRL or PEFT can change in themselves."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*checkpointing.*deprecated", category=FutureWarning)
