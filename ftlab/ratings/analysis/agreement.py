"""How far raters agree: percent, Cohen's kappa, Krippendorff's alpha, Gwet's AC, and what people reach.

The figures are those of `krippendorff` and scikit-learn, to which the tests hold them. These libraries take a
list of items and give one number; here a number is a function of sums over patterns of items, so that the
1,000 draws of an interval over a million items take milliseconds.

V is the number of values that can be said, P the number of patterns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ftlab.interval import wilson
from ftlab.ratings.analysis.statistic import Floats, Integers, Statistic, estimate, undefined

Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["linear", "quadratic"] | None

CODES = (*range(-4, 5), 9)
"""What can be said of a pair, as `Standing.code` has it; below the values that it is counted as."""
CHOICE = {float(code): (9.0 if code == 9 else float(np.sign(code))) for code in CODES}
THREE = {code: (0.0 if value == 9 else value) for code, value in CHOICE.items()}
SEVEN = {float(c): (0.0 if c == 9 else float(np.sign(c) * (max(1, abs(c)) - 1))) for c in CODES}
"""Llama 2's seven points: "negligibly better" of either answer and a tie are one point, the middle."""
NEITHER = (0.0, 9.0)

Z_95 = 1.959963984540054
_EXACT_BITS = 53  # whole numbers that a float holds exactly


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What people reached on a like task: a figure to stand beside ours, never a bar to pass."""

    name: str
    measure: Literal["percent", "percent without ties", "ac2", "kappa", "alpha", "consistency"]
    low: float
    high: float
    source: str


CEILINGS = (
    Ceiling("InstructGPT, training labelers", "percent", 0.711, 0.741, "Ouyang et al. 2022: 72.6 ± 1.5 %"),
    Ceiling("InstructGPT, held-out labelers", "percent", 0.760, 0.786, "Ouyang et al. 2022: 77.3 ± 1.3 %"),
    Ceiling("Stiennon et al., researchers", "percent", 0.69, 0.77, "as quoted by Ouyang et al. 2022: 73 ± 4 %"),
    Ceiling("Anthropic HH, researchers and crowd", "percent", 0.63, 0.63, "Bai et al. 2022, from summaries: about 63 %"),
    Ceiling("MT-bench, humans", "percent", 0.63, 0.63, "Zheng et al. 2023: 63 %, chance 33 %"),
    Ceiling("MT-bench, humans", "percent without ties", 0.81, 0.81, "Zheng et al. 2023: 81 %, chance 50 %"),
    Ceiling("Llama 2 helpfulness, 7 points", "ac2", 0.37, 0.55, "Touvron et al. 2023: 0.37 to 0.55, low where models are close"),
    Ceiling("HelpSteer2, before and after filtering", "kappa", 0.465, 0.706, "Wang et al. 2024, from summaries: weighted"),
    Ceiling("Krippendorff's bar", "alpha", 0.667, 0.8, "Krippendorff 2004: 0.8; 0.667 the lowest conceivable limit"),
    Ceiling("language models as judges", "consistency", 0.65, 0.65, "Zheng et al. 2023: GPT-4, sides swapped, about 65 %"),
)  # fmt: skip
"""Figures of persons from the literature, for the reader to compare; agreement on matters of taste is low."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Distinct ways in which items were answered: how many raters said each value, and of how many items."""

    values: Floats
    """Shape (V,), ascending; the numbers that linear, quadratic and interval weights measure between."""
    counts: Integers
    """Shape (P, V)."""
    times: Integers
    """Shape (P,)."""
    bundles: tuple[Any, Integers] | None = None
    """Where several answers belong to one item, as the pairs of a ranking do: a sparse matrix of shape (B, P),
    how often each pattern comes in an item, and how many items are like that, shape (B,)."""

    @classmethod
    def of_matrix(cls, matrix: npt.ArrayLike, values: Sequence[float] | None = None) -> "Patterns":
        """From a matrix of shape (raters, items); NaN is "not said". values: the domain, else what occurs."""
        said = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
        rater, item = np.nonzero(~np.isnan(said))
        return cls.of_rows(item, said[rater, item], values)

    @classmethod
    def of_rows(
        cls,
        item: npt.ArrayLike,
        said: npt.ArrayLike,
        values: Sequence[float] | None = None,
        *,
        bundle: npt.ArrayLike | None = None,
    ) -> "Patterns":
        """From a row an answer: the item's number (0 or more, not too sparse) and what was said of it.

        bundle: of each item number, which items are to be drawn together.
        """
        items, answers = np.asarray(item, dtype=np.int64), np.asarray(said, dtype=np.float64)
        domain = np.unique(answers) if values is None else np.asarray(sorted(values), dtype=np.float64)
        if not items.size:
            return cls(domain, np.zeros((0, domain.size), np.int64), np.zeros(0, np.int64))
        column = np.searchsorted(domain, answers)
        most = int(np.bincount(items).max())
        digits = max(1, most).bit_length()
        if digits * domain.size <= _EXACT_BITS:  # an item's counts are the digits of one number
            keys = np.bincount(items, weights=np.ldexp(1.0, digits * column)).astype(np.int64)
            there = np.asarray(keys > 0)
            found, place, times = np.unique(keys[there], return_inverse=True, return_counts=True)
            counts = found[:, None] >> (digits * np.arange(domain.size)) & ((1 << digits) - 1)
        else:
            width = domain.size
            table = np.bincount(items * width + column, minlength=(items.max() + 1) * width).reshape(
                -1, width
            )
            there = np.asarray(table.any(axis=1))
            counts, place, times = np.unique(table[there], axis=0, return_inverse=True, return_counts=True)
        bundles = None if bundle is None else _bundles(np.asarray(bundle)[: there.size][there], place.ravel())
        return cls(domain, counts.astype(np.int64), times.astype(np.int64), bundles)

    def mapped(self, to: Mapping[float, float]) -> "Patterns":
        """With other values; those that `to` does not name are left out."""
        kept = [column for column, value in enumerate(self.values) if float(value) in to]
        domain = np.unique([to[float(self.values[column])] for column in kept])
        counts = np.zeros((len(self.times), domain.size), np.int64)
        for column in kept:
            counts[:, np.searchsorted(domain, to[float(self.values[column])])] += self.counts[:, column]
        return Patterns(domain, counts, self.times, self.bundles)

    def drawn(self, features: Floats) -> tuple[Floats, Integers]:
        """What is drawn together adds up: features of shape (P, F) as `estimate` takes them, and their times."""
        if self.bundles is None:
            return features, self.times
        matrix, times = self.bundles
        return matrix @ features, times

    @property
    def items(self) -> int:
        """Items that at least two raters answered."""
        return int(self.times[self.counts.sum(axis=1) > 1].sum())


