"""PostgreSQL: the server goes away, the connection breaks in COMMIT, others hold the lock; nothing is lost."""

import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import NotSaved, Ratings, StoreBusy
from ftlab.ratings.storage.database import ConnectionLost


class Cutter:
    """A proxy on a Unix socket. The first COMMIT is lost: on its way there, or its answer on the way back."""

    def __init__(self, folder: Path, server: Path, *, delivers: bool) -> None:
        self.folder, self._server, self._delivers = folder, server, delivers
        self.cuts = 0
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server / ".s.PGSQL.5432"))
            self._open += [client, server]
            for source, goal, watched in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, goal, watched), daemon=True).start()

    def _pump(self, source: socket.socket, goal: socket.socket, watched: bool) -> None:
        with contextlib.suppress(OSError):  # one of the two has hung up
            while data := source.recv(65536):
                if watched and b"COMMIT" in data and not self.cuts:
                    self.cuts += 1
                    source.shutdown(socket.SHUT_RDWR)
                    if self._delivers:
                        goal.sendall(data)
                    break
                goal.sendall(data)
        with contextlib.suppress(OSError):
            goal.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in (self._listener, *self._open):
            each.close()


@pytest.fixture(params=[True, False], ids=["committed", "not committed"])
def cutter(request, tmp_path, server) -> Iterator[Cutter]:
    cutter = Cutter(tmp_path, server.folder, delivers=request.param)
    yield cutter
    cutter.close()


def test_a23_an_event_whose_commit_was_cut_off_is_looked_up_before_anybody_hears(
    postgres, cutter, make_pairs, make_event
):
    postgres.add_pairs(make_pairs(2))
    events = [make_event(postgres.next("ann"))]
    through = postgres.database.place.replace(
        quote(str(postgres.database._url.query["host"]), safe=""), quote(str(cutter.folder), safe="")
    )
    with Ratings(through) as store:
        receipt = store.record(events[0])
        assert cutter.cuts == 1
        assert receipt.seq == 1
        assert receipt.status in ("stored", "duplicate")
        events.append(make_event(store.next("ann")))
        assert store.record(events[1]).status == "stored"
        assert [store.record(event).status for event in events] == ["duplicate"] * 2
    assert postgres.last_seq() == 2
    assert postgres.verify()


def test_a22_an_open_transaction_dies_with_the_server_and_can_be_sent_again(
    server, postgres, make_pairs, make_event
):
    postgres.add_pairs(make_pairs(1))
    event = make_event(postgres.next("ann"))

    def interrupted() -> None:
        with postgres.database.writing() as connection:
            connection.exec_driver_sql("UPDATE assignment SET leased_until = 'x'")
            server.restart("immediate")
            connection.exec_driver_sql("UPDATE assignment SET leased_until = 'y'")

    with pytest.raises(ConnectionLost, match="NOT known to be saved; try again"):
        interrupted()
    assert postgres.last_seq() == 0
    assert [postgres.record(event).status for _ in range(2)] == ["stored", "duplicate"]
    assert postgres.verify()


def test_a22_a_server_that_comes_back_is_waited_for(server, postgres, make_pairs, make_event):
    postgres.add_pairs(make_pairs(2))
    event = make_event(postgres.next("ann"))
    server.stop("immediate")
    back = threading.Thread(target=server.start)
    back.start()
    assert postgres.record(event).status == "stored"
    back.join()
    server.restart("fast")
    assert postgres.next("ann").position == 2  # every connection of the pool is dead, and nobody notices
    assert postgres.verify()


def test_a22_a_server_that_stays_away_is_said_to_be_away(
    server, postgres, make_pairs, make_event, monkeypatch
):
    monkeypatch.setattr("ftlab.ratings.storage.database.RECONNECT_S", 0.3)
    postgres.add_pairs(make_pairs(1))
    event = make_event(postgres.next("ann"))
    server.stop("fast")
    with pytest.raises(NotSaved, match="connection to postgresql://ftlab@/store_"):
        postgres.record(event)
    server.start()
    assert postgres.record(event).status == "stored"


def test_a_server_that_was_never_reached_is_an_error_at_once(tmp_path):
    with pytest.raises(RatingError, match="the server of postgresql://ann@/x.* cannot be reached"):
        Ratings(f"postgresql://ann:geheim@/x?host={quote(str(tmp_path), safe='')}")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://locked:geheim-77@/{name}?host={host}",
        "postgresql://locked@/{name}?host={host}&password=geheim-77",
        "postgres://locked:geheim-77@/nowhere?host={host}",
        "postgresql://locked:geheim-77@host:port/{name}",
        "postgresql://locked:geheim-77@/{name}?host={host}&nonsense=1",
        "postgresql://locked:geheim-77@",
        "postgresql+psycopg://locked:geheim-77@localhost:1/{name}",
    ],
)
def test_a_password_is_never_printed(server, empty_database, address, capfd):
    host = quote(str(server.folder), safe="")
    with pytest.raises(RatingError) as caught:
        Ratings(address.format(name=empty_database, host=host))
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "geheim" not in told + "".join(capfd.readouterr())


