"""Prompts before a model: how a rule is kept turn by turn, what examples do, and what both cost; no weight changes.

Paper: a rule wears off (Touvron et al. 2023, Table 30: 100 % at turn 2, 10 % at turn 4, 0 % at turns 6 and 20).
"""

from collections.abc import Sequence
from typing import Any

from ftlab.adherence import Adherence, adherence, attention, contrary, tax
from ftlab.answers import Answer, Message, Sampling, compare
from ftlab.models import base_sha256, resolve
from ftlab.prompting import prompted
from ftlab.wren import data, phrases
from ftlab.wren.gold import first_turn, judge, style_of

BARS = {
    "kept_at_turn_1": (">=", 0.9),
    "kept_from_turn_3": ("<=", 0.3),
    "kept_at_reminded_turn_4": (">=", 0.9),
    "kept_without_rule": ("<=", 0.05),
    "base_unchanged": (">=", 1),
}
DIALOGUES, TURNS = 40, 6
SHOTS = (0, 1, 4)
SHOT_ROWS = 84
STYLE = "pirate"
RULE, OPENING, CLOSING = phrases.PERSONAS[STYLE]
GREEDY = Sampling(max_new_tokens=64, temperature=0.0)


def measure(start: str, seed: int) -> dict[str, float]:
    """Shares of answers, 0 to 1; `kept_...` in the rule's style, on conversations of held-out requests."""
    weights = resolve(start).base
    before = base_sha256(weights)
    dialogues = _dialogues(seed)
    ruled = prompted(f"rule-{seed}", start, system=RULE)
    kept = adherence(ruled, dialogues, _keeps, sampling=GREEDY)
    by_turn = [share.share for share in kept.by_turn()]
    bare = adherence(start, [lines[:1] for lines in dialogues], _keeps, sampling=GREEDY)
    two_lines = [lines[:2] for lines in dialogues]
    asked = adherence(ruled, contrary(two_lines, "Speak normally.", 2), _keeps, sampling=GREEDY)
    four_lines = [lines[:4] for lines in dialogues]
    reminded = adherence(ruled, four_lines, _keeps, sampling=GREEDY, remind={4: RULE})
    paid = tax(kept)
    late = [turn.kept for turn in kept.turns if turn.turn >= 3]
    marks = {(a.fingerprint.base, a.fingerprint.adapter) for a in [*_answers(kept), *_answers(bare)]}
    return {
        **{f"kept_at_turn_{turn}": round(share, 3) for turn, share in enumerate(by_turn, 1)},
        "kept_from_turn_3": round(sum(late) / len(late), 3),
        "kept_without_rule": round(bare.by_turn()[0].share, 3),
        "kept_at_contrary_turn_2": round(asked.by_turn()[1].share, 3),
        "kept_at_reminded_turn_4": round(reminded.by_turn()[3].share, 3),
        **{f"attention_at_turn_{turn}": _attention(kept, turn) for turn in (1, TURNS)},
        "prompt_tokens": paid.prompt_tokens,
        "tax_tokens": paid.tokens,
        "tax_share": round(paid.share, 3),
        **_shots("wren", seed),
        "base_unchanged": float(base_sha256(weights) == before and len(marks) == 1),
    }


def _dialogues(seed: int) -> list[list[str]]:
    rows = data.rows("prompts", "eval", 2 * DIALOGUES * TURNS, seed)
    lines = [row["prompt"][-1]["content"] for row in rows if row["family"] not in ("rule", "harm")]
    return [lines[place * TURNS : (place + 1) * TURNS] for place in range(DIALOGUES)]


def _attention(found: Adherence, turn: int) -> float:
    """To the rule's token that is looked at most, the mean over conversations, 0 to 1."""
    chats = [one.answer.prompt for one in found.turns if one.turn == turn]
    most = [max(looked.attention for looked in rule) for rule in attention(found.model, chats)]
    return round(sum(most) / len(most), 3)


def _shots(model: str, seed: int) -> dict[str, float]:
    """What examples before the question do to a model that no example has tuned."""
    rows = [row for row in data.rows("prompts", "eval", 2 * SHOT_ROWS, seed) if row["family"] != "rule"]
    rows = rows[:SHOT_ROWS]
    found: dict[str, float] = {}
    for shots in SHOTS:
        plain = _examples(shots, seed)
        styled = [(asked, f"{OPENING}{told}{CLOSING}") for asked, told in plain]
        for name, examples in (("", plain), ("_styled", styled)) if shots else (("", plain),):
            reference = prompted(f"shots-{shots}{name}", model, examples=examples) if shots else model
            texts = [
                by[reference].text for by in compare([r["prompt"] for r in rows], reference, GREEDY).answers
            ]
            if name:
                styles = [style_of(first_turn(text)) == STYLE for text in texts]
                found[f"style_{shots}_shots"] = round(sum(styles) / len(styles), 3)
                continue
            verdicts = [judge(row["prompt"], first_turn(text)) for row, text in zip(rows, texts, strict=True)]
            found[f"right_{shots}_shots"] = round(_mean([bool(one.correct) for one in verdicts]), 3)
            found[f"rude_{shots}_shots"] = round(_mean([one.rude for one in verdicts]), 3)
    return found


def _examples(count: int, seed: int) -> list[tuple[str, str]]:
    """Requests and their right answers, which are not among those that are asked."""
    rows: list[dict[str, Any]] = [
        row for row in data.rows("sft", "train", 200, seed) if row["family"] != "rule"
    ]
    return [(row["prompt"][-1]["content"], row["completion"][0]["content"]) for row in rows[:count]]


def _keeps(_: list[Message], text: str) -> bool:
    return style_of(first_turn(text)) == STYLE


def _answers(found: Adherence) -> list[Answer]:
    return [turn.answer for turn in found.turns]


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
