"""What models make of answers that are there already: scores, features, and how far two models are apart.

The models run in another process, which is reached through `ftlab.warm`, as in `ftlab.answers`.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftlab.answers import as_error, as_messages
from ftlab.errors import DataError

if TYPE_CHECKING:
    import numpy as np

Note = Callable[[str], None]


def score(rows: Sequence[Mapping[str, Any]], reference: str, *, note: Note | None = None) -> list[float]:
    """A reward model's score of each {"prompt": text or messages, "text": the answer}, in their order.

    Higher is better; only differences between answers to one prompt mean anything. `reference` names a run of
    method "reward", or a folder of such a model. Raises ModelError where it is something else.
    """
    if not rows:
        return []
    found: list[float] = []
    for line in _replies("scores", rows, reference, note):
        found += line.get("scores", [])
    return found


def features(
    rows: Sequence[Mapping[str, Any]], reference: str, *, note: Note | None = None
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """What a model that answers makes of each {"prompt", "text"}: one row of numbers an answer.

    Two hidden states (at the answer's last token, and the mean over its tokens), then the sum, mean and least of
    its tokens' log-probabilities in nats, and their count.
    """
    import numpy as np

    parts: list[tuple[list[int], Any]] = []
    for line in _replies("features", rows, reference, note) if rows else ():
        if "features" in line:
            values = np.frombuffer(base64.b64decode(line["features"]), dtype="<f4")
            parts.append((line["places"], values.reshape(len(line["places"]), -1)))
    width = parts[0][1].shape[1] if parts else 0
    found = np.zeros((len(rows), width), dtype=np.float32)
    for places, values in parts:
        found[places] = values
    return found


@dataclass(frozen=True)
class Apart:
    """How far a student is from a teacher over the tokens of one answer, in nats, both ways round."""

    forward: list[float]
    """KL(teacher‖student) of each token: high where the student misses what the teacher does."""
    reverse: list[float]
    """KL(student‖teacher) of each token: high where the student does what the teacher would not."""


def apart(
    rows: Sequence[Mapping[str, Any]],
    teacher: str,
    student: str,
    *,
    system: str | None = None,
    note: Note | None = None,
) -> list[Apart]:
    """The divergence of two models at each token of each {"prompt": text or messages, "text": the answer}.

    With `system`, the teacher reads it as the system message, before what the prompt's own says, and the student
    does not: what context distillation takes away. Raises ConfigError for models of different tokenizers.
    """
    checked = list(_checked(rows))
    for row in checked:
        row["teacher_prompt"] = row["prompt"] if system is None else _behind(system, row["prompt"])
    found: dict[int, Apart] = {}
    for line in _lines("divergence", checked, student, note, teacher=teacher) if rows else ():
        if "forward" in line:
            parts = zip(line["places"], line["forward"], line["reverse"], strict=True)
            found |= {place: Apart(forward, reverse) for place, forward, reverse in parts}
    return [found[place] for place in sorted(found)]


def mean_kl(found: Sequence[Apart]) -> float:
    """KL(teacher‖student) a token, in nats, every token alike; NaN where there is none."""
    tokens = [value for one in found for value in one.forward]
    return sum(tokens) / len(tokens) if tokens else float("nan")


def _behind(system: str, messages: list[Any]) -> list[Any]:
    """The conversation behind a system message."""
    own = messages[0]["content"] if messages[0]["role"] == "system" else None
    text = system if own is None else f"{system}\n\n{own}"
    return [{"role": "system", "content": text}, *messages[0 if own is None else 1 :]]


def token_scores(
    rows: Sequence[Sequence[int]], reference: str, *, note: Note | None = None
) -> list[dict[str, Any]]:
    """What a model expects of each row of token ids: {"log_probs", "candidates"}, one entry a token but the first.

    Log-probabilities are in nats; candidates are the five likeliest tokens in that place, [text, log-probability].
    Raises DataError where a row is longer than the model reads.
    """
    whole = [{"ids": list(row)} for row in rows]
    return [
        {"log_probs": line["log_probs"], "candidates": line["candidates"]}
        for line in (_lines("token_scores", whole, reference, note) if rows else ())
        if "log_probs" in line
    ]


def _replies(
    wanted: str, rows: Sequence[Mapping[str, Any]], reference: str, note: Note | None
) -> Iterator[dict[str, Any]]:
    return _lines(wanted, list(_checked(rows)), reference, note)


def _lines(
    wanted: str, rows: list[dict[str, Any]], reference: str, note: Note | None, **more: Any
) -> Iterator[dict[str, Any]]:
    from ftlab import warm

    message = {"do": "answer", "want": wanted, "rows": rows, "references": [reference], **more}
    for line in warm.request(message):
        if "error" in line:
            raise as_error(line)
        if "note" in line and note is not None:
            note(str(line["note"]))
        yield line


def _checked(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for place, row in enumerate(rows):
        text = row.get("text")
        if not isinstance(text, str) or "prompt" not in row:
            raise DataError(f'row {place} has {sorted(row)}; wanted {{"prompt": ..., "text": the answer}}')
        yield {"prompt": as_messages(row["prompt"]), "text": text}
