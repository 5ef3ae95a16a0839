"""Ratings: what a person, or a judge, said about answers; an append-only log in a database.

from ftlab import ratings
store = ratings.Ratings()               # ratings.db in the user's folder
store.add_pairs(rows, batch="tour")
task = store.next("me", "tour")         # blind: two texts, no names
store.record({...})                     # a receipt after the commit
ratings.preferences("tour").save("preferences.jsonl")
"""

from ftlab.ratings.chain import Verified
from ftlab.ratings.database import DamagedStore, NotSaved, StoreBusy
from ftlab.ratings.export import Preferences, WinRate
from ftlab.ratings.recording import Click, Recording, replay
from ftlab.ratings.said import Conflict, Quarantined, Receipt, State
from ftlab.ratings.simulated import simulate
from ftlab.ratings.store import Ratings
from ftlab.ratings.tasks import Added, Progress, Task

__all__ = [
    "Added",
    "Click",
    "Conflict",
    "DamagedStore",
    "NotSaved",
    "Preferences",
    "Progress",
    "Quarantined",
    "Ratings",
    "Receipt",
    "Recording",
    "State",
    "StoreBusy",
    "Task",
    "Verified",
    "WinRate",
    "preferences",
    "replay",
    "simulate",
]


def preferences(batch: str | None = None) -> Preferences:
    """What the default store's raters preferred: rows for TRL."""
    with Ratings() as store:
        return store.preferences(batch)
