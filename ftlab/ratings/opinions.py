"""What the raters think of each task at one moment of the log, and what that comes to."""

import json
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import combinations, groupby
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import Connection, Select, case, func, select, text

from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.standing import GOLD, POST_REVEAL

Aggregate = Literal["majority", "all", "unanimous"]

PAIRS = ("pair", "dialogue")
"""The modes in which one of two answers is preferred."""

_RANK = {"person": 0, "replay": 0, "simulated": 1, "judge": 2}
"""Who outranks whom where kinds of raters meet on a task: the lowest number counts alone."""

_PART = 5_000  # rows fetched at once: 1,000,000 events pass through a few MiB
ONE_ORDER = "a judge's verdict in one order only"
"""Why a verdict is no vote: in the other order the judge gave none, so that nothing tells it from the side."""
_ASIDE = {"undo": "undone", "skip": "skipped", "flag": "flagged"}
_NOTHING: Mapping[str, int] = {}


class Vote(NamedTuple):
    """One rater's standing rating of one task.

    `winner` is a slot, None where there is none; `strength` 0 to 3 in its favour. `shown` are the slots in the
    order shown, left first. `scores` is what the other modes say, in the order shown.
    """

    seq: int
    event_id: str
    rater: str
    rater_kind: str
    choice: str | None
    winner: int | None
    strength: int
    shown: tuple[int, ...]
    scores: Mapping[str, Any]

    def by_slot(self, values: Sequence[Any]) -> list[Any]:
        """Values in the order shown, put in the order of the slots."""
        return [values[self.shown.index(slot)] for slot in range(len(self.shown))]


