"""The same requests without a warm process: a trainer of its own for each run, answers in this very process."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ftlab.errors import RunError
from ftlab.warm import Replies, _import_path, environment
from ftlab.warm.answerer import ClientGoneError, answer
from ftlab.warm.keeper import LOG, record_end, record_start

TRAINER = (sys.executable, "-m", "ftlab.methods")
"""The command that trains the run whose folder comes behind it."""

CHECKER = (sys.executable, "-c", "from ftlab.warm import plain; plain.look()")
"""The command that looks at the configuration on its standard input."""


def request(message: dict[str, Any]) -> Replies:
    """As `ftlab.warm.request`. Answers load torch into the process that asks."""
    if message["do"] == "train":
        return _train(Path(message["dir"]))
    if message["do"] == "check":
        return _check(message)
    return _answer(message)


def _train(folder: Path) -> Replies:
    """Starts a keeper that outlives this process, and waits until it has recorded its trainer."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "ftlab.warm.plain", os.fspath(folder), *TRAINER],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment() | {"PYTHONPATH": _import_path()},
        start_new_session=True,
    )
    threading.Thread(target=keeper.wait, name="ftlab-keeper-reaper", daemon=True).start()
    assert keeper.stdout is not None
    with keeper.stdout as lines:
        said = lines.read().decode("utf-8", "replace")
    try:
        yield {"pid": json.loads(said)["pid"]}
    except ValueError:
        raise RunError(
            f"{folder}: no trainer could be started:\n{said.strip() or '(it said nothing)'}"
        ) from None
    yield {"end": True}


def keep(folder: Path, command: list[str]) -> None:
    """Starts the trainer of a run by `command`, says its number on standard output, and stays to record how it ended."""
    with (folder / LOG).open("ab") as log:
        trainer = subprocess.Popen(
            [*command, os.fspath(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        process = record_start(folder, trainer.pid)
    except OSError:
        trainer.kill()
        raise
    sys.stdout.write(json.dumps({"pid": trainer.pid}))
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # whoever started this waits for the end of its output
    os.dup2(nowhere, 2)
    record_end(folder, process, os.waitpid(trainer.pid, 0)[1])


def _check(message: dict[str, Any]) -> Replies:
    """In a process of its own, which may take the memory that it looks for, and is ended when nobody asks any more."""
    checker = subprocess.Popen(
        CHECKER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        env=environment() | {"PYTHONPATH": _import_path()},
        start_new_session=True,
    )
    assert checker.stdin is not None
    assert checker.stdout is not None
    try:
        with checker.stdin as asked:
            asked.write(json.dumps(message).encode("ascii"))
        for line in checker.stdout:
            reply = json.loads(line)
            yield reply
            if "end" in reply or "error" in reply:
                return
        raise RunError("the process that looked at the configuration has ended (killed, or out of memory?)")
    finally:
        checker.kill()
        checker.wait()
        checker.stdout.close()


def look() -> None:
    """What a CHECKER does: one request on standard input, its replies on what standard output was at the start."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # libraries may print; only replies are read
    message = json.loads(sys.stdin.buffer.read())

    def send(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply, allow_nan=False).encode("ascii") + b"\n")

    send(answer(message, send, threading.Event()))


def _answer(message: dict[str, Any]) -> Replies:
    replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    cancelled = threading.Event()

    def send(reply: dict[str, Any]) -> None:
        if cancelled.is_set():
            raise ClientGoneError
        replies.put(reply)

    def work() -> None:
        with contextlib.suppress(ClientGoneError):
            send(answer(message, send, cancelled))

    threading.Thread(target=work, name="ftlab-answer", daemon=True).start()
    try:
        while True:
            reply = replies.get()
            yield reply
            if "end" in reply or "error" in reply:
                return
    finally:
        cancelled.set()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2:])
