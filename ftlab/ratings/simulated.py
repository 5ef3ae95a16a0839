"""A rater made of a judge: answers a batch by scores, with a person's faults where wanted, always the same."""

import json
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import select

from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.clean import digest
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Task

Judge = Callable[[list[dict[str, str]], str], float]
"""Prompt messages and an answer to a score; higher is better, any finite scale."""

Writer = Callable[[list[dict[str, str]], str | None], str]
"""Prompt messages and the answer to improve (None: there is none) to the answer as it should be."""

HYPE = ("amazing", "absolutely", "awesome", "definitely", "fantastic", "incredible", "perfect", "wonderful")
"""Words that make an answer sound better than it is."""

_SPACE = UUID("0d0e9a53-1c3f-5e0b-9d70-6a1c7b0f2a11")
_MOST_NOISE = 0.5  # beyond it a rater would be wrong on purpose


@dataclass(frozen=True, slots=True)
class Faults:
    """What comes between a judge's scores and what a rater says; all 0: nothing.

    noise: probability that a preference, a thumb or a mark is turned round. fatigue: added to it for every
    100 tasks rated before, up to 0.5 in all. The biases are added to a score before it is compared: length
    times the natural logarithm of the characters, position to the answer shown first, hype for each word of
    `words`, upper or lower case.
    """

    noise: float = 0.0
    length: float = 0.0
    position: float = 0.0
    hype: float = 0.0
    fatigue: float = 0.0
    words: tuple[str, ...] = HYPE
    _hype: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not 0 <= self.noise <= 1:
            raise RatingError(f"'noise' is a probability from 0 to 1, not {self.noise!r}")
        for name in ("length", "position", "hype", "fatigue"):
            if not math.isfinite(getattr(self, name)) or (name == "fatigue" and self.fatigue < 0):
                raise RatingError(
                    f"{name!r} is a finite number, fatigue not below 0, not {getattr(self, name)!r}"
                )
        words = "|".join(map(re.escape, self.words)) or r"(?!)"
        object.__setattr__(self, "_hype", re.compile(rf"\b(?:{words})\b", re.IGNORECASE))

    def felt(self, score: float, text: str, place: int) -> float:
        """The score as this rater feels it; `place` counts the answers shown, from 0."""
        felt = score + self.hype * len(self._hype.findall(text)) + self.position * (place == 0)
        return felt + self.length * math.log(max(1, len(text)))

    def noise_after(self, rated: int) -> float:
        """The probability of a slip after so many tasks."""
        if not self.fatigue:
            return self.noise
        return min(max(self.noise, _MOST_NOISE), self.noise + self.fatigue * rated / 100)


class Scale(NamedTuple):
    """What a score means where an answer stands alone: `middle` is 4 of 7, `spread` above it about 6."""

    middle: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, scores: Iterable[float]) -> "Scale":
        """Median and standard deviation of these scores."""
        known = sorted(scores)
        if not known:
            return cls()
        half = len(known) // 2
        middle = known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2
        mean = math.fsum(known) / len(known)
        return cls(middle, math.sqrt(math.fsum((one - mean) ** 2 for one in known) / len(known)) or 1.0)

    def likert(self, score: float) -> int:
        """1 to 7."""
        return 4 + round(3 * math.tanh((score - self.middle) / (1.25 * self.spread)))


def simulate(
    ratings: Ratings,
    batch: str,
    rater: str,
    judge: Judge,
    noise: float = 0.0,
    seed: int = 0,
    *,
    length: float = 0.0,
    position: float = 0.0,
    hype: float = 0.0,
    fatigue: float = 0.0,
    scale: Scale | None = None,
    write: Writer | None = None,
) -> int:
    """Answers all that is left of the batch, through `Ratings.record`; the number of answers given.

    The answer with the higher score is preferred, equal scores are a tie; an answer that stands alone is
    measured by `scale`, by default the middle and the spread of the scores of all answers in the batch. In
    mode edit `write` gives the text; without it an answer stays as it is. noise, length, position, hype and
    fatigue: see `Faults`. What is said depends on `seed` and the content alone, with `position` on the sides
    too, and with `fatigue` on the number of tasks before: asked again it slips again, and two raters slip
    together unless each has a seed of its own. The rater is stored as of kind "simulated".
    """
    faults = Faults(noise, length, position, hype, fatigue)
    count = 0
    while (task := ratings.next(rater, batch, kind="simulated")) is not None:
        if scale is None and task.mode == "single":
            scale = Scale.of(score(judge, *answer) for answer in answers_of(ratings, batch))
        event = _said(task, judge, faults, seed, scale or Scale(), write)
        ratings.record(
            event
            | {
                "event_id": uuid5(_SPACE, f"{task.assignment_id}|{task.prev_event_id}|{seed}").hex,
                "assignment_id": task.assignment_id,
                "kind": "rate",
                "prev_event_id": task.prev_event_id,
                "session_id": f"simulated, noise {noise}, seed {seed}",
            }
        )
        count += 1
    return count


