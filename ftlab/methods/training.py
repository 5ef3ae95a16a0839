"""One run, from its folder's config.json to its model/ folder."""

import contextlib
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from ftlab import events
from ftlab.config import RunConfig
from ftlab.errors import FtlabError
from ftlab.events import Measured, Saved, Started
from ftlab.methods import checkpoints, ground, hardware, nf4, ranks, samples, start, trainers, wrapped
from ftlab.methods.recipes import Recipe
from ftlab.methods.reporter import CHECKPOINTS, EVENTS, STOP, Log, Reporter
from ftlab.methods.stopping import Stopper
from ftlab.methods.tracking import Tracking

MODEL = "model"
MORE_MEMORY = (
    "try a smaller batch_size or max_length, an adapter (lora, qlora) instead of every weight, or "
    "trainer.gradient_checkpointing=true; `ftlab check` says what would fit"
)


def train(folder: Path) -> None:
    """Carries out the run in `folder`; ends with an Ended event, whatever happens, and raises what failed."""
    folder = folder.resolve()
    log = Log(folder)
    crew = ranks.Crew(folder, log.append)
    try:
        _train(folder, log, crew)
    except BaseException as error:
        reason = str(error) if isinstance(error, FtlabError) else f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted"
        if _is_about_memory(error):
            reason = f"memory ran out: {MORE_MEMORY} ({reason.splitlines()[0]})"
        traceback.print_exc()
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            crew.failed(_last_step(folder), reason)
        raise


def _train(folder: Path, log: Log, crew: ranks.Crew) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the process was forked or will fork
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    quiet()
    config = RunConfig.from_json(
        (folder / "config.json").read_text("utf-8"), source=str(folder / "config.json")
    )
    ready = ground.equip(ground.survey(config, log.note), log.note)
    recipe, begin, tokenizer = ready.ground.recipe, ready.ground.begin, ready.ground.tokenizer
    chosen, columns, evaluation = ready.chosen, ready.columns, ready.evaluation

    crew.meet(chosen.device, float(config.trainer.get("ddp_timeout", ranks.SILENT_SECONDS)))  # type: ignore[arg-type]
    args = ground.arguments(ready, folder)
    checkpoint = ranks.told_by_first(lambda: _checkpoint(folder, log))
    resumed = checkpoints.step_of(checkpoint) if checkpoint else 0
    log.tracking = Tracking(config, folder, resumed, log.note)
    prompts = samples.prompts_of(config.evaluate.prompts)
    reporter = Reporter(
        folder,
        log,
        lambda total_steps: _started(folder, chosen, config, begin, trainer, len(columns), total_steps),
        lambda trained: samples.sample(trained, tokenizer, prompts, config.evaluate.max_new_tokens),
        device=chosen.device,
        keep=config.checkpoint.keep,
        sample_every=ground.every(config, len(columns)),
        tokens_before=_tokens_at(folder, checkpoint),
        stopper=_stopper(folder, log, config, resumed),
    )
    trainer = trainers.build(
        recipe,
        chosen,
        ready.model,
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
        shown = step if reporter.stopper is None else reporter.stopper.restore(model, step)

        def fill(aside: Path) -> None:
            recipe.save(model, aside, begin.base_reference)
            tokenizer.save_pretrained(str(aside))

        facts = _facts(folder, recipe.config, begin, model, shown)
        facts |= {"tokenizer": {"template_sha256": start.template_sha256(tokenizer)}}
        facts |= recipe.facts(begin, model)
        if ranks.is_first():
            sha256 = checkpoints.write_whole(folder / MODEL, fill, facts)
            log.append(Saved(time.time(), shown, MODEL, "model", sha256))
    if ranks.is_first():
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


def _is_about_memory(error: BaseException) -> bool:
    """Torch's own error of a GPU, Python's, and what torch says on a CPU, which has no class of its own."""
    words = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
    if error.__cause__ is not None and _is_about_memory(error.__cause__):
        return True  # weights that could not be loaded for it
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError | OSError) and any(word in str(error) for word in words))
    )


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
    if ranks.count() > 1:
        settings["processes"] = ranks.count()
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
        parameters=nf4.count_numbers(trainer.model),
        trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        rows=rows,
        total_steps=total,
        base=begin.sha256[:12],
    )


def _checkpoint(folder: Path, log: Log) -> Path | None:
    """The newest whole checkpoint of an earlier attempt, told in the log."""
    place = folder / CHECKPOINTS
    checkpoints.clean(place)
    found, notes = checkpoints.newest_whole(place, ranks.count())
    for note in notes:
        log.note(note, "warning")
    if found is not None:
        log.note(f"goes on from {found.name}")
    elif notes:
        log.note("no checkpoint is whole: begins anew", "warning")
    return found


def _stopper(folder: Path, log: Log, config: RunConfig, resumed: int) -> Stopper | None:
    if config.early_stopping is None:
        return None
    past, _ = events.read(folder / EVENTS)
    return Stopper(folder, config.early_stopping, past, resumed, append=log.append, note=log.note)


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


def quiet() -> None:
    """No progress bars in log.txt, and no warnings about what only TRL or PEFT can change in themselves."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*checkpointing.*deprecated", category=FutureWarning)
