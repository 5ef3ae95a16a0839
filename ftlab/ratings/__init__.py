"""Ratings: what a person, or a judge, said about answers; an append-only log in a database.

from uuid import uuid4

from ftlab import ratings

store = ratings.Ratings()  # ratings.db in the user's folder
store.add_pairs(rows, batch="tour")  # [{"prompt": ..., "responses": [{"model": ..., "text": ...}, ...]}, ...]
task = store.next("me", "tour")  # blind: two texts, no names
receipt = store.record(  # after the commit
    {"event_id": uuid4().hex, "assignment_id": task.assignment_id, "kind": "rate", "choice": "left"}
)
ratings.preferences("tour").save("preferences/tour.jsonl")  # with its dataset card beside it
"""

from typing import TYPE_CHECKING

from ftlab.ratings.batches import Settings
from ftlab.ratings.chain import Verified
from ftlab.ratings.exchange.export import Exported, NothingToExport, Preferences, WinRate
from ftlab.ratings.exchange.heard import Fields
from ftlab.ratings.exchange.imports import Imported
from ftlab.ratings.judging import judge
from ftlab.ratings.recording import Click, Recording, replay
from ftlab.ratings.said import FLAGS, SAFETY, Conflict, Quarantined, Receipt, State
from ftlab.ratings.simulated import simulate
from ftlab.ratings.storage.database import (
    ConnectionLost,
    DamagedStore,
    LastEvent,
    NotSaved,
    StoreBusy,
    SuspectStore,
)
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Added, Progress, Task

if TYPE_CHECKING:
    from ftlab.ratings.choosing import Signal

__all__ = [
    "FLAGS",
    "SAFETY",
    "Added",
    "Click",
    "Conflict",
    "ConnectionLost",
    "DamagedStore",
    "Exported",
    "Fields",
    "Imported",
    "LastEvent",
    "NotSaved",
    "NothingToExport",
    "Preferences",
    "Progress",
    "Quarantined",
    "Ratings",
    "Receipt",
    "Recording",
    "Settings",
    "State",
    "StoreBusy",
    "SuspectStore",
    "Task",
    "Verified",
    "WinRate",
    "judge",
    "preferences",
    "replay",
    "settled",
    "simulate",
]


def settled(ratings: Ratings, batch: str) -> "Signal":
    """Whether more ratings of a batch of pairs would change nothing in the ranking, and why, in a sentence."""
    from ftlab.ratings import choosing  # numpy takes its time to import, and only this needs it

    return choosing.settled(ratings, batch)


def preferences(batch: str | None = None) -> Preferences:
    """What the default store's raters preferred: rows for TRL."""
    with Ratings() as store:
        return store.preferences(batch)
