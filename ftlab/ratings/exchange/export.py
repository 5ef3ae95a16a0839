"""Exports: the rows a trainer takes, made from the log up to one event, and the files of them."""

import gc
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from sqlalchemy import Connection, func, select

from ftlab import __version__
from ftlab.errors import RatingError
from ftlab.interval import wilson
from ftlab.ratings import opinions
from ftlab.ratings import schema as t
from ftlab.ratings.exchange import card, files, formats
from ftlab.ratings.exchange.census import Census
from ftlab.ratings.exchange.files import write_whole
from ftlab.ratings.exchange.formats import Row, Wanted

__all__ = ["Exported", "Gathering", "Preferences", "WinRate", "collect", "collect_win_rate", "write_whole"]

_MANIFEST, _CARD = "manifest.json", "README.md"
_FORMAT = "ftlab export 1"
_KNOWN_FORMATS = (_FORMAT, "ftlab preferences 1")


class NothingToExport(RatingError):  # noqa: N818 - a state of affairs that a person reads
    """What was rated makes no row of the kind asked for; the message counts why."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: `path` is the file, or the first of them where the rows were split.

    rows: of all files together. excluded: what was said but makes no row, by reason. seq: the last event
    looked at. sha256: by file name. notes: what a person should know, in sentences.
    """

    path: Path
    rows: int
    excluded: dict[str, int]
    seq: int
    sha256: dict[str, str]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words."""
        names = " and ".join(self.sha256)
        told = f"{names} in {self.path.parent}: {self.rows} rows up to event {self.seq}"
        return "\n".join([told + in_words(self.excluded), *self.notes])


@dataclass(frozen=True, slots=True)
class Preferences(Sequence[dict[str, Any]]):
    """Preferences in TRL's conversational format with explicit prompts, in the order of the tasks.

    A row has prompt, chosen and rejected (lists of messages) and beside them margin, agreement, n_raters,
    rater_kind, event_ids, batch, mode, task_id, chosen_model, rejected_model, chosen_safe and rejected_safe;
    TRL keeps or drops those. `excluded` counts what was said but makes no row, by reason; `seq` is the last
    event looked at.
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
        return f"{len(self)} preferences up to event {self.seq}{in_words(self.excluded)}"

    def save(self, path: str | Path) -> Path:
        """Writes JSON lines or Parquet, by the suffix, then the dataset card and `manifest.json`.

        The same bytes as `Ratings.export` makes of the same events and arguments. RatingError where there are
        no rows: nothing could be trained on them.
        """
        if not self.rows:
            raise NothingToExport(
                f"there are no preferences to save{in_words(self.excluded)}: rate some pairs first"
            )
        goal = files.goal(path)
        check_folder(goal.parent)
        with files.Files([goal], formats.columns(Wanted())) as written:
            for row in self.rows:
                written.sinks[0].write(row)
            hashes = written.settle()
        describe(goal.parent, {goal.name: (hashes[0], len(self.rows))}, self.about)
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


@dataclass(slots=True)
class Gathering:
    """Rows on their way out of the log, and what is learned about them as they pass."""

    connection: Connection
    batch: str | None
    upto: int
    wanted: Wanted
    excluded: Counter[str] = field(default_factory=Counter)
    census: Census = field(default_factory=Census)
    task: opinions.Opinions | None = None
    """What the row that passes just now is about."""

    def __iter__(self) -> Iterator[Row]:
        """Each row, once; afterwards `excluded`, `census` and `about` are complete."""
        for task in opinions.read(self.connection, self.batch, self.upto, t.MODES):
            votes = formats.counted(task, self.wanted, self.excluded)
            if votes:
                if formats.fits(task.mode, self.wanted):
                    self.census.see(task, votes)
                self.task = task
                yield from formats.rows(task, votes, self.wanted, self.excluded)

    def about(self) -> dict[str, Any]:
        """For the manifest: what was asked for, what was left out and what is known of the raters."""
        return {
            "kind": self.wanted.kind,
            "aggregate": self.wanted.aggregate,
            "min_strength": self.wanted.weakest,
            "kinds": None if self.wanted.kinds is None else list(self.wanted.kinds),
            "format": "standard" if self.wanted.standard else "conversational",
            "prompt": "implicit" if self.wanted.implicit_prompt else "explicit",
            "excluded": dict(sorted(self.excluded.items())),
            "seq": self.upto,
            **self.census.figures(),
            **origin(self.connection, self.census.batches, self.upto),
        }


