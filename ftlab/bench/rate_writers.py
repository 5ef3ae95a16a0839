"""Bench `rate_writers`: eight processes at one store, each task to be rated once; a crash of the server.

Each process is a rater who takes the next task and rates it. On SQLite they share a file; on PostgreSQL the
server is restarted at once ("immediate", as in a crash) when half of the ratings are in.
"""

import multiprocessing
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

from ftlab.bench.postgres import Server
from ftlab.ratings import Ratings

WRITERS = 8
RATINGS = 1000
_BATCH = "writers"
_FORK = multiprocessing.get_context("fork")


def measure(ratings: int = RATINGS) -> dict[str, Any]:
    """For both stores together: lost, doubled, over (ratings above a task's one); the slowest rating."""
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as name:
        sqlite = on_sqlite(Path(name) / "ratings.db", ratings)
    with Server() as server:
        postgres = on_postgres(server, ratings)
    both = (sqlite, postgres)
    return {
        **{figure: sum(one[figure] for one in both) for figure in ("lost", "doubled", "over")},
        "slowest_seconds": max(one["slowest_seconds"] for one in both),
        "sqlite_seconds": sqlite["seconds"],
        "postgres_seconds": postgres["seconds"],
        "restarts": postgres["restarts"],
    }


def on_sqlite(path: Path, ratings: int) -> dict[str, Any]:
    """Eight processes, one file."""
    return _race(str(path), ratings, None)


def on_postgres(server: Server, ratings: int) -> dict[str, Any]:
    """Eight processes, one database, and a crash in the middle."""
    return _race(server.url(server.make_database()), ratings, server)


def _race(where: str, ratings: int, server: Server | None) -> dict[str, Any]:
    _fill(where, WRITERS * ratings)
    runs = []
    started = time.perf_counter()
    for number in range(WRITERS):
        here, there = _FORK.Pipe()
        process = _FORK.Process(target=_rate, args=(where, f"rater-{number}", ratings, there))
        process.start()
        there.close()
        runs.append((process, here))
    restarts = _crash_half_way(server, where, WRITERS * ratings) if server else 0
    outcomes = [here.recv() for _, here in runs]
    for process, _ in runs:
        process.join()
    seconds = round(time.perf_counter() - started, 1)
    receipts = {name: receipt for outcome in outcomes for name, receipt in outcome[0].items()}
    slowest = max(outcome[1] for outcome in outcomes)
    return {
        **_count(where, receipts, WRITERS * ratings),
        "slowest_seconds": round(slowest, 2),
        "seconds": seconds,
        "restarts": restarts,
    }


def _fill(where: str, count: int) -> None:
    rows = [
        {
            "prompt": f"Question {n}?",
            "responses": [{"model": "a", "text": f"{n}"}, {"model": "b", "text": f"-{n}"}],
        }
        for n in range(count)
    ]
    with Ratings(where) as store:
        store.add(rows, _BATCH, seed="writers", settings={"overlap": 1, "repeats": 0, "gold": 0})


def _rate(where: str, rater: str, ratings: int, pipe: Connection) -> None:
    store, receipts, slowest = Ratings(where), {}, 0.0
    for _ in range(ratings):
        started = time.perf_counter()
        task = store.next(rater, _BATCH)
        if task is None:
            break
        event = {
            "event_id": uuid4().hex,
            "assignment_id": task.assignment_id,
            "kind": "rate",
            "choice": "left",
        }
        receipt = store.record(event)
        receipts[receipt.event_id] = (receipt.seq, receipt.row_hash)
        slowest = max(slowest, time.perf_counter() - started)
    pipe.send((receipts, slowest))
    store.close()


def _crash_half_way(server: Server, where: str, wanted: int) -> int:
    with Ratings(where) as store:
        while store.last_seq() < wanted // 2:
            time.sleep(0.05)
    server.restart("immediate")
    return 1


def _count(where: str, receipts: dict[str, tuple[int, str]], wanted: int) -> dict[str, int]:
    with Ratings(where) as store:
        sound = store.verify()
        with store.database.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT e.event_id, e.seq, e.row_hash, a.task_id FROM rating_event e "
                "JOIN assignment a ON a.assignment_id = e.assignment_id"
            ).all()
    stored = {row.event_id: (row.seq, row.row_hash) for row in rows}
    opinions = Counter(row.task_id for row in rows)
    lost = sum(stored.get(name) != receipt for name, receipt in receipts.items())
    return {
        "lost": lost + wanted - len(receipts) + len(sound.problems),
        "doubled": len(rows) - len(receipts),
        "over": sum(count - 1 for count in opinions.values()),
    }
