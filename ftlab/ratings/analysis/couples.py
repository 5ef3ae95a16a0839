"""Raters beside each other, two by two: what the one said of the tasks of which the other said something."""

import numpy as np

from ftlab.ratings.analysis import agreement, bias
from ftlab.ratings.analysis.report import Couple
from ftlab.ratings.analysis.statistic import Floats, Integers
from ftlab.ratings.standing import Standing

RATERS, KEPT = 40, 30
"""Raters put beside each other, those with most answers; couples kept of them, those with most in common."""

_SAID = {-1.0: "second", 0.0: "tie", 1.0: "first", 9.0: "both bad"}


def couples(s: Standing, rows: Integers) -> list[Couple]:
    """The couples with most tasks in common, of these rows; none in the modes without a single value to say."""
    if s.mode not in ("pair", "dialogue", "single"):
        return []
    busiest = np.argsort(-np.bincount(s.rater[rows], minlength=len(s.raters)), kind="stable")[:RATERS]
    number = np.full(len(s.raters) + 1, -1)
    number[np.sort(busiest)] = np.arange(busiest.size)
    rows = rows[number[s.rater[rows]] >= 0]
    said = np.where(s.code == 9, 9, np.sign(s.code)) if s.mode != "single" else s.code
    values = np.array(list(_SAID)) if s.mode != "single" else np.arange(1.0, 8.0)
    tables = _confusions(
        s.ordinal[rows],
        number[s.rater[rows]],
        np.searchsorted(values, said[rows]),
        busiest.size,
        values.size,
    )
    common = tables.sum(axis=(2, 3))
    a, b = np.nonzero(np.triu(common, 1))
    most = np.argsort(-common[a, b], kind="stable")[:KEPT]
    names = [s.names[place] for place in np.sort(busiest)]
    words = tuple(_SAID[v] if s.mode != "single" else f"{v:g}" for v in values.tolist())
    weights: agreement.Weights = "quadratic" if s.mode == "single" else None
    return [
        _couple(names[a[k]], names[b[k]], tables[a[k], b[k]], words, values, weights) for k in most.tolist()
    ]


def _confusions(item: Integers, rater: Integers, value: Integers, raters: int, values: int) -> Integers:
    """What each couple said of the tasks that both answered, shape (raters, raters, V, V), lower number first.

    The rows are in the order of items; in each item a rater stands once.
    """
    cells = np.zeros(raters * raters * values * values, np.int64)
    for apart in range(1, max(1, item.size)):
        both = item[apart:] == item[:-apart]
        if not both.any():
            break
        a, b = rater[:-apart][both], rater[apart:][both]
        x, y = value[:-apart][both], value[apart:][both]
        cells += np.bincount(((a * raters + b) * values + x) * values + y, minlength=cells.size)
    tables = cells.reshape(raters, raters, values, values)
    upper = np.triu(np.ones((raters, raters), bool), 1)[:, :, None, None]
    return np.where(upper, tables + tables.transpose(1, 0, 3, 2), 0)


def _couple(
    a: str, b: str, table: Integers, words: tuple[str, ...], values: Floats, weights: agreement.Weights
) -> Couple:
    total, same = int(table.sum()), int(np.trace(table))
    return Couple(
        a,
        b,
        words,
        tuple(tuple(row) for row in table.tolist()),
        bias.share("percent", same, total, about="tasks that both answered"),
        agreement.kappa_of_table(
            table, values, weights, name="Cohen's kappa" if weights is None else f"Cohen's kappa, {weights}"
        ),
    )
