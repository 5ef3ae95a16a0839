"""One figure about ratings: its value, or why it has none, and how far chance may have moved it.

Intervals are percentile bootstraps over items (Efron 1979): whole items are drawn again, with all that was
said about them, because what several raters say about one item is not independent. Items that were answered
in the same way are one pattern with a multiplicity, so that a draw over a million items is one multinomial
draw over the patterns.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DRAWS = 1000
SEED = 20240229
LEVEL = 0.95
_AT_ONCE = 4_000_000  # numbers of one block of draws: 32 MB


@dataclass(frozen=True, slots=True)
class Statistic:
    """A figure with its 95 % interval; `n` counts what it was computed from, as `about` says.

    value is None where the figure is undefined, and `reason` then begins with "undefined: ". low and high are
    None where there is no interval; where the value is there, `reason` says why.
    """

    name: str
    value: float | None
    reason: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 0
    about: str = ""

    def to_row(self) -> dict[str, Any]:
        """For a table."""
        return asdict(self)

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: {self.reason} (n = {self.n:,})"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.name}: {self.value:.3f}{interval} (n = {self.n:,})"


def undefined(name: str, reason: str, n: int = 0, about: str = "") -> Statistic:
    """A figure that has no value."""
    return Statistic(name, None, f"undefined: {reason}", n=n, about=about)


def resample(times: npt.ArrayLike, draws: int = DRAWS, seed: int = SEED) -> Iterator[Floats]:
    """Blocks of draws: each row says how often each pattern was drawn; its sum is the number of items."""
    counts = np.asarray(times, dtype=np.int64)
    rng = np.random.default_rng(seed)
    n = int(counts.sum())
    block = max(1, min(draws, _AT_ONCE // max(1, counts.size)))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        yield rng.multinomial(n, counts / n, size=size).astype(np.float64)


def estimate(
    name: str,
    features: Floats,
    times: npt.ArrayLike,
    value: Callable[[Floats], Floats],
    *,
    n: int | None = None,
    reason: str = "no variation to compare with",
    about: str = "",
    draws: int = DRAWS,
    seed: int = SEED,
) -> Statistic:
    """A figure that depends on sums over items alone, with its interval.

    features: shape (patterns, F), what an item of each pattern adds to the sums; times: items of each pattern.
    value: sums of shape (..., F) to figures of shape (...), NaN where undefined; `reason` says what NaN means.
    n: what is reported as n, by default the number of items. Draws in which the figure is undefined are left
    out; where that is more than half of them there is no interval.
    """
    counts = np.asarray(times, dtype=np.int64)
    n = int(counts.sum()) if n is None else n
    if not n:
        return undefined(name, "nothing to compare", about=about)
    with np.errstate(divide="ignore", invalid="ignore"):
        point = float(value(counts @ features))
        if not np.isfinite(point):
            return undefined(name, reason, n, about)
        kinds, number = np.unique(features, axis=0, return_inverse=True)  # alike in all that counts here
        alike = np.bincount(number.ravel(), weights=counts, minlength=len(kinds)).astype(np.int64)
        drawn = np.concatenate([value(block @ kinds) for block in resample(alike, draws, seed)])
    low, high, why = interval(drawn)
    return Statistic(name, point, why, low, high, n, about)


def interval(drawn: Floats) -> tuple[float | None, float | None, str]:
    """Ends of the 95 % interval and "", or None, None and why there is none."""
    known = drawn[np.isfinite(drawn)]
    if known.size * 2 < drawn.size:
        return None, None, f"no interval: undefined in {1 - known.size / drawn.size:.0%} of the draws"
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if high - low < 1e-12:
        return None, None, "no interval: every draw gives the same figure"
    return float(low), float(high), ""
