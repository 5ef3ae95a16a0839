"""The real carrier of the waiting line, with actor.py as the trainer of what it starts."""

import sys
from pathlib import Path

from ftlab.run import line
from ftlab.warm import plain

plain.TRAINER = (sys.executable, str(Path(__file__).with_name("actor.py")))
line.carry(int(sys.argv[1]))
