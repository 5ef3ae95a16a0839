"""Imports: what was rated elsewhere, put into the log as opinions of their own raters, once each.

What came from elsewhere does not pretend to have been rated here: where the source names no rater, the rater
is of kind "replay"; scores of a machine are of kind "judge"; people named by a rating tool are persons under a
salted hash of their name.
"""

import dataclasses
import hmac
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid5

from sqlalchemy import Connection, RowMapping, select

from ftlab.errors import RatingError
from ftlab.ratings import batches, log, places, queue
from ftlab.ratings import schema as t
from ftlab.ratings.batches import PLAIN, Batch
from ftlab.ratings.clean import canonical, clean, clean_all
from ftlab.ratings.exchange import files, raw, records, shapes
from ftlab.ratings.exchange.export import prompt_key
from ftlab.ratings.exchange.heard import Fields, Heard
from ftlab.ratings.exchange.records import Placed, Record
from ftlab.ratings.exchange.shapes import Shape
from ftlab.ratings.said import Said
from ftlab.ratings.storage.database import Database
from ftlab.ratings.tasks import Item, Refused, check_row

_SPACE = UUID("5c6f2f0e-3a43-5d0c-9a10-8f5a0c1d7e42")
_SHOWN = 5  # reasons and places told in a sentence

FORMATS = (*get_args(Shape), "raw")
"""What `format` may be; by default it is recognised."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not taken: where it is and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to.

    tasks and ratings are those that are new in the store; known: ratings that were there before or that another
    record repeats. batches: where they went. rejects: the file of records that could not be read.
    """

    tasks: int
    ratings: int
    known: int
    refused: tuple[Refusal, ...]
    format: str
    batches: tuple[str, ...]
    notes: tuple[str, ...] = ()
    rejects: Path | None = None

    def __str__(self) -> str:
        """In words."""
        told = [
            f"{self.format}: {self.tasks} tasks and {self.ratings} ratings added to {', '.join(self.batches)}"
        ]
        if self.known:
            told[0] += f"; {self.known} ratings were known"
        told += [f"{refusal.place}: {refusal.reason}" for refusal in self.refused[:_SHOWN]]
        if len(self.refused) > _SHOWN:
            told.append(f"and {len(self.refused) - _SHOWN} more were refused")
        if self.rejects is not None:
            told.append(f"what could not be read is in {self.rejects}")
        return "\n".join([*told, *self.notes])


@dataclass(slots=True)
class _Found:
    """An opinion with the task it is about."""

    place: str
    heard: Heard
    item: Item


@dataclass(slots=True)
class _Reading:
    """A file while it is read: opinions that can be stored, records that cannot, and sentences about both."""

    shape: Shape | None
    fields: Fields
    found: list[_Found] = field(default_factory=list)
    bad: list[Placed] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    _is_text: bool | None = None

    def take(self, placed: Placed) -> None:
        record = placed.record
        if record is None:
            self.bad.append(placed)
            return
        try:
            for heard in self._heard(record):
                self._keep(placed.place, heard)
        except RatingError as error:
            self.bad.append(placed._replace(reason=str(error), raw=placed.raw or _in_json(record)))

    def _heard(self, record: Record) -> list[Heard]:
        shape = shapes.recognise(record) if self.shape is None else self.shape
        if self.shape is not None and not self._fits(record, self.shape):
            found = shapes.recognise(record)
            raise RatingError(f"a record of shape {found!r} among records of shape {self.shape!r}: keep one")
        heard = list(shapes.heard(record, shape, self.fields))
        self.shape = shape  # after what may raise: a bad first record must not decide for the good ones
        if shape in ("preference", "unpaired", "demonstration"):
            for each in heard:
                is_text = isinstance(each.prompt, str)
                if self._is_text is None:
                    self._is_text = is_text
                elif self._is_text != is_text:
                    kinds = ("a conversation", "text") if self._is_text else ("text", "conversations")
                    raise RatingError(f"{kinds[0]} among rows that hold {kinds[1]}: keep one")
        return heard

    @staticmethod
    def _fits(record: Record, shape: Shape) -> bool:
        return shapes.recognise(record) == shape

    def _keep(self, place: str, heard: Heard) -> None:
        row: Record = {"prompt": heard.prompt, "responses": heard.responses, "tags": {"imported": place}}
        try:
            item = check_row(row, 0, heard.mode)
        except RatingError as error:
            raise RatingError(str(error).removeprefix("row 0: ").removeprefix("row 0, ")) from error
        reason = item.reason if isinstance(item, Refused) else _worthless(heard)
        if reason:
            self.refused.append(Refusal(place, reason))
            return
        assert isinstance(item, Item)
        texts = [candidate.text for candidate in item.candidates]
        if len(texts) == 2 and (texts[0].startswith(texts[1]) or texts[1].startswith(texts[0])):
            self.prefixes.append(place)
        self.found.append(_Found(place, heard, item))


