"""A child that looks at one configuration, answers on its connection and ends."""

import json
import os
import select
import socket
import sys
import threading
import traceback
from typing import NoReturn

from ftlab.warm.answerer import serve
from ftlab.warm.trainer import leave_parent


def become_checker(connection: socket.socket) -> NoReturn:
    """Never returns into the parent's code. Ends at once when the client goes away: a probe may be long."""
    try:
        leave_parent()
        connection.setblocking(True)
        with connection.makefile("rb") as lines:
            message = json.loads(lines.readline())
        threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
        serve(message, connection, threading.Event())
    except BaseException:  # noqa: BLE001 - told in the warm process's log, and this process ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _end_with(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    poll.poll()
    os._exit(0)
