"""What another process may want besides answers: each want with its message and its replies.

A message is {"want": name, "references": [one], ...}; numbers about text come back, and no text of a model's own.
"""

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ftlab.models.attending import attention
from ftlab.models.divergence import apart
from ftlab.models.features import features
from ftlab.models.model import count_tokens, load
from ftlab.models.references import Note
from ftlab.models.rewards import load_reward
from ftlab.models.token_scores import token_scores

Message = Mapping[str, Any]
Replies = Iterator[dict[str, Any]]
Want = Callable[[Message, Note, threading.Event], Replies]


def _tokens(message: Message, note: Note, _: threading.Event) -> Replies:
    """{"prompts"} -> {"tokens": [...]} once: how many the model reads. No weights are loaded."""
    yield {"tokens": count_tokens(_one(message), message["prompts"], note)}


def _attention(message: Message, note: Note, cancelled: threading.Event) -> Replies:
    """{"prompts"} -> {"attention": [[text, 0 to 1] of each token of the rule]} for each of them."""
    for found in attention(load(_one(message), note), message["prompts"], cancelled):
        yield {"attention": found}


def _scores(message: Message, note: Note, cancelled: threading.Event) -> Replies:
    """{"rows": [{"prompt", "text"}]} -> {"scores": [...]} once, by a reward model."""
    yield {"scores": load_reward(_one(message), note).scores(_pairs(message), cancelled)}


def _features(message: Message, note: Note, cancelled: threading.Event) -> Replies:
    """{"rows": [{"prompt", "text"}]} -> {"places", "features": base64 of 32-bit floats} until all have come."""
    for places, batch in features(load(_one(message), note), _pairs(message), cancelled):
        data = base64.b64encode(batch.numpy().astype("<f4").tobytes()).decode("ascii")
        yield {"places": places, "features": data}


def _token_scores(message: Message, note: Note, cancelled: threading.Event) -> Replies:
    """{"rows": [{"ids"}]} -> {"log_probs", "candidates"} for each of them; see `token_scores`."""
    yield from token_scores(load(_one(message), note), [row["ids"] for row in message["rows"]], cancelled)


def _divergence(message: Message, note: Note, cancelled: threading.Event) -> Replies:
    """{"teacher", "rows": [{"prompt", "teacher_prompt", "text"}]} -> {"places", "forward", "reverse"}; see `scoring.apart`."""
    pairs = zip(message["rows"], _pairs(message), strict=True)
    asked = [(row["teacher_prompt"], *pair) for row, pair in pairs]
    student, teacher = _one(message), message["teacher"]
    for places, found in apart(load(teacher, note), load(student, note), asked, cancelled):
        forward, reverse = [one.forward for one in found], [one.reverse for one in found]
        yield {"places": places, "forward": forward, "reverse": reverse}


WANTS: dict[str, Want] = {
    "attention": _attention,
    "divergence": _divergence,
    "features": _features,
    "scores": _scores,
    "token_scores": _token_scores,
    "tokens": _tokens,
}


def _one(message: Message) -> str:
    (reference,) = message["references"]
    return str(reference)


def _pairs(message: Message) -> list[tuple[Any, str]]:
    return [(row["prompt"], row["text"]) for row in message["rows"]]
