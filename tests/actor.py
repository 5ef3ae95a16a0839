"""A small real trainer for tests of runs: does what config.json's trainer.act says, and writes real events."""

import os
import sys
import time
from pathlib import Path

from ftlab.config import RunConfig
from ftlab.events import Ended, Measured, Saved, Started, append

folder = Path(sys.argv[1])
events = folder / "events.jsonl"
act = RunConfig.from_json((folder / "config.json").read_bytes()).trainer
now = time.time


def hold(step):
    """What a trainer does between steps, until it is told to stop."""
    while not (folder / "stop").exists():
        time.sleep(0.005)
    append(events, Saved(now(), step, f"checkpoints/step-{step}", "checkpoint", "00"))
    append(events, Ended(now(), step, "stopped", "stop was asked for"))
    sys.exit(0)


print("the trainer begins", flush=True)
if act.get("before") == "hold":
    hold(0)
append(events, Started(now(), folder.name, os.getpid(), "cpu", {}, 10, 10, 4, 3, "abc"))
for step in range(1, act.get("steps", 3) + 1):
    append(events, Measured(now(), step, step / 3, {"loss": 1.0 / step}))
match act["act"]:
    case "finish":
        append(events, Ended(now(), step, "finished", ""))
    case "diverge":
        append(events, Ended(now(), step, "diverged", "the loss is NaN at step 3"))
    case "hold":
        hold(step)
    case "raise":
        raise ValueError("the seventh row is odd")
    case "vanish":
        os._exit(0)
    case "half":
        with events.open("ab") as file:
            file.write(b'{"type":"Measured","ti')
        print("half a line is there", flush=True)
        time.sleep(600)
