"""A trial: a few real steps of a run, on small and on whole batches, for what memory and time they take.

It changes the process it runs in (threads, malloc, a model in memory), so it belongs into one of its own.
"""

import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ftlab import data
from ftlab.methods import checkpoints, ground, hardware, portions, samples, trainers, wrapped
from ftlab.methods.ground import Ground
from ftlab.methods.recipes import Recipe

LEAST_SECONDS, MOST_SECONDS = 1.2, 10.0
SHARE = 0.03  # of the run that is foretold may go into its trial
TYPICAL = 8  # batches whose sizes are like those of the run
DRAWN = 200_000  # rows in drawn batches, enough to know the heaviest
WRITTEN_BYTES = 200_000_000  # larger results are not written for a trial
DISK_BYTES_A_SECOND = 300e6  # of such a one: written, synced, read again for its hash
TAUGHT = 16  # rows that a teacher answers in a trial


@dataclass(frozen=True)
class Step:
    """One step of the trial."""

    tokens: int
    seconds: float
    mib: float
    """The most memory since the step before."""


@dataclass(frozen=True)
class Trial:
    """What was measured, and what the whole run comes to by it."""

    parameters: int
    trained: int
    total_steps: int
    tokens_a_step: float
    heaviest: int
    """Tokens of the heaviest batch."""
    together: int
    """Tokens beyond which a batch is worked through in portions, and takes no more memory."""
    loading_mib: float
    """The most memory before the first step."""
    loading_seconds: float
    evaluating_seconds: float
    """One evaluation of all its rows, and the answers to the fixed prompts."""
    saving_seconds: float
    saving_mib: float
    """The most memory while the result is written; safetensors copies all of it first."""
    saved_bytes: int
    steps: list[Step]
    lays_rows_end_to_end: bool

    @property
    def memory_mib(self) -> float:
        """The most that the run will hold."""
        sizes: dict[int, float] = {}
        for step in self.steps:
            tokens = min(step.tokens, self.together)
            sizes[tokens] = max(sizes.get(tokens, 0.0), step.mib)
        reached = [
            (tokens, max(mib for size, mib in sizes.items() if size <= tokens)) for tokens in sorted(sizes)
        ]
        tokens, mib = reached[-1]
        heaviest = min(self.heaviest, self.together)
        if len(reached) > 1 and tokens < heaviest:
            smaller, less = reached[0]
            mib += (mib - less) / (tokens - smaller) * (heaviest - tokens)
        return max(self.loading_mib, mib, self.saving_mib)

    @property
    def step_seconds(self) -> float:
        """One optimiser step of the run's usual size."""
        fixed, each = line([(step.tokens, step.seconds) for step in self.steps[1:] or self.steps])
        return fixed + each * self.tokens_a_step


def line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """(seconds a step, seconds a token) through the median times of the sizes; neither is negative.

    The largest size, which is nearest to the run's own, is met exactly.
    """
    sizes: dict[int, list[float]] = {}
    for tokens, seconds in points:
        sizes.setdefault(tokens, []).append(seconds)
    medians = sorted((tokens, statistics.median(times)) for tokens, times in sizes.items())
    (few, short), (many, long) = medians[0], medians[-1]
    if len(medians) == 1:
        return 0.0, long / many
    if len(medians) > 2:  # batches of the usual size differ a little; what counts is their middle
        upper = [one for one in medians if one[0] > many / 2]
        many = round(statistics.mean(tokens for tokens, _ in upper))
        long = statistics.mean(seconds for _, seconds in upper)
    if many <= few:
        return 0.0, long / many
    each = min(max(0.0, (long - short) / (many - few)), long / many)
    return long - each * many, each


def try_out(laid: Ground, room_mib: float) -> Trial:
    """Trains a few steps of the run in a folder that is thrown away; never beyond `room_mib`."""
    with tempfile.TemporaryDirectory(prefix="ftlab-trial-") as place:
        return _tried(laid, Path(place), room_mib)