def _bundles(bundle: Integers, pattern: Integers) -> tuple[Any, Integers]:
    """Which patterns come together, each combination once; told apart by sums of random whole numbers."""
    from scipy.sparse import csr_matrix

    numbers, own = np.unique(bundle, return_inverse=True)
    marks = np.random.default_rng(0).integers(1, 2**44, int(pattern.max(initial=0)) + 1)
    sums = np.bincount(own, weights=marks[pattern].astype(np.float64), minlength=numbers.size)
    _, kept, times = np.unique(sums, return_index=True, return_counts=True)
    cells = (np.ones(own.size), (own, pattern))
    return csr_matrix(cells, shape=(numbers.size, marks.size))[kept], times.astype(np.int64)


Answers = Patterns | npt.ArrayLike
"""What the functions take: patterns, or a matrix of shape (raters, items) with NaN for "not said"."""


def _patterns(ratings: Answers) -> Patterns:
    return ratings if isinstance(ratings, Patterns) else Patterns.of_matrix(ratings)


def _nobody(name: str, patterns: Patterns) -> Statistic | None:
    if patterns.items:
        return None
    return undefined(name, "no item was answered by two raters")


def percent(ratings: Answers, *, without: Sequence[float] = (), name: str = "percent") -> Statistic:
    """The share of pairs of raters that say the same of an item, averaged over items (Fleiss 1971).

    without: values whose answers are left out, such as ties.
    """
    patterns = _patterns(ratings)
    if without:
        patterns = patterns.mapped({float(v): float(v) for v in patterns.values if v not in without})
    if nobody := _nobody(name, patterns):
        return nobody
    counts = patterns.counts.astype(np.float64)
    m = counts.sum(axis=1)
    is_shared = m > 1
    same = np.where(is_shared, (counts * (counts - 1)).sum(axis=1) / np.where(is_shared, m * (m - 1), 1), 0)
    return estimate(
        name,
        *patterns.drawn(np.stack([same, is_shared], axis=1).astype(np.float64)),
        lambda sums: sums[..., 0] / sums[..., 1],
        n=patterns.items,
        about="items with two raters or more",
    )


