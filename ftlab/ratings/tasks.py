"""What is rated: a prompt with its answers, checked on the way in and blind on the way out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ftlab.errors import RatingError
from ftlab.ratings.clean import canonical, clean, clean_all, digest
from ftlab.ratings.leaks import leaks
from ftlab.ratings.said import THUMBS, State

ROLES = ("system", "user", "assistant", "tool")
ANSWERS = {"pair": (2, 2), "single": (1, 1), "rank": (4, 9), "edit": (0, 1), "dialogue": (2, 2)}
"""The fewest and the most answers that a task of each mode has."""

_ANSWER_CHARACTERS = 5_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """What a rater sees of an assignment; nothing in it tells which model wrote what.

    `texts` are in the order shown, 0 (a demonstration is to be written) to 9; `left` and `right` are the
    first two. `position` counts what this rater was asked in this batch, from 1; gold tasks and repeats count
    like all others. `total` is what it comes to: all there is to ask now, and less where other raters take
    some of it. `settings` is what the page needs to know: scale, best, safety, labels, flags. `state` is what
    was said already, `prev_event_id` the event that the next one follows (an undo too).
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
    settings: dict[str, Any] = field(default_factory=dict)

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
            "settings": self.settings,
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


@dataclass(frozen=True, slots=True)
class Leak:
    """A row with an answer that names models or their makers: its index, from 0, and the names."""

    row: int
    names: tuple[str, ...]


class Added(int):
    """How many rows are new in the store, with those `refused` and the number `known` already.

    `leaked` are the rows whose answers say who wrote them: they were stored, and their raters are not blind.
    """

    refused: tuple[Refused, ...]
    known: int
    leaked: tuple[Leak, ...]

    def __new__(
        cls, count: int, refused: tuple[Refused, ...], known: int, leaked: tuple[Leak, ...] = ()
    ) -> Self:
        """An int with three facts more."""
        added = super().__new__(cls, count)
        added.refused = refused
        added.known = known
        added.leaked = leaked
        return added

    def __repr__(self) -> str:
        """In words."""
        words = [f"{int(self)} added"]
        if self.known:
            words.append(f"{self.known} known already")
        words += [f"row {item.row} refused: {item.reason}" for item in self.refused]
        words += [f"row {leak.row} is not blind: it says {', '.join(leak.names)}" for leak in self.leaked]
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
    """A row, fit to be stored. `gold` is what a careful rater says, as JSON; None where that is not known."""

    prompt: list[dict[str, str]]
    candidates: tuple[Candidate, ...]
    tags: str
    replaced: int
    raw_hash: str
    gold: str | None = None

    def leaks(self) -> tuple[str, ...]:
        """The names of models in the answers: with one of them there the rater is not blind (R2)."""
        models = [candidate.model for candidate in self.candidates]
        found = [name for candidate in self.candidates for name in leaks(candidate.text, models)]
        return tuple(dict.fromkeys(found))

    def identity(self, batch: str, mode: str) -> str:
        """The same for the same prompt, models and texts in the same batch, in whatever order they come."""
        answers = sorted([candidate.model, candidate.text] for candidate in self.candidates)
        return digest([batch, mode, self.prompt, answers])


def content_key(prompt: Sequence[Mapping[str, str]], texts: Iterable[str]) -> str:
    """sha256 of the prompt and its answers in any order."""
    return digest([[dict(message) for message in prompt], sorted(texts)])


def check_row(row: Mapping[str, Any], index: int, mode: str = "pair") -> Item | Refused:
    """The row as an item, or why it is no use; RatingError where it is not a row at all."""
    place = f"row {index}"
    fewest, most = ANSWERS[mode]
    needed = {"prompt", "responses"} if fewest else {"prompt"}
    if not isinstance(row, Mapping) or not needed <= set(row):
        raise RatingError(f"{place}: needs {' and '.join(map(repr, sorted(needed)))}, has {_names(row)}")
    unknown = sorted(set(row) - {"prompt", "responses", "tags", "gold"})
    if unknown:
        raise RatingError(f"{place}: {unknown[0]!r} is not known here; put it into 'tags'")
    prompt, in_prompt = _prompt(row["prompt"], place)
    responses = row.get("responses") or []
    if not isinstance(responses, list | tuple) or not fewest <= len(responses) <= most:
        many = {(2, 2): "two", (1, 1): "one"}.get((fewest, most), f"{fewest} to {most}")
        raise RatingError(f"{place}: 'responses' is a list of {many}, not {_names(responses)}")
    candidates = tuple(_candidate(response, f"{place}, response {n}") for n, response in enumerate(responses))
    item = Item(
        prompt=prompt,
        candidates=candidates,
        tags=_json(_tags(row, prompt, mode), f"{place}, tags"),
        replaced=in_prompt,
        raw_hash=digest(row["prompt"]),
        gold=None if row.get("gold") is None else _gold(row["gold"], mode, len(candidates), f"{place}, gold"),
    )
    if not any(message["content"].strip() for message in prompt):
        return Refused(index, "the prompt is empty")
    if most > 1 and len({candidate.text.strip() for candidate in candidates}) == 1:
        how_many = "both" if len(candidates) == 2 else "all"
        return Refused(index, f"{how_many} answers are the same text: there is nothing to prefer")
    return item


def _tags(row: Mapping[str, Any], prompt: list[dict[str, str]], mode: str) -> Any:
    tags = row.get("tags") or {}
    if mode == "dialogue" and isinstance(tags, Mapping):
        return {"conversation": digest(prompt)[:16], "turn": 1} | dict(tags)
    return tags


def _gold(gold: Any, mode: str, answers: int, place: str) -> str:
    """What the rater should say, by the order of `responses`."""
    keys = {"pair": ["choice"], "dialogue": ["choice"], "single": ["likert", "thumb"], "rank": ["ranks"]}.get(
        mode
    )
    if keys is None:
        raise RatingError(f"{place}: mode {mode!r} has no known answers")
    if not isinstance(gold, Mapping) or not gold or not set(gold) <= set(keys):
        raise RatingError(f"{place}: is an object with {' or '.join(map(repr, keys))}, not {_names(gold)}")
    ranks = gold.get("ranks")
    fits = (
        gold.get("choice", "tie") in ("first", "second", "tie", "both_bad"),
        gold.get("thumb", "up") in THUMBS,
        gold.get("likert", 1) in range(1, 8),
        mode != "rank" or (isinstance(ranks, list) and len(ranks) == answers and _are_ranks(ranks)),
    )
    if not all(fits):
        raise RatingError(
            f"{place}: {dict(gold)!r} cannot be said: choice is first, second, tie or both_bad, thumb up or down, "
            f"likert 1 to 7, ranks {answers} numbers from 1, the best, or null"
        )
    return _json(gold, place)


def _are_ranks(ranks: list[Any]) -> bool:
    known = [rank for rank in ranks if rank is not None]
    return bool(known) and all(type(rank) is int and 1 <= rank <= len(ranks) for rank in known)


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