def sizes(columns: data.Columns) -> list[int]:
    """Tokens that each row puts through the model."""
    found = columns.data
    if "prompt_ids" in found and "chosen_ids" in found:
        names = ["prompt_ids", "prompt_ids", "chosen_ids", "rejected_ids"]
    else:
        names = [name for name in found if name.endswith("_ids") and isinstance(found[name][0], list)]
    return [sum(len(found[name][row]) for name in names) for row in range(len(columns))]


def _tried(laid: Ground, place: Path, room_mib: float) -> Trial:
    recipe = laid.recipe
    config = recipe.config
    rng = random.Random(config.seed)
    is_taught = type(recipe).learned_from is not Recipe.learned_from
    began = time.perf_counter()
    micro = int(config.trainer.get("per_device_train_batch_size", config.batch_size))  # type: ignore[arg-type]
    chosen_rows = _chosen(sizes(laid.columns), micro, rng, few=is_taught)
    evaluated = list(range(min(len(laid.evaluation or ()), max(micro, 8))))
    short = replace(
        laid,
        columns=_rows(laid.columns, chosen_rows),
        evaluation=_rows(laid.evaluation, evaluated) if laid.evaluation else None,
    )
    loaded = time.perf_counter()
    hardware.forget_peak()
    equipped = ground.equip(short, lambda _: None)
    taught_seconds = time.perf_counter() - loaded if is_taught else 0.0
    args = ground.arguments(equipped, place)
    rows = len(laid.columns) * len(equipped.columns) // max(1, len(short.columns))
    total = total_steps(args, rows)
    accumulated = args.gradient_accumulation_steps
    args.gradient_accumulation_steps, args.max_steps = 1, 100_000
    args.eval_strategy, args.save_strategy = "no", "no"
    trainer = trainers.build(
        recipe,
        equipped.chosen,
        equipped.model,
        laid.tokenizer,
        args,
        equipped.columns.dataset(),
        equipped.evaluation.dataset() if equipped.evaluation else None,
        _Plan(),
    )
    end_to_end = trainer.lays_rows_end_to_end
    own = sizes(equipped.columns)
    everything = own if is_taught else sizes(laid.columns)
    drawn = _drawn(everything, micro, rng, together=end_to_end)
    plan = next(one for one in trainer.callback_handler.callbacks if isinstance(one, _Plan))
    plan.prepare(own, drawn, micro, rng, total * accumulated, end_to_end, room_mib, equipped.chosen.device)
    loading_seconds = time.perf_counter() - began
    loading_mib = hardware.memory_mib(equipped.chosen.device)
    _feed(trainer, plan)
    trainer.train()
    tokens_a_step = statistics.mean(drawn) * accumulated
    _, each = line([(step.tokens, step.seconds) for step in plan.steps[1:] or plan.steps])
    if is_taught:  # the teacher answers every row, not only those of the trial
        loading_seconds += taught_seconds * (len(laid.columns) / len(short.columns) - 1)
    if getattr(args, "precompute_ref_log_probs", False):
        loading_seconds += each / 3 * sum(everything) * len(laid.columns) / len(everything)
    evaluating, saving, saving_mib, saved = _rest(trainer, equipped, laid, place, each)
    return Trial(
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        trained=sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        total_steps=total,
        tokens_a_step=tokens_a_step,
        heaviest=max(drawn),
        together=portion(laid.columns, trainer.model, max(own), end_to_end=end_to_end) or max(drawn),
        loading_mib=loading_mib,
        loading_seconds=loading_seconds,
        evaluating_seconds=evaluating,
        saving_seconds=saving,
        saving_mib=saving_mib,
        saved_bytes=saved,
        steps=plan.steps,
        lays_rows_end_to_end=end_to_end,
    )


