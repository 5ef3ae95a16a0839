"""What stands, in numbers: a row for each answered assignment, kept beside the log in its transaction.

Derived from the log and nothing else: `rebuild` makes it again, `differences` compares. A million rows are
read as numpy columns in about a second, and how far a rater is takes no counting.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, text

from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.clean import canonical
from ftlab.ratings.names import names

if TYPE_CHECKING:
    import numpy as np

RATING, SKIP, FLAG = 0, 1, 2
"""`kind` of a row."""

GOLD, LATE, POST_REVEAL, HASTY, SKEWED, LEAKED = 1, 2, 4, 8, 16, 32
"""Bits of `flags`. SKEWED: the rater's clock was more than 5 minutes off the store's. LEAKED: an answer named
a model, so that its rater was not blind."""

BOTH_BAD = 9
"""`code` of a pair where neither answer would do."""

_KIND = {"rate": RATING, "revise": RATING, "skip": SKIP, "flag": FLAG}
_PAIRS = ("pair", "dialogue")
_SKEW_SECONDS = 300
_KEY = ("batch", "ordinal", "rater_no", "repeat_no")
_COLUMNS = tuple(column.name for column in t.standing.columns)
_PUT = text(
    f"INSERT INTO standing ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "  # noqa: S608 - of our own names
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
)
_COUNT = text(
    "INSERT INTO tally (batch, rater_no, kind, n) VALUES (:batch, :rater_no, :kind, :n) "
    "ON CONFLICT (batch, rater_no, kind) DO UPDATE SET n = tally.n + excluded.n"
)
_DROP = text(
    "DELETE FROM standing WHERE batch = :batch AND ordinal = :ordinal AND rater_no = :rater_no "
    "AND repeat_no = :repeat_no"
)


def is_skewed(client_utc: str | None, server_utc: str) -> bool:
    """True where the rater's clock (ISO 8601) was more than 5 minutes off; False where it cannot be read."""
    if not client_utc:
        return False
    try:
        theirs = datetime.fromisoformat(client_utc)
    except ValueError:
        return False
    ours = datetime.fromisoformat(server_utc)
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    return abs((theirs - ours).total_seconds()) > _SKEW_SECONDS


_LINEUP = select(t.lineup.c.number).where(t.lineup.c.models_json == bindparam("models"))
_RATERS = select(func.max(t.rater.c.number))
_PLACES = select(func.max(t.assignment.c.place)).where(
    t.assignment.c.rater_id == bindparam("rater"), t.assignment.c.batch == bindparam("in_batch")
)


def lineup_number(connection: Connection, models: Sequence[str]) -> int:
    """The number of these models in the order of the slots; made known where it is new."""
    known = canonical(list(models))
    number = connection.execute(_LINEUP, {"models": known}).scalar_one_or_none()
    if number is None:
        number = (connection.execute(select(func.max(t.lineup.c.number))).scalar() or 0) + 1
        connection.execute(insert(t.lineup).values(number=number, models_json=known))
    return int(number)


def next_rater_number(connection: Connection) -> int:
    """The number for a rater who is about to be made known."""
    return (connection.execute(_RATERS).scalar() or 0) + 1


def next_place(connection: Connection, rater: str, batch: str) -> int:
    """The place of this rater's next assignment in this batch: 1 for the first."""
    return (connection.execute(_PLACES, {"rater": rater, "in_batch": batch}).scalar() or 0) + 1


def measures(texts: Sequence[str]) -> dict[str, Any]:
    """The columns of a task that tell the size of its answers, given by slot."""
    return {
        "lengths_json": canonical([len(answer) for answer in texts]),
        "words": sum(len(answer.split()) for answer in texts),
    }


_FACTS = (
    select(
        t.batch.c.mode,
        t.task.c.lineup,
        t.task.c.lengths_json,
        t.task.c.words,
        t.task.c.leaked,
        t.rater.c.number.label("rater_no"),
    )
    .select_from(t.task)
    .join(t.batch, t.batch.c.name == t.task.c.batch)
    .join(t.rater, text("rater.rater_id = :rater_id"))
    .where(text("task.task_id = :task_id"))
)


