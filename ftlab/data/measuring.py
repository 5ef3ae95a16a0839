"""Rows counted in tokens: how long they are, how much of them is trained on, and what the limit takes away."""

from collections.abc import Sequence
from typing import Any

from ftlab.data.columns import Mask, finished_ids, render, render_comparisons, render_preferences
from ftlab.data.files import Row
from ftlab.data.formats import Example
from ftlab.data.report import Tokens
from ftlab.data.symptoms import Symptoms
from ftlab.data.tokenizer import Tokenizer
from ftlab.errors import DataError, ModelError

SAMPLE = 10_000
"""Rows that are counted; of more, an even sample, and those that may be too long."""
Readable = Sequence[tuple[int, Row, Example]]


def measure(
    readable: Readable,
    format_: str,
    tokenizer: Tokenizer,
    *,
    mask: Mask,
    max_length: int,
    method: str | None,
    symptoms: Symptoms,
) -> tuple[Tokens | None, int, int]:
    """(token counts, rows cut, rows dropped); None where the tokenizer has no template for conversations.

    Rows are rendered by the very functions that a run calls.
    """
    readable = _fitting(readable, tokenizer, symptoms)
    if not readable:
        return None, 0, 0
    step = -(-len(readable) // SAMPLE)
    sample = readable[::step]
    lengths = _lengths(sample, tokenizer)
    trained, kept = _trained(sample, format_, tokenizer, mask, max_length, method)
    cut = dropped = 0
    too_long = _too_long(readable, tokenizer, max_length)
    enough = 1 << (max((length for _, _, length in too_long), default=1) - 1).bit_length()  # a power of two
    for place, row, length in too_long:
        left, _ = _trained([(place, row, _EMPTY)], format_, tokenizer, mask, max_length, method)
        shown = f"{length:,} tokens"
        if left:
            cut += 1
            symptoms.add("warning", f"longer than {max_length} tokens: its end is cut", place, example=shown,
                         mend=f"raise data.max_length ({enough} is enough for all), or split the row")  # fmt: skip
        else:
            dropped += 1
            symptoms.add("warning", f"longer than {max_length} tokens: nothing to learn is left", place, example=shown,
                         mend=f"raise data.max_length ({enough} is enough for all), or shorten the prompt")  # fmt: skip
    return Tokens(lengths, trained, kept, max_length, len(readable)), cut, dropped


_EMPTY = Example("", "")


def _whole(example: Example) -> list[Any]:
    """The conversations or texts of a row: one, or the two of a preference."""
    first = example.prompt + example.completion  # type: ignore[operator]
    return [first] if example.rejected is None else [first, example.prompt + example.rejected]  # type: ignore[operator]


def _lengths(rows: Readable, tokenizer: Tokenizer) -> list[int]:
    """Tokens of each row; of a preference, those of its longer answer."""
    wholes = [_whole(example) for _, _, example in rows]
    ids = iter(finished_ids([one for whole in wholes for one in whole], tokenizer))
    return [max(len(next(ids)) for _ in whole) for whole in wholes]


def _too_long(readable: Readable, tokenizer: Tokenizer, max_length: int) -> list[tuple[int, Row, int]]:
    """Rows beyond the limit. A token is at least one byte, so that most need not be counted."""
    overhead = 64  # of a template, in tokens, for each message
    suspects = [
        one for one in readable
        if _bytes(one[2]) + overhead * _turns(one[2]) > max_length
    ]  # fmt: skip
    lengths = _lengths(suspects, tokenizer) if suspects else []
    return [(place, row, n) for (place, row, _), n in zip(suspects, lengths, strict=True) if n > max_length]


def _bytes(example: Example) -> int:
    return max(
        sum(len(m["content"].encode()) for m in whole) if isinstance(whole, list) else len(whole.encode())
        for whole in _whole(example)
    )


def _turns(example: Example) -> int:
    return max(len(whole) if isinstance(whole, list) else 1 for whole in _whole(example))


def _trained(
    rows: Readable, format_: str, tokenizer: Tokenizer, mask: Mask, max_length: int, method: str | None
) -> tuple[int, int]:
    """(tokens that carry loss, all tokens) within the limit; (0, 0) where no row is left."""
    plain = [row for _, row, _ in rows]
    try:
        if format_ != "preference":
            columns = render(plain, tokenizer, mask, max_length)
            return sum(map(sum, columns.weights)), sum(map(len, columns.data["input_ids"]))
        if method == "reward":
            both = render_comparisons(plain, tokenizer, max_length).data
            scored = 2 * len(both["margin"])  # one number an answer is learned from, not its tokens
            return scored, sum(len(ids) for name in ("chosen_ids", "rejected_ids") for ids in both[name])
        pairs = render_preferences(plain, tokenizer, max_length).data
        answers = sum(len(ids) for name in ("chosen_ids", "rejected_ids") for ids in pairs[name])
        return answers, answers + 2 * sum(map(len, pairs["prompt_ids"]))
    except DataError:  # none of the rows is left: the caller says which
        return 0, 0


def _fitting(readable: Readable, tokenizer: Tokenizer, symptoms: Symptoms) -> Readable:
    """The rows that the tokenizer's template takes."""
    if not readable or not readable[0][2].is_conversation:
        return readable
    if not tokenizer.chat_template:
        symptoms.add(
            "error", "the model has no chat template, and the rows are conversations", None,
            mend=f"put one into {tokenizer.name_or_path}/chat_template.jinja, or give plain text",
        )  # fmt: skip
        return []
    kept = []
    refused: dict[
        tuple[str, ...], str
    ] = {}  # the roles decide in every template we know of, and rows share them
    for place, row, example in readable:
        roles = tuple(message["role"] for whole in _whole(example) for message in whole)
        if roles not in refused:
            refused[roles] = _refusal(example, tokenizer)
        if refused[roles]:
            symptoms.add("error", "the model's chat template refuses the conversation", place, example=refused[roles],
                         mend="change the roles, or choose another model")  # fmt: skip
        else:
            kept.append((place, row, example))
    return kept


def _refusal(example: Example, tokenizer: Tokenizer) -> str:
    try:
        finished_ids(_whole(example), tokenizer)
    except (DataError, ModelError) as error:
        return str(error)
    return ""
