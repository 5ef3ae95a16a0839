"""Kills, races, full disks and damaged files: what has a receipt is there, once, as it was."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pysqlite3
import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Conflict, DamagedStore, NotSaved, Ratings
from ftlab.ratings.storage.database import SuspectStore
from ftlab.ratings.storage.filesystem import kind_of, network_name
from ftlab.ratings.storage.pages import open_pages
from ftlab.ratings.storage.sqlite import choose_driver, file_of

_FORK = multiprocessing.get_context("fork")  # a fork is ready at once: dozens of kills fit into seconds


def _assigned(store: Ratings, count: int, make_pairs: Any) -> list[str]:
    """The assignments of `count` new tasks, all of them unanswered."""
    store.add_pairs(make_pairs(count))
    for n in range(count):
        task = store.next("ann")
        store.record({"event_id": f"skip-{n:06}", "assignment_id": task.assignment_id, "kind": "skip"})
    places = [store.at("ann", "default", n + 1).assignment_id for n in range(count)]
    for place in places:
        store.undo(place)
    return places


def _write(path: Path, pipe: Connection, crash_at: str, crash_after: int) -> None:
    """A kernel: stores what comes through the pipe; ends at the crash point after so many events."""
    store = Ratings(path)
    handled = 0
    while True:
        event = pipe.recv()
        if handled == crash_after:
            os.environ["FTLAB_CRASH_AT"] = crash_at
        receipt = store.record(event)
        handled += 1
        pipe.send((receipt.event_id, receipt.status))


def test_a01_a02_forty_killed_writers_lose_nothing_and_double_nothing(store, make_pairs, make_event):
    places = _assigned(store, 60, make_pairs)
    dice = random.Random(7)
    outbox = deque(
        make_event(
            place, prev_event_id=store.task(place).prev_event_id, choice=dice.choice(["left", "right"])
        )
        for place in places
    )
    wanted = {event["event_id"]: event["choice"] for event in outbox}
    before = store.last_seq()
    kills, statuses = 0, []
    while outbox:
        here, there = _FORK.Pipe()
        crash_at = ("before_commit", "after_commit")[kills % 2] if kills < 40 else "never"
        writer = _FORK.Process(
            target=_write, args=(store.path, there, crash_at, dice.randrange(3)), daemon=True
        )
        writer.start()
        there.close()
        try:
            while outbox:
                here.send(outbox[0])
                name, status = here.recv()
                assert name == outbox[0]["event_id"]
                statuses.append(status)
                outbox.popleft()
            writer.kill()  # the last one is killed while it waits
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # killed: the event stays in the outbox and is sent again
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        kills += 1
        here.close()
    assert kills >= 30
    assert statuses.count("duplicate") >= 10  # committed, killed before the receipt, sent again
    stored = {row["event_id"]: row["choice"] for row in store.current()}
    assert stored == wanted
    assert store.last_seq() == before + len(wanted)
    assert store.verify()


def _send_all(path: Path, events: list[dict[str, Any]], pipe: Connection) -> None:
    store = Ratings(path)
    outcomes = []
    for event in events:
        try:
            outcomes.append(store.record(event).status)
        except Conflict:
            outcomes.append("conflict")
    pipe.send(outcomes)


def _race(path: Path, event_lists: list[list[dict[str, Any]]]) -> list[str]:
    runs = []
    for events in event_lists:
        here, there = _FORK.Pipe()
        process = _FORK.Process(target=_send_all, args=(path, events, there))
        process.start()
        runs.append((process, here))
    outcomes = [status for _, here in runs for status in here.recv()]
    for process, _ in runs:
        process.join()
        assert process.exitcode == 0
    return outcomes


def test_a03_four_kernels_that_send_the_same_events_store_each_once(store, make_pairs, make_event):
    places = _assigned(store, 40, make_pairs)
    events = [make_event(place, prev_event_id=store.task(place).prev_event_id) for place in places]
    outcomes = _race(store.path, [events] * 4)
    assert (outcomes.count("stored"), outcomes.count("duplicate")) == (40, 120)
    assert len(store.current()) == 40
    assert store.verify()


def test_a04_of_four_kernels_with_different_answers_the_first_wins(store, make_pairs, make_event):
    places = _assigned(store, 40, make_pairs)
    heads = {place: store.task(place).prev_event_id for place in places}
    lists = [[make_event(place, prev_event_id=heads[place]) for place in places] for _ in range(4)]
    outcomes = _race(store.path, lists)
    assert (outcomes.count("stored"), outcomes.count("conflict")) == (40, 120)
    assert store.verify()


def test_threads_of_one_kernel_share_a_store(store, make_pairs, make_event):
    places = _assigned(store, 40, make_pairs)
    events = [make_event(place, prev_event_id=store.task(place).prev_event_id) for place in places]
    with ThreadPoolExecutor(8) as threads:
        statuses = [receipt.status for receipt in threads.map(store.record, events * 2)]
    assert (statuses.count("stored"), statuses.count("duplicate")) == (40, 40)
    assert store.verify()


def _create(path: Path, start: Any) -> None:
    start.wait()
    Ratings(path).close()


def test_kernels_that_make_the_same_store_at_once_share_one(tmp_path):
    path, start = tmp_path / "ratings.db", _FORK.Barrier(4)
    processes = [_FORK.Process(target=_create, args=(path, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [file.name for file in tmp_path.iterdir()] == ["ratings.db"]
    with Ratings(path) as store:
        assert store.verify()


def _rate_in_child(store: Ratings, event: dict[str, Any], parents: int) -> None:
    assert store.record(event).status == "stored"
    assert id(store.database.engine) != parents


def test_a15_a_forked_child_opens_a_connection_of_its_own(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    event = make_event(store.next("ann"))
    child = _FORK.Process(target=_rate_in_child, args=(store, event, id(store.database.engine)))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert store.record(event).status == "duplicate"
    store.record(make_event(store.next("ann")))
    assert store.verify()


def _fill(path: Path, pipe: Connection, event: dict[str, Any], size: int) -> None:
    store = Ratings(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        store.record(event)
        pipe.send("stored")
    except NotSaved as error:
        readable = len(store.history(event["assignment_id"])) == 0 and bool(store.verify())
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send((str(error), readable, store.record(event).status))


def test_a09_a_full_disk_is_said_to_be_full_and_the_click_can_be_sent_again(store, make_pairs, make_event):
    store.add_pairs(make_pairs(3))
    event = make_event(store.next("ann"))
    here, there = _FORK.Pipe()
    child = _FORK.Process(target=_fill, args=(store.path, there, event, 8192))
    child.start()
    words, readable, again = here.recv()
    child.join()
    assert "NOT saved" in words
    assert readable
    assert again == "stored"
    assert store.verify()


def test_a16_a_torn_log_opens_to_what_was_stored_before_the_tear(tmp_path, make_pairs, make_event):
    store = Ratings(tmp_path / "whole.db")
    store.add_pairs(make_pairs(12))
    events = []
    while (task := store.next("ann")) is not None:
        events.append(store.record(make_event(task)).event_id)
    database, wal = store.path.read_bytes(), Path(f"{store.path}-wal").read_bytes()
    dice = random.Random(3)
    found = set()
    for n in range(40):
        torn = bytearray(wal)
        at = dice.randrange(len(torn))
        if n % 3 == 0:
            del torn[at:]
        elif n % 3 == 1:
            torn[at : at + 4096] = bytes(len(torn[at : at + 4096]))
        else:
            torn[at] ^= 1 << dice.randrange(8)
        path = tmp_path / f"torn-{n}.db"
        path.write_bytes(database)
        Path(f"{path}-wal").write_bytes(torn)
        shutil.copy(f"{store.path}.last", f"{path}.last")
        with _warned(path) as opened:
            assert opened.verify()
            assert opened.database.opened.seq == opened.last_seq()
            kept = [row["event_id"] for row in opened.current()] if opened.batches() else []
            assert kept == events[: len(kept)]
            found.add(len(kept))
    assert len(found) > 3
    store.close()


@contextmanager
def _warned(path: Path) -> Iterator[Ratings]:
    """A store that is opened with whatever warning is due."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuspectStore)
        store = Ratings(path)
    with store:
        yield store