def weight_matrix(values: npt.ArrayLike, weights: Weights) -> Floats:
    """Agreement of two values from 0 to 1, shape (V, V): 1 on the diagonal, less with the distance."""
    domain = np.asarray(values, dtype=np.float64)
    if weights is None or domain.size < 2:
        return np.eye(domain.size)
    apart = np.abs(domain[:, None] - domain) / (domain[-1] - domain[0])
    return 1 - (apart if weights == "linear" else apart**2)


def confusion(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Integers]:
    """The values that occur, and how often the first rater said the row and the second the column."""
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    both = ~(np.isnan(one) | np.isnan(two))
    values = np.unique(np.concatenate([one[both], two[both]]))
    cells = np.searchsorted(values, one[both]) * values.size + np.searchsorted(values, two[both])
    return values, np.bincount(cells, minlength=values.size**2).reshape(values.size, values.size)


def cohen_kappa(
    a: npt.ArrayLike, b: npt.ArrayLike, weights: Weights = None, *, name: str = "Cohen's kappa"
) -> Statistic:
    """Agreement of two raters beyond what their own shares of each value would give (Cohen 1960, 1968).

    Items that one of them did not answer (NaN) are left out.
    """
    values, table = confusion(a, b)
    return kappa_of_table(table, values, weights, name=name)


def kappa_of_table(
    table: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    weights: Weights = None,
    *,
    name: str = "Cohen's kappa",
) -> Statistic:
    """The same from counts of shape (V, V): rows the first rater's values, columns the second's."""
    counts = np.asarray(table, dtype=np.int64)
    size = counts.shape[0]
    agreed = weight_matrix(np.arange(size) if values is None else values, weights)

    def kappa(cells: Floats) -> Floats:
        shares = (cells / cells.sum(axis=-1, keepdims=True)).reshape(*cells.shape[:-1], size, size)
        expected = shares.sum(axis=-1)[..., :, None] * shares.sum(axis=-2)[..., None, :]
        chance = (expected * agreed).sum(axis=(-2, -1))
        return _beyond((shares * agreed).sum(axis=(-2, -1)), chance)

    occupied = counts.ravel() > 0
    return estimate(
        name,
        np.eye(size * size)[occupied],
        counts.ravel()[occupied],
        kappa,
        reason="both raters always say the same one value",
        about="items that both raters answered",
    )


def krippendorff_alpha(ratings: Answers, level: Level = "nominal", *, name: str = "") -> Statistic:
    """One less the observed disagreement over that of answers dealt out at random (Krippendorff 2004).

    Any number of raters, any of them missing. level: which differences count: all alike, those of ranks, or
    the squares of those of numbers.
    """
    name = name or f"Krippendorff's alpha, {level}"
    patterns = _patterns(ratings)
    if nobody := _nobody(name, patterns):
        return nobody
    counts = patterns.counts.astype(np.float64)
    m = counts.sum(axis=1)
    size = counts.shape[1]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    coincidences = np.where((m > 1)[:, None, None], pairs / np.maximum(m - 1, 1)[:, None, None], 0)
    return estimate(
        name,
        *patterns.drawn(coincidences.reshape(-1, size * size)),
        partial(_alpha, size=size, values=patterns.values, level=level),
        n=patterns.items,
        reason="every answer is the same, so that no disagreement was possible",
        about="items with two raters or more",
    )


def _alpha(sums: Floats, *, size: int, values: Floats, level: Level) -> Floats:
    seen = sums.reshape(*sums.shape[:-1], size, size)
    said = seen.sum(axis=-1)
    total = said.sum(axis=-1)
    dealt = said[..., :, None] * said[..., None, :] - said[..., :, None] * np.eye(size)
    apart = _distances(said, values, level)
    expected = (dealt * apart).sum(axis=(-2, -1)) / (total - 1)
    return np.where(expected > 0, 1 - (seen * apart).sum(axis=(-2, -1)) / expected, np.nan)


def _distances(said: Floats, values: Floats, level: Level) -> Floats:
    """Squared distances of the values, shape (..., V, V); those of ranks depend on how often each was said."""
    size = values.size
    if level == "nominal":
        return 1 - np.eye(size)
    if level == "interval":
        return (values[:, None] - values) ** 2
    # The mean rank of a value; two values are apart by what lies between them and half of each.
    ranks = np.cumsum(said, axis=-1) - said / 2
    return (ranks[..., :, None] - ranks[..., None, :]) ** 2


