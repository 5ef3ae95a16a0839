"""A small world for the tests of the store: pairs, a store on disk, events as a browser sends them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ftlab.bench.postgres import Server
from ftlab.ratings import Ratings, Task


def pairs(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": f"Question {n}?"}],
            "responses": [
                {"model": "wren", "text": f"a base answer, number {n}", "generation": {"seed": n}},
                {
                    "model": "run:tuned",
                    "text": f"a tuned answer, number {n}, longer",
                    "generation": {"seed": n},
                },
            ],
        }
        for n in range(start, start + count)
    ]


def event(task: Task | str, kind: str = "rate", **more: Any) -> dict[str, Any]:
    if isinstance(task, str):
        made: dict[str, Any] = {"event_id": uuid4().hex, "assignment_id": task, "kind": kind}
    else:
        made = {
            "event_id": uuid4().hex,
            "assignment_id": task.assignment_id,
            "kind": kind,
            "prev_event_id": task.prev_event_id,
        }
    if kind in ("rate", "revise"):
        made |= {"choice": "left", "strength": 2}
    return made | more


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as it was just made; copying it is quicker than making one for each test."""
    with Ratings(tmp_path_factory.mktemp("empty") / "ratings.db") as ratings:
        return ratings.path


_ON_BOTH = ("test_rating_store", "test_rating_queue")
_FILE_ALONE = {  # tests of these modules that look into the file, or use what SQLite alone has
    "test_the_settings_are_those_that_lose_nothing",
    "test_the_same_task_comes_until_it_is_answered_and_none_at_the_end",
    "test_what_was_stored_cannot_be_changed_by_sql",
    "test_reading_cannot_turn_into_writing",
    "test_a_locked_store_says_so_instead_of_losing_the_click",
    "test_a05_raters_who_come_at_once_never_exceed_the_overlap",
    "test_the_next_task_costs_the_same_however_many_there_are",
    "test_what_one_rater_skipped_again_and_again_is_not_looked_at_each_time",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a store does it does on both databases."""
    if (
        metafunc.module.__name__ in _ON_BOTH
        and "store" in metafunc.fixturenames
        and metafunc.function.__name__ not in _FILE_ALONE
    ):
        metafunc.parametrize("store", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> Iterator[Ratings]:
    if getattr(request, "param", "sqlite") == "postgres":
        yield request.getfixturevalue("postgres")
        return
    shutil.copy(empty_store, tmp_path / "ratings.db")
    with Ratings(tmp_path / "ratings.db") as ratings:
        yield ratings


@pytest.fixture
def fresh(tmp_path: Path, empty_store: Path) -> Callable[[str], Ratings]:
    """Makes another empty store on SQLite, by its file's name."""

    def make(name: str) -> Ratings:
        shutil.copy(empty_store, tmp_path / name)
        return Ratings(tmp_path / name)

    return make


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, started for the tests that ask for one and stopped after the last."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def empty_database(server: Server) -> str:
    """A database with an empty store; the template of each test's own."""
    name = server.make_database()
    Ratings(server.url(name)).close()
    return name


@pytest.fixture
def postgres(server: Server, empty_database: str) -> Iterator[Ratings]:
    """An empty store in a PostgreSQL database of its own."""
    name = server.make_database(empty_database)
    with Ratings(server.url(name)) as ratings:
        yield ratings
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Ratings:
    """An empty store on SQLite and, in a second test, on PostgreSQL."""
    ratings: Ratings = request.getfixturevalue("store" if request.param == "sqlite" else "postgres")
    return ratings


@pytest.fixture
def make_pairs() -> Callable[..., list[dict[str, Any]]]:
    return pairs


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event
