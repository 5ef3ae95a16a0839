"""Prompts with or without answers of their own, as the methods read them in which a teacher answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftlab import data
from ftlab.data.files import Row, Rows, place
from ftlab.errors import DataError

Prompt = list[dict[str, Any]] | str
"""A conversation that waits for an answer, or plain text."""

_STAND_IN = "?"  # an answer that is never read, so that a row without one is checked like the others


@dataclass(frozen=True)
class Asked:
    """The rows of one dataset: what is asked, and the row itself where it has an answer."""

    prompts: list[Prompt]
    answered: list[Row | None]
    source: str


def read(rows: Sequence[Row]) -> Asked:
    """Rows to learn from, of which any may lack its answer: {"prompt": …} alone, or "messages" that end with the user.

    The answer is the last turn of the assistant. Raises DataError, with the place, for rows that are malformed, or
    that ask nothing: documents.
    """
    whole = _Completed(rows)
    format_, checked = data.examples(whole, wanted="sft")
    if format_ == "text":
        raise DataError(
            f"{place(rows, 0)}: a document asks nothing that a teacher could answer; give rows with a 'prompt', or "
            "'messages'"
        )
    prompts = [
        _before_answer(example.completion if format_ == "messages" else example.prompt, format_)
        for example in checked
    ]
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"{place(rows, index)}: nothing is asked before the answer; add a prompt")
    answered = [row if kept is row else None for row, kept in zip(rows, whole, strict=True)]
    return Asked(prompts, answered, whole.source)


def with_context(prompt: Prompt, context: str) -> Prompt:
    """The prompt with the context as the system message, before what a system message says already.

    Plain text has none: there the context stands before it, with an empty line between.
    """
    if isinstance(prompt, str):
        return f"{context}\n\n{prompt}"
    if prompt[0]["role"] != "system":
        return [{"role": "system", "content": context}, *prompt]
    both = {**prompt[0], "content": f"{context}\n\n{prompt[0]['content']}"}
    return [both, *prompt[1:]]


def answered_by(prompt: Prompt, text: str) -> Row:
    """A row whose answer is `text`."""
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": text}
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": text}]}


class _Completed(Rows):
    """The rows, each with an answer, under the places of the ones they were made from."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__(map(_completed, rows), getattr(rows, "source", "the dataset"))
        self._origin = rows

    def place(self, index: int) -> str:
        return place(self._origin, index)


def _completed(row: Row) -> Row:
    """The row itself, or where it lacks an answer a copy with a stand-in."""
    if not isinstance(row, dict):
        return row
    messages = row.get("messages")
    said = [{"role": "assistant", "content": _STAND_IN}]
    if isinstance(messages, list) and messages:
        last = messages[-1]
        waits = isinstance(last, dict) and last.get("role") != "assistant"
        return {**row, "messages": [*messages, *said]} if waits else row
    if "prompt" not in row or {"completion", "chosen", "rejected"} & set(row):
        return row
    return {**row, "completion": said if isinstance(row["prompt"], list) else _STAND_IN}


def _before_answer(messages: Any, format_: str) -> Prompt:
    if format_ != "messages":
        return messages
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return list(messages[:last])
