"""A rater made of a judge: answers a batch by scores, with noise where wanted, the same way each time."""

import math
import random
from collections.abc import Callable
from uuid import UUID, uuid5

from ftlab.errors import RatingError
from ftlab.ratings.clean import digest
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Task

Judge = Callable[[list[dict[str, str]], str], float]
"""Prompt messages and an answer to a score; higher is better, any finite scale."""

_SPACE = UUID("0d0e9a53-1c3f-5e0b-9d70-6a1c7b0f2a11")


def simulate(
    ratings: Ratings, batch: str, rater: str, judge: Judge, noise: float = 0.0, seed: int = 0
) -> int:
    """Answers all that is left of the batch, through `Ratings.record`; the number of answers given.

    The answer with the higher score is preferred, equal scores are a tie. With probability `noise` (0 to 1)
    the preference is turned round. Both depend on `seed` and the content alone, neither on the sides nor on
    the order of the tasks. The rater is stored as of kind "simulated".
    """
    if not 0 <= noise <= 1:
        raise RatingError(f"'noise' is a probability from 0 to 1, not {noise!r}")
    count = 0
    while (task := ratings.next(rater, batch, kind="simulated")) is not None:
        choice = _choose(task, judge, noise, seed)
        ratings.record(
            {
                "event_id": uuid5(_SPACE, f"{task.assignment_id}|{task.prev_event_id}|{seed}").hex,
                "assignment_id": task.assignment_id,
                "kind": "rate",
                "choice": choice,
                "strength": 1 if choice in ("left", "right") else 0,
                "prev_event_id": task.prev_event_id,
                "session_id": f"simulated, noise {noise}, seed {seed}",
            }
        )
        count += 1
    return count


def _choose(task: Task, judge: Judge, noise: float, seed: int) -> str:
    scores = [float(judge(task.prompt, text)) for text in task.texts]
    if not all(math.isfinite(score) for score in scores):
        raise RatingError(f"the judge scored task {task.position} with {scores}: scores are finite numbers")
    if scores[0] == scores[1]:
        return "tie"
    turned = random.Random(digest([seed, task.key])).random() < noise
    return "left" if (scores[0] > scores[1]) != turned else "right"
