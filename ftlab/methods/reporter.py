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
from ftlab.methods import checkpoints
from ftlab.methods.hardware import memory_mib

EVENTS, STOP, CHECKPOINTS = "events.jsonl", "stop", "checkpoints"
NAMES = {"mean_token_accuracy": "accuracy", "num_tokens": "tokens"}
LEFT_OUT = {"epoch", "step", "total_flos"}


class Log:
    """The run's events.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS

    def append(self, event: Event) -> None:
        events.append(self.path, event)

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
    ) -> None:
        self.folder, self.log, self.device, self.keep = folder, log, device, keep
        self.sample_every = sample_every
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
        if (self.folder / STOP).exists() and state.global_step < state.max_steps:
            self.outcome, self.reason = "stopped", f"stopped on request after step {state.global_step}"
            control.should_training_stop = control.should_save = True
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
        self.sample(state.global_step, kwargs["model"])

    def sample(self, step: int, model: Any) -> None:
        """Answers the fixed prompts, once a step."""
        if self._sampled_at == step:
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

        def fill(aside: Path) -> None:
            trainer.args.output_dir = str(aside)
            write()
            (inner,) = aside.iterdir()
            for path in list(inner.iterdir()):
                path.rename(aside / path.name)
            inner.rmdir()

        try:
            sha256 = checkpoints.write_whole(target, fill, {"kind": "checkpoint", "step": step})
        except Exception as error:  # safetensors and torch have errors of their own for a full disk
            if not _is_about_writing(error):
                raise
            self.log.note(
                f"checkpoint at step {step} could not be written: {error}; older ones are kept", "warning"
            )
            return
        self._saved_at = step
        checkpoints.prune(target.parent, self.keep)
        path = target.relative_to(self.folder).as_posix()
        self.log.append(Saved(time.time(), step, path, "checkpoint", sha256))

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
