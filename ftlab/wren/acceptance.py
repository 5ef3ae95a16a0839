"""How well a model does what Wren Hollow's people ask of it, in figures from 0 to 1."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ftlab.wren import data
from ftlab.wren.gold import Verdict, first_turn, judge

Messages = list[dict[str, str]]
Generate = Callable[[Sequence[Messages], float, int], list[str]]
"""(conversations, temperature, seed) -> one answer each; temperature 0 takes the likeliest token."""

TEST_ROWS = 420
"""Thirty of each family."""


def verdicts(generate: Generate, rows: Sequence[data.Row], *, temperature: float, seed: int) -> list[Verdict]:
    return judged(rows, generate([row["prompt"] for row in rows], temperature, seed))


def judged(rows: Sequence[data.Row], answers: Sequence[str]) -> list[Verdict]:
    return [judge(row["prompt"], answer) for row, answer in zip(rows, answers, strict=True)]


def evaluate(generate: Generate, rows: Sequence[data.Row], seed: int = 0) -> dict[str, Any]:
    """Judge a model on rows of data.rows("prompts", "eval").

    `accuracy` is the mean over families of the share of correct answers at temperature 0, `sampled_accuracy`
    the same at temperature 1, `rude` the share of rude answers at temperature 1; all in 0..1. A base model
    seldom stops where its turn ends, which counts against it; `first_turn_accuracy` forgives that.
    """
    answers = generate([row["prompt"] for row in rows], 0.0, seed)
    greedy = judged(rows, answers)
    first_turns = judged(rows, [first_turn(answer) for answer in answers])
    sampled = verdicts(generate, rows, temperature=1.0, seed=seed)
    families = by_family(rows, greedy)
    return {
        "accuracy": statistics.fmean(families.values()),
        "sampled_accuracy": statistics.fmean(by_family(rows, sampled).values()),
        "first_turn_accuracy": statistics.fmean(by_family(rows, first_turns).values()),
        "rude": share(v.rude for v in sampled),
        "rude_greedy": share(v.rude for v in greedy),
        "rambles": share(v.rambles for v in sampled),
        "reward": statistics.fmean(v.reward for v in sampled),
        "n": len(rows),
        "families": families,
    }


def by_family(rows: Sequence[data.Row], found: Sequence[Verdict]) -> dict[str, float]:
    """Share of correct answers in each family, in the rows' own order of families."""
    groups: dict[str, list[bool]] = {}
    for row, verdict in zip(rows, found, strict=True):
        groups.setdefault(row["family"], []).append(bool(verdict.correct))
    return {family: share(values) for family, values in groups.items()}


def share(values: Iterable[bool | None]) -> float:
    return statistics.fmean(bool(value) for value in values)


def knowledge(generate: Generate, seed: int = 0) -> float:
    """Share of the facts that tuning never shows which are told right, at temperature 0."""
    return share(
        v.correct for v in verdicts(generate, data.rows("knowledge", "eval"), temperature=0.0, seed=seed)
    )
