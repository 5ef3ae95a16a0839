"""A process that has the heavy libraries loaded and becomes a trainer or an answerer by forking.

Loading torch, transformers, TRL and PEFT takes seconds and hundreds of megabytes. One process for each home does
it once, computes nothing, and forks: a launch starts at once and shares the libraries' memory. This module is the
client and loads nothing but the standard library.

    FTLAB_WARM=off        plain processes instead, and answers are made in the asking process (the only way
                          outside Linux, where a fork of these libraries is not safe)
    FTLAB_WARM_IDLE=600   seconds without work after which the warm process ends by itself

Without a network, set HF_HUB_OFFLINE=1 for models that are on the disk already; the variables of the process that
asks are those of the process that answers (another environment gets a warm process of its own).
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from ftlab.errors import RunError
from ftlab.process import Process
from ftlab.warm.place import Place, all_places, own_place

ONE_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"} | (
    # Elsewhere torch itself computes with OpenBLAS, and would do so with one core.
    {"OPENBLAS_NUM_THREADS": "1"} if platform.machine() == "x86_64" else {}
)
"""What keeps numpy and Arrow from starting threads when they are loaded: a fork copies none, only their locks."""

SERVER = (sys.executable, "-m", "ftlab.warm")
"""The command that serves the socket whose descriptor, path and idle seconds come behind it."""

HANDED_ON = ("answer", "check")
"""Requests that a child of the warm process reads and answers; they may be of any length."""

Replies = Generator[dict[str, Any], None, None]

IDLE_SECONDS = 600.0
READY_SECONDS = 180.0
"""Loading takes 6 s on two idle cores; a cold disk and a busy machine have been seen to take ten times that."""

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    # Threads that spin at a barrier while another program has the core: on two shared cores (load 10) products of
    # 256 x 256 on two threads came to 15 a second, with threads that sleep to 240.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # looking for a GPU must not open it before the fork
}
"""What trainers and answerers get where the user hasn't set it."""


def request(message: dict[str, Any], timeout: float = READY_SECONDS) -> Replies:
    """Sends one request and gives its replies; the last is {"end": true} or {"error": text, "kind": class name}.

    {"do": "train", "dir": PATH} gives {"pid": N} once the trainer is recorded in the run's folder;
    {"do": "answer", ...} gives what `ftlab.models.serve` sends, {"do": "check", ...} what `ftlab.methods.inspect`
    does. Closing the iterator cancels the request.
    `timeout` is in seconds and counts until the warm process is ready, not until the work is done.
    Raises RunError where there is no process to be had, or where it dies before the last reply.
    """
    _require_libraries()
    if is_on():
        return _ask(message, timeout)
    from ftlab.warm import plain

    return plain.request(message)


def warm(idle_seconds: float | None = None) -> None:
    """Has a warm process started, and returns without waiting for it. Does nothing where there is one."""
    _require_libraries()
    if is_on():
        with contextlib.closing(_connect(own_place(), _idle(idle_seconds))[0]):
            pass


def running() -> Process | None:
    """The warm process that a request would reach; None where it would have to be started. Waits while it loads."""
    return _process(_tell(own_place(), "look"))


def stop() -> None:
    """Ends this home's warm processes and returns when they are gone.

    Running trainers are not touched; their warm process serves nobody any more and ends behind the last of them.
    """
    for where in all_places():
        told = _tell(where, "stop")
        process = _process(told)
        while process and process.alive and not told["trainers"]:
            time.sleep(0.01)


def _tell(where: Place, order: str) -> dict[str, Any]:
    """What a warm process says of itself; empty where there is none."""
    told: dict[str, Any] = {}
    try:
        with contextlib.closing(_talk(_dial(where), {"do": order}, where, READY_SECONDS)) as replies:
            for reply in replies:
                told |= reply
    except (FileNotFoundError, ConnectionRefusedError, _NotReadyError):
        return {}
    return told


def _process(told: dict[str, Any]) -> Process | None:
    return Process.from_dict(told.get("process"))


def is_on() -> bool:
    """Whether there is a warm process to be used here: on Linux, unless FTLAB_WARM=off."""
    choice = os.environ.get("FTLAB_WARM", "on").strip().lower()
    if choice not in {"on", "off"}:
        raise RunError(f"FTLAB_WARM is {choice!r}; it may be 'on' or 'off'")
    return choice == "on" and sys.platform == "linux"


def environment() -> dict[str, str]:
    """The variables of the calling process, with ours where the user has set none."""
    return ENVIRONMENT | dict(os.environ)


