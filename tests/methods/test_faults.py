"""What may go wrong with a run, and what then happens. Every fault has its test, here or where its neighbours are.

C1  a loss that is no number       test_training: divergence ends the run in the step it shows in
C2  memory runs out                here; killed for it: test_run: a killed trainer is a failed run that says why
C3  killed while a checkpoint      here, at each file; bench `resume`: twenty runs at random moments
    is written
C4  truncated or empty checkpoint  test_checkpoints: a damaged newest checkpoint is passed over aloud
C5  a flipped bit in the weights   here; in a checkpoint: test_checkpoints
C6  no optimiser, schedule, RNG    here; a start from the weights alone: test_warm_start
C7  full disk                      test_checkpoints; test_run; test_events
C8  folder deleted while it runs   here; the run then: test_run
C9  kernel killed                  test_run, test_warm: a run outlives the kernel that started it
C10 number given out again         test_run: a number given out again is not taken for the trainer
C11 reboot                         test_run: after a reboot a run is interrupted and can be resumed
C12 exit code lost                 test_run: a run whose keeper died as well still ends
C13 port taken                     here
C14 a process of several dies      test_ranks
C15 a process of several hangs     test_ranks
C16 Ray                            not used: runs are processes of one machine, or torchrun's
C17 wrong tokenizer or template    test_preflight; test_references
C18 adapter of another base        test_references
C19 no chat template               test_preflight; test_rendering
C20 special tokens in the text     test_preflight; test_rendering
C21 determinism                    here; test_warm: the same run gives the same figures
C22 half a line of events          test_events; test_run
C23 a chatty trainer               here
C24 papermill: dead kernel         test_notebook
C25 papermill: full disk           test_notebook
C26 papermill: wrong parameter     test_notebook
C27 little memory                  bench `tour`
"""

import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import ModelError
from ftlab.events import Ended, Measured, Noted
from ftlab.methods import chatter, checkpoints, train
from ftlab.methods.hardware import resident_mib
from ftlab.models import references
from tests.methods.conftest import save_tokenizer, told

Make = Callable[..., Path]
FORK = multiprocessing.get_context("fork")


def forked(target: Callable[..., None], *arguments: Any) -> Any:
    child = FORK.Process(target=target, args=arguments)
    child.start()
    return child


def with_little_memory(folder: Path) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
    train(folder)


def test_a_run_that_memory_does_not_suffice_for_says_so_and_what_to_try(
    make_run: Make, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    wide = tmp_path / "wide"
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=3,
            num_attention_heads=4,
            pad_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(wide)
    save_tokenizer(wide)
    folder = make_run(
        "burst", method="sft", model=str(wide), max_steps=2
    )  # 200 MB of weights, as much of gradients
    child = forked(with_little_memory, folder)
    child.join()
    assert child.exitcode == 1
    (ended,) = told(folder, Ended)
    assert ended.status == "failed"
    assert ended.reason.startswith("memory ran out: try a smaller batch_size")
    assert "ftlab check" in ended.reason


def killed_at(place: Path, moment: int) -> None:
    """Writes a second checkpoint over the first, and dies at its `moment`-th dealing with the disk."""
    dealings = 0

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def does(*arguments: Any, **options: Any) -> Any:
            nonlocal dealings
            if dealings == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            dealings += 1
            return real(*arguments, **options)

        return does

    checkpoints._sync = dies(checkpoints._sync)
    Path.rename = dies(Path.rename)  # type: ignore[method-assign]
    Path.mkdir = dies(Path.mkdir)  # type: ignore[method-assign]
    Path.write_text = dies(Path.write_text)  # type: ignore[method-assign]
    write(place, "new")
    os._exit(0)


def write(place: Path, text: str) -> None:
    def fill(aside: Path) -> None:
        for name in ("model", "optimizer", "scheduler"):
            (aside / name).write_text(text)

    checkpoints.write_whole(place / "step-2", fill, {"text": text})


def test_killed_at_any_file_a_checkpoint_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    found = []
    for moment in range(50):
        place = tmp_path / str(moment)
        place.mkdir()
        write(place, "old")
        child = forked(killed_at, place, moment)
        child.join()
        checkpoints.clean(place)
        assert [path.name for path in place.iterdir()] == ["step-2"]
        assert checkpoints.fault(place / "step-2") is None
        found.append(checkpoints.manifest(place / "step-2")["text"])
        assert {path.read_text() for path in (place / "step-2").iterdir() if path.suffix == ""} == {found[-1]}
        if child.exitcode == 0:
            break
    assert len(found) > 10, "killed at fewer moments than there are files, renames and syncs"
    assert found == sorted(found, reverse=True), "first the old one, from some moment on the new one"
    assert set(found) == {"old", "new"}


@pytest.mark.parametrize("method", ["sft", "lora"])
def test_a_flipped_bit_in_saved_weights_is_refused_on_load(make_run: Make, method: str) -> None:
    folder = make_run("flipped", method=method, max_steps=1)
    train(folder)
    (weights,) = (folder / "model").glob("*.safetensors")
    references.fetch(references.resolve("run:flipped"))
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=f"{weights.name} is damaged"):
        references.fetch(references.resolve("run:flipped"))


