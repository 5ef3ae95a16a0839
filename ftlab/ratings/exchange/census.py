"""What a stranger asks about a set of ratings: who rated, how often two agree, and which way they lean."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftlab.ratings import opinions
from ftlab.ratings.opinions import Opinions, Vote
from ftlab.ratings.standing import BOTH_BAD


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
    _said: dict[str, tuple[array, array]] = field(default_factory=dict)
    """(tasks, what persons said of them) by scale: degrees of a pair and marks of one answer are never mixed."""
    decisive: int = 0
    _gap: array = field(default_factory=lambda: array("d"))
    _won: array = field(default_factory=lambda: array("d"))
    _lost: array = field(default_factory=lambda: array("d"))
    """Of each task with a pair, how often the first and the second answer were preferred, ties as halves."""

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
                    self._note("single answers", graded.strength if graded.winner == 0 else -graded.strength)

    def _note(self, scale: str, said: int) -> None:
        if scale not in self._said:
            self._said[scale] = array("q"), array("b")
        tasks, values = self._said[scale]
        tasks.append(self.tasks)
        values.append(said)

    def _see_pair(self, task: Opinions, votes: Sequence[Vote]) -> None:
        one, two = len(task.texts[0]), len(task.texts[1])
        won = 0.0
        for vote in votes:
            winner = vote.winner
            degree = 0 if winner is None else vote.strength + 1 if winner == 0 else -vote.strength - 1
            if vote.rater_kind == "person":
                self._note("pairs", BOTH_BAD if vote.choice == "both_bad" else degree)
            if winner is None:
                won += 0.5
            else:
                won += 1 - winner
                self.decisive += 1
                self.left += winner == vote.shown[0]
        self._gap.append((one - two) / ((one + two) or 1))
        self._won.append(won)
        self._lost.append(len(votes) - won)

    def figures(self) -> dict[str, Any]:
        """In plain JSON; a figure that is undefined says why."""
        found: dict[str, Any] = {
            "tasks": self.tasks,
            "ratings": self.ratings,
            "raters": dict(sorted(Counter(kind for kind, _ in self._raters).items())),
            "models": sorted({model for models in self._lineups for model in models}),
            "tasks_with_two_raters_or_more": self.shared,
            "decisive": self.decisive,
            "left_share": self.left / self.decisive if self.decisive else None,
        }
        if self._said:
            found["agreement"] = [
                row | ({"name": f"{row['name']} ({scale})"} if len(self._said) > 1 else {})
                for scale in sorted(self._said)
                for row in self._agreement(scale, *self._said[scale])
            ]
        if self._gap:
            found["length"] = self._length()
        return found

    @staticmethod
    def _agreement(scale: str, tasks: array, values: array) -> list[dict[str, Any]]:
        """The figures of the Board, computed as there."""
        import numpy as np

        from ftlab.ratings.analysis import agreement

        item, said = np.frombuffer(tasks, np.int64), np.frombuffer(values, np.int8)
        codes = agreement.Patterns.of_rows(item, said, agreement.CODES)
        choice, three, grades = map(codes.mapped, (agreement.CHOICE, agreement.THREE, agreement.SEVEN))
        if scale != "pairs":
            grades = agreement.Patterns.of_rows(item, said, range(-3, 4))
        found = (
            agreement.percent(three, name="percent, ties as a third answer"),
            agreement.percent(choice, without=agreement.NEITHER, name="percent, without ties"),
            agreement.krippendorff_alpha(choice, "nominal", name="Krippendorff's alpha, choice"),
            agreement.krippendorff_alpha(grades, "ordinal", name="Krippendorff's alpha, strength"),
            agreement.gwet_ac(grades, "quadratic", name="Gwet's AC2, strength"),
        )
        return [statistic.to_row() for statistic in found]

    def _length(self) -> dict[str, Any]:
        import numpy as np

        from ftlab.ratings.analysis.ranking import length_coefficient

        gap, won, lost = (np.frombuffer(each, np.float64) for each in (self._gap, self._won, self._lost))
        return length_coefficient(gap, won, lost).to_row()
