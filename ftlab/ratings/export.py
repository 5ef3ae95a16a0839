"""Preferences: the rows a trainer takes, made from the log up to one event, and the files of them."""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from sqlalchemy import Connection, select

from ftlab import __version__
from ftlab.errors import RatingError
from ftlab.interval import wilson
from ftlab.ratings import opinions
from ftlab.ratings import schema as t
from ftlab.ratings.database import NotSaved, flush
from ftlab.ratings.opinions import Aggregate, Finding, Opinions

_MANIFEST = "manifest.json"
_FORMAT = "ftlab preferences 1"


@dataclass(frozen=True, slots=True)
class Preferences(Sequence[dict[str, Any]]):
    """Preferences in TRL's conversational format with explicit prompts, in the order of the tasks.

    A row has prompt, chosen and rejected (lists of messages) and beside them margin, agreement, n_raters,
    rater_kind, event_ids, batch, task_id, chosen_model and rejected_model; TRL keeps or drops those.
    `excluded` counts what was said but makes no row, by reason; `seq` is the last event looked at.
    """

    rows: tuple[dict[str, Any], ...]
    excluded: dict[str, int]
    seq: int
    about: dict[str, Any]

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[dict[str, Any], ...]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | tuple[dict[str, Any], ...]:
        """A row, or several."""
        return self.rows[index]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Row by row."""
        return iter(self.rows)

    def __repr__(self) -> str:
        """In words."""
        return f"{len(self)} preferences up to event {self.seq}{_in_words(self.excluded)}"

    def save(self, path: str | Path) -> Path:
        """Writes JSON lines (ASCII, so that every reader sees one record a line), then `manifest.json`.

        Both stand beside one another, each written aside, flushed and renamed; the same bytes for the same
        events and arguments. The manifest keeps what it says of other files in the folder. RatingError where
        there are no rows: nothing could be trained on them.
        """
        if not self.rows:
            raise RatingError(
                f"there are no preferences to save{_in_words(self.excluded)}: rate some pairs first"
            )
        goal = Path(path).expanduser().absolute()
        if goal.name == _MANIFEST or goal.is_dir():
            raise RatingError(f"{goal}: give the name of a file such as preferences.jsonl")
        data = "".join(
            json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in self.rows
        ).encode()
        write_whole(goal, data)
        entry = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "rows": len(self.rows),
            "excluded": dict(sorted(self.excluded.items())),
            "seq": self.seq,
            **self.about,
        }
        manifest = goal.with_name(_MANIFEST)
        files = _other_files(manifest) | {goal.name: entry}
        text = json.dumps({"format": _FORMAT, "files": files}, indent=2, sort_keys=True, allow_nan=False)
        write_whole(manifest, (text + "\n").encode())
        return goal


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often `a` was preferred to `b`. n tasks = wins + losses + ties; rate = (wins + ties / 2) / n.

    `ties` holds the splits and the `both_bad` too. [low, high] is Wilson's score interval at 90 %. Without
    tasks the rate is None, undefined, and the interval 0 to 1.
    """

    a: str
    b: str
    wins: int
    losses: int
    ties: int
    both_bad: int
    n: int
    rate: float | None
    low: float
    high: float

    def __str__(self) -> str:
        """In words."""
        if self.rate is None:
            return f"{self.a} against {self.b}: undefined, no task with both was rated"
        return (
            f"{self.a} against {self.b}: {self.rate:.2f} [{self.low:.2f}, {self.high:.2f}] "
            f"(Wilson, 90 %; n={self.n}: {self.wins} won, {self.losses} lost, {self.ties} tied)"
        )


def collect(
    connection: Connection,
    batch: str | None,
    *,
    upto: int,
    aggregate: Aggregate,
    min_strength: int,
    kinds: tuple[str, ...] | None,
) -> Preferences:
    """`Ratings.preferences` on an open connection."""
    if aggregate not in ("majority", "all", "unanimous"):
        raise RatingError(f"'aggregate' is majority, all or unanimous, not {aggregate!r}")
    unknown = sorted(set(kinds or ()) - set(t.RATERS))
    if unknown:
        raise RatingError(f"kinds of raters are {', '.join(t.RATERS)}, not {unknown[0]!r}")
    rows: list[dict[str, Any]] = []
    excluded: Counter[str] = Counter()
    raters: dict[str, set[str]] = {}
    for task in opinions.read(connection, batch, upto):
        votes, aside = task.of_kinds(kinds)
        if aside:
            excluded["other kind of rater"] += aside
        if not votes:
            continue
        for finding in opinions.findings(votes, aggregate, min_strength):
            reason = finding.reason or _unfit(task, finding)
            if reason:
                excluded[reason] += 1
                continue
            rows.append(_row(task, finding))
            for vote in finding.votes:
                raters.setdefault(vote.rater_kind, set()).add(vote.rater)
    about = {
        "aggregate": aggregate,
        "min_strength": min_strength,
        "kinds": None if kinds is None else list(kinds),
        "raters": {kind: len(names) for kind, names in sorted(raters.items())},
        "batches": _batches(connection, batch),
        "last_event": _last_event(connection, upto),
        "ftlab": __version__,
        "schema": t.REVISION,
    }
    return Preferences(tuple(rows), dict(excluded), upto, about)


