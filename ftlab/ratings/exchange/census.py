"""What a stranger asks about a set of ratings: who rated, how often two agree, and which way they lean."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftlab.ratings import opinions
from ftlab.ratings.opinions import Opinions, Vote


@dataclass(slots=True)
class Census:
    """Counts gathered while the opinions pass by, of the raters of the kinds that count.

    Agreement is among persons alone: judges and simulated raters are never mixed into it.
    """

    tasks: int = 0
    ratings: int = 0
    shared: int = 0
    """Tasks with two raters or more."""
    left: int = 0
    _raters: set[tuple[str, str]] = field(default_factory=set)
    _lineups: set[tuple[str, ...]] = field(default_factory=set)
    _under: set[tuple[str, int]] = field(default_factory=set)
    _item: array = field(default_factory=lambda: array("q"))
    _said: array = field(default_factory=lambda: array("b"))
    _first: array = field(default_factory=lambda: array("b"))
    _gap: array = field(default_factory=lambda: array("d"))

    @property
    def batches(self) -> dict[str, set[int]]:
        """The versions of the instructions under which the tasks of each batch were added."""
        found: dict[str, set[int]] = {}
        for batch, version in self._under:
            found.setdefault(batch, set()).add(version)
        return found

    def see(self, task: Opinions, votes: Sequence[Vote]) -> None:
        """One task with the votes on it that count."""
        self.tasks += 1
        self.ratings += len(votes)
        self._lineups.add(task.models)
        self._under.add((task.batch, task.instructions_version))
        for vote in votes:
            self._raters.add((vote.rater_kind, vote.rater))
        if len(votes) > 1:
            self.shared += len({vote.rater for vote in votes if vote.rater_kind == "person"}) > 1
        if task.mode in opinions.PAIRS:
            self._see_pair(task, votes)
        elif task.mode == "single":
            for vote in votes:
                if vote.rater_kind == "person":
                    graded = opinions.graded(vote)
                    self._item.append(self.tasks)
                    self._said.append(graded.strength if graded.winner == 0 else -graded.strength)

    def _see_pair(self, task: Opinions, votes: Sequence[Vote]) -> None:
        gap = 0.0
        for vote in votes:
            winner = vote.winner
            degree = 0 if winner is None else vote.strength + 1 if winner == 0 else -vote.strength - 1
            if vote.rater_kind == "person":
                self._item.append(self.tasks)
                self._said.append(degree)
            if winner is not None:
                if not gap:
                    one, two = len(task.texts[0]), len(task.texts[1])
                    gap = (one - two) / ((one + two) or 1)
                self.left += winner == vote.shown[0]
                self._first.append(1 - winner)
                self._gap.append(gap)

    def figures(self) -> dict[str, Any]:
        """In plain JSON; a figure that is undefined says why."""
        found: dict[str, Any] = {
            "tasks": self.tasks,
            "ratings": self.ratings,
            "raters": dict(sorted(Counter(kind for kind, _ in self._raters).items())),
            "models": sorted({model for models in self._lineups for model in models}),
            "tasks_with_two_raters_or_more": self.shared,
            "decisive": len(self._first),
            "left_share": self.left / len(self._first) if self._first else None,
        }
        if self._said:
            found["agreement"] = self._agreement()
        if self._gap:
            found["length"] = self._length()
        return found

    def _agreement(self) -> list[dict[str, Any]]:
        import numpy as np

        from ftlab.ratings.analysis import agreement

        item, said = np.frombuffer(self._item, np.int64), np.frombuffer(self._said, np.int8)
        signs = agreement.Patterns.of_rows(item, np.sign(said))
        grades = agreement.Patterns.of_rows(item, said)
        found = (
            agreement.percent(signs, name="percent, ties as a third answer"),
            agreement.percent(signs, without=(0,), name="percent, without ties"),
            agreement.krippendorff_alpha(signs, "nominal", name="Krippendorff's alpha, choice"),
            agreement.krippendorff_alpha(grades, "ordinal", name="Krippendorff's alpha, strength"),
            agreement.gwet_ac(grades, "quadratic", name="Gwet's AC2, strength"),
        )
        return [statistic.to_row() for statistic in found]

    def _length(self) -> dict[str, Any]:
        import numpy as np

        from ftlab.ratings.analysis.ranking import length_coefficient

        first = np.frombuffer(self._first, np.int8)
        return length_coefficient(np.frombuffer(self._gap, np.float64), first, 1 - first).to_row()
