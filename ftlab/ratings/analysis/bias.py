"""What else than the answers moved the ratings: side, length, haste, forgetfulness; and gold as a check.

Shares of one rater's answers, of which each item counts once, carry Wilson's 95 % interval; figures that pool
raters are bootstrapped over items, see statistic.py. No figure here deletes anything: it is shown, and a
person decides.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftlab.interval import wilson
from ftlab.ratings.analysis.statistic import Statistic, estimate, undefined

Z_95, _Z_80 = 1.959963984540054, 0.8416212335729143

ALARM_P, ALARM_SHARE = 0.001, 0.03
"""A side is preferred alarmingly where p is below the one and the share further from a half than the other."""
GOLD_SHARE, GOLD_LEAST = 0.70, 20
"""A rater is flagged below this share of gold items answered as expected, over at least so many."""
HASTY_MS, HASTY_MS_A_WORD = 1000, 10


@dataclass(frozen=True, slots=True)
class Position:
    """Whether the left answer is preferred because it is on the left."""

    share: Statistic
    """Of decisive answers, the share of left."""
    p: float | None
    """Two-sided, exact: how often chance alone would be as far from a half."""
    alarm: bool
    enough: int
    """Decisive answers at which a share of 55 % would be noticed four times in five."""

    def __str__(self) -> str:
        if self.p is None:
            return str(self.share)
        return f"{self.share}, p = {self.p:.4g}{', alarm' if self.alarm else ''}"


def share(name: str, yes: int, n: int, *, reason: str = "no answers yet", about: str = "") -> Statistic:
    """A share with Wilson's 95 % interval."""
    if not n:
        return undefined(name, reason, about=about)
    low, high = wilson(yes, n, Z_95)
    return Statistic(name, yes / n, low=low, high=high, n=n, about=about)


def binomial_p(yes: int, n: int) -> float:
    """Exact two-sided p of `yes` in `n` where both outcomes are as likely; 1.0 for none of none."""
    from scipy.special import bdtr  # scipy.stats' binomtest gives the same and takes a second to import

    return min(1.0, 2 * float(bdtr(min(yes, n - yes), n, 0.5))) if n else 1.0


def needed(difference: float, power_z: float = _Z_80) -> int:
    """Decisive answers for a share of 0.5 ± difference to be told from a half: 95 % sure, with power 0.8."""
    spread = Z_95 * 0.5 + power_z * (0.25 - difference**2) ** 0.5
    return int(np.ceil((spread / difference) ** 2))


def position(left: int, n: int) -> Position:
    """Of n answers that preferred one side, `left` the left one (R7 of the project's reliability page)."""
    found = share(
        "left preferred", left, n, reason="no answer prefers a side", about="answers that prefer a side"
    )
    p = binomial_p(left, n) if n else None
    off = abs(left / n - 0.5) if n else 0.0
    return Position(found, p, p is not None and p < ALARM_P and off > ALARM_SHARE, needed(0.05))


def longer(
    gap: npt.ArrayLike, won: npt.ArrayLike, lost: npt.ArrayLike, times: npt.ArrayLike | None = None
) -> Statistic:
    """The share of decisive answers to pairs of unlike length that preferred the longer one.

    A row is an item: gap, (len(first) - len(second)) / (len(first) + len(second)); how often the first and the
    second answer were preferred, ties left out. times: how many items are like that. The coefficients are
    `ranking.length_coefficient` and `ranking.length_controlled`.
    """
    name, x = "longer preferred", np.asarray(gap, np.float64)
    up, down = np.asarray(won, np.float64), np.asarray(lost, np.float64)
    counts = np.ones(x.size, np.int64) if times is None else np.asarray(times, np.int64)
    unlike = (x != 0) & (up + down > 0)
    if not unlike.any():
        return undefined(name, "no decisive answer to a pair of unlike length")
    features = np.stack([np.where(x > 0, up, down), up + down], axis=1)[unlike]
    return estimate(
        name,
        features,
        counts[unlike],
        lambda sums: sums[..., 0] / sums[..., 1],
        n=round(float(counts[unlike] @ features[:, 1])),
        about="decisive answers to pairs of unlike length",
    )


@dataclass(frozen=True, slots=True)
class Consistency:
    """Whether a rater says the same again, sides swapped and some items later."""

    same: Statistic
    """The share of repeats with the same answer."""
    followed_side: int
    """Repeats where the same *side* was preferred both times, and so another answer."""


def consistency(
    first: npt.ArrayLike, again: npt.ArrayLike, left_first: npt.ArrayLike, left_again: npt.ArrayLike
) -> Consistency:
    """What was said of items and said of them again, as signs for slot 0 (1), slot 1 (-1) or neither.

    left_first, left_again: the slot that was shown on the left.
    """
    one, two = np.sign(np.asarray(first, np.int64)), np.sign(np.asarray(again, np.int64))
    side_one, side_two = np.asarray(left_first, np.int64), np.asarray(left_again, np.int64)
    same = share(
        "self-consistency",
        int((one == two).sum()),
        one.size,
        reason="nothing was asked twice yet",
        about="items asked again",
    )
    turned = (side_one != side_two) & (one != 0) & (one == -two)
    return Consistency(same, int(turned.sum()))


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly answers were given."""

    median_seconds: float | None
    hasty: Statistic
    """The share below 1 s or 10 ms a visible word; the answers are kept."""


def pace(shown_ms: npt.ArrayLike, hasty: npt.ArrayLike) -> Pace:
    """shown_ms: how long each task was shown before the answer, negative where unknown; hasty: as stored."""
    shown, flagged = np.asarray(shown_ms, np.float64), np.asarray(hasty, bool)
    known = shown >= 0
    n = int(known.sum())
    seconds = float(np.median(shown[known])) / 1000 if n else None
    about = "answers whose time is known"
    return Pace(
        seconds, share("hasty", int((flagged & known).sum()), n, reason="times are not known", about=about)
    )


@dataclass(frozen=True, slots=True)
class Gold:
    """How a rater did on items whose answer is known."""

    accuracy: Statistic
    flagged: bool
    """Below 70 % over 20 or more."""


def gold_accuracy(right: int, n: int) -> Gold:
    """Of n gold items, `right` answered as expected."""
    found = share("gold", right, n, reason="no gold item was answered", about="gold items answered")
    return Gold(found, n >= GOLD_LEAST and right / n < GOLD_SHARE)