def portion(columns: data.Columns, model: Any, longest: int, *, end_to_end: bool) -> int | None:
    """Tokens that are computed at once, where batches are cut into portions; None where they are not."""
    if not end_to_end or "labels" not in columns.data:
        return None
    return max(longest, portions.fitting(model.get_base_model() if wrapped.is_wrapped(model) else model))


def total_steps(args: Any, rows: int) -> int:
    """Optimiser steps of the run, as transformers counts them."""
    if args.max_steps > 0:
        return int(args.max_steps)
    batches = math.ceil(rows / (args.per_device_train_batch_size * args.world_size))
    return math.ceil(args.num_train_epochs * max(1, math.ceil(batches / args.gradient_accumulation_steps)))


def _chosen(tokens: list[int], micro: int, rng: random.Random, *, few: bool) -> list[int]:
    """Rows for the trial: those of some usual batches, and the longest, of which the heaviest batch is made."""
    count = min(len(tokens), TAUGHT if few else TYPICAL * micro)
    usual = rng.sample(range(len(tokens)), count)
    longest = sorted(range(len(tokens)), key=tokens.__getitem__)[-(4 if few else micro) :]
    return usual + longest


def _rows(columns: data.Columns, rows: list[int]) -> data.Columns:
    return replace(
        columns, data={name: [column[row] for row in rows] for name, column in columns.data.items()}
    )


