"""What is trained on: rows rendered to token ids and the labels that say which of them count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ftlab.data.files import Row, place
from ftlab.data.formats import Example, Format, Message, examples
from ftlab.errors import DataError, ModelError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Mask = Literal["completion", "assistant", "all"]
IGNORE = -100  # skipped by the loss
BLOCK = 512  # rows tokenized together


@dataclass(frozen=True)
class Columns:
    """Token columns of one dataset; every list has one entry a row.

    SFT: `input_ids` and `labels` (the id, or -100 where the token carries no loss).
    Preferences: `prompt_ids`, `chosen_ids`, `rejected_ids`.
    Comparisons: `chosen_ids` and `rejected_ids`, each with its prompt, and `margin`.
    """

    data: dict[str, list[Any]]
    notes: list[str] = field(default_factory=list)
    """Sentences about rows that were cut, left out or changed."""
    kept: list[int] | None = None
    """The row (from 0) that each entry was made of; None where nobody noted it."""

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    @property
    def weights(self) -> list[list[int]]:
        """1 where a token of an SFT row carries loss, else 0."""
        return [[int(label != IGNORE) for label in row] for row in self.data["labels"]]

    def dataset(self) -> "Dataset":
        from datasets import Dataset

        return Dataset.from_dict(self.data)


def render(
    rows: Sequence[Row],
    tokenizer: "PreTrainedTokenizerBase",
    mask: Mask = "completion",
    max_length: int | None = None,
) -> Columns:
    """SFT rows to `input_ids` and `labels`.

    `completion`: loss on what follows the prompt (the last answer of a conversation). `assistant`: on
    every assistant turn. `all`: on every token. Rows longer than `max_length` tokens lose their end; a
    row left without loss is dropped; both are counted in `notes`. Raises DataError where none is left.
    """
    format_, checked = examples(rows, wanted="sft")
    writer = _Writer(tokenizer)
    spans = _spans(writer, checked, format_, mask)
    data: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
    cut = dropped = 0
    rows_kept: list[int] = []
    for index, (ids, labels) in enumerate(spans):
        kept = labels[:max_length]
        if all(label == IGNORE for label in kept[1:]):  # nothing predicts the first token
            dropped += 1
            continue
        cut += max_length is not None and len(ids) > max_length
        rows_kept.append(index)
        data["input_ids"].append(ids[:max_length])
        data["labels"].append(kept)
    notes = writer.notes + _counts(cut, dropped, len(rows), max_length)
    if format_ == "text" and mask != "all":
        notes.append(f"rows of plain text have no {mask}: every token carries loss")
    return _left(Columns(data, notes, rows_kept), rows, max_length)


def render_preferences(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", max_length: int | None = None
) -> Columns:
    """Preference rows to `prompt_ids`, `chosen_ids` and `rejected_ids`.

    Rows whose two answers are the same teach nothing and are left out; answers are cut where prompt and
    answer exceed `max_length` tokens, and a row whose prompt alone does is dropped. All are counted.
    """
    _, checked = examples(rows, wanted="preference")
    writer = _Writer(tokenizer)
    different = [example for example in checked if example.completion != example.rejected]
    chosen = writer.pairs([(example.prompt, example.completion) for example in different])
    rejected = writer.pairs([(example.prompt, example.rejected or "") for example in different])
    data: dict[str, list[list[int]]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    cut = dropped = 0
    for (chosen_ids, chosen_start), (rejected_ids, rejected_start) in zip(chosen, rejected, strict=True):
        start = min(chosen_start, rejected_start)
        room = None if max_length is None else max_length - start
        if room is not None and room <= 0:
            dropped += 1
            continue
        longest = max(len(chosen_ids), len(rejected_ids))
        cut += max_length is not None and longest > max_length
        data["prompt_ids"].append(chosen_ids[:start])
        data["chosen_ids"].append(chosen_ids[start:max_length])
        data["rejected_ids"].append(rejected_ids[start:max_length])
    notes = writer.notes + _counts(cut, dropped, len(rows), max_length)
    if len(different) < len(rows):
        same = len(rows) - len(different)
        notes.append(f"{same} of {len(rows)} rows were left out: chosen and rejected are the same")
    return _left(Columns(data, notes), rows, max_length)


def render_comparisons(
    rows: Sequence[Row],
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int | None = None,
    margin: float = 0.0,
) -> Columns:
    """Preference rows to `chosen_ids` and `rejected_ids`, whole conversations to their end, and `margin`.

    A row's own "margin" (its strength; 0 where it has none) counts `margin` times. Rows whose two answers are the
    same, and rows longer than `max_length` tokens, are left out and counted: a reward is read at the end of an
    answer, so none may be cut. Raises DataError where a margin is no number from 0 up.
    """
    _, checked = examples(rows, wanted="preference")
    writer = _Writer(tokenizer)
    margins = [margin * _margin_of(rows, index) for index in range(len(rows))]
    kept = [(e, m) for e, m in zip(checked, margins, strict=True) if e.completion != e.rejected]
    chosen = writer.whole([_joined(example) for example, _ in kept])
    rejected = writer.whole([example.prompt + (example.rejected or "") for example, _ in kept])  # type: ignore[operator]
    fits = [
        max_length is None or max(len(one), len(other)) <= max_length
        for one, other in zip(chosen, rejected, strict=True)
    ]
    data: dict[str, list[Any]] = {
        "chosen_ids": [ids for ids, fit in zip(chosen, fits, strict=True) if fit],
        "rejected_ids": [ids for ids, fit in zip(rejected, fits, strict=True) if fit],
        "margin": [own for (_, own), fit in zip(kept, fits, strict=True) if fit],
    }
    notes = writer.notes
    if fits.count(False):
        notes.append(
            f"{fits.count(False)} of {len(rows)} rows were left out: longer than {max_length} tokens, "
            "and a reward is read at the end"
        )
    if len(kept) < len(rows):
        notes.append(
            f"{len(rows) - len(kept)} of {len(rows)} rows were left out: chosen and rejected are the same"
        )
    return _left(Columns(data, notes), rows, max_length)


def finished_ids(conversations: Sequence[Any], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Ids of conversations that end with a whole answer, as `render_comparisons` writes them."""
    return _Writer(tokenizer).whole(list(conversations))