def collect(connection: Connection, batch: str | None, upto: int, wanted: Wanted) -> Preferences:
    """`Ratings.preferences` on an open connection."""
    gathering = Gathering(connection, batch, upto, wanted)
    rows = tuple(gathering)
    return Preferences(rows, dict(gathering.excluded), upto, gathering.about())


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Rows make no cycles: looking for some after every 700 objects takes a tenth of a large export."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def export(
    connection: Connection,
    path: str | Path,
    batch: str | None,
    upto: int,
    wanted: Wanted,
    split: float | None,
) -> Exported:
    """`Ratings.export` on an open connection, of every kind but raw."""
    goal = files.goal(path)
    if split is not None and not 0 < split < 1:
        raise RatingError(f"'split' is the share of the test rows, between 0 and 1, not {split!r}")
    check_folder(goal.parent)
    goals = [goal] if split is None else [goal.with_stem(f"{goal.stem}-{part}") for part in ("train", "test")]
    gathering = Gathering(connection, batch, upto, wanted)
    with files.Files(goals, formats.columns(wanted)) as written, _seldom_collected():
        for row in gathering:
            is_other = (
                split is not None and gathering.task is not None and is_test(gathering.task.prompt, split)
            )
            written.sinks[is_other].write(row)
        counts = [sink.rows for sink in written.sinks]
        _check_rows(wanted, gathering, goals, counts, split)
        hashes = written.settle()
    found = {each.name: (sha, rows) for each, sha, rows in zip(goals, hashes, counts, strict=True)}
    about = gathering.about()
    if split is not None:
        about["split"] = split
    describe(goal.parent, found, about)
    return Exported(
        goals[0],
        sum(counts),
        dict(sorted(gathering.excluded.items())),
        upto,
        {each.name: sha for each, sha in zip(goals, hashes, strict=True)},
        _notes(sum(counts)),
    )


def _check_rows(
    wanted: Wanted, gathering: Gathering, goals: Sequence[Path], counts: Sequence[int], split: float | None
) -> None:
    """RatingError where a file would be empty: no trainer takes one."""
    if not sum(counts):
        raise NothingToExport(
            f"there are no {wanted.kind} rows to export{in_words(gathering.excluded)}: rate some tasks first, "
            "or ask for another kind"
        )
    for goal, count in zip(goals, counts, strict=True):
        if not count:
            raise RatingError(
                f"{goal.name} would be empty: {sum(counts)} rows, of which those with a like prompt stay together, "
                f"cannot be split with a test share of {split}; choose another share, or none"
            )


def _notes(rows: int) -> tuple[str, ...]:
    return ("a single row: enough to try a trainer on, not to train",) if rows == 1 else ()


def is_test(prompt: Any, share: float) -> bool:
    """Whether the rows of a prompt are test rows: it alone decides, so that no prompt is in both."""
    key = hashlib.sha256(prompt_key(prompt).encode()).digest()
    return int.from_bytes(key[:8]) < share * 2**64


def prompt_key(prompt: Any) -> str:
    """The same for prompts that differ in case, spaces, punctuation or the form of their characters.

    Of a conversation the user's first message decides: a later turn repeats what was said before it.
    """
    if not isinstance(prompt, str):
        users = [message["content"] for message in prompt if message["role"] == "user"]
        prompt = users[0] if users else prompt[0]["content"]
    plain = unicodedata.normalize("NFKC", prompt).casefold()
    words = "".join(character if character.isalnum() else " " for character in plain).split()
    return " ".join(words) or plain


