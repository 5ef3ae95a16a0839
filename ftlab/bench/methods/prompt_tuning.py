"""Prompt tuning: a frozen, tuned wren learns to talk like a pirate from vectors before its prompts.

Paper: with a length of five every start ends alike, and a single vector that starts as a fitting word beats one that
starts at random (Lester et al. 2021, figure 3; the gap closes in large models only). Here the voice is a skill that
the model has and nobody asks for; what it costs in right answers is printed beside it.
"""

from typing import Any

from ftlab.answers import Answer, Sampling, compare
from ftlab.bench.methods import news
from ftlab.events import Measured
from ftlab.models import base_sha256, resolve
from ftlab.run import Run
from ftlab.wren import data
from ftlab.wren.gold import judge, style_of

ROWS, EPOCHS, BATCH = 400, 4, 16
ASKED = 60
GREEDY = Sampling(max_new_tokens=48, temperature=0.0)
STARTS: dict[str, dict[str, Any]] = {
    "random": {"start": "random"},
    "vocabulary": {"start": "vocabulary"},
    "text": {"start": "text", "text": "Talk like a pirate."},
}
SINGLE: dict[str, dict[str, Any]] = {
    "random": {"start": "random"},
    "text": {"start": "text", "text": " pirate"},
}
BARS = {
    **{f"style_5_{start}": (">=", 0.9) for start in STARTS},
    "style_bare": ("<=", 0.05),
    "loss_1_random_minus_text": (">=", 0.03),
    "mixed_is_alone": (">=", 1),
    "base_unchanged": (">=", 1),
}


def measure(start: str, seed: int) -> dict[str, float]:
    """Shares of answers, 0 to 1: `style_…` are the pirate's, `right_…` do what was asked; by length and start.

    At a length of one the starts are told apart by the loss they end with, in nats a token.
    """
    weights = resolve(start).base
    before = base_sha256(weights)
    taught = data.rows("pirate", "train", ROWS, seed)
    runs = {
        f"{tokens}_{name}": news.learned(
            f"prompt-{tokens}-{name}-{seed}",
            start,
            {"kind": "prompt_tuning", "tokens": tokens, **settings},
            taught,
            seed,
            epochs=EPOCHS,
            batch_size=BATCH,
        )
        for tokens, starts in ((5, STARTS), (1, SINGLE))
        for name, settings in starts.items()
    }
    rows = [
        row for row in data.rows("prompts", "eval", 2 * ASKED, seed) if row["family"] not in ("rule", "harm")
    ][:ASKED]
    # every prompt of every run in one batch
    names = {"bare": start, **{name: run.reference for name, run in runs.items()}}
    answers = compare([row["prompt"] for row in rows], list(names.values()), GREEDY).answers
    said = {name: [by[reference] for by in answers] for name, reference in names.items()}
    style = {name: _style(answers) for name, answers in said.items()}
    right = {name: _right(rows, answers) for name, answers in said.items()}
    return {
        **{f"style_{name}": round(share, 3) for name, share in style.items()},
        "loss_1_random_minus_text": round(_loss(runs["1_random"]) - _loss(runs["1_text"]), 3),
        **{f"right_{name}": round(share, 3) for name, share in right.items()},
        "mixed_is_alone": _alone(rows, names["5_text"], said["5_text"]),
        "base_unchanged": float(
            base_sha256(weights) == before
            and len({answer.fingerprint.base for answers in said.values() for answer in answers}) == 1
        ),
    }


def _alone(rows: list[dict[str, Any]], reference: str, mixed: list[Answer]) -> float:
    """Share of answers that are word for word the same without the other prompts in the batch."""
    alone = compare([row["prompt"] for row in rows], [reference], GREEDY).answers
    return sum(one[reference].text == other.text for one, other in zip(alone, mixed, strict=True)) / len(rows)


def _loss(run: Run) -> float:
    """Mean over the last steps, an eighth of all; nats a token."""
    events, _ = run.events()
    losses = [event.values["loss"] or 0.0 for event in events if isinstance(event, Measured)]
    last = losses[-max(1, len(losses) // 8) :]
    return sum(last) / len(last)


def _style(answers: list[Answer]) -> float:
    return sum(style_of(answer.text) == "pirate" for answer in answers) / len(answers)


def _right(rows: list[dict[str, Any]], answers: list[Answer]) -> float:
    verdicts = [judge(row["prompt"], answer.text) for row, answer in zip(rows, answers, strict=True)]
    return sum(bool(verdict.correct) for verdict in verdicts) / len(verdicts)
