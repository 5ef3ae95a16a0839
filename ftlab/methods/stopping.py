"""When to end because nothing gets better, and the weights of the evaluation that was best.

What is waited for follows from the run's evaluations alone, so that a resumed run knows it from its events. The
weights lie in `best/step-N`, whole or absent; each is kept as long as a checkpoint is there that goes on from
before the next better one, so that a resumed run finds the best of its own past.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.config import EarlyStopping
from ftlab.events import Evaluated, Event, Saved
from ftlab.methods import checkpoints

BEST = "best"
WEIGHTS = "weights.safetensors"


@dataclass
class Patience:
    """How long nothing got better. Losses in nats; None is no number, and no better than anything."""

    settings: EarlyStopping
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    """Evaluations since the best one."""
    seen: int = 0

    def take(self, step: int, loss: float | None) -> bool:
        """Counts one evaluation; whether it is better than every one before."""
        self.seen += 1
        is_better = loss is not None and (self.best is None or loss < self.best - self.settings.least)
        if is_better:
            self.best, self.best_step, self.waited = loss, step, 0
        else:
            self.waited += 1
        return is_better

    @property
    def is_over(self) -> bool:
        return self.waited >= self.settings.patience


class Stopper:
    """Judges each evaluation of a run that goes on after step `resumed` (0: from its start)."""

    def __init__(
        self,
        folder: Path,
        settings: EarlyStopping,
        past: Iterable[Event],
        resumed: int,
        *,
        append: Callable[[Event], None],
        note: Callable[..., None],
    ) -> None:
        self.patience = Patience(settings)
        self._folder, self._append, self._note = folder, append, note
        checkpoints.clean(folder / BEST)
        # A resumed run does the steps behind its checkpoint again: of these nothing is known, and of a step that
        # was evaluated twice the last time counts.
        known = {
            event.step: event.values.get("loss")
            for event in past
            if isinstance(event, Evaluated) and event.step <= resumed
        }
        for step in sorted(known):
            self.patience.take(step, known[step])

    def evaluated(self, step: int, loss: float | None, model: Any) -> str:
        """Takes one evaluation of `model` in; the reason to end, empty to go on."""
        if self.patience.take(step, loss) and self.patience.settings.keep_best:
            self._keep(step, model)
        if not self.patience.is_over:
            return ""
        tried = f"{self.patience.waited} evaluations"
        if self.patience.best is None:
            return f"early stopping: {tried} without a finite loss"
        return (
            f"early stopping: {tried} without a better loss than {self.patience.best:.5g} at step "
            f"{self.patience.best_step}"
        )

    def restore(self, model: Any, step: int) -> int:
        """Puts the best weights into the model that has come to `step`; the step whose weights it has then."""
        from safetensors.torch import load_file
        from torch import no_grad

        best = self.patience.best_step
        if not self.patience.settings.keep_best or self.patience.best is None or best == step:
            return step
        source = self._place(best)
        if (fault := checkpoints.fault(source)) is not None:
            self._note(
                f"the weights of step {best}, the best, are not to be had: {fault}; those of step {step} are saved",
                "warning",
            )
            return step
        weights = load_file(source / WEIGHTS)
        with no_grad():
            for name, parameter in _learning(model).items():
                parameter.copy_(weights[name])
        self._note(
            f"the result has the weights of step {best}: evaluation loss {self.patience.best:.5g}, the best of "
            f"{self.patience.seen}"
        )
        return best

    def prune(self) -> None:
        """Removes the weights that neither the run nor one resumed from a checkpoint would come back to."""
        kept = checkpoints.steps(self._folder / BEST)
        starts = [checkpoints.step_of(path) for path in checkpoints.steps(self._folder / "checkpoints")]
        needed = {self._place(self.patience.best_step)}
        for start in starts:
            before = [path for path in kept if checkpoints.step_of(path) <= start]
            needed |= set(before[-1:])
        for path in kept:
            if path not in needed:
                shutil.rmtree(path)

    def _keep(self, step: int, model: Any) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        def fill(aside: Path) -> None:
            tensors = {name: value.detach().cpu().contiguous() for name, value in _learning(model).items()}
            save_file(tensors, aside / WEIGHTS)

        try:
            facts = {"kind": "best", "step": step, "loss": self.patience.best}
            sha256 = checkpoints.write_whole(self._place(step), fill, facts)
        except (OSError, SafetensorError) as error:
            self._note(f"the best weights so far, of step {step}, could not be written: {error}", "warning")
            return
        self._append(Saved(time.time(), step, f"{BEST}/{checkpoints.STEP}{step}", "checkpoint", sha256))
        self.prune()

    def _place(self, step: int) -> Path:
        return self._folder / BEST / f"{checkpoints.STEP}{step}"


def _learning(model: Any) -> dict[str, Any]:
    """The parameters that learn, by name; what is tied comes once."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