class Opinions(NamedTuple):
    """A task with the ratings of it, oldest first; models and texts by slot.

    `aside` counts the opinions that are no ratings to be counted, by reason: gold, repeat, undone, skipped,
    flagged, said after the models were shown, or a judge's that it has in one order alone.
    """

    task_id: str
    batch: str
    mode: str
    position: int
    instructions_version: int
    prompt_json: str
    models: tuple[str, ...]
    texts: tuple[str, ...]
    votes: tuple[Vote, ...]
    aside: Mapping[str, int]

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The conversation that the answers answer."""
        messages: list[dict[str, str]] = orjson.loads(self.prompt_json)
        return messages

    def of_kinds(self, kinds: Sequence[str] | None) -> tuple[tuple[Vote, ...], int]:
        """The votes that count, never of two ranks, and how many were left aside."""
        votes = self.votes
        if kinds is not None:
            votes = tuple(vote for vote in votes if vote.rater_kind in kinds)
        elif len({vote.rater_kind for vote in votes}) > 1:
            best = min(_RANK[vote.rater_kind] for vote in votes)
            votes = tuple(vote for vote in votes if _RANK[vote.rater_kind] == best)
        return votes, len(self.votes) - len(votes)


class Finding(NamedTuple):
    """What some votes come to: a winning slot, or the reason why there is none.

    `margin` is the mean strength in favour of the winner (ties count 0, votes for the other one negative),
    at least 0. `agreement` is the winner's share of the ratings.
    """

    winner: int | None
    reason: str
    votes: tuple[Vote, ...]
    margin: float = 0.0
    agreement: float = 0.0


def read(
    connection: Connection, batch: str | None, upto: int, modes: Sequence[str] = PAIRS
) -> Iterator[Opinions]:
    """Tasks of these modes on which anything was said up to event `upto`, by batch and position.

    Streams: of the answers and of the opinions, only what belongs to one task is held at a time.
    """
    if batch is not None:
        check_batch(connection, batch)
    b = t.batch.c
    wanted = select(b.name, b.mode).where(b.mode.in_(modes))
    found = [tuple(row) for row in connection.execute(wanted) if batch in (None, row.name)]
    kinds = {row[0]: row[1] for row in connection.execute(select(t.rater.c.rater_id, t.rater.c.kind))}
    newest = connection.execute(select(func.max(t.rating_event.c.seq))).scalar() or 0
    for name, mode in sorted(found):  # sorted here: databases disagree on the order of text
        heads = _standing(name, mode) if upto >= newest else _heads(name, upto)
        undone = _undone(connection, name) if upto >= newest else {}
        answers = _pairs(connection, name) if mode in PAIRS else _tasks(connection, name)
        # closed at once where the reader stops: a server keeps an open cursor
        with closing(stream(connection, heads)) as rows, closing(answers):
            for task, here in _beside(answers, groupby(rows, key=_place)):
                taken_back = undone.get(task[0], 0)
                if here or taken_back:
                    yield _opinions(name, mode, task, here, kinds, taken_back)


def _beside(
    answers: Iterator["_Answered"], said: Iterator[tuple[int, Iterator[Any]]]
) -> Iterator[tuple["_Answered", list[Any]]]:
    """Each task with the rows about it: both come in the order of the batch."""
    place, rows = next(said, (0, iter(())))
    for task in answers:
        if task[0] == place:
            yield task, list(rows)
            place, rows = next(said, (0, iter(())))
        else:
            yield task, []


def _place(row: Any) -> int:
    place: int = row[0]
    return place


def stream(connection: Connection, wanted: Select[Any]) -> Generator[Any, None, None]:
    """Rows as the database finds them, a few thousand at a time."""
    with connection.execute(wanted.execution_options(yield_per=_PART)) as result:
        for part in result.partitions():
            yield from part


def _standing(batch: str, mode: str) -> Select[Any]:
    """What stands now, in the order in which `standing` is kept: no sorting, one look-up for each row.

    Columns: place, seq, event_id, rater_id, kind, choice, strength, scores_json, order_json, repeat_no, flags.
    """
    s, e, a = t.standing.c, t.rating_event.c, t.assignment.c
    source = t.standing.join(t.rating_event, e.seq == s.seq)
    shown: Any = a.order_json
    if mode in PAIRS:
        shown = case((s.left_slot == 0, "[0,1]"), else_="[1,0]")
    else:
        source = source.join(t.assignment, a.assignment_id == s.assignment_id)
    return (
        select(s.ordinal, s.seq, *_said(e), shown, s.repeat_no, s.flags)
        .select_from(source)
        .where(s.batch == batch)
        .order_by(s.ordinal, s.rater_no, s.repeat_no)
    )


def _said(e: Any) -> tuple[Any, ...]:
    return e.event_id, e.rater_id, e.kind, e.choice, e.strength, e.scores_json


def _undone(connection: Connection, batch: str) -> dict[int, int]:
    """How many opinions on each task were taken back, and stand no more; by place."""
    a = t.assignment.c
    wanted = (
        select(a.ordinal, func.count())
        .where(a.batch == batch, text("assignment.is_open = 1"), a.head_event_id.is_not(None))
        .group_by(a.ordinal)
    )
    return {row[0]: row[1] for row in connection.execute(wanted)}


def _heads(batch: str, upto: int) -> Select[Any]:
    """The same columns at an earlier event: the newest event of each assignment then, "undo" among them."""
    e, a = t.rating_event.c, t.assignment.c
    before = t.rating_event.alias("before").c
    newest = (
        select(func.max(before.seq))
        .where(before.assignment_id == a.assignment_id, before.seq <= upto)
        .scalar_subquery()
    )
    return (
        select(
            a.ordinal, e.seq, *_said(e), a.order_json, a.repeat_no, a.is_gold + POST_REVEAL * e.post_reveal
        )
        .join_from(t.assignment, t.rating_event, e.seq == newest)
        .where(a.batch == batch)
        .order_by(a.ordinal, e.seq)
    )


_Answered = tuple[int, str, int, str, tuple[str, ...], tuple[str, ...]]
"""Place, task_id, version of the instructions, prompt_json, models and texts by slot."""


def _pairs(connection: Connection, batch: str) -> Generator[_Answered, None, None]:
    """The tasks of a batch of pairs, in its order: one row of the database each."""
    k, one, two = t.task.c, t.response.alias("one").c, t.response.alias("two").c
    wanted = (
        select(
            k.ordinal,
            k.task_id,
            k.instruction_version,
            k.prompt_json,
            one.model_ref,
            two.model_ref,
            one.text,
            two.text,
        )
        .where(
            one.task_id == k.task_id, one.slot == 0, two.task_id == k.task_id, two.slot == 1, k.batch == batch
        )
        .order_by(k.ordinal)
    )
    for place, task_id, version, prompt_json, a, b, one_text, two_text in stream(connection, wanted):
        yield place, task_id, version, prompt_json, (a, b), (one_text, two_text)


def _tasks(connection: Connection, batch: str) -> Generator[_Answered, None, None]:
    """The tasks of a batch of any mode, in its order."""
    k, r = t.task.c, t.response.c
    wanted = (
        select(k.ordinal, k.task_id, k.instruction_version, k.prompt_json, r.model_ref, r.text)
        .join_from(t.task, t.response, r.task_id == k.task_id, isouter=True)
        .where(k.batch == batch)
        .order_by(k.ordinal, r.slot)
    )
    for _, group in groupby(stream(connection, wanted), key=_place):
        rows = list(group)
        answers = [row for row in rows if row[4] is not None]
        yield *rows[0][:4], tuple(row[4] for row in answers), tuple(row[5] for row in answers)


@lru_cache(maxsize=4096)
def _order(order_json: str) -> tuple[int, ...]:
    return tuple(json.loads(order_json))


def _opinions(
    batch: str, mode: str, task: _Answered, said: list[Any], kinds: dict[str, str], undone: int
) -> Opinions:
    place, task_id, version, prompt_json, models, texts = task
    votes: list[Vote] = []
    aside: dict[str, int] = {"undone": undone} if undone else {}
    has_judge = False
    silent: set[str] = set()
    for _, seq, event_id, rater, kind, choice, strength, scores_json, order_json, repeat_no, flags in said:
        rater_kind = kinds[rater]
        is_judge = rater_kind == "judge"
        reason = "undone" if kind == "undo" else "gold" if flags & GOLD else _ASIDE.get(kind)
        if reason is None and flags & POST_REVEAL:
            reason = "said after the models were shown"
        if reason is None and repeat_no and not is_judge:
            reason = "repeat"
        if reason is not None:
            aside[reason] = aside.get(reason, 0) + 1
            if is_judge and kind in _ASIDE and kind != "undo":
                silent.add(rater)
            continue
        shown = _order(order_json)
        winner = shown[0] if choice == "left" else shown[1] if choice == "right" else None
        scores = orjson.loads(scores_json) if scores_json else _NOTHING
        votes.append(Vote(seq, event_id, rater, rater_kind, choice, winner, strength or 0, shown, scores))
        has_judge = has_judge or is_judge
    if silent:
        kept = [vote for vote in votes if vote.rater not in silent]
        if len(kept) < len(votes):
            aside[ONE_ORDER] = len(votes) - len(kept)
        votes = kept
    if has_judge:
        votes = _judged(votes)
    if len(votes) > 1:
        votes.sort(key=_seq)
    return Opinions(
        task_id, batch, mode, place, version, prompt_json, models, texts, tuple(votes), aside or _NOTHING
    )


def _seq(vote: Vote) -> int:
    return vote.seq


def _judged(votes: list[Vote]) -> list[Vote]:
    """Each judge's votes on both orders brought together."""
    orders: dict[str, list[Vote]] = {}
    for vote in votes:
        if vote.rater_kind == "judge":
            orders.setdefault(vote.rater, []).append(vote)
    return [vote for vote in votes if vote.rater_kind != "judge"] + [
        _in_both_orders(each) for each in orders.values()
    ]