def _require_libraries() -> None:
    missing = [
        name for name in ("torch", "transformers", "trl", "peft") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise RunError(
            f"{', '.join(missing)} not installed in {sys.prefix}; training and answering need "
            "`pip install 'ftlab[train]'`"
        )


def _idle(seconds: float | None) -> float:
    if seconds is not None:
        return seconds
    text = os.environ.get("FTLAB_WARM_IDLE", "")
    try:
        return float(text) if text else IDLE_SECONDS
    except ValueError:
        raise RunError(f"FTLAB_WARM_IDLE is {text!r}; it is a number of seconds") from None


def _ask(message: dict[str, Any], timeout: float) -> Replies:
    where = own_place()
    connection, is_new = _connect(where, _idle(None))
    try:
        yield from _talk(connection, message, where, timeout)
    except _NotReadyError as error:
        if is_new:
            raise RunError(str(error)) from None
        # It ended by itself between our connecting and its looking: one that we start now has no such excuse.
        connection, _ = _connect(where, _idle(None))
        try:
            yield from _talk(connection, message, where, timeout)
        except _NotReadyError as again:
            raise RunError(str(again)) from None


class _NotReadyError(Exception):
    """The warm process was gone before it had taken the request."""


def _talk(connection: socket.socket, message: dict[str, Any], where: Place, timeout: float) -> Replies:
    """Sends, then gives every reply up to the last. Closes the connection in every case."""
    with connection, connection.makefile("rb") as lines:
        connection.settimeout(timeout)
        try:
            connection.sendall(_encode(message))
            ready = lines.readline()
        except TimeoutError:
            raise RunError(
                f"the warm process was not ready after {timeout:g} s; its log, {where.log}, ends:\n"
                f"{where.log_tail() or '(empty)'}\nFTLAB_WARM=off does without it"
            ) from None
        except (BrokenPipeError, ConnectionResetError):
            ready = b""
        if not ready:
            raise _NotReadyError(
                f"the warm process ended before it was ready; its log, {where.log}, ends:\n"
                f"{where.log_tail() or '(empty)'}\nFTLAB_WARM=off does without it"
            )
        connection.settimeout(None)
        while True:
            try:
                line = lines.readline()
            except ConnectionResetError:
                line = b""
            if not line.endswith(b"\n"):
                raise RunError(
                    "the process that was answering has ended (killed, or out of memory?); "
                    f"ask again to have a new one; its log, {where.log}, ends:\n{where.log_tail() or '(empty)'}"
                )
            reply = json.loads(line)
            yield reply
            if "end" in reply or "error" in reply:
                return


def _encode(message: dict[str, Any]) -> bytes:
    """A short line that the warm process reads, then, for those of its children that answer, the line they read."""
    line = json.dumps(message).encode("ascii") + b"\n"
    if message.get("do") not in HANDED_ON:
        return line
    return json.dumps({"do": message["do"]}).encode("ascii") + b"\n" + line


def _dial(where: Place) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(os.fspath(where.socket))
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(where: Place, idle_seconds: float) -> tuple[socket.socket, bool]:
    """A connection to the warm process, and whether it was started for it.

    One that is still loading takes connections already, so nobody waits here.
    """
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return _dial(where), False
    try:
        with where.lock.open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return _dial(where), False  # another kernel was faster
            _start(where, idle_seconds)
            return _dial(where), True
    except OSError as error:
        raise RunError(f"{where.folder}: no warm process can be started: {error}") from None


def _start(where: Place, idle_seconds: float) -> None:
    """Makes the socket and hands it to a new process, so that it can be connected to from this moment on."""
    where.socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(where.socket))
        where.socket.chmod(0o600)
        listener.listen(64)
        arguments = [str(listener.fileno()), os.fspath(where.socket), repr(idle_seconds)]
        with _log(where.log) as log:
            process = subprocess.Popen(
                [*SERVER, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment() | ONE_THREAD | {"PYTHONPATH": _import_path()},
                pass_fds=[listener.fileno()],
                start_new_session=True,  # a kernel's interrupt goes to its whole process group
            )
    # Reaped where this process outlives it; it is nobody's business when.
    threading.Thread(target=process.wait, name="ftlab-warm-reaper", daemon=True).start()


def _log(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb")


def _import_path() -> str:
    """The folder that this package came from first: a checkout that isn't installed is found as well."""
    own = str(Path(__file__).parents[2])
    return os.pathsep.join(
        dict.fromkeys([own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    )