def note(
    connection: Connection, assignment: RowMapping, event: Mapping[str, Any], before: str | None
) -> None:
    """Brings both tables up to an event that was just appended; `before` is the kind it follows."""
    facts = (
        connection.execute(_FACTS, {"task_id": assignment["task_id"], "rater_id": assignment["rater_id"]})
        .mappings()
        .one()
    )
    place = {
        "batch": assignment["batch"],
        "ordinal": assignment["ordinal"],
        "rater_no": facts["rater_no"],
        "repeat_no": assignment["repeat_no"],
    }
    old, new = _KIND.get(before or "undo"), _KIND.get(event["kind"])
    if new is None:
        connection.execute(_DROP, place)
    else:
        connection.execute(_PUT, place | _numbers(facts, assignment, event))
    if old != new:
        who = {"batch": assignment["batch"], "rater_no": facts["rater_no"]}
        steps = [who | {"kind": kind, "n": n} for kind, n in ((old, -1), (new, 1)) if kind is not None]
        connection.execute(_COUNT, steps)


def _numbers(
    facts: RowMapping, assignment: RowMapping, event: Mapping[str, Any] | RowMapping
) -> dict[str, Any]:
    shown = json.loads(assignment["order_json"])
    lengths = json.loads(facts["lengths_json"])
    kind, mode = _KIND[event["kind"]], facts["mode"]
    scores = json.loads(event["scores_json"]) if event["scores_json"] else {}
    code, thumb, detail = 0, None, None
    if kind == RATING and isinstance(scores, dict):
        code, thumb, detail = _opinion(mode, event, shown, scores)
    hasty = event["shown_ms"] is not None and event["shown_ms"] < max(1000, 10 * facts["words"])
    return {
        "seq": event["seq"],
        "assignment_id": assignment["assignment_id"],
        "kind": kind,
        "code": code,
        "thumb": thumb,
        "detail": detail,
        "left_slot": shown[0] if shown else 0,
        "lineup": facts["lineup"],
        "gap": _gap(lengths) if mode in _PAIRS else 0,
        "shown_ms": event["shown_ms"],
        "flags": GOLD * bool(assignment["is_gold"])
        | LATE * bool(event["late"])
        | POST_REVEAL * bool(event["post_reveal"])
        | HASTY * hasty
        | SKEWED * is_skewed(event["client_utc"], event["server_utc"])
        | LEAKED * bool(facts["leaked"]),
    }


def _gap(lengths: list[int]) -> int:
    return round(100 * (lengths[0] - lengths[1]) / (sum(lengths[:2]) or 1))


def _opinion(
    mode: str, event: Mapping[str, Any] | RowMapping, shown: list[int], scores: dict[str, Any]
) -> tuple[int, int | None, str | None]:
    """code, thumb and detail of a rating."""
    if mode in _PAIRS:
        return _signed(event["choice"], event["strength"], shown), None, None
    if mode == "single":
        thumb = {"up": 1, "down": 0}.get(str(scores.get("thumb")))
        likert = scores.get("likert")
        if likert is None:
            likert = 0 if thumb is None else (1, 7)[thumb]
        return int(likert), thumb, None
    if mode == "rank":
        ranks: list[Any] = [None] * len(shown)
        for slot, rank in zip(shown, scores.get("ranks") or [], strict=False):
            ranks[slot] = rank
        return 0, None, ",".join("-" if rank is None else str(rank) for rank in ranks)
    return 0, None, None


def _signed(choice: str | None, strength: int | None, shown: list[int]) -> int:
    if choice in ("left", "right"):
        slot = shown[0 if choice == "left" else 1]
        return ((strength or 0) + 1) * (1 if slot == 0 else -1)
    return BOTH_BAD if choice == "both_bad" else 0


# made again and compared

_EVENT = (
    "seq",
    "kind",
    "choice",
    "strength",
    "scores_json",
    "shown_ms",
    "late",
    "post_reveal",
    "client_utc",
    "server_utc",
)


