"""Opinions from elsewhere: on which answers, by whom and what, and the parts that every shape is read with.

Rating tools tell neither what a field means nor how long a scale is; where the names of the fields do not
tell it, `Fields` does.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ftlab.errors import RatingError
from ftlab.ratings.exchange.records import Record
from ftlab.ratings.tasks import ANSWERS

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a foreign record hold what, where their names do not tell.

    prompt: the field with the prompt. answers: the fields with the answers, in their order. scale: the number
    of points of a rating (1 to `scale`), which becomes 1 to 7. words: what labels mean, such as {"helpful":
    "up", "Response A": "first"}; up, down, first, second, tie or both_bad. questions: only the answers to these
    questions are taken (Argilla's questions, Label Studio's control tags); None is all of them.
    """

    prompt: str | None = None
    answers: Sequence[str] | None = None
    scale: int = 5
    words: Mapping[str, str] = field(default_factory=dict)
    questions: Sequence[str] | None = None

    def asks(self, question: Any) -> bool:
        """Whether the answers to this question are taken."""
        return self.questions is None or question in self.questions


@dataclass(slots=True)
class Heard:
    """One opinion as it was found: on which answers, by whom, and what.

    said: choice (first, second, tie, both_bad) and strength; ranks by answer; thumb, likert; text; labels.
    rater: the name in the source, None where it names none; kind: what kind of rater that is.
    """

    mode: str
    prompt: Any
    responses: list[Record]
    said: Record
    rater: str | None = None
    kind: str = "replay"
    comment: str = ""
    shown_ms: int | None = None


def messages_of(value: Any, key: str) -> list[Record]:
    """A list of messages in role and content; RatingError that names `key` and the message."""
    if not isinstance(value, list) or not value:
        raise RatingError(f"{key!r} is a list of messages, and not empty")
    return [
        _message(message, f"message {number} of {key!r}") for number, message in enumerate(value, start=1)
    ]


def _message(message: Any, where: str) -> Record:
    if not isinstance(message, dict):
        raise RatingError(f"{where} is {type(message).__name__}, not a role and its content")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    role = _ROLES.get(str(role), role)
    if role not in ("system", "user", "assistant", "tool"):
        raise RatingError(f"{where} has the role {role!r}: system, user, assistant or tool was expected")
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        content = "".join(str(part.get("text") or "") for part in content)
    if not isinstance(content, str):
        raise RatingError(f"{where} has no text in 'content'")
    more = {key for key, each in message.items() if each not in (None, [], "")}
    unknown = sorted(more - {"role", "content", "from", "value", "name", "weight"})
    if unknown:
        raise RatingError(f"{where} has {unknown[0]!r}, for which there is no place in a prompt here")
    return {"role": role, "content": content}


def first_of(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these names under which the record holds something."""
    return next((name for name in names if record.get(name) is not None), None)


def number(value: Any) -> float | None:
    """A finite number, written as text perhaps; None where it is none."""
    try:
        found = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def list_of(value: Any, what: str) -> list[Any]:
    """A list, empty for null; RatingError that says what should be one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise RatingError(f"{what} is {type(value).__name__}, not a list")
    return list(value)


def ranked(
    prompt: Any,
    responses: list[Record],
    order: Sequence[float | None],
    rater: str | None,
    kind: str,
) -> Iterator[Heard]:
    """Answers in an order, low is best, None is "not ranked": one ranking, or pairs where they are too few."""
    fewest, most = ANSWERS["rank"]
    known = sorted({value for value in order if value is not None})
    ranks = [None if value is None else known.index(value) + 1 for value in order]
    if not known or len(responses) < 2:
        raise RatingError("fewer than two answers are ordered: there is nothing to prefer")
    if len(responses) > most:
        raise RatingError(f"{len(responses)} answers: at most {most} are ranked together")
    if len(responses) >= fewest:
        yield Heard("rank", prompt, responses, {"ranks": ranks}, rater, kind)
        return
    for one, two in combinations(range(len(responses)), 2):
        a, b = ranks[one], ranks[two]
        if a is None and b is None:
            continue
        choice = "tie" if a == b else "first" if b is None or (a is not None and a < b) else "second"
        said = {"choice": choice, "strength": 0 if choice == "tie" else 1}
        yield Heard("pair", prompt, [responses[one], responses[two]], said, rater, kind)
