"""The user's folder: where runs, converted models and ratings are kept."""

import os
from pathlib import Path


def home() -> Path:
    """`$FTLAB_HOME`, else `~/.ftlab`; made on first use, readable by its owner only."""
    folder = Path(os.environ.get("FTLAB_HOME") or "~/.ftlab").expanduser().resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
