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
from ftlab.errors import ConfigError, FtlabError
from ftlab.events import Ended, Measured, Saved, Started
from ftlab.methods import checkpoints, hardware, samples, start, trainers
from ftlab.methods.dpo import DPO
from ftlab.methods.reporter import CHECKPOINTS, EVENTS, STOP, Log, Reporter
from ftlab.methods.reward import Reward

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
    _quiet()
    config = RunConfig.from_json(
        (folder / "config.json").read_text("utf-8"), source=str(folder / "config.json")
    )
    trainers.check_keys(config)
    rows = data.read(config.data.train, config.data.max_rows)
    held_out = _held_out(config)
    begin = start.find(config.model, log.note, scores=isinstance(config.method, Reward))
    _check_reward(config, begin)
    tokenizer = start.tokenizer_of(begin)
    columns = _render(config, rows, tokenizer)
    evaluation = None if held_out is None else _render(config, held_out, tokenizer)
    for text in columns.notes + [f"evaluation: {note}" for note in (evaluation.notes if evaluation else [])]:
        log.note(text)

    frozen = trainers.adapter_of(config) is not None
    chosen = hardware.choose(config.device, config.threads, begin.parameters, frozen=frozen)
    hardware.apply(chosen)
    total = config.max_steps or math.ceil(math.ceil(len(columns) / config.batch_size) * config.epochs)
    every = config.evaluate.every_steps or max(1, total // 10)
    args = trainers.arguments(config, chosen, folder, evaluates=evaluation is not None, every_steps=every)
    model = _model(config, begin, chosen, log)
    if isinstance(config.method, Reward) and not begin.gives_scores:
        model = start.with_score_head(model, tokenizer, begin)
    start.check_vocabulary(tokenizer, model, begin)

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
        config,
        chosen,
        model,
        tokenizer,
        args,
        columns.dataset(),
        evaluation.dataset() if evaluation else None,
        reporter,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _finish(folder, log, config, begin, reporter, trainer, tokenizer)


def _finish(
    folder: Path,
    log: Log,
    config: RunConfig,
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
        facts = _facts(folder, config, begin, model, step)
        sha256 = checkpoints.write_whole(
            folder / MODEL,
            lambda aside: trainers.save_model(model, tokenizer, aside, begin.base_reference),
            facts,
        )
        log.append(Saved(time.time(), step, MODEL, "model", sha256))
    (folder / STOP).unlink(missing_ok=True)  # heeded; a resumed run must not meet it again
    reporter.end(step)


def _facts(folder: Path, config: RunConfig, begin: start.Start, model: Any, step: int) -> dict[str, Any]:
    """The manifest of a trained model: what it is, and what it was made from."""
    from peft import PeftModel

    return {
        "kind": "adapter" if isinstance(model, PeftModel) else "model",
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


def _render(config: RunConfig, rows: data.Rows, tokenizer: Any) -> data.Columns:
    if isinstance(config.method, DPO):
        return data.render_preferences(rows, tokenizer, config.data.max_length)
    if isinstance(config.method, Reward):
        return data.render_comparisons(rows, tokenizer, config.data.max_length, config.method.margin)
    return data.render(rows, tokenizer, config.data.mask, config.data.max_length)


def _check_reward(config: RunConfig, begin: start.Start) -> None:
    """Raises ConfigError where a reward model is asked for what it has not, or what could not be loaded again."""
    if not isinstance(config.method, Reward):
        return
    if config.evaluate.prompts:
        raise ConfigError("evaluate.prompts: a reward model writes no answers; leave them out")
    if config.method.adapter is not None and (begin.adapter is not None or begin.gives_scores):
        raise ConfigError(
            f"method.adapter: {begin.reference} is no bare base, and an adapter can stand on one only; "
            f"leave method.adapter out, or start from {begin.base_reference}"
        )


def _held_out(config: RunConfig) -> data.Rows | None:
    """The evaluation rows: those asked for, else the embedded world's own held-out ones."""
    if config.data.eval is not None:
        return data.read(config.data.eval)
    if config.data.train not in ("wren:sft", "wren:preferences", "wren:comparisons"):
        return None
    return data.read(f"{config.data.train}:eval", EVALUATION_ROWS)


def _model(config: RunConfig, begin: start.Start, chosen: hardware.Hardware, log: Log) -> Any:
    """The model to train: an adapter that the reference brings is trained on by an adapter method, else merged."""
    import torch

    torch.manual_seed(config.seed)
    model = start.load(begin, chosen.weights, chosen.attention)
    if begin.adapter is None:
        return model
    if trainers.adapter_of(config) is None or isinstance(config.method, Reward):
        log.note(f"the adapter of {begin.reference} was merged into its base {begin.base_reference}")
        return trainers.merge_adapter(model, begin.adapter)
    log.note(
        f"the adapter of {begin.reference} is trained on, with the rank, alpha and targets it has; "
        f"the base stays {begin.base_reference}"
    )
    return trainers.continue_adapter(model, begin.adapter)


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