def _raw(path: Path) -> Any:
    return pysqlite3.connect(str(path), isolation_level=None)


def test_a30_a_changed_event_is_named_by_its_number(store, make_pairs, make_event):
    store.add_pairs(make_pairs(6))
    while (task := store.next("ann")) is not None:
        store.record(make_event(task))
    store.close()
    raw = _raw(store.path)
    raw.execute("DROP TRIGGER rating_event_no_update")
    raw.execute("UPDATE rating_event SET choice = 'right' WHERE seq = 4")
    raw.close()
    found = store.verify()
    assert not found
    assert found.bad_seq == 4
    assert "event 4: was changed" in str(found)


@pytest.mark.parametrize(
    ("trigger", "statement", "words"),
    [
        ("response_no_update", "UPDATE response SET text = text || '.' WHERE slot = 1", "answer"),
        ("task_no_update", "UPDATE task SET prompt_json = '[]'", "task 1 of batch 'default'"),
        ("assignment_no_update", "UPDATE assignment SET order_json = '[7,8]'", "its sides"),
        ("rating_event_no_delete", "DELETE FROM rating_event WHERE seq = 2", "event 2: missing"),
        ("assignment_no_update", "UPDATE assignment SET is_open = 1", "what the log says"),
    ],
)
def test_a30_tampering_is_found_wherever_it_is(store, make_pairs, make_event, trigger, statement, words):
    store.add_pairs(make_pairs(3))
    while (task := store.next("ann")) is not None:
        store.record(make_event(task))
    store.close()
    raw = _raw(store.path)
    raw.execute(f"DROP TRIGGER {trigger}")
    raw.execute(statement)
    raw.close()
    assert words in str(store.verify())


