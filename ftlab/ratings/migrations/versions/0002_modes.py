"""Every mode, several raters: gold, places, names, redactions, and what stands kept in numbers.

Stores of 0001 hold pairs only; what is derived here is filled from their log, and nothing of it is changed.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from alembic import op
from sqlalchemy import Connection, text

revision = "0002"
down_revision = "0001"

_TABLES = """
CREATE TABLE gold (
    task_id TEXT NOT NULL,
    expected_json TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (task_id),
    FOREIGN KEY (task_id) REFERENCES task (task_id) ON DELETE RESTRICT
) STRICT;
CREATE TABLE lineup (
    number INTEGER NOT NULL,
    models_json TEXT NOT NULL,
    PRIMARY KEY (number),
    CONSTRAINT lineup_models UNIQUE (models_json)
) STRICT;
CREATE TABLE alias (
    seq INTEGER NOT NULL,
    rater_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (seq),
    FOREIGN KEY (rater_id) REFERENCES rater (rater_id) ON DELETE RESTRICT
) STRICT;
CREATE INDEX alias_rater ON alias (rater_id, seq);
CREATE TABLE redaction (
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    kept_hash TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (event_id),
    FOREIGN KEY (event_id) REFERENCES rating_event (event_id) ON DELETE RESTRICT
) STRICT;
CREATE TABLE standing (
    batch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    rater_no INTEGER NOT NULL,
    repeat_no INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    assignment_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    code INTEGER NOT NULL,
    thumb INTEGER,
    detail TEXT,
    left_slot INTEGER NOT NULL,
    lineup INTEGER NOT NULL,
    gap INTEGER NOT NULL,
    shown_ms BIGINT,
    flags INTEGER NOT NULL,
    PRIMARY KEY (batch, ordinal, rater_no, repeat_no)
) STRICT, WITHOUT ROWID;
CREATE TABLE tally (
    batch TEXT NOT NULL,
    rater_no INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (batch, rater_no, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE opening (
    batch TEXT NOT NULL,
    lane INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    back INTEGER,
    PRIMARY KEY (batch, lane, turn),
    CONSTRAINT opening_task UNIQUE (batch, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX opening_free ON opening (batch, lane, turn) WHERE missing <> 0;
CREATE INDEX opening_back ON opening (batch, back);
CREATE TABLE pointer (
    batch TEXT NOT NULL,
    rater_id TEXT NOT NULL,
    lane INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    PRIMARY KEY (batch, rater_id, lane)
) STRICT, WITHOUT ROWID;
DROP INDEX assignment_queue;
CREATE INDEX assignment_lease ON assignment (batch, leased_until) WHERE is_open = 1;
INSERT INTO opening (batch, lane, turn, ordinal, missing) SELECT batch, 1, ordinal, ordinal, -1 FROM task;
INSERT INTO pointer (batch, rater_id, lane, turn, taken)
    SELECT batch, rater_id, 1, max(ordinal), count(*) FROM assignment GROUP BY batch, rater_id;
ALTER TABLE rater ADD COLUMN number INTEGER;
ALTER TABLE task ADD COLUMN lineup INTEGER;
ALTER TABLE task ADD COLUMN lengths_json TEXT;
ALTER TABLE task ADD COLUMN words INTEGER;
ALTER TABLE task ADD COLUMN leaked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE assignment ADD COLUMN place INTEGER;
ALTER TABLE assignment ADD COLUMN reason TEXT;
ALTER TABLE rating_event ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
DROP VIEW current_rating;
CREATE VIEW current_rating AS
    SELECT e.* FROM rating_event e
    WHERE NOT EXISTS (SELECT 1 FROM rating_event n WHERE n.prev_event_id = e.event_id);
"""

_INDEXES = (
    "CREATE UNIQUE INDEX rater_number ON rater (number)",
    "CREATE UNIQUE INDEX assignment_place ON assignment (rater_id, batch, place)",
    "CREATE INDEX assignment_waiting ON assignment (rater_id, batch, place) WHERE is_open = 1",
)

_FIXED = ("gold", "lineup", "alias", "redaction")
_REFILLED = ("rater", "task", "assignment")

_SHOWN = (
    "assignment_id, task_id, rater_id, batch, ordinal, repeat_no, is_gold, order_json, created_utc, place, "
    "reason"
)

_EVENT = (
    "seq, event_id, assignment_id, rater_id, kind, prev_event_id, choice, strength, client_utc, "
    "client_mono_ms, shown_ms, server_utc, post_reveal, replaced, app_version, schema_version, session_id, "
    "body_hash, prev_hash, row_hash, late"
).split(", ")

_STATS = {  # rows, and how many of them share the first column, the first two, and so on
    "opening": "1000000 100000 10000 1",
    "opening_free": "1000 100 50 1",
    "opening_back": "1000000 100000 1",
    "sqlite_autoindex_opening_2": "1000000 100000 1",
}

_BLANK = (
    "NEW.comment = '' AND (NEW.scores_json IS NULL OR length(NEW.scores_json) <= length(OLD.scores_json)) "
    "AND EXISTS (SELECT 1 FROM redaction r WHERE r.event_id = OLD.event_id)"
)


def upgrade() -> None:
    """Runs inside one transaction with the revision number."""
    connection = op.get_bind()
    postgres = connection.dialect.name == "postgresql"
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(_postgres(statement) if postgres else statement.replace("BIGINT", "INTEGER"))
    for table in _REFILLED:
        op.execute(f"DROP TRIGGER {table}_no_update{f' ON {table}' if postgres else ''}")
    _number_raters()
    _measure_tasks(connection)
    _place_assignments()
    for statement in _INDEXES:
        op.execute(statement)
    _fill_standing(connection)
    if postgres:
        _fix_postgres()
    else:
        _fix_sqlite()
        _tell_sqlite()


def _postgres(statement: str) -> str:
    return (
        statement.replace(", WITHOUT ROWID", "").replace(" STRICT", "").replace(" TEXT", ' TEXT COLLATE "C"')
    )


def _number_raters() -> None:
    op.execute(
        "UPDATE rater SET number = (SELECT count(*) FROM rater r WHERE r.created_utc < rater.created_utc "
        "OR (r.created_utc = rater.created_utc AND r.rater_id <= rater.rater_id))"
    )


def _measure_tasks(connection: Connection) -> None:
    from ftlab.ratings.leaks import leaks

    lineups: dict[str, int] = {}
    for rows in _in_batches(_answers(connection)):
        tasks = []
        for task_id, models, texts in rows:
            known = _json(models)
            if known not in lineups:
                lineups[known] = len(lineups) + 1
                connection.execute(
                    text("INSERT INTO lineup (number, models_json) VALUES (:n, :m)"),
                    {"n": lineups[known], "m": known},
                )
            tasks.append(
                {
                    "t": task_id,
                    "l": lineups[known],
                    "c": _json([len(answer) for answer in texts]),
                    "w": sum(len(answer.split()) for answer in texts),
                    "k": int(any(leaks(answer, models) for answer in texts)),
                }
            )
        connection.execute(
            text(
                "UPDATE task SET lineup = :l, lengths_json = :c, words = :w, leaked = :k WHERE task_id = :t"
            ),
            tasks,
        )


def _answers(connection: Connection) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each task with its models and texts, by slot."""
    wanted = text("SELECT task_id, model_ref, text FROM response ORDER BY task_id, slot")
    task_id = ""
    models: list[str] = []
    texts: list[str] = []
    # all of them before the first update: an open cursor of SQLite may meet the rows that are written
    for row in connection.execute(wanted).all():
        if row.task_id != task_id:
            if texts:
                yield task_id, models, texts
            task_id, models, texts = row.task_id, [], []
        models.append(row.model_ref)
        texts.append(row.text)
    if texts:
        yield task_id, models, texts


def _place_assignments() -> None:
    op.execute(
        "UPDATE assignment SET reason = 'given', place = p.place FROM (SELECT assignment_id AS id, "
        "row_number() OVER (PARTITION BY rater_id, batch ORDER BY ordinal, repeat_no) AS place "
        "FROM assignment) p WHERE p.id = assignment.assignment_id"
    )


def _fill_standing(connection: Connection) -> None:
    wanted = text(
        "SELECT a.batch, a.ordinal, r.number AS rater_no, a.repeat_no, e.seq, a.assignment_id, e.kind, "
        "e.choice, e.strength, a.order_json, k.lineup, k.lengths_json, k.words, k.leaked, e.shown_ms, "
        "a.is_gold, e.post_reveal, e.client_utc, e.server_utc FROM assignment a "
        "JOIN rating_event e ON e.event_id = a.head_event_id "
        "JOIN task k ON k.task_id = a.task_id JOIN rater r ON r.rater_id = a.rater_id WHERE a.is_open = 0"
    )
    for rows in _in_batches(connection.execute(wanted).mappings().all()):
        connection.execute(
            text(
                "INSERT INTO standing (batch, ordinal, rater_no, repeat_no, seq, assignment_id, kind, code, "
                "thumb, detail, left_slot, lineup, gap, shown_ms, flags) VALUES (:batch, :ordinal, :rater_no, "
                ":repeat_no, :seq, :assignment_id, :kind, :code, NULL, NULL, :left_slot, :lineup, :gap, "
                ":shown_ms, :flags)"
            ),
            [_standing(row) for row in rows],
        )
    op.execute(
        "INSERT INTO tally (batch, rater_no, kind, n) "
        "SELECT batch, rater_no, kind, count(*) FROM standing GROUP BY batch, rater_no, kind"
    )


def _standing(row: Any) -> dict[str, Any]:
    from ftlab.ratings.standing import is_skewed

    shown, lengths = json.loads(row["order_json"]), json.loads(row["lengths_json"])
    code = 9 if row["choice"] == "both_bad" else 0
    if row["choice"] in ("left", "right"):
        first = shown[0 if row["choice"] == "left" else 1] == 0
        code = (row["strength"] + 1) * (1 if first else -1)
    hasty = row["shown_ms"] is not None and row["shown_ms"] < max(1000, 10 * row["words"])
    skewed = is_skewed(row["client_utc"], row["server_utc"])
    return {
        **{name: row[name] for name in ("batch", "ordinal", "rater_no", "repeat_no", "seq")},
        **{name: row[name] for name in ("assignment_id", "lineup", "shown_ms")},
        "kind": {"skip": 1, "flag": 2}.get(row["kind"], 0),
        "code": code,
        "left_slot": shown[0],
        "gap": round(100 * (lengths[0] - lengths[1]) / (sum(lengths[:2]) or 1)),
        "flags": row["is_gold"] + 4 * row["post_reveal"] + 8 * hasty + 16 * skewed + 32 * row["leaked"],
    }


def _fix_sqlite() -> None:
    for table in (*_FIXED, "rater", "task"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        f"CREATE TRIGGER assignment_no_update BEFORE UPDATE OF {_SHOWN} ON assignment "
        "BEGIN SELECT RAISE(ABORT, 'what was shown to whom is never changed'); END"
    )
    same = " AND ".join(f"NEW.{column} IS OLD.{column}" for column in _EVENT)
    op.execute("DROP TRIGGER rating_event_no_update")
    op.execute(
        f"CREATE TRIGGER rating_event_no_update BEFORE UPDATE ON rating_event WHEN NOT ({same} AND {_BLANK}) "
        "BEGIN SELECT RAISE(ABORT, 'rating_event is append-only'); END"
    )
    op.execute("DROP TRIGGER quarantine_no_update")
    op.execute(
        "CREATE TRIGGER quarantine_no_update BEFORE UPDATE ON quarantine WHEN NOT (NEW.body_json = '' "
        "AND NEW.body_hash = OLD.body_hash AND NEW.event_id = OLD.event_id AND NEW.reason = OLD.reason "
        "AND EXISTS (SELECT 1 FROM redaction r WHERE r.event_id = OLD.event_id)) "
        "BEGIN SELECT RAISE(ABORT, 'quarantine is append-only'); END"
    )


def _tell_sqlite() -> None:
    """Says how many rows the indexes of `opening` hold where it matters: in a batch that is long under way.

    Its free ones are few. Without this SQLite takes the primary key, which begins with the same columns, and
    walks over all that are taken. (https://www.sqlite.org/optoverview.html, "manual control")
    """
    op.execute("ANALYZE sqlite_master")  # makes the table
    op.execute("DELETE FROM sqlite_stat1")
    rows = ", ".join(f"('opening', '{index}', '{stat}')" for index, stat in _STATS.items())
    op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES {rows}")  # noqa: S608 - our own numbers


def _fix_postgres() -> None:
    for table in _FIXED:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('{table} is append-only')"
            )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ftlab_refuse('{table} is append-only')"
        )
    for table in ("rater", "task"):
        op.execute(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('{table} is append-only')"
        )
    op.execute(
        f"CREATE TRIGGER assignment_no_update BEFORE UPDATE OF {_SHOWN} ON assignment "
        "FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('what was shown to whom is never changed')"
    )
    same = " AND ".join(f"NEW.{column} IS NOT DISTINCT FROM OLD.{column}" for column in _EVENT)
    _redactable("rating_event", f"{same} AND {_BLANK}")
    _redactable(
        "quarantine",
        "NEW.body_json = '' AND NEW.body_hash = OLD.body_hash AND NEW.event_id = OLD.event_id AND "
        "NEW.reason = OLD.reason AND EXISTS (SELECT 1 FROM redaction r WHERE r.event_id = OLD.event_id)",
    )


def _redactable(table: str, allowed: str) -> None:
    """Of this table an UPDATE passes where `allowed` holds: PostgreSQL takes no subquery in WHEN."""
    op.execute(
        f"CREATE FUNCTION ftlab_redact_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN IF {allowed} THEN RETURN NEW; END IF; RAISE EXCEPTION '{table} is append-only' "
        "USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(f"DROP TRIGGER {table}_no_update ON {table}")
    op.execute(
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION ftlab_redact_{table}()"
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _in_batches(rows: Any) -> Iterator[list[Any]]:
    walker = iter(rows)
    while chunk := list(islice(walker, 1000)):
        yield chunk
