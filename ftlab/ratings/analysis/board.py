"""From what stands in a batch to a report: agreement, ranking, bias, pace, judges, all in numpy columns.

No step walks over ratings in Python: a million of them take a second or two, reading included.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, select

from ftlab.errors import RatingError
from ftlab.ratings import batches
from ftlab.ratings import schema as t
from ftlab.ratings.analysis import agreement, bias, compared
from ftlab.ratings.analysis.agreement import Patterns
from ftlab.ratings.analysis.couples import couples
from ftlab.ratings.analysis.report import Disagreement, JudgeLine, RaterLine, Report
from ftlab.ratings.analysis.statistic import Floats, Integers, Statistic, estimate, undefined
from ftlab.ratings.standing import GOLD, HASTY, LATE, POST_REVEAL, RATING, Standing, read

if TYPE_CHECKING:
    from ftlab.ratings.choosing import Signal
    from ftlab.ratings.store import Ratings

Booleans = npt.NDArray[np.bool_]

GROUPS = {"persons": ("person", "replay"), "simulated raters": ("simulated",), "judges": ("judge",)}
"""Whose ratings are read together, those that outrank the others first; they are never mixed."""
PAIRS = ("pair", "dialogue")
MANY = 20_000
"""Tasks up to which a rater's share of a batch that raters divide among them is worked out."""
CURVES, SPOTS = 8, 40
"""Raters with a curve of their pace, those with most answers; points of one."""


def board(
    ratings: "Ratings",
    batch: str,
    *,
    kinds: Iterable[str] | None = None,
    disagreements: int = 20,
    judge_settled: bool = True,
) -> Report:
    """The report of a batch.

    kinds: of these kinds of raters; by default persons' ratings (and replays of persons') outrank those of
    simulated raters, and these a judge's. Repeats, gold items and what was said after the models were shown
    count for nothing but the figures about them. Raises RatingError where the batch does not exist.
    """
    with ratings.database.reading() as connection:
        standing = read(connection, batch)
        gold = _gold(connection, standing)
        tasks = (
            connection.execute(select(func.max(t.task.c.ordinal)).where(t.task.c.batch == batch)).scalar()
            or 0
        )
        wanted = _Work(standing, gold, tasks, _known(kinds))
        judged = wanted.judges(disagreements)
        lines = tuple(_judge_line(connection, standing, *one) for one in judged)
        asked = batches.get(connection, batch).settings.overlap is None or tasks <= MANY
    totals: dict[int, int] = {}
    if asked and len(wanted.present) <= CURVES * 5:
        totals = {
            number: ratings.progress(name, batch).total
            for number in wanted.present
            for name, kind in [standing.raters[number]]
            if kind != "judge"  # it is asked as often as it has orders, not as often as a person
        }
    settled = None
    if judge_settled and standing.mode in PAIRS:
        from ftlab.ratings import choosing  # it imports the board's neighbours

        settled = choosing.settled(ratings, batch, wins=wanted.duels())
    return wanted.report(totals, lines, settled)


def analyse(standing: Standing, *, tasks: int | None = None, kinds: Iterable[str] | None = None) -> Report:
    """The same from columns alone: without gold items, judges' disagreements and the stop signal."""
    top = int(standing.ordinal.max(initial=0))
    nothing = _Gold(np.full(top + 1, np.nan), {})
    wanted = _Work(standing, nothing, tasks or top, _known(kinds))
    return wanted.report({}, (), None)


def _known(kinds: Iterable[str] | None) -> tuple[str, ...] | None:
    if kinds is None:
        return None
    found = tuple(kinds)
    unknown = [kind for kind in found if kind not in t.RATERS]
    if unknown or not found:
        raise RatingError(
            f"kinds of raters are {', '.join(t.RATERS)}, not {unknown[0] if unknown else kinds!r}"
        )
    return found


@dataclass(frozen=True)
class _Gold:
    """What gold items should be answered, by task number; NaN and no entry where a task is none."""

    code: Floats
    ranks: dict[int, list[Any]]