def _in_both_orders(votes: list[Vote]) -> Vote:
    """A judge's votes on both orders as one: where they disagree, a tie (Zheng et al. 2023, MT-bench)."""
    first = votes[0]
    if len({(vote.choice in ("left", "right"), vote.winner) for vote in votes}) > 1:
        return first._replace(choice="tie", winner=None, strength=0)
    if len({vote.choice for vote in votes}) > 1 and first.winner is None:  # a tie here, both bad there
        return first._replace(choice="tie", strength=0)
    return first._replace(strength=min(vote.strength for vote in votes))


def check_batch(connection: Connection, batch: str) -> None:
    """RatingError that lists the batches where there is none of this name."""
    names = connection.execute(select(t.batch.c.name).order_by(t.batch.c.name)).scalars().all()
    if batch not in names:
        raise RatingError(f"there is no batch {batch!r}; there is {', '.join(names) or 'none yet'}")


def findings(votes: Sequence[Vote], aggregate: Aggregate, min_strength: int) -> list[Finding]:
    """One finding of a task, or under "all" one of each rating; none where nobody rated it.

    The majority is that of all preferences, weak ones too: a weak vote for one answer speaks against the other.
    Where more raters preferred neither than the answer that leads, there is no preference; where nobody prefers
    it by `min_strength`, it is "weak".
    """
    if not votes:
        return []
    if aggregate == "all" or len(votes) == 1:
        return [
            Finding(vote.winner, "", (vote,), float(vote.strength), 1.0)
            if vote.winner is not None and vote.strength >= min_strength
            else Finding(None, _without(vote), (vote,))
            for vote in votes
        ]
    return [_joint(tuple(votes), aggregate, min_strength)]


