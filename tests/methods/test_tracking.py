"""Boards of others: what they are told is what the run measured, and their faults cost the run nothing."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlab import launch, runs, trackers
from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.events import Ended, Evaluated, Measured
from ftlab.methods import tracking, train
from tests.methods.conftest import sft_rows, told

Make = Callable[..., Path]


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """{name: {step: value}} of every event file, the latest value of a step; purged steps left out."""
    from tensorboardX.event_file_writer import event_pb2  # the same messages that TensorBoard reads
    from tensorboardX.record_writer import masked_crc32c

    found: dict[str, dict[int, float]] = {}
    files = sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns)
    for path in files:
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            assert int.from_bytes(data[at + 8 : at + 12], "little") == masked_crc32c(data[at : at + 8])
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16
            if event.session_log.status == 1:  # START: what is there from this step on is void
                for values in found.values():
                    for step in [step for step in values if step >= event.step]:
                        del values[step]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_holds_what_the_run_measured_also_across_a_stop(make_run: Make, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in sft_rows()))
    data = {"train": str(rows), "eval": str(rows)}
    folder = make_run("board", method="sft", data=data, max_steps=3, trackers=["tensorboard"])
    (folder / "stop").touch()
    train(folder)
    train(folder)
    seen = scalars(folder / "tensorboard")
    for kind, group in ((Measured, "train"), (Evaluated, "eval")):
        for event in told(folder, kind):
            for name, value in event.values.items():
                assert seen[f"{group}/{name}"][event.step] == pytest.approx(value, rel=1e-6)
    assert sorted(seen["train/loss"]) == [1, 2, 3]
    assert {path.name for path in folder.iterdir()} >= {"tensorboard", "events.jsonl", "model"}


def test_nothing_is_tracked_by_default(make_run: Make) -> None:
    folder = make_run("plain", method="sft", max_steps=1)
    train(folder)
    assert not (folder / "tensorboard").exists()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_before_there_is_a_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted, *rest: None if wanted == name else find(wanted, *rest)
    )
    with pytest.raises(ConfigError, match=rf"trackers: {name} not installed; `pip install {name}`"):
        launch(RunConfig(trackers=["tensorboard", name]))
    assert runs() == []


def test_a_tracker_that_fails_is_dropped_aloud_and_without_its_key(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *_: Any) -> None:
            self.left = 1

        def write(self, values: dict[str, float], step: int) -> None:
            if not self.left:
                raise ConnectionError(
                    f"401 at step {step}: the key abcd-1234-key is not known ({len(values)})"
                )
            self.left -= 1

        def close(self, status: str) -> None:
            raise AssertionError(status)  # it was dropped

    monkeypatch.setitem(tracking._WRITERS, "tensorboard", Broken)
    monkeypatch.setenv("WANDB_API_KEY", "abcd-1234-key")
    folder = make_run("broken", method="sft", max_steps=3, trackers=["tensorboard"])
    train(folder)
    assert told(folder, Ended)[-1].status == "finished"
    (warning,) = [event.text for event in told(folder) if getattr(event, "level", "") == "warning"]
    assert warning.startswith("tensorboard is not written to any more: ConnectionError: 401 at step 2")
    assert "$WANDB_API_KEY" in warning
    assert "abcd-1234" not in (folder / "events.jsonl").read_text()


def test_each_tracker_of_the_configuration_has_a_package_and_a_writer() -> None:
    (choices,) = [item["enum"] for item in [RunConfig.json_schema()["properties"]["trackers"]["items"]]]
    assert set(choices) == set(trackers.PACKAGES) == set(tracking._WRITERS)
