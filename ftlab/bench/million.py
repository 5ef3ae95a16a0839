"""A store as it looks after a million events, made in about a minute: for the benches.

Twelve raters, six models, every pair of them; each task rated twice, a fifth of them three times; revised,
undone, skipped and flagged as persons do; comments. The rows are those that `Ratings` would have written, with their hashes, and
`Ratings.verify` agrees with them; they only take a shorter way into the file.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Table

from ftlab import __version__
from ftlab.ratings import Ratings, batches, places
from ftlab.ratings import schema as t
from ftlab.ratings.batches import Batch
from ftlab.ratings.chain import GENESIS
from ftlab.ratings.queue import assignment_name
from ftlab.ratings.sides import order
from ftlab.ratings.storage.sqlite import driver

BATCH = "million"
RATERS = tuple(f"rater-{n:02}" for n in range(1, 13))
MODELS = ("wren", "run:sft", "run:dpo", "run:long", "run:short", "smollm2")
SETTINGS = {"overlap": 2, "double": 0.2, "order": "given"}
SPARE = 3000
"""Tasks at the end that nobody was asked yet."""

_WORDS = (
    "the a river cottage small dog tall woman walks reads bread answer because water light never always "
    "seven green old carefully perhaps question letter winter garden under above Tom Anna horse window"
).split()
_START = datetime(2026, 1, 5, 8, tzinfo=UTC)
_REMARKS = ("too long", "makes up a fact", "kinder", "the second sentence repeats the first one")


def fill(path: Path, events: int, seed: int = 1) -> None:
    """Makes the store and puts at least this many events into it, and not ten more."""
    with Ratings(path) as store:
        store.open_batch(BATCH, instructions="Which answer helps more?", seed="million", settings=SETTINGS)
        with store.database.reading() as connection:
            batch = batches.get(connection, BATCH)
    raw = driver().connect(str(path), isolation_level=None)
    try:
        raw.execute("PRAGMA journal_mode=OFF")
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("PRAGMA cache_size=-400000")
        made = raw.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND (type = 'trigger' "
            "OR (type = 'index' AND tbl_name <> 'rater'))"
        ).fetchall()
        for kind, name, _ in made:
            raw.execute(f"DROP {kind} {name}")
        raw.execute("BEGIN")
        _History(raw, batch, random.Random(seed)).write(events)
        for _, _, sql in made:
            raw.execute(sql)
        raw.execute("COMMIT")
        raw.execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _digest(value: Any) -> str:
    """The same as `clean.digest` for what is ASCII, in a tenth of the time."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass
class _Rater:
    """How far one is."""

    name: str
    number: int
    places: int = 0
    new: int = 0
    turn: int = 0


@dataclass
class _Task:
    """What its events need to know of it."""

    task_id: str
    ordinal: int
    lineup: int
    gap: int
    words: int
    better: float  # chance that slot 0 wins
    back: int | None = None


