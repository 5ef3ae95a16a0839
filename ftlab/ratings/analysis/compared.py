"""Which models were compared with which, item by item: the tables that rankings are made of.

Items at which the same was said of the same models are one kind with a multiplicity, so that drawing a million
items again is drawing from a few thousand kinds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ftlab.ratings.analysis import bias, ranking
from ftlab.ratings.analysis.statistic import DRAWS, Floats, Integers, Statistic, resample, undefined
from ftlab.ratings.standing import Standing

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Lengths:
    """Kinds of items by models, gap and what was said: a row as `ranking.length_controlled` takes it."""

    first: Integers
    second: Integers
    gap: Floats
    won: Floats
    lost: Floats
    times: Integers
    decided: tuple[Integers, Integers]
    """Answers for the first and for the second of one item, without ties."""


@dataclass(frozen=True)
class Compared:
    """Comparisons of models, by kinds of items: row p of `cells` is what an item of kind p adds to the table."""

    models: tuple[str, ...]
    cells: "csr_matrix"
    times: Integers
    lengths: Lengths | None

    @property
    def table(self) -> Floats:
        size = len(self.models)
        table: Floats = np.asarray(self.times @ self.cells).reshape(size, size)
        return table

    def resampled(self, draws: int = DRAWS) -> Floats:
        """Tables of drawn items, shape (D, K, K)."""
        size = len(self.models)
        blocks = [np.asarray(block @ self.cells) for block in resample(self.times, draws)]
        return np.concatenate(blocks).reshape(-1, size, size)


def rankings(found: Compared) -> tuple[ranking.Ranking, ranking.Ranking, ranking.Ranking | None]:
    """Plain, with length taken out, and regularised where the plain one is undefined and may be so."""
    models, table = found.models, found.table
    if reason := ranking.why_undefined(models, table):
        refused = ranking.Ranking((), f"undefined: {reason}", n=float(table.sum()))
        gentle = None
        if len(models) > 1 and table.any() and "never compared" not in reason:
            gentle = ranking.bradley_terry(models, table, alpha=ranking.GENTLE, resampled=found.resampled())
        return refused, refused, gentle
    plain = ranking.bradley_terry(models, table, resampled=found.resampled())
    by = found.lengths
    if by is None:
        return plain, ranking.Ranking((), "undefined: lengths are compared in pairs only", n=plain.n), None
    controlled = ranking.length_controlled(models, by.first, by.second, by.gap, by.won, by.lost, by.times)
    return plain, controlled, None


def length(found: Compared) -> tuple[Statistic, Statistic]:
    """How often the longer answer is preferred, and the coefficient of length alone."""
    by = found.lengths
    if by is None:
        reason = "lengths are compared in pairs only"
        return undefined("longer preferred", reason), undefined("coefficient of length", reason)
    return bias.longer(by.gap, *by.decided, by.times), ranking.length_coefficient(
        by.gap, by.won, by.lost, by.times
    )


def _numbered(s: Standing, rows: Integers) -> tuple[tuple[str, ...], list[list[int]]]:
    """The models of these rows, and each lineup as their places."""
    there = set(np.unique(s.lineup[rows]).tolist())
    models = tuple(sorted({model for number in there for model in s.lineups[number]}))
    place = {model: number for number, model in enumerate(models)}
    return models, [[place.get(model, 0) for model in lineup] for lineup in s.lineups]


def of_pairs(s: Standing, rows: Integers) -> Compared:
    models, lineups = _numbered(s, rows)
    item, code = s.ordinal[rows], s.code[rows]
    top = int(item.max(initial=0)) + 1
    up = np.bincount(item[(code > 0) & (code < 9)], minlength=top)
    down = np.bincount(item[code < 0], minlength=top)
    tied = np.bincount(item[(code == 0) | (code == 9)], minlength=top)
    lineup, gap = np.zeros(top, np.int64), np.zeros(top, np.int64)
    lineup[item], gap[item] = s.lineup[rows], s.gap[rows]
    said = np.stack([up, down, tied])
    base = int(said.max(initial=0)) + 1
    keys = (((lineup * 201 + gap + 100) * base + up) * base + down) * base + tied
    keys, times = np.unique(keys[said.any(axis=0)], return_counts=True)
    pairs = np.array([lineup[:2] if len(lineup) > 1 else [0, 0] for lineup in lineups] or [[0, 0]])
    up, down, tied = keys // base**2 % base, keys // base % base, keys % base
    gap, lineup = keys // base**3 % 201 - 100, keys // base**3 // 201
    first, second = pairs[lineup].T
    # Whose answer is how long is nothing to the table of the models: fewer kinds of items, quicker draws.
    alike, kind = np.unique(lineup * base**3 + keys % base**3, return_inverse=True)
    a, b = pairs[alike // base**3].T
    ties = alike % base / 2
    won, lost = alike // base**2 % base + ties, alike // base % base + ties
    cells = _cells(np.arange(alike.size), a, b, won, lost, (alike.size, len(models)))
    counts = np.bincount(kind, weights=times, minlength=alike.size).astype(np.int64)
    return Compared(
        models,
        cells,
        counts,
        Lengths(first, second, gap / 100, up + tied / 2, down + tied / 2, times, (up, down)),
    )


def _cells(
    item: Integers, a: Integers, b: Integers, won: Floats, lost: Floats, shape: tuple[int, int]
) -> "csr_matrix":
    """What an item adds to the table of models, which lies flat in its columns."""
    from scipy.sparse import csr_matrix

    items, models = shape
    apart = a != b  # two answers of one model tell nothing about models
    item, a, b = item[apart], a[apart], b[apart]
    values = np.concatenate([won[apart], lost[apart]])
    places = np.concatenate([item, item]), np.concatenate([a * models + b, b * models + a])
    return csr_matrix((values, places), shape=(items, models**2))


@dataclass(frozen=True)
class RankedPairs:
    """The pairs within rankings: a row for each two answers of which a rater ordered at least one."""

    row: Integers
    unit: Integers
    """A number for each (task, pair of slots)."""
    bundle: Integers
    """The task of each unit."""
    sign: Integers
    """1 where the lower slot is better."""
    slots: tuple[Integers, Integers]


def ranked_pairs(s: Standing, rows: Integers) -> RankedPairs:
    parts: list[tuple[Integers, ...]] = [tuple(np.zeros(0, np.int64) for _ in range(4))]
    size = np.array([len(lineup) for lineup in s.lineups] or [0])[s.lineup[rows]]
    for width in np.unique(size).tolist():
        own = rows[size == width]
        told = np.array([s.details[row] for row in own.tolist()], dtype=f"S{2 * width}")
        digits = told.view(np.uint8).reshape(own.size, -1)[:, : 2 * width - 1 : 2].astype(np.int64)
        ranks = np.where(digits == ord("-"), 99, digits - ord("0"))
        for i in range(width):
            for j in range(i + 1, width):
                said = (ranks[:, i] != 99) | (ranks[:, j] != 99)
                sign = np.sign(ranks[:, j] - ranks[:, i])[said]
                parts.append((own[said], sign, np.full(sign.size, i), np.full(sign.size, j)))
    row, sign, low, high = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    unit = (s.ordinal[row] * 9 + low) * 9 + high
    return RankedPairs(row, unit, np.arange(int(unit.max(initial=0)) + 1) // 81, sign, (low, high))


def of_ranks(s: Standing, rows: Integers) -> Compared:
    models, lineups = _numbered(s, rows)
    pairs = ranked_pairs(s, rows)
    places = np.zeros((len(lineups) + 1, 9), np.int64)
    for number, lineup in enumerate(lineups):
        places[number, : len(lineup)] = lineup
    a, b = (places[s.lineup[pairs.row], slot] for slot in pairs.slots)
    tasks, item = np.unique(s.ordinal[pairs.row], return_inverse=True)
    cells = _cells(item, a, b, (1 + pairs.sign) / 2, (1 - pairs.sign) / 2, (tasks.size, len(models)))
    marks = np.random.default_rng(0).integers(1, 2**40, len(models) ** 2)  # tasks alike have one sum of them
    _, kept, times = np.unique(cells @ marks, return_index=True, return_counts=True)
    return Compared(models, cells[kept], times.astype(np.int64), None)
