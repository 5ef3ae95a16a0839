"""A small world for the tests of the store: pairs, a store on disk, events as a browser sends them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

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


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Iterator[Ratings]:
    shutil.copy(empty_store, tmp_path / "ratings.db")
    with Ratings(tmp_path / "ratings.db") as ratings:
        yield ratings


@pytest.fixture
def make_pairs() -> Callable[..., list[dict[str, Any]]]:
    return pairs


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event