def expected(connection: Connection) -> Generator[dict[str, Any], None, None]:
    """The rows of `standing` as the log has them, in the order of their key."""
    a, e, k = t.assignment.c, t.rating_event.c, t.task.c
    shown = (a.batch, a.ordinal, a.repeat_no, a.assignment_id, a.is_gold, a.order_json)
    wanted = (
        select(
            *shown,
            *(e[name] for name in _EVENT),
            t.batch.c.mode,
            t.rater.c.number.label("rater_no"),
            k.lineup,
            k.lengths_json,
            k.words,
            k.leaked,
        )
        .join_from(t.assignment, t.rating_event, e.event_id == a.head_event_id)
        .join(t.task, k.task_id == a.task_id)
        .join(t.batch, t.batch.c.name == a.batch)
        .join(t.rater, t.rater.c.rater_id == a.rater_id)
        .where(e.kind != "undo")
        .order_by(a.batch, a.ordinal, t.rater.c.number, a.repeat_no)
        .execution_options(yield_per=5000)
    )
    with connection.execute(wanted) as rows:
        for row in rows.mappings():
            yield {name: row[name] for name in _KEY} | _numbers(row, row, row)


def rebuild(connection: Connection) -> int:
    """Makes both tables again from the log; how many rows stand. Needs a writing connection."""
    rows = list(expected(connection))
    connection.execute(t.standing.delete())
    connection.execute(t.tally.delete())
    walker = iter(rows)
    while chunk := list(islice(walker, 5000)):
        connection.execute(insert(t.standing), chunk)
    connection.execute(
        text(
            "INSERT INTO tally (batch, rater_no, kind, n) "
            "SELECT batch, rater_no, kind, count(*) FROM standing GROUP BY batch, rater_no, kind"
        )
    )
    return len(rows)


def differences(connection: Connection, most: int = 10) -> list[str]:
    """Where `standing` and `tally` do not say what the log says; the first of them."""
    s = t.standing.c
    rows = select(t.standing).order_by(s.batch, s.ordinal, s.rater_no, s.repeat_no)
    counted: dict[tuple[str, int, int], int] = {}
    with (
        closing(expected(connection)) as log,
        connection.execute(rows.execution_options(yield_per=5000)) as stored,
    ):
        for wanted, found in zip_longest(log, stored.mappings()):
            if wanted is None or found is None or wanted != dict(found):
                place = wanted or dict(found or {})
                # one is enough: from here on the two lists need not go side by side
                where = f"task {place['ordinal']} of batch {place['batch']!r}, rater {place['rater_no']}"
                return [f"standing: {where}: is not what the log says"]
            key = (wanted["batch"], wanted["rater_no"], wanted["kind"])
            counted[key] = counted.get(key, 0) + 1
    tallied = connection.execute(select(t.tally).where(t.tally.c.n != 0)).mappings()
    kept = {(row["batch"], row["rater_no"], row["kind"]): row["n"] for row in tallied}
    problems = [
        f"tally: batch {batch!r}, rater {rater}: {kept.get((batch, rater, kind), 0)} counted, "
        f"{counted.get((batch, rater, kind), 0)} stand"
        for batch, rater, kind in sorted(kept.keys() | counted.keys())
        if kept.get((batch, rater, kind), 0) != counted.get((batch, rater, kind), 0)
    ]
    return problems[:most]


# read for analysis


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in one batch, in the order of task, rater and repeat; int64 columns of equal length.

    `rater` and `lineup` are places (from 0) in `raters` (id and kind), `names` and `lineups` (models by
    slot). `thumb` and `shown_ms` are -1 where there is none. `code` of pair and dialogue: 1 to 4 in favor of
    slot 0 (negligibly to significantly), -1 to -4 of slot 1, 0 a tie, 9 both bad; of single: 1 to 7. `gap` is
    100 (length 0 - length 1) / (length 0 + length 1) of the answers in characters. `details` (rank only)
    holds the ranks by slot, as "1,2,2,-", under the number of the row.
    """

    batch: str
    mode: str
    seq_upto: int
    ordinal: "np.ndarray"
    rater: "np.ndarray"
    repeat_no: "np.ndarray"
    kind: "np.ndarray"
    code: "np.ndarray"
    thumb: "np.ndarray"
    left_slot: "np.ndarray"
    lineup: "np.ndarray"
    gap: "np.ndarray"
    shown_ms: "np.ndarray"
    flags: "np.ndarray"
    seq: "np.ndarray"
    raters: list[tuple[str, str]]
    names: list[str]
    lineups: list[tuple[str, ...]]
    details: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many assignments are answered."""
        return len(self.seq)


