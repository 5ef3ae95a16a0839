"""Words taken out of the log on request: a person's right, with a trace that something was taken."""

import json

from sqlalchemy import Connection, insert, select, update

from ftlab.errors import RatingError
from ftlab.ratings import log
from ftlab.ratings import schema as t
from ftlab.ratings.chain import row_hash
from ftlab.ratings.clean import canonical, clean
from ftlab.ratings.storage.database import utc_now

_WORDS = ("text", "labels")
"""Of an event's scores, what a person wrote; a choice, a rank or a flag stays."""


def redact(connection: Connection, event_id: str, reason: str) -> bool:
    """Blanks comment, written text and labels of an event; False where that was done before.

    Stays: that there was an event, its choice, its hashes; `kept_hash` proves that nothing else was changed.
    A body in quarantine under the same id is blanked too. RatingError where there is no such event or reason.
    """
    if not reason.strip():
        raise RatingError("a redaction needs a reason: it stays in the store for ever")
    stored = log.event(connection, event_id)
    if stored is None:
        raise RatingError(f"there is no event {str(event_id)[:80]!r} in this store")
    known = select(t.redaction.c.event_id).where(t.redaction.c.event_id == event_id)
    if connection.execute(known).first() is not None:
        return False
    left = {"comment": "", "scores_json": _without_words(stored["scores_json"])}
    connection.execute(
        insert(t.redaction).values(
            event_id=event_id,
            reason=clean(reason).text,
            kept_hash=row_hash(dict(stored) | left),
            created_utc=utc_now(),
        )
    )
    connection.execute(update(t.rating_event).where(t.rating_event.c.event_id == event_id).values(left))
    connection.execute(update(t.quarantine).where(t.quarantine.c.event_id == event_id).values(body_json=""))
    return True


def _without_words(scores_json: str | None) -> str | None:
    scores = json.loads(scores_json) if scores_json else None
    if not isinstance(scores, dict):
        return None
    left = {name: value for name, value in scores.items() if name not in _WORDS}
    return canonical(left) if left else None
