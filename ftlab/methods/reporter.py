"""What a trainer tells of itself: TRL's callbacks turned into events, and the stop that is looked for each step."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ftlab import events
from ftlab.events import Ended, Evaluated, Event, Measured, Noted, Outcome, Sampled, Saved, Started
from ftlab.methods import chatter, checkpoints, ranks
from ftlab.methods.hardware import memory_mib
from ftlab.methods.stopping import Stopper
from ftlab.methods.tracking import Tracking
from ftlab.warm.keeper import LOG

EVENTS, STOP, CHECKPOINTS = "events.jsonl", "stop", "checkpoints"
NAMES = {"mean_token_accuracy": "accuracy", "num_tokens": "tokens"}
LEFT_OUT = {"epoch", "step", "total_flos"}


class Log:
    """The run's events.jsonl; of several processes that train together the first one writes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS
        self.tracking: Tracking | None = None
        """Boards of others that are told as well."""

    def append(self, event: Event) -> None:
        if not ranks.is_first():
            return
        events.append(self.path, event)
        if self.tracking is not None:
            self.tracking.take(event)

    def note(self, text: str, level: events.Level = "info") -> None:
        sys.stdout.write(f"{text}\n")  # log.txt
        self.append(Noted(time.time(), level, text))


class Reporter(TrainerCallback):
    """One callback for everything that is told, so that the order of events is the order of the code here.

    `sample(model)` gives (prompt, text) for each fixed prompt. After training `outcome` and `reason` say how
    it ended.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        started: Callable[[int], Started],
        sample: Callable[[Any], list[tuple[list[dict[str, str]], str]]],
        *,
        device: str,
        keep: int,
        sample_every: int,
        tokens_before: float = 0,
        stopper: Stopper | None = None,
    ) -> None:
        self.folder, self.log, self.device, self.keep = folder, log, device, keep
        self.sample_every = sample_every
        self.stopper = stopper
        self.outcome: Outcome = "finished"
        self.reason = ""
        self._started, self._sample = started, sample
        self._tokens_before, self._tokens = tokens_before, 0.0
        self._began = time.monotonic()
        self._sampled_at: int | None = None
        self._saved_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.log.append(self._started(state.max_steps))
        if state.global_step == 0:
            self.sample(0, kwargs["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: the run's folder was taken away while it ran")
        if ranks.is_first() and chatter.shorten(self.folder / LOG):
            self.log.note(
                f"{LOG} had grown beyond {chatter.LIMIT >> 20} MiB: its middle was taken out", "warning"
            )
        is_asked = ranks.told_by_first((self.folder / STOP).exists)
        if is_asked and state.global_step < state.max_steps:
            self.outcome, self.reason = "stopped", f"stopped on request after step {state.global_step}"
            control.should_training_stop = control.should_save = True
            if self.stopper is None:  # else an evaluation that is due counts, or a resumed run would lack it
                control.should_evaluate = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # noqa: ARG002
        if "loss" not in logs:
            return  # an evaluation, which on_evaluate tells, or the sums at the end
        seconds = time.monotonic() - self._began
        values = _values(logs)
        tokens = float(logs.get("num_tokens", 0.0))
        values["tokens_per_second"] = (tokens - self._tokens) / seconds
        values["tokens"] = self._tokens_before + tokens
        values["memory_mib"] = round(memory_mib(self.device), 1)
        self._tokens = tokens
        self.log.append(Measured(time.time(), state.global_step, float(state.epoch or 0), values))
        wrong = [name for name in ("loss", "grad_norm") if values.get(name, 0.0) is None]
        if wrong:
            self.outcome = "diverged"
            self.reason = (
                f"{' and '.join(wrong)} not finite at step {state.global_step}; "
                "lower learning_rate or max_grad_norm, or look for broken rows"
            )
            control.should_training_stop = True
            control.should_save = control.should_evaluate = False
        elif (
            self.outcome == "finished"
            and state.global_step % self.sample_every == 0
            and not control.should_evaluate
        ):
            self.sample(state.global_step, kwargs["model"])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:  # noqa: ARG002
        values = _values({name.removeprefix("eval_"): value for name, value in metrics.items()})
        self.log.append(Evaluated(time.time(), state.global_step, values))
        if self.stopper is not None:
            reason = self.stopper.evaluated(state.global_step, values.get("loss"), kwargs["model"])
            if reason and self.outcome == "finished" and state.global_step < state.max_steps:
                self.reason = reason
                control.should_training_stop = True
        self.sample(state.global_step, kwargs["model"])

    def sample(self, step: int, model: Any) -> None:
        """Answers the fixed prompts, once a step."""
        if self._sampled_at == step or not ranks.is_first():
            return
        self._sampled_at = step
        for prompt, text in self._sample(model):
            self.log.append(Sampled(time.time(), step, prompt, text))

    def save_checkpoint(self, write: Callable[[], None], trainer: Any) -> None:
        """One checkpoint, whole; a full disk costs this one, never an older one or the training."""
        step = trainer.state.global_step
        if self.outcome == "diverged" or self._saved_at == step:
            return
        target = self.folder / CHECKPOINTS / f"{checkpoints.STEP}{step}"

        are_met = False

        def fill(aside: Path) -> None:
            nonlocal are_met
            ranks.told_by_first(lambda: str(aside))
            are_met = True
            self._write(write, trainer, aside)

        facts = {"kind": "checkpoint", "step": step, "processes": ranks.count()}
        try:
            if ranks.is_first():
                sha256 = checkpoints.write_whole(target, fill, facts)
            elif place := ranks.told_by_first(str):
                self._write(write, trainer, Path(place))
        except Exception as error:  # safetensors and torch have errors of their own for a full disk
            if not _is_about_writing(error):
                raise
            if ranks.is_first() and not are_met:
                ranks.told_by_first(str)  # no place: the others write nothing either
            self.log.note(
                f"checkpoint at step {step} could not be written: {error}; older ones are kept", "warning"
            )
            return
        self._saved_at = step
        if not ranks.is_first():
            return
        checkpoints.prune(target.parent, self.keep)
        if self.stopper is not None:
            self.stopper.prune()
        path = target.relative_to(self.folder).as_posix()
        self.log.append(Saved(time.time(), step, path, "checkpoint", sha256))

    def _write(self, write: Callable[[], None], trainer: Any, aside: Path) -> None:
        """Transformers' checkpoint, its files right below `aside`; each process adds its own random state."""
        trainer.args.output_dir = str(aside)
        error: Exception | None = None
        try:
            write()
        except Exception as own:  # noqa: BLE001 - raised below, once the others need not wait for this process
            error = own
        failed = any(ranks.all_told(error is not None))
        if error is not None:
            raise error
        if failed:
            raise OSError(f"{aside}: another process could not write its part of the checkpoint")
        if ranks.is_first():
            (inner,) = aside.iterdir()
            for path in list(inner.iterdir()):
                path.rename(aside / path.name)
            inner.rmdir()

    def end(self, step: int) -> None:
        self.log.append(Ended(time.time(), step, self.outcome, self.reason))


def _is_about_writing(error: Exception) -> bool:
    from safetensors import SafetensorError

    return isinstance(error, OSError | SafetensorError) or "PytorchStreamWriter" in str(error)


def _values(logs: dict[str, Any]) -> dict[str, float | None]:
    """Numbers under the names events use; None for NaN and infinities."""
    values: dict[str, float | None] = {}
    for name, value in logs.items():
        if name in LEFT_OUT or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        values[NAMES.get(name, name)] = float(value) if math.isfinite(value) else None
    return values
