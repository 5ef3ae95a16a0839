"""One row looked at by itself: its fields, its turns, its text."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ftlab.data.files import Row
from ftlab.data.formats import NEEDED, ROLES, Example, Format, example_of
from ftlab.data.symptoms import SECRETS, Symptoms
from ftlab.errors import DataError

HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufff9-\ufffc\ufffe\uffff]"
)
"""Controls, zero-width and direction marks: tokens that nobody sees. U+FFFD is counted as broken encoding."""
MOJIBAKE = re.compile("\ufffd|[ÃÂ][\x80-\xbf]|â€[\x80-\xbf™œšž]|â[\x80-\x9f]|ðŸ|Ã¼|Ã¤|Ã¶")
"""UTF-8 that was read as Latin-1 or Windows-1252, and characters that were lost."""
MARKS = re.compile(r"<\|[a-z_]{2,30}\|>|</?s>|\[/?INST\]|<<SYS>>|<(?:start|end)_of_turn>")
"""Special tokens of well-known families, for rows whose tokenizer is not known."""


def check_row(row: Row, format_: Format, place: int, symptoms: Symptoms) -> Example | None:
    """The row as it is trained on; None, and at least one error, where no method can read it."""
    bad = False
    for key in (*NEEDED[format_], *(("prompt",) if format_ == "preference" and "prompt" in row else ())):
        for what, shown, mend in _field_faults(row[key], key):
            bad = True
            symptoms.add("error", what, place, column=key, example=shown, mend=mend)
    if bad:
        return None
    try:
        example = example_of(row, format_, "")
    except DataError as error:  # what only the whole row shows, such as text beside messages
        symptoms.add(
            "error",
            str(error).removeprefix(": ").partition(";")[0],
            place,
            mend=str(error).partition("; ")[2],
        )
        return None
    for what, column, said, mend in _turn_faults(format_, example):
        symptoms.add("warning", what, place, column=column, example=said, mend=mend)
    return example


def check_text(
    row: Row, format_: Format, place: int, special: "re.Pattern[str] | None", symptoms: Symptoms
) -> None:
    """What does not belong into text: secrets, broken encoding, hidden characters, special tokens."""
    marks = special or MARKS
    for column, text in _texts(row, format_):
        if SECRETS.search(text):
            symptoms.add(
                "error", "a secret in the text", place, column=column, example=_around(SECRETS, text),
                mend="take it out and have it revoked: a model repeats what it was trained on",
            )  # fmt: skip
        if text.isascii() and "<" not in text and "[" not in text and text.isprintable():
            continue  # nearly every text: the searches below would find nothing
        if MOJIBAKE.search(text):
            symptoms.add(
                "warning", "broken encoding", place, column=column, example=_around(MOJIBAKE, text),
                mend="the text was read with the wrong encoding once: read the source as UTF-8",
            )  # fmt: skip
        if HIDDEN.search(text):
            symptoms.add(
                "warning", "characters that nobody sees", place, column=column, example=_around(HIDDEN, text),
                mend="take them out unless they are meant",
            )  # fmt: skip
        if marks.search(text):
            symptoms.add(
                "warning", "special tokens spelled in the text", place, column=column, example=_around(marks, text),
                mend="they are trained on as plain text; if they come from another chat template, take them out "
                "and give messages",
            )  # fmt: skip


def _field_faults(value: Any, key: str) -> Iterator[tuple[str, str, str]]:
    """(what, example, how to mend it) for a field that no method can read."""
    if value is None:
        yield "null", "", "fill it in or take the row out"
    elif isinstance(value, str):
        if not value.strip() and key != "prompt":
            yield ("only white space" if value else "empty"), "", "fill it in or take the row out"
    elif not isinstance(value, list) or key == "text":
        yield f"{type(value).__name__} where text was expected", repr(value), "write it as text"
    elif not value:
        yield "no messages", "", "fill it in or take the row out"
    else:
        yield from _message_faults(value)
        answers = [
            one.get("content") for one in value if isinstance(one, dict) and one.get("role") == "assistant"
        ]
        if key in ("completion", "chosen", "rejected") and any(
            isinstance(a, str) and not a.strip() for a in answers
        ):
            yield "empty answer", "", "write the answer or take the row out"


def _message_faults(messages: list[Any]) -> Iterator[tuple[str, str, str]]:
    for message in messages:
        if not isinstance(message, dict):
            yield (
                f"a message that is {type(message).__name__}",
                repr(message),
                'write {"role": …, "content": …}',
            )
        elif message.get("role") not in ROLES:
            role = message.get("role")
            yield f"a message with the role {role!r}", str(message), f"use one of {', '.join(ROLES)}"
        elif not isinstance(message.get("content"), str):
            yield (
                "a message without text in 'content'",
                str(message),
                "write its text, or take the message out",
            )


def _turn_faults(format_: Format, example: Example) -> Iterator[tuple[str, str, str, str]]:
    """(what, column, example, how to mend it) for conversations that a template may refuse or learn wrongly."""
    if not example.is_conversation:
        yield from _glued(format_, example)
        return
    whole: list[dict[str, Any]] = [*example.prompt, *example.completion]
    roles = [message["role"] for message in whole]
    column = NEEDED[format_][0]
    spoken = [role for role in roles if role in ("user", "assistant")]
    if any(role in ("system", "developer") for role in roles[1:]):
        yield "a system message that is not the first", column, " → ".join(roles[:6]), "put it first"
    pairs = list(pairwise(roles))
    for role in ("user", "assistant"):
        if (role, role) in pairs:
            yield (
                f"two {role} turns in a row",
                column,
                " → ".join(roles[:6]),
                "join them, or write what is missing between",
            )
    if spoken[:1] == ["assistant"] and format_ == "messages":
        yield "the assistant speaks first", column, whole[0]["content"], "put a question before it"
    if "assistant" not in roles:
        yield (
            "no answer to learn from",
            column,
            whole[-1]["content"],
            "add the assistant's turn, or take the row out",
        )
    elif roles[-1] != "assistant":
        yield (
            "the last turn is no answer",
            column,
            whole[-1]["content"],
            "turns after the last answer carry no loss: add the answer or cut them",
        )
    if format_ == "messages" and any(m["role"] == "assistant" and not m["content"].strip() for m in whole):
        yield "empty answer", column, "", "write the answer or take the row out"
    if any(
        m["role"] == "assistant" and m["content"] != m["content"].strip() and m["content"].strip()
        for m in whole
    ):
        shown = next(
            m["content"] for m in whole if m["role"] == "assistant" and m["content"] != m["content"].strip()
        )
        yield (
            "white space around an answer",
            NEEDED[format_][-1],
            repr(shown)[1:-1],
            "strip it: the template writes its own",
        )


def _glued(format_: Format, example: Example) -> Iterator[tuple[str, str, str, str]]:
    prompt, answer = example.prompt, example.completion
    if (
        format_ != "prompt-completion"
        or not isinstance(prompt, str)
        or not isinstance(answer, str)
        or not prompt
    ):
        return
    if not prompt[-1].isspace() and not answer[0].isspace() and prompt[-1].isalnum() and answer[0].isalnum():
        yield (
            "prompt and completion run into one word", "completion", f"{prompt[-20:]}{answer[:20]}",
            "begin the completion with a space, or give messages",
        )  # fmt: skip


def _texts(row: Row, format_: Format) -> Iterator[tuple[str, str]]:
    """(column, text) for every text of the row that a model reads."""
    for key in (*NEEDED[format_], *(("prompt",) if format_ == "preference" else ())):
        value = row.get(key)
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, list):
            for message in value:
                if isinstance(message, dict) and isinstance(message.get("content"), str):
                    yield key, message["content"]


def _around(pattern: "re.Pattern[str]", text: str) -> str:
    match = pattern.search(text)
    assert match is not None
    start, end = max(0, match.start() - 25), match.end() + 25
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