def _in_json(record: Record) -> str:
    return json.dumps(record, ensure_ascii=True, default=str)


def _worthless(heard: Heard) -> str:
    if any(not response["text"].strip() for response in heard.responses) and heard.mode != "edit":
        return "an answer is empty"
    if heard.mode == "edit" and not str(heard.said.get("text") or "").strip():
        return "the text is empty"
    return ""


def take(
    database: Database,
    path: str | Path,
    batch: str,
    *,
    format: str | None = None,  # noqa: A002 - the word for it
    skip_bad: bool = False,
    rater: str | None = None,
    kind: str | None = None,
    fields: Fields | Mapping[str, Any] | None = None,
) -> Imported:
    """`Ratings.import_` on a database."""
    if format is not None and format not in FORMATS:
        raise RatingError(f"'format' is one of {', '.join(FORMATS)}, not {format!r}")
    if kind is not None and kind not in t.RATERS:
        raise RatingError(f"a rater is one of {', '.join(t.RATERS)}, not {kind!r}")
    notes: list[str] = []
    placed = records.read(path, notes)
    first = next(placed)
    every = chain([first], placed)
    if format == "raw" or (format is None and first.record is not None and raw.is_raw(first.record)):
        return _restore(database, every, notes)
    reading = _Reading(None if format is None else _shape(format), _fields(fields), notes=notes)
    for each in every:
        reading.take(each)
    if reading.bad and not skip_bad:
        _refuse(reading.bad, path)
    name = queue.name(batch, "batch")
    _Writer.tell(reading)

    def store(connection: Connection) -> _Writer:
        writer = _Writer(connection, name, rater, kind)
        writer.write(reading)
        return writer

    written = database.repeated(store)
    rejects = _write_rejects(path, reading.bad) if reading.bad else None
    bad = [Refusal(each.place, each.reason) for each in reading.bad]
    return Imported(
        tasks=written.tasks,
        ratings=written.ratings,
        known=written.known,
        refused=tuple(bad + reading.refused + written.refused),
        format=str(reading.shape),
        batches=tuple(written.names) or (name,),
        notes=(*reading.notes, *written.notes),
        rejects=rejects,
    )


def _shape(format: str) -> Shape:  # noqa: A002
    found: Shape = next(shape for shape in get_args(Shape) if shape == format)
    return found


def _fields(fields: Fields | Mapping[str, Any] | None) -> Fields:
    if isinstance(fields, Fields):
        return fields
    given = dict(fields or {})
    names = [each.name for each in dataclasses.fields(Fields)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise RatingError(f"'fields' has {', '.join(names)}, not {unknown[0]!r}")
    found = Fields(**given)
    if not isinstance(found.scale, int) or not 2 <= found.scale <= 100:
        raise RatingError(f"'scale' is a number of points from 2 to 100, not {found.scale!r}")
    return found


def _restore(database: Database, placed: Iterator[Placed], notes: list[str]) -> Imported:
    def whole() -> Iterator[tuple[str, Mapping[str, Any]]]:
        for each in placed:
            if each.record is None:
                raise RatingError(
                    f"{each.place}: {each.reason}. A log is taken back whole: nothing was imported"
                )
            yield each.place, each.record

    # one attempt: the file is read as a stream, which cannot begin again
    with database.writing() as connection:
        tasks, ratings, known = raw.restore(connection, whole())
        names = connection.execute(select(t.batch.c.name)).scalars().all()
    return Imported(tasks, ratings, known, (), "raw", tuple(sorted(names)), tuple(notes))


def _refuse(bad: list[Placed], path: str | Path) -> None:
    listed = "\n".join(f"{each.place}: {each.reason}" for each in bad[:_SHOWN])
    more = f"\nand {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise RatingError(
        f"{listed}{more}\nNothing was imported. Mend the records, or take the others with skip_bad=True (on the "
        f"shell --skip-bad), which writes these to {_rejects_path(path).name}"
    )


