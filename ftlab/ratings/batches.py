"""How a batch is asked: its mode, its settings, fixed when it is made, and the versions of its instructions."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from sqlalchemy import Connection, func, insert, select

from ftlab.errors import ConfigError, RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.clean import clean
from ftlab.ratings.said import LABEL_CHARACTERS, LABELS
from ftlab.ratings.storage.database import utc_now
from ftlab.section import Section


class Settings(Section):
    """What a batch asks of whom. It cannot change later: what was asked before would mean something else."""

    overlap: int | None = Field(
        None, ge=1, le=1000, description="Raters for each task; None: every rater is asked every task."
    )
    calibration: int = Field(
        0, ge=0, description="The first tasks, so many, go to every rater whatever the overlap."
    )
    double: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the tasks that get one rater more than `overlap`, by keyed hash.",
    )
    lease_minutes: float = Field(
        15.0,
        gt=0,
        le=7 * 24 * 60,
        description="How long a task waits for the rater it was given to before another one may be asked.",
    )
    repeats: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="Share of the tasks asked again, sides swapped, 10 or more tasks later.",
    )
    gold: float = Field(
        0.03,
        ge=0,
        le=0.5,
        description="Share of tasks with a known answer mixed in, where the batch has such.",
    )
    order: Literal["given", "uniform", "active"] = Field(
        "given",
        description="Which task is next: as added, at random, or the pair of models that tells most.",
    )
    scale: Literal["thumbs", "likert", "both"] = Field("both", description="What mode single asks for.")
    best: int | None = Field(
        None, ge=1, le=9, description="Mode rank: only the best so many are ranked; None: all of them."
    )
    safety: bool = Field(False, description="Ask which of two answers is safe.")
    labels: tuple[str, ...] = Field((), max_length=LABELS, description="Labels to propose to the raters.")
    flags: bool = Field(False, description="Ask for InstructGPT's eleven flags.")
    recruitment: str = Field(
        "", max_length=2000, description="Who the raters are and how they came to rate; for the dataset card."
    )
    consent: str = Field(
        "", max_length=2000, description="What the raters agreed to about the use of what they say."
    )
    licence: str = Field("", max_length=200, description="The licence of the prompts, answers and ratings.")

    @field_validator("labels")
    @classmethod
    def _labels_can_be_said(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not label.strip() or len(label) > LABEL_CHARACTERS:
                raise ValueError(f"a label has 1 to {LABEL_CHARACTERS} characters, not {label[:80]!r}")
        return labels

    @model_validator(mode="after")
    def _shares_need_an_overlap(self) -> Self:
        if self.overlap is None and self.double:
            raise ValueError("'double' needs an 'overlap': without one every rater is asked every task")
        return self

    def for_page(self) -> dict[str, object]:
        """What a rater's page needs to know, and nothing that tells gold tasks or repeats from others."""
        return {
            "scale": self.scale,
            "best": self.best,
            "safety": self.safety,
            "labels": list(self.labels),
            "flags": self.flags,
        }


PLAIN = Settings(repeats=0.0, gold=0.0)
"""Every rater, every task, once, as added."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the store holds it; `seed` is the key of everything that is left to chance in it."""

    name: str
    mode: str
    seed: str
    settings: Settings


def settings_of(value: "Settings | Mapping[str, Any] | None") -> Settings | None:
    """Settings from keywords, as a form or a YAML file has them; RatingError that names a wrong one."""
    if value is None or isinstance(value, Settings):
        return value
    try:
        return Settings(**value)
    except ConfigError as error:
        raise RatingError(f"settings of a batch: {error}") from error


def find(connection: Connection, name: str) -> Batch | None:
    """The batch, or None."""
    row = connection.execute(select(t.batch).where(t.batch.c.name == name)).mappings().first()
    if row is None:
        return None
    stored = json.loads(row["settings_json"])
    settings = Settings(**stored) if stored else PLAIN  # {}: made before there were settings
    return Batch(row["name"], row["mode"], row["seed"], settings)


