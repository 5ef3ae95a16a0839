"""The warm process itself: one thread, nothing computed, a fork for each request."""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ftlab.process import Process
from ftlab.warm.answerer import DONE, become_answerer
from ftlab.warm.checker import become_checker
from ftlab.warm.keeper import record_end, record_start
from ftlab.warm.trainer import become_trainer

HEADER_LIMIT = 65_536
"""Bytes in a request's first line; what is longer was not sent by our client."""

LOOK_SECONDS = 5.0
"""How often the process asks whether its socket is still there."""


class Server:
    """Takes requests from `listener` until it is told to stop, or was idle for long enough."""

    def __init__(self, listener: socket.socket, address: Path, idle_seconds: float) -> None:
        self._listener: socket.socket | None = listener
        self._address = address
        self._inode = address.stat().st_ino
        self._idle_seconds = idle_seconds
        self._idle_since = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._headers: dict[socket.socket, bytearray] = {}
        self._trainers: dict[int, tuple[Path, Process]] = {}
        self._checkers: set[int] = set()
        self._control: socket.socket | None = None
        self._answering = 0
        self._bell, self._ringer = socket.socketpair()

    def run(self) -> None:
        """Returns when there is nothing left to do. Trainers that are running then go on without a parent."""
        assert self._listener is not None
        for end in (self._listener, self._bell, self._ringer):
            end.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._bell, selectors.EVENT_READ, self._reap)
        signal.set_wakeup_fd(self._ringer.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._close())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while self._listener or self._trainers:
            for key, _ in self._selector.select(self._patience()):
                key.data(key.fileobj)
            if self._is_busy():
                self._idle_since = time.monotonic()
            if self._listener and (self._is_idle_for_long() or not self._is_at_home()):
                self._close()
        self._end_answerer()

    def _patience(self) -> float:
        left = self._idle_since + self._idle_seconds - time.monotonic()
        return max(0.0, min(LOOK_SECONDS, LOOK_SECONDS if self._is_busy() else left))

    def _is_busy(self) -> bool:
        return bool(self._trainers or self._checkers or self._answering or self._headers)

    def _is_idle_for_long(self) -> bool:
        return not self._is_busy() and time.monotonic() - self._idle_since >= self._idle_seconds

    def _is_at_home(self) -> bool:
        """Whether the socket is still the one that clients find: the home may be gone, or made anew."""
        try:
            return self._address.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        """Takes no further request. A client caught in between finds the connection closed, and starts another."""
        if self._listener is None:
            return
        if self._is_at_home():
            with contextlib.suppress(FileNotFoundError):
                self._address.unlink()
        self._selector.unregister(self._listener)
        self._listener.close()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        self._headers[connection] = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, self._receive)

    def _receive(self, connection: socket.socket) -> None:
        """Takes the first line and not a byte more: what follows it is for the answerer."""
        header = self._headers[connection]
        try:
            seen = connection.recv(HEADER_LIMIT, socket.MSG_PEEK)
            line, newline, _ = seen.partition(b"\n")
            header += connection.recv(len(line) + len(newline)) if seen else b""
        except BlockingIOError:
            return
        except ConnectionResetError:
            seen, newline = b"", b""
        if newline or not seen or len(header) > HEADER_LIMIT:
            self._selector.unregister(connection)
            del self._headers[connection]
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if newline:
                    self._serve(connection, bytes(header))

    def _serve(self, connection: socket.socket, header: bytes) -> None:
        connection.settimeout(5)  # a reply is a few bytes; nobody who stops reading stops the others
        _send(connection, {"ready": os.getpid()})
        try:
            message = json.loads(header)
            if message["do"] == "answer":
                self._hand_over(connection)
                return
            if message["do"] == "check":
                self._check(connection)
                return
            reply = (
                self._train(Path(message["dir"]), connection) if message["do"] == "train" else self._about()
            )
            if message["do"] == "stop":
                self._close()
        except Exception as error:  # noqa: BLE001 - the one who asked is told, the others are served on
            traceback.print_exc()
            _send(connection, {"error": str(error) or repr(error), "kind": type(error).__name__})
            return
        _send(connection, reply)
        _send(connection, {"end": True})

    def _about(self) -> dict[str, Any]:
        own = Process.of(os.getpid())
        return {"process": own.to_dict() if own else None, "trainers": len(self._trainers)}

    def _train(self, folder: Path, connection: socket.socket) -> dict[str, Any]:
        waiting, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            self._let_go(connection)
            become_trainer(folder, waiting)
        os.close(waiting)
        try:
            # The child trains only once it can be found again; where that fails it sees the pipe's end.
            self._trainers[pid] = (folder, record_start(folder, pid))
            os.write(go, b"!")
        finally:
            os.close(go)
        return {"pid": pid}

    def _check(self, connection: socket.socket) -> None:
        pid = os.fork()
        if pid == 0:
            self._let_go(None)
            become_checker(connection)
        self._checkers.add(pid)

    def _hand_over(self, connection: socket.socket) -> None:
        for is_last in (False, True):
            control = self._control or self._start_answerer(connection)
            try:
                socket.send_fds(control, [b"c"], [connection.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                self._end_answerer()  # it died a moment ago; a new one gets this connection
                if is_last:
                    raise
            else:
                self._answering += 1
                return

    def _start_answerer(self, connection: socket.socket) -> socket.socket:
        own, other = socket.socketpair()
        if os.fork() == 0:
            own.close()
            self._let_go(connection)
            become_answerer(other)
        other.close()
        self._control = own
        self._selector.register(own, selectors.EVENT_READ, self._count_answered)
        return own

    def _count_answered(self, control: socket.socket) -> None:
        try:
            done = control.recv(4096)
        except ConnectionResetError:
            done = b""
        if done:
            self._answering -= done.count(DONE)
        else:
            self._end_answerer()

    def _end_answerer(self) -> None:
        """Closes the line to it, which it ends on."""
        if self._control:
            self._selector.unregister(self._control)
            self._control.close()
        self._control, self._answering = None, 0

    def _let_go(self, connection: socket.socket | None) -> None:
        """In a child: closes what only the parent may hold, or nobody would ever see the parent's end of it close."""
        for end in (connection, self._listener, self._control, self._bell, self._ringer, *self._headers):
            if end:
                end.close()
        self._selector.close()

    def _reap(self, bell: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            bell.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                self._checkers.discard(pid)
                if pid in self._trainers:
                    _record(*self._trainers.pop(pid), status)


def _record(folder: Path, process: Process, status: int) -> None:
    try:
        record_end(folder, process, status)
    except FileNotFoundError:
        return  # the run was removed; nobody will ask how it ended
    except OSError as error:  # a full disk; the run's own events and log still tell
        told = f"{folder}: the end of process {process.pid} (status {status}) is not recorded: {error}\n"
        sys.stderr.write(told)


def _send(connection: socket.socket, reply: dict[str, Any]) -> None:
    connection.sendall(json.dumps(reply).encode("ascii") + b"\n")
