"""What a forked child does to become the trainer of one run."""

import contextlib
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from ftlab.warm.keeper import LOG

NOT_LET_GO = 125


def become_trainer(folder: Path, go: int) -> NoReturn:
    """Waits for a byte on the descriptor `go`, trains, and ends this process; never returns into the parent's code.

    The end of the descriptor without a byte means that the run could not be recorded: nothing is trained.
    """
    code = NOT_LET_GO
    try:
        leave_parent()
        if os.read(go, 1):
            os.close(go)
            code = _train(folder)
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs into the log, and this process ends
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def leave_parent() -> None:
    """A session of its own, no terminal, no signal handler of the parent, and first in line when memory runs out."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):  # a container may forbid it; then the system chooses by size alone
        Path("/proc/self/oom_score_adj").write_text("300", "ascii")


def _train(folder: Path) -> int:
    _redirect(folder / LOG)
    os.chdir(folder)
    # By name: which libraries training needs is no business of the process that starts it.
    train = import_module("ftlab.methods").train
    try:
        train(folder)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _redirect(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
