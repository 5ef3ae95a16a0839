"""Several processes that train one run: one run is seen, with the numbers of one process; a dead one ends it aloud."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import ConfigError
from ftlab.events import Ended, Measured, Noted, Started
from ftlab.methods import checkpoints, ranks, train
from tests.methods.conftest import told

Make = Callable[..., Path]
FORK = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def as_rank(rank: int, port: int, folder: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    train(folder)


def two(folder: Path) -> list[Any]:
    """Two processes at one run, as torchrun starts them."""
    port = free_port()
    crew = [FORK.Process(target=as_rank, args=(rank, port, folder)) for rank in (0, 1)]
    for one in crew:
        one.start()
    return crew


def ended(crew: list[Any]) -> list[int | None]:
    for one in crew:
        one.join(60)
    return [one.exitcode for one in crew]


FIELDS: dict[str, Any] = {"method": "sft", "max_steps": 4, "checkpoint": {"every_steps": 2}}


def test_two_processes_are_one_run_with_the_numbers_of_one(make_run: Make) -> None:
    alone, together = make_run("alone", **FIELDS), make_run("together", **FIELDS)
    train(alone)
    assert ended(two(together)) == [0, 0]
    (started,) = told(together, Started)
    assert started.settings["processes"] == 2
    assert [event.step for event in told(together, Measured)] == [1, 2, 3, 4]
    assert [type(event) for event in told(together)] == [type(event) for event in told(alone)]
    for one, other in zip(told(alone, Measured), told(together, Measured), strict=True):
        assert one.values["tokens"] == other.values["tokens"]
        assert other.values["loss"] == pytest.approx(one.values["loss"], rel=1e-5)
        assert other.values["grad_norm"] == pytest.approx(one.values["grad_norm"], rel=1e-4)
    assert checkpoints.fault(together / "model") is None


def test_both_random_states_are_saved_and_both_processes_go_on_from_the_same_checkpoint(
    make_run: Make,
) -> None:
    whole, halted = make_run("whole", **FIELDS), make_run("halted", **FIELDS)
    assert ended(two(whole)) == [0, 0]
    files = checkpoints.manifest(whole / "checkpoints" / "step-4")["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(files)
    assert ended(two(halted)) == [0, 0]
    for path in (halted / "model", halted / "checkpoints" / "step-4"):
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    assert ended(two(halted)) == [0, 0]
    assert "goes on from step-2" in [event.text for event in told(halted, Noted)]
    weights = [checkpoints.sha256_of(folder / "model" / "model.safetensors") for folder in (whole, halted)]
    assert weights[0] == weights[1]


def test_one_process_does_not_go_on_from_a_checkpoint_of_two(make_run: Make) -> None:
    folder = make_run("fewer", **FIELDS)
    assert ended(two(folder)) == [0, 0]
    assert checkpoints.newest_whole(folder / "checkpoints", 2)[0] is not None
    found, notes = checkpoints.newest_whole(folder / "checkpoints", 1)
    assert found is None
    assert "2 process(es) wrote it and 1 would go on" in notes[0]


def test_a_stop_ends_all_in_the_same_step(make_run: Make) -> None:
    folder = make_run("stopped", **FIELDS | {"max_steps": 4000})
    (folder / "stop").write_bytes(b"")
    assert ended(two(folder)) == [0, 0]
    (end,) = told(folder, Ended)
    assert (end.status, end.step) == ("stopped", 1)
    assert not (folder / "stop").exists()
    assert checkpoints.fault(folder / "model") is None


def at_work(folder: Path, crew: list[Any]) -> None:
    while not told(folder, Measured):
        crew[0].join(0.01)
        assert crew[0].is_alive(), told(folder)


def test_a_killed_process_ends_the_run_and_is_named(make_run: Make) -> None:
    folder = make_run("killed", **FIELDS | {"max_steps": 100_000})
    crew = two(folder)
    at_work(folder, crew)
    os.kill(crew[1].pid, signal.SIGKILL)
    codes = ended(crew)
    assert codes[0] not in {0, None}
    (end,) = told(folder, Ended)
    assert end.status == "failed"
    assert f"process 1 of 2 (pid {crew[1].pid}) died without a word" in end.reason


def test_what_another_process_failed_of_is_the_runs_reason(make_run: Make) -> None:
    folder = make_run("failing", **FIELDS | {"max_steps": 100_000})
    crew = two(folder)
    at_work(folder, crew)
    os.kill(crew[1].pid, signal.SIGINT)
    ended(crew)
    (end,) = told(folder, Ended)
    assert end.reason == "process 1 of 2 failed: interrupted"


def test_a_process_that_hangs_is_given_up_after_the_time_that_was_set(make_run: Make) -> None:
    folder = make_run("hanging", **FIELDS | {"max_steps": 100_000, "trainer": {"ddp_timeout": 3}})
    crew = two(folder)
    at_work(folder, crew)
    os.kill(crew[1].pid, signal.SIGSTOP)
    crew[0].join(40)
    os.kill(crew[1].pid, signal.SIGKILL)
    ended(crew)
    assert crew[0].exitcode not in {0, None}
    (end,) = told(folder, Ended)
    assert end.status == "failed"
    assert "did not answer within 3 s" in end.reason


def test_rows_that_cannot_be_dealt_out_evenly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="take a multiple of 2"):
        ranks.share_of(5)
    assert ranks.share_of(6) == 3
