"""Rate: which of two answers is better, and by how much, one pair after the other and blind."""

import hashlib
import html
import logging
import os
import secrets
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ftlab.errors import RatingError
from ftlab.home import home
from ftlab.widgets.widget import LabWidget, is_live

if TYPE_CHECKING:
    from ftlab.ratings import Ratings, Receipt, Recording, Task, WinRate

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 100_000
"""The page is given this much of a text; a message of some megabytes would be dropped on its way."""

INSTRUCTIONS = "Which answer is better? Judge the text alone; you are not told who wrote it."

TWIN_ROWS = 6

_WORDS = {"left": "A is better", "right": "B is better", "tie": "tie", "both_bad": "both bad"}
_STRENGTHS = ("negligibly", "slightly", "clearly", "significantly")
_CELL = "padding:4px 10px;border-bottom:1px solid rgba(128,128,128,.45);text-align:left;vertical-align:top"
_BOX = "border:1px solid rgba(128,128,128,.45);border-radius:8px;padding:12px;font-family:sans-serif"


class Rate(LabWidget):
    """A desk for one rater and one batch of pairs.

    rater: who rates; by default an opaque name that belongs to this user's folder. replay: a recorded session
    (or the file of one) for a notebook that runs with nobody there: its clicks take the path of a person's and
    are stored under the recording's own rater. Where somebody can click it is left out.
    Raises RatingError where the batch does not exist.
    """

    stem = "rate"

    desk = traitlets.Unicode().tag(sync=True)
    """Names store, rater and batch for the browser's outbox; tells nothing about them."""
    batch = traitlets.Unicode().tag(sync=True)
    instructions = traitlets.Unicode().tag(sync=True)
    task = traitlets.Any(None).tag(sync=True)
    """A dict of assignment_id, prompt, left, right, prev_event_id and position of the pair to rate; None at the end."""
    progress = traitlets.Dict().tag(sync=True)
    """Counts: answered, skipped, flagged and total."""
    last = traitlets.Any(None).tag(sync=True)
    """A dict of assignment_id, event_id and words of what Undo would take back; None at the start."""
    standings = traitlets.List(traitlets.Dict()).tag(sync=True)
    """Pairs of models with their counts; empty until the rater has answered everything and asked."""

    def __init__(
        self,
        ratings: "Ratings",
        batch: str = "default",
        rater: str | None = None,
        replay: "Recording | str | Path | None" = None,
    ) -> None:
        self.ratings = ratings
        recording = None if replay is None or is_live() else _recording(replay)
        self._replayed = recording is not None
        self.rater = rater or (recording.rater if recording else own_name())
        self._receipts: list[Receipt] = []
        self._refusal = ""
        desk = hashlib.sha256(f"{ratings.path}\0{self.rater}\0{batch}".encode()).hexdigest()[:16]
        super().__init__(desk=desk, batch=batch)
        self._refresh()
        if recording is not None:
            self._replay(recording)

    # what the page asks for

    def _do_open(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """Read the store again: it may have gone on in another kernel since the page was last loaded."""
        self._refresh()

    def _do_record(self, message: dict[str, Any]) -> dict[str, Any]:
        """Store one event; a receipt after the commit, or why it will never be taken."""
        from ftlab.ratings.database import DamagedStore, NotSaved, StoreBusy

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
        return receipt.to_json()

    def _answered(self, name: str) -> None:
        """The next pair is made, and stored, after the receipt: the tick is not kept waiting for another commit."""
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

    def _do_reveal(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        """Show the models behind the answers; the store marks what is said about them afterwards."""
        if self.task is not None:
            raise RatingError("the models are shown once every pair is answered")
        for position in range(1, self.progress["total"] + 1):
            task = self.ratings.at(self.rater, self.batch, position)
            if task is not None and task.state is not None:
                self.ratings.reveal(task.assignment_id)
        self.standings = self._standings()

    # the picture

    def _refresh(self) -> None:
        """Set the traits to what the store holds."""
        task = self._next()
        progress = self.ratings.progress(self.rater, self.batch)
        position = progress.total + 1 if task is None else task.position
        before = self.ratings.at(self.rater, self.batch, position - 1) if position > 1 else None
        with self._together():
            self.task = None if task is None else _shown(task)
            self.instructions = (shown.instructions if (shown := task or before) else "") or INSTRUCTIONS
            self.last = _said(before)
            self.progress = {
                "answered": progress.answered,
                "skipped": progress.skipped,
                "flagged": progress.flagged,
                "total": progress.total,
            }
            if task is not None:
                self.standings = []

    def _standings(self) -> list[dict[str, Any]]:
        """How often each model was preferred to each other one, by all raters of the batch."""
        rows = self.ratings.current(self.batch)
        models = sorted({row[side] for row in rows for side in ("left_model", "right_model")})
        rates = [self.ratings.win_rate(self.batch, a, b) for a, b in combinations(models, 2)]
        return [_standing(rate) for rate in rates if rate.n]

    # without a page

    def _replay(self, recording: "Recording") -> None:
        """Send the recorded clicks the way the page does, until no pair is left."""
        while (task := self._next()) is not None:
            event = recording.event_for(task, session_id="replay")
            before = len(self._receipts)
            self._handle_custom_msg({"id": event["event_id"], "type": "record", "event": event}, [])
            if len(self._receipts) == before:
                raise RatingError(
                    f"the recording's click on pair {task.position} was refused: {self._refusal}"
                )
        if self.progress["answered"]:
            self._do_reveal({})

    def _next(self) -> "Task | None":
        return self.ratings.next(self.rater, self.batch, kind="replay" if self._replayed else None)

    def _summary(self) -> str:
        answered, total = self.progress["answered"], self.progress["total"]
        return f"Rate {self.batch}: {answered} of {total} answered"

    def _twin(self) -> str:
        answered, total = self.progress["answered"], self.progress["total"]
        who = " by a recorded session, replayed" if self._replayed else ""
        head = f"<b>{_e(self.batch)}: {answered} of {total} pairs answered{who}</b>"
        mine = [row for row in self.ratings.current(self.batch) if row["rater"] == self.rater]
        if not mine:
            first = f"<p>Waiting: {_e(self.instructions)}</p>{_pair_html(self.task)}" if self.task else ""
            how = "Open this notebook in JupyterLab and run this cell to rate; the keys 1 to 4 are enough."
            return f'<div style="{_BOX}">{head}{first}<p>{how}</p></div>'
        return f'<div style="{_BOX}">{head}{_counts_html(mine)}{_standings_html(self.standings)}{self._rows_html(mine)}</div>'

    def _rows_html(self, mine: list[dict[str, Any]]) -> str:
        """The first answers, with the number of their entry in the log: that is their receipt."""
        body = []
        for row in mine[:TWIN_ROWS]:
            task = self.ratings.task(row["assignment_id"])
            cells = (
                task.position,
                task.prompt[-1]["content"],
                task.left,
                task.right,
                _words(row),
                f"no. {row['seq']}",
            )
            body.append([_excerpt(str(cell)) for cell in cells])
        more = f"<p>The first {len(body)} of {len(mine)}.</p>" if len(mine) > len(body) else ""
        return _table_html(["", "Prompt", "A", "B", "Choice", "Entry"], body) + more


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


def _shown(task: "Task") -> dict[str, Any]:
    """What the page gets of a task."""
    return {
        "assignment_id": task.assignment_id,
        "position": task.position,
        "prompt": [{**message, "content": _cut(message["content"])} for message in task.prompt],
        "left": _cut(task.left),
        "right": _cut(task.right),
        "prev_event_id": task.prev_event_id,
    }


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}\n\n[… {len(text) - SHOWN_CHARACTERS:,} more characters are not shown]"


def _said(task: "Task | None") -> dict[str, Any] | None:
    """What Undo would take back."""
    if task is None or task.state is None:
        return None
    words = _words({"choice": task.state.choice, "strength": task.state.strength, "kind": task.state.kind})
    return {
        "assignment_id": task.assignment_id,
        "event_id": task.state.event_id,
        "words": f"pair {task.position}: {words}",
    }


def _words(said: dict[str, Any]) -> str:
    """A choice, for a person to read."""
    words = _WORDS.get(said["choice"] or "", said["kind"])
    if said["choice"] in ("left", "right") and said["strength"] is not None:
        words = f"{words}, {_STRENGTHS[said['strength']]}"
    return words


def _standing(rate: "WinRate") -> dict[str, Any]:
    share = "" if rate.rate is None else f"{rate.rate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
    counts = {
        "wins": rate.wins,
        "losses": rate.losses,
        "ties": rate.ties,
        "both_bad": rate.both_bad,
        "n": rate.n,
    }
    return {"a": rate.a, "b": rate.b, "rate": share, **counts}


def _recording(replay: "Recording | str | Path") -> "Recording":
    from ftlab.ratings import Recording

    return replay if isinstance(replay, Recording) else Recording.load(replay)


# the twin: inline styles only, because JupyterLab's sanitizer leaves nothing else


def _e(value: object) -> str:
    return html.escape(str(value))


def _excerpt(text: str, length: int = 160) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _table_html(heads: list[str], rows: list[list[str]]) -> str:
    top = "".join(f'<th style="{_CELL}">{_e(head)}</th>' for head in heads)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_CELL};white-space:pre-wrap">{_e(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse;margin:8px 0"><tr>{top}</tr>{body}</table>'


def _counts_html(rows: list[dict[str, Any]]) -> str:
    counted = Counter(row["choice"] or row["kind"] for row in rows)
    hasty = sum(bool(row["hasty"]) for row in rows)
    known = sum(row["hasty"] is not None for row in rows)
    speed = (
        f"{hasty} of {known} were said faster than the answers can be read."
        if known
        else "Times were not recorded."
    )
    cells = [[_WORDS.get(name, name), str(count)] for name, count in counted.most_common()]
    return _table_html(["Choice", f"n = {len(rows)}"], cells) + f"<p>{speed}</p>"


def _standings_html(standings: list[dict[str, Any]]) -> str:
    if not standings:
        return ""
    heads = ["Preferred", "to", "Won", "Lost", "Tied", "of them both bad", "n", "Share, 90 % interval"]
    names = ("a", "b", "wins", "losses", "ties", "both_bad", "n", "rate")
    return _table_html(heads, [[str(row[name]) for name in names] for row in standings])


def _pair_html(task: dict[str, Any]) -> str:
    prompt = task["prompt"][-1]["content"]
    return _table_html(
        ["Prompt", "A", "B"], [[_excerpt(text) for text in (prompt, task["left"], task["right"])]]
    )
