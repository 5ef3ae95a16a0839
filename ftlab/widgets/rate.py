"""Rate: a desk for one rater: one task after the other, blind, in five modes on one log."""

import hashlib
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ftlab.answers import Answer, Sampling
from ftlab.errors import RatingError
from ftlab.home import home
from ftlab.widgets import rated, shown
from ftlab.widgets.turns import Turns
from ftlab.widgets.widget import LabWidget, is_live

if TYPE_CHECKING:
    from ftlab.ratings import Ratings, Receipt, Recording, Task

logger = logging.getLogger(__name__)

MESSAGE_CHARACTERS = 100_000

INSTRUCTIONS = {
    "pair": "Which answer is better? Judge the text alone; you are not told who wrote it.",
    "single": "How good is the answer? Judge the text alone; you are not told who wrote it.",
    "rank": "Put the answers in order, the best first. You are not told who wrote them.",
    "edit": "Write the answer as it should be.",
    "dialogue": "Which answer is better? The conversation goes on with the one that you choose.",
}
NO_STANDINGS: dict[str, Any] = {"heads": [], "rows": [], "about": ""}
_LOOK_BACK = 200  # places searched for the last one that was answered: others may have taken those between


class Rate(LabWidget):
    """A desk for one rater and one batch, in the mode of the batch.

    rater: who rates; by default an opaque name that belongs to this user's folder. replay: a recorded session
    (or the file of one) for a notebook that runs with nobody there: its clicks take the path of a person's and
    are stored under the recording's own rater. Where somebody can click it is left out. models: two
    references that answer each message of a dialogue, with `sampling`; a batch of that name is made where
    there is none. Raises RatingError where the batch does not exist, or is no dialogue and models are given.
    """

    stem = "rate"

    desk = traitlets.Unicode().tag(sync=True)
    """Names store, rater and batch for the browser's outbox; tells nothing about them."""
    batch = traitlets.Unicode().tag(sync=True)
    mode = traitlets.Unicode("pair").tag(sync=True)
    """pair, single, rank, edit or dialogue."""
    instructions = traitlets.Unicode().tag(sync=True)
    instructions_version = traitlets.Int(0).tag(sync=True)
    """From 1; a page that has seen a lower one says that they have changed. 0: unknown."""
    flags = traitlets.Dict().tag(sync=True)
    """{id: label} of what can be ticked about an answer."""
    task = traitlets.Any(None).tag(sync=True)
    """{assignment_id, mode, position, prompt, texts, unseen, prev_event_id, settings, stands}; None at the end.

    `texts` in the order shown; `unseen`: characters of each that the page is not given; `stands`: what was said
    already, where the rater has gone back to it.
    """
    turn = traitlets.Any(None).tag(sync=True)
    """{assignment_id, prompt, state, texts, note} of a dialogue between two tasks; None otherwise."""
    place = traitlets.Dict().tag(sync=True)
    """{position, earlier, later}: where the rater is, and whether there is something to go back or on to."""
    progress = traitlets.Dict().tag(sync=True)
    """Counts: answered, skipped, flagged and total."""
    last = traitlets.Any(None).tag(sync=True)
    """A dict of assignment_id, event_id and words of what Undo would take back; None at the start."""
    standings = traitlets.Dict(NO_STANDINGS).tag(sync=True)
    """{heads, rows, about}: how the models did; empty until the rater has answered everything and asked."""

    def __init__(
        self,
        ratings: "Ratings",
        batch: str = "default",
        rater: str | None = None,
        replay: "Recording | str | Path | None" = None,
        models: Sequence[str] | None = None,
        *,
        sampling: Sampling | None = None,
    ) -> None:
        from ftlab.ratings.said import FLAGS

        self.ratings = ratings
        recording = None if replay is None or is_live() else _recording(replay)
        self._replayed = recording is not None
        self.rater = rater or (recording.rater if recording else own_name())
        self._receipts: list[Receipt] = []
        self._refusal = ""
        self._looked_at: int | None = None  # the place the rater has gone back to
        self._ended: set[str | None] = set()  # conversations that the rater has left
        self._turns = None if models is None else Turns(models, sampling)
        self._is_begun = False  # a dialogue's batch holds a task
        if self._turns is not None:
            ratings.open_batch(batch, mode="dialogue")
        desk = hashlib.sha256(f"{ratings.place}\0{self.rater}\0{batch}".encode()).hexdigest()[:16]
        super().__init__(desk=desk, batch=batch, flags=FLAGS)
        self._refresh()
        if recording is not None:
            self._replay(recording)

    # what the page asks for

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if self._turns is not None:
            self._turns.presence.hear()
        return super()._do_hello(message)

    def _do_open(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """Read the store again: it may have gone on in another kernel since the page was last loaded."""
        self._looked_at = None
        self._refresh()

    def _do_record(self, message: dict[str, Any]) -> dict[str, Any]:
        """Store one event; a receipt after the commit, or why it will never be taken."""
        from ftlab.ratings.storage.database import DamagedStore, NotSaved, StoreBusy

        event = message.get("event")
        if not isinstance(event, dict):
            raise RatingError(f"a rating is an object, not {type(event).__name__}")
        try:
            receipt = self.ratings.record(event)
        except (StoreBusy, NotSaved, DamagedStore):
            raise  # the page keeps the event and sends it again
        except RatingError as error:
            logger.info("refused an event: %s", error)
            self._refusal = str(error)
            return {"refused": self._refusal}
        self._receipts.append(receipt)
        self._looked_at = None
        return receipt.to_json()

    def _answered(self, name: str) -> None:
        """The next task is made, and stored, after the receipt: the tick is not kept waiting for another commit."""
        if name != "record":
            return
        try:
            self._refresh()
        except RatingError as error:
            if not is_live():
                raise
            self._report(error)
        else:
            self.error = ""

    def _do_go(self, message: dict[str, Any]) -> None:
        """Back to what was answered before, at place `position`, or on again."""
        wanted, now = message.get("position"), self.place["position"]
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            raise RatingError(f"a place is a whole number from 1, not {wanted!r}")
        newest = self._newest()[0]
        step = -1 if wanted < now else 1
        while 1 <= wanted < newest:
            task = self.ratings.at(self.rater, self.batch, wanted)
            if task is not None and task.state is not None:
                break
            wanted += step
        if wanted >= 1:
            self._looked_at = wanted if wanted < newest else None
            self._refresh()

    def _do_reveal(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """Show the models behind the answers; the store marks what is said about them afterwards."""
        newest, task = self._newest()
        if task is not None:
            raise RatingError("the models are shown once everything is answered")
        for position in range(1, newest):
            one = self.ratings.at(self.rater, self.batch, position)
            if one is not None and one.state is not None:
                self.ratings.reveal(one.assignment_id)
        self.standings = rated.standings(self.ratings, self.batch, self.mode)

    # a dialogue

    def _do_turn(self, message: dict[str, Any]) -> None:
        """Ask both models for their answers to the rater's next message; nothing where they are at it."""
        turns, text = self._turns, message.get("message")
        if turns is None:
            raise RatingError("nobody answers here: give Rate(…, models=[one, another])")
        if turns.is_answering:
            return
        if not isinstance(text, str) or not text.strip() or len(text) > MESSAGE_CHARACTERS:
            raise RatingError(f"a message is text of 1 to {MESSAGE_CHARACTERS:,} characters")
        if self.turn is None:
            raise RatingError("an answer is to be chosen first")
        before = self.turn["assignment_id"]
        prompt = self._so_far(None if before is None else self.ratings.task(before))
        self.error = ""
        turns.start(
            [*prompt, {"role": "user", "content": text}],
            changed=self._show_turn,
            store=lambda answers: self._store_turn(before, text, answers),
            ended=self._turn_ended,
        )
        self._show_turn()

    def _do_cancel(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """Give up the answers that are being written."""
        if self._turns is not None:
            self._turns.cancel()

    def _do_leave(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """End this conversation: another one begins, or the batch goes on."""
        if self.turn is not None:
            self._ended.add(self.turn["assignment_id"])
        self._refresh()

    def _store_turn(self, before: str | None, text: str, answers: list[Answer]) -> str:
        """Both answers as a task for this rater; why they make none."""
        if self._turns is None:
            raise RatingError("nobody answers here")
        responses = self._turns.responses(answers)
        if before is not None:
            added = self.ratings.next_turn(before, text, responses)
        else:
            tags = {"conversation": secrets.token_hex(8), "turn": 1}
            row = {"prompt": [{"role": "user", "content": text}], "responses": responses, "tags": tags}
            added = self.ratings.add([row], self.batch)
        if added.known:
            return "both have answered the same as before"
        return added.refused[0].reason if added.refused else ""

    def _turn_ended(self, error: BaseException | None) -> None:
        """In the thread that asked."""
        if error is not None:
            self._report(error)
        try:
            with self._lock:
                self._refresh()
        except RatingError as also:
            self._report(also)

    def _show_turn(self) -> None:
        with self._together():
            self.turn = self._turn(None, None)

    def _turn(self, task: "Task | None", before: "Task | None") -> dict[str, Any] | None:
        """What is between two tasks: the message to be written, or the answers that are."""
        turns = self._turns
        if turns is None or self._looked_at is not None:
            return None
        if turns.is_answering:
            talk = {"prompt": turns.prompt, "state": "answering", "texts": turns.texts(), "note": turns.note}
            return {"assignment_id": (self.turn or {}).get("assignment_id"), **talk}
        so_far = self._so_far(before)
        if not so_far or before is None or before.assignment_id in self._ended or shown.follows(task, so_far):
            before = None
        if before is None and task is not None:
            return None
        waiting: dict[str, Any] = {"state": "waiting", "texts": [], "note": ""}
        if before is None:
            return {**waiting, "assignment_id": None, "prompt": []}
        return {**waiting, "assignment_id": before.assignment_id, "prompt": so_far}

    @staticmethod
    def _so_far(before: "Task | None") -> list[dict[str, str]]:
        """The conversation up to the answer that was chosen, as the store goes on with it; empty where none was."""
        state = None if before is None else before.state
        if before is None or state is None or state.choice not in ("left", "right", "tie"):
            return []
        answer = before.right if state.choice == "right" else before.left
        return [*before.prompt, {"role": "assistant", "content": answer}]

    # the picture

    def _refresh(self) -> None:
        """Set the traits to what the store holds."""
        newest, task = self._newest()
        looked = None if self._looked_at is None else self.ratings.at(self.rater, self.batch, self._looked_at)
        here = newest if looked is None else looked.position
        before = self._before(newest)
        on_desk = looked or task
        progress = self.ratings.progress(self.rater, self.batch)
        about = on_desk or before
        with self._together():
            if about is not None:
                self.mode = about.mode
                self.instructions_version = about.instructions_version
            elif self._turns is not None:
                self.mode = "dialogue"
            self.instructions = (about.instructions if about else "") or INSTRUCTIONS[self.mode]
            self.task = None if on_desk is None else shown.for_page(on_desk)
            self.turn = self._turn(task, before)
            self.last = shown.undoable(looked or before)
            self.place = {
                "position": here,
                "earlier": (before if looked is None else self._before(here)) is not None,
                "later": looked is not None,
            }
            self.progress = {
                "answered": progress.answered,
                "skipped": progress.skipped,
                "flagged": progress.flagged,
                "total": progress.total,
            }
            if task is not None:
                self.standings = NO_STANDINGS

    def _newest(self) -> "tuple[int, Task | None]":
        """The place after the last one that was asked, or that of the task which waits, and this task."""
        task = self._next()
        if task is not None:
            return task.position, task
        place = self.ratings.progress(self.rater, self.batch).total
        while self.ratings.at(self.rater, self.batch, place + 1) is not None:
            place += 1
        return place + 1, None

    def _before(self, place: int) -> "Task | None":
        """The last one below this place that was answered."""
        for one in range(place - 1, max(0, place - _LOOK_BACK), -1):
            task = self.ratings.at(self.rater, self.batch, one)
            if task is not None and task.state is not None:
                return task
        return None

    # without a page

    def _replay(self, recording: "Recording") -> None:
        """Send the recorded clicks the way the page does, until no task is left."""
        while (task := self._next()) is not None:
            event = recording.event_for(task, session_id="replay")
            before = len(self._receipts)
            self._handle_custom_msg({"id": event["event_id"], "type": "record", "event": event}, [])
            if len(self._receipts) == before:
                raise RatingError(
                    f"the recording's click on {rated.NOUNS[self.mode]} {task.position} was refused: {self._refusal}"
                )
        if self.progress["answered"]:
            self._do_reveal({})

    def _next(self) -> "Task | None":
        if self._turns is not None and not self._is_begun:
            self._is_begun = self.ratings.batches()[self.batch] > 0
            if not self._is_begun:  # the first message of all is still to be written
                return None
        return self.ratings.next(self.rater, self.batch, kind="replay" if self._replayed else None)

    def _summary(self) -> str:
        answered, total = self.progress["answered"], self.progress["total"]
        return f"Rate {self.batch}: {answered} of {total} answered"

    def _twin(self) -> str:
        answered, total = self.progress["answered"], self.progress["total"]
        who = " by a recorded session, replayed" if self._replayed else ""
        head = f"<b>{rated.escaped(self.batch)}: {answered} of {total} {rated.NOUNS[self.mode]}s answered{who}</b>"
        mine = [row for row in self.ratings.current(self.batch) if row["rater"] == self.rater]
        mine.sort(key=lambda row: row["seq"])  # as they were answered: a repeat stands where it was asked
        if not mine:
            first = (
                f"<p>Waiting: {rated.escaped(self.instructions)}</p>{rated.waiting_html(self.task)}"
                if self.task
                else ""
            )
            how = "Open this notebook in JupyterLab and run this cell to rate; every mode works by keyboard alone."
            return f'<div style="{rated.BOX}">{head}{first}<p>{how}</p></div>'
        parts = (
            rated.counts_html(self.mode, mine),
            rated.standings_html(self.standings),
            rated.rows_html(self.ratings, self.mode, mine),
        )
        return f'<div style="{rated.BOX}">{head}{"".join(parts)}</div>'


def own_name() -> str:
    """The user's name as a rater: random, kept in the user's folder, and telling nothing about the person."""
    path = home() / "rater"
    if not path.exists():
        fresh = path.with_name(f"rater.{os.getpid()}")
        fresh.write_text(f"rater-{secrets.token_hex(6)}", "ascii")
        try:
            os.link(fresh, path)  # unlike a rename it never replaces the name another kernel has just chosen
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text("ascii").strip()


def _recording(replay: "Recording | str | Path") -> "Recording":
    from ftlab.ratings import Recording

    return replay if isinstance(replay, Recording) else Recording.load(replay)
