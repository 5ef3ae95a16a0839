"""A rendered row as a person reads it: each token with its text, whether it is learned, and what wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ftlab.data.columns import IGNORE, Mask, finished_ids, render, render_preferences
from ftlab.data.files import Row
from ftlab.data.formats import Example, Message, examples, recognise
from ftlab.data.tokenizer import Tokenizer
from ftlab.errors import DataError


@dataclass(frozen=True)
class Ribbon:
    """The tokens of one row, or of one answer of a preference, whole; the first `kept` are trained on."""

    row: int
    """From 0."""
    label: str
    """ "chosen" or "rejected"; empty for an example."""
    ids: list[int]
    labels: list[int]
    """As the trainer gets them, -100 where nothing is learned; of what is cut, what it would have been."""
    texts: list[str]
    is_template: list[bool]
    """Whether the chat template wrote the token, or the end of a text."""
    kept: int
    """Tokens within the limit; 0 where the row is dropped."""
    note: str = ""
    """Why the row is dropped."""

    @property
    def trained(self) -> int:
        """Tokens that carry loss; the first of a row never does, for nothing predicts it."""
        return sum(label != IGNORE for label in self.labels[1 : self.kept])


def ribbons(
    rows: Sequence[Row], index: int, tokenizer: Tokenizer, mask: Mask, max_length: int
) -> list[Ribbon]:
    """Row `index` as `render` or `render_preferences` gives it to a trainer, with what the limit takes away.

    One ribbon, or two of a preference. Raises DataError where the row is malformed.
    """
    row = rows[index]
    if recognise(row, f"row {index + 1}") == "preference":
        return _preference(row, index, tokenizer, max_length)
    _, (example,) = examples([row], wanted="sft")
    note = ""
    try:
        whole = render([row], tokenizer, mask).data
        ids, labels = whole["input_ids"][0], whole["labels"][0]
    except DataError:  # nothing in it is learned, whatever the limit
        ids = finished_ids([_whole(example)], tokenizer)[0]
        return [
            _ribbon(
                index,
                "",
                example,
                ids,
                [IGNORE] * len(ids),
                0,
                tokenizer,
                "dropped: nothing in it is learned",
            )
        ]
    try:
        kept = len(render([row], tokenizer, mask, max_length).data["input_ids"][0])
    except DataError:
        kept, note = 0, f"dropped: nothing to learn within {max_length} tokens"
    return [_ribbon(index, "", example, ids, labels, kept, tokenizer, note)]


def _preference(row: Row, index: int, tokenizer: Tokenizer, max_length: int) -> list[Ribbon]:
    _, (example,) = examples([row], wanted="preference")
    sides = [Example(example.prompt, example.completion), Example(example.prompt, example.rejected or "")]
    note, limit = "", max_length
    try:
        render_preferences([row], tokenizer, max_length)
    except DataError as error:
        limit = 0
        same = example.completion == example.rejected
        note = (
            "dropped: chosen and rejected are the same"
            if same
            else f"dropped: the prompt alone has {max_length} tokens"
        )
        if not same and "left" not in str(error):
            raise
    made = []
    try:
        data = render_preferences([row], tokenizer).data
        prompt = data["prompt_ids"][0]
        answers = [data["chosen_ids"][0], data["rejected_ids"][0]]
    except DataError:  # both answers are the same
        prompt, answers = [], finished_ids([_whole(side) for side in sides], tokenizer)
    for label, side, answer in zip(("chosen", "rejected"), sides, answers, strict=True):
        ids = prompt + answer
        labels = [IGNORE] * len(prompt) + (answer if prompt else [IGNORE] * len(answer))
        made.append(_ribbon(index, label, side, ids, labels, min(limit, len(ids)), tokenizer, note))
    return made


def _ribbon(
    index: int,
    label: str,
    example: Example,
    ids: list[int],
    labels: list[int],
    kept: int,
    tokenizer: Tokenizer,
    note: str,
) -> Ribbon:
    marks = _is_template(_whole(example), ids, tokenizer)
    return Ribbon(index, label, ids, labels, tokenizer.pieces(ids), marks, kept, note)


def _whole(example: Example) -> list[Message] | str:
    return example.prompt + example.completion  # type: ignore[operator]


def _is_template(whole: list[Message] | str, ids: list[int], tokenizer: Tokenizer) -> list[bool]:
    """Token by token; none where the text cannot be found again in the tokens."""
    if isinstance(whole, str):
        count = len(tokenizer(whole)["input_ids"])
        return [place >= count for place in range(len(ids))]  # the end token stands behind it
    found: list[int] = []
    marks: list[bool] = []
    for text, is_content, special in _segments(whole, tokenizer):
        encoding = tokenizer.encoding(text, special=special)
        found += encoding.ids
        marks += [not any(is_content[start:end]) for start, end in encoding.offsets]
    return marks if found == ids else [False] * len(ids)


def _segments(messages: list[Message], tokenizer: Tokenizer) -> list[tuple[str, list[bool], bool]]:
    """(text, for each character whether a message wrote it, whether special tokens are tokens) in pieces.

    One piece, or where a message spells a special token, each message apart, as `render` has it.
    """
    marks = [f"\ue000{index}\ue001" for index in range(len(messages))]  # private use: nobody's own text
    marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
    rest = tokenizer.apply_chat_template(marked)
    pieces: list[tuple[str, bool]] = []
    for mark, message in zip(marks, messages, strict=True):
        before, found, after = rest.partition(mark)
        if found:
            pieces += [(before, False), (message["content"], True)]
            rest = after
    pieces.append((rest, False))
    specials = tokenizer.all_special_tokens
    if any(token in message["content"] for message in messages for token in specials):
        return [(text, [own] * len(text), not own) for text, own in pieces if text]
    return [("".join(text for text, _ in pieces), [own for text, own in pieces for _ in text], True)]
