"""Answers drawn while a method runs: many prompts at once, each with random numbers of its own.

A row's numbers follow from its seed alone, so that a run that is resumed draws what it would have drawn, and the
training's own random state is left as it is.
"""

import hashlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers import DynamicCache

from ftlab.answers import Sampling
from ftlab.methods import divergences
from ftlab.models.decoding import Row, draw

ROWS = 64  # beyond this, a step's time grows with the rows as much as without a batch

Forward = Callable[..., Any]
"""(rows still in the batch, a causal model's keyword arguments) -> its output."""


def seed_of(*parts: object) -> int:
    """The same parts give the same seed, on every machine; 0 to 2^63."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def ends_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(int(end) for end in ends if isinstance(end, int))


def context_of(model: Any) -> int:
    """Longest text that the model reads, in tokens."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)


def answers(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    rooms: Sequence[int],
    seeds: Sequence[int],
    temperature: float,
    ends: frozenset[int],
    forward: Callable[[], Forward] | None = None,
) -> list[list[int]]:
    """The ids of an answer to each prompt, at most `rooms` tokens, with the end token where it was drawn.

    Drawn in batches of like length. `forward()` gives what is drawn from, anew for each batch; by default the model.
    """
    found: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    sampling = Sampling(temperature=temperature, top_p=1.0)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            rows = [Row(prompts[place], seeds[place], rooms[place]) for place in places]
            source = forward() if forward else _plain(model)
            for step in draw(source, model, rows, sampling, ends):
                for drawn in step:
                    found[places[drawn.row]].append(drawn.token)
    finally:
        model.train(was_training)
    return found


def _plain(model: Any) -> Forward:
    return lambda _, **inputs: model(**inputs)


class Mixture:
    """Two models drawn from as one: `share` of the teacher's odds, the rest of the student's (Gu et al. 2023).

    Serves one batch: the teacher's keys and values are kept here, and follow the rows that are left.
    """

    def __init__(self, student: Any, teacher: Forward, config: Any, share: float, temperature: float) -> None:
        self._student, self._teacher = student, teacher
        self._share, self._temperature = share, temperature
        self._cache = DynamicCache(config=config)
        self._rows: list[int] | None = None

    def __call__(self, rows: list[int], *, past_key_values: Any, **inputs: Any) -> Any:
        """Logits whose softmax is the mixture at the temperature."""
        if self._rows is not None and len(rows) < len(self._rows):
            kept = [place for place, row in enumerate(self._rows) if row in set(rows)]
            self._cache.batch_select_indices(torch.tensor(kept, device=inputs["input_ids"].device))
        self._rows = list(rows)
        ours = self._log_probs(self._student(past_key_values=past_key_values, **inputs))
        if not self._share:
            return SimpleNamespace(logits=ours)
        theirs = self._log_probs(self._teacher(rows, past_key_values=self._cache, **inputs))
        width = min(ours.shape[-1], theirs.shape[-1])
        return SimpleNamespace(
            logits=divergences.mixture(theirs[..., :width], ours[..., :width], self._share)
        )

    def _log_probs(self, output: Any) -> Any:
        return (output.logits[:, -1:].float() / self._temperature).log_softmax(-1)


def room(longest: int, limit: int, *taken: int) -> int:
    """Tokens that an answer may have: `longest`, or what the prompts leave of `limit`; below 1, there is none."""
    return min(longest, limit - max(taken, default=0))
