"""Rebuild the family from nothing: `python -m ftlab.wren [--only NAME] [--out DIR] [--tokens N]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ftlab.errors import FtlabError
from ftlab.home import home
from ftlab.wren.build import build
from ftlab.wren.family import SIZES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ftlab.wren", description=__doc__)
    parser.add_argument("--only", choices=list(SIZES), help="build this one alone")
    parser.add_argument("--out", type=Path, help="where to; default is the folder wren in the user's folder")
    parser.add_argument("--tokens", type=int, help="pretraining tokens, instead of each size's own budget")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (100)")
    chosen = parser.parse_args(arguments)
    try:
        build(
            chosen.out or home() / "wren",
            only=chosen.only,
            tokens=chosen.tokens,
            say=lambda line: print(line, flush=True),
            save_every=chosen.save_every,
        )
    except FtlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
