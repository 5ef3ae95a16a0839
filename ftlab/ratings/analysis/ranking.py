"""Which model is preferred to which, as strengths: Bradley and Terry's model, alone and with length taken out.

P(i is preferred to j) = sigmoid(s_i - s_j), strengths s in nats with mean 0 (Bradley and Terry 1952); a tie is
half a win for each. Fitted by Newton's method, all draws of an interval at once: `choix`, to which the tests
hold the strengths, fits one table at a time. K is the number of models, D that of draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftlab.errors import RatingError
from ftlab.ratings.analysis.statistic import DRAWS, SEED, Floats, Statistic, interval, resample, undefined

ELO_PER_NAT = 400 / math.log(10)
GENTLE = 0.01
"""The usual `alpha` of a regularised ranking."""
_STEPS, _TOLERANCE, _CONDITION = 100, 1e-9, 1e12
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Place:
    """One model's place."""

    model: str
    strength: float
    """In nats; the mean over all models is 0."""
    low: float | None
    high: float | None
    elo: float
    """strength x 400 / ln 10, so that a difference of 400 means odds of 10 to 1; the mean is 0."""
    elo_low: float | None
    elo_high: float | None
    wins: float
    losses: float
    """Ties count half in both."""

    @property
    def n(self) -> float:
        return self.wins + self.losses


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models, strongest first; none where the comparisons do not decide, and `reason` says what would mend it."""

    places: tuple[Place, ...]
    reason: str = ""
    """Begins with "undefined: " where there are no strengths."""
    note: str = ""
    """What must be shown beside the figures."""
    alpha: float = 0.0
    """Above 0 the strengths are regularised."""
    n: float = 0
    """Comparisons."""
    length: Statistic | None = None
    """The coefficient of length, where it was taken out."""
    separated: tuple[bool, ...] = ()
    """For each neighbouring pair, best first: whether the interval of their difference leaves 0 out."""

    @property
    def is_defined(self) -> bool:
        return bool(self.places)

    def to_rows(self) -> list[dict[str, Any]]:
        """For a table or a figure; low and high are those of `elo`."""
        return [
            {
                "model": one.model,
                "elo": one.elo,
                "low": one.elo_low,
                "high": one.elo_high,
                "strength": one.strength,
                "wins": one.wins,
                "losses": one.losses,
                "n": one.n,
            }
            for one in self.places
        ]


def bradley_terry(
    models: Sequence[str],
    wins: npt.ArrayLike,
    ties: npt.ArrayLike | None = None,
    *,
    alpha: float = 0.0,
    resampled: Floats | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Ranking:
    """Strengths with 95 % bootstrap intervals.

    wins: shape (K, K), how often the row's model was preferred to the column's; ties: the same, symmetric, each
    tie in both of its cells (Ford 1957 says when the maximum exists; where it does not, the ranking is
    undefined). alpha: above 0 there always is one, that of `choix.ilsr_pairwise`: a gamma prior, which draws the
    strengths together a little and is noted. resampled: tables of shape (D, K, K) with ties as halves, where
    items rather than single comparisons were drawn again; by default the comparisons are.
    """
    names = list(models)
    won = _table(wins, len(names), "wins")
    tied = np.zeros_like(won) if ties is None else _table(ties, len(names), "ties")
    if not np.array_equal(tied, tied.T):
        raise RatingError("'ties' must be symmetric: a tie of i with j stands in [i, j] and in [j, i]")
    table = won + tied / 2
    total = float(table.sum())
    if alpha == 0 and (reason := why_undefined(names, table)):
        return Ranking((), f"undefined: {reason}", n=total)
    if len(names) < 2:
        return Ranking((), "undefined: a ranking needs two models", n=total)
    strengths = fit(table, alpha)
    tables = _redrawn(won, tied, draws, seed) if resampled is None else resampled
    drawn, shaky = _fit_draws(tables, alpha, strengths)
    notes = []
    if alpha:
        notes.append(f"regularised, alpha = {alpha:g}: strengths are drawn together, not measured alone")
    if shaky > 0.5:
        notes.append(f"no intervals: in {shaky:.0%} of the draws the comparisons do not decide")
    elif shaky:
        notes.append(
            f"in {'less than 1%' if shaky < 0.01 else f'{shaky:.0%}'} of the draws the comparisons do not decide; "
            "these were fitted with "
            f"alpha = {GENTLE:g}, so the outer ends of the intervals are at least as far out as shown"
        )
    return _ranking(names, table, strengths, drawn, "; ".join(notes), alpha, shaky)


def _table(counts: npt.ArrayLike, size: int, name: str) -> Floats:
    table = np.array(counts, dtype=np.float64)
    if table.shape != (size, size) or not np.isfinite(table).all() or (table < 0).any():
        raise RatingError(f"'{name}' is a table of {size} by {size} counts, one row and column a model")
    np.fill_diagonal(table, 0)
    return table


def _groups(won: npt.NDArray[np.bool_]) -> tuple[int, npt.NDArray[np.intp]]:
    """How many groups of models reach each other by wins, and the group of each.

    As scipy.sparse.csgraph's strong components, whose import takes longer than the rest of a report.
    """
    reach = (won | np.eye(len(won), dtype=bool)).astype(np.float32)
    for _ in range(max(1, len(won) - 1).bit_length()):  # each round doubles the length of the chains
        reach = (reach @ reach > 0).astype(np.float32)
    both = (reach > 0) & (reach.T > 0)
    first, member = np.unique(both.argmax(axis=1), return_inverse=True)
    return len(first), member


def why_undefined(models: Sequence[str], table: npt.ArrayLike) -> str:
    """Empty where the strengths exist; else what is missing and what would mend it.

    They exist where every model leads to every other one by a chain of wins (Ford 1957). table: shape (K, K)
    with ties as halves.
    """
    won = np.asarray(table, dtype=np.float64) > 0
    if len(models) < 2:
        return "a ranking needs two models"
    if not won.any():
        return "nothing was compared yet"
    groups, member = _groups(won | won.T)
    if groups > 1:
        parts = [
            _listed([m for m, own in zip(models, member, strict=True) if own == g]) for g in range(groups)
        ]
        return (
            f"{' and '.join(parts[:4])} were never compared with each other; compare one model of each group "
            "with one of another"
        )
    groups, member = _groups(won)
    if groups == 1:
        return ""
    loses = np.array([(won & (member[:, None] != member) & (member == g)).any() for g in range(groups)])
    top = int(
        np.flatnonzero(~loses)[0]
    )  # weakly connected, so there is a group that beats others and loses to none
    best = [m for m, own in zip(models, member, strict=True) if own == top]
    verb = "has" if len(best) == 1 else "have"
    return (
        f"{_listed(best)} {verb} not lost to any other model, so nothing says by how much better; "
        f"more comparisons may bring a loss or a tie, or regularise with alpha={GENTLE:g}"
    )


def _listed(models: Sequence[str]) -> str:
    shown = ", ".join(models[:4])
    more = f" and {len(models) - 4} more" if len(models) > 4 else ""
    return f"{{{shown}{more}}}" if len(models) > 1 else shown


def fit(tables: npt.ArrayLike, alpha: float = 0.0, *, start: Floats | None = None) -> Floats:
    """Strengths of shape (..., K) for tables of shape (..., K, K), each with mean 0.

    start: where to look first, shape (K,).

    Maximises the log-likelihood plus alpha K sum(s - exp(s)) with sum(exp(s)) = K, whose maximum is the fixed
    point of regularised iterative Luce spectral ranking (Maystre and Grossglauser 2015). Every table must be
    strongly connected where alpha is 0. Raises RatingError where the maximum is not found.
    """
    won = np.asarray(tables, dtype=np.float64)
    size = won.shape[-1]
    lost = np.swapaxes(won, -1, -2)
    prior = alpha * size
    s = np.zeros(won.shape[:-1]) + (0.0 if start is None else start)
    eye, flat = np.eye(size), np.full((size, size), 1.0 / size)
    step = np.full(won.shape[:-2], np.inf)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(s[..., None, :] - s[..., :, None]))
        upset = np.swapaxes(chance, -1, -2)  # not 1 - chance, which has no digits left where chance is near 1
        slope = (won * upset - lost * chance).sum(axis=-1)
        curved = (won + lost) * chance * upset
        hessian = eye * curved.sum(axis=-1)[..., :, None] - curved
        if prior:
            slope = slope + prior * (1 - np.exp(s))
            hessian = hessian + eye * (prior * np.exp(s))[..., :, None]
        else:  # shifting all strengths changes nothing; the flat part keeps them at mean 0
            hessian = hessian + flat * (curved.sum(axis=(-2, -1)) / size)[..., None, None]
        move = np.linalg.solve(hessian, slope[..., None])[..., 0]
        step = np.abs(move).max(axis=-1)
        s = s + move / np.maximum(1.0, step)[..., None]  # a step of at most 1 nat, so that no sigmoid is flat
        if (step < _TOLERANCE).all():
            return s - s.mean(axis=-1, keepdims=True)
    raise RatingError(
        f"no strengths found in {_STEPS} steps: some model has hardly won or hardly lost anything; compare it "
        "more often or regularise"
    )


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(x / 2))


def _redrawn(won: Floats, tied: Floats, draws: int, seed: int) -> Floats:
    """Tables of as many comparisons, drawn again with replacement."""
    size = won.shape[0]
    pairs = np.triu(tied)
    counts = np.concatenate([won.ravel(), pairs.ravel()]).round().astype(np.int64)
    there = np.flatnonzero(counts)
    tables = np.zeros((draws, size * size))
    at = 0
    for block in resample(counts[there], draws, seed):
        rows = slice(at, at + len(block))
        full = np.zeros((len(block), counts.size))
        full[:, there] = block
        halves = full[:, size * size :].reshape(-1, size, size) / 2
        tables[rows] = full[:, : size * size] + (halves + halves.swapaxes(1, 2)).reshape(len(block), -1)
        at += len(block)
    return tables.reshape(draws, size, size)


def _fit_draws(tables: Floats, alpha: float, start: Floats) -> tuple[Floats, float]:
    """Strengths of shape (D, K), and the share of draws that had to be regularised."""
    if alpha:
        return fit(tables, alpha, start=start), 0.0
    whole = _is_connected(tables)
    drawn = np.empty(tables.shape[:2])
    if whole.any():
        drawn[whole] = fit(tables[whole], start=start)
    if not whole.all():
        drawn[~whole] = fit(tables[~whole], GENTLE, start=start)
    return drawn, float(1 - whole.mean())


def _is_connected(tables: Floats) -> npt.NDArray[np.bool_]:
    """For each table, whether every model leads to every other one by wins."""
    size = tables.shape[-1]
    reach = ((tables > 0) | np.eye(size, dtype=bool)).astype(np.float32)
    for _ in range(max(1, (size - 1).bit_length())):
        reach = (reach @ reach > 0).astype(np.float32)
    return np.asarray((reach > 0).all(axis=(-2, -1)))


def _ranking(
    names: Sequence[str],
    table: Floats,
    strengths: Floats,
    drawn: Floats,
    note: str,
    alpha: float = 0.0,
    shaky: float = 0.0,
    length: Statistic | None = None,
) -> Ranking:
    """Orders the models; `shaky` is the share of draws that did not decide, more than half leave no interval."""
    if shaky > 0.5:
        drawn = np.full_like(drawn, np.nan)
    order = np.argsort(-strengths, kind="stable")
    won, lost = table.sum(axis=1), table.sum(axis=0)
    places = []
    for own in order:
        low, high, _ = interval(drawn[:, own])
        s = float(strengths[own])
        places.append(
            Place(
                names[own],
                s,
                low,
                high,
                s * ELO_PER_NAT,
                None if low is None else low * ELO_PER_NAT,
                None if high is None else high * ELO_PER_NAT,
                float(won[own]),
                float(lost[own]),
            )
        )
    ahead = drawn[:, order[:-1]] - drawn[:, order[1:]]
    separated = tuple(
        bool(np.ptp(apart) > 0 and low > 0)
        for apart, low in zip(ahead.T, np.quantile(ahead, 0.05, axis=0), strict=True)
    )
    return Ranking(tuple(places), "", note, alpha, float(table.sum()), length, separated)


def length_controlled(
    models: Sequence[str],
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    gap: npt.ArrayLike,
    won: npt.ArrayLike,
    lost: npt.ArrayLike,
    times: npt.ArrayLike | None = None,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Ranking:
    """Bradley and Terry's model with the difference of length beside the models (Chiang et al. 2024, style control).

    P(first is preferred) = sigmoid(s_first - s_second + b gap). A row is an item: its models (places in
    `models`), its `gap`, (len(first) - len(second)) / (len(first) + len(second)) from -1 to 1, and how often the
    first and the second answer were preferred, ties as halves in both. times: how many items are like that.
    Intervals are normal, from the sandwich covariance with items as clusters; a bootstrap would take seconds.
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    x, up, down = (np.asarray(values, np.float64) for values in (gap, won, lost))
    weight = np.ones(a.size) if times is None else np.asarray(times, np.float64)
    size = len(models)
    table = np.zeros((size, size))
    np.add.at(table, (a, b), weight * up)
    np.add.at(table, (b, a), weight * down)
    np.fill_diagonal(table, 0)
    total = float(table.sum())
    if reason := why_undefined(models, table):
        return Ranking((), f"undefined: {reason}", n=total)
    design = np.zeros((a.size, size))  # columns: every model but the first, then the length
    rows = np.arange(a.size)
    for model, sign in ((a, 1.0), (b, -1.0)):
        own = model > 0
        design[rows[own], model[own] - 1] += sign
    design[:, -1] = x
    fitted = _logistic(design, up, down, weight)
    if isinstance(fitted, str):
        return Ranking((), f"undefined: {fitted}", n=total)
    values, covariance = fitted
    to_mean = np.vstack([np.zeros(size), np.eye(size)[:-1]])
    to_mean = to_mean - to_mean.mean(axis=0)
    strengths = to_mean @ values
    drawn = np.random.default_rng(seed).multivariate_normal(
        strengths, to_mean @ covariance @ to_mean.T, size=draws, method="eigh"
    )
    return _ranking(models, table, strengths, drawn, "", length=_coefficient(fitted, total))


