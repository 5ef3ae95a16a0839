"""Conversations as token ids: the chat template around them, and nothing that they spell taken for a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.answers import Message
from ftlab.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """The ids of a conversation that ends where the answer begins; how many special tokens stayed plain text."""

    ids: list[int]
    escaped: int


def load_tokenizer(folder: Path, reference: str) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder; read again only where a file has changed.

    Raises ModelError where there is none that can be read without foreign code.
    """
    files = [path for pattern in ("*.json", "*.jinja", "*.model", "*.txt") for path in folder.glob(pattern)]
    stats = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files))
    try:
        return _read_tokenizer(folder, stats)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{reference}: no tokenizer can be read in {folder}: {error}") from error


@lru_cache(maxsize=8)
def _read_tokenizer(folder: Path, _stats: tuple[tuple[str, int, int], ...]) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return tokenizer


@lru_cache(maxsize=8)
def highest_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The largest id that the tokenizer gives; looked for once, for of 49,000 words it takes 20 ms."""
    return max(tokenizer.get_vocab().values(), default=0)


def template_of(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text of the chat template; empty where the tokenizer has none."""
    template: Any = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default", "")
    return template or ""


def encode(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], reference: str) -> Encoded:
    """Ids up to the beginning of the answer; a last message of the assistant is continued.

    Contents that spell special tokens are encoded on their own, as text, so that nobody ends a turn or opens
    another by typing; everything else is encoded in one piece. Raises ModelError where there is no template,
    DataError where it refuses the conversation.
    """
    specials = set(tokenizer.all_special_tokens)
    escaped = sum(message["content"].count(token) for message in messages for token in specials)
    if escaped:
        return Encoded(_piecewise(tokenizer, messages, reference), escaped)
    text = _written(tokenizer, messages, reference)
    return Encoded(_ids(tokenizer, text, special=True), 0)


def lead(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The white space that the template writes between the opening of an answer and the answer's own text.

    "Bot: Yes." opens with "Bot:", so a model that was trained on it draws " Yes.": without taking the space off,
    an answer that goes back into a conversation would have two.
    """
    if not template_of(tokenizer):
        return ""
    mark, question = "\ue000", {"role": "user", "content": "?"}
    opened = _written(tokenizer, [question], "")
    whole: Any = tokenizer.apply_chat_template(
        [question, {"role": "assistant", "content": mark}], tokenize=False, add_generation_prompt=False
    )
    between = str(whole).partition(mark)[0].removeprefix(opened)
    return between if between.isspace() else ""


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of bare text, special tokens in it taken as text."""
    return _ids(tokenizer, text, special=False)


def _written(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], reference: str) -> str:
    import jinja2

    if not template_of(tokenizer):
        raise ModelError(
            f"{reference}: the tokenizer in {tokenizer.name_or_path} has no chat template, so nobody can say how "
            f"a conversation is written for it; put one into {tokenizer.name_or_path}/chat_template.jinja"
        )
    continued = messages[-1]["role"] == "assistant"
    try:
        text: Any = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    except (jinja2.TemplateError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(f"{reference}: the chat template refuses the roles {roles}: {error}") from error
    return str(text)


def _piecewise(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], reference: str
) -> list[int]:
    marks = [f"\ue000{index}\ue001" for index in range(len(messages))]  # private use: no tokenizer's own text
    marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
    rest, ids = _written(tokenizer, marked, reference), list[int]()
    for mark, message in zip(marks, messages, strict=True):
        before, found, rest = rest.partition(mark)
        ids += _ids(tokenizer, before, special=True)
        ids += _ids(tokenizer, message["content"], special=False) if found else []
    return ids + _ids(tokenizer, rest, special=True)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str, *, special: bool) -> list[int]:
    if not text:
        return []
    ids: Any = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
    return list(ids)


class TextStream:
    """Token ids to text, piece by piece: a character split over tokens waits for its last byte.

    Each piece is what the newest tokens add to the few before them, so that a long answer costs no more per
    token than a short one; the pieces joined are the answer's text.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", lead: str = "") -> None:
        """`lead` is taken off the front, where the tokens begin with it."""
        self.tokenizer = tokenizer
        self.text = ""
        self._lead = lead
        self._ids: list[int] = []
        self._from = 0  # where decoding begins: spaces and merged bytes depend on the tokens before
        self._told = 0  # ids before this one have been given out as text

    def push(self, token: int) -> str:
        """The text that this token completes; often empty while a character is incomplete."""
        self._ids.append(token)
        piece = self._new()
        if not piece or piece.endswith("\ufffd"):
            return ""
        return self._give(piece)

    def end(self) -> str:
        """What was held back: replacement characters where the answer stopped within a character."""
        return self._give(self._new())

    def _new(self) -> str:
        before = self._decode(self._ids[self._from : self._told])
        return self._decode(self._ids[self._from :])[len(before) :]

    def _give(self, piece: str) -> str:
        self._from, self._told = self._told, len(self._ids)
        piece, self._lead = piece.removeprefix(self._lead), ""
        self.text += piece
        return piece

    def _decode(self, ids: list[int]) -> str:
        text: Any = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)
