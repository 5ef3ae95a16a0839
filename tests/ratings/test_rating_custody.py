"""What is in a store stays what it was: locks, copies, clocks, names, erasure, and hands that reach inside."""

import multiprocessing
import re
import shutil
from pathlib import Path
from typing import Any

import pysqlite3
import pytest
from sqlalchemy.exc import DBAPIError

from ftlab.errors import RatingError
from ftlab.ratings import Quarantined, Ratings, StoreBusy, standing
from ftlab.ratings.storage.database import SuspectStore

_FORK = multiprocessing.get_context("fork")


def _rate_all(store: Ratings, make_event: Any, rater: str = "ann", **more: Any) -> list[Any]:
    receipts = []
    while (task := store.next(rater)) is not None:
        receipts.append(store.record(make_event(task, **more)))
    return receipts


# locks


def _hold(path: Path, held: Any, let_go: Any, seconds: float) -> None:
    raw = pysqlite3.connect(str(path), isolation_level=None)
    raw.execute("BEGIN EXCLUSIVE")
    held.set()
    let_go.wait(seconds)
    raw.execute("ROLLBACK")


@pytest.mark.parametrize("seconds", [3, 30])
def test_a10_a_locked_store_is_waited_for_and_then_said_to_be_busy(store, make_pairs, make_event, seconds):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann"))
    held, let_go = _FORK.Event(), _FORK.Event()
    holder = _FORK.Process(target=_hold, args=(store.path, held, let_go, seconds))
    holder.start()
    held.wait(10)
    if seconds < 10:
        assert store.record(event).status == "stored"
    else:
        with pytest.raises(StoreBusy, match="NOT saved, try again"):
            store.record(event)
        let_go.set()
        assert store.record(event).status == "stored"
    holder.join()


