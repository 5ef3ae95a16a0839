"""`python -m ftlab`: the same as the command `ftlab`."""

import sys

from ftlab.cli import main

sys.exit(main())
