"""What to ask next: the pair of models whose comparison tells most about the ranking, and when to stop.

Strengths s under Bradley and Terry's model, P(i is preferred to j) = sigmoid(s_i - s_j), have a normal prior;
their posterior is approximated by a normal distribution at its mode (Laplace). What a comparison is expected
to tell is the mutual information of its outcome and the strengths, H(E p) - E H(p), in bits (Lindley 1956;
as "BALD" in Houlsby et al. 2011; for crowds ranking by pairs Chen et al. 2013, who choose by an expected gain
of the same kind). A tie, and "both bad", is half a win for each. M is the number of models.
"""

import json
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, case, func, select

from ftlab.errors import RatingError
from ftlab.ratings import batches, log, standing
from ftlab.ratings import schema as t
from ftlab.ratings.batches import Batch
from ftlab.ratings.sides import chance

if TYPE_CHECKING:
    from ftlab.ratings.store import Ratings

PRIOR = 1.5
"""Standard deviation of a strength before any vote, in nats: 1.5 is odds of 4.5 to 1, or 260 Elo."""

SURE = 1.6448536269514722
"""A difference of so many standard deviations leaves 0 outside a 90 % interval."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)
_AFRESH = 5_000  # events after which counting anew is quicker than catching up
_RANK = {"person": 0, "replay": 0, "simulated": 1, "judge": 2}  # kinds are never mixed; the lowest counts

Wins = Mapping[int, tuple[float, float]]
"""For each lineup of two models, how often the first and how often the second was preferred."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is believed about the strengths: mean, M, in nats, and covariance, M x M."""

    models: tuple[str, ...]
    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    def difference(self, one: str, two: str) -> tuple[float, float]:
        """Mean and standard deviation of how much stronger `one` is than `two`, in nats."""
        i, j = self.models.index(one), self.models.index(two)
        variance = self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j]
        return float(self.mean[i] - self.mean[j]), math.sqrt(max(0.0, float(variance)))

    def information(self, one: str, two: str) -> float:
        """Bits that asking once which of the two is better is expected to tell; 0 for a model and itself."""
        return 0.0 if one == two else expected_information(*self.difference(one, two))

    def ranked(self) -> list[str]:
        """The models, strongest first."""
        return [self.models[i] for i in np.argsort(-self.mean, kind="stable")]

    def unsure(self) -> list[tuple[str, str]]:
        """Neighbours in the ranking whose 90 % interval of the difference holds 0, the stronger one first."""
        order = self.ranked()
        differences = [(pair, self.difference(*pair)) for pair in pairwise(order)]
        return [pair for pair, (mean, deviation) in differences if mean < SURE * deviation]


def expected_information(mean: float, deviation: float) -> float:
    """Bits from one comparison where the difference of the strengths is normal, in nats.

    By Gauss-Hermite quadrature of 32 nodes. 1 bit at most: where the outcome is open and would settle it.
    """
    p = 1 / (1 + np.exp(-(mean + deviation * _NODES)))
    expected = float(_WEIGHTS @ p)
    return max(0.0, _entropy(expected) - float(_WEIGHTS @ _entropies(p)))


def _entropies(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(p, 1e-15, 1 - 1e-15)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def _entropy(p: float) -> float:
    return float(_entropies(np.array([p]))[0])


def posterior(models: Sequence[str], wins: npt.NDArray[np.float64], prior: float = PRIOR) -> Posterior:
    """From wins[i, j], how often model i was preferred to j, M x M; ties are half in both places."""
    count = len(models)
    played = wins + wins.T
    won = wins.sum(axis=1)
    mean = np.zeros(count)
    for _ in range(50):
        p = 1 / (1 + np.exp(mean[None, :] - mean[:, None]))
        gradient = won - (played * p).sum(axis=1) - mean / prior**2
        information = _information(played * p * (1 - p), prior)
        step = np.linalg.solve(information, gradient)
        mean = mean + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max(initial=0.0))))
        if float(np.abs(step).max(initial=0.0)) < 1e-9:
            break
    p = 1 / (1 + np.exp(mean[None, :] - mean[:, None]))
    covariance = np.linalg.inv(_information(played * p * (1 - p), prior))
    return Posterior(tuple(models), np.asarray(mean, np.float64), np.asarray(covariance, np.float64))


def _information(weights: npt.NDArray[np.float64], prior: float) -> npt.NDArray[np.float64]:
    weights = weights - np.diag(np.diag(weights))
    return np.asarray(np.diag(weights.sum(axis=1)) - weights + np.eye(len(weights)) / prior**2)


