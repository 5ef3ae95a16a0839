"""The one long-lived child that keeps models loaded and answers the connections it is handed."""

import contextlib
import json
import os
import select
import socket
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from ftlab.errors import FtlabError
from ftlab.warm.trainer import leave_parent

DONE = b"."


def become_answerer(control: socket.socket) -> NoReturn:
    """Serves each connection that arrives over `control`, and ends this process when its other end closes.

    One DONE goes back for each connection that is finished with.
    """
    try:
        leave_parent()
        while True:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                break
            connection = socket.socket(fileno=descriptors[0])
            threading.Thread(target=_answer, args=(connection, control), daemon=True).start()
    except BaseException:  # noqa: BLE001 - told in the log, and this process ends
        traceback.print_exc()
    finally:
        os._exit(0)


def _answer(connection: socket.socket, control: socket.socket) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        # Last out: by then nobody waits any more, not even where the client went away without a word.
        stack.callback(control.sendall, DONE)
        stack.enter_context(connection)
        connection.setblocking(True)
        lines = stack.enter_context(connection.makefile("rb"))
        message = json.loads(lines.readline())
        cancelled = threading.Event()
        _watch(connection, cancelled, stack)
        serve(message, connection, cancelled)


class ClientGoneError(Exception):
    """Nobody listens to the replies any more."""


def serve(message: dict[str, Any], connection: socket.socket, cancelled: threading.Event) -> None:
    """Answers one message over one connection; what goes wrong is a reply too, with its class name as kind."""
    lock = threading.Lock()

    def send(reply: dict[str, Any]) -> None:
        line = json.dumps(reply, allow_nan=False).encode("ascii") + b"\n"
        try:
            with lock:
                connection.sendall(line)
        except OSError as error:
            cancelled.set()
            raise ClientGoneError from error

    with contextlib.suppress(ClientGoneError):
        send(answer(message, send, cancelled))


def answer(
    message: dict[str, Any], send: Callable[[dict[str, Any]], None], cancelled: threading.Event
) -> dict[str, Any]:
    """Has the models answer, or a configuration checked, through `send`; the last reply is for the caller to send.

    Raises only what `send` raises as ClientGoneError.
    """
    try:
        # By name: this module is loaded where the models' libraries are, and knows nothing of them.
        if message["do"] == "check":
            import_module("ftlab.methods").inspect(message, send)
        else:
            import_module("ftlab.models").serve(message, send, cancelled)
    except ClientGoneError:
        raise
    except Exception as error:  # noqa: BLE001 - every failure belongs to the one who asked
        if not isinstance(error, FtlabError):
            traceback.print_exc()
        return {"error": str(error) or repr(error), "kind": type(error).__name__}
    return {"end": True}


def _watch(connection: socket.socket, cancelled: threading.Event, stack: contextlib.ExitStack) -> None:
    """Sets `cancelled` when the client closes its end. The thread ends with the stack."""
    waker, bell = socket.socketpair()

    def look() -> None:
        with waker:
            poll = select.poll()
            poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
            poll.register(waker, select.POLLIN)
            ready = [descriptor for descriptor, _ in poll.poll()]
            if waker.fileno() not in ready:
                cancelled.set()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    stack.callback(watcher.join)
    stack.callback(bell.close)