def test_a11_a_writer_that_reads_first_is_not_cut_off_by_another_one(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann"))
    with store.database.reading() as connection:  # an old picture is open while the others go on
        assert connection.exec_driver_sql("SELECT count(*) FROM rating_event").scalar() == 0
        store.record(event)
        assert connection.exec_driver_sql("SELECT count(*) FROM rating_event").scalar() == 0
        with pytest.raises(DBAPIError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM tally")
    sources = (Path(standing.__file__).parent / "storage").glob("*.py")
    begins = [line for source in sources for line in re.findall(r'"BEGIN[^"]*"', source.read_text())]
    assert sorted(begins) == ['"BEGIN IMMEDIATE"', '"BEGIN"']  # the second one under query_only


# copies


def test_a16_the_last_event_is_reported_on_opening(either, make_pairs, make_event):
    assert str(either.last_event()) == "no event yet"
    either.add_pairs(make_pairs(2))
    receipt = _rate_all(either, make_event)[-1]
    stored = either.last_event()
    assert (stored.seq, stored.row_hash) == (receipt.seq, receipt.row_hash)
    assert re.fullmatch(r"last event 2 at 20\d\d-.*Z", str(stored))
    either.database._open()
    assert either.database.opened == stored


def test_a19_a_store_whose_log_was_deleted_is_loud_about_what_is_missing(store, make_pairs, make_event):
    store.add_pairs(make_pairs(4))
    store.database.close()  # what was there so far goes into the file itself
    _rate_all(store, make_event)
    before = store.path.read_bytes()  # as it is while the kernel runs
    store.close()
    store.path.write_bytes(before)
    assert not Path(f"{store.path}-wal").exists()
    with pytest.warns(SuspectStore, match=r"ends with event 0, but event 4 had its receipt .* 4 are missing"):
        Ratings(store.path).close()
    proof = list(store.path.parent.glob("ratings.db.last.*"))
    assert len(proof) == 1
    assert proof[0].read_text().startswith("4 ")


def test_a19_another_store_in_its_place_is_noticed(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(3))
    _rate_all(store, make_event)
    with Ratings(tmp_path / "other.db") as other:
        other.add_pairs(make_pairs(3))
        _rate_all(other, make_event)
    store.close()
    (tmp_path / "other.db").replace(store.path)
    with pytest.warns(SuspectStore, match="event 3 is not the one that had its receipt"):
        Ratings(store.path).close()


def test_a19_a_copy_that_backup_did_not_make_is_said_to_be_one(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(2))
    store.database.close()
    receipts = _rate_all(store, make_event)
    shutil.copy(store.path, tmp_path / "naive.db")
    with pytest.warns(SuspectStore, match=r"copy that was not made by backup \(no event yet\)"):
        Ratings(tmp_path / "naive.db").close()
    Ratings(tmp_path / "naive.db").close()  # said once
    with Ratings(store.backup(tmp_path / "kept.db")) as kept:
        assert kept.last_seq() == receipts[-1].seq
    with Ratings(store.path) as again:  # and of the first one there is nothing to say
        assert again.verify()


def test_a19_a_kill_before_the_witness_noted_the_event_is_no_loss(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    _rate_all(store, make_event)
    store.close()
    noted = Path(f"{store.path}.last").read_text()
    assert noted.startswith("2 ")
    for older in ("", "1", "\0" * 160, noted.replace("2 ", "0 ", 1)):
        Path(f"{store.path}.last").write_text(older)
        with Ratings(store.path) as opened:
            assert opened.last_seq() == 2


# clocks and ids


@pytest.mark.parametrize(
    ("clock", "is_off"),
    [
        ("1970-01-01T00:00:00Z", True),
        ("2099-06-30T12:00:00+02:00", True),
        ("a quarter past", False),
        (None, False),
    ],
)
def test_a24_the_raters_clock_orders_nothing_and_is_marked_when_it_is_off(
    either, make_pairs, make_event, clock, is_off
):
    either.add_pairs(make_pairs(2))
    _rate_all(either, make_event, client_utc=clock)
    with either.database.reading() as connection:
        stands = standing.read(connection, "default")
    assert stands.seq.tolist() == [1, 2]
    assert ((stands.flags & standing.SKEWED) > 0).tolist() == [is_off] * 2
    assert either.history(either.at("ann", "default", 1).assignment_id)[0]["client_utc"] == clock


def test_a25_an_id_that_is_used_twice_for_different_answers_is_put_aside_whole(
    either, make_pairs, make_event
):
    either.add_pairs(make_pairs(1))
    event = make_event(either.next("ann"))
    first = either.record(event)
    assert either.record(dict(event)).row_hash == first.row_hash
    for _ in range(2):
        with pytest.raises(Quarantined, match="put aside"):
            either.record(event | {"choice": "right"})
    with either.database.reading() as connection:
        kept = connection.exec_driver_sql("SELECT body_json FROM quarantine").scalars().all()
    assert len(kept) == 1
    assert '"choice":"right"' in kept[0]
    assert either.current()[0]["choice"] == "left"


def test_a26_two_raters_who_swap_names_keep_their_ratings(either, make_pairs, make_event):
    either.add_pairs(make_pairs(2))
    _rate_all(either, make_event, "ann")
    _rate_all(either, make_event, "bob", choice="right")
    either.rename("ann", "bob")
    either.rename("bob", "ann")
    assert either.names() == {"ann": "bob", "bob": "ann"}
    assert {(row["rater"], row["choice"]) for row in either.current()} == {("ann", "left"), ("bob", "right")}
    with either.database.reading() as connection:
        stands = standing.read(connection, "default")
    assert (stands.raters, stands.names) == ([("ann", "person"), ("bob", "person")], ["bob", "ann"])
    with pytest.raises(RatingError, match="no rater 'eve'"):
        either.rename("eve", "ann")
    with pytest.raises(RatingError, match="1 to 200 characters"):
        either.rename("ann", " ")
    assert either.verify()


# erasure


def test_a29_a_redacted_event_loses_its_words_and_nothing_else(either, make_pairs, make_event):
    either.add_pairs(make_pairs(3))
    receipts = _rate_all(either, make_event, comment="my neighbor Jane said so")
    either.redact(receipts[1].event_id, "asked for by the rater")
    either.redact(receipts[1].event_id, "asked for once more")
    row = either.history(either.at("ann", "default", 2).assignment_id)[0]
    assert (row["comment"], row["choice"], row["row_hash"]) == ("", "left", receipts[1].row_hash)
    found = either.verify()
    assert found
    assert found.redacted == (2,)
    assert "3 events, all as they were stored but 1 redacted" in str(found)
    with pytest.raises(RatingError, match="no event 'nowhere-1'"):
        either.redact("nowhere-1", "why")
    with pytest.raises(RatingError, match="needs a reason"):
        either.redact(receipts[0].event_id, "  ")


def test_a29_redacted_words_are_gone_from_the_file_and_its_log(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann"), comment="my neighbor Jane said so")
    store.record(event)
    with pytest.raises(Quarantined):
        store.record(event | {"comment": "my neighbor Jane said so, twice"})
    store.redact(event["event_id"], "asked for by the rater")
    files = [file for file in store.path.parent.iterdir() if file.name.startswith("ratings.db")]
    assert len(files) > 2
    assert not [file for file in files if b"neighbor Jane" in file.read_bytes()]


def test_a29_a_redacted_event_that_is_changed_afterwards_is_found(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    receipt = _rate_all(store, make_event, comment="x")[0]
    store.redact(receipt.event_id, "asked for")
    raw = pysqlite3.connect(str(store.path), isolation_level=None)
    raw.execute("DROP TRIGGER rating_event_no_update")
    raw.execute("UPDATE rating_event SET choice = 'right'")
    raw.close()
    assert "event 1: was changed after it was redacted" in str(store.verify())


# hands that reach inside

_FIXED = (
    ("batch", "seed = 'x'"),
    ("instruction", "text = 'x'"),
    ("rater", "kind = 'judge'"),
    ("task", "prompt_json = '[]'"),
    ("response", "text = 'x'"),
    ("assignment", "order_json = '[1,0]'"),
    ("assignment", "place = 7"),
    ("rating_event", "choice = 'right'"),
    ("rating_event", "comment = ''"),
    ("rating_event", "late = 1"),
    ("reveal", "event_id = 'x'"),
    ("quarantine", "body_json = ''"),
    ("alias", "name = 'x'"),
    ("redaction", "reason = 'x'"),
    ("lineup", "models_json = '[]'"),
    ("gold", "expected_json = '{}'"),
)


@pytest.fixture
def full(either, make_pairs, make_event):
    either.add_pairs(make_pairs(3))
    either.add([make_pairs(9)[8] | {"gold": {"choice": "first"}}])
    receipts = _rate_all(either, make_event, comment="a remark")
    either.reveal(either.at("ann", "default", 1).assignment_id)
    either.rename("ann", "Ann")
    either.redact(receipts[0].event_id, "asked for")
    event = make_event(either.at("ann", "default", 2), "revise", choice="right")
    either.record(event)
    with pytest.raises(Quarantined):
        either.record(event | {"choice": "tie", "strength": 0})
    return either


def test_a29_a30_no_row_can_be_changed_or_deleted_behind_the_stores_back(full):
    store = full
    for table, change in _FIXED:
        refusal = "append-only|never changed|never deleted|FOREIGN KEY"
        where = " WHERE seq = 2" if table == "rating_event" else ""
        with pytest.raises(Exception, match=refusal), store.database.writing() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET {change}{where}")
        with pytest.raises(Exception, match=refusal), store.database.writing() as connection:
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert store.verify()


def test_a30_an_event_that_is_put_in_out_of_its_order_is_refused(full):
    columns = (
        "event_id, assignment_id, rater_id, kind, prev_event_id, choice, strength, scores_json, comment, "
        "server_utc, post_reveal, replaced, app_version, schema_version, body_hash, prev_hash, row_hash, late"
    )
    for seq in (2, 99):
        copied = f"SELECT {seq}, {columns.replace('event_id,', chr(39) + 'forged-event' + chr(39) + ',', 1)}"
        with pytest.raises(Exception, match="append-only"), full.database.writing() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO rating_event (seq, {columns}) {copied} FROM rating_event WHERE seq = 1"
            )


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE standing SET code = -code WHERE ordinal = 2", "standing: task 2 of batch 'default'"),
        ("DELETE FROM standing WHERE ordinal = 3", "standing: task 3 of batch 'default'"),
        ("UPDATE tally SET n = n + 1", "tally: batch 'default', rater 1: 4 counted, 3 stand"),
    ],
)
def test_what_is_kept_in_numbers_is_compared_with_the_log_and_can_be_made_again(full, statement, words):
    with full.database.writing() as connection:
        connection.exec_driver_sql(statement)
    assert words in str(full.verify())
    with full.database.writing() as connection:
        assert standing.rebuild(connection) == 3
    assert full.verify()


def test_what_a_rater_wrote_is_in_no_error_of_the_database(either: Ratings) -> None:
    from sqlalchemy import text

    with pytest.raises(Exception, match="no_such_table") as told, either.database.writing() as connection:
        connection.execute(text("INSERT INTO no_such_table VALUES (:words)"), {"words": "a private comment"})
    assert "private" not in str(told.value)
