"""Where runs lie, and what they may be called."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ftlab.config import NAME, RunConfig
from ftlab.home import home

CONFIG = "config.json"
DATA = "data.json"
ORIGIN = "origin.json"


def runs_folder() -> Path:
    """Where runs are kept: `runs` below the home."""
    folder = home() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def run_folders() -> list[Path]:
    """The folder of every run of this home, newest first; also the broken ones."""
    folders = [path for path in runs_folder().iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=born, reverse=True)


def born(folder: Path) -> tuple[float, str]:
    """When the run was created, seconds since 1970; then its name, for those of one moment."""
    config = folder / CONFIG  # never written again, so its time is the run's
    return (config if config.is_file() else folder).stat().st_mtime, folder.name


def names(config: RunConfig) -> Iterator[str]:
    """The names to try for a new run: the one that was given, or those made from method and model."""
    if config.name:
        yield config.name
        return
    yield from numbered(config.title)


def numbered(name: str) -> Iterator[str]:
    """NAME, NAME-2, NAME-3…"""
    yield name
    for number in itertools.count(2):
        yield f"{name[:73]}-{number}"


def put(source: Path, target: Path) -> None:
    """Moves a draft to its name. Raises FileExistsError where the target is there, also as an empty folder."""
    target.mkdir(mode=0o700)  # claims the name; a rename alone would not tell an empty folder of another run
    source.rename(target)


def data_hashes(config: RunConfig) -> dict[str, str]:
    """sha256 of each data file that can be read; what cannot is the trainer's to tell."""
    hashes = {}
    for source in (config.data.train, config.data.eval):
        if source is not None and not source.startswith("wren:") and Path(source).is_file():
            with Path(source).open("rb") as file:
                hashes[source] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def dependants(name: str) -> list[str]:
    """What names "run:NAME" or a checkpoint of it as a model: other runs, and prompts ("prompt:NAME")."""
    inside = json.dumps(str(runs_folder() / name) + "/")[1:-1]
    mentions = re.compile(rf"run:{re.escape(name)}(?![a-z0-9._-])|{re.escape(inside)}")
    found = [
        folder.name for folder in run_folders() if folder.name != name and _says(folder / CONFIG, mentions)
    ]
    prompts = sorted((home() / "prompts").glob("*.json"))
    return found + [f"prompt:{path.stem}" for path in prompts if _says(path, mentions)]


def _says(path: Path, pattern: re.Pattern[str]) -> bool:
    try:
        return pattern.search(path.read_text("utf-8", "replace")) is not None
    except FileNotFoundError:
        return False