def describe(folder: Path, written: dict[str, tuple[str, int]], about: dict[str, Any]) -> None:
    """The card, then the manifest, with what they say of other files in the folder."""
    entries = {
        name: {"sha256": sha, "bytes": (folder / name).stat().st_size, "rows": rows, **about}
        for name, (sha, rows) in written.items()
    }
    known = _other_files(folder / _MANIFEST) | entries
    body = {"format": _FORMAT, "files": known}
    data = (json.dumps(body, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    write_whole(folder / _CARD, card.text(known, hashlib.sha256(data).hexdigest()).encode())
    write_whole(folder / _MANIFEST, data)


def check_folder(folder: Path) -> None:
    """RatingError, before anything is written, where card and manifest would take the place of other files."""
    readme = folder / _CARD
    if readme.exists() and card.MADE not in readme.read_text(encoding="utf-8", errors="replace"):
        raise RatingError(
            f"{readme} is no dataset card of ftlab, and an export writes one there: export into a folder of its own"
        )
    _other_files(folder / _MANIFEST)


def check(folder: str | Path) -> list[str]:
    """What is not as the manifest of an export says, in sentences; none where all is."""
    place = Path(folder).expanduser()
    manifest = place if place.name == _MANIFEST else place / _MANIFEST
    if not manifest.exists():
        raise RatingError(
            f"{manifest}: there is no manifest, so that nothing can be checked; give the folder of an export (a store "
            "is checked by `ftlab ratings check --store FILE`)"
        )
    problems = []
    for name, entry in sorted(_read_manifest(manifest).items()):
        path = manifest.with_name(name)
        if not path.exists():
            problems.append(f"{name}: is missing")
        elif files.sha256(path) != entry["sha256"]:
            problems.append(f"{name}: is not the file that was exported")
    return problems


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
        for finding in opinions.findings(votes, "majority", 0):
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


def origin(connection: Connection, batches: Mapping[str, Collection[int]], upto: int) -> dict[str, Any]:
    """Where rows come from: the batches with their instructions and settings, the last event, the versions."""
    return {
        "batches": _batches(connection, batches, upto),
        "last_event": _last_event(connection, upto),
        "ftlab": __version__,
        "schema": t.REVISION,
    }


def _has_imported(connection: Connection, batch: str, upto: int) -> bool:
    a, e = t.assignment.c, t.rating_event.c
    # a subquery, not a join: a join would be begun at the events, of which there may be a million
    first = select(func.min(e.seq)).where(e.assignment_id == a.assignment_id).scalar_subquery()
    wanted = select(a.assignment_id).where(a.batch == batch, a.reason == "imported", first <= upto)
    return connection.execute(wanted.limit(1)).first() is not None


def _batches(connection: Connection, versions: Mapping[str, Collection[int]], upto: int) -> dict[str, Any]:
    """Only what the rows were made under: what came later would change what an old export says of itself."""
    wanted = select(t.instruction, t.batch.c.mode, t.batch.c.settings_json).join_from(
        t.instruction, t.batch, t.instruction.c.batch == t.batch.c.name
    )
    found: dict[str, Any] = {}
    rows = connection.execute(wanted).mappings().all()
    for row in sorted(rows, key=lambda row: (row["batch"], row["version"])):
        if row["version"] in versions.get(row["batch"], ()):
            settings = json.loads(row["settings_json"])
            imported = _has_imported(connection, row["batch"], upto)
            made = {"mode": row["mode"], "settings": settings, "imported": imported, "instructions": {}}
            entry = found.setdefault(row["batch"], made)
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
    known = _read_manifest(manifest)
    return {name: entry for name, entry in known.items() if (manifest.parent / name).exists()}


def _read_manifest(manifest: Path) -> dict[str, Any]:
    try:
        known = json.loads(manifest.read_text())
    except ValueError as error:
        raise RatingError(
            f"{manifest} is not a manifest ({error}): move it away or save elsewhere"
        ) from error
    if not isinstance(known, dict) or known.get("format") not in _KNOWN_FORMATS:
        raise RatingError(f"{manifest} is of another kind: move it away or save into another folder")
    found: dict[str, Any] = known["files"]
    return found


def in_words(excluded: dict[str, int]) -> str:
    """What was left out, in brackets; nothing where nothing was."""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(excluded.items()))
    return f" ({listed} left out)" if listed else ""
