"""Many events, many writers: the helpers of the benches in small, and the way a query takes through the indexes."""

import re
from typing import Any

import pytest

from ftlab.bench import million, rate_kills, rate_writers
from ftlab.ratings import Ratings, standing


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("million") / "ratings.db"
    million.fill(path, 4000)
    with Ratings(path) as store:
        yield store


def test_the_store_of_the_bench_is_one_that_ratings_could_have_written(filled):
    assert filled.verify()
    assert 4000 <= filled.last_seq() < 4010
    with filled.database.reading() as connection:
        stands = standing.read(connection, million.BATCH)
        kinds = dict(
            connection.exec_driver_sql("SELECT kind, count(*) FROM rating_event GROUP BY kind").all()  # type: ignore[arg-type]
        )
        comments = connection.exec_driver_sql(
            "SELECT count(*) FROM rating_event WHERE comment <> ''"
        ).scalar_one()
    assert {kind for kind, n in kinds.items() if n > 20} == {"rate", "revise", "undo", "skip", "flag"}
    assert comments > 200
    assert (len(stands.raters), len(stands.lineups)) == (12, 30)
    rated = stands.ordinal[stands.kind == standing.RATING].tolist()
    assert len(rated) / len(set(rated)) > 2
    for number, rater in enumerate(million.RATERS):
        progress = filled.progress(rater, million.BATCH)
        assert progress.answered == (stands.rater == number).sum()


def test_a_rater_of_a_long_batch_goes_on_where_it_ends(filled, make_event):
    for rater in (million.RATERS[0], "a new one"):
        task = filled.next(rater, million.BATCH)
        assert filled.record(make_event(task)).status == "stored"
        assert filled.next(rater, million.BATCH).assignment_id != task.assignment_id
    assert filled.verify()


def test_no_click_walks_over_what_is_stored(filled, make_event):
    """Every table that grows is searched by an index, and the free tasks by the one that holds no others."""
    from sqlalchemy import event

    seen: dict[str, Any] = {}

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN", "INSERT")):
            seen[statement] = parameters

    event.listen(filled.database.engine, "before_cursor_execute", note)
    filled.record(make_event(filled.next("ann", million.BATCH)))
    filled.progress("ann", million.BATCH)
    filled.at("ann", million.BATCH, 1)
    event.remove(filled.database.engine, "before_cursor_execute", note)
    assert len(seen) > 15
    with filled.database.reading() as connection:
        for statement, parameters in seen.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = " / ".join(row[3] for row in plan)
            grown = r"SCAN (rating_event|assignment|task|response|opening|standing|reveal|quarantine)\b"
            if "ORDER BY rating_event.seq DESC" not in statement:  # the newest one is the last one
                assert not re.search(grown, steps), statement
            assert "TEMP B-TREE" not in steps, statement
            if re.search(r"WHERE.*opening\.lane.*missing <> 0", statement, re.DOTALL):
                assert "opening_free" in steps, (statement, steps)


def test_a12_eight_processes_at_one_file_lose_double_and_exceed_nothing(tmp_path):
    found = rate_writers.on_sqlite(tmp_path / "ratings.db", 25)
    assert (found["lost"], found["doubled"], found["over"]) == (0, 0, 0)
    assert found["slowest_seconds"] < 10


def test_a22_eight_processes_at_a_server_that_crashes_lose_double_and_exceed_nothing(server):
    found = rate_writers.on_postgres(server, 25)
    assert (found["lost"], found["doubled"], found["over"], found["restarts"]) == (0, 0, 0, 1)


def test_a01_a02_kernels_killed_at_every_named_point_lose_nothing(monkeypatch):
    monkeypatch.setattr(rate_kills, "KILLS", 24)
    found = rate_kills.measure()
    assert found["kills"] == 24
    assert (found["lost"], found["doubled"], found["half"]) == (0, 0, 0)
    assert found["resent"] > 8
