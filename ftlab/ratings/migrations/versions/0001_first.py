"""The first schema: tasks, answers, who was shown what, and the log of what was said."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE batch (
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    seed TEXT NOT NULL,
    settings_json TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT batch_mode CHECK (mode IN ('pair', 'single', 'rank', 'edit', 'dialogue'))
) STRICT;
CREATE TABLE instruction (
    batch TEXT NOT NULL,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (batch, version),
    FOREIGN KEY (batch) REFERENCES batch (name) ON DELETE RESTRICT
) STRICT;
CREATE TABLE rater (
    rater_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (rater_id),
    CONSTRAINT rater_kind CHECK (kind IN ('person', 'simulated', 'judge', 'replay'))
) STRICT;
CREATE TABLE task (
    task_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    instruction_version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    prompt_json TEXT NOT NULL,
    tags_json TEXT NOT NULL,
    replaced INTEGER NOT NULL,
    raw_hash TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (task_id),
    CONSTRAINT task_instruction FOREIGN KEY (batch, instruction_version)
        REFERENCES instruction (batch, version) ON DELETE RESTRICT,
    CONSTRAINT task_place UNIQUE (batch, ordinal)
) STRICT;
CREATE TABLE response (
    response_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    slot INTEGER NOT NULL,
    model_ref TEXT NOT NULL,
    generation_json TEXT NOT NULL,
    text TEXT NOT NULL,
    replaced INTEGER NOT NULL,
    raw_hash TEXT NOT NULL,
    PRIMARY KEY (response_id),
    CONSTRAINT response_slot UNIQUE (task_id, slot),
    FOREIGN KEY (task_id) REFERENCES task (task_id) ON DELETE RESTRICT
) STRICT;
CREATE TABLE assignment (
    assignment_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    rater_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    repeat_no INTEGER NOT NULL,
    is_gold INTEGER NOT NULL,
    order_json TEXT NOT NULL,
    leased_until TEXT,
    created_utc TEXT NOT NULL,
    head_event_id TEXT,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (assignment_id),
    CONSTRAINT assignment_once UNIQUE (task_id, rater_id, repeat_no),
    FOREIGN KEY (task_id) REFERENCES task (task_id) ON DELETE RESTRICT,
    FOREIGN KEY (rater_id) REFERENCES rater (rater_id) ON DELETE RESTRICT,
    FOREIGN KEY (batch) REFERENCES batch (name) ON DELETE RESTRICT
) STRICT;
CREATE INDEX assignment_queue ON assignment (rater_id, batch, is_open, ordinal);
CREATE TABLE rating_event (
    seq INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    assignment_id TEXT NOT NULL,
    rater_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    prev_event_id TEXT,
    choice TEXT,
    strength INTEGER,
    scores_json TEXT,
    comment TEXT NOT NULL,
    client_utc TEXT,
    client_mono_ms INTEGER,
    shown_ms INTEGER,
    server_utc TEXT NOT NULL,
    post_reveal INTEGER NOT NULL,
    replaced INTEGER NOT NULL,
    app_version TEXT NOT NULL,
    schema_version TEXT NOT NULL,
    session_id TEXT,
    body_hash TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    row_hash TEXT NOT NULL,
    PRIMARY KEY (seq),
    CONSTRAINT event_kind CHECK (kind IN ('rate', 'revise', 'undo', 'skip', 'flag')),
    CONSTRAINT event_choice CHECK (choice IN ('left', 'right', 'tie', 'both_bad')),
    CONSTRAINT event_strength CHECK (strength BETWEEN 0 AND 3),
    CONSTRAINT event_comment CHECK (length(comment) <= 20000),
    CONSTRAINT event_once UNIQUE (event_id),
    CONSTRAINT event_one_successor UNIQUE (prev_event_id),
    FOREIGN KEY (assignment_id) REFERENCES assignment (assignment_id) ON DELETE RESTRICT,
    FOREIGN KEY (rater_id) REFERENCES rater (rater_id) ON DELETE RESTRICT,
    FOREIGN KEY (prev_event_id) REFERENCES rating_event (event_id) ON DELETE RESTRICT
) STRICT;
CREATE INDEX event_assignment ON rating_event (assignment_id, seq);
CREATE UNIQUE INDEX one_first_event ON rating_event (assignment_id) WHERE prev_event_id IS NULL;
CREATE TABLE reveal (
    assignment_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    server_utc TEXT NOT NULL,
    PRIMARY KEY (assignment_id),
    FOREIGN KEY (assignment_id) REFERENCES assignment (assignment_id) ON DELETE RESTRICT
) STRICT;
CREATE TABLE quarantine (
    body_hash TEXT NOT NULL,
    event_id TEXT NOT NULL,
    body_json TEXT NOT NULL,
    reason TEXT NOT NULL,
    server_utc TEXT NOT NULL,
    PRIMARY KEY (body_hash)
) STRICT;
CREATE VIEW current_rating AS
    SELECT e.* FROM rating_event e
    WHERE NOT EXISTS (SELECT 1 FROM rating_event n WHERE n.prev_event_id = e.event_id);
"""

