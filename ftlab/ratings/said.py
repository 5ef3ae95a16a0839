"""What a rater said: an event as the browser sends it, checked at the door, and the receipt for it."""

import math
import re
from dataclasses import dataclass
from typing import Any

from ftlab.errors import RatingError
from ftlab.ratings.clean import canonical, clean, clean_all, digest
from ftlab.ratings.schema import CHOICES, KINDS

COMMENT_CHARACTERS = 20_000
_SCORES_CHARACTERS = 200_000
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
        said = self.choice or self.kind
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