def get(connection: Connection, name: str) -> Batch:
    """The batch; RatingError that lists those there are."""
    batch = find(connection, name)
    if batch is None:
        names = connection.execute(select(t.batch.c.name).order_by(t.batch.c.name)).scalars().all()
        raise RatingError(f"there is no batch {name!r}; there is {', '.join(names) or 'none'}")
    return batch


def open_batch(
    connection: Connection,
    name: str,
    *,
    mode: str | None = None,
    instructions: str = "",
    seed: str | None = None,
    settings: Settings | None = None,
    otherwise: Settings | None = None,
) -> tuple[Batch, int]:
    """The batch, made where there is none, and the version of the instructions for rows added now.

    `mode`, `seed` and `settings` of a batch that exists cannot be others; None takes them as they are.
    `otherwise`: the settings of a batch made here where `settings` is None.
    """
    check_mode(mode)
    batch = find(connection, name)
    if batch is None:
        if settings is not None and settings.order == "active" and mode not in (None, "pair", "dialogue"):
            raise RatingError(
                f"'active' chooses pairs of models, and mode {mode!r} has none: order 'uniform'"
            )
        batch = Batch(
            name, mode or "pair", seed or secrets.token_hex(16), settings or otherwise or Settings()
        )
        connection.execute(
            insert(t.batch).values(
                name=name,
                mode=batch.mode,
                seed=batch.seed,
                settings_json=batch.settings.model_dump_json(),
                created_utc=utc_now(),
            )
        )
    _check_same(batch, mode, seed, settings)
    return batch, _instruct(connection, name, clean(instructions).text)


def check_mode(mode: str | None) -> None:
    """RatingError where there is no such mode."""
    if mode is not None and mode not in t.MODES:
        raise RatingError(f"a batch has a mode of {', '.join(t.MODES)}, not {mode!r}")


def _check_same(batch: Batch, mode: str | None, seed: str | None, settings: Settings | None) -> None:
    if mode is not None and mode != batch.mode:
        raise RatingError(
            f"batch {batch.name!r} is of mode {batch.mode!r}: mode {mode!r} needs one of its own"
        )
    if seed is not None and seed != batch.seed:
        raise RatingError(
            f"batch {batch.name!r} has its seed already: sides that were shown stay as they were"
        )
    if settings is not None and settings != batch.settings:
        now, then = settings.model_dump(), batch.settings.model_dump()
        name = next(name for name in now if now[name] != then[name])
        raise RatingError(
            f"batch {batch.name!r} was made with {name}={then[name]!r}, which cannot become {now[name]!r}: "
            "make another batch"
        )


def _instruct(connection: Connection, batch: str, text: str) -> int:
    i = t.instruction.c
    newest = (
        connection.execute(select(t.instruction).where(i.batch == batch).order_by(i.version.desc()).limit(1))
        .mappings()
        .first()
    )
    if newest is not None and text in ("", newest["text"]):
        return int(newest["version"])
    version = 1 if newest is None else int(newest["version"]) + 1
    connection.execute(
        insert(t.instruction).values(batch=batch, version=version, text=text, created_utc=utc_now())
    )
    return version


def version_of(connection: Connection, task_id: str) -> int:
    """The version of the instructions that a task was added under."""
    k = t.task.c
    return int(connection.execute(select(k.instruction_version).where(k.task_id == task_id)).scalar_one())


def sizes(connection: Connection) -> dict[str, int]:
    """The names of the batches with their number of tasks."""
    counted = (
        select(t.batch.c.name, func.max(t.task.c.ordinal))
        .join_from(t.batch, t.task, t.task.c.batch == t.batch.c.name, isouter=True)
        .group_by(t.batch.c.name)
        .order_by(t.batch.c.name)
    )
    return {row[0]: row[1] or 0 for row in connection.execute(counted)}
