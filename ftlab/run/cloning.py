"""From the configuration of one run to that of another, and where the two differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.config import RunConfig, parse_yaml, slug
from ftlab.differences import ABSENT, differences
from ftlab.errors import ConfigError, RunError

Changes = Mapping[str, Any] | str | None
"""Fields by path, or an edited copy of the configuration's YAML."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Of which run another is a clone."""

    run: str
    changes: dict[str, tuple[Any, Any]]
    """{"method.rank": (4, 8)}: what it was there, what it is here; None also where a section is absent."""


def copied(config: RunConfig, changes: Changes, more: Mapping[str, Any]) -> RunConfig:
    """The configuration of a clone, nameless unless the changes name it. Raises ConfigError."""
    wanted = {**(_edited(config, changes) if isinstance(changes, str) else changes or {}), **more}
    # Fields at their defaults follow the others: another method brings its own data with it.
    plain = RunConfig(method=config.method)
    fields = {name: (getattr(config, name), getattr(plain, name)) for name in type(config).model_fields}
    kept = {name: own for name, (own, default) in fields.items() if own != default}
    return RunConfig(**kept).with_({"method": config.method, "name": ""} | wanted).anchored()


def origin(name: str, own: RunConfig, other: RunConfig) -> Origin:
    """What the run of this name and the configuration `own` is to a clone with `other`."""
    found = differences([own.to_dict() | {"name": ""}, other.to_dict() | {"name": ""}])
    return Origin(name, {path: (_known(was), _known(now)) for path, (was, now) in found.items()})


def name_of(origin: Origin, *, warm: bool) -> str:
    """The original's name and what is changed, as far as that fits: "tour-sft-rank-4"."""
    words = ["warm"] if warm else []
    for path, (_, value) in origin.changes.items():
        if path == "model" and warm:
            continue
        plain = value if isinstance(value, str | int | float) and len(str(value)) <= 12 else ""
        words.append(f"{path.rpartition('.')[2]}-{plain}".rstrip("-"))
    return slug("-".join([origin.run[:48], *words])[:73]).rstrip("-.")


def warm_start(folder: Path, warm: bool | int) -> str:
    """What a warm clone of the run in `folder` starts from: its result, or its checkpoint of a step.

    Raises RunError where there is none.
    """
    if warm is True:
        if not (folder / "model" / "manifest.json").is_file():
            raise RunError(
                f"{folder.name} has no result to start from; it saves one when it is stopped or ends"
            )
        return f"run:{folder.name}"
    checkpoint = folder / "checkpoints" / f"step-{warm}"
    if not (checkpoint / "manifest.json").is_file():
        there = sorted(int(path.parent.name[5:]) for path in checkpoint.parent.glob("step-*/manifest.json"))
        raise RunError(f"{folder.name} has no checkpoint of step {warm}; there are: {there or 'none'}")
    return str(checkpoint)


def _edited(config: RunConfig, text: str) -> dict[str, Any]:
    """The sections and fields that are others in an edited copy of a configuration's YAML."""
    values = parse_yaml(text, "YAML")
    if not isinstance(values, dict):
        raise ConfigError(f"YAML: expected keys and values, not {type(values).__name__}")
    before = config.to_dict()
    return {key: value for key, value in values.items() if key not in before or before[key] != value}


def _known(value: Any) -> Any:
    return None if value is ABSENT else value
