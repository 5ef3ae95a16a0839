"""Bench `rate_kills`: kernels and writers killed while they store, a client that sends again, nothing lost.

A client holds an outbox, as the browser does: it sends an event until there is a receipt. A kernel, forked
from a warm parent, stores it, and is killed by SIGKILL: at a named crash point (before the insert, before the
commit, after the commit and before the receipt), or at any moment, by the client. A writer of its own stores
at the same time into the same file, with a client of its own, and is killed the same way.
"""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ftlab.ratings import Ratings

KILLS = 200
POINTS = ("before_insert", "before_commit", "after_commit", "any moment")
_BATCH = "kills"
_FORK = multiprocessing.get_context("fork")


def measure() -> dict[str, Any]:
    """kills, events, lost, doubled and half (an event that is not as it was sent, or not in the numbers)."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ftlab-bench-") as name:
        path = Path(name) / "ratings.db"
        _fill(path)
        pipes = [_begin(path, rater, seed) for seed, rater in enumerate(("kernel", "writer"))]
        outcomes = [pipe.recv() for pipe in pipes]
        figures = _count(path, outcomes)
    kills = sum(outcome.kills for outcome in outcomes)
    return {"kills": kills, **figures, "seconds": round(time.perf_counter() - started, 1)}


@dataclass
class _Outcome:
    """What a client saw: how many kernels were killed over it, and its events with their receipts."""

    kills: int = 0
    resent: int = 0
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[str, tuple[int, str]] = field(default_factory=dict)


def _begin(path: Path, rater: str, seed: int) -> Connection:
    here, there = _FORK.Pipe()
    _FORK.Process(target=_live, args=(path, rater, seed, there)).start()
    there.close()
    return here


def _live(path: Path, rater: str, seed: int, pipe: Connection) -> None:
    client = _Client(path, rater, random.Random(seed))
    while client.outcome.kills < KILLS // 2:
        client.step()
    client.finish()
    pipe.send(client.outcome)


def _fill(path: Path) -> None:
    rows = [
        {
            "prompt": f"Question {n}: where does Tom live?",
            "responses": [{"model": "a", "text": f"In a cottage. {n}"}, {"model": "b", "text": f"dogs {n}"}],
        }
        for n in range(4 * KILLS)
    ]
    with Ratings(path) as store:
        store.add_pairs(rows, batch=_BATCH, seed="kills")


class _Client:
    """A rater's browser: an outbox, a kernel to talk to, and the bad luck of having it killed."""

    def __init__(self, path: Path, rater: str, dice: random.Random) -> None:
        self.outcome = _Outcome()
        self._path, self._rater, self._dice = path, rater, dice
        self._outbox: deque[dict[str, Any]] = deque()
        self._process: Any = None
        self._pipe: Any = None

    def step(self) -> None:
        """One life of a kernel: it stores a few events and is killed over the last of them."""
        at = POINTS[self.outcome.kills % len(POINTS)]
        self._start(at, self._dice.randrange(3))
        try:
            while self._send(kill=at == "any moment"):
                pass
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.outcome.resent += bool(self._outbox)  # it stays in the outbox and is sent again
        self._process.join()
        self._pipe.close()
        if self._process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the kernel ended with {self._process.exitcode}")
        self.outcome.kills += 1

    def finish(self) -> None:
        """Sends what is left to a kernel that lives."""
        self._start("never", 0)
        while self._outbox:
            self._send(kill=False)
        self._pipe.send(None)
        self._process.join()

    def _start(self, at: str, after: int) -> None:
        self._pipe, there = _FORK.Pipe()
        self._process = _FORK.Process(
            target=_kernel, args=(self._path, self._rater, there, at, after), daemon=True
        )
        self._process.start()
        there.close()

    def _send(self, *, kill: bool) -> bool:
        if not self._outbox:
            self._pipe.send("next")
            task = self._pipe.recv()
            event = {
                "event_id": f"{self._rater}-{len(self.outcome.sent):06}",
                "assignment_id": task[0],
                "prev_event_id": task[1],
                "kind": "rate",
                "choice": self._dice.choice(("left", "right")),
                "comment": f"remark {len(self.outcome.sent)}",
            }
            self._outbox.append(event)
            self.outcome.sent[event["event_id"]] = event
        self._pipe.send(self._outbox[0])
        if kill and self._dice.random() < 0.4:
            time.sleep(self._dice.random() * 0.02)  # somewhere between the message and the receipt
            self._process.kill()
        receipt = self._pipe.recv()
        self.outcome.receipts[receipt[0]] = receipt[1:]
        self._outbox.popleft()
        return True


def _kernel(path: Path, rater: str, pipe: Connection, at: str, after: int) -> None:
    store, handled = Ratings(path), 0
    while (message := pipe.recv()) is not None:
        if message == "next":
            task = store.next(rater, _BATCH)
            if task is None:
                raise RuntimeError("the batch is too small for so many kills")
            pipe.send((task.assignment_id, task.prev_event_id))
            continue
        if handled == after and at in POINTS:
            os.environ["FTLAB_CRASH_AT"] = at
        receipt = store.record(message)
        handled += 1
        pipe.send((receipt.event_id, receipt.seq, receipt.row_hash))


def _count(path: Path, outcomes: list[_Outcome]) -> dict[str, int]:
    with Ratings(path) as store:
        sound = store.verify()
        with store.database.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT event_id, assignment_id, choice, comment, seq, row_hash FROM rating_event"
            ).mappings()
            stored = {row["event_id"]: dict(row) for row in rows}
            standing = connection.exec_driver_sql("SELECT count(*) FROM standing").scalar_one()
        newest = store.last_seq()
    sent = {name: event for outcome in outcomes for name, event in outcome.sent.items()}
    receipts = {name: said for outcome in outcomes for name, said in outcome.receipts.items()}
    lost = sum(
        name not in stored or (stored[name]["seq"], stored[name]["row_hash"]) != said
        for name, said in receipts.items()
    )
    lost += sum(name not in receipts for name in sent)
    twice = Counter(row["assignment_id"] for row in stored.values())
    half = sum(
        any(stored[name][key] != event[key] for key in ("assignment_id", "choice", "comment"))
        for name, event in sent.items()
        if name in stored
    )
    return {
        "events": len(stored),
        "resent": sum(outcome.resent for outcome in outcomes),
        "lost": lost,
        "doubled": sum(count - 1 for count in twice.values()) + newest - len(stored),
        "half": half + len(sound.problems) + abs(standing - len(stored)),
    }
