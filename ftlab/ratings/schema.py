"""What a rating store holds: its tables, as SQLAlchemy Core sees them.

The migrations make them; a test holds the two together. Everything but `assignment` is append-only, and
of an assignment only the lease and the two columns derived from the log (`head_event_id`, `is_open`) may
change: triggers abort the rest. Of an event, the comment and the scores may be blanked once a `redaction`
names it. `standing` and `tally` are derived from the log and kept beside it, in the same transaction: what
stands, in numbers, so that a million opinions are read in a second and progress takes no counting.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION = "0002"
"""The newest migration; revisions are numbers of four digits, so that "newer" can be told by comparing."""

MODES = ("pair", "single", "rank", "edit", "dialogue")
KINDS = ("rate", "revise", "undo", "skip", "flag")
CHOICES = ("left", "right", "tie", "both_bad")
RATERS = ("person", "simulated", "judge", "replay")

metadata = MetaData()
_Number = BigInteger().with_variant(Integer(), "sqlite")  # STRICT tables of SQLite know INTEGER only


def _within(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


batch = Table(
    "batch",
    metadata,
    Column("name", Text, primary_key=True, nullable=False),
    Column("mode", Text, nullable=False),
    Column("seed", Text, nullable=False),  # key of the side order
    Column("settings_json", Text, nullable=False),
    Column("created_utc", Text, nullable=False),
    _within("mode", MODES, "batch_mode"),
    sqlite_strict=True,
)

instruction = Table(
    "instruction",
    metadata,
    Column("batch", Text, ForeignKey("batch.name", ondelete="RESTRICT"), primary_key=True, nullable=False),
    Column("version", Integer, primary_key=True, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_utc", Text, nullable=False),
    sqlite_strict=True,
)

rater = Table(
    "rater",
    metadata,
    Column("rater_id", Text, primary_key=True, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_utc", Text, nullable=False),
    Column("number", Integer),  # 1, 2, 3, ...: what `standing` and `tally` know the rater by
    _within("kind", RATERS, "rater_kind"),
    Index("rater_number", "number", unique=True),
    sqlite_strict=True,
)

lineup = Table(
    "lineup",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, nullable=False),  # 1, 2, 3, ...
    Column("models_json", Text, nullable=False),  # the models of a task, by slot
    UniqueConstraint("models_json", name="lineup_models"),
    sqlite_strict=True,
)

task = Table(
    "task",
    metadata,
    Column("task_id", Text, primary_key=True, nullable=False),  # sha256 of batch, prompt, models and texts
    Column("batch", Text, nullable=False),
    Column("instruction_version", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),  # 1, 2, 3, ... within its batch
    Column("prompt_json", Text, nullable=False),
    Column("tags_json", Text, nullable=False),
    Column("replaced", Integer, nullable=False),  # characters no database keeps, see clean.py
    Column("raw_hash", Text, nullable=False),  # sha256 of the prompt as it came in
    Column("created_utc", Text, nullable=False),
    Column("lineup", Integer),  # lineup.number
    Column("lengths_json", Text),  # characters of each answer, by slot
    Column("words", Integer),  # of all answers together
    Column("leaked", Integer, nullable=False),  # 1: an answer names a model, see leaks.py
    ForeignKeyConstraint(
        ["batch", "instruction_version"],
        ["instruction.batch", "instruction.version"],
        name="task_instruction",
        ondelete="RESTRICT",
    ),
    UniqueConstraint("batch", "ordinal", name="task_place"),
    sqlite_strict=True,
)

response = Table(
    "response",
    metadata,
    Column("response_id", Text, primary_key=True, nullable=False),  # sha256 of the columns below
    Column("task_id", Text, ForeignKey("task.task_id", ondelete="RESTRICT"), nullable=False),
    Column("slot", Integer, nullable=False),  # 0, 1, ... as it was added; never shown
    Column("model_ref", Text, nullable=False),
    Column("generation_json", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("replaced", Integer, nullable=False),
    Column("raw_hash", Text, nullable=False),
    UniqueConstraint("task_id", "slot", name="response_slot"),
    sqlite_strict=True,
)

gold = Table(
    "gold",
    metadata,
    Column(
        "task_id", Text, ForeignKey("task.task_id", ondelete="RESTRICT"), primary_key=True, nullable=False
    ),
    Column("expected_json", Text, nullable=False),  # what a careful rater says; never part of a Task
    Column("created_utc", Text, nullable=False),
    sqlite_strict=True,
)

assignment = Table(
    "assignment",
    metadata,
    Column("assignment_id", Text, primary_key=True, nullable=False),
    Column("task_id", Text, ForeignKey("task.task_id", ondelete="RESTRICT"), nullable=False),
    Column("rater_id", Text, ForeignKey("rater.rater_id", ondelete="RESTRICT"), nullable=False),
    Column("batch", Text, ForeignKey("batch.name", ondelete="RESTRICT"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("repeat_no", Integer, nullable=False),
    Column("is_gold", Integer, nullable=False),
    Column("order_json", Text, nullable=False),  # slots in the order shown, left first
    Column("leased_until", Text),
    Column("created_utc", Text, nullable=False),
    Column("head_event_id", Text),
    Column("is_open", Integer, nullable=False),  # 1: nothing said, or undone
    Column("place", Integer),  # 1, 2, 3, ... of this rater in this batch
    Column("reason", Text),  # why this task was asked now: "given", "uniform", "repeat", ...
    UniqueConstraint("task_id", "rater_id", "repeat_no", name="assignment_once"),
    Index("assignment_place", "rater_id", "batch", "place", unique=True),
    Index(
        "assignment_waiting",
        "rater_id",
        "batch",
        "place",
        sqlite_where=text("is_open = 1"),
        postgresql_where=text("is_open = 1"),
    ),
    Index(
        "assignment_lease",
        "batch",
        "leased_until",
        sqlite_where=text("is_open = 1"),
        postgresql_where=text("is_open = 1"),
    ),
    sqlite_strict=True,
)

rating_event = Table(
    "rating_event",
    metadata,
    Column("seq", _Number, primary_key=True, autoincrement=False, nullable=False),  # 1, 2, 3, ... no gaps
    Column("event_id", Text, nullable=False),
    Column(
        "assignment_id",
        Text,
        ForeignKey("assignment.assignment_id", ondelete="RESTRICT"),
        nullable=False,
    ),
    Column("rater_id", Text, ForeignKey("rater.rater_id", ondelete="RESTRICT"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("prev_event_id", Text, ForeignKey("rating_event.event_id", ondelete="RESTRICT")),
    Column("choice", Text),
    Column("strength", Integer),
    Column("scores_json", Text),  # what the modes beside "pair" say: ranks, flags, an edited text
    Column("comment", Text, nullable=False),
    Column("client_utc", Text),
    Column("client_mono_ms", _Number),
    Column("shown_ms", _Number),
    Column("server_utc", Text, nullable=False),
    Column("post_reveal", Integer, nullable=False),  # 1: said after the models' names were seen
    Column("replaced", Integer, nullable=False),
    Column("app_version", Text, nullable=False),
    Column("schema_version", Text, nullable=False),
    Column("session_id", Text),
    Column("body_hash", Text, nullable=False),  # sha256 of the event as it came in
    Column("prev_hash", Text, nullable=False),
    Column("row_hash", Text, nullable=False),
    Column("late", Integer, nullable=False),  # 1: said after the lease had passed to another
    _within("kind", KINDS, "event_kind"),
    _within("choice", CHOICES, "event_choice"),
    CheckConstraint("strength BETWEEN 0 AND 3", name="event_strength"),
    CheckConstraint("length(comment) <= 20000", name="event_comment"),
    UniqueConstraint("event_id", name="event_once"),
    UniqueConstraint("prev_event_id", name="event_one_successor"),
    Index("event_assignment", "assignment_id", "seq"),
    Index(
        "one_first_event",
        "assignment_id",
        unique=True,
        sqlite_where=text("prev_event_id IS NULL"),
        postgresql_where=text("prev_event_id IS NULL"),
    ),
    sqlite_strict=True,
)

reveal = Table(
    "reveal",
    metadata,
    Column(
        "assignment_id",
        Text,
        ForeignKey("assignment.assignment_id", ondelete="RESTRICT"),
        primary_key=True,
        nullable=False,
    ),
    Column("event_id", Text, nullable=False),
    Column("server_utc", Text, nullable=False),
    sqlite_strict=True,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("body_hash", Text, primary_key=True, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("body_json", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("server_utc", Text, nullable=False),
    sqlite_strict=True,
)

alias = Table(
    "alias",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False, nullable=False),  # 1, 2, 3, ...
    Column("rater_id", Text, ForeignKey("rater.rater_id", ondelete="RESTRICT"), nullable=False),
    Column("name", Text, nullable=False),  # how the rater is called from now on; the id stays
    Column("created_utc", Text, nullable=False),
    Index("alias_rater", "rater_id", "seq"),
    sqlite_strict=True,
)

redaction = Table(
    "redaction",
    metadata,
    Column(
        "event_id",
        Text,
        ForeignKey("rating_event.event_id", ondelete="RESTRICT"),
        primary_key=True,
        nullable=False,
    ),
    Column("reason", Text, nullable=False),
    Column("kept_hash", Text, nullable=False),  # row hash of what is left of the event
    Column("created_utc", Text, nullable=False),
    sqlite_strict=True,
)

standing = Table(  # derived: a row for each answered assignment, see standing.py
    "standing",
    metadata,
    Column("batch", Text, primary_key=True, nullable=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("rater_no", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("repeat_no", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("seq", _Number, nullable=False),
    Column("assignment_id", Text, nullable=False),
    Column("kind", Integer, nullable=False),  # 0 rating, 1 skip, 2 flag
    Column("code", Integer, nullable=False),
    Column("thumb", Integer),
    Column("detail", Text),
    Column("left_slot", Integer, nullable=False),
    Column("lineup", Integer, nullable=False),
    Column("gap", Integer, nullable=False),
    Column("shown_ms", _Number),
    Column("flags", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

tally = Table(  # derived: how many rows of `standing` a rater has, by kind
    "tally",
    metadata,
    Column("batch", Text, primary_key=True, nullable=False),
    Column("rater_no", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("kind", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("n", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

opening = Table(  # derived from the tasks and who holds them: what may be asked next, see queue.py
    "opening",
    metadata,
    Column("batch", Text, primary_key=True, nullable=False),
    Column("lane", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("turn", Integer, primary_key=True, autoincrement=False, nullable=False),  # raters go upwards
    Column("ordinal", Integer, nullable=False),
    Column("missing", Integer, nullable=False),  # raters still to be asked; -1: everyone is
    Column("back", Integer),  # 1, 2, 3, ... within its batch, where a rater gave it back
    UniqueConstraint("batch", "ordinal", name="opening_task"),
    Index(
        "opening_free",
        "batch",
        "lane",
        "turn",
        sqlite_where=text("missing <> 0"),
        postgresql_where=text("missing <> 0"),
    ),
    Index("opening_back", "batch", "back"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

pointer = Table(  # derived from the assignments: how far a rater is in each lane
    "pointer",
    metadata,
    Column("batch", Text, primary_key=True, nullable=False),
    Column("rater_id", Text, primary_key=True, nullable=False),
    Column("lane", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("taken", Integer, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

current_rating = Table(  # a view: the events without a successor, "undo" among them
    "current_rating",
    MetaData(),
    *(Column(column.name, column.type) for column in rating_event.columns),
)
