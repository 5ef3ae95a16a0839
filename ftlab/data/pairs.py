"""Preferences looked at together: no choice at all, and what a model may learn instead of the choice."""

from collections.abc import Sequence
from math import isfinite, sqrt

from ftlab.data.files import Row
from ftlab.data.overlap import Texts
from ftlab.data.symptoms import Symptoms
from ftlab.interval import Z_90, wilson

LEANING = 0.6
"""From this share of longer chosen answers on (its interval's nearer end), length is worth a warning."""


def check_pairs(
    rows: Sequence[Row], texts: Sequence[Texts | None], places: Sequence[int], symptoms: Symptoms
) -> list[int]:
    """Findings about preferences; gives the row numbers (from 0) whose two answers are the same."""
    same: list[int] = []
    differences: list[int] = []
    for index, one in enumerate(texts):
        if one is None:
            continue
        chosen, rejected = one.answer, one.rejected
        if chosen == rejected:
            same.append(index)
            symptoms.add(
                "warning", "chosen and rejected are the same", places[index], column="rejected", example=chosen,
                mend="they teach nothing and are left out: take the row out",
            )  # fmt: skip
            continue
        differences.append(len(chosen) - len(rejected))
        for longer, shorter, which in ((rejected, chosen, "chosen"), (chosen, rejected, "rejected")):
            if longer.startswith(shorter):
                symptoms.add(
                    "warning", f"{which} is the beginning of the other", places[index], column=which, example=shorter,
                    mend="the pair differs in length alone: look whether one was cut off",
                )  # fmt: skip
    _lengths(differences, symptoms)
    _margins(rows, places, symptoms)
    return same


def _lengths(differences: list[int], symptoms: Symptoms) -> None:
    """Whether the longer answer is the chosen one more often than not (Singhal et al. 2023)."""
    n = len(differences)
    if n < 2:
        return
    longer = sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences)
    low, high = wilson(longer, n)
    mean = sum(differences) / n
    half = Z_90 * sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    leans = low > LEANING or high < 1 - LEANING
    which = "longer" if longer * 2 >= n else "shorter"
    share = max(longer, n - longer) / n
    low, high = (low, high) if which == "longer" else (1 - high, 1 - low)
    symptoms.add(
        "warning" if leans else "note",
        f"the chosen answer is the {which} one in {share:.0%} of the pairs [{low:.0%}, {high:.0%}], "
        f"by {mean:+.0f} characters [{mean - half:+.0f}, {mean + half:+.0f}] in the mean",
        None,
        mend="a model learns the length before anything else: add pairs where the other one is chosen"
        if leans
        else "",
    )


def _margins(rows: Sequence[Row], places: Sequence[int], symptoms: Symptoms) -> None:
    given = [
        (row["margin"], place)
        for row, place in zip(rows, places, strict=True)
        if row.get("margin") is not None
    ]
    for value, place in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
            symptoms.add("error", "a margin that is no number from 0 up", place, column="margin", example=repr(value),
                         mend="write how much better the chosen answer is, 0 for hardly")  # fmt: skip
    numbers = [
        float(value) for value, _ in given if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if not numbers:
        return
    if len(given) < len(rows):
        symptoms.add(
            "note", f"{len(rows) - len(given):,} of {len(rows):,} rows have no margin: it counts as 0", None
        )
    spread = (
        f"margins from {min(numbers):g} to {max(numbers):g}, {sum(numbers) / len(numbers):.3g} in the mean"
    )
    symptoms.add("note", f"{spread}; the method 'reward' reads them", None)
