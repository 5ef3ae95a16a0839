"""What a run stands on: its rows as tokens, the model they go into, and the trainer that holds both."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab import data
from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.methods import hardware, start, trainers
from ftlab.methods.hardware import Hardware
from ftlab.methods.recipes import Recipe, recipe_of

EVALUATION_ROWS = 128  # of the embedded held-out rows: a loss with two digits, for a twentieth of the time

Note = Callable[[str], None]


@dataclass(frozen=True)
class Ground:
    """Everything that can be known without weights in memory."""

    recipe: Recipe
    begin: start.Start
    tokenizer: Any
    columns: data.Columns
    evaluation: data.Columns | None


@dataclass(frozen=True)
class Equipped:
    """The model in memory, and the columns as the trainer gets them."""

    ground: Ground
    chosen: Hardware
    model: Any
    columns: data.Columns
    evaluation: data.Columns | None


def survey(config: RunConfig, note: Note) -> Ground:
    """Reads and renders the rows and finds the model. Raises FtlabError for what cannot be carried out."""
    recipe = recipe_of(config)
    trainers.check_keys(recipe)
    rows = data.read(config.data.train, config.data.max_rows)
    held_out = held_out_rows(recipe)
    if config.early_stopping is not None and held_out is None:
        raise ConfigError("early_stopping: needs rows to evaluate on; name them as data.eval")
    begin = start.find(config.model, note, scores=recipe.gives_scores)
    recipe.check(begin)
    tokenizer = start.tokenizer_of(begin)
    columns = recipe.render(rows, tokenizer)
    if config.data.packing:  # not what is evaluated on: its loss stays comparable with runs that pack nothing
        columns = data.packed(columns, config.data.max_length)
    evaluation = None if held_out is None else recipe.render(held_out, tokenizer)
    return Ground(recipe, begin, tokenizer, columns, evaluation)


def equip(ground: Ground, note: Note) -> Equipped:
    """Sets the process up and loads the model; where a teacher answers first, it does so here."""
    import torch

    recipe, begin = ground.recipe, ground.begin
    config = recipe.config
    chosen = hardware.choose(config.device, config.threads, begin.parameters, frozen=recipe.freezes)
    hardware.apply(chosen)
    torch.manual_seed(config.seed)
    model = recipe.model(begin, chosen, ground.tokenizer, note)
    start.check_vocabulary(ground.tokenizer, model, begin)
    columns = recipe.learned_from(ground.columns, model, ground.tokenizer, note)
    evaluation = ground.evaluation and recipe.learned_from(ground.evaluation, model, ground.tokenizer, note)
    for text in columns.notes + [f"evaluation: {text}" for text in (evaluation.notes if evaluation else [])]:
        note(text)
    return Equipped(ground, chosen, model, columns, evaluation)


def arguments(equipped: Equipped, folder: Path) -> Any:
    """TRL's configuration for a run in `folder`."""
    config = equipped.ground.recipe.config
    return trainers.arguments(
        equipped.ground.recipe,
        equipped.chosen,
        folder,
        evaluates=equipped.evaluation is not None,
        every_steps=every(config, len(equipped.columns)),
    )


def every(config: RunConfig, rows: int) -> int:
    """Optimiser steps between two evaluations."""
    total = config.max_steps or math.ceil(math.ceil(rows / config.batch_size) * config.epochs)
    return config.evaluate.every_steps or max(1, total // 10)


def held_out_rows(recipe: Recipe) -> data.Rows | None:
    """The evaluation rows: those asked for, else the embedded world's own held-out ones."""
    config = recipe.config
    if config.data.eval is not None:
        return data.read(config.data.eval)
    if config.data.train not in recipe.embedded:
        return None
    return data.read(f"{config.data.train}:eval", EVALUATION_ROWS)
