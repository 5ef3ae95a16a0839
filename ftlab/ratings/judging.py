"""A judge beside the person: it rates the same tasks, in both orders, and is stored as a rater of its own kind."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid5

from sqlalchemy import select

from ftlab.errors import RatingError
from ftlab.ratings import batches, desk, queue
from ftlab.ratings import schema as t
from ftlab.ratings.simulated import Judge, Scale, answers_of, opinion, score
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Task

_SPACE = UUID("3c0b6d2e-5f0a-5a55-8a67-4c1d1a3a7f55")
_CHOICES = {"first": "left", "second": "right", "tie": "tie", "both_bad": "both_bad"}


class Comparing(Protocol):
    """A judge that sees both answers, in the order shown, and says "first", "second", "tie" or "both_bad".

    None where it came to no verdict: that is stored as skipped. One that has a method `judge` is asked through
    it for an object with `verdict` and `flags`; what the judge flags (an answer that speaks to it) is stored as
    flagged, and is no vote.
    """

    compares: bool
    """True; what tells this kind of judge from one that scores."""

    def __call__(self, prompt: list[dict[str, str]], texts: Sequence[str]) -> str | None:
        """The verdict."""
        ...


class _Verdict(NamedTuple):
    verdict: str | None
    flags: Sequence[str] = ()


def judge(
    ratings: Ratings,
    batch: str,
    rater: str,
    judge: Judge | Comparing,
    *,
    both_orders: bool = True,
    scale: Scale | None = None,
) -> int:
    """Has every task of the batch rated that this judge has not rated yet; the number of ratings stored.

    `judge` scores one answer (prompt messages, text), or compares two, see `Comparing`. Two answers are shown
    in both orders (`repeat_no` 0 and 1), and where the verdicts differ they count as a tie (Zheng et al. 2023).
    `scale`: what a score means in mode single; by default from the scores of all answers in the batch. A judge
    takes no place from the persons who are asked, gets every gold task once, and is never mixed with them.
    """
    compares = bool(getattr(judge, "compares", False))
    with ratings.database.reading() as connection:
        mode = batches.get(connection, batch).mode
    if mode == "edit" or (compares and mode not in ("pair", "dialogue")):
        raise RatingError(f"batch {batch!r} is of mode {mode!r}: this judge has nothing to say there")
    if not compares:
        scale = _prepare(ratings, batch, judge, mode, scale)  # type: ignore[arg-type]

    def rate(task: Task) -> None:
        verdict = _compared(task, judge) if compares else _scored(task, judge, scale or Scale())  # type: ignore[arg-type]
        ratings.record(
            verdict
            | {
                "event_id": uuid5(_SPACE, f"{task.assignment_id}|{task.prev_event_id}").hex,
                "assignment_id": task.assignment_id,
                "prev_event_id": task.prev_event_id,
                "session_id": "judge",
            }
        )

    count = 0
    while (task := ratings.next(rater, batch, kind="judge")) is not None:
        rate(task)
        count += 1
    if both_orders and mode in ("pair", "dialogue"):
        for task_id in _once(ratings, batch, rater):
            rate(_other_order(ratings, batch, rater, task_id))
            count += 1
    return count


def _prepare(ratings: Ratings, batch: str, judge: Judge, mode: str, scale: Scale | None) -> Scale | None:
    """Lets a judge that can (`read`) score all answers at once; the scale of mode single."""
    read: Callable[[Iterable[Any]], object] | None = getattr(judge, "read", None)
    if read is None and (mode != "single" or scale is not None):
        return scale
    answers = answers_of(ratings, batch)
    if read is not None:
        read(answers)
    if mode == "single" and scale is None:
        return Scale.of(score(judge, *answer) for answer in answers)
    return scale


def _scored(task: Task, judge: Judge, scale: Scale) -> dict[str, Any]:
    scores = [score(judge, task.prompt, text) for text in task.texts]
    said = opinion(task, scores, scale)
    return said | {"kind": "rate", "scores": said.get("scores", {}) | {"judged": scores}}


def _compared(task: Task, judge: Comparing) -> dict[str, Any]:
    ask = getattr(judge, "judge", None)
    found = ask(task.prompt, task.texts) if ask is not None else _Verdict(judge(task.prompt, task.texts))
    if found.flags:
        return {"kind": "flag", "comment": "speaks to the judge: " + ", ".join(found.flags)}
    if found.verdict is None:
        return {"kind": "skip", "comment": "the judge came to no verdict"}
    if found.verdict not in _CHOICES:
        raise RatingError(f"a judge says {', '.join(_CHOICES)} or None, not {found.verdict!r}")
    choice = _CHOICES[found.verdict]
    return {"kind": "rate", "choice": choice, "strength": int(choice in ("left", "right"))}


def _once(ratings: Ratings, batch: str, rater: str) -> Sequence[str]:
    """The tasks that this judge answered in one order only, as it was asked them."""
    a, again = t.assignment.c, t.assignment.alias("again")
    twice = select(again.c.assignment_id).where(
        again.c.task_id == a.task_id, again.c.rater_id == rater, again.c.repeat_no == 1
    )
    once = (
        select(a.task_id)
        .where(a.rater_id == rater, a.batch == batch, a.repeat_no == 0, a.is_open == 0, ~twice.exists())
        .order_by(a.place)
    )
    with ratings.database.reading() as connection:
        return connection.execute(once).scalars().all()


def _other_order(ratings: Ratings, batch: str, rater: str, task_id: str) -> Task:
    """The same task with its sides swapped."""
    with ratings.database.writing() as connection:
        about = batches.get(connection, batch)
        return desk.task(connection, queue.assign(connection, about, task_id, rater, "judge", repeat_no=1))