def length_coefficient(
    gap: npt.ArrayLike, won: npt.ArrayLike, lost: npt.ArrayLike, times: npt.ArrayLike | None = None
) -> Statistic:
    """How much length alone tells of what is preferred: P(first) = sigmoid(b gap), whoever wrote it.

    Rows as for `length_controlled`. An answer twice as long as the other has gap 1/3.
    """
    x, up, down = (np.asarray(values, np.float64) for values in (gap, won, lost))
    weight = np.ones(x.size) if times is None else np.asarray(times, np.float64)
    total = float((weight * (up + down)).sum())
    if not total:
        return undefined(_LENGTH, "nothing was compared yet")
    if not (np.abs(x) * weight * (up + down)).any():
        return undefined(_LENGTH, "the answers are all of one length", round(total))
    fitted = _logistic(x[:, None], up, down, weight)
    return (
        undefined(_LENGTH, fitted, round(total)) if isinstance(fitted, str) else _coefficient(fitted, total)
    )


_LENGTH = "coefficient of length"


def _coefficient(fitted: tuple[Floats, Floats], total: float) -> Statistic:
    """The last coefficient of a fit."""
    value, spread = float(fitted[0][-1]), _Z_95 * math.sqrt(fitted[1][-1, -1])
    about = "comparisons; nats for an answer of all the length, normal interval, items as clusters"
    if spread < 1e-12:  # ties alone, say: nothing differs from item to item, which is not certainty
        why = "no interval: every item says the same"
        return Statistic(_LENGTH, value, why, n=round(total), about=about)
    return Statistic(_LENGTH, value, low=value - spread, high=value + spread, n=round(total), about=about)


