"""When a task that is not new is mixed in: once in each block of new ones, where a keyed hash says so."""

import math
from dataclasses import dataclass

from ftlab.ratings.batches import Batch
from ftlab.ratings.sides import pick

APART = 10
"""A repeat comes when so many other tasks lie between it and the first time, at least (R5)."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """One task mixed in for every 1/share new ones, at a place in each block that only the key knows.

    `what` keeps the places of repeats and gold tasks apart; nothing is due before new task number `first`.
    New tasks are counted for each rater, from 1. All answers take constant time, so that a rater's total is
    known at the first of a million tasks.
    """

    seed: str
    rater: str
    what: str
    share: float
    first: int = 1

    def is_due(self, new: int) -> bool:
        """Whether one follows new task number `new`."""
        return self.share > 0 and new >= self.first and self._due(self._block(new)) == new

    def between(self, after: int, upto: int) -> int:
        """How many follow the new tasks number `after` + 1 to `upto`."""
        return max(0, self._count(upto) - self._count(after)) if self.share > 0 else 0

    def _count(self, new: int) -> int:
        if new < self.first:
            return 0
        block = self._block(new)
        return block - self._block(self.first) + (self._due(block) <= new)

    def _due(self, block: int) -> int:
        start = max(self._end(block - 1) + 1, self.first)
        return start + pick(self.seed, self._end(block) - start + 1, self.what, self.rater, block)

    def _end(self, block: int) -> int:
        """The last new task of the block; -1 stands for the one before the first."""
        return math.floor((block + 1) / self.share + 1e-9)

    def _block(self, new: int) -> int:
        block = max(0, math.floor(new * self.share) - 1)
        while self._end(block) < new:
            block += 1
        return block


def golds(batch: Batch, rater: str) -> Mixing:
    """When this rater is asked a task with a known answer, where the batch has one left (R6)."""
    return Mixing(batch.seed, rater, "gold", batch.settings.gold)


def repeats(batch: Batch, rater: str) -> Mixing:
    """When this rater is asked something again, with the sides swapped (R5)."""
    return Mixing(batch.seed, rater, "repeat", batch.settings.repeats, first=APART + 1)
