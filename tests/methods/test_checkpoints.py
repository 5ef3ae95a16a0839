"""Checkpoints are whole or absent, and a run goes on from them as if nothing had happened."""

import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlab.events import Ended, Measured, Noted, Saved
from ftlab.methods import checkpoints, train
from tests.methods.conftest import told

Make = Callable[..., Path]
FORK = multiprocessing.get_context("fork")
TIMED = ("tokens_per_second", "memory_mib")


def course(folder: Path) -> dict[int, dict[str, Any]]:
    """Figures by step, the last attempt's where a step came twice."""
    return {
        event.step: {name: value for name, value in event.values.items() if name not in TIMED}
        for event in told(folder, Measured)
    }


@pytest.mark.parametrize(
    "method", ["sft", {"kind": "lora", "dropout": 0.1}], ids=["full", "adapter with dropout"]
)
def test_a_killed_run_goes_on_bit_for_bit(make_run: Make, method: Any) -> None:
    fields: dict[str, Any] = {"method": method, "max_steps": 80, "checkpoint": {"every_steps": 10}}
    whole, killed = make_run("whole", **fields), make_run("killed", **fields)
    train(whole)
    child = FORK.Process(target=train, args=(killed,))
    child.start()
    while not told(killed, Saved):
        assert not multiprocessing.connection.wait([child.sentinel], timeout=0.005), (
            "ended before its first checkpoint"
        )
    os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
    child.join()
    assert not told(killed, Ended), "killed too late for this test to say anything"
    train(killed)
    assert told(killed, Ended)[-1].status == "finished"
    assert course(killed) == course(whole)
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (whole / "model" / name).exists():
            assert checkpoints.sha256_of(killed / "model" / name) == checkpoints.sha256_of(
                whole / "model" / name
            )


def damage(folder: Path, how: str) -> None:
    if how == "no manifest":
        (folder / "manifest.json").unlink()
    elif how == "cut short":
        path = folder / "optimizer.pt"
        os.truncate(path, path.stat().st_size // 2)
    elif how == "one bit":
        path = folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    elif how == "file gone":
        (folder / "rng_state.pth").unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize("how", ["no manifest", "cut short", "one bit", "file gone", "empty"])
def test_a_damaged_newest_checkpoint_is_passed_over_aloud(make_run: Make, how: str) -> None:
    folder = make_run("damaged", method="sft", max_steps=4, checkpoint={"every_steps": 2})
    train(folder)
    expected = course(folder)
    shutil.rmtree(folder / "model")
    damage(folder / "checkpoints" / "step-4", how)
    train(folder)
    texts = [event.text for event in told(folder, Noted)]
    assert any(text.startswith("checkpoint step-4 was passed over: ") for text in texts)
    assert "goes on from step-2" in texts
    assert course(folder) == expected
    assert checkpoints.fault(folder / "checkpoints" / "step-4") is None


def test_only_the_newest_checkpoints_stay(make_run: Make) -> None:
    folder = make_run("kept", method="sft", max_steps=5, checkpoint={"every_steps": 1, "keep": 2})
    train(folder)
    assert [path.name for path in checkpoints.steps(folder / "checkpoints")] == ["step-4", "step-5"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step-4", "step-5"}


def _with_small_files(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))
    train(folder)


def test_a_full_disk_leaves_no_half_file_and_a_reason(make_run: Make) -> None:
    folder = make_run("full", method="sft", max_steps=2, checkpoint={"every_steps": 1})
    child = FORK.Process(target=_with_small_files, args=(folder,))
    child.start()
    child.join()
    assert child.exitcode == 1
    (ended,) = told(folder, Ended)
    assert ended.status == "failed"
    assert "File too large" in ended.reason
    warnings = [event.text for event in told(folder, Noted) if event.level == "warning"]
    assert [text.split(" could")[0] for text in warnings] == ["checkpoint at step 1", "checkpoint at step 2"]
    assert not (folder / "model").exists()
    assert list((folder / "checkpoints").iterdir()) == []
    assert not [path for path in folder.rglob("*") if checkpoints.ASIDE in path.name]


def test_a_replaced_folder_survives_a_failure_while_it_is_written_anew(tmp_path: Path) -> None:
    target = tmp_path / "model"
    checkpoints.write_whole(target, lambda aside: (aside / "a").write_text("one") and None, {})

    def fail(aside: Path) -> None:
        (aside / "a").write_text("two")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoints.write_whole(target, fail, {})
    assert (target / "a").read_text() == "one"
    assert checkpoints.fault(target) is None
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model"
    checkpoints.write_whole(target, lambda aside: (aside / "a").write_text("one") and None, {})
    target.rename(tmp_path / f"{checkpoints.ASIDE}old-model")
    (tmp_path / f"{checkpoints.ASIDE}model").mkdir()
    checkpoints.clean(tmp_path)
    assert checkpoints.fault(target) is None
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
