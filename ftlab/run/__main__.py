"""`python -m ftlab.run FD`: carries the waiting line, whose lock is held on the descriptor FD."""

import logging
import sys

from ftlab.run import line

if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    line.carry(int(sys.argv[1]))