def gwet_ac(ratings: Answers, weights: Weights = None, *, name: str = "") -> Statistic:
    """Agreement beyond chance that stays sensible where one value dominates (Gwet 2008, 2014).

    AC1 without weights, AC2 with them. Items with one rater count for how common the values are.
    """
    name = name or ("Gwet's AC1" if weights is None else f"Gwet's AC2, {weights}")
    patterns = _patterns(ratings)
    if nobody := _nobody(name, patterns):
        return nobody
    size = patterns.values.size
    if size < 2:
        return undefined(name, "every answer is the same one value", patterns.items)
    agreed = weight_matrix(patterns.values, weights)
    counts = patterns.counts.astype(np.float64)
    m = counts.sum(axis=1, keepdims=True)
    near = (counts * (counts @ agreed - 1)).sum(axis=1, keepdims=True)
    same = np.where(m > 1, near / np.where(m > 1, m * (m - 1), 1), 0)
    is_said = m > 0
    features = np.concatenate([same, m > 1, np.where(is_said, counts / np.maximum(m, 1), 0), is_said], axis=1)

    def coefficient(sums: Floats) -> Floats:
        shares = sums[..., 2:-1] / sums[..., -1:]
        chance = agreed.sum() / (size * (size - 1)) * (shares * (1 - shares)).sum(axis=-1)
        return _beyond(sums[..., 0] / sums[..., 1], chance)

    return estimate(
        name,
        *patterns.drawn(features.astype(np.float64)),
        coefficient,
        n=patterns.items,
        about="items with two raters or more",
    )


def _beyond(observed: Floats, chance: Floats) -> Floats:
    """The part of what chance leaves; NaN where it leaves nothing."""
    left = 1 - chance
    return np.where(left > 1e-12, (observed - chance) / np.where(left > 1e-12, left, 1), np.nan)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a judge does beside persons: the more it says to prefer, the oftener should they agree."""

    agreement: Statistic
    """With ties as a third answer."""
    decided: Statistic
    """Where both prefer one of the two."""
    kappa: Statistic
    bins: tuple[dict[str, Any], ...]
    """Rows of group, gap (mean strength or score gap), rate, low, high (Wilson's, 95 %) and n, weakest first."""
    disagreements: Integers
    """Places of the items where they prefer opposite answers, those of which both are surest first."""


def calibration(
    person: npt.ArrayLike, judge: npt.ArrayLike, gap: npt.ArrayLike | None = None, *, bins: int = 5
) -> Calibration:
    """A judge's preferences beside persons', item by item.

    person, judge: signed preferences of one length, positive for the first answer, 0 for neither, NaN where
    nothing was said; their size is how sure they are. gap: by what items are put in groups of about equal
    number, such as the difference of the judge's scores; by default the size of its preferences.
    """
    theirs, its = np.asarray(person, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    both = ~(np.isnan(theirs) | np.isnan(its))
    a, b = np.sign(theirs), np.sign(its)
    values, table = confusion(a[both], b[both])
    decided = both & (a != 0) & (b != 0)
    size = np.abs(its) if gap is None else np.abs(np.asarray(gap, dtype=np.float64))
    sure = np.abs(theirs) * np.abs(its)
    wrong = np.flatnonzero(decided & (a != b))
    return Calibration(
        agreement=_share(a[both] == b[both], "judge and persons agree", "items that both answered"),
        decided=_share(
            a[decided] == b[decided], "judge and persons agree, without ties", "items without a tie"
        ),
        kappa=kappa_of_table(table, values, name="kappa of judge and persons"),
        bins=tuple(_bins(size[decided], (a == b)[decided], bins)),
        disagreements=wrong[np.argsort(-sure[wrong], kind="stable")],
    )


def _share(same: npt.NDArray[np.bool_], name: str, about: str) -> Statistic:
    yes = int(np.count_nonzero(same))
    return estimate(name, np.array([[1.0, 1.0], [0.0, 1.0]]), [yes, same.size - yes], _ratio, about=about)


def _ratio(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]


def _bins(size: Floats, same: npt.NDArray[np.bool_], bins: int) -> list[dict[str, Any]]:
    """Groups of equal sizes where there are few different ones, else of about equal number."""
    if not size.size:
        return []
    different = np.unique(size)
    if different.size > bins:
        edges = np.unique(np.quantile(size, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, size, side="left")
    else:
        place = np.searchsorted(different, size)
    rows = []
    for group in np.unique(place):
        own = place == group
        n, yes = int(own.sum()), int(same[own].sum())
        low, high = wilson(yes, n, Z_95)
        least, most = float(size[own].min()), float(size[own].max())
        rows.append(
            {
                "group": f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}",
                "gap": float(size[own].mean()),
                "rate": yes / n,
                "low": low,
                "high": high,
                "n": n,
            }
        )
    return rows