def table(lineups: Mapping[int, tuple[str, ...]], wins: Wins) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The models of these lineups, sorted, and their wins, M x M."""
    models = sorted({model for lineup in lineups.values() for model in lineup})
    at = {model: i for i, model in enumerate(models)}
    found = np.zeros((len(models), len(models)))
    for number, (first, second) in wins.items():
        one, two = lineups[number][:2]
        if one != two:
            found[at[one], at[two]] += first
            found[at[two], at[one]] += second
    return models, found


@dataclass(slots=True)
class _Count:
    seq: int = 0
    of_kind: dict[int, dict[int, list[float]]] = field(default_factory=dict)

    def add(self, kind: str, lineup: int, first: float, second: float) -> None:
        lineups = self.of_kind.setdefault(_RANK[kind], defaultdict(lambda: [0.0, 0.0]))
        lineups[lineup][0] += first
        lineups[lineup][1] += second

    def best(self) -> Wins:
        """Of the kind of raters that outranks the others, where it has any votes."""
        for kind in sorted(self.of_kind):
            wins = {number: (a, b) for number, (a, b) in self.of_kind[kind].items() if a + b > 0}
            if wins:
                return wins
        return {}


class Duels:
    """How often who beat whom in each batch, kept up with the log from event to event; safe for threads."""

    def __init__(self) -> None:
        self._known: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def wins(self, connection: Connection, batch: str) -> Wins:
        """As the connection sees it. The first time all that stands is counted, then only what is new."""
        with self._lock:
            last = log.last(connection)[0]
            count = self._known.pop(batch, None)  # put back whole: half a catching up would count twice
            if count is None or not count.seq <= last <= count.seq + _AFRESH:
                count = _count(connection, batch)
            elif count.seq < last:
                _catch_up(connection, batch, count)
            count.seq = last
            self._known[batch] = count
            return count.best()

    def choose(self, connection: Connection, batch: Batch, lanes: Sequence[int]) -> list[tuple[int, str]]:
        """The lineups in the order of what they are expected to tell, each with its reason."""
        known = lineups(connection, lanes)
        wins = self.wins(connection, batch.name)
        believed = posterior(*table(known | lineups(connection, list(wins)), wins))
        bits = {lane: believed.information(*known[lane][:2]) for lane in lanes}
        votes = sum(map(sum, wins.values()))

        def rank(lane: int) -> tuple[float, float]:
            return -round(bits[lane], 9), chance(batch.seed, "lineup", lane, f"{votes:g}")

        return [(lane, f"active {bits[lane]:.2f} bits") for lane in sorted(lanes, key=rank)]


def lineups(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The models of these lineups, by slot."""
    n = t.lineup.c
    wanted = select(n.number, n.models_json).where(n.number.in_(numbers))
    return {row.number: tuple(json.loads(row.models_json)) for row in connection.execute(wanted)}


def _count(connection: Connection, batch: str) -> _Count:
    s = t.standing.c
    wanted = (
        select(t.rater.c.kind, s.lineup, s.code, func.count().label("n"))
        .join_from(t.standing, t.rater, t.rater.c.number == s.rater_no)
        .where(
            s.batch == batch,
            s.kind == standing.RATING,
            s.repeat_no == 0,
            s.flags.bitwise_and(standing.GOLD | standing.POST_REVEAL) == 0,
        )
        .group_by(t.rater.c.kind, s.lineup, s.code)
    )
    count = _Count()
    for row in connection.execute(wanted):
        first = 0.5 if row.code in (0, standing.BOTH_BAD) else float(row.code > 0)
        count.add(row.kind, row.lineup, row.n * first, row.n * (1 - first))
    return count


def _catch_up(connection: Connection, batch: str, count: _Count) -> None:
    e, a, before = t.rating_event.c, t.assignment.c, t.rating_event.alias("before")
    wanted = (
        select(
            t.rater.c.kind.label("rater_kind"),
            t.task.c.lineup,
            a.order_json,
            e.kind,
            e.choice,
            before.c.kind.label("kind_before"),
            before.c.choice.label("choice_before"),
            e.post_reveal,
            before.c.post_reveal.label("post_reveal_before"),
        )
        .join_from(t.rating_event, t.assignment, a.assignment_id == e.assignment_id)
        .join(t.task, t.task.c.task_id == a.task_id)
        .join(t.rater, t.rater.c.rater_id == a.rater_id)
        .join(before, before.c.event_id == e.prev_event_id, isouter=True)
        .where(e.seq > count.seq, a.batch == batch, a.repeat_no == 0, a.is_gold == 0)
    )
    for row in connection.execute(wanted):
        shown = json.loads(row.order_json)
        now = _won(None if row.post_reveal else row.kind, row.choice, shown)
        then = _won(None if row.post_reveal_before else row.kind_before, row.choice_before, shown)
        count.add(row.rater_kind, row.lineup, now[0] - then[0], now[1] - then[1])


def _won(kind: str | None, choice: str | None, shown: list[int]) -> tuple[float, float]:
    """What an event counts for slots 0 and 1."""
    if kind not in ("rate", "revise"):
        return 0.0, 0.0
    if choice not in ("left", "right"):
        return 0.5, 0.5
    return (1.0, 0.0) if shown[0 if choice == "left" else 1] == 0 else (0.0, 1.0)


