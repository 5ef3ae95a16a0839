"""What a row holds: the formats that are understood, and how a row is told to be of one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ftlab.data.files import Row, place
from ftlab.errors import DataError

Format = Literal["preference", "prompt-completion", "messages", "text"]
Message = dict[str, Any]
ROLES = ("system", "developer", "user", "assistant", "tool")
NEEDED: dict[Format, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "prompt-completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
}
FORMATS = """\
A row is one JSON object in one of these forms; all rows of a dataset have the same one:
  {"prompt": "…", "completion": "…"}                                     plain text
  {"prompt": [message, …], "completion": [message, …]}                    a conversation
  {"messages": [message, …]}                                              a conversation
  {"text": "…"}                                                           a document
  {"prompt": …, "chosen": …, "rejected": …}                               a preference
  {"chosen": [message, …], "rejected": [message, …]}                      the prompt is what both share
A message is {"role": "system" | "user" | "assistant", "content": "…"}. A preference may have a "margin", its strength
from 0 (negligible) up, which the method "reward" reads; other keys of a row are ignored.
"""


@dataclass(frozen=True)
class Example:
    """One row, checked. Conversations are message lists, plain text is str; `prompt` may be empty."""

    prompt: list[Message] | str
    completion: list[Message] | str
    rejected: list[Message] | str | None = None

    @property
    def is_conversation(self) -> bool:
        return isinstance(self.completion, list)


def recognise(row: Row, where: str) -> Format:
    """The format whose keys the row has; DataError where there is none or half of one."""
    for name, needed in NEEDED.items():
        found = [key for key in needed if key in row]
        if len(found) == len(needed):
            return name
        if found and name == "preference":
            missing = next(key for key in needed if key not in row)
            raise DataError(f"{where}: {found[0]!r} without {missing!r}; a preference needs both")
    if "prompt" in row:
        raise DataError(f"{where}: 'prompt' without 'completion' in {sorted(row)}; {_hint()}")
    raise DataError(f"{where}: no format has the keys {sorted(row)}; {_hint()}")


def examples(rows: Sequence[Row], *, wanted: Literal["sft", "preference"]) -> tuple[Format, list[Example]]:
    """The rows checked one by one, and the one format they all have.

    Raises DataError at the first row that is malformed, of another format than the first, or of a
    format that the method cannot use.
    """
    if not rows:
        raise DataError(f"{getattr(rows, 'source', 'the dataset')}: no rows; {_hint()}")
    format_ = recognise(rows[0], place(rows, 0))
    if (format_ == "preference") != (wanted == "preference"):
        need = (
            "'chosen' and 'rejected'"
            if wanted == "preference"
            else "'messages', 'text' or 'prompt' and 'completion'"
        )
        raise DataError(
            f"{place(rows, 0)}: the keys are {sorted(rows[0])}, this method needs {need}; {_hint()}"
        )
    checked = []
    conversational: bool | None = None
    for index, row in enumerate(rows):
        where = place(rows, index)
        found = recognise(row, where)
        if found != format_:
            raise DataError(
                f"{where}: a {found} row among {format_} rows (the first is {place(rows, 0)}); keep one"
            )
        example = example_of(row, format_, where)
        if conversational is None:
            conversational = example.is_conversation
        elif conversational != example.is_conversation:
            kinds = ("text", "a conversation") if conversational else ("a conversation", "text")
            raise DataError(f"{where}: {kinds[0]} among rows that hold {kinds[1]}; keep one")
        checked.append(example)
    return format_, checked


def example_of(row: Row, format_: Format, where: str) -> Example:
    """The row of a known format, checked; DataError, led by `where`, at its first fault."""
    if format_ == "text":
        return Example("", _string(row["text"], "text", where))
    if format_ == "messages":
        return Example([], _messages(row["messages"], "messages", where))
    if format_ == "prompt-completion":
        prompt, completion = (_value(row[key], key, where) for key in ("prompt", "completion"))
        _same_kind(prompt, completion, ("prompt", "completion"), where)
        return Example(prompt, completion)
    chosen, rejected = (_value(row[key], key, where) for key in ("chosen", "rejected"))
    _same_kind(chosen, rejected, ("chosen", "rejected"), where)
    if row.get("prompt") is None:
        if "prompt" in row:
            raise DataError(f"{where}: 'prompt' is null; write it or leave the key out")
        return Example(*_shared(chosen, rejected, where))
    prompt = _value(row["prompt"], "prompt", where)
    _same_kind(prompt, chosen, ("prompt", "chosen"), where)
    return Example(prompt, chosen, rejected)


def _shared(chosen: Any, rejected: Any, where: str) -> tuple[Any, Any, Any]:
    """(prompt, chosen, rejected) where the prompt is the longest beginning that both share."""
    length = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        length += 1
    # the last message (or character) of an answer is an answer, even where both answers are the same
    length = min(length, len(chosen) - 1, len(rejected) - 1)
    if isinstance(chosen, str):
        # cut between words: half a word in the prompt would never be asked like that
        length = chosen.rfind(" ", 0, length + 1) if " " in chosen[: length + 1] else 0
    if length <= 0:
        raise DataError(f"{where}: 'chosen' and 'rejected' share no beginning; add a 'prompt'")
    return chosen[:length], chosen[length:], rejected[length:]


def _value(value: Any, key: str, where: str) -> list[Message] | str:
    return _messages(value, key, where) if isinstance(value, list) else _string(value, key, where)


def _string(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{where}: {key!r} is {kind}, text or a list of messages was expected; {_hint()}")
    if not value.strip() and key != "prompt":
        raise DataError(f"{where}: {key!r} is empty; fill it in or take the row out")
    return value


def _messages(value: Any, key: str, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        kind = "null" if value is None else "empty" if value == [] else type(value).__name__
        raise DataError(f"{where}: {key!r} is {kind}, a list of messages was expected; {_hint()}")
    for number, message in enumerate(value, start=1):
        at = f"{where}: message {number} of {key!r}"
        if not isinstance(message, dict):
            raise DataError(f"{at} is {type(message).__name__}; {_hint()}")
        if message.get("role") not in ROLES:
            raise DataError(f"{at} has the role {message.get('role')!r}; use one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise DataError(f"{at} has no text in 'content'; {_hint()}")
    return value


def _same_kind(one: Any, other: Any, keys: tuple[str, str], where: str) -> None:
    if isinstance(one, str) != isinstance(other, str):
        raise DataError(f"{where}: {keys[0]!r} and {keys[1]!r} must both be text or both be messages")


def _hint() -> str:
    return "see `ftlab.data.FORMATS`"