def _logistic(design: Floats, up: Floats, down: Floats, times: Floats) -> tuple[Floats, Floats] | str:
    """Coefficients and their sandwich covariance, or why there are none."""
    values, n = np.zeros(design.shape[1]), up + down
    for _ in range(_STEPS):
        chance = _sigmoid(design @ values)
        hessian = design.T @ (design * (times * n * chance * (1 - chance))[:, None])
        if np.linalg.cond(hessian) > _CONDITION:
            return "length and model cannot be told apart; it takes pairs in which either varies without the other"
        move = np.linalg.solve(hessian, design.T @ (times * (up - n * chance)))
        size = float(np.abs(move).max())
        values = values + move / max(1.0, size)
        if size < _TOLERANCE:
            inverse = np.linalg.inv(hessian)
            residual = up - n * _sigmoid(design @ values)
            return values, inverse @ (design.T @ (design * (times * residual**2)[:, None])) @ inverse
    return "length decides every comparison, so there is no telling how much it weighs"


def elo(
    models: Sequence[str],
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    k: float = 16.0,
    shuffles: int = 0,
    seed: int = SEED,
) -> Floats:
    """Ratings after each comparison has moved them in turn (Elo 1978), shape (1 + shuffles, K).

    score: 1 where the first won, 0 where the second did, 0.5 for a tie. The first row takes the comparisons as
    they came, the others in random orders: what they differ by is no property of the models, which is why the
    board ranks by Bradley and Terry's model.
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    outcome = np.asarray(score, np.float64)
    rng = np.random.default_rng(seed)
    orders = np.stack([np.arange(a.size), *(rng.permutation(a.size) for _ in range(shuffles))])
    ratings = np.zeros((len(orders), len(models)))
    lanes = np.arange(len(orders))
    for turn in orders.T:  # all orders take a step together
        i, j = a[turn], b[turn]
        expected = 1 / (1 + 10 ** ((ratings[lanes, j] - ratings[lanes, i]) / 400))
        change = k * (outcome[turn] - expected)
        ratings[lanes, i] += change
        ratings[lanes, j] -= change
    return ratings
