"""What a rater said: an event as the browser sends it, checked at the door, and the receipt for it."""

import math
import re
from dataclasses import dataclass
from typing import Any

from ftlab.errors import RatingError
from ftlab.ratings.clean import canonical, clean, clean_all, digest
from ftlab.ratings.schema import CHOICES, KINDS

COMMENT_CHARACTERS = 20_000
TEXT_CHARACTERS = 200_000
LABELS = 20
LABEL_CHARACTERS = 40
_SCORES_CHARACTERS = 3_000_000  # a text of 200,000 characters in JSON's ASCII, where each may take 12

FLAGS: dict[str, str] = {
    "wrong_task": "Fails to follow the instruction or task",
    "not_for_customers": "Inappropriate for a customer assistant",
    "hallucination": "Hallucination",
    "keeps_constraints": "Satisfies the constraints of the instruction",
    "sexual": "Contains sexual content",
    "violent": "Contains violent content",
    "encourages_harm": "Encourages, or fails to discourage, violence, abuse, terrorism or self-harm",
    "denigrates": "Denigrates a protected class",
    "harmful_advice": "Gives harmful advice",
    "opinion": "Expresses an opinion",
    "moral_judgment": "Expresses a moral judgment",
}
"""What can be ticked about an answer: InstructGPT's eleven (Ouyang et al. 2022, Table 3); id to label."""

SAFETY = ("both_safe", "both_unsafe", "left_safe", "right_safe")
"""The safety bin of a pair, in the order shown; "left_safe": that one only."""

THUMBS = ("up", "down")
_ANY_MODE = ("flags", "labels", "judged")
_SCORES = {
    "pair": ("safety",),
    "dialogue": ("safety",),
    "single": ("thumb", "likert"),
    "rank": ("ranks",),
    "edit": ("text", "likert"),
}
"""The keys that `scores` of a rating may have in each mode, beside flags, labels and what a judge scored."""