def _rejects_path(path: str | Path) -> Path:
    place = Path(path).expanduser()
    return place.with_name(f"{place.stem}.rejected.jsonl")


def _write_rejects(path: str | Path, bad: list[Placed]) -> Path:
    place = _rejects_path(path)
    lines = [
        files.line({"place": each.place, "reason": each.reason, "record": clean(each.raw).text})
        for each in bad
    ]
    files.write_whole(place, b"".join(lines))
    return place


class _Writer:
    """Opinions on their way into the log, in one transaction."""

    def __init__(self, connection: Connection, name: str, rater: str | None, kind: str | None) -> None:
        self._connection = connection
        self._name, self._rater, self._kind = name, rater, kind
        self._registered: dict[str, str] = {}
        self._salt = ""
        self.names: list[str] = []
        self.tasks = self.ratings = self.known = 0
        self.refused: list[Refusal] = []
        self.notes: list[str] = []

    @staticmethod
    def tell(reading: _Reading) -> None:
        """Sentences about what was read: duplicates, answers that begin alike, replaced characters."""
        found = reading.found
        listed = ", ".join(reading.prefixes[:_SHOWN])
        if reading.prefixes:
            reading.notes.append(
                f"{len(reading.prefixes)} pairs where one answer is the beginning of the other: {listed}"
            )
        like = Counter(prompt_key(each.item.prompt) for each in found)
        again = sum(count - 1 for count in like.values())
        if again:
            reading.notes.append(
                f"{again} of {len(found)} opinions are about a prompt like that of another one"
            )
        replaced = sum(
            each.item.replaced + sum(candidate.replaced for candidate in each.item.candidates)
            for each in found
        )
        if replaced:
            reading.notes.append(f"{replaced} characters that no database keeps were replaced")

    def write(self, reading: _Reading) -> None:
        modes = list(dict.fromkeys(each.heard.mode for each in reading.found))
        self.names = [self._name if mode == modes[0] else f"{self._name}-{mode}" for mode in modes]
        for mode, name in zip(modes, self.names, strict=True):
            batch, version = batches.open_batch(self._connection, name, mode=mode, otherwise=PLAIN)
            self._salt = self._salt or batch.seed
            own = [each for each in reading.found if each.heard.mode == mode]
            self._leaks(own)
            for part in _parts(own, 500):
                self.tasks += queue.store_items(
                    self._connection, [_sorted(each.item) for each in part], batch, version
                )
            for each in own:
                self._say(batch, each, str(reading.shape))

    def _leaks(self, found: list[_Found]) -> None:
        """Counts prompts that other batches hold too: trained on there, they would not be held out here."""
        prompts = {canonical(each.item.prompt) for each in found}
        k = t.task.c
        wanted = select(k.batch, k.prompt_json).where(k.batch.not_in(self.names))
        there: Counter[str] = Counter()
        for row in self._connection.execute(wanted.execution_options(yield_per=5000)):
            there[row.batch] += row.prompt_json in prompts
        self.notes += [
            f"{count} prompts are in batch {name!r} too" for name, count in sorted(there.items()) if count
        ]

    def _say(self, batch: Batch, found: _Found, shape: str) -> None:
        task_id = found.item.identity(batch.name, batch.mode)
        stored = queue.responses(self._connection, task_id)
        slots = _slots(found.item, [(row["model_ref"], row["text"]) for row in stored])
        for rater in self._raters(found.heard):
            given = self._assignment(batch, task_id, rater)
            event = _event(given, found.heard, slots, shape)
            head = given["head_event_id"] and log.event(self._connection, given["head_event_id"])
            if not head:
                try:
                    said = Said.from_dict(event)
                    late = queue.admit(self._connection, said)
                except RatingError as error:
                    raise RatingError(
                        f"{found.place}: batch {batch.name!r} does not take this: {error}. Nothing was imported; "
                        "give another batch"
                    ) from error
                log.append(self._connection, said, late=late)
                self.ratings += 1
                return
            if _says_the_same(head, event):
                self.known += 1
                return
            if batch.mode != "edit" or found.heard.rater is not None:
                reason = f"contradicts what rater {rater!r} said of the same answers"
                self.refused.append(Refusal(found.place, reason))
                return
            # another demonstration for the same prompt: the next rater without a name says it

    def _raters(self, heard: Heard) -> Iterator[str]:
        kind = self._kind or heard.kind
        if heard.rater is not None and kind == "person":
            secret = hmac.digest(self._salt.encode(), clean(heard.rater).text.encode(), "sha256").hex()
            first = f"imported-{secret[:12]}"
        else:
            first = self._rater or ("imported" if kind == "replay" else f"imported-{kind}")
        number = 1
        while True:
            name = first if number == 1 else f"{first}-{number}"
            if name not in self._registered:
                self._registered[name] = queue.register(self._connection, queue.name(name, "rater"), kind)
            yield name
            number += 1

    def _assignment(self, batch: Batch, task_id: str, rater: str) -> RowMapping:
        wanted = select(t.assignment).where(
            t.assignment.c.assignment_id == queue.assignment_name(task_id, rater, 0)
        )
        known = self._connection.execute(wanted).mappings().first()
        if known is not None:
            return known
        ordinal = select(t.task.c.ordinal).where(t.task.c.task_id == task_id)
        holds = batch.settings.overlap is not None and places.take(
            self._connection, batch, self._connection.execute(ordinal).scalar_one()
        )
        return queue.assign(self._connection, batch, task_id, rater, "imported", holds_place=holds)