def answers_of(ratings: Ratings, batch: str) -> list[tuple[list[dict[str, str]], str]]:
    """Every (prompt messages, answer) of the batch, in the order of its tasks."""
    k, r = t.task.c, t.response.c
    wanted = (
        select(k.prompt_json, r.text)
        .join_from(t.task, t.response, r.task_id == k.task_id)
        .where(k.batch == batch)
        .order_by(k.ordinal, r.slot)
    )
    with ratings.database.reading() as connection:
        return [(json.loads(row.prompt_json), row.text) for row in connection.execute(wanted)]


def score(judge: Judge, prompt: list[dict[str, str]], text: str) -> float:
    """The judge's score; RatingError where it is no finite number."""
    value = float(judge(prompt, text))
    if not math.isfinite(value):
        raise RatingError(f"the judge scored {text[:60]!r} with {value}: scores are finite numbers")
    return value


def _said(
    task: Task, judge: Judge, faults: Faults, seed: int, scale: Scale, write: Writer | None
) -> dict[str, Any]:
    """What an event says, without its ids."""
    if task.mode == "edit":
        return {"scores": {"text": _written(task, write)}}
    scores = [
        faults.felt(score(judge, task.prompt, text), text, place) for place, text in enumerate(task.texts)
    ]
    noise = faults.noise_after(task.position - 1)
    if task.mode == "single":
        return opinion(task, scores, scale, slips=_slip(seed, task.key, noise))
    if task.mode == "rank":
        return {"scores": {"ranks": _ranks(task, scores, seed, noise)}}
    return opinion(task, scores, scale, slips=_slip(seed, task.key, noise))


def _slip(seed: int, about: str, noise: float) -> bool:
    return random.Random(digest([seed, about])).random() < noise


def opinion(task: Task, scores: Sequence[float], scale: Scale, *, slips: bool = False) -> dict[str, Any]:
    """What someone says who goes by these scores of the answers shown; turned round where they slip."""
    if task.mode == "single":
        likert = scale.likert(scores[0])
        is_up = scores[0] > scale.middle
        said = {"thumb": "up" if is_up != slips else "down", "likert": 8 - likert if slips else likert}
        asked = {"thumbs": ("thumb",), "likert": ("likert",)}.get(
            str(task.settings.get("scale")), tuple(said)
        )
        return {"scores": {key: said[key] for key in asked}}
    if task.mode == "rank":
        return {"scores": {"ranks": [1 + sum(other > one for other in scores) for one in scores]}}
    if task.mode == "edit":
        raise RatingError("mode 'edit' asks for a text, which no score is")
    if scores[0] == scores[1]:
        return {"choice": "tie", "strength": 0}
    return {"choice": "left" if (scores[0] > scores[1]) != slips else "right", "strength": 1}


def _ranks(task: Task, scores: list[float], seed: int, noise: float) -> list[int | None]:
    """Every two answers are compared, each time with the chance of a slip; who wins most is the best.

    The same wins: by the scores, and equal scores are a tie. With "best k only" the others have no rank.
    """
    wins = [0.0] * len(scores)
    for i, one in enumerate(task.texts):
        for j in range(i):
            if scores[i] == scores[j]:
                wins[i] += 0.5
                wins[j] += 0.5
                continue
            slips = _slip(seed, digest([task.key, *sorted((one, task.texts[j]))]), noise)
            wins[i if (scores[i] > scores[j]) != slips else j] += 1
    order = list(zip(wins, scores, strict=True))
    ranks = [1 + sum(other > mine for other in order) for mine in order]
    best = task.settings.get("best")
    return [rank if best is None or rank <= int(best) else None for rank in ranks]


def _written(task: Task, write: Writer | None) -> str:
    shown = task.texts[0] if task.texts else None
    if write is not None:
        return write(task.prompt, shown)
    if shown is None or not shown.strip():
        raise RatingError(
            f"task {task.position} asks for an answer of the rater's own: give 'write' to simulate"
        )
    return shown
