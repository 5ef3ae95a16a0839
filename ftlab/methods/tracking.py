"""A run's figures, written for the boards of others as well: TensorBoard, Trackio, Weights & Biases.

Thin writers of the run's own events, so that all boards show the same numbers under the names that TRL gives
them (train/loss, eval/loss). What goes wrong in one of them is told and costs the run nothing.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ftlab import trackers
from ftlab.config import RunConfig
from ftlab.events import Ended, Evaluated, Event, Measured
from ftlab.home import home

PROJECT = "ftlab"
Note = Callable[..., None]

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class Writer(Protocol):
    """One open board."""

    def write(self, values: dict[str, float], step: int) -> None: ...
    def close(self, status: str) -> None: ...


class Tracking:
    """The boards of one run; takes its events in order."""

    def __init__(self, config: RunConfig, folder: Path, resumed: int, note: Note) -> None:
        """`resumed`: the step that the run goes on from, 0 for its start. Raises ConfigError for a missing package."""
        trackers.check(config.trackers)
        self._note = note
        self._open: dict[str, Writer] = {}
        for name in config.trackers:
            try:
                self._open[name] = _WRITERS[name](config, folder, resumed)
            except Exception as error:  # noqa: BLE001 - of another's library, network or disk
                self._drop(name, error)

    def take(self, event: Event) -> None:
        """Writes one event to every board that is still open."""
        for name, writer in list(self._open.items()):
            try:
                _take(writer, event)
            except Exception as error:  # noqa: BLE001 - of another's library, network or disk
                self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        self._open.pop(name, None)
        self._note(
            f"{name} is not written to any more: {_harmless(f'{type(error).__name__}: {error}')}", "warning"
        )


def _take(writer: Writer, event: Event) -> None:
    if isinstance(event, Measured | Evaluated):
        group = "train" if isinstance(event, Measured) else "eval"
        values = {
            f"{group}/{name}": float("nan") if value is None else value
            for name, value in event.values.items()
        }
        writer.write(values, event.step)
    elif isinstance(event, Ended):
        writer.close(event.status)


class _TensorBoard:
    """Event files in the run's folder, below `tensorboard`."""

    def __init__(self, config: RunConfig, folder: Path, resumed: int) -> None:
        if trackers.package_of("tensorboard") == "tensorboardX":
            from tensorboardX import SummaryWriter
        else:
            from torch.utils.tensorboard import SummaryWriter
        # What an earlier attempt wrote behind the checkpoint is measured again.
        self._writer: Any = SummaryWriter(
            str(folder / "tensorboard"), purge_step=resumed + 1 if resumed else None, flush_secs=5
        )
        self._writer.add_text("config", f"```\n{config.to_yaml()}```", resumed)

    def write(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:  # noqa: ARG002 - a file has no status
        self._writer.close()


class _Trackio:
    """A project of Trackio's own folder; $TRACKIO_DIR, else `trackio` below the home, so that runs lie together."""

    def __init__(self, config: RunConfig, folder: Path, resumed: int) -> None:  # noqa: ARG002
        os.environ.setdefault("TRACKIO_DIR", str(home() / "trackio"))
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(project=project, name=folder.name, config=config.to_dict(), resume="allow")

    def write(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self, status: str) -> None:  # noqa: ARG002
        self._run.finish()


class _Wandb:
    """A run of W&B; its files go into the run's folder. Without a network (HF_HUB_OFFLINE) it stays there."""

    def __init__(self, config: RunConfig, folder: Path, resumed: int) -> None:  # noqa: ARG002
        import wandb

        born = (folder / "config.json").stat().st_mtime_ns  # never written again: the same for every attempt
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=hashlib.sha256(f"{folder}:{born}".encode()).hexdigest()[:16],
            resume="allow",
            dir=str(folder),
            config=config.to_dict(),
            mode=os.environ.get("WANDB_MODE") or ("offline" if _is_offline() else None),
            settings=wandb.Settings(console="off", save_code=False, disable_git=True, silent=True),
        )

    def write(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status in {"finished", "stopped"} else 1)


_WRITERS: dict[str, Callable[[RunConfig, Path, int], Writer]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
}


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _harmless(text: str) -> str:
    """The text without any key or token of the environment: it goes into a log that people hand on."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"${name}")
    return text