def _joint(ratings: tuple[Vote, ...], aggregate: Aggregate, min_strength: int) -> Finding:
    counts: dict[
        int, int
    ] = {}  # plain dicts: of a million tasks, Counter's generality is a tenth of the time
    neither: dict[str, int] = {}
    for vote in ratings:
        if vote.winner is not None:
            counts[vote.winner] = counts.get(vote.winner, 0) + 1
        else:
            reason = _without(vote)
            neither[reason] = neither.get(reason, 0) + 1
    if aggregate == "unanimous" and len(counts) + len(neither) > 1:
        return Finding(None, "not unanimous", ratings)
    winner = max(sorted(counts), key=counts.__getitem__, default=-1)
    most = counts.get(winner, 0)
    if neither and sum(neither.values()) > most:
        # of reasons as frequent the last one by name, which is never "both_bad": that one teaches something
        return Finding(None, max(sorted(neither, reverse=True), key=neither.__getitem__), ratings)
    if most * 2 == sum(counts.values()):
        return Finding(None, "split", ratings)
    if max(vote.strength for vote in ratings if vote.winner == winner) < min_strength:
        return Finding(None, "weak", ratings)
    signed = 0
    for vote in ratings:
        signed += vote.strength if vote.winner == winner else -vote.strength
    return Finding(winner, "", ratings, max(0.0, signed / len(ratings)), most / len(ratings))


def _without(vote: Vote) -> str:
    return "weak" if vote.winner is not None else str(vote.choice or "no choice")


def ranked_pairs(task: Opinions, votes: Sequence[Vote]) -> Iterator[tuple[int, int, list[Vote]]]:
    """(slot, slot, votes) for each of the K(K-1)/2 pairs of a ranked task (InstructGPT, section 3.5).

    A ranking has no degrees: every strict order counts as strength 1. Unranked answers ("best k only") are
    worse than every ranked one and unordered among themselves.
    """
    ranks = [vote.by_slot(vote.scores["ranks"]) for vote in votes]
    for one, two in combinations(range(len(task.texts)), 2):
        yield one, two, [_of_ranks(vote, rank, one, two) for vote, rank in zip(votes, ranks, strict=True)]


def _of_ranks(vote: Vote, ranks: Sequence[int | None], one: int, two: int) -> Vote:
    first, second = ranks[one], ranks[two]
    if first is None and second is None:
        return vote._replace(choice="not ranked", winner=None, strength=0)
    if first == second:
        return vote._replace(choice="tie", winner=None, strength=0)
    low, high = (math.inf if rank is None else rank for rank in (first, second))
    best = one if low < high else two
    return vote._replace(choice="rank", winner=best, strength=1)


def graded(vote: Vote) -> Vote:
    """A single answer's rating as a vote for slot 0 (good) or 1 (bad).

    The strength of a Likert value is its distance from the middle, 4; that of a thumb alone is 1.
    """
    thumb: str | None = vote.scores.get("thumb")
    likert: int = vote.scores.get("likert", 4)
    if thumb is None and likert == 4:
        return vote._replace(choice="neutral", winner=None, strength=0)
    good = likert > 4 if thumb is None else thumb == "up"
    strength = max(1, abs(likert - 4))
    return vote._replace(choice="good" if good else "bad", winner=0 if good else 1, strength=strength)


def safety(votes: Sequence[Vote]) -> tuple[bool, bool] | None:
    """Which of two answers are safe, by slot: where more than half of those asked say so; None if none was."""
    asked = [vote for vote in votes if vote.scores and vote.scores.get("safety")]
    if not asked:
        return None
    safe = [0, 0]
    for vote in asked:
        said = vote.scores["safety"]
        for slot, side in zip(vote.shown, ("left_safe", "right_safe"), strict=True):
            safe[slot] += said in ("both_safe", side)
    return safe[0] * 2 > len(asked), safe[1] * 2 > len(asked)