_LONG = ("seq", "client_mono_ms", "shown_ms")

_FUNCTIONS = (
    """
CREATE FUNCTION ftlab_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    """
CREATE FUNCTION ftlab_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM rating_event) THEN
        RAISE EXCEPTION 'rating_event is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$""",
)

_FIXED = ("batch", "instruction", "rater", "task", "response", "rating_event", "reveal", "quarantine")


def _postgres(statement: str) -> str:
    """The same in PostgreSQL's words. Its INTEGER has 32 bits; "C" sorts by code point as SQLite does."""
    for column in _LONG:
        statement = statement.replace(f" {column} INTEGER", f" {column} BIGINT")
    return statement.replace(" STRICT", "").replace(" TEXT", ' TEXT COLLATE "C"')


def upgrade() -> None:
    """Runs inside one transaction with the revision number."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(_postgres(statement) if postgres else statement)
    if postgres:
        _fix_postgres()
    else:
        _fix_sqlite()


def _fix_sqlite() -> None:
    for table in _FIXED:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER assignment_no_delete BEFORE DELETE ON assignment "
        "BEGIN SELECT RAISE(ABORT, 'assignments are never deleted'); END"
    )
    op.execute(
        "CREATE TRIGGER assignment_no_update BEFORE UPDATE OF assignment_id, task_id, rater_id, batch, "
        "ordinal, repeat_no, is_gold, order_json, created_utc ON assignment "
        "BEGIN SELECT RAISE(ABORT, 'what was shown to whom is never changed'); END"
    )
    # INSERT OR REPLACE deletes without firing the trigger on DELETE
    op.execute(
        "CREATE TRIGGER rating_event_no_replace BEFORE INSERT ON rating_event "
        "WHEN NEW.seq <> (SELECT ifnull(max(seq), 0) + 1 FROM rating_event) "
        "OR EXISTS (SELECT 1 FROM rating_event WHERE event_id = NEW.event_id) "
        "BEGIN SELECT RAISE(ABORT, 'rating_event is append-only'); END"
    )


def _fix_postgres() -> None:
    for function in _FUNCTIONS:
        op.execute(function)
    for table in _FIXED:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('{table} is append-only')"
            )
    op.execute(
        "CREATE TRIGGER assignment_no_delete BEFORE DELETE ON assignment "
        "FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('assignments are never deleted')"
    )
    op.execute(
        "CREATE TRIGGER assignment_no_update BEFORE UPDATE OF assignment_id, task_id, rater_id, batch, "
        "ordinal, repeat_no, is_gold, order_json, created_utc ON assignment "
        "FOR EACH ROW EXECUTE FUNCTION ftlab_refuse('what was shown to whom is never changed')"
    )
    op.execute(
        "CREATE TRIGGER rating_event_in_order BEFORE INSERT ON rating_event "
        "FOR EACH ROW EXECUTE FUNCTION ftlab_in_order()"
    )
    for table in (*_FIXED, "assignment"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ftlab_refuse('{table} is append-only')"
        )
