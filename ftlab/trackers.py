"""Boards of others to which a run's figures can go as well: which packages they need."""

import importlib.util
from collections.abc import Sequence

from ftlab.errors import ConfigError

PACKAGES = {
    "tensorboard": ("tensorboardX", "tensorboard"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
"""By tracker, any one of which is enough; the first is what we name to who has none."""


def package_of(tracker: str) -> str | None:
    """The package that is there for it; None where none is."""
    return next((name for name in PACKAGES[tracker] if importlib.util.find_spec(name) is not None), None)


def check(trackers: Sequence[str]) -> None:
    """Raises ConfigError, with the line that installs what is missing."""
    missing = [tracker for tracker in trackers if package_of(tracker) is None]
    if missing:
        packages = " ".join(PACKAGES[tracker][0] for tracker in missing)
        raise ConfigError(
            f"trackers: {', '.join(missing)} not installed; `pip install {packages}`, or leave it out"
        )
