"""Ratings: tasks in, opinions in, and everything that was ever said, in one database file."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from uuid import uuid4

from sqlalchemy import func, insert, select

from ftlab.errors import RatingError
from ftlab.home import home
from ftlab.ratings import log, opinions, queue
from ftlab.ratings import schema as t
from ftlab.ratings.chain import Verified, verify
from ftlab.ratings.database import Database, crash_point, utc_now
from ftlab.ratings.export import Preferences, WinRate, collect, collect_win_rate
from ftlab.ratings.said import Quarantined, Receipt, Said
from ftlab.ratings.tasks import Added, Item, Progress, Refused, Task, check_pair


class Ratings:
    """A store of ratings, by default `ratings.db` in the user's folder.

    A method returns after its commit: what has a receipt survives a kill and a power cut. Safe to use from
    threads, from several kernels at once and after a fork. Raises RatingError subclasses: StoreBusy, NotSaved,
    DamagedStore, Conflict, Quarantined.
    """

    def __init__(self, path_or_url: str | Path | None = None) -> None:
        self.database = Database(path_or_url if path_or_url is not None else home() / "ratings.db")

    @property
    def path(self) -> Path:
        """The database file."""
        return self.database.path

    def __repr__(self) -> str:
        return f"Ratings({str(self.path)!r})"

    def close(self) -> None:
        """Closes the connections; any later call opens new ones."""
        self.database.close()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes."""
        self.close()

    # tasks

    def add_pairs(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        batch: str = "default",
        instructions: str = "",
        seed: str | None = None,
    ) -> Added:
        """The number of new tasks, all or none of them stored; known rows are left as they are.

        A row is {"prompt": text or messages, "responses": [{"model", "text", "generation"}, {...}], "tags"}.
        Rows whose answers are the same text are refused, each with its reason in the result's `refused`; a
        row of another shape raises RatingError and nothing is added. Other `instructions` than before start
        a new version, which holds for the rows added from then on; "" leaves them as they are. `seed` decides
        the sides; it is fixed when the batch is made, at random where None.
        """
        checked = [check_pair(row, index) for index, row in enumerate(rows)]
        refused = tuple(item for item in checked if isinstance(item, Refused))
        items = [item for item in checked if isinstance(item, Item)]
        name = queue.name(batch, "batch")
        with self.database.writing() as connection:
            version = queue.open_batch(connection, name, instructions, seed)
            count = queue.store_items(connection, items, name, version)
        return Added(count, refused, len(items) - count)

    def next(
        self,
        rater: str,
        batch: str = "default",
        *,
        kind: str | None = None,
    ) -> Task | None:
        """The first task this rater has not answered, with its sides decided and stored; None at the end.

        The same task until it is answered, also in another kernel. `kind` is what the rater is, fixed at the
        first call: person (where None), simulated, judge or replay.
        """
        name = queue.name(batch, "batch")
        who = queue.name(rater, "rater")
        with self.database.writing() as connection:
            queue.register(connection, who, kind)
            row = queue.next_assignment(connection, who, name)
            return None if row is None else queue.task(connection, row)

    def task(self, assignment_id: str) -> Task:
        """An assignment as its rater sees it, with what was said already."""
        with self.database.reading() as connection:
            return queue.task(connection, queue.assignment(connection, assignment_id))

    def at(self, rater: str, batch: str, position: int) -> Task | None:
        """The task at `position` (1 is the first) if this rater was shown it: for going back."""
        a = t.assignment.c
        wanted = select(t.assignment).where(
            a.rater_id == rater, a.batch == batch, a.ordinal == position, a.repeat_no == 0
        )
        with self.database.reading() as connection:
            row = connection.execute(wanted).mappings().first()
            return None if row is None else queue.task(connection, row)

    def batches(self) -> dict[str, int]:
        """The names of the batches with their number of tasks."""
        counted = (
            select(t.batch.c.name, func.count(t.task.c.task_id))
            .join_from(t.batch, t.task, t.task.c.batch == t.batch.c.name, isouter=True)
            .group_by(t.batch.c.name)
            .order_by(t.batch.c.name)
        )
        with self.database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    # events

    def record(self, event: dict[str, Any]) -> Receipt:
        """Stores what a rater said; the receipt comes after the commit.

        event: event_id (minted by the sender once for each click, and sent again unchanged until there is a
        receipt), assignment_id, kind (rate | revise | undo | skip | flag), choice (left | right | tie |
        both_bad), strength (0 to 3), scores (JSON), comment (20,000 characters at most), prev_event_id (the
        event that is followed; none for the first one), client_utc, client_mono_ms, shown_ms, session_id.

        Sent again: the same receipt with status "duplicate". The same id with another body: Quarantined.
        Not what the sender believed to stand there: Conflict, which tells what does.
        """
        said = Said.from_dict(event)
        with self.database.writing() as connection:
            receipt = log.known(connection, said)
            if receipt is None:
                receipt = log.append(connection, said)
                crash_point("before_commit")
        crash_point("after_commit")
        if receipt.status == "quarantined":
            raise Quarantined(
                f"event id {said.event_id} is taken by another rating; this one was put aside in the table "
                "'quarantine', whole: send it again under a new id if it is meant"
            )
        return receipt

    def undo(self, assignment_id: str, *, session_id: str | None = None) -> Receipt:
        """Takes back what stands there, by an event of its own; the task is unanswered again."""
        with self.database.reading() as connection:
            head = queue.assignment(connection, assignment_id)["head_event_id"]
        return self.record(
            {
                "event_id": uuid4().hex,
                "assignment_id": assignment_id,
                "kind": "undo",
                "prev_event_id": head,
                "session_id": session_id,
            }
        )

    def reveal(self, assignment_id: str) -> tuple[str, ...]:
        """The models' references in the order shown, left first; only once an answer is stored.

        What the rater says about this task afterwards is marked `post_reveal`.
        """
        with self.database.writing() as connection:
            row = queue.assignment(connection, assignment_id)
            if row["is_open"]:
                raise RatingError("the models' names are shown once a rating is stored, not before")
            seen = select(t.reveal).where(t.reveal.c.assignment_id == assignment_id)
            if connection.execute(seen).first() is None:
                connection.execute(
                    insert(t.reveal).values(
                        assignment_id=assignment_id, event_id=row["head_event_id"], server_utc=utc_now()
                    )
                )
            answers = queue.responses(connection, row["task_id"])
            return tuple(answers[slot]["model_ref"] for slot in json.loads(row["order_json"]))

    # reading

    def progress(self, rater: str, batch: str = "default") -> Progress:
        """How far this rater is."""
        a, e = t.assignment.c, t.rating_event.c
        counted = (
            select(e.kind, func.count())
            .join_from(t.assignment, t.rating_event, a.head_event_id == e.event_id)
            .where(a.rater_id == rater, a.batch == batch, a.is_open == 0, a.repeat_no == 0)
            .group_by(e.kind)
        )
        with self.database.reading() as connection:
            kinds: dict[str, int] = {row[0]: row[1] for row in connection.execute(counted)}
            return Progress(
                total=queue.total(connection, batch),
                rated=kinds.get("rate", 0) + kinds.get("revise", 0),
                skipped=kinds.get("skip", 0),
                flagged=kinds.get("flag", 0),
            )

    def history(self, assignment_id: str) -> list[dict[str, Any]]:
        """Every event of an assignment, oldest first, as stored."""
        e = t.rating_event.c
        with self.database.reading() as connection:
            queue.assignment(connection, assignment_id)
            rows = connection.execute(
                select(t.rating_event).where(e.assignment_id == assignment_id).order_by(e.seq)
            ).mappings()
            return [dict(row) for row in rows]

    def current(self, batch: str | None = None) -> list[dict[str, Any]]:
        """What stands: a row for each answered assignment, with the models' names (not for raters' eyes).

        `hasty` is True where the answers were shown for less than 1 s or 10 ms a word, None where the time
        is unknown.
        """
        with self.database.reading() as connection:
            return opinions.table(connection, batch)

    def last_seq(self) -> int:
        """The number of events stored so far; an export up to it can be made again, byte for byte."""
        with self.database.reading() as connection:
            return log.last(connection)[0]

    def preferences(
        self,
        batch: str | None = None,
        *,
        upto: int | None = None,
        aggregate: Literal["majority", "all", "unanimous"] = "majority",
        min_strength: int = 1,
        kinds: Iterable[str] | None = None,
    ) -> Preferences:
        """Rows for TRL (conversational, explicit prompt), from all batches where `batch` is None.

        upto: only what was said up to this event number. aggregate: "majority" makes one row of all raters
        of a task, "unanimous" too, where they all agree; "all" makes one row of each rating. min_strength: a
        preference below it counts as "weak", not as a row. kinds: only raters of these kinds; by default what
        persons (and replays of persons) said about a task outranks simulated raters, and these outrank
        judges, and the kinds are never mixed in a row.
        """
        with self.database.reading() as connection:
            last = log.last(connection)[0]
            if upto is not None and not 0 <= upto <= last:
                raise RatingError(f"the store holds events 1 to {last}, not {upto}")
            return collect(
                connection,
                batch,
                upto=last if upto is None else upto,
                aggregate=aggregate,
                min_strength=min_strength,
                kinds=None if kinds is None else tuple(kinds),
            )

    def win_rate(self, batch: str | None, a: str, b: str) -> WinRate:
        """How often model `a` was preferred to model `b`; a task counts once, by the majority of its raters.

        A tie, both_bad and a split count half for each. The interval is Wilson's score interval at 90 %, with
        wins + ties / 2 as the number of successes (a little wide where there are ties).
        """
        with self.database.reading() as connection:
            return collect_win_rate(connection, batch, a, b, upto=log.last(connection)[0])

    # care

    def verify(self) -> Verified:
        """Recomputes every hash: of the log, of the answers, of the sides; names the first bad event."""
        with self.database.reading() as connection:
            self.database.quick_check(connection)
            return verify(connection)

    def backup(self, path: str | Path) -> Path:
        """A whole copy of this moment, made while others may write."""
        return self.database.backup(path)