def test_a_store_behind_a_password_opens_with_it_and_does_not_show_it(server, empty_database):
    name = server.make_database(empty_database)
    with server.session(name) as session:
        session.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO locked")
    with Ratings(server.url(name, user="locked", password="open sesame")) as store:
        assert store.add_pairs([]) == 0
        assert "sesame" not in repr(store) + store.place + str(vars(store.database)["place"])
    server.drop_database(name)


def test_a_rater_who_may_only_read_is_told_so(server, empty_database, make_pairs):
    name = server.make_database(empty_database)
    with server.session(name) as session:
        session.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO locked")
    with Ratings(server.url(name, user="locked", password="open sesame")) as store:
        assert store.batches() == {}
        with pytest.raises(RatingError, match="may be read but not written"):
            store.add_pairs(make_pairs(1))
    server.drop_database(name)


def test_a10_a_writer_waits_for_the_lock_and_then_says_busy(postgres, make_pairs, make_event, monkeypatch):
    monkeypatch.setattr(
        "ftlab.ratings.storage.postgres._BEGIN_WRITING",
        _begin_writing := sys.modules["ftlab.ratings.storage.postgres"]._BEGIN_WRITING.replace(
            "10000", "200"
        ),
    )
    assert "= 200;" in _begin_writing
    postgres.add_pairs(make_pairs(1))
    event = make_event(postgres.next("ann"))
    with postgres.database.writing():
        with pytest.raises(StoreBusy, match="held by another process .* NOT saved, try again"):
            postgres.record(event)
        assert postgres.last_seq() == 0  # readers are not held up
    assert postgres.record(event).status == "stored"


def test_a_stopped_kernel_does_not_hold_the_others_up_for_ever(postgres, make_pairs, make_event, monkeypatch):
    module = sys.modules["ftlab.ratings.storage.postgres"]
    monkeypatch.setattr(module, "_BEGIN_WRITING", module._BEGIN_WRITING.replace("'60s'", "'100ms'"))
    postgres.add_pairs(make_pairs(1))
    event = make_event(postgres.next("ann"))

    def stopped() -> None:
        with postgres.database.writing() as connection:
            assert postgres.record(event).status == "stored"  # who slept in the middle has lost the lock
            connection.exec_driver_sql("UPDATE assignment SET leased_until = 'x'")

    with pytest.raises(ConnectionLost):
        stopped()
    assert postgres.verify()


def test_a15_a_forked_child_opens_a_session_of_its_own(postgres, make_pairs, make_event):
    postgres.add_pairs(make_pairs(2))
    event = make_event(postgres.next("ann"))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if postgres.record(event).status == "stored" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert postgres.record(event).status == "duplicate"
    postgres.record(make_event(postgres.next("ann")))
    assert postgres.verify()


def test_a_reader_sees_one_picture_while_others_write(postgres, make_pairs, make_event):
    postgres.add_pairs(make_pairs(2))
    with postgres.database.reading() as connection:
        count = "SELECT count(*) FROM rating_event"
        assert connection.exec_driver_sql(count).scalar() == 0
        postgres.record(make_event(postgres.next("ann")))
        assert connection.exec_driver_sql(count).scalar() == 0
        with pytest.raises(Exception, match="read-only transaction"):
            connection.exec_driver_sql("DELETE FROM tally")
    assert postgres.last_seq() == 1


def test_two_schemas_of_one_database_are_two_stores(server, make_pairs):
    name = server.make_database()
    with server.session(name) as session:
        session.execute("CREATE SCHEMA one")
        session.execute("CREATE SCHEMA two")
    one, two = (Ratings(f"{server.url(name)}&options=-csearch_path%3D{schema}") for schema in ("one", "two"))
    with one, two:
        one.add_pairs(make_pairs(3))
        assert (one.batches(), two.batches()) == ({"default": 3}, {})
        assert one.place != two.place
    with pytest.raises(RatingError, match="search_path does not exist"):
        Ratings(f"{server.url(name)}&options=-csearch_path%3Dthree")
    server.drop_database(name)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE cookies (a int)", r"another program \('cookies' in it\)"),
        ("CREATE TABLE alembic_version (version_num text)", r"another program \('alembic_version' in it\)"),
    ],
)
def test_a_database_of_another_program_is_refused(server, statement, words):
    name = server.make_database()
    with server.session(name) as session:
        session.execute(statement)
    with pytest.raises(RatingError, match=words):
        Ratings(server.url(name))
    server.drop_database(name)


def test_a_database_that_would_lose_characters_is_refused(server):
    with server.session() as session:
        session.execute("CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
    with pytest.raises(RatingError, match="in LATIN1, which loses characters"):
        Ratings(server.url("latin"))
    server.drop_database("latin")


def test_without_psycopg_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RatingError, match=r"pip install 'ftlab\[postgres\]'"):
        Ratings("postgresql://ann:geheim@localhost/x")


def test_its_backup_is_made_by_its_own_tools(postgres, tmp_path):
    with pytest.raises(RatingError, match=r"pg_dump --format=custom --file=.*kind='raw'"):
        postgres.backup(tmp_path / "x.dump")
    with pytest.raises(RatingError, match="on a server, not in a file"):
        _ = postgres.path


def test_the_migrations_make_the_same_tables_as_on_sqlite(postgres):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from ftlab.ratings import schema

    with postgres.database.writing() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        columns = connection.exec_driver_sql("SELECT * FROM current_rating").keys()
    assert list(columns) == [column.name for column in schema.current_rating.columns]
