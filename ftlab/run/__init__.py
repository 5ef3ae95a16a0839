"""A run: a folder, and the process that fills it.

    NAME/config.json      what was asked for
         data.json        hashes of the files that it was to learn from, as they were then
         origin.json      of which run it is a clone, where it is one
         events.jsonl     what happened, a line each
         log.txt          what trainer and libraries printed
         process.json     which process trains, written by its parent before it begins
         exit.json        how that process ended, written by its parent
         stop             there: the trainer finishes its step, saves and ends
         checkpoints/     enough to go on from
         best/            weights of the best evaluation, where early stopping keeps them
         model/           the result, manifest.json last

Everything is read from the folder, so that any process on the machine sees the same run; opening one again in a
new kernel is no different from having started it. Beside the runs lies `.line/`, which says whose turn is next.

run.py        the folder, and what can be done with it
attempt.py    how its latest process stands, and why it ended
cloning.py    another run's configuration made from this one's
following.py  its events, carried to views
launching.py  created and started in one go
line.py       runs that wait for their turn, and the process that starts them
shelf.py      where runs lie and what they may be called
"""

from ftlab.run.attempt import ENDS, Status
from ftlab.run.cloning import Origin
from ftlab.run.following import Following, View
from ftlab.run.launching import launch
from ftlab.run.line import queued, slots
from ftlab.run.run import Run, runs
from ftlab.run.shelf import runs_folder
from ftlab.warm.keeper import EXIT, LOG, PROCESS

__all__ = [
    "ENDS",
    "EXIT",
    "LOG",
    "PROCESS",
    "Following",
    "Origin",
    "Run",
    "Status",
    "View",
    "launch",
    "queued",
    "runs",
    "runs_folder",
    "slots",
]
