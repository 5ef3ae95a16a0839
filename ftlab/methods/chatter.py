"""log.txt, kept to a size that can be read: what libraries print into it has no bound of its own."""

import os
from pathlib import Path

LIMIT = 16 << 20
KEPT = 1 << 20  # bytes that stay of the beginning, and of the end


def shorten(path: Path) -> bool:
    """Takes the middle out of a log beyond LIMIT bytes, in place; whoever appends to it goes on. True where it did."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False  # a run in the foreground prints to its terminal
    if size <= LIMIT:
        return False
    with path.open("r+b") as file:
        file.seek(size - KEPT)
        end = file.read()
        file.seek(KEPT)
        file.write(f"\n[{size - 2 * KEPT} bytes were taken out here]\n".encode() + end)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return True
