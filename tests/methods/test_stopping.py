"""Early stopping: a run ends when nothing gets better, with the best weights, killed and resumed or not."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.config import EarlyStopping, RunConfig
from ftlab.errors import ConfigError
from ftlab.events import Ended, Evaluated, Event, Measured, Noted, Saved
from ftlab.methods import checkpoints, train
from ftlab.methods.reporter import Log
from ftlab.methods.stopping import Patience, Stopper
from tests.methods.conftest import preference_rows, sft_rows, told

Make = Callable[..., Path]
FORK = multiprocessing.get_context("fork")
NEVER_BETTER = {"patience": 2, "least": 1e6}  # the first evaluation is the best there will be
FIXED = {"schedule": "constant", "warmup": 0, "learning_rate": 1e-2}


@pytest.fixture
def judged(make_run: Make, tmp_path: Path) -> Make:
    """As `make_run`, with rows to evaluate on."""
    rows = tmp_path / "judged.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sft_rows(30)[24:]))
    source = tmp_path / "learned.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in sft_rows(24)))

    def make(name: str, **fields: Any) -> Path:
        data = {"train": str(source), "eval": str(rows)}
        return make_run(name, data=data, **{"method": "sft", "evaluate": {"every_steps": 2}} | FIXED | fields)

    return make


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def end_of(folder: Path) -> Ended:
    return told(folder, Ended)[-1]


def test_a_run_ends_when_its_patience_does_with_the_weights_of_its_best_evaluation(judged: Make) -> None:
    stopped = judged("stopped", max_steps=20, early_stopping=NEVER_BETTER)
    train(stopped)
    end = end_of(stopped)
    assert (end.status, end.step) == ("finished", 6)
    best = next(event.values["loss"] for event in told(stopped, Evaluated))
    assert end.reason == f"early stopping: 2 evaluations without a better loss than {best:.5g} at step 2"
    short = judged("short", max_steps=2)
    train(short)
    assert weights(stopped) == weights(short)
    assert checkpoints.manifest(stopped / "model")["step"] == 2
    assert checkpoints.fault(stopped / "best" / "step-2") is None
    assert any("the weights of step 2" in event.text for event in told(stopped, Noted))


def test_without_keep_best_the_weights_are_those_of_the_last_step(judged: Make) -> None:
    last = judged("last", max_steps=20, early_stopping=NEVER_BETTER | {"keep_best": False})
    train(last)
    full = judged("full", max_steps=6)
    train(full)
    assert weights(last) == weights(full)
    assert not (last / "best").exists()


def test_a_run_that_gets_better_goes_on_to_its_end(judged: Make) -> None:
    folder = judged("better", max_steps=6, early_stopping={"patience": 1}, learning_rate=1e-3)
    train(folder)
    losses = [event.values["loss"] for event in told(folder, Evaluated)]
    assert losses == sorted(losses, reverse=True)
    assert (end_of(folder).step, end_of(folder).reason) == (6, "")
    assert [path.name for path in checkpoints.steps(folder / "best")] == ["step-6"]


def _killed_at(folder: Path, step: int) -> None:
    append = Log.append

    def dying(self: Log, event: Event) -> None:
        if isinstance(event, Measured) and event.step == step:
            os._exit(9)
        append(self, event)

    Log.append = dying  # type: ignore[method-assign]
    train(folder)


def killed_at(folder: Path, step: int) -> None:
    """Trains in a process of its own that dies without a word in this step."""
    child = FORK.Process(target=_killed_at, args=(folder, step))
    child.start()
    child.join()
    assert child.exitcode == 9


@pytest.mark.parametrize("step", [3, 6])
def test_a_killed_and_resumed_run_ends_like_one_that_was_left_alone(judged: Make, step: int) -> None:
    """In step 6 it dies after an evaluation that the resumed run does not know of: its checkpoint is older."""
    fields = {"max_steps": 20, "early_stopping": NEVER_BETTER, "method": "lora"}
    fields["checkpoint"] = {"every_steps": 3, "keep": 1}
    alone, killed = judged("alone", **fields), judged("killed", **fields)
    train(alone)
    killed_at(killed, step)
    train(killed)
    assert (end_of(killed).step, end_of(killed).reason) == (end_of(alone).step, end_of(alone).reason)
    assert end_of(alone).step == 6
    names = [path / "model" / "adapter_model.safetensors" for path in (alone, killed)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_a_stop_does_not_take_the_evaluation_that_is_due_from_a_resumed_run(judged: Make) -> None:
    folder = judged("asked", max_steps=20, early_stopping=NEVER_BETTER, evaluate={"every_steps": 1})
    (folder / "stop").touch()
    train(folder)
    assert end_of(folder).status == "stopped"
    assert [event.step for event in told(folder, Evaluated)] == [1]
    train(folder)
    assert [event.step for event in told(folder, Evaluated)] == [1, 2, 3]
    assert end_of(folder).status == "finished"


def test_preferences_stop_early_as_well(make_run: Make, tmp_path: Path) -> None:
    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in preference_rows()))
    data = {"train": str(rows), "eval": str(rows)}
    fields: dict[str, Any] = {"method": "dpo", "evaluate": {"every_steps": 1}, "max_steps": 9}
    folder = make_run("dpo", data=data, early_stopping=NEVER_BETTER, **fields)
    train(folder)
    assert (end_of(folder).status, end_of(folder).step) == ("finished", 3)


def test_early_stopping_without_evaluation_rows_is_refused_before_the_start(
    make_run: Make, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"early_stopping: needs rows to evaluate on: name them as data\.eval"
    ):
        RunConfig(data=str(tmp_path / "rows.jsonl"), early_stopping={})
    folder = make_run("none", method="sft", data="wren:preferences", early_stopping={})
    with pytest.raises(ConfigError, match="needs rows to evaluate on"):
        train(folder)
    assert end_of(folder).status == "failed"


class Told(list):  # type: ignore[type-arg]
    """What a stopper notes."""

    def note(self, text: str, level: str = "info") -> None:
        self.append((level, text))


def stopper(folder: Path, past: list[Event], resumed: int, notes: Told, **settings: Any) -> Stopper:
    return Stopper(folder, EarlyStopping(**settings), past, resumed, append=lambda _: None, note=notes.note)


def line(weight: float) -> Any:
    import torch

    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, weight)
    return model


def test_best_weights_stay_as_long_as_a_checkpoint_would_come_back_to_them(tmp_path: Path) -> None:
    notes = Told()
    first = stopper(tmp_path, [], 0, notes, patience=9)
    places = tmp_path / "checkpoints"
    for step, loss in ((1, 3.0), (2, 2.0), (4, 1.0)):
        first.evaluated(step, loss, line(loss))
        if step == 2:
            (places / "step-3").mkdir(parents=True)
    assert [path.name for path in checkpoints.steps(tmp_path / "best")] == ["step-2", "step-4"]
    past: list[Event] = [
        Evaluated(0.0, step, {"loss": loss}) for step, loss in ((1, 3.0), (2, 2.0), (4, 1.0))
    ]
    resumed = stopper(tmp_path, past, 3, notes, patience=9)
    model = line(7.0)
    assert resumed.restore(model, 5) == 2  # of step 4 the resumed run knows nothing
    assert model.weight.item() == 2.0
    (places / "step-3").rename(places / "step-5")
    first.prune()
    assert [path.name for path in checkpoints.steps(tmp_path / "best")] == ["step-4"]


def test_damaged_best_weights_are_told_and_not_used(tmp_path: Path) -> None:
    notes = Told()
    one = stopper(tmp_path, [], 0, notes, patience=9)
    one.evaluated(1, 1.0, line(1.0))
    path = tmp_path / "best" / "step-1" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    model = line(7.0)
    assert one.restore(model, 5) == 5
    assert model.weight.item() == 7.0
    assert notes == [
        (
            "warning",
            "the weights of step 1, the best, are not to be had: weights.safetensors is damaged; those of step 5 are saved",
        )
    ]


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=30),
    st.integers(1, 5),
    st.floats(0, 3),
)
def test_patience_ends_behind_the_first_stretch_without_a_better_evaluation(
    losses: list[float | None], patience: int, least: float
) -> None:
    one = Patience(EarlyStopping(patience=patience, least=least))
    best, since = None, 0
    for step, loss in enumerate(losses, 1):
        better = loss is not None and (best is None or loss < best - least)
        best, since = (loss, 0) if better else (best, since + 1)
        assert one.take(step, loss) == better
        assert one.is_over == (since >= patience)
        if one.is_over:
            break
    assert one.best == best


def test_the_best_weights_are_told_as_saved(judged: Make) -> None:
    folder = judged("told", max_steps=2, early_stopping={})
    train(folder)
    saved = [(event.path, event.kind) for event in told(folder, Saved)]
    assert saved == [("best/step-2", "checkpoint"), ("model", "model")]
