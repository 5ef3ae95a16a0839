"""How far a student's odds of every next token are from a teacher's, over the same answers.

Axes: B row, T token of an answer, V vocabulary.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ftlab.answers import Prompt
from ftlab.errors import ConfigError
from ftlab.models.feeding import feed
from ftlab.models.model import IN_USE, Model

_LOGIT_BYTES = 64 << 20  # of a batch, for each of the two


@dataclass(frozen=True)
class Apart:
    """KL of each token of one answer, in nats, both ways round."""

    forward: list[float]
    """KL(teacher‖student)."""
    reverse: list[float]
    """KL(student‖teacher)."""


def apart(
    teacher: Model,
    student: Model,
    asked: Sequence[tuple[Prompt, Prompt, str]],
    cancelled: threading.Event | None = None,
) -> Iterator[tuple[list[int], list[Apart]]]:
    """(places, what was found there), a batch at a time, of (prompt for the teacher, for the student, answer).

    Raises ConfigError where the two have different tokenizers: their odds are of different things.
    """
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise ConfigError(
            f"{teacher.reference} and {student.reference} have different tokenizers, so their odds of a token cannot "
            "be compared; take two models of one family"
        )
    theirs = teacher.read([(prompt, text) for prompt, _, text in asked])
    ours = student.read([(prompt, text) for _, prompt, text in asked])
    longest = max((len(ids) + len(answer) for ids, answer in theirs + ours), default=1)
    width = max(teacher.base.vocabulary, student.base.vocabulary)
    size = max(1, _LOGIT_BYTES // (4 * longest * width))
    for start in range(0, len(asked), size):
        if cancelled is not None and cancelled.is_set():
            return
        places = list(range(start, min(start + size, len(asked))))
        with IN_USE, torch.inference_mode():
            pairs = zip(
                _log_probs(teacher, theirs[start : start + size]),
                _log_probs(student, ours[start : start + size]),
                strict=True,
            )
            yield places, [_apart(one, other) for one, other in pairs]


def _log_probs(model: Model, encoded: Sequence[tuple[list[int], list[int]]]) -> list[Tensor]:
    """TV of each answer."""
    forward = model.base.forward_for([model.adapter] * len(encoded))
    fed = feed(model.base.model, [(ids + answer, model.soft) for ids, answer in encoded], "right")
    logits_BTV = forward(range(len(encoded)), **fed.inputs).logits
    found = []
    for logits_TV, start, (ids, answer) in zip(logits_BTV, fed.starts, encoded, strict=True):
        first = start + len(ids) - 1
        found.append(logits_TV[first : first + len(answer)].float().log_softmax(-1))
    return found


def _apart(log_P_TV: Tensor, log_Q_TV: Tensor) -> Apart:
    width = min(log_P_TV.shape[-1], log_Q_TV.shape[-1])
    log_P_TV, log_Q_TV = log_P_TV[:, :width], log_Q_TV[:, :width]
    difference = log_P_TV - log_Q_TV
    return Apart(
        (log_P_TV.exp() * difference).sum(-1).tolist(),
        (log_Q_TV.exp() * -difference).sum(-1).tolist(),
    )
