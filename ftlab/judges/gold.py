"""The embedded world's own judge: exact, by rules and facts, for prompts of Wren Hollow."""

from typing import Any

from ftlab.errors import DataError


def gold(prompt: list[dict[str, Any]], text: str) -> float:
    """The gold reward of an answer, about -3 to 2.

    Raises DataError where the prompt is no request of the embedded world: the judge knows nothing of any other.
    """
    from ftlab.wren.gold import judge

    verdict = judge(prompt, text)
    if verdict.family is None:
        asked = next((str(m["content"]) for m in reversed(prompt) if m["role"] == "user"), "")
        raise DataError(f"the gold judge knows the embedded world alone, and not {asked[:80]!r}")
    return verdict.reward
