"""Folders that are whole or absent: written aside, hashed into a manifest, renamed into place."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
ASIDE = ".aside-"
STEP = "step-"
BLOCK = 1 << 20


def write_whole(target: Path, fill: Callable[[Path], None], facts: dict[str, Any]) -> str:
    """Lets `fill` write into a folder beside `target`, seals it and puts it in place; returns the manifest's sha256.

    A folder that is there already is replaced only once the new one is complete. Nothing is left behind
    where `fill` fails.
    """
    clean(target.parent)
    aside = target.with_name(f"{ASIDE}{target.name}")
    target.parent.mkdir(exist_ok=True)  # not what is above it: a run that was taken away is not made anew
    aside.mkdir()
    try:
        fill(aside)
        sha256 = _seal(aside, facts)
        old = target.with_name(f"{ASIDE}old-{target.name}")
        if target.exists():
            target.rename(old)
        aside.rename(target)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sha256


def clean(folder: Path) -> None:
    """Takes away what a killed process had written aside; a replaced folder that has no successor comes back."""
    if not folder.is_dir():
        return
    for old in folder.glob(f"{ASIDE}old-*"):
        target = folder / old.name.removeprefix(f"{ASIDE}old-")
        if not target.exists():
            old.rename(target)
    for aside in folder.glob(f"{ASIDE}*"):
        shutil.rmtree(aside)


def manifest(folder: Path) -> dict[str, Any]:
    """What is known of a sealed folder. Raises OSError or ValueError where there is no readable manifest."""
    facts = json.loads((folder / MANIFEST).read_text("utf-8"))
    if not isinstance(facts, dict) or not isinstance(facts.get("files"), dict):
        raise ValueError(f"{folder / MANIFEST} lists no files")  # noqa: TRY004 - told like bad JSON
    return facts


def fault(folder: Path) -> str | None:
    """Why a sealed folder cannot be used, or None where every file in it is as it was written."""
    try:
        files = manifest(folder)["files"]
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != expected:
            return f"{name} is damaged"
    return None


_found: dict[tuple[tuple[str, int, int], ...], str | None] = {}


def known_fault(folder: Path) -> str | None:
    """As `fault`, looked for once in this process as long as no file changes its size or time."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path, path.stat()) for path in paths]
    key = tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)
    if key not in _found:
        _found[key] = fault(folder)
    return _found[key]


def newest_whole(folder: Path, processes: int = 1) -> tuple[Path | None, list[str]]:
    """The checkpoint with the highest step that training can go on from exactly, and a sentence on each newer one."""
    notes: list[str] = []
    for path in reversed(steps(folder)):
        reason = fault(path) or _lack(path, processes)
        if reason is None:
            return path, notes
        notes.append(f"checkpoint {path.name} was passed over: {reason}")
    return None, notes


def _lack(folder: Path, processes: int) -> str | None:
    """What a whole checkpoint lacks for so many processes to go on from it as if they had never stopped."""
    facts = manifest(folder)
    wrote = facts.get("processes", 1)
    if wrote != processes:
        return f"{wrote} process(es) wrote it and {processes} would go on, with other numbers"
    states = [f"rng_state_{rank}.pth" for rank in range(processes)] if processes > 1 else ["rng_state.pth"]
    for name in ("optimizer.pt", "scheduler.pt", "trainer_state.json", *states):
        if name not in facts["files"]:
            return f"it was written without {name}, so nothing could go on from it exactly"
    return None


def steps(folder: Path) -> list[Path]:
    """The checkpoints that are there, by rising step; not yet verified."""
    found = [path for path in folder.glob(f"{STEP}*") if path.name.removeprefix(STEP).isdigit()]
    return sorted(found, key=step_of)


def step_of(path: Path) -> int:
    return int(path.name.removeprefix(STEP))


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints; called only after a newer one is in place."""
    for path in steps(folder)[:-keep]:
        shutil.rmtree(path)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _seal(folder: Path, facts: dict[str, Any]) -> str:
    """Every file on the disk, then the manifest that names them: its presence says that the rest is there."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _sync(path)
        files[path.relative_to(folder).as_posix()] = sha256_of(path)
    path = folder / MANIFEST
    path.write_text(json.dumps({**facts, "files": files}, indent=2, allow_nan=False) + "\n", "utf-8")
    _sync(path)
    _sync(folder)
    return sha256_of(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