def test_a18_flipped_bits_in_what_was_said_are_found(store, make_pairs, make_event):
    store.add_pairs(make_pairs(40))
    while (task := store.next("ann")) is not None:
        store.record(make_event(task, comment="a remark that somebody took the time to write"))
    store.close()
    whole, dice = store.path.read_bytes(), random.Random(5)
    with open_pages(store.path) as pages:  # every byte of every event, of any column
        events = [span for span in pages.spans() if b"somebody took" in whole[slice(*span)]]
    found = 0
    for n in range(100):
        start, end = events[n % len(events)]
        flipped = bytearray(whole)
        flipped[dice.randrange(start, end)] ^= 1 << dice.randrange(8)
        path = store.path.with_name("flipped.db")
        path.write_bytes(flipped)
        try:
            with _warned(path) as damaged:
                found += damaged.verify().bad_seq is not None
        except DamagedStore:
            found += 1
        path.with_name("flipped.db.last").unlink(missing_ok=True)
    assert found >= 99


def test_a20_a_store_of_a_newer_ftlab_can_be_read_and_exported_but_not_written(
    store, make_pairs, make_event, tmp_path
):
    store.add_pairs(make_pairs(2))
    store.record(make_event(store.next("ann")))
    task = store.next("ann")
    store.close()
    raw = _raw(store.path)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with Ratings(store.path) as newer:
        with pytest.raises(RatingError, match="newer ftlab"):
            newer.record(make_event(task))
        assert newer.preferences().save(tmp_path / "p.jsonl").exists()
        assert newer.last_seq() == 1


