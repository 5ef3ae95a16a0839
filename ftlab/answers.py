"""What models said: answers with the fingerprint that proves which weights and settings gave them.

Only the standard library is imported here, because widgets use it; the models themselves live in another
process, which `ask` reaches through `ftlab.warm`.
"""

import difflib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Literal

from ftlab import errors
from ftlab.errors import ConfigError, DataError, FtlabError, ModelError

Message = dict[str, str]
Prompt = str | Sequence[Mapping[str, str]]
Finish = Literal["end", "length", "cancelled"]

_JSON_FORMAT = "ftlab.comparison/1"


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
    the chat template. `adapter` is None, and `adapter_active` False, where no adapter touched the answer.
    """

    base: str
    adapter: str | None
    adapter_active: bool
    template: str
    sampling: Sampling

    @property
    def heading(self) -> str:
        """Names a base as such only where no adapter touched it: "base 3fa2c9", "base 3fa2c9 + adapter 77ab01"."""
        if self.adapter is None or not self.adapter_active:
            return f"base {self.base[:6]}"
        return f"base {self.base[:6]} + adapter {self.adapter[:6]}"


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


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or the space between two, and whether the other text has it at this place."""

    text: str
    change: Literal["same", "removed", "added"]


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


def ask(
    prompts: Prompt | Sequence[Prompt],
    references: str | Sequence[str],
    sampling: Sampling | None = None,
    *,
    cancel: threading.Event | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Delta | tuple[int, Answer]]:
    """Stream every model's answers: pieces as they come, then (place of the prompt, whole answer).

    The models run in another process. `note` is told of slow steps such as a model being fetched. Once `cancel`
    is set, what was drawn so far comes as answers that finished "cancelled". Raises the FtlabError that the
    other process met.
    """
    from ftlab import warm

    sampling = sampling or Sampling()
    chats, names = _as_chats(prompts), _as_names(references)
    message = {"do": "answer", "prompts": chats, "references": names, "sampling": asdict(sampling)}
    parts = _Parts(chats, names)
    lines = warm.request(message)
    try:
        for line in lines:
            if "error" in line:
                raise as_error(line)
            if "end" in line:
                break
            if "note" in line and note is not None:
                note(str(line["note"]))
            yield from parts.take(line)
            if cancel is not None and cancel.is_set():
                yield from parts.cancelled()
                break
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            close()  # the other process sees the line go and stops drawing tokens


def compare(
    prompts: Prompt | Sequence[Prompt],
    references: str | Sequence[str],
    sampling: Sampling | None = None,
    *,
    note: Callable[[str], None] | None = None,
) -> "Comparison":
    """Every model's answer to every prompt, with one seed for all; waits until the last is there."""
    sampling = sampling or Sampling()
    chats, names = _as_chats(prompts), _as_names(references)
    answers: list[dict[str, Answer]] = [{} for _ in chats]
    for piece in ask(chats, names, sampling, note=note):
        if isinstance(piece, tuple):
            index, answer = piece
            answers[index][answer.reference] = answer
    return Comparison(chats, names, sampling, answers)