# when to stop


class Signal(NamedTuple):
    """Whether it is time to stop, and why, in a sentence; true where it is.

    verdict: "settled", every two neighbours of the ranking are told apart at 90 %; "undecided", some are not, and
    could not be even if every rating that is left went the way of the ranking so far; "not settled", go on.
    """

    verdict: Literal["settled", "undecided", "not settled"]
    why: str

    def __bool__(self) -> bool:
        """More ratings would change nothing."""
        return self.verdict != "not settled"


def settled(ratings: "Ratings", batch: str, *, wins: Wins | None = None) -> Signal:
    """The stop signal of a batch of pairs; `wins`: what stands, where the caller has counted it already."""
    with ratings.database.reading() as connection:
        about = batches.get(connection, batch)
        if about.mode not in ("pair", "dialogue"):
            raise RatingError(f"batch {batch!r} is of mode {about.mode!r}: only pairs are ranked on the way")
        wins = Duels().wins(connection, batch) if wins is None else wins
        left = _left(connection, about)
        known = lineups(connection, [*wins, *left])
    return _settled(known, wins, left)


def _settled(known: Mapping[int, tuple[str, ...]], wins: Wins, left: Mapping[int, int]) -> Signal:
    models, table_now = table(known, wins)
    rest = sum(left.values())
    if len(models) < 2:
        return Signal("not settled", "there are no two models to compare")
    now = posterior(models, table_now)
    unsure = now.unsure()
    if not unsure:
        return Signal("settled", f"all {len(models)} models are told apart at 90 %, each from the next")
    best = posterior(models, table_now + _all_as_ranked(now, known, left))
    hopeful = [
        (one, two) for one, two in unsure if (reach := best.difference(one, two))[0] >= SURE * reach[1]
    ]
    if not hopeful:
        pairs = ", ".join(f"{one} from {two}" for one, two in unsure)
        left_over = f"{rest} ratings are left, too few" if rest else "nothing is left to rate"
        whatever = " whatever they say" if rest else ""
        return Signal("undecided", f"{left_over} to tell {pairs} at 90 %{whatever}")
    one, two = hopeful[0]
    return Signal("not settled", f"{one} and {two} are not told apart at 90 % yet; {rest} ratings are left")


def _all_as_ranked(
    now: Posterior, known: Mapping[int, tuple[str, ...]], left: Mapping[int, int]
) -> npt.NDArray[np.float64]:
    """The wins where every rating that is left goes to the model that leads."""
    place = {model: n for n, model in enumerate(now.ranked())}
    at: Callable[[str], int] = now.models.index
    more = np.zeros((len(now.models), len(now.models)))
    for number, count in left.items():
        one, two = known[number][:2]
        if one != two:
            leads, follows = sorted((one, two), key=place.__getitem__)
            more[at(leads), at(follows)] += count
    return more


def _left(connection: Connection, batch: Batch) -> dict[int, int]:
    """Ratings still to come for each lineup; where every rater is asked, from those who have begun."""
    o, k = t.opening.c, t.task.c
    everyone = case((o.missing < 0, 1), else_=0)
    wanted = (
        select(
            k.lineup, func.sum(everyone).label("open"), func.sum(o.missing * (1 - everyone)).label("places")
        )
        .join_from(t.opening, t.task, (k.batch == o.batch) & (k.ordinal == o.ordinal))
        .where(o.batch == batch.name, o.lane >= 0, o.missing != 0)
        .group_by(k.lineup)
    )
    rows = connection.execute(wanted).all()
    found = {row.lineup: int(row.places) for row in rows}
    if not any(row.open for row in rows):  # counting raters and their answers takes a second at a million
        return found
    y = t.tally.c
    raters = connection.execute(
        select(func.count(y.rater_no.distinct()))
        .join_from(t.tally, t.rater, t.rater.c.number == y.rater_no)
        .where(y.batch == batch.name, t.rater.c.kind != "judge")
    ).scalar_one()
    for row in rows:
        found[row.lineup] += max(1, raters) * int(row.open)
    for lineup, answered in _answered(connection, batch):
        found[lineup] = max(0, found[lineup] - answered)
    return found


def _answered(connection: Connection, batch: Batch) -> Sequence[Any]:
    """(lineup, how many answers) to the tasks that every rater is asked."""
    s, o = t.standing.c, t.opening.c
    return connection.execute(
        select(s.lineup, func.count())
        .join_from(t.standing, t.opening, (o.batch == s.batch) & (o.ordinal == s.ordinal))
        .join(t.rater, t.rater.c.number == s.rater_no)
        .where(s.batch == batch.name, o.missing < 0, o.lane >= 0, s.repeat_no == 0, t.rater.c.kind != "judge")
        .group_by(s.lineup)
    ).all()