def opening_ids(prompts: Sequence[Any], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Ids of conversations, or plain text, up to where an answer begins, as `render` writes them."""
    return _Writer(tokenizer).opened(list(prompts))


def _margin_of(rows: Sequence[Row], index: int) -> float:
    value = rows[index].get("margin", 0)
    value = 0 if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise DataError(f"{place(rows, index)}: 'margin' is {value!r}; wanted a number from 0 up")
    return float(value)


def _left(columns: Columns, rows: Sequence[Row], max_length: int | None) -> Columns:
    if not len(columns):
        source = getattr(rows, "source", "the dataset")
        why = "; ".join(columns.notes)
        way = (
            f"raise max_length (now {max_length})" if max_length is not None else "add answers to learn from"
        )
        raise DataError(f"{source}: none of {len(rows)} rows is left to train on: {why}; {way}")
    return columns


def _counts(cut: int, dropped: int, rows: int, max_length: int | None) -> list[str]:
    notes = []
    if cut:
        notes.append(f"{cut} of {rows} rows were cut at {max_length} tokens")
    if dropped:
        why = f" within {max_length} tokens" if max_length is not None else ""
        notes.append(f"{dropped} of {rows} rows were dropped: nothing to learn{why}")
    return notes


def _spans(
    writer: "_Writer", checked: list[Example], format_: Format, mask: Mask
) -> list[tuple[list[int], list[int]]]:
    """(input_ids, labels) a row, uncut."""
    if format_ == "text" or mask == "all":
        return [(ids, list(ids)) for ids in writer.whole([_joined(example) for example in checked])]
    if mask == "assistant" and checked[0].is_conversation and not all(map(_answers_once, checked)):
        return [writer.turns(_joined(example)) for example in checked]
    split = [_last_answer(example) if format_ == "messages" else example for example in checked]
    pairs = writer.pairs([(example.prompt, example.completion) for example in split])
    return [(ids, [IGNORE] * start + ids[start:]) for ids, start in pairs]


def _joined(example: Example) -> Any:
    return example.prompt + example.completion  # type: ignore[operator]  # both text or both messages


def _answers_once(example: Example) -> bool:
    """Whether the only assistant turn is the last: then both masks are the same, and `pairs` is quicker."""
    roles = [message["role"] for message in _joined(example)]
    return roles[-1] == "assistant" and roles.count("assistant") == 1


def _last_answer(example: Example) -> Example:
    """A conversation split before its last assistant turn; turns after that carry no loss and are cut."""
    messages = example.completion
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=None)  # type: ignore[index]
    if last is None:
        return Example(messages, [])
    return Example(messages[:last], messages[last : last + 1])


class _Writer:
    """Text to token ids, as the tokenizer and its chat template have it."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self._special = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)
        self._written_out = 0

    @property
    def notes(self) -> list[str]:
        if not self._written_out:
            return []
        return [
            f"special tokens inside the text of {self._written_out} conversations were encoded as plain text"
        ]

    def pairs(self, pairs: list[tuple[Any, Any]]) -> list[tuple[list[int], int]]:
        """(ids of prompt and answer, where the answer starts) for each; conversations or plain text.

        The answer starts where the ids of the prompt alone and of both together part, as in TRL.
        """
        prompts = self._ids([prompt for prompt, _ in pairs], opening=True)
        whole = self.whole([prompt + answer for prompt, answer in pairs])
        return [(ids, _common(prompt, ids)) for prompt, ids in zip(prompts, whole, strict=True)]

    def opened(self, prompts: list[Any]) -> list[list[int]]:
        """Ids of what waits for an answer."""
        return self._ids(prompts, opening=True)

    def whole(self, values: list[Any]) -> list[list[int]]:
        """Ids of finished conversations or texts."""
        return self._ids(values, opening=False)

    def turns(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        """(ids, labels) with loss on every assistant turn up to the end of that turn."""
        ids = self._ids([messages], opening=False)[0]
        labels = [IGNORE] * len(ids)
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = (
                self._ids([messages[:index]], opening=True)[0],
                self._ids([messages[: index + 1]], opening=False)[0],
            )
            start, end = _common(before, ids), _common(after, ids)
            labels[start:end] = ids[start:end]
        return ids, labels

    def _ids(self, values: list[Any], *, opening: bool) -> list[list[int]]:
        """Token ids of conversations or texts; `opening` ends with the beginning of an answer."""
        if not values:
            return []
        ids: list[list[int]] = []
        for start in range(0, len(values), BLOCK):
            ids += self._block(values[start : start + BLOCK], opening=opening)
        return ids

    def _block(self, values: list[Any], *, opening: bool) -> list[list[int]]:
        if isinstance(values[0], str):
            return self._plain(values, ended=not opening)
        texts = [self._written(messages, opening=opening) if messages else "" for messages in values]
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        for index, messages in enumerate(values):
            if any(token in message["content"] for message in messages for token in self._special):
                ids[index] = self._piecewise(messages, opening=opening)
                self._written_out += not opening
        return ids

    def _plain(self, texts: list[str], *, ended: bool) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts)["input_ids"]
        end = self.tokenizer.eos_token_id
        if end is None or not ended:
            # an end that the tokenizer adds on its own would part prompt and answer one token early
            return [row[:-1] if not ended and row and row[-1] == end else row for row in ids]
        return [row if row and row[-1] == end else [*row, end] for row in ids]

    def _written(self, messages: list[Message], *, opening: bool) -> str:
        import jinja2

        if not self.tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of {self.tokenizer.name_or_path} has no chat template, and the rows are "
                "conversations; give rows of plain text, or a model whose tokenizer has one"
            )
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
        except jinja2.TemplateError as error:
            roles = [message["role"] for message in messages]
            raise DataError(
                f"the chat template refuses a conversation with the roles {roles}: {error}"
            ) from error

    def _piecewise(self, messages: list[Message], *, opening: bool) -> list[int]:
        """Ids where contents that spell special tokens stay text, and the template's own stay special."""
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        rest, ids = self._written(marked, opening=opening), []
        for mark, message in zip(marks, messages, strict=True):
            before, found, rest = rest.partition(mark)
            ids += self._encode(before, special=True)
            ids += self._encode(message["content"], special=False) if found else []
        return ids + self._encode(rest, special=True)

    def _encode(self, text: str, *, special: bool) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
        return encoded["input_ids"]


def _common(one: list[int], other: list[int]) -> int:
    """How many leading ids are the same."""
    if other[: len(one)] == one:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