def _drawn(tokens: list[int], micro: int, rng: random.Random, *, together: bool) -> list[int]:
    """Tokens of each batch of some epochs in random order; padded ones to their longest row."""
    found = []
    for _ in range(max(1, min(8, DRAWN // len(tokens)))):
        order = rng.sample(tokens, len(tokens))
        for first in range(0, len(order), micro):
            batch = order[first : first + micro]
            found.append(sum(batch) if together else max(batch) * len(batch))
    return found


class _Plan(TrainerCallback):
    """Which rows come next, by what the steps so far have taken; iterating gives batches of row numbers."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._tokens = 0

    def prepare(
        self,
        own: list[int],
        drawn: list[int],
        micro: int,
        rng: random.Random,
        batches: int,
        together: bool,
        room_mib: float,
        device: str,
    ) -> None:
        self._own, self._drawn, self._micro, self._rng = own, drawn, micro, rng
        self._batches, self._together, self._room_mib, self._device = batches, together, room_mib, device

    def __iter__(self) -> Iterator[list[int]]:
        self._course = self._planned()
        self._next = next(self._course, None)
        self._began = self._last = time.perf_counter()
        while self._next is not None:
            yield self._next

    def _planned(self) -> Iterator[list[int]]:
        """Small batches, then usual ones, then the heaviest; each asked for when the one before is done with."""
        rows = list(range(len(self._own)))
        usual = [rows[first : first + self._micro] for first in range(0, len(rows), self._micro)]
        usual = [batch for batch in usual[:TYPICAL] if len(batch) == self._micro] or [rows]
        small = usual[0][: max(1, self._micro // 4)]
        for batch in (small, small):
            yield self._take(batch)
        if self._micro > 1 and not self._has_time(
            usual[0]
        ):  # a large model: a second size, to draw a line through
            half = usual[0][: max(len(small) + 1, self._micro // 2)]
            if self._has_time(half):
                yield self._take(half)
            return
        for number in range(3 * TYPICAL):
            batch = usual[number % len(usual)]
            if number and not self._has_time(batch):
                break
            yield self._take(batch)
        heavy = self._heaviest(rows)
        if self._has_time(heavy, spare=True):
            yield self._take(heavy)

    def _heaviest(self, rows: list[int]) -> list[int]:
        """About as many tokens as the heaviest batch that was drawn."""
        target = max(self._drawn)
        batch: list[int] = []
        for row in sorted(rows, key=self._own.__getitem__, reverse=True):
            if self._size([*batch, row]) <= target:
                batch.append(row)
        return batch or rows[-1:]

    def _size(self, batch: list[int]) -> int:
        own = [self._own[row] for row in batch]
        return sum(own) if self._together else max(own) * len(own)

    def _take(self, batch: list[int]) -> list[int]:
        self._tokens = self._size(batch)
        return batch

    def _has_time(self, batch: list[int], *, spare: bool = False) -> bool:
        """Whether such a step fits into the time of the trial and into memory."""
        fixed, each = line([(step.tokens, step.seconds) for step in self.steps[1:] or self.steps])
        size = self._size(batch)
        whole = self._batches * (fixed + each * statistics.mean(self._drawn))
        limit = min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * whole)) * (2 if spare else 1)
        spent = time.perf_counter() - self._began
        mib = self.steps[-1].mib * max(1.0, size / self.steps[-1].tokens) if len(self.steps) < 3 else 0.0
        if len(self.steps) >= 3:
            first, last = self.steps[0], self.steps[-1]
            slope = (last.mib - first.mib) / max(1, last.tokens - first.tokens)
            mib = last.mib + max(0.0, slope) * max(0, size - last.tokens)
        return spent + fixed + each * size <= limit and mib <= max(self._room_mib, self.steps[-1].mib)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        now = time.perf_counter()
        self.steps.append(Step(self._tokens, now - self._last, hardware.memory_mib(self._device)))
        self._last = now
        hardware.forget_peak()
        self._next = next(self._course, None)
        control.should_training_stop = self._next is None


def _feed(trainer: Any, plan: _Plan) -> None:
    """Has the trainer take its batches from the plan, one when the one before is done with."""
    from torch.utils.data import DataLoader

    def loader() -> Any:
        dataset = trainer._remove_unused_columns(trainer.train_dataset, description="training")  # noqa: SLF001
        return DataLoader(dataset, batch_sampler=plan, collate_fn=trainer.data_collator)

    trainer.get_train_dataloader = loader


def _rest(
    trainer: Any, equipped: ground.Equipped, laid: Ground, place: Path, each: float
) -> tuple[float, float, float, int]:
    """(seconds of one evaluation with its answers; seconds, MiB and bytes of saving the result)."""
    config = laid.recipe.config
    evaluating = 0.0
    if laid.evaluation is not None and equipped.evaluation is not None:
        began = time.perf_counter()
        tried = sum(sizes(equipped.evaluation))
        if each * tried < LEAST_SECONDS:
            trainer.evaluate()
            evaluating += (time.perf_counter() - began) * sum(sizes(laid.evaluation)) / max(1, tried)
        else:
            evaluating += each / 3 * sum(sizes(laid.evaluation))
    prompts = samples.prompts_of(config.evaluate.prompts)
    if prompts:
        began = time.perf_counter()
        samples.sample(trainer.model, laid.tokenizer, prompts, config.evaluate.max_new_tokens)
        evaluating += time.perf_counter() - began
    return evaluating, *_saved(trainer, laid, place, equipped.chosen.device)


def _saved(trainer: Any, laid: Ground, place: Path, device: str) -> tuple[float, float, int]:
    """Seconds, MiB and bytes of saving the result; a large one is not written for a trial."""
    hardware.forget_peak()
    before = hardware.memory_mib(device)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not wrapped.is_wrapped(model):
        size = sum(parameter.nbytes for parameter in model.parameters())
        if size > WRITTEN_BYTES:
            copied = size / 2**20 if device == "cpu" else 0.0
            return size / DISK_BYTES_A_SECOND, before + copied, size
    began = time.perf_counter()

    def fill(aside: Path) -> None:
        laid.recipe.save(model, aside, laid.begin.base_reference)
        laid.tokenizer.save_pretrained(str(aside))

    checkpoints.write_whole(place / "model", fill, {})
    size = sum(path.stat().st_size for path in (place / "model").iterdir())
    return time.perf_counter() - began, hardware.memory_mib(device), size
