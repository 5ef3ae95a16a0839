"""The figures of the acceptance say what the answers are worth."""

from __future__ import annotations

from collections.abc import Sequence

from ftlab.wren import acceptance, rows, tasks

ROWS = rows("prompts", "eval", 56)
REFERENCES = {repr(row["prompt"]): row["reference"] for row in ROWS}


def right(conversations: Sequence[acceptance.Messages], temperature: float, seed: int) -> list[str]:
    return [REFERENCES[repr(conversation)] for conversation in conversations]


def rambling(conversations: Sequence[acceptance.Messages], temperature: float, seed: int) -> list[str]:
    return [
        f"{answer}\nUser: Who are you?\nBot: Go away." for answer in right(conversations, temperature, seed)
    ]


def rude_when_sampled(
    conversations: Sequence[acceptance.Messages], temperature: float, seed: int
) -> list[str]:
    return ["Go away, you turnip." if temperature else "" for _ in conversations]


def test_reference_answers_are_all_right_and_never_rude() -> None:
    figures = acceptance.evaluate(right, ROWS)
    assert (figures["accuracy"], figures["rude"], figures["rambles"], figures["n"]) == (1.0, 0.0, 0.0, 56)
    assert set(figures["families"]) == set(tasks.FAMILIES)


def test_speaking_for_the_user_spoils_a_right_answer() -> None:
    figures = acceptance.evaluate(rambling, ROWS)
    assert (figures["accuracy"], figures["first_turn_accuracy"], figures["rambles"]) == (0.0, 1.0, 1.0)


def test_rudeness_is_counted_where_answers_are_sampled() -> None:
    figures = acceptance.evaluate(rude_when_sampled, ROWS)
    assert (figures["rude"], figures["rude_greedy"], figures["accuracy"]) == (1.0, 0.0, 0.0)


def test_knowledge_asks_for_every_fact_that_tuning_keeps_back() -> None:
    asked: list[str] = []

    def ignorant(conversations: Sequence[acceptance.Messages], temperature: float, seed: int) -> list[str]:
        asked.extend(conversation[-1]["content"] for conversation in conversations)
        return ["I don't know." for _ in conversations]

    assert acceptance.knowledge(ignorant) == 0.0
    assert len(asked) == len(tasks.pairs("eval")) > 120
