"""Methods: one file each, with its configuration; and the training that carries out any of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def train(folder: Path) -> None:
    """Carries out the run in `folder` (see `ftlab.run`) in this process; raises what made it fail."""
    # imported here: configurations are read where torch is not wanted
    from ftlab.methods.training import train as carry_out

    carry_out(Path(folder))


def inspect(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """What `ftlab.preflight` asks of a process of its own: findings and figures for one configuration."""
    from ftlab.methods.inspection import inspect as look

    look(message, send)


__all__ = ["inspect", "train"]