_WORDS = (
    "ordinal * 16777216 + rater_no",
    "seq * 65536 + repeat_no",
    (
        "((((((lineup * 256 + gap + 128) * 32 + code + 16) * 4 + kind) * 4 + coalesce(thumb, 2)) * 16 "
        "+ left_slot) * 256 + flags)"
    ),
    "coalesce(shown_ms, -1)",
)


def read(connection: Connection, batch: str) -> Standing:
    """The batch as numpy columns; RatingError that lists the batches where there is none of this name.

    SQL packs a row into four numbers and joins them to four texts, which numpy parses: no Python object is
    made for a row.
    """
    import numpy as np

    mode = connection.execute(select(t.batch.c.mode).where(t.batch.c.name == batch)).scalar_one_or_none()
    if mode is None:
        names = connection.execute(select(t.batch.c.name).order_by(t.batch.c.name)).scalars().all()
        raise RatingError(f"there is no batch {batch!r}; there is {', '.join(names) or 'none yet'}")
    joined = ", ".join(_joined(connection, word) for word in _WORDS)
    texts = connection.execute(
        text(f"SELECT {joined} FROM standing WHERE batch = :batch"),  # noqa: S608 - of our own columns
        {"batch": batch},
    ).one()
    places, seqs, packed, shown = (np.fromstring(part or "", dtype=np.int64, sep=",") for part in texts)
    order = np.lexsort((seqs & 0xFFFF, places))
    places, seqs, packed, shown = places[order], seqs[order], packed[order], shown[order]
    ordinal, rater_no = places >> 24, places & 0xFFFFFF
    repeat_no = seqs & 0xFFFF
    fields = {}
    for name, bits in (("flags", 8), ("left_slot", 4), ("thumb", 2), ("kind", 2), ("code", 5), ("gap", 8)):
        fields[name] = packed & ((1 << bits) - 1)
        packed = packed >> bits
    details = {}
    if mode == "rank":
        details = _details(connection, batch, ordinal, rater_no, repeat_no)
    raters, names = _raters(connection)
    return Standing(
        batch=batch,
        mode=mode,
        seq_upto=connection.execute(select(func.max(t.rating_event.c.seq))).scalar() or 0,
        ordinal=ordinal,
        rater=rater_no - 1,
        repeat_no=repeat_no,
        kind=fields["kind"],
        code=fields["code"] - 16,
        thumb=np.where(fields["thumb"] == 2, -1, fields["thumb"]),
        left_slot=fields["left_slot"],
        lineup=packed - 1,
        gap=fields["gap"] - 128,
        shown_ms=shown,
        flags=fields["flags"],
        seq=seqs >> 16,
        raters=raters,
        names=names,
        lineups=_lineups(connection),
        details=details,
    )


def _joined(connection: Connection, word: str) -> str:
    if connection.dialect.name == "postgresql":
        for column in ("ordinal", "lineup"):
            word = word.replace(column, f"{column}::bigint")
        return f"string_agg(({word})::text, ',')"
    return f"group_concat({word}, ',')"


def _details(
    connection: Connection, batch: str, ordinal: "np.ndarray", rater_no: "np.ndarray", repeat_no: "np.ndarray"
) -> dict[int, str]:
    s = t.standing.c
    keys = zip(ordinal.tolist(), rater_no.tolist(), repeat_no.tolist(), strict=True)
    places = {key: row for row, key in enumerate(keys)}
    wanted = select(s.ordinal, s.rater_no, s.repeat_no, s.detail).where(
        s.batch == batch, s.detail.is_not(None)
    )
    return {
        places[row.ordinal, row.rater_no, row.repeat_no]: row.detail for row in connection.execute(wanted)
    }


def _raters(connection: Connection) -> tuple[list[tuple[str, str]], list[str]]:
    r = t.rater.c
    rows = connection.execute(select(r.number, r.rater_id, r.kind).order_by(r.number)).all()
    called = names(connection)
    return [(row.rater_id, row.kind) for row in rows], [called[row.rater_id] for row in rows]


def _lineups(connection: Connection) -> list[tuple[str, ...]]:
    wanted = select(t.lineup.c.models_json).order_by(t.lineup.c.number)
    return [tuple(json.loads(models)) for models in connection.execute(wanted).scalars()]
