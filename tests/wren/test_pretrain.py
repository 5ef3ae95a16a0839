"""Pretraining can be cut off anywhere and comes to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab.wren import build, folder, pretrain, tokenizer


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The order of a sum hangs on the number of threads, and with it the last bits of a weight."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_each_row_begins_where_a_document_does() -> None:
    tokens = tokenizer.load(folder("wren"))
    rows_NT, used = pretrain.pack(tokens, 6, "train", 11)
    assert rows_NT.shape == (6, pretrain.ROW_TOKENS)
    from ftlab.wren import corpus

    starts = {tuple(tokens(text)["input_ids"][:4]) for text in corpus.documents(used)}
    assert all(tuple(int(i) for i in row[:4]) in starts for row in rows_NT)


def test_rate_warms_up_to_its_peak_and_falls_to_a_fiftieth() -> None:
    rates = [pretrain.rate_at(step, 100, 1.0) for step in range(100)]
    assert rates[0] < rates[4] == pytest.approx(1.0)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=0.01)


def test_a_killed_build_goes_on_and_ends_with_the_same_weights(tmp_path: Path, one_thread: None) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for out in (whole, cut):
        tokenizer.save(tokenizer.load(folder("wren")), out / build.WORK / "tokenizer")
    tokens = 12 * pretrain.BATCH_ROWS * pretrain.ROW_TOKENS
    chosen = {"only": "wren-xs", "tokens": tokens, "save_every": 3}

    arguments = ["--only", "wren-xs", "--tokens", str(tokens), "--save-every", "3", "--out", str(cut)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ftlab.wren", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert any("step 3/12" in line for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert not (cut / "wren-xs").exists(), "the build ended before it could be killed"

    said: list[str] = []
    build.build(cut, say=said.append, **chosen)
    assert "going on from step" in said[0]
    build.build(whole, say=said.append, **chosen)
    weights = [(out / "wren-xs" / "model.safetensors").read_bytes() for out in (whole, cut)]
    assert weights[0] == weights[1]
    cards = [json.loads((out / "wren-xs" / "card.json").read_text()) for out in (whole, cut)]
    assert cards[0]["curve"] == cards[1]["curve"]
    assert build.build(cut, say=said.append, **chosen) == [cut / "wren-xs"]
    assert "already built" in said[-1]