def _gold(connection: Connection, standing: Standing) -> _Gold:
    wanted = (
        select(t.task.c.ordinal, t.gold.c.expected_json)
        .join_from(t.gold, t.task, t.task.c.task_id == t.gold.c.task_id)
        .where(t.task.c.batch == standing.batch)
    )
    top = int(standing.ordinal.max(initial=0)) + 1
    code = np.full(top, np.nan)
    ranks: dict[int, list[Any]] = {}
    if connection.execute(select(t.gold.c.task_id).limit(1)).first() is None:
        return _Gold(code, ranks)  # the join would walk over every task of the batch
    choices = {"first": 1.0, "second": -1.0, "tie": 0.0, "both_bad": 9.0}
    for ordinal, text in connection.execute(wanted):
        if ordinal >= top:
            continue
        expected = json.loads(text)
        if "choice" in expected:
            code[ordinal] = choices[expected["choice"]]
        elif "likert" in expected:
            code[ordinal] = expected["likert"]
        elif "thumb" in expected:
            code[ordinal] = 7.0 if expected["thumb"] == "up" else 1.0
        elif "ranks" in expected:
            ranks[ordinal] = expected["ranks"]
    return _Gold(code, ranks)


class _Work:
    """The columns of one batch on their way to a report."""

    def __init__(self, standing: Standing, gold: _Gold, tasks: int, kinds: tuple[str, ...] | None) -> None:
        s = self.s = standing
        self.gold, self.tasks = gold, tasks
        self.signs = _signs(s)
        kind = np.array([kind for _, kind in s.raters] or [""])
        self.present = np.unique(s.rater).tolist()
        is_rating = s.kind == RATING
        self.late = (s.flags & POST_REVEAL) > 0
        is_gold, is_repeat = (s.flags & GOLD) > 0, s.repeat_no > 0
        self.usable = is_rating & ~self.late
        one_order, code = _as_one(s, np.isin(kind, ("judge",))[s.rater])
        self.joint = replace(s, code=code)
        """The same with each judge's two orders made one: where they contradict each other it is a tie."""
        self.plain = self.usable & ~is_gold & ~is_repeat & ~one_order
        self.who, self.kinds = _who(s, kind, self.plain, kinds)
        self.mine = np.isin(kind, self.kinds)[s.rater]
        self.base = self.plain & self.mine
        own = is_rating & self.mine
        self.left_out = {
            "said after the models were shown": int((own & self.late).sum()),
            "repeats": int((own & ~self.late & is_repeat).sum()),
            "gold items": int((own & ~self.late & ~is_repeat & is_gold).sum()),
            "verdicts in one order only": int((own & ~self.late & ~is_repeat & ~is_gold & one_order).sum()),
            "of other raters": int((is_rating & ~self.mine).sum()),
        }

    def report(
        self, totals: dict[int, int], judges: tuple[JudgeLine, ...], settled: "Signal | None"
    ) -> Report:
        s = self.s
        found = self._compared()
        plain, controlled, gentle = compared.rankings(found)
        longer, length = compared.length(found)
        again = self._again(self.usable & self.mine)
        return Report(
            batch=s.batch,
            mode=s.mode,
            seq=s.seq_upto,
            tasks=self.tasks,
            who=self.who,
            n=int(self.base.sum()),
            left_out=self.left_out,
            raters=tuple(self._rater(number, totals.get(number)) for number in self.present),
            agreement=tuple(self._agreement()),
            couples=tuple(couples(self.joint, np.flatnonzero(self.base))),
            models=found.models,
            wins=tuple(map(tuple, found.table.tolist())),
            ranking=plain,
            controlled=controlled,
            gentle=gentle,
            means=tuple(self._means()),
            position=self._position(self.base),
            longer=longer,
            length=length,
            consistency=again,
            pace=bias.pace(s.shown_ms[self.base], (s.flags[self.base] & HASTY) > 0),
            over_time=self._over_time(),
            judges=judges,
            settled=settled,
        )

    # raters

    def _rater(self, number: int, total: int | None) -> RaterLine:
        s, own = self.s, self._rows_of(number)
        rated = own[s.kind[own] == RATING]
        plain = own[self.plain[own]]
        kinds = np.bincount(s.kind[own], minlength=3)  # repeats too, as in `total`
        right, n = self._gold_of(rated[~self.late[rated]])
        identity, kind = s.raters[number]
        return RaterLine(
            rater=identity,
            name=s.names[number],
            kind=kind,
            answered=int(kinds[0]),
            skipped=int(kinds[1]),
            flagged=int(kinds[2]),
            late=int(((s.flags[rated] & LATE) > 0).sum()),
            total=total,
            pace=bias.pace(s.shown_ms[plain], (s.flags[plain] & HASTY) > 0),
            position=self._position(plain),
            consistency=self._again(rated[~self.late[rated]]),
            gold=bias.gold_accuracy(right, n),
        )

    def _rows_of(self, number: int) -> Integers:
        """The rows of one rater, in the order of the tasks; all raters are sorted at once, the first time."""
        if not hasattr(self, "_ends"):
            self._order = np.argsort(
                self.s.rater.astype(np.uint16 if len(self.s.raters) < 2**16 else np.int64), kind="stable"
            )
            self._ends = np.searchsorted(self.s.rater[self._order], np.arange(len(self.s.raters) + 1))
        rows: Integers = self._order[self._ends[number] : self._ends[number + 1]]
        return rows

    def _gold_of(self, rows: Integers) -> tuple[int, int]:
        """How many gold items were answered as expected, of how many; a Likert scale may be off by one."""
        s = self.s
        rows = rows[(s.flags[rows] & GOLD) > 0]
        rows = rows[s.repeat_no[rows] == 0]
        wanted = self.gold.code[s.ordinal[rows]]
        known = ~np.isnan(wanted)
        if s.mode == "single":
            thumbs = np.isin(wanted, (1.0, 7.0)) & (s.thumb[rows] >= 0)
            right = np.where(thumbs, (wanted > 4) == (s.code[rows] > 4), np.abs(s.code[rows] - wanted) <= 1)
        else:
            right = np.where(s.code[rows] == 9, 9, np.sign(s.code[rows])) == wanted
        good, n = int((right & known).sum()), int(known.sum())
        for row in rows[[int(o) in self.gold.ranks for o in s.ordinal[rows]]] if self.gold.ranks else ():
            n += 1
            good += _is_ordered(s.details.get(int(row), ""), self.gold.ranks[int(s.ordinal[row])])
        return good, n

    def _position(self, rows: npt.NDArray[Any]) -> bias.Position:
        """rows: a mask or row numbers."""
        if self.s.mode not in PAIRS:
            return bias.position(0, 0)
        code, left = self.signs[rows], self.s.left_slot[rows]
        decided = code != 0
        return bias.position(int(((code > 0) == (left == 0))[decided].sum()), int(decided.sum()))

    def _again(self, rows: npt.NDArray[Any]) -> bias.Consistency:
        """First and second answers of the same rater to the same task, which lie behind each other."""
        s = self.s
        if s.mode == "edit":
            reason = "what is written has no values that could be the same"
            return bias.Consistency(undefined("self-consistency", reason), 0)
        own = np.flatnonzero(rows) if rows.dtype == bool else rows
        same = (s.ordinal[own][1:] == s.ordinal[own][:-1]) & (s.rater[own][1:] == s.rater[own][:-1])
        first, again = own[:-1][same], own[1:][same]
        once = s.repeat_no[first] == 0
        first, again = first[once], again[once]
        if s.mode == "rank":
            keep = [s.details.get(int(i)) == s.details.get(int(j)) for i, j in zip(first, again, strict=True)]
            n = np.array(keep, dtype=np.int64)
            return bias.consistency(np.ones_like(n), n, np.zeros_like(n), np.zeros_like(n))
        if s.mode == "single":
            n = (s.code[first] == s.code[again]).astype(np.int64)
            return bias.consistency(np.ones_like(n), n, np.zeros_like(n), np.zeros_like(n))
        return bias.consistency(self.signs[first], self.signs[again], s.left_slot[first], s.left_slot[again])

    def _over_time(self) -> dict[str, list[tuple[int, float]]]:
        """Median seconds over each fortieth of a rater's answers, in the order in which they were given."""
        s, curves = self.s, {}
        sizes = [(int(self.base[self._rows_of(number)].sum()), number) for number in self.present]
        for size, number in sorted(sizes, key=lambda one: -one[0])[:CURVES]:
            own = self._rows_of(number)
            own = own[self.base[own] & (s.shown_ms[own] >= 0)]
            own = own[np.argsort(s.seq[own])]
            if not size or not own.size:
                continue
            parts = np.array_split(s.shown_ms[own] / 1000, min(SPOTS, max(1, own.size // 3)))
            ends = np.cumsum([part.size for part in parts])
            name = s.names[number]
            if name in curves:  # two raters may be called the same
                name = f"{name} ({s.raters[number][0]})"
            curves[name] = [(int(end), float(np.median(part))) for end, part in zip(ends, parts, strict=True)]
        return curves

    # agreement

    def _agreement(self) -> list[Statistic]:
        s, own = self.s, self.base
        if s.mode == "edit":
            return [undefined("percent", "what is written has no values that could be the same")]
        if s.mode == "single":
            ratings = Patterns.of_rows(s.ordinal[own], s.code[own], range(1, 8)) if own.any() else _EMPTY
            return [
                agreement.percent(ratings, name="percent, the very same rating"),
                agreement.krippendorff_alpha(ratings, "ordinal"),
                agreement.gwet_ac(ratings, "quadratic"),
            ]
        if s.mode == "rank":
            pairs = compared.ranked_pairs(s, np.flatnonzero(own))
            three = Patterns.of_rows(pairs.unit, pairs.sign, (-1, 0, 1), bundle=pairs.bundle)
            return [
                agreement.percent(three, name="percent, each two answers"),
                agreement.percent(three, without=(0.0,), name="percent without ties"),
                agreement.krippendorff_alpha(three, "ordinal"),
                agreement.gwet_ac(three),
            ]
        said = Patterns.of_rows(s.ordinal[own], self.joint.code[own], agreement.CODES)
        choice, three, seven = map(said.mapped, (agreement.CHOICE, agreement.THREE, agreement.SEVEN))
        return [
            agreement.percent(three, name="percent with ties"),
            agreement.percent(choice, without=agreement.NEITHER, name="percent without ties"),
            agreement.krippendorff_alpha(choice, "nominal"),
            agreement.krippendorff_alpha(seven, "ordinal"),
            agreement.gwet_ac(choice),
            agreement.gwet_ac(seven, "quadratic"),
        ]

    # ranking

    def _compared(self) -> compared.Compared:
        s = self.joint
        rows = np.flatnonzero(self.base)
        if s.mode == "rank":
            return compared.of_ranks(s, rows)
        found = compared.of_pairs(s, rows if s.mode in PAIRS else rows[:0])
        return found if s.mode in PAIRS else replace(found, lengths=None)

    def duels(self) -> dict[int, tuple[float, float]]:
        """How often the first and the second model of each lineup was preferred, ties as halves."""
        s, own = self.joint, np.flatnonzero(self.base)
        first = (1 + _signs(s)[own]) / 2
        n = np.bincount(s.lineup[own])
        up = np.bincount(s.lineup[own], weights=first)
        return {int(k) + 1: (float(up[k]), float(n[k] - up[k])) for k in np.flatnonzero(n)}

    def _means(self) -> list[dict[str, Any]]:
        """Mode single: what each model's answers were given, items drawn again."""
        s = self.s
        if s.mode != "single":
            return []
        model_of = np.array([lineup[0] for lineup in s.lineups] or [""])
        out = []
        for what, value, there in (
            ("mean rating, 1 to 7", s.code, self.base & (s.code > 0)),
            ("thumbs up", s.thumb, self.base & (s.thumb >= 0)),
        ):
            rows = np.flatnonzero(there)
            models = model_of[s.lineup[rows]]
            for model in np.unique(models).tolist():
                own = rows[models == model]
                found = Patterns.of_rows(s.ordinal[own], value[own])
                sums = np.stack([found.counts @ found.values, found.counts.sum(axis=1)], axis=1).astype(
                    np.float64
                )
                mean = estimate(what, sums, found.times, lambda x: x[..., 0] / x[..., 1], n=own.size)
                out.append(
                    {"model": model, "what": what}
                    | {k: getattr(mean, k) for k in ("value", "low", "high", "n")}
                )
        return out

    # judges

    def judges(self, most: int) -> list[tuple[str, str, agreement.Calibration, list[tuple[int, int]]]]:
        """Name, kind, calibration and the disagreements (task, sign for what persons prefer) of each judge.

        Raters of the kinds that the persons outrank are judges here: judges, and simulated raters as well.
        """
        s = self.s
        if s.mode not in PAIRS or self.who != "persons":
            return []
        rows = np.flatnonzero(self.base)
        top = int(s.ordinal.max(initial=0)) + 1
        votes = np.bincount(s.ordinal[rows], minlength=top)
        lean = np.bincount(s.ordinal[rows], weights=self.signs[rows], minlength=top)
        size = np.bincount(s.ordinal[rows], weights=np.abs(_strength(s.code[rows])), minlength=top)
        with np.errstate(invalid="ignore"):
            person = np.where(votes > 0, np.sign(lean) * np.maximum(size / votes, 0.5), np.nan)
        out = []
        for number in self.present:
            kind = s.raters[number][1]
            if kind not in ("judge", "simulated"):
                continue
            own = self._rows_of(number)
            verdict = _both_orders(self, own[(s.flags[own] & (GOLD | POST_REVEAL)) == 0], top)
            found = agreement.calibration(person, verdict)
            tasks = [(int(place), int(np.sign(person[place]))) for place in found.disagreements[:most]]
            out.append((s.names[number], kind, found, tasks))
        return out


_EMPTY = Patterns(np.arange(1.0, 8.0), np.zeros((0, 7), np.int64), np.zeros(0, np.int64))


def _as_one(s: Standing, is_judge: Booleans) -> tuple[Booleans, Integers]:
    """Where a judge gave a verdict in one order alone, and `code` with its two orders made one in the first."""
    code, one_order = s.code.copy(), np.zeros(len(s), bool)
    if s.mode not in PAIRS:
        return one_order, code
    same = (s.ordinal[1:] == s.ordinal[:-1]) & (s.rater[1:] == s.rater[:-1]) & is_judge[1:]
    first = np.flatnonzero(same)
    again = first + 1
    is_rating = s.kind == RATING
    one_order[first] = is_rating[first] & ~is_rating[again]
    one_order[again] = is_rating[again] & ~is_rating[first]
    a, b = s.code[first], s.code[again]
    alike = (np.sign(a) == np.sign(b)) & ((a == 9) == (b == 9))
    code[first] = np.where(alike, np.sign(a) * np.minimum(np.abs(a), np.abs(b)), 0)
    return one_order, code


def _signs(s: Standing) -> Integers:
    """1 where slot 0 is preferred, -1 where slot 1 is, 0 for neither; 0 in the modes without a pair."""
    if s.mode not in PAIRS:
        return np.zeros(len(s), np.int64)
    return np.where(s.code == 9, 0, np.sign(s.code))


def _strength(code: Integers) -> Floats:
    return np.where(code == 9, 0, code).astype(np.float64)


def _who(
    s: Standing, kind: npt.NDArray[Any], plain: Booleans, kinds: tuple[str, ...] | None
) -> tuple[str, tuple[str, ...]]:
    if kinds is not None:
        return " and ".join(kinds), kinds
    there = set(kind[np.unique(s.rater[plain])].tolist())
    for name, members in GROUPS.items():
        if there & set(members):
            return name, members
    return "persons", GROUPS["persons"]


def _is_ordered(said: str, wanted: Sequence[Any]) -> bool:
    """Whether every two answers that the gold orders stand in that order."""
    ranks = [99 if one == "-" else int(one) for one in said.split(",")] if said else []
    gold = [99 if one is None else int(one) for one in wanted]
    return len(ranks) == len(gold) and all(
        ranks[i] < ranks[j] for i in range(len(gold)) for j in range(len(gold)) if gold[i] < gold[j]
    )


def _both_orders(work: _Work, rows: Integers, top: int) -> Floats:
    """A judge's preference by task, signed: the mean of its orders where they agree, else 0; NaN: no verdict."""
    s = work.s
    silent = np.zeros(top, bool)
    silent[s.ordinal[rows[s.kind[rows] != RATING]]] = True
    rows = rows[~silent[s.ordinal[rows]]]
    count = np.bincount(s.ordinal[rows], minlength=top)
    signs = np.bincount(s.ordinal[rows], weights=work.signs[rows], minlength=top)
    sums = np.bincount(s.ordinal[rows], weights=_strength(s.code[rows]), minlength=top)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.where(np.abs(signs) == count, sums / count, 0.0), np.nan)


# disagreements, in words


def _judge_line(
    connection: Connection,
    standing: Standing,
    name: str,
    kind: str,
    found: agreement.Calibration,
    tasks: list[tuple[int, int]],
) -> JudgeLine:
    signs = dict(tasks)
    k, r = t.task.c, t.response.c
    wanted = (
        select(k.ordinal, k.prompt_json, r.slot, r.model_ref, r.text)
        .join_from(t.task, t.response, r.task_id == k.task_id)
        .where(k.batch == standing.batch, k.ordinal.in_(list(signs)))
    )
    prompts: dict[int, str] = {}
    answers: dict[int, dict[int, dict[str, str]]] = {}
    for row in connection.execute(wanted):
        prompts[row.ordinal] = _prompt(json.loads(row.prompt_json))
        answers.setdefault(row.ordinal, {})[row.slot] = {"model": row.model_ref, "text": row.text}
    listed = []
    for ordinal, sign in tasks:
        better = 0 if sign > 0 else 1
        both = answers[ordinal]
        listed.append(Disagreement(ordinal, prompts[ordinal], both[better], both[1 - better]))
    return JudgeLine(name, kind, found, tuple(listed), len(found.disagreements))


def _prompt(messages: Any) -> str:
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
