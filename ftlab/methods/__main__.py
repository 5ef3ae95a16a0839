"""`python -m ftlab.methods DIR`: trains the run in DIR in the foreground, as a cluster or torchrun wants it."""

import sys
from pathlib import Path

from ftlab.errors import FtlabError
from ftlab.methods import train


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "config.json").is_file():
        print("usage: python -m ftlab.methods DIR, where DIR holds a run's config.json", file=sys.stderr)
        return 2
    try:
        train(Path(sys.argv[1]))
    except FtlabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