def test_a_checkpoint_without_optimiser_is_not_gone_on_from(make_run: Make) -> None:
    fields: dict[str, Any] = {"method": "sft", "max_steps": 2, "checkpoint": {"every_steps": 1}}
    folder = make_run("bare", **fields, trainer={"save_only_model": True})
    train(folder)
    shutil.rmtree(folder / "model")
    train(folder)
    texts = [event.text for event in told(folder, Noted)]
    assert any(
        "was written without optimizer.pt, so nothing could go on from it exactly" in text for text in texts
    )
    assert "no checkpoint is whole: begins anew" in texts
    assert [event.step for event in told(folder, Measured)] == [1, 2, 1, 2]


def test_a_run_whose_folder_is_taken_away_stops_and_leaves_nothing_behind(make_run: Make) -> None:
    folder = make_run("taken", method="sft", max_steps=100_000, checkpoint={"every_steps": 1})
    child = forked(train, folder)
    while len(told(folder, Measured)) < 3:
        assert child.is_alive()
    folder.rename(folder.with_name("elsewhere"))
    child.join(60)
    assert child.exitcode == 1
    assert not folder.exists()
    assert checkpoints.newest_whole(folder.with_name("elsewhere") / "checkpoints")[0] is not None


def as_first_of_two(port: int, folder: Path) -> None:
    os.environ |= {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(folder)


def test_a_port_that_is_taken_is_named(make_run: Make) -> None:
    folder = make_run("taken-port", method="sft", max_steps=1)
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        one.listen()
        port = one.getsockname()[1]
        child = forked(as_first_of_two, port, folder)
        child.join(60)
    assert child.exitcode == 1
    (ended,) = told(folder, Ended)
    assert str(port) in ended.reason
    assert "in use" in ended.reason


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(make_run: Make) -> None:
    fields: dict[str, Any] = {"method": {"kind": "lora", "dropout": 0.2}, "max_steps": 4}
    hashes = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        folder = make_run(name, **fields, seed=seed)
        train(folder)
        hashes.append(checkpoints.sha256_of(folder / "model" / "adapter_model.safetensors"))
    assert hashes[0] == hashes[1]
    assert hashes[1] != hashes[2]


def test_a_chatty_trainer_keeps_a_log_that_can_be_read(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chatter, "LIMIT", 100_000)
    monkeypatch.setattr(chatter, "KEPT", 10_000)
    folder = make_run("chatty", method="sft", max_steps=2)
    with (folder / "log.txt").open("ab") as log:  # as the trainer's own output is kept
        log.write(b"first words\n" + b"\r step 1 of many" * 20_000 + b"\nlast words\n")
        train(folder)
        log.write(b"more\n")
    text = (folder / "log.txt").read_bytes()
    assert len(text) < 30_000
    assert text.startswith(b"first words\n")
    assert b"bytes were taken out here" in text
    assert text.endswith(b"last words\nmore\n")
    assert any("log.txt had grown" in event.text for event in told(folder, Noted))


def test_the_figure_of_memory_is_the_most_that_was_held() -> None:
    def grow(ends: Any) -> None:
        from ftlab.methods.hardware import forget_peak, memory_mib

        forget_peak()
        before = memory_mib("cpu")
        with mmap.mmap(-1, 64 << 20) as block:
            block.write(bytes(len(block)))
        ends.send((before, memory_mib("cpu"), resident_mib()))

    one, other = FORK.Pipe()
    child = forked(grow, other)
    before, peak, now = one.recv()
    child.join()
    assert peak - before == pytest.approx(64, abs=8)
    assert now < peak - 32
