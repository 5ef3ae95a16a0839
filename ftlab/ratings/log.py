"""The log of what was said: events appended in a chain of hashes, never changed."""

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from ftlab import __version__
from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings import standing
from ftlab.ratings.chain import GENESIS, row_hash
from ftlab.ratings.clean import canonical
from ftlab.ratings.said import Conflict, Receipt, Said, State
from ftlab.ratings.storage.database import LastEvent, utc_now

_AFTER = {
    None: ("rate", "skip", "flag"),  # nothing said yet
    "undo": ("rate", "skip", "flag"),
    "rate": ("revise", "undo", "skip", "flag"),
    "revise": ("revise", "undo", "skip", "flag"),
    "skip": ("rate", "revise", "undo", "flag"),
    "flag": ("rate", "revise", "undo", "skip"),
}
"""The kinds of event that may follow each kind."""


# made once: to put a statement together takes longer than to run it, and a writer holds up the others
_EVENT = select(t.rating_event).where(t.rating_event.c.event_id == bindparam("event"))
_NEWEST = (
    select(t.rating_event.c.seq, t.rating_event.c.row_hash).order_by(t.rating_event.c.seq.desc()).limit(1)
)
_PLACE = select(t.assignment).where(t.assignment.c.assignment_id == bindparam("assignment"))
_REVEALED = select(t.reveal.c.event_id).where(t.reveal.c.assignment_id == bindparam("assignment"))
_APPEND = insert(t.rating_event)
_HEAD = (
    update(t.assignment)
    .where(t.assignment.c.assignment_id == bindparam("assignment"))
    .values(head_event_id=bindparam("head"), is_open=bindparam("open"))
)


def event(connection: Connection, event_id: str) -> RowMapping | None:
    """The stored event, or None."""
    return connection.execute(_EVENT, {"event": event_id}).mappings().first()


def history(connection: Connection, assignment_id: str) -> list[dict[str, Any]]:
    """Every event of an assignment, oldest first, as stored."""
    e = t.rating_event.c
    wanted = select(t.rating_event).where(e.assignment_id == assignment_id).order_by(e.seq)
    return [dict(row) for row in connection.execute(wanted).mappings()]


def last(connection: Connection) -> tuple[int, str]:
    """Number and hash of the newest event; (0, 64 zeros) where there is none."""
    row = connection.execute(_NEWEST).first()
    return (0, GENESIS) if row is None else (row.seq, row.row_hash)


def until(connection: Connection, upto: int | None) -> int:
    """`upto`, or the newest event's number for None; RatingError where there is no such event."""
    newest = last(connection)[0]
    if upto is not None and not 0 <= upto <= newest:
        raise RatingError(f"the store holds events 1 to {newest}, not {upto}")
    return newest if upto is None else upto


def state(head: RowMapping | None) -> State | None:
    """What an assignment's newest event says: nothing where it is an undo."""
    if head is None or head["kind"] == "undo":
        return None
    return State(
        event_id=head["event_id"],
        kind=head["kind"],
        choice=head["choice"],
        strength=head["strength"],
        comment=head["comment"],
        server_utc=head["server_utc"],
        scores=None if head["scores_json"] is None else json.loads(head["scores_json"]),
    )


def known(connection: Connection, said: Said) -> Receipt | None:
    """The receipt where this event is stored; status "quarantined" where its id belongs to another."""
    stored = event(connection, said.event_id)
    if stored is None:
        return None
    if stored["body_hash"] == said.body_hash:
        return Receipt(said.event_id, stored["seq"], stored["row_hash"], "duplicate")
    held = select(t.quarantine.c.body_hash).where(t.quarantine.c.body_hash == said.body_hash)
    if connection.execute(held).first() is None:
        connection.execute(
            insert(t.quarantine).values(
                body_hash=said.body_hash,
                event_id=said.event_id,
                body_json=said.body,
                reason="event id taken by another body",
                server_utc=utc_now(),
            )
        )
    return Receipt(said.event_id, stored["seq"], stored["row_hash"], "quarantined")


def append(connection: Connection, said: Said, *, late: bool = False) -> Receipt:
    """Appends an event whose id is new; Conflict where something else stands there than it follows.

    `late`: the lease was over and the task went to another rater (`queue.admit` knows).
    """
    place = connection.execute(_PLACE, {"assignment": said.assignment_id}).mappings().first()
    if place is None:
        raise RatingError(f"there is no assignment {said.assignment_id!r} in this store")
    head = event(connection, place["head_event_id"]) if place["head_event_id"] else None
    _check_order(said, head)
    seq, prev_hash = last(connection)
    row: dict[str, Any] = {
        "seq": seq + 1,
        "event_id": said.event_id,
        "assignment_id": said.assignment_id,
        "rater_id": place["rater_id"],
        "kind": said.kind,
        "prev_event_id": said.prev_event_id,
        "choice": said.choice,
        "strength": said.strength,
        "scores_json": None if said.scores is None else canonical(said.scores),
        "comment": said.comment,
        "client_utc": said.client_utc,
        "client_mono_ms": said.client_mono_ms,
        "shown_ms": said.shown_ms,
        "server_utc": utc_now(),
        "post_reveal": int(_was_revealed(connection, said.assignment_id)),
        "replaced": said.replaced,
        "app_version": __version__,
        "schema_version": t.REVISION,
        "session_id": said.session_id,
        "body_hash": said.body_hash,
        "prev_hash": prev_hash,
        "late": int(late),
    }
    row["row_hash"] = row_hash(row)
    connection.execute(_APPEND, row)
    connection.execute(
        _HEAD,
        {"assignment": said.assignment_id, "head": said.event_id, "open": int(said.kind == "undo")},
    )
    standing.note(connection, place, row, None if head is None else head["kind"])
    connection.info["ftlab_last"] = LastEvent(row["seq"], row["row_hash"], row["server_utc"])
    return Receipt(said.event_id, row["seq"], row["row_hash"], "stored")


def _check_order(said: Said, head: RowMapping | None) -> None:
    stored = state(head)
    head_id = None if head is None else head["event_id"]
    if said.prev_event_id != head_id:
        if stored is not None:
            words = f"this was answered already, {stored}: revise it?"
        elif head is not None:
            words = "what stood here was taken back: rate it anew?"
        else:
            words = f"nothing is stored here yet, so that there is no event {said.prev_event_id!r} to follow"
        raise Conflict(f"{words} Nothing was stored.", stored=stored, head=head_id)
    allowed = _AFTER[None if head is None else head["kind"]]
    if said.kind not in allowed:
        stands = "nothing" if stored is None else str(stored)
        raise RatingError(
            f"{said.kind!r} cannot follow here, where {stands} stands: {', '.join(allowed)} can"
        )


def _was_revealed(connection: Connection, assignment_id: str) -> bool:
    return connection.execute(_REVEALED, {"assignment": assignment_id}).first() is not None