class _History:
    """Writes what a batch went through, task by task."""

    def __init__(self, raw: sqlite3.Connection, batch: Batch, dice: random.Random) -> None:
        self._raw, self._batch, self._dice = raw, batch, dice
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._raters = [_Rater(name, number) for number, name in enumerate(RATERS, start=1)]
        self._lineups = {pair: n for n, pair in enumerate(_pairs(), start=1)}
        self._tally: dict[tuple[int, int], int] = {}
        self._pairs = list(self._lineups.items())
        counts = [dice.randrange(12, 60) for _ in range(2000)]
        self._phrases = [(" ".join(dice.choices(_WORDS, k=count)), count) for count in counts]
        self._skill = {model: dice.random() for model in MODELS}
        self._seq, self._hash, self._back, self._ordinal = 0, GENESIS, 0, 0

    def write(self, events: int) -> None:
        for rater in self._raters:
            self._put(t.rater, (rater.name, "person", _time(0), rater.number))
        for pair, number in self._lineups.items():
            self._put(t.lineup, (number, _json(list(pair))))
        while self._seq < events:
            self._ask(self._task())
        for _ in range(SPARE):
            task = self._task()
            self._open(task, self._wanted(task))
        for rater in self._raters:
            for lane, turn, taken in (
                (1, rater.turn, rater.new),
                (places.BACK, self._back, 0),
                (places.MIXED, 2 * rater.new + 2, 0),
            ):
                self._put(t.pointer, (BATCH, rater.name, lane, turn, taken))
        for (rater_no, kind), n in self._tally.items():
            self._put(t.tally, (BATCH, rater_no, kind, n))
        self._flush()

    def _put(self, table: Table, row: tuple[Any, ...]) -> None:
        rows = self._rows.setdefault(table.name, [])
        rows.append(row)
        if len(rows) == 20_000:
            self._flush()

    def _flush(self) -> None:
        for name, rows in self._rows.items():
            if not rows:
                continue
            columns = t.metadata.tables[name].columns.keys()
            places = ", ".join("?" * len(columns))
            self._raw.executemany(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608 - our own tables
            rows.clear()

    def _task(self) -> _Task:
        dice = self._dice
        self._ordinal += 1
        models, lineup = dice.choice(self._pairs)
        (first, one), (second, two), (asked, _) = dice.choices(self._phrases, k=3)
        texts = [f"{first} {self._ordinal}", f"{second}."]
        prompt = [{"content": f"Question {self._ordinal}: {asked[:90]}?", "role": "user"}]
        answers = sorted([model, text] for model, text in zip(models, texts, strict=True))
        task_id = _digest([BATCH, "pair", prompt, answers])
        lengths = [len(text) for text in texts]
        task = _Task(
            task_id,
            self._ordinal,
            lineup,
            round(100 * (lengths[0] - lengths[1]) / sum(lengths)),
            one + 1 + two,
            0.5 + 0.4 * (self._skill[models[0]] - self._skill[models[1]]),
        )
        self._put(
            t.task,
            (
                *(task_id, BATCH, 1, self._ordinal, _json(prompt), "{}", 0, task_id, _time(self._seq)),
                *(task.lineup, _json(lengths), task.words, 0),
            ),
        )
        for slot, (model, text) in enumerate(zip(models, texts, strict=True)):
            made = _json({"seed": self._ordinal})
            self._put(
                t.response,
                (_digest([task_id, slot, model, text, made]), task_id, slot, model, made, text, 0, task_id),
            )
        return task

    def _wanted(self, task: _Task) -> int:
        return 2 + places.is_double(self._batch, task.task_id)

    def _open(self, task: _Task, missing: int) -> None:
        self._put(t.opening, (BATCH, 1, task.ordinal, task.ordinal, missing, task.back))

    def _ask(self, task: _Task) -> None:
        """Raters say something about the task until as many as are wanted hold an opinion."""
        standing: list[tuple[Any, ...]] = []
        wanted = self._wanted(task)
        chosen = self._dice.sample(self._raters, wanted + 3)  # three may skip it
        while wanted and chosen:
            row, is_opinion = self._assign(task, chosen.pop())
            standing.append(row)
            if is_opinion:
                wanted -= 1
            else:
                self._back += 1
                task.back = self._back
        for row in sorted(standing, key=lambda row: row[2]):
            self._put(t.standing, row)
        self._open(task, wanted)

    def _assign(self, task: _Task, rater: _Rater) -> tuple[tuple[Any, ...], bool]:
        rater.places += 1
        rater.new += 1
        rater.turn = task.ordinal
        name = assignment_name(task.task_id, rater.name, 0)
        shown = order(self._batch.seed, task.task_id, rater.name, 0, 2)
        given = _time(self._seq)
        said = _Said("", "", 0, None, 0)
        for kind in self._kinds():
            said = self._say(task, rater, name, kind, said.event_id or None)
        is_opinion = said.kind in ("rate", "revise")
        self._put(
            t.assignment,
            (
                *(name, task.task_id, rater.name, BATCH, task.ordinal, 0, 0, _json(shown)),
                *(_time(self._seq + 2000) if is_opinion else None, given, said.event_id, 0),
                *(rater.places, "given"),
            ),
        )
        what = {"skip": 1, "flag": 2}.get(said.kind, 0)
        code = 0
        if said.choice in ("left", "right"):
            code = (said.strength + 1) * (1 if shown[said.choice == "right"] == 0 else -1)
        elif said.choice == "both_bad":
            code = 9
        self._tally[rater.number, what] = self._tally.get((rater.number, what), 0) + 1
        flags = 8 * (said.shown_ms < max(1000, 10 * task.words))
        row = (BATCH, task.ordinal, rater.number, 0, self._seq, name, what, code, None, None)
        return (*row, shown[0], task.lineup, task.gap, said.shown_ms, flags), is_opinion

    def _kinds(self) -> tuple[str, ...]:
        roll = self._dice.random()
        if roll < 0.86:
            return ("rate",)
        if roll < 0.92:
            return ("rate", "revise")
        if roll < 0.94:
            return ("rate", "undo", "rate")
        return ("skip",) if roll < 0.98 else ("flag",)

    def _say(self, task: _Task, rater: _Rater, name: str, kind: str, before: str | None) -> "_Said":
        dice = self._dice
        self._seq += 1
        choice, strength = None, None
        if kind in ("rate", "revise"):
            roll = dice.random()
            choice = "tie" if roll < 0.1 else "both_bad" if roll < 0.14 else dice.choice(("left", "right"))
            if choice in ("left", "right"):
                shown = order(self._batch.seed, task.task_id, rater.name, 0, 2)
                choice = "left" if (dice.random() < task.better) == (shown[0] == 0) else "right"
            strength = dice.randrange(4) if choice in ("left", "right") else 0
        now, event_id, shown_ms = (
            _time(self._seq),
            f"{dice.getrandbits(128):032x}",
            dice.randrange(600, 40_000),
        )
        event = {
            "seq": self._seq,
            "event_id": event_id,
            "assignment_id": name,
            "rater_id": rater.name,
            "kind": kind,
            "prev_event_id": before,
            "choice": choice,
            "strength": strength,
            "scores_json": None,
            "comment": dice.choice(_REMARKS) if dice.random() < 0.1 else "",
            "client_utc": now,
            "client_mono_ms": 400 * self._seq,
            "shown_ms": shown_ms,
            "server_utc": now,
            "post_reveal": 0,
            "replaced": 0,
            "app_version": __version__,
            "schema_version": t.REVISION,
            "session_id": f"{rater.name}-{now[:10]}",
            "body_hash": hashlib.sha256(event_id.encode()).hexdigest(),
            "prev_hash": self._hash,
            "late": 0,
        }
        self._hash = _digest(event)
        late = event.pop("late")
        self._put(t.rating_event, (*event.values(), self._hash, late))
        return _Said(event_id, kind, shown_ms, choice, strength or 0)


@dataclass(frozen=True, slots=True)
class _Said:
    event_id: str
    kind: str
    shown_ms: int
    choice: str | None
    strength: int


def _pairs() -> Iterator[tuple[str, str]]:
    return ((one, two) for one in MODELS for two in MODELS if one != two)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode("ascii")


@lru_cache(maxsize=8)
def _time(seq: int) -> str:
    return (_START + timedelta(seconds=0.4 * seq)).isoformat(timespec="microseconds").replace("+00:00", "Z")
