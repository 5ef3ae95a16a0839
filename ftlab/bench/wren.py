"""Bench `wren`: what three epochs of supervised fine-tuning do to wren, judged on held-out prompts."""

import tempfile
from collections.abc import Sequence
from typing import Any

from ftlab import warm
from ftlab.answers import Sampling, compare
from ftlab.config import RunConfig
from ftlab.events import Ended, Started
from ftlab.notebook import with_environment
from ftlab.run import Run, launch
from ftlab.wren import acceptance, data

NEW_TOKENS = 64
RECIPE: dict[str, Any] = {
    "model": "wren",
    "method": "sft",
    "data": "wren:sft",
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 5e-4,
    "weight_decay": 0.01,
}


def measure(seed: int = 0) -> dict[str, Any]:
    """Base against tuned; `seconds` is the run from its start to its end, loading and saving included."""
    with tempfile.TemporaryDirectory() as folder, with_environment({"FTLAB_HOME": folder}):
        try:
            return _measured(seed)
        finally:
            warm.stop()


def _measured(seed: int) -> dict[str, Any]:
    run = launch(RunConfig(**RECIPE, seed=seed))
    run.wait(check=True)
    rows = data.rows("prompts", "eval", acceptance.TEST_ROWS, seed)
    base = acceptance.evaluate(answering("wren"), rows, seed)
    tuned = acceptance.evaluate(answering(run.reference), rows, seed)
    return {
        "base_accuracy": round(base["accuracy"], 3),
        "tuned_accuracy": round(tuned["accuracy"], 3),
        "base_first_turn_accuracy": round(base["first_turn_accuracy"], 3),
        "base_rude": round(base["rude"], 3),
        "tuned_rude": round(tuned["rude"], 3),
        "knowledge_kept": round(acceptance.knowledge(answering(run.reference), seed), 3),
        "seconds": round(_seconds(run), 1),
        "n": len(rows),
    }


def answering(reference: str) -> acceptance.Generate:
    """The model behind a reference, as the gold judge's measurements ask it."""

    def generate(conversations: Sequence[acceptance.Messages], temperature: float, seed: int) -> list[str]:
        comparison = compare(list(conversations), [reference], Sampling(NEW_TOKENS, temperature, seed=seed))
        return [row[reference].text for row in comparison.answers]

    return generate


def _seconds(run: Run) -> float:
    events, _ = run.events()
    start = next(event.time for event in events if isinstance(event, Started))
    return next(event.time for event in events if isinstance(event, Ended)) - start
