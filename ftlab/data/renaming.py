"""Rows of other houses: which of our formats they nearly have, and how they are rewritten into it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ftlab.data.files import Row
from ftlab.data.formats import NEEDED, ROLES, Format

ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("instruction", "question", "query", "input", "user", "source", "context", "q"),
    "completion": (
        "output",
        "response",
        "answer",
        "target",
        "assistant",
        "reply",
        "generation",
        "label_text",
        "a",
    ),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "turns", "chat", "history"),
    "chosen": ("preferred", "winner", "accepted", "better", "good", "response_chosen", "chosen_response"),
    "rejected": ("dispreferred", "loser", "worse", "bad", "response_rejected", "rejected_response"),
    "text": ("content", "document", "body", "passage"),
}
"""What others call our columns, likeliest first."""
ROLE_ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "chatgpt": "assistant",
    "prompter": "user",
}


@dataclass(frozen=True)
class Renaming:
    """How rows with certain keys become rows of one of our formats."""

    format: Format
    told: str
    """What is done, for a person: "rename 'question' to 'prompt'"."""
    apply: Callable[[Row], Row]


def shape_of(row: Row) -> Format | None:
    """The format whose keys the row has, as `ftlab.data.recognise` finds it; None where it has those of none."""
    for name, needed in NEEDED.items():
        if all(key in row for key in needed):
            return name
        if name == "preference" and any(key in row for key in needed):
            return None
    return None


def has_foreign_turns(row: Row) -> bool:
    """Whether the messages are ShareGPT's, {"from", "value"}, or name roles that are ours by other words."""
    for key in ("messages", "prompt", "completion", "chosen", "rejected"):
        value = row.get(key)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return any(
                "from" in one or one.get("role") in ROLE_ALIASES for one in value if isinstance(one, dict)
            )
    return False


@lru_cache(maxsize=256)  # a file of other columns has few kinds of rows, and many of each
def renaming(keys: frozenset[str]) -> Renaming | None:
    """The nearest format for rows with these keys; None where nothing comes near.

    Alpaca's rows ("instruction", "input", "output") get both texts as their prompt. What is only misspelled is
    found by likeness.
    """
    if {"instruction", "output"} <= keys and "input" in keys:
        return Renaming(
            "prompt-completion",
            "rename 'instruction' (with 'input' beneath it) to 'prompt' and 'output' to 'completion'",
            _from_alpaca,
        )
    for format_ in ("preference", "prompt-completion", "messages", "text"):
        names = _names(NEEDED[format_], keys)
        if names is None:
            continue
        if format_ == "preference" and "prompt" not in keys:
            asked = _names(("prompt",), keys - set(names.values()))
            names |= asked or {}
        return _renamed(format_, names)
    return None


def _names(needed: tuple[str, ...], keys: frozenset[str] | set[str]) -> dict[str, str] | None:
    """{our name: theirs} for every needed column."""
    found: dict[str, str] = {}
    for ours in needed:
        lower = {key.casefold().strip(): key for key in sorted(keys - set(found.values()))}
        theirs = next((lower[name] for name in (ours, *ALIASES[ours]) if name in lower), None)
        if theirs is None:
            close = difflib.get_close_matches(ours, lower, n=1, cutoff=0.75)
            theirs = lower[close[0]] if close else None
        if theirs is None:
            return None
        found[ours] = theirs
    return found


def _renamed(format_: Format, names: dict[str, str]) -> Renaming:
    changed = {theirs: ours for ours, theirs in names.items() if ours != theirs}

    def apply(row: Row) -> Row:
        return {changed.get(key, key): value for key, value in row.items()}

    told = " and ".join(f"rename {theirs!r} to {ours!r}" for theirs, ours in changed.items())
    return Renaming(format_, told, apply)


def _from_alpaca(row: Row) -> Row:
    below = row.get("input")
    prompt = f"{row['instruction']}\n\n{below}" if below else row["instruction"]
    rest = {key: value for key, value in row.items() if key not in ("instruction", "input", "output")}
    return {"prompt": prompt, "completion": row["output"], **rest}


def own_turns(row: Row) -> Row:
    """The row with every message as {"role", "content"} and our words for the roles."""
    return {key: _own_messages(value) if isinstance(value, list) else value for key, value in row.items()}


def _own_messages(messages: list[Any]) -> list[Any]:
    return [_own_message(one) if isinstance(one, dict) else one for one in messages]


def _own_message(message: dict[str, Any]) -> dict[str, Any]:
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    rest = {key: value for key, value in message.items() if key not in ("role", "from", "content", "value")}
    known = role if role in ROLES else ROLE_ALIASES.get(str(role).casefold(), role)
    return {"role": known, "content": content, **rest}