def collect_win_rate(connection: Connection, batch: str | None, a: str, b: str, *, upto: int) -> WinRate:
    """`Ratings.win_rate` on an open connection."""
    if a == b:
        raise RatingError(f"a model cannot be compared with itself: {a!r}")
    _check_models(connection, batch, a, b)
    counts: Counter[str] = Counter()
    for task in opinions.read(connection, batch, upto):
        if set(task.models) != {a, b}:
            continue
        votes, _ = task.of_kinds(None)
        finding = opinions.findings(votes, "majority", 0)[0]
        if not any(vote.is_rating for vote in votes):
            continue
        if finding.winner is None:
            counts["tie"] += 1
            counts["both_bad"] += finding.reason == "both_bad"
        else:
            counts["win" if task.models[finding.winner] == a else "loss"] += 1
    wins, losses, ties = counts["win"], counts["loss"], counts["tie"]
    n = wins + losses + ties
    rate = (wins + ties / 2) / n if n else None
    low, high = wilson(wins + ties / 2, n)
    return WinRate(a, b, wins, losses, ties, counts["both_bad"], n, rate, low, high)


def write_whole(path: Path, data: bytes) -> None:
    """Writes aside, flushes and renames: at `path` stands the old file or the whole new one.

    NotSaved where the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        flush(path.parent)
    except OSError as error:
        raise NotSaved(
            f"{path}: NOT written ({error.strerror}); what was there before still is. "
            "Free disk space or save elsewhere"
        ) from error


def _row(task: Opinions, finding: Finding) -> dict[str, Any]:
    winner = finding.winner or 0
    return {
        "prompt": task.prompt,
        "chosen": [{"role": "assistant", "content": task.texts[winner]}],
        "rejected": [{"role": "assistant", "content": task.texts[1 - winner]}],
        "margin": finding.margin,
        "agreement": finding.agreement,
        "n_raters": len({vote.rater for vote in finding.votes}),
        "rater_kind": finding.votes[0].rater_kind,
        "event_ids": [vote.event_id for vote in finding.votes],
        "batch": task.batch,
        "task_id": task.task_id,
        "chosen_model": task.models[winner],
        "rejected_model": task.models[1 - winner],
    }


def _unfit(task: Opinions, finding: Finding) -> str:
    """TRL trains on an empty answer without a word; it would teach to say nothing."""
    return "" if all(text.strip() for text in task.texts) or finding.winner is None else "empty answer"


def _check_models(connection: Connection, batch: str | None, a: str, b: str) -> None:
    wanted = select(t.response.c.model_ref).distinct().order_by(t.response.c.model_ref)
    if batch is not None:
        opinions.check_batch(connection, batch)
        wanted = wanted.join(t.task, t.task.c.task_id == t.response.c.task_id).where(t.task.c.batch == batch)
    models = connection.execute(wanted).scalars().all()
    for model in (a, b):
        if model not in models:
            raise RatingError(
                f"no answer here is of model {model!r}; there are {', '.join(models) or 'none'}"
            )


def _batches(connection: Connection, batch: str | None) -> dict[str, Any]:
    wanted = select(t.instruction, t.batch.c.mode).join_from(
        t.instruction, t.batch, t.instruction.c.batch == t.batch.c.name
    )
    if batch is not None:
        wanted = wanted.where(t.batch.c.name == batch)
    found: dict[str, Any] = {}
    for row in connection.execute(wanted.order_by(t.batch.c.name, t.instruction.c.version)).mappings():
        entry = found.setdefault(row["batch"], {"mode": row["mode"], "instructions": {}})
        entry["instructions"][str(row["version"])] = row["text"]
    return found


def _last_event(connection: Connection, upto: int) -> dict[str, Any] | None:
    e = t.rating_event.c
    row = connection.execute(select(e.server_utc, e.row_hash).where(e.seq == upto)).mappings().first()
    return None if row is None else dict(row)


def _other_files(manifest: Path) -> dict[str, Any]:
    """What an earlier manifest says of files that are still there."""
    if not manifest.exists():
        return {}
    try:
        known = json.loads(manifest.read_text())
    except ValueError as error:
        raise RatingError(
            f"{manifest} is not a manifest ({error}): move it away or save elsewhere"
        ) from error
    if not isinstance(known, dict) or known.get("format") != _FORMAT:
        raise RatingError(f"{manifest} is of another kind: move it away or save into another folder")
    return {name: entry for name, entry in known["files"].items() if (manifest.parent / name).exists()}


def _in_words(excluded: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(excluded.items()))
    return f" ({listed} left out)" if listed else ""
