"""Drawing tokens: one forward pass a step for all rows of a batch, each row with its own random numbers.

Axes: B row, T token, V vocabulary. A hand-written loop over the key-value cache, because on a model of a few
million parameters the steps around the forward pass cost `generate` a third to two thirds more time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ftlab.answers import Sampling
from ftlab.models.feeding import feed
from ftlab.models.soft import Soft


@dataclass(frozen=True)
class Row:
    """One answer to draw: the prompt's ids, its seed, how many tokens it may take, and what stands before it."""

    ids: list[int]
    seed: int
    room: int
    soft: Soft | None = None

    @property
    def length(self) -> int:
        """Tokens that the model reads before the answer, the soft prompt's included."""
        return len(self.ids) + (0 if self.soft is None else self.soft.tokens)


@dataclass(frozen=True)
class Drawn:
    """A token of one row; `last` where the row is done after it."""

    row: int
    token: int
    last: bool


Forward = Callable[..., Any]  # (rows still in the batch, keyword arguments of the model) -> its output


def draw(
    forward: Forward,
    model: Any,
    rows: Sequence[Row],
    sampling: Sampling,
    ends: frozenset[int],
) -> Iterator[list[Drawn]]:
    """Tokens of each step, one list a step, until every row has ended; close the iterator to cancel.

    A row's tokens do not depend on its neighbours but for the rounding of the matrix products, which may
    differ with the size of the batch in the last bit or so.
    """
    with torch.inference_mode():
        batch = _Batch(forward, model, rows)
        noises = {row.seed: torch.Generator().manual_seed(row.seed) for row in rows}
    taken = 0
    while batch.alive:
        with torch.inference_mode():
            logits_BV = batch.forward_step()
            noise_BV = None if sampling.temperature == 0 else _noise(noises, batch.seeds(), logits_BV)
            tokens = choose(logits_BV, sampling, noise_BV).tolist()
            taken += 1
            drawn = [
                Drawn(row, token, token in ends or taken >= rows[row].room)
                for row, token in zip(batch.alive, tokens, strict=True)
            ]
            batch.take([step.token for step in drawn], [not step.last for step in drawn])
        yield drawn


def choose(logits_BV: Tensor, sampling: Sampling, noise_BV: Tensor | None) -> Tensor:
    """One token a row: the largest logit, or with noise a draw at the sampling's temperature and top_p.

    The largest of logit / temperature + Gumbel noise is a draw from the softmax. Models that are given the
    same noise then differ where they disagree, and not by chance.
    """
    if noise_BV is None:
        return logits_BV.argmax(-1)
    scaled_BV = logits_BV / sampling.temperature
    if sampling.top_p < 1:
        sorted_BV, order_BV = scaled_BV.sort(-1, descending=True)
        probs_BV = sorted_BV.softmax(-1)
        beyond_BV = probs_BV.cumsum(-1) - probs_BV >= sampling.top_p  # those before it suffice already
        scaled_BV = scaled_BV.masked_fill(
            torch.zeros_like(beyond_BV).scatter(-1, order_BV, beyond_BV), -torch.inf
        )
    return (scaled_BV + noise_BV).argmax(-1)


def _noise(noises: dict[int, torch.Generator], seeds: list[int], logits_BV: Tensor) -> Tensor:
    """Gumbel noise, drawn on the CPU so that a seed means the same on every device; equal seeds share theirs."""
    width = logits_BV.shape[-1]
    drawn = {
        seed: -torch.empty(width).exponential_(generator=generator).log_()
        for seed, generator in noises.items()
        if seed in seeds
    }
    return torch.stack([drawn[seed] for seed in seeds]).to(logits_BV.device)


class _Batch:
    """The rows that are still drawn, left-padded, with their cache."""

    def __init__(self, forward: Forward, model: Any, rows: Sequence[Row]) -> None:
        self.forward, self.rows = forward, rows
        self.alive = list(range(len(rows)))
        self.cache = DynamicCache(config=model.config)
        fed = feed(model, [(row.ids, row.soft) for row in rows], "left", self.cache)
        self.inputs, self.mask_BT, self.positions_BT = fed.inputs, fed.mask, fed.positions

    def seeds(self) -> list[int]:
        return [self.rows[row].seed for row in self.alive]

    def forward_step(self) -> Tensor:
        """Logits of the next token, in 32 bits."""
        output = self.forward(self.alive, **self.inputs, logits_to_keep=1)
        logits_BV: Tensor = output.logits[:, -1].float()
        return logits_BV

    def take(self, tokens: list[int], keep: list[bool]) -> None:
        """Append a token to each row and drop the rows that are done."""
        ids_BT = torch.tensor(tokens, device=self.mask_BT.device)[:, None]
        self.positions_BT = self.positions_BT[:, -1:] + 1
        if not all(keep):
            places = torch.tensor(
                [i for i, kept in enumerate(keep) if kept], dtype=torch.long, device=self.mask_BT.device
            )
            self.alive = [row for row, kept in zip(self.alive, keep, strict=True) if kept]
            ids_BT, self.positions_BT = ids_BT[places], self.positions_BT[places]
            self.mask_BT = self.mask_BT[places]
            if self.alive:
                self.cache.batch_select_indices(places)
        self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(self.alive), 1)], -1)
        self.inputs = {
            "input_ids": ids_BT,
            "attention_mask": self.mask_BT,
            "position_ids": self.positions_BT,
            "past_key_values": self.cache,
            "use_cache": True,
        }
