"""What is rated: a prompt with its answers, checked on the way in and blind on the way out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ftlab.errors import RatingError
from ftlab.ratings.clean import canonical, clean, clean_all, digest
from ftlab.ratings.said import State

ROLES = ("system", "user", "assistant", "tool")
_ANSWER_CHARACTERS = 5_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """What a rater sees of an assignment; nothing in it tells which model wrote what.

    `texts` are in the order shown; `left` and `right` are the first two. `position` counts from 1 to `total`.
    `state` is what was said already, `prev_event_id` the event that the next one follows (an undo too).
    """

    assignment_id: str
    batch: str
    mode: str
    instructions: str
    instructions_version: int
    prompt: list[dict[str, str]]
    texts: tuple[str, ...]
    position: int
    total: int
    state: State | None
    prev_event_id: str | None

    @property
    def left(self) -> str:
        """The answer on the left."""
        return self.texts[0]

    @property
    def right(self) -> str:
        """The answer on the right."""
        return self.texts[1]

    @property
    def key(self) -> str:
        """Names the content whatever the sides, the store and the models: a recording finds its task by it."""
        return content_key(self.prompt, self.texts)

    def to_json(self) -> dict[str, Any]:
        """For the browser."""
        return {
            "assignment_id": self.assignment_id,
            "batch": self.batch,
            "mode": self.mode,
            "instructions": self.instructions,
            "instructions_version": self.instructions_version,
            "prompt": self.prompt,
            "texts": list(self.texts),
            "position": self.position,
            "total": self.total,
            "state": self.state and self.state.to_json(),
            "prev_event_id": self.prev_event_id,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rater is with a batch. rated + skipped + flagged = answered <= total."""

    total: int
    rated: int
    skipped: int
    flagged: int

    @property
    def answered(self) -> int:
        """How many will not be asked again."""
        return self.rated + self.skipped + self.flagged

    @property
    def remaining(self) -> int:
        """How many are still to be asked."""
        return self.total - self.answered


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that teaches nothing: its index, from 0, and why."""

    row: int
    reason: str


class Added(int):
    """How many rows are new in the store, with those `refused` and the number `known` already."""

    refused: tuple[Refused, ...]
    known: int

    def __new__(cls, count: int, refused: tuple[Refused, ...], known: int) -> Self:
        """An int with two facts more."""
        added = super().__new__(cls, count)
        added.refused = refused
        added.known = known
        return added

    def __repr__(self) -> str:
        """In words."""
        words = [f"{int(self)} added"]
        if self.known:
            words.append(f"{self.known} known already")
        words += [f"row {item.row} refused: {item.reason}" for item in self.refused]
        return "; ".join(words)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that could be shown. `raw_hash` is of the text as it came in."""

    model: str
    text: str
    generation: str
    replaced: int
    raw_hash: str


@dataclass(frozen=True, slots=True)
class Item:
    """A row, fit to be stored."""

    prompt: list[dict[str, str]]
    candidates: tuple[Candidate, ...]
    tags: str
    replaced: int
    raw_hash: str

    def identity(self, batch: str, mode: str) -> str:
        """The same for the same prompt, models and texts in the same batch, in whatever order they come."""
        answers = sorted([candidate.model, candidate.text] for candidate in self.candidates)
        return digest([batch, mode, self.prompt, answers])


def content_key(prompt: Sequence[Mapping[str, str]], texts: Iterable[str]) -> str:
    """sha256 of the prompt and its answers in any order."""
    return digest([[dict(message) for message in prompt], sorted(texts)])


def check_pair(row: Mapping[str, Any], index: int) -> Item | Refused:
    """The row as an item, or why it is no use; RatingError where it is not a row at all."""
    place = f"row {index}"
    if not isinstance(row, Mapping) or not {"prompt", "responses"} <= set(row):
        raise RatingError(f"{place}: needs 'prompt' and 'responses', has {_names(row)}")
    unknown = sorted(set(row) - {"prompt", "responses", "tags"})
    if unknown:
        raise RatingError(f"{place}: {unknown[0]!r} is not known here; put it into 'tags'")
    prompt, in_prompt = _prompt(row["prompt"], place)
    responses = row["responses"]
    if not isinstance(responses, list | tuple) or len(responses) != 2:
        raise RatingError(f"{place}: 'responses' is a list of two, not {_names(responses)}")
    candidates = tuple(_candidate(response, f"{place}, response {n}") for n, response in enumerate(responses))
    item = Item(
        prompt=prompt,
        candidates=candidates,
        tags=_json(row.get("tags") or {}, f"{place}, tags"),
        replaced=in_prompt,
        raw_hash=digest(row["prompt"]),
    )
    if not any(message["content"].strip() for message in prompt):
        return Refused(index, "the prompt is empty")
    if candidates[0].text.strip() == candidates[1].text.strip():
        return Refused(index, "both answers are the same text: there is nothing to prefer")
    return item


def _prompt(prompt: Any, place: str) -> tuple[list[dict[str, str]], int]:
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list | tuple) or not prompt:
        raise RatingError(f"{place}: 'prompt' is text or a list of messages, not {_names(prompt)}")
    messages, replaced = [], 0
    for number, message in enumerate(prompt):
        if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
            raise RatingError(f"{place}, message {number}: needs 'role' and 'content', has {_names(message)}")
        if message["role"] not in ROLES:
            raise RatingError(
                f"{place}, message {number}: role {message['role']!r} is none of {', '.join(ROLES)}"
            )
        if not isinstance(message["content"], str):
            raise RatingError(
                f"{place}, message {number}: 'content' is text, not {_names(message['content'])}"
            )
        content, count = clean(message["content"])
        messages.append({"role": message["role"], "content": content})
        replaced += count
    if messages[-1]["role"] == "assistant":
        raise RatingError(f"{place}: the prompt ends with the assistant; it must end before the answer")
    return messages, replaced


def _candidate(response: Any, place: str) -> Candidate:
    if not isinstance(response, Mapping) or not {"model", "text"} <= set(response):
        raise RatingError(f"{place}: needs 'model' and 'text', has {_names(response)}")
    unknown = sorted(set(response) - {"model", "text", "generation"})
    if unknown:
        raise RatingError(f"{place}: {unknown[0]!r} is not known here; put it into 'generation'")
    model, text = response["model"], response["text"]
    if not isinstance(model, str) or not model.strip():
        raise RatingError(f"{place}: 'model' is a reference such as 'wren', not {model!r}")
    if not isinstance(text, str):
        raise RatingError(f"{place}: 'text' is text, not {_names(text)}")
    if len(text) > _ANSWER_CHARACTERS:
        raise RatingError(f"{place}: {len(text)} characters; an answer has at most {_ANSWER_CHARACTERS}")
    stored, replaced = clean(text)
    return Candidate(
        model=clean(model).text,
        text=stored,
        generation=_json(response.get("generation") or {}, f"{place}, generation"),
        replaced=replaced,
        raw_hash=digest(text),
    )


def _json(value: Any, place: str) -> str:
    try:
        return canonical(clean_all(value)[0])
    except (TypeError, ValueError) as error:
        raise RatingError(f"{place}: must be plain JSON without NaN: {error}") from error


def _names(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(sorted(map(str, value)))
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return type(value).__name__ if not isinstance(value, str) else repr(value[:60])
