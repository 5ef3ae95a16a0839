"""Bench `rate_modes`: what 200 key presses are worth as thumbs, as pairs and as rankings of four.

A rater made of wren's gold judge, with slips, answers a batch of each mode in a real store; what the store exports
is read back as training data, a reward model is fitted to it, and its accuracy is taken on pairs of the held-out
split. Nothing is passed on by any other way.

The three modes are asked about the same 50 prompts with the same four answers each, at four presses a prompt, so
that the mode is all that differs: four thumbs, four of the six pairs (each answer in two), or one ranking. Beside
them stands `pair_fresh`, where every pair is about a prompt of its own: where prompts cost nothing, pairs spread
over four times as many of them make up for what a ranking tells more of each.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any, Literal

from ftlab import data, warm
from ftlab.judges import Features, Worth, gold, worth
from ftlab.notebook import with_environment
from ftlab.ratings import Ratings
from ftlab.ratings.batches import Settings
from ftlab.ratings.simulated import simulate
from ftlab.wren import rows

PROMPTS = 50
PRESSES = {"single": 1, "pair": 1, "rank": 4, "pair_fresh": 1}
"""What an answer takes in the Rate widget: a thumb; one of seven stops; a digit for each of three cards, of which the
fourth takes what is left, and Enter."""
SHOWN = {
    "single": ((0,), (1,), (2,), (3,)),
    "pair": ((0, 1), (1, 2), (2, 3), (3, 0)),
    "rank": ((0, 1, 2, 3),),
}
"""Which of a prompt's four answers are shown, one task each."""
NOISE = 0.16
"""Two raters who each turn a judgement round so often agree on 73 % of pairs, as InstructGPT's labelers did."""
HELD_OUT = 400
SEEDS = 24
"""From seed to seed a try moves by 0.025, so a few seeds do not settle differences of 0.02: 24 bring the standard
error of a mean difference between two modes to about 0.006."""


def measure(seeds: int = SEEDS) -> dict[str, Any]:
    """Medians over the seeds: each draws its own prompts, answers and slips; held-out pairs are the same for all."""
    with (
        tempfile.TemporaryDirectory(prefix="ftlab-bench-") as folder,
        with_environment({"FTLAB_HOME": folder}),
    ):
        try:
            features, held_out = Features("wren"), rows("comparisons", "eval", HELD_OUT)
            found = {
                mode: [_one(Path(folder), mode, seed, features, held_out) for seed in range(seeds)]
                for mode in PRESSES
            }
        finally:
            warm.stop()
    accuracy = {mode: [one.accuracy or 0.0 for one, _ in tries] for mode, tries in found.items()}
    median = {mode: statistics.median(values) for mode, values in accuracy.items()}
    return {
        **{mode: round(value, 3) for mode, value in median.items()},
        "rank_minus_single": round(median["rank"] - median["single"], 3),
        "ordered": int(median["rank"] >= median["pair"] >= median["single"]),
        "each": {mode: [round(value, 3) for value in values] for mode, values in accuracy.items()},
        "rows": {mode: statistics.median(count for _, count in tries) for mode, tries in found.items()},
        "presses": PROMPTS * PRESSES["rank"],
        "noise": NOISE,
        "held_out": HELD_OUT,
        "seeds": seeds,
    }


def _one(
    folder: Path, kind: str, seed: int, features: Features, held_out: list[dict[str, Any]]
) -> tuple[Worth, int]:
    """What the presses are worth in this mode, and how many rows of training data they made."""
    mode = kind.partition("_")[0]
    export: Literal["preference", "unpaired"] = "unpaired" if mode == "single" else "preference"
    batch = f"{kind}-{seed}"
    with Ratings(folder / f"{batch}.db") as ratings:
        settings = Settings(repeats=0, gold=0, scale="thumbs")
        added = ratings.add(tasks(kind, seed), batch, mode=mode, settings=settings, seed=str(seed))
        assert added * PRESSES[kind] == PROMPTS * PRESSES["rank"], "the same number of presses in each mode"
        simulate(ratings, batch, "simulated", gold, noise=NOISE, seed=seed)
        path = folder / batch / "rows.jsonl"
        ratings.export(path, export, batch=batch)
    learned = data.read(path)
    return worth(learned, features, held_out=held_out, steps=1), len(learned)


def tasks(kind: str, seed: int) -> list[dict[str, Any]]:
    """The batch of one mode."""
    if kind == "pair_fresh":
        drawn, shown = rows("candidates", "train", PROMPTS * PRESSES["rank"], seed=seed), SHOWN["pair"][:1]
    else:
        drawn, shown = rows("candidates", "train", PROMPTS, seed=seed), SHOWN[kind]
    return [
        {"prompt": row["prompt"], "responses": [row["responses"][place] for place in places]}
        for row in drawn
        for places in shown
    ]
