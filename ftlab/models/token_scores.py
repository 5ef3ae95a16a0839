"""How surprised a model is by each token of whole rows, as they are trained on.

Axes: B row, T token, V vocabulary, K candidate.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ftlab.errors import DataError
from ftlab.models.feeding import feed
from ftlab.models.model import IN_USE, Model

CANDIDATES = 5
_LOGIT_BYTES = 128 << 20


def token_scores(
    model: Model, rows: Sequence[Sequence[int]], cancelled: threading.Event | None = None
) -> Iterator[dict[str, Any]]:
    """For each row of token ids, in order, {"log_probs": [T - 1], "candidates": [T - 1 of [[text, log-probability], …]]}.

    In nats, of the second token on: nothing predicts the first. Candidates are the likeliest tokens in that place.
    Raises DataError where a row is longer than the model reads.
    """
    soft = 0 if model.soft is None else model.soft.tokens
    longest = max(map(len, rows), default=1)
    if longest + soft > model.base.context:
        raise DataError(
            f"a row of {longest + soft} tokens: {model.reference} reads {model.base.context}; choose a smaller max_length"
        )
    size = max(1, _LOGIT_BYTES // (4 * longest * model.base.vocabulary))
    for start in range(0, len(rows), size):
        if cancelled is not None and cancelled.is_set():
            return
        with IN_USE, torch.inference_mode():
            yield from _batch(model, [list(row) for row in rows[start : start + size]])


def _batch(model: Model, rows: list[list[int]]) -> Iterator[dict[str, Any]]:
    forward = model.base.forward_for([model.adapter] * len(rows))
    fed = feed(model.base.model, [(ids, model.soft) for ids in rows], "right")
    logits_BTV = forward(range(len(rows)), **fed.inputs).logits
    for logits_TV, start, ids in zip(logits_BTV, fed.starts, rows, strict=True):
        scores_TV = logits_TV[start : start + len(ids) - 1].float().log_softmax(-1)
        next_T = torch.tensor(ids[1:], device=scores_TV.device, dtype=torch.long)
        best = scores_TV.topk(min(CANDIDATES, scores_TV.shape[-1]), dim=-1)
        yield {
            "log_probs": scores_TV.gather(-1, next_T[:, None])[:, 0].tolist(),
            "candidates": [
                [[_text(model, token), value] for token, value in zip(tokens, values, strict=True)]
                for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ],
        }


def _text(model: Model, token: int) -> str:
    text: Any = model.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(text)
