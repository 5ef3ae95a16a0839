"""A run that begins where another one was: at its result, or at one of its checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ftlab.events import Measured
from ftlab.methods import train
from ftlab.run import Run
from tests.methods.conftest import told

Make = Callable[..., Path]


@pytest.mark.parametrize("method", ["sft", "lora"])
def test_a_warm_clone_begins_with_the_weights_that_it_was_told(make_run: Make, method: str) -> None:
    folder = make_run(
        "first", method=method, max_steps=4, checkpoint={"every_steps": 2, "keep": 9}, learning_rate=1e-2,
        schedule="constant", warmup=0,
    )  # fmt: skip
    train(folder)
    run = Run.open("first")
    begin = {}
    for warm in (False, 2, 4, True):
        clone = run.clone(warm=warm, max_steps=1, seed=7)
        train(clone.folder)
        begin[warm] = told(clone.folder, Measured)[0].values["loss"]
    assert begin[4] == begin[True]
    assert begin[True] < begin[2] < begin[False]
