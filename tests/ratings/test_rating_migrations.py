"""Old stores come along whole: on both databases, and whatever kills the upgrade."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pysqlite3
import pytest

from ftlab.ratings import Ratings, schema, standing

_OLD = Path(__file__).parent / "data" / "store_0001.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as ftlab 0.1 left it: see the head of the file."""
    path = tmp_path / "old.db"
    raw = pysqlite3.connect(str(path))
    raw.executescript(_OLD.read_text(encoding="utf-8"))
    raw.close()
    return path


def _dump(path: Path, table: str) -> list[Any]:
    raw = pysqlite3.connect(str(path))
    raw.row_factory = pysqlite3.Row
    rows = [dict(row) for row in raw.execute(f"SELECT * FROM {table} ORDER BY 1")]
    raw.close()
    return rows


def test_a_store_of_the_first_schema_is_brought_up_to_date_with_everything_in_it(old, make_event):
    before = {
        table: _dump(old, table) for table in ("rating_event", "task", "response", "assignment", "rater")
    }
    with Ratings(old) as store:
        assert store.verify()
        assert store.last_seq() == len(before["rating_event"]) == 20
        assert [store.progress(who, "first").answered for who in ("ann", "bob", "gold")] == [5, 4, 5]
        assert store.progress("bob", "first").flagged == 1
        with store.database.reading() as connection:
            stands = standing.read(connection, "first")
        assert len(stands) == 14
        assert stands.raters == [("ann", "person"), ("bob", "person"), ("gold", "judge")]
        assert stands.lineups == [("wren", "run:tuned"), ("wren", "run:other")]
        task = store.next("ann", "first")
        assert (task.position, task.prompt[0]["content"]) == (6, "Question 5?")
        assert store.next("bob", "first").position == 2  # what was taken back comes first
        assert store.next("bob", "second").position == 1
        store.record(make_event(task))
        assert store.verify()
    for table, rows in before.items():
        after = {next(iter(row.values())): row for row in _dump(old, table)}
        for row in rows:
            assert row.items() <= after[next(iter(row.values()))].items()


def test_the_numbers_of_an_old_store_are_those_of_a_new_one(old):
    with Ratings(old) as store:
        kept = _dump(old, "standing"), _dump(old, "tally")
        with store.database.writing() as connection:
            standing.rebuild(connection)
    assert (_dump(old, "standing"), _dump(old, "tally")) == kept


def test_an_older_store_is_copied_before_it_is_brought_up_to_date(old):
    before = _dump(old, "rating_event")
    with Ratings(old):
        copies = list(old.parent.glob(f"old.db.before-{schema.REVISION}-*"))
    assert len(copies) == 1
    assert copies[0].stat().st_mode & 0o777 == 0o600
    assert _dump(copies[0], "rating_event") == before
    assert _dump(copies[0], "alembic_version") == [{"version_num": "0001"}]


def _upgrade_and_die(path: Path, at: int) -> None:
    """Opens the store in a child of its own that is killed at the statement number `at` of the upgrade."""
    from sqlalchemy.engine.default import DefaultDialect

    plain, done = DefaultDialect.do_execute, [0]

    def dying(self: Any, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if not statement.startswith(("SELECT", "PRAGMA", "BEGIN")):
            done[0] += 1
            if done[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
        plain(self, cursor, statement, parameters, context)

    DefaultDialect.do_execute = dying  # type: ignore[method-assign]
    Ratings(path).close()


def test_a21_an_upgrade_that_is_killed_at_any_statement_leaves_the_old_store(old, tmp_path):
    kills, at = 0, 0
    while True:
        at += 1
        path = tmp_path / "killed" / "old.db"
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        shutil.copy(old, path)
        child = os.fork()
        if child == 0:
            try:
                _upgrade_and_die(path, at)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        kills += 1
        assert _dump(path, "alembic_version") == [{"version_num": "0001"}]
        assert "standing" not in {row["name"] for row in _dump(path, "sqlite_master")}
        copies = list(path.parent.glob("old.db.before-*"))
        assert len(copies) == 1
        assert _dump(copies[0], "rating_event") == _dump(old, "rating_event")
        if kills % 20 == 0:
            with Ratings(path) as store:
                assert store.verify()
    assert kills > 40
    with Ratings(path) as store:
        assert store.verify()
        assert store.last_seq() == 20