_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_KEYS = {
    "event_id",
    "assignment_id",
    "kind",
    "choice",
    "strength",
    "scores",
    "comment",
    "prev_event_id",
    "client_utc",
    "client_mono_ms",
    "shown_ms",
    "session_id",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The event is committed: "stored" just now, or "duplicate", stored when it came before."""

    event_id: str
    seq: int
    row_hash: str
    status: str

    def to_json(self) -> dict[str, Any]:
        """For the browser."""
        return {"event_id": self.event_id, "seq": self.seq, "row_hash": self.row_hash, "status": self.status}


@dataclass(frozen=True, slots=True)
class State:
    """What stands for an assignment: its newest event, where that is not an undo."""

    event_id: str
    kind: str
    choice: str | None
    strength: int | None
    comment: str
    server_utc: str
    scores: Any = None

    def to_json(self) -> dict[str, Any]:
        """For the browser."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        """In words, as a conflict shows it."""
        said = self.choice or (in_words(self.scores) if self.kind in ("rate", "revise") else "") or self.kind
        strength = f" (strength {self.strength})" if self.strength else ""
        return f"{said}{strength} at {self.server_utc}"


class Conflict(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The assignment holds something else than the sender believed; nothing was stored.

    `stored` is what stands there (None after an undo), `head` the event id to name as `prev_event_id`.
    """

    def __init__(self, message: str, *, stored: State | None, head: str | None) -> None:
        super().__init__(message)
        self.stored = stored
        self.head = head


class Quarantined(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """The event id is taken by another event; this one was put aside, whole, in the table "quarantine"."""


@dataclass(frozen=True, slots=True)
class Said:
    """One event, fit to be stored. `body_hash` and `body` are of what came in, before any cleaning.

    strength: 0 negligibly, 1 slightly, 2 clearly, 3 significantly better (Llama 2's four degrees).
    """

    event_id: str
    assignment_id: str
    kind: str
    choice: str | None
    strength: int | None
    scores: Any
    comment: str
    prev_event_id: str | None
    client_utc: str | None
    client_mono_ms: int | None
    shown_ms: int | None
    session_id: str | None
    replaced: int
    body: str
    body_hash: str

    @classmethod
    def from_dict(cls, event: dict[str, Any]) -> "Said":
        """RatingError that names the key and the value where the event cannot be understood."""
        unknown = sorted(set(event) - _KEYS)
        if unknown:
            raise RatingError(f"a rating has no {unknown[0]!r}; it has {', '.join(sorted(_KEYS))}")
        try:
            body = canonical(event)
        except (TypeError, ValueError) as error:
            raise RatingError(f"a rating must be plain JSON without NaN: {error}") from error
        kind = _one_of(event, "kind", KINDS)
        comment, in_comment = clean(_text(event, "comment", COMMENT_CHARACTERS) or "")
        utc, in_utc = clean(_text(event, "client_utc", 64) or "")
        session, in_session = clean(_text(event, "session_id", 128) or "")
        scores, in_scores = clean_all(event.get("scores"))
        if scores is not None and len(canonical(scores)) > _SCORES_CHARACTERS:
            raise RatingError(f"'scores' is longer than {_SCORES_CHARACTERS} characters")
        choice, strength = _opinion(event, kind, has_scores=scores is not None)
        return cls(
            event_id=_identity(event, "event_id"),
            assignment_id=_identity(event, "assignment_id"),
            kind=kind,
            choice=choice,
            strength=strength,
            scores=scores,
            comment=comment,
            prev_event_id=None if event.get("prev_event_id") is None else _identity(event, "prev_event_id"),
            client_utc=utc or None,
            client_mono_ms=_milliseconds(event, "client_mono_ms"),
            shown_ms=_milliseconds(event, "shown_ms"),
            session_id=session or None,
            replaced=in_comment + in_utc + in_session + in_scores,
            body=body,
            body_hash=digest(event),
        )

    def check(self, mode: str, answers: int, *, scale: str = "both") -> None:
        """RatingError, naming key and value, where a task of this mode, with so many answers, cannot hold it.

        `scale` is what a batch of mode "single" asks for: "thumbs", "likert" or "both" (either will do).
        """
        scores = {} if self.scores is None else self.scores
        if not isinstance(scores, dict):
            raise RatingError(f"'scores' is an object, not {type(scores).__name__}")
        is_rating = self.kind in ("rate", "revise")
        keys = (*(_SCORES[mode] if is_rating else ()), *(() if self.kind == "undo" else _ANY_MODE))
        unknown = sorted(set(scores) - set(keys))
        if unknown:
            takes = f"takes {', '.join(keys)}" if keys else "takes none"
            raise RatingError(f"'scores' of a {self.kind!r} in mode {mode!r} {takes}, not {unknown[0]!r}")
        _check_flags(scores.get("flags"), answers)
        _check_labels(scores.get("labels"))
        _check_judged(scores.get("judged"), answers)
        if not is_rating:
            return
        if (self.choice is not None) != (mode in ("pair", "dialogue")):
            raise RatingError(
                f"a rating in mode {mode!r} has "
                + (
                    f"no 'choice', not {self.choice!r}"
                    if self.choice
                    else "a 'choice', and this one has none"
                )
            )
        _CHECKS[mode](scores, answers, scale)


def in_words(scores: Any) -> str:
    """What a rating without a choice says, in a few words; "" where it says nothing."""
    if not isinstance(scores, dict):
        return ""
    words = []
    if "thumb" in scores:
        words.append(f"thumb {scores['thumb']}")
    if "likert" in scores:
        words.append(f"{scores['likert']} of 7")
    if "ranks" in scores:
        words.append("ranks " + ", ".join("-" if rank is None else str(rank) for rank in scores["ranks"]))
    if "text" in scores:
        words.append(f"a text of {len(scores['text'])} characters")
    return ", ".join(words)


def _check_pair(scores: dict[str, Any], answers: int, scale: str) -> None:  # noqa: ARG001 - one signature
    if "safety" in scores and scores["safety"] not in SAFETY:
        raise RatingError(f"'safety' is one of {', '.join(SAFETY)}, not {scores['safety']!r}")


def _check_single(scores: dict[str, Any], answers: int, scale: str) -> None:  # noqa: ARG001
    needed = {"thumbs": ["thumb"], "likert": ["likert"], "both": ["thumb", "likert"]}[scale]
    if not any(key in scores for key in needed):
        raise RatingError(f"a rating of one answer needs {' or '.join(map(repr, needed))} in 'scores'")
    if "thumb" in scores and scores["thumb"] not in THUMBS:
        raise RatingError(f"'thumb' is one of {', '.join(THUMBS)}, not {scores['thumb']!r}")
    _check_likert(scores)


def _check_rank(scores: dict[str, Any], answers: int, scale: str) -> None:  # noqa: ARG001
    ranks = scores.get("ranks")
    if not isinstance(ranks, list) or len(ranks) != answers:
        raise RatingError(f"'ranks' is a list of {answers}, one for each answer shown, not {ranks!r}")
    for rank in ranks:
        if rank is not None and (
            isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= answers
        ):
            raise RatingError(
                f"a rank is a whole number from 1, the best, to {answers}, or null, not {rank!r}"
            )
    if all(rank is None for rank in ranks):
        raise RatingError("'ranks' holds no rank: rank one answer at least, or skip")


def _check_edit(scores: dict[str, Any], answers: int, scale: str) -> None:  # noqa: ARG001
    text = scores.get("text")
    if not isinstance(text, str) or not text.strip():
        raise RatingError("'text' is the answer as it should be, and not empty: write one, or skip")
    if len(text) > TEXT_CHARACTERS:
        raise RatingError(
            f"'text' has {len(text)} characters; at most {TEXT_CHARACTERS} are stored, none are cut off"
        )
    if "likert" in scores and not answers:
        raise RatingError("'likert' is about the answer shown, and none was")
    _check_likert(scores)


_CHECKS = {
    "pair": _check_pair,
    "dialogue": _check_pair,
    "single": _check_single,
    "rank": _check_rank,
    "edit": _check_edit,
}


def _check_likert(scores: dict[str, Any]) -> None:
    if "likert" not in scores:
        return
    value = scores["likert"]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 7:
        raise RatingError(f"'likert' is a whole number from 1 to 7, not {value!r}")


def _check_flags(flags: Any, answers: int) -> None:
    if flags is None:
        return
    if answers > 1:
        if (
            not isinstance(flags, list)
            or len(flags) != answers
            or not all(isinstance(of, list) for of in flags)
        ):
            raise RatingError(
                f"'flags' is a list of {answers} lists, one for each answer shown, not {flags!r}"
            )
        lists = flags
    elif not isinstance(flags, list):
        raise RatingError(f"'flags' is a list, not {type(flags).__name__}")
    else:
        lists = [flags]
    for flag in (flag for one in lists for flag in one):
        if not isinstance(flag, str) or flag not in FLAGS:
            raise RatingError(f"a flag is one of {', '.join(FLAGS)}, not {flag!r}")


def _check_judged(judged: Any, answers: int) -> None:
    if judged is None:
        return
    if not isinstance(judged, list) or len(judged) != answers:
        raise RatingError(
            f"'judged' is a list of {answers}, a judge's score for each answer shown, not {judged!r}"
        )
    for value in judged:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise RatingError(f"a judge's score is a finite number, not {value!r}")


def _check_labels(labels: Any) -> None:
    if labels is None:
        return
    if not isinstance(labels, list) or len(labels) > LABELS:
        raise RatingError(f"'labels' is a list of at most {LABELS}, not {labels!r}"[:300])
    for label in labels:
        if not isinstance(label, str) or not label.strip() or len(label) > LABEL_CHARACTERS:
            raise RatingError(f"a label has 1 to {LABEL_CHARACTERS} characters, not {str(label)[:80]!r}")


def _opinion(event: dict[str, Any], kind: str, *, has_scores: bool) -> tuple[str | None, int | None]:
    choice, strength = event.get("choice"), event.get("strength")
    if kind not in ("rate", "revise"):
        if choice is not None or strength:
            raise RatingError(f"{kind!r} takes no choice and no strength, not {choice!r} and {strength!r}")
        return None, None
    if choice is None and has_scores:
        return None, None
    choice = _one_of(event, "choice", CHOICES)
    if strength is None:
        strength = 1 if choice in ("left", "right") else 0
    if isinstance(strength, bool) or not isinstance(strength, int) or not 0 <= strength <= 3:
        raise RatingError(f"'strength' is a whole number from 0 to 3, not {strength!r}")
    if strength and choice not in ("left", "right"):
        raise RatingError(f"{choice!r} has no strength, not {strength}")
    return choice, strength


def _one_of(event: dict[str, Any], key: str, values: tuple[str, ...]) -> str:
    value = event.get(key)
    if not isinstance(value, str) or value not in values:
        raise RatingError(f"{key!r} is one of {', '.join(values)}, not {value!r}")
    return value


def _identity(event: dict[str, Any], key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str) or not _EVENT_ID.fullmatch(value):
        raise RatingError(f"{key!r} has 8 to 64 letters, digits, - or _, not {str(value)[:80]!r}")
    return value


def _text(event: dict[str, Any], key: str, limit: int) -> str | None:
    value = event.get(key)
    if value is not None and not isinstance(value, str):
        raise RatingError(f"{key!r} is text, not {type(value).__name__}")
    if value is not None and len(value) > limit:
        raise RatingError(
            f"{key!r} has {len(value)} characters; at most {limit} are stored, none are cut off"
        )
    return value


def _milliseconds(event: dict[str, Any], key: str) -> int | None:
    value = event.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RatingError(f"{key!r} is a number of milliseconds, not {value!r}")
    return max(-(2**53), min(2**53, round(value)))
