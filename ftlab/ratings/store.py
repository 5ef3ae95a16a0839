"""Ratings: tasks in, opinions in, and everything that was ever said, in one database file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from sqlalchemy import Connection

from ftlab.errors import RatingError
from ftlab.ratings import batches, current, desk, dialogue, intake, log, queue
from ftlab.ratings.batches import PLAIN, Batch, Settings, settings_of
from ftlab.ratings.custody import Custody
from ftlab.ratings.exchange import imports, raw
from ftlab.ratings.exchange.export import Exported, Preferences, WinRate, collect, collect_win_rate, export
from ftlab.ratings.exchange.formats import Wanted
from ftlab.ratings.exchange.heard import Fields
from ftlab.ratings.exchange.imports import Imported
from ftlab.ratings.said import Quarantined, Receipt, Said
from ftlab.ratings.storage.database import crash_point
from ftlab.ratings.tasks import Added, Progress, Task

if TYPE_CHECKING:
    from ftlab.ratings.analysis.report import Report
    from ftlab.ratings.choosing import Duels

_AS_IT_IS = ("majority", None, None, False, False, None)


class Ratings(Custody):
    """A store of ratings, by default `ratings.db` in the user's folder.

    A method returns after its commit: what has a receipt survives a kill and a power cut. Safe to use from
    threads, from several kernels at once and after a fork. Raises RatingError subclasses: StoreBusy, NotSaved,
    DamagedStore, Conflict, Quarantined.
    """

    def __init__(self, path_or_url: str | Path | None = None) -> None:
        super().__init__(path_or_url)
        self._duels: Duels | None = None

    # tasks

    def open_batch(
        self,
        name: str,
        *,
        mode: str | None = None,
        instructions: str = "",
        seed: str | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> str:
        """Makes a batch, or new instructions for one that there is; the name of the batch.

        mode: pair (where None), single, rank, edit or dialogue. settings: how it is asked, see
        `ftlab.ratings.Settings`. seed: decides sides, repeats and all else that is left to chance; at random
        where None. The three are fixed when the batch is made. Other `instructions` than before start a new
        version, which holds for the rows added from then on; "" leaves them as they are.
        """
        known = queue.name(name, "batch")
        how = settings_of(settings)
        with self.database.writing() as connection:
            batches.open_batch(
                connection, known, mode=mode, instructions=instructions, seed=seed, settings=how
            )
        return known

    def add(
        self,
        rows: Iterable[Mapping[str, Any]],
        batch: str = "default",
        *,
        mode: str | None = None,
        instructions: str = "",
        seed: str | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> Added:
        """The number of new tasks, all or none of them stored; known rows are left as they are.

        A row is {"prompt": text or messages, "responses": [{"model", "text", "generation"}, ...], "tags",
        "gold"}: two responses for pair and dialogue, one for single, 4 to 9 for rank, one to improve or none
        for edit. `gold` is what a careful rater says, by the order of `responses`: {"choice": "first" |
        "second" | "tie" | "both_bad"}, {"likert"} or {"thumb"}, {"ranks"}; such a row is mixed in among the
        others and nothing a rater sees tells it from them.

        Rows whose answers are all the same text are refused, each with its reason in the result's `refused`;
        those with an answer that names a model are told in `leaked`; a row of another shape raises
        RatingError and nothing is added. The other arguments: see `open_batch`.
        """
        return intake.take(
            self.database,
            rows,
            batch,
            mode=mode,
            instructions=instructions,
            seed=seed,
            settings=settings_of(settings),
            otherwise=Settings(),
        )

    def add_pairs(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        batch: str = "default",
        instructions: str = "",
        seed: str | None = None,
    ) -> Added:
        """The same for pairs; a batch that is made here is plain: every rater, every pair, once, as added."""
        return intake.take(
            self.database,
            rows,
            batch,
            mode="pair",
            instructions=instructions,
            seed=seed,
            settings=None,
            otherwise=PLAIN,
        )

    def next_turn(self, assignment_id: str, message: str, responses: Sequence[Mapping[str, Any]]) -> Added:
        """The next turn of a conversation: its rater is asked it next, and nobody else.

        It goes on with the answer that was chosen (after a tie, with the left one), `message` and two new
        `responses`. RatingError where none was chosen yet, or neither would do.
        """
        with self.database.writing() as connection:
            count, refused = dialogue.store_turn(connection, assignment_id, message, responses)
        return Added(count, refused, 1 - count - len(refused))

    def next(
        self,
        rater: str,
        batch: str = "default",
        *,
        kind: str | None = None,
    ) -> Task | None:
        """What this rater is to answer next, with its sides decided and stored; None at the end.

        The same task until it is answered, also in another kernel. `kind` is what the rater is, fixed at the
        first call: person (where None), simulated, judge or replay. Where a batch asks only some raters for
        each task, the task is this rater's for a while (`lease_minutes`, from the last call); then another
        one may be asked.
        """
        name = queue.name(batch, "batch")
        who = queue.name(rater, "rater")

        def ask(connection: Connection) -> Task | None:
            what = queue.register(connection, who, kind)
            about = batches.get(connection, name)
            row = queue.next_assignment(connection, who, about, what, self._choose)
            return None if row is None else desk.task(connection, row)

        return self.database.repeated(ask)

    def _choose(
        self, connection: Connection, batch: Batch, lanes: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        from ftlab.ratings.choosing import Duels  # numpy takes its time to import, and only this needs it

        self._duels = self._duels or Duels()
        return self._duels.choose(connection, batch, lanes)

    def task(self, assignment_id: str) -> Task:
        """An assignment as its rater sees it, with what was said already."""
        with self.database.reading() as connection:
            return desk.task(connection, queue.assignment(connection, assignment_id))

    def at(self, rater: str, batch: str, place: int) -> Task | None:
        """What this rater was asked as number `place` of this batch, from 1; None where it was not yet."""
        with self.database.reading() as connection:
            row = queue.at(connection, rater, batch, place)
            return None if row is None else desk.task(connection, row)

    def batches(self) -> dict[str, int]:
        """The names of the batches with their number of tasks."""
        with self.database.reading() as connection:
            return batches.sizes(connection)

    # events

    def record(self, event: dict[str, Any]) -> Receipt:
        """Stores what a rater said; the receipt comes after the commit.

        event: event_id (minted by the sender once for each click, and sent again unchanged until there is a
        receipt), assignment_id, kind (rate | revise | undo | skip | flag), choice (left | right | tie |
        both_bad), strength (0 to 3), scores (thumb, likert, ranks, text, safety, flags, labels: by the task's
        mode, see said.py), comment (20,000 characters at most), prev_event_id (the event that is followed;
        none for the first one), client_utc, client_mono_ms, shown_ms, session_id.

        Sent again: the same receipt with status "duplicate". The same id with another body: Quarantined.
        Not what the sender believed to stand there: Conflict, which tells what does.
        """
        said = Said.from_dict(event)

        def store(connection: Connection) -> Receipt:
            receipt = log.known(connection, said)
            if receipt is None:
                crash_point("before_insert")
                late = queue.admit(connection, said)
                receipt = log.append(connection, said, late=late)
                crash_point("before_commit")
            return receipt

        receipt = self.database.repeated(store)
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

        What the rater says about this task afterwards is marked `post_reveal`, and makes no row of an export.
        """
        with self.database.writing() as connection:
            return desk.reveal(connection, assignment_id)

    # reading

    def progress(self, rater: str, batch: str = "default") -> Progress:
        """How far this rater is; takes no counting."""
        with self.database.reading() as connection:
            return desk.progress(connection, rater, batches.get(connection, batch))

    def history(self, assignment_id: str) -> list[dict[str, Any]]:
        """Every event of an assignment, oldest first, as stored."""
        with self.database.reading() as connection:
            queue.assignment(connection, assignment_id)
            return log.history(connection, assignment_id)

    def current(self, batch: str | None = None) -> list[dict[str, Any]]:
        """What stands: a row for each answered assignment, with the models' names (not for raters' eyes).

        `hasty` is True where the answers were shown for less than 1 s or 10 ms a word, None where the time
        is unknown. `leaked` is True where an answer names a model, so that the rater was not blind.
        """
        with self.database.reading() as connection:
            return current.table(connection, batch)

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
        of a task, unless as many prefer the other answer, or more of them neither; "unanimous" too, where they
        all agree; "all" makes one row of each rating. min_strength: a preference that nobody has at least so
        strongly counts as "weak", not as a row. kinds: only raters of these kinds; by default what
        persons (and replays of persons) said about a task outranks simulated raters, and these outrank
        judges, and the kinds are never mixed in a row.
        """
        wanted = Wanted(
            aggregate=aggregate,
            min_strength=min_strength,
            kinds=None if kinds is None else tuple(kinds),
        )
        with self.database.reading() as connection:
            return collect(connection, batch, log.until(connection, upto), wanted)

    def export(
        self,
        path: str | Path,
        kind: Literal["preference", "unpaired", "sft", "reward", "raw"] = "preference",
        *,
        batch: str | None = None,
        upto: int | None = None,
        aggregate: Literal["majority", "all", "unanimous"] = "majority",
        min_strength: int | None = None,
        kinds: Iterable[str] | None = None,
        implicit_prompt: bool = False,
        standard: bool = False,
        split: float | None = None,
    ) -> Exported:
        """Writes a file that TRL reads as it is, with its dataset card and `manifest.json` beside it.

        path: JSON lines (.jsonl) or Parquet (.parquet). kind: "preference" (DPO), "reward" (with margins),
        "unpaired" (KTO), "sft", or "raw": the whole log, which `import_` takes back. Tasks of every mode make
        what they can: see ftlab/ratings/exchange/formats.py. upto, aggregate and kinds: as in `preferences`.
        min_strength: by default 1; 0 for reward, which has margins, and 2 for sft. implicit_prompt: the prompt
        is the beginning of chosen and rejected. standard: text instead of messages; conversations of several
        turns are left out and counted. split: this share of the rows goes to a second file, NAME-test; like
        prompts stay together.

        The same events and arguments give the same bytes. RatingError where a file would be empty; NotSaved
        where the disk is full, and the old file is still there.
        """
        if kind == "raw":
            if (aggregate, min_strength, kinds, implicit_prompt, standard, split) != _AS_IT_IS:
                raise RatingError("'raw' is the log as it is: it takes 'batch' and 'upto' alone")
            with self.database.reading() as connection:
                return raw.export(connection, path, batch, upto)
        wanted = Wanted(
            kind, aggregate, min_strength, None if kinds is None else tuple(kinds), implicit_prompt, standard
        )
        with self.database.reading() as connection:
            return export(connection, path, batch, log.until(connection, upto), wanted, split)

    def import_(
        self,
        path: str | Path,
        batch: str = "imported",
        *,
        format: str | None = None,  # noqa: A002 - the word for it
        skip_bad: bool = False,
        rater: str | None = None,
        kind: str | None = None,
        fields: Fields | Mapping[str, Any] | None = None,
    ) -> Imported:
        """Takes what was rated elsewhere: all of the file or, on any error, none of it; the same file again
        adds nothing.

        path: JSON lines, JSON, Parquet or CSV, in TRL's shapes (preference, with the prompt explicit or not;
        unpaired; prompt and completion; messages), Anthropic's HH transcripts, lists of scored answers
        (UltraFeedback), exports of Label Studio and Argilla, and ftlab's own raw export, which brings back the
        log itself under its numbers and hashes. format: one of `ftlab.ratings.exchange.imports.FORMATS`; by default
        recognised. skip_bad: takes what can be read, and writes the rest to NAME.rejected.jsonl. rater: the
        name for opinions whose source names nobody; kind: person, replay, judge or simulated, where the
        default is not right (see imports.py). fields: which fields hold what, where names do not tell, see
        `ftlab.ratings.exchange.heard.Fields`. Opinions of several modes go to batches of their own, BATCH-MODE.
        """
        return imports.take(
            self.database,
            path,
            batch,
            format=format,
            skip_bad=skip_bad,
            rater=rater,
            kind=kind,
            fields=fields,
        )

    def win_rate(self, batch: str | None, a: str, b: str) -> WinRate:
        """How often model `a` was preferred to model `b`; a task counts once, by the majority of its raters.

        A tie, both_bad and a split count half for each. The interval is Wilson's score interval at 90 %, with
        wins + ties / 2 as the number of successes (a little wide where there are ties).
        """
        with self.database.reading() as connection:
            return collect_win_rate(connection, batch, a, b, upto=log.last(connection)[0])

    def board(self, batch: str = "default", *, kinds: Iterable[str] | None = None) -> "Report":
        """Agreement, ranking, bias, pace and judges of a batch; it names the models, so not for raters' eyes.

        kinds: only raters of these kinds; by default persons outrank simulated raters, and these judges.
        """
        from ftlab.ratings.analysis.board import (
            board,  # scipy takes its time to import, and only this needs it
        )

        return board(self, batch, kinds=kinds)
