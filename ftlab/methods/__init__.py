"""Methods: one file each, with its configuration; and the training that carries out any of them."""

from pathlib import Path


def train(folder: Path) -> None:
    """Carries out the run in `folder` (see `ftlab.run`) in this process; raises what made it fail."""
    # imported here: configurations are read where torch is not wanted
    from ftlab.methods.training import train as carry_out

    carry_out(Path(folder))


__all__ = ["train"]
