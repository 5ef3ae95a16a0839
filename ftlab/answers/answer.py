"""An answer of a model, and the fingerprint that proves which weights and settings gave it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ftlab.errors import ConfigError, DataError

Message = dict[str, str]
Prompt = str | Sequence[Mapping[str, str]]
Finish = Literal["end", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; the same for every model of a comparison.

    `temperature` 0 takes the likeliest token each time. `top_p` keeps the fewest likeliest tokens whose
    probabilities reach it, 1 keeps all. `seed` is any whole number from 0 to 2**63 - 1.
    """

    max_new_tokens: int = 64
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError where a value lies outside its range."""
        _within("max_new_tokens", self.max_new_tokens, 1, 1_000_000, whole=True)
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        _within("seed", self.seed, 0, 2**63 - 1, whole=True)
        if self.top_p == 0:
            raise ConfigError("top_p is 0, which keeps no token; take temperature=0 for the likeliest one")

    def row_seed(self, messages: Sequence[Mapping[str, str]]) -> int:
        """The seed of one conversation: the same for every model, in whatever list or batch it stands."""
        told = json.dumps([self.seed, [[message["role"], message["content"]] for message in messages]])
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which weights, template and settings gave an answer; hashes are the first 12 hex digits of a sha256.

    `base` and `adapter` cover the names, types, shapes and bytes of the stored tensors; `template` the text of
    the chat template. `base` ends in "+nf4" where the stored weights were rounded to four bits on the way.
    `adapter` of a blend or a cut covers its parts and how they are counted; it is None, and `adapter_active`
    False, where no adapter touched the answer. `context` covers the rule and the examples that stood before the
    conversation; None where there were none.
    """

    base: str
    adapter: str | None
    adapter_active: bool
    template: str
    sampling: Sampling
    context: str | None = None

    @property
    def heading(self) -> str:
        """Names a base as such only where nothing touched it: "base 3fa2c9", "base 3fa2c9 + adapter 77ab01"."""
        digits, plus, rounding = self.base.partition("+")
        words = [f"base {digits[:6]}{plus}{rounding}"]
        if self.adapter is not None and self.adapter_active:
            words.append(f"adapter {self.adapter[:6]}")
        if self.context is not None:
            words.append(f"prompt {self.context[:6]}")
        return " + ".join(words)


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer to one prompt.

    `tokens` were drawn, the end token included; `finish` says why no more: the model ended, the length was
    reached, or someone cancelled. `seconds` is the wall time of the batch until this answer was whole.
    """

    reference: str
    prompt: list[Message]
    text: str
    tokens: int
    finish: Finish
    seconds: float
    fingerprint: Fingerprint

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Answer":
        """The answer that `to_dict` was called on; raises DataError where a field is missing or unknown."""
        try:
            mark = dict(values["fingerprint"])
            mark["sampling"] = Sampling(**mark["sampling"])
            return cls(**{**values, "fingerprint": Fingerprint(**mark)})
        except (KeyError, TypeError) as error:
            raise DataError(
                f"this is no answer: {error}; fields found: {', '.join(sorted(values))}"
            ) from error


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text as it streams in; `index` is the prompt's place in the list."""

    reference: str
    index: int
    text: str


def as_messages(prompt: Prompt) -> list[Message]:
    """The prompt as chat messages; a plain string is one message of the user.

    Raises DataError where a message lacks role or content, or there is none at all.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    messages = []
    for place, message in enumerate(prompt):
        if not isinstance(message, Mapping):
            raise DataError(f'message {place} is {message!r}; wanted {{"role": "user", "content": "..."}}')
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataError(f"message {place} needs a role and a content of text; it has {sorted(message)}")
        messages.append({"role": role, "content": content})
    if not messages:
        raise DataError("a prompt of no messages; give a string, or at least one message")
    return messages


def said(prompt: Sequence[Mapping[str, str]]) -> str:
    """The prompt as plain text: the bare words of a lone user message, else "role: content" a line."""
    if len(prompt) == 1 and prompt[0]["role"] == "user":
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _within(name: str, value: float, low: float, high: float, *, whole: bool = False) -> None:
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"sampling.{name} is {value!r}; wanted {kind} from {low:g} to {high:g}")
