"""A warm process without the heavy libraries: the real server with a small trainer and a small answerer."""

import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType

import ftlab
from ftlab.warm import server

PACKAGE = Path(ftlab.__file__).parent


def train(folder):
    sys.argv = ["actor.py", str(folder)]
    runpy.run_path(str(Path(__file__).with_name("actor.py")))


def inspect(message, send):
    send({"pid": os.getpid(), "parent": os.getppid(), "size": len(message.get("text", ""))})
    match message.get("act"):
        case "die":
            os._exit(1)
        case "hold":
            signal.pause()


def serve(message, send, cancelled):
    send({"pid": os.getpid()})
    match message.get("act"):
        case "fail":
            raise LookupError("no such model")
        case "die":
            os._exit(1)
        case "hold":
            cancelled.wait()
            Path(message["mark"]).write_text("cancelled")
        case "echo":
            send({"echo": message["text"]})


for name, content in (
    ("ftlab.methods", {"train": train, "inspect": inspect}),
    ("ftlab.models", {"serve": serve}),
):
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content, __path__=[str(PACKAGE / name.removeprefix("ftlab."))])

server.LOOK_SECONDS = 0.05  # seconds are long in a test
print("bare", flush=True)
server.Server(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), float(sys.argv[3])).run()