def test_a21_an_upgrade_that_dies_half_way_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    from alembic.operations import Operations

    path = tmp_path / "ratings.db"
    path.touch()
    plain, done = Operations.execute, []

    def dying(self: Any, *args: Any, **more: Any) -> None:
        done.append(args)
        if len(done) == 9:
            raise KeyboardInterrupt
        plain(self, *args, **more)

    monkeypatch.setattr(Operations, "execute", dying)
    with pytest.raises(KeyboardInterrupt):
        Ratings(path)
    raw = _raw(path)
    assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()
    monkeypatch.setattr(Operations, "execute", plain)
    with Ratings(path) as store:
        assert store.verify()


@pytest.mark.parametrize("content", [b"this is a text, not a database, and it stays as it is" * 40, None])
def test_a17_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path, store, make_pairs, content):
    path = tmp_path / "other.db"
    if content is None:  # a store cut in half
        store.add_pairs(make_pairs(200))
        store.close()
        content = store.path.read_bytes()
        content = content[: len(content) // 8192 * 4096]
    path.write_bytes(content)
    with pytest.raises(DamagedStore, match=r"other\.db is damaged"):
        Ratings(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path):
    raw = _raw(tmp_path / "history.sqlite")
    raw.execute("CREATE TABLE cookies (a)")
    raw.close()
    with pytest.raises(RatingError, match="another program \\('cookies' in it\\)"):
        Ratings(tmp_path / "history.sqlite")


def test_a_store_that_was_moved_away_is_an_error_not_a_new_empty_one(store, make_pairs, tmp_path):
    store.add_pairs(make_pairs(1))
    store.close()
    store.path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(RatingError, match="unable to open"):
        store.batches()
    assert not store.path.exists()


def test_a_backup_is_a_whole_store_and_never_overwrites(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(2))
    store.record(make_event(store.next("ann")))
    copy = store.backup(tmp_path / "copy.db")
    with Ratings(copy) as opened:
        assert opened.current() == store.current()
    with pytest.raises(FileExistsError, match="another name"):
        store.backup(copy)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ext4", None),
        ("overlay", None),
        ("tmpfs", None),
        ("apfs", None),
        ("fuse.fuse-overlayfs", None),
        ("nfs4", "NFS"),
        ("cifs", "SMB"),
        ("lustre", "Lustre"),
        ("9p", "9P"),
        ("fuse.sshfs", "FUSE (sshfs)"),
    ],
)
def test_a13_network_file_systems_are_known_by_name(kind, name):
    assert network_name(kind) == name


_MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 30 254:1 / /home/ann/my\\040disk rw shared:1 - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/ratings.db", "ext4"),
        ("/home/ann/ratings.db", "nfs4"),
        ("/homework/ratings.db", "ext4"),
        ("/home/ann/my disk/ratings.db", "xfs"),
    ],
)
def test_a13_the_file_system_is_that_of_the_nearest_mount(path, kind):
    assert kind_of(Path(path), _MOUNTS) == kind


def test_a13_a_store_on_a_network_file_system_is_refused_with_a_way_out(tmp_path, monkeypatch):
    from ftlab.ratings.storage import filesystem

    monkeypatch.setattr(filesystem, "network_of", lambda _: "NFS")
    with pytest.raises(RatingError, match=r"NFS.*FTLAB_HOME"):
        Ratings(tmp_path / "ratings.db")
    assert not (tmp_path / "ratings.db").exists()


def _sqlite(version: tuple[int, int, int]) -> Any:
    words = ".".join(map(str, version))
    return SimpleNamespace(__name__="sqlite3", sqlite_version=words, sqlite_version_info=version)


def test_a14_an_sqlite_that_may_corrupt_a_shared_file_is_not_used():
    old, new = _sqlite((3, 51, 2)), _sqlite((3, 51, 3))
    assert choose_driver([old, new]) is new
    with pytest.raises(RatingError, match=r"3\.51\.3.*has 3\.51\.2.*pip install pysqlite3"):
        choose_driver([old])


@pytest.mark.parametrize("where", [":memory:", "", "mysql://db/ratings", "sqlite://"])
def test_a_place_where_ratings_would_not_last_is_refused(where):
    with pytest.raises(RatingError, match="give a path"):
        file_of(where)