def _parts(found: list[_Found], size: int) -> Iterator[list[_Found]]:
    walker = iter(found)
    while part := list(islice(walker, size)):
        yield part


def _sorted(item: Item) -> Item:
    """Answers in an order that tells nothing: a dataset has the chosen one first, and a slot would say so."""
    order = sorted(item.candidates, key=lambda candidate: (candidate.raw_hash, candidate.model))
    return Item(item.prompt, tuple(order), item.tags, item.replaced, item.raw_hash, item.gold)


def _slots(item: Item, stored: list[tuple[str, str]]) -> list[int]:
    """The slot of each answer of the record, which a known task may hold in another order."""
    free = dict(enumerate(stored))
    slots = []
    for candidate in item.candidates:
        slot = next(slot for slot, each in free.items() if each == (candidate.model, candidate.text))
        del free[slot]
        slots.append(slot)
    return slots


def _event(given: RowMapping, heard: Heard, slots: list[int], shape: str) -> Record:
    shown = json.loads(given["order_json"])
    said = heard.said
    event: Record = {
        "assignment_id": given["assignment_id"],
        "kind": "rate",
        "comment": heard.comment,
        "shown_ms": heard.shown_ms,
        "session_id": f"import {shape}",
    }
    choice = said.get("choice")
    if choice is not None:
        if choice in ("first", "second"):
            wanted = slots[0 if choice == "first" else 1]
            choice = "left" if shown[0] == wanted else "right"
        event |= {"choice": choice, "strength": said.get("strength", 0)}
    scores = {key: said[key] for key in ("thumb", "likert", "text", "labels") if said.get(key) is not None}
    if "ranks" in said:
        by_slot = dict(zip(slots, said["ranks"], strict=True))
        scores["ranks"] = [by_slot[slot] for slot in shown]
    if scores:
        event["scores"] = scores
    return {"event_id": uuid5(_SPACE, canonical(event)).hex, **event}


def _says_the_same(head: RowMapping, event: Record) -> bool:
    scores = canonical(clean_all(event["scores"])[0]) if "scores" in event else None
    return (head["kind"], head["choice"], head["strength"], head["scores_json"]) in (
        ("rate", event.get("choice"), event.get("strength"), scores),
        ("revise", event.get("choice"), event.get("strength"), scores),
    )
