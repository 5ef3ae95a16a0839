"""Pretraining can be cut off anywhere and comes to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ftlab.wren import SIZES, build, folder, pretrain, tokenizer

TINY = replace(SIZES["wren-xs"], name="wren-xs", width=32, layers=1, heads=2, inner=48)


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


def test_a_killed_build_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    def arguments(out: Path) -> list[str]:
        size = ["--only", "wren-xs", "--tokens", str(24 * pretrain.BATCH_ROWS * pretrain.ROW_TOKENS)]
        return [sys.executable, "-m", "ftlab.wren", *size, "--save-every", "4", "--out", str(out)]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    shared = folder("wren-xs")
    for out in (whole, cut):
        tokenizer.save(tokenizer.load(shared), out / build.WORK / "tokenizer")
    subprocess.run(arguments(whole), check=True, env=environment, capture_output=True)
    checkpoint = cut / build.WORK / "wren-xs" / "checkpoint.pt"
    process = subprocess.Popen(arguments(cut), env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.is_file():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "wren-xs").exists(), "the build ended before it could be killed"
    second = subprocess.run(arguments(cut), check=True, env=environment, capture_output=True, text=True)
    assert "going on from step" in second.stdout
    weights = [(out / "wren-xs" / "model.safetensors").read_bytes() for out in (whole, cut)]
    assert weights[0] == weights[1]
    cards = [json.loads((out / "wren-xs" / "card.json").read_text()) for out in (whole, cut)]
    assert cards[0]["curve"] == cards[1]["curve"]
    third = subprocess.run(arguments(cut), check=True, env=environment, capture_output=True, text=True)
    assert "already built" in third.stdout