@dataclass(frozen=True)
class Comparison:
    """Answers of several models to the same prompts: `answers[place of the prompt][reference]`."""

    prompts: list[list[Message]]
    references: list[str]
    sampling: Sampling
    answers: list[dict[str, Answer]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """A row an answer, flat, for a table: prompt, reference, text, tokens, finish, seconds, hashes, seed."""
        return [
            {
                "index": index,
                "prompt": said(self.prompts[index]),
                "reference": name,
                "text": answer.text,
                "tokens": answer.tokens,
                "finish": answer.finish,
                "seconds": answer.seconds,
                "base": answer.fingerprint.base,
                "adapter": answer.fingerprint.adapter,
                "template": answer.fingerprint.template,
                "seed": answer.fingerprint.sampling.seed,
            }
            for index, answers in enumerate(self.answers)
            for name, answer in answers.items()
        ]

    def pairs(self, left: str, right: str, tags: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What `Ratings.add_pairs` takes: for each prompt that both answered, the two responses.

        Raises ModelError where a reference was not compared.
        """
        for name in (left, right):
            if name not in self.references:
                raise ModelError(f"{name!r} was not compared; there are: {', '.join(self.references)}")
        return [
            {
                "prompt": self.prompts[index],
                "responses": [_response(answers[name]) for name in (left, right)],
                "tags": list(tags),
            }
            for index, answers in enumerate(self.answers)
            if left in answers and right in answers
        ]

    def to_json(self) -> str:
        """All of it as one JSON object, for a file or another process."""
        return json.dumps(
            {
                "format": _JSON_FORMAT,
                "prompts": self.prompts,
                "references": self.references,
                "sampling": asdict(self.sampling),
                "answers": [
                    {name: answer.to_dict() for name, answer in answers.items()} for answers in self.answers
                ],
            },
            ensure_ascii=False,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The comparison that `to_json` wrote; raises DataError where the text is something else."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from error
        if not isinstance(values, dict) or values.get("format") != _JSON_FORMAT:
            raise DataError(f"no comparison; wanted an object whose format is {_JSON_FORMAT!r}")
        return cls(
            prompts=values["prompts"],
            references=values["references"],
            sampling=Sampling(**values["sampling"]),
            answers=[
                {name: Answer.from_dict(answer) for name, answer in answers.items()}
                for answers in values["answers"]
            ],
        )

    def html(self, *, differences: bool = True) -> str:
        """A static table, a column a model; all text escaped, readable on a light and on a dark page.

        With `differences`, words that the first model's answer does not have at that place are underlined.
        """
        head = "".join(_heading(name, self._fingerprint(name)) for name in self.references)
        body = "".join(self._row(index, differences=differences) for index in range(len(self.prompts)))
        note = f"<p>{escape(_settings(self.sampling))}</p>"
        return f'<table style="{_TABLE}"><thead><tr>{_PROMPT_HEAD}{head}</tr></thead><tbody>{body}</tbody></table>{note}'

    def _repr_html_(self) -> str:
        return self.html()

    def _fingerprint(self, name: str) -> Fingerprint | None:
        marks = (answers[name].fingerprint for answers in self.answers if name in answers)
        return next(marks, None)

    def _row(self, index: int, *, differences: bool) -> str:
        answers = self.answers[index] if index < len(self.answers) else {}
        first = answers.get(self.references[0])
        cells = [f'<td style="{_CELL}">{escape(said(self.prompts[index]))}</td>']
        for name in self.references:
            answer = answers.get(name)
            if answer is None:
                cells.append(f'<td style="{_CELL}"><em>no answer</em></td>')
                continue
            against = first.text if differences and first is not None and answer is not first else None
            ending = {"end": "", "length": " …", "cancelled": " (cancelled)"}[answer.finish]
            cells.append(f'<td style="{_CELL}">{_marked(answer.text, against)}{ending}</td>')
        return f"<tr>{''.join(cells)}</tr>"


def said(prompt: Sequence[Mapping[str, str]]) -> str:
    """The prompt as plain text: the bare words of a lone user message, else "role: content" a line."""
    if len(prompt) == 1 and prompt[0]["role"] == "user":
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def word_diff(before: str, after: str) -> list[Word]:
    """How `after` differs from `before`, word by word, in reading order; spaces belong to the pieces.

    The pieces that are not "removed" join to `after`, those that are not "added" to `before`.
    """
    old, new = _words(before), _words(after)
    pieces: list[Word] = []
    for kind, from_old, to_old, from_new, to_new in difflib.SequenceMatcher(
        None, old, new, False
    ).get_opcodes():
        if kind == "equal":
            pieces.append(Word("".join(new[from_new:to_new]), "same"))
            continue
        if to_old > from_old:
            pieces.append(Word("".join(old[from_old:to_old]), "removed"))
        if to_new > from_new:
            pieces.append(Word("".join(new[from_new:to_new]), "added"))
    return pieces


_LINE = "1px solid #888888"  # JupyterLab's sanitizer keeps plain colours; mid grey shows on light and dark
_TABLE = "border-collapse: collapse; width: 100%;"
_CELL = f"border: {_LINE}; padding: 6px; text-align: left; vertical-align: top; white-space: pre-wrap;"
_PROMPT_HEAD = f'<th style="{_CELL}">prompt</th>'


def _heading(name: str, mark: Fingerprint | None) -> str:
    proof = "" if mark is None else f"<br><code>{escape(mark.heading)}</code>"
    return f'<th style="{_CELL}">{escape(name)}{proof}</th>'


def _marked(text: str, against: str | None) -> str:
    if against is None:
        return escape(text)
    return "".join(
        f"<u>{escape(word.text)}</u>" if word.change == "added" else escape(word.text)
        for word in word_diff(against, text)
        if word.change != "removed"
    )


def _settings(sampling: Sampling) -> str:
    drawn = f"temperature {sampling.temperature:g}, top p {sampling.top_p:g}, seed {sampling.seed}"
    how = "likeliest token each time" if sampling.temperature == 0 else drawn
    return f"{how}; at most {sampling.max_new_tokens} tokens (… marks an answer cut there)"


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|[^\s]+", text)


def _response(answer: Answer) -> dict[str, Any]:
    mark = answer.fingerprint
    generation = {
        **asdict(mark.sampling),
        "base": mark.base,
        "adapter": mark.adapter,
        "adapter_active": mark.adapter_active,
        "template": mark.template,
        "tokens": answer.tokens,
        "finish": answer.finish,
    }
    return {"model": answer.reference, "text": answer.text, "generation": generation}


def _as_chats(prompts: Prompt | Sequence[Prompt]) -> list[list[Message]]:
    if isinstance(prompts, str):
        return [as_messages(prompts)]
    if len(prompts) == 0:
        raise DataError("no prompts; give one, or a list of them")
    if isinstance(prompts[0], Mapping):
        return [as_messages(prompts)]  # type: ignore[arg-type]  # one prompt, written as its messages
    return [as_messages(prompt) for prompt in prompts]  # type: ignore[arg-type]


def _as_names(references: str | Iterable[str]) -> list[str]:
    names = [references] if isinstance(references, str) else list(references)
    if not names:
        raise ModelError("no models; give a reference such as 'wren', or a list of them")
    return list(dict.fromkeys(names))


class _Parts:
    """What has come in so far of each answer, so that a cancelled one keeps its text and its proof."""

    def __init__(self, chats: list[list[Message]], names: list[str]) -> None:
        self.open: dict[tuple[str, int], list[str]] = {
            (name, i): [] for name in names for i in range(len(chats))
        }
        self.marks: dict[str, Fingerprint] = {}
        self.chats = chats

    def take(self, line: Mapping[str, Any]) -> Iterator[Delta | tuple[int, Answer]]:
        if "loaded" in line:
            mark = dict(line["loaded"]["fingerprint"])
            mark["sampling"] = Sampling(**mark["sampling"])
            self.marks[line["loaded"]["reference"]] = Fingerprint(**mark)
        if "delta" in line:
            delta = Delta(**line["delta"])
            self.open[delta.reference, delta.index].append(delta.text)
            yield delta
        if "answer" in line:
            answer = Answer.from_dict(line["answer"])
            self.open.pop((answer.reference, int(line["index"])), None)
            yield int(line["index"]), answer

    def cancelled(self) -> Iterator[tuple[int, Answer]]:
        for (name, index), texts in self.open.items():
            if name in self.marks and texts:
                text = "".join(texts)
                mark = self.marks[name]
                yield index, Answer(name, self.chats[index], text, len(texts), "cancelled", 0.0, mark)


def as_error(line: Mapping[str, Any]) -> FtlabError:
    """The error that another process met, from its line {"error": text, "kind": class name}."""
    kind = getattr(errors, str(line.get("kind")), FtlabError)
    known = isinstance(kind, type) and issubclass(kind, FtlabError)
    text = str(line["error"])
    return (
        kind(text) if known and kind is not FtlabError else FtlabError(f"{line.get('kind', 'error')}: {text}")
    )


def _within(name: str, value: float, low: float, high: float, *, whole: bool = False) -> None:
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"sampling.{name} is {value!r}; wanted {kind} from {low:g} to {high:g}")


__all__ = [
    "Answer",
    "Comparison",
    "Delta",
    "Fingerprint",
    "Message",
    "Prompt",
    "Sampling",
    "Word",
    "as_error",
    "as_messages",
    "ask",
    "compare",
    "said",
    "word_diff",
]
