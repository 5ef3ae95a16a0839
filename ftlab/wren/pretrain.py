"""Pretraining: documents to rows of tokens, rows to a base model, resumable at any step.

Axes in names: N rows, B rows of a batch, T tokens of a row.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.errors import DataError
from ftlab.wren import corpus, tokenizer
from ftlab.wren.family import Size
from ftlab.wren.tokenizer import END_ID

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

ROW_TOKENS = 256
BATCH_ROWS = 8
HELD_OUT_ROWS = 64
EVALUATIONS = 12
"""Points of the held-out loss curve, the last at the end."""
WARM_UP = 0.05
FINAL_RATE = 0.02
"""Learning rate at the end, as a share of its peak."""


@dataclass
class Progress:
    """How far a pretraining has come; saved with every checkpoint, so that figures survive a kill."""

    step: int = 0
    seconds: float = 0.0
    train_loss: float = math.nan
    """Running mean over about twenty steps, in nats a token."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """One entry a held-out evaluation: step, tokens, train_loss, heldout_loss (nats a token)."""


def pack(
    tokens: PreTrainedTokenizerFast, rows: int, stream: corpus.Stream, seed: int
) -> tuple[np.ndarray, int]:
    """(ids_NT, documents used). Each row begins where a document does; the last one's tail is cut off."""
    import numpy as np

    ids_NT = np.empty((rows, ROW_TOKENS), dtype=np.uint16)
    row: list[int] = []
    used = filled = 0
    while filled < rows:
        texts = list(corpus.documents(2000, start=used, stream=stream, seed=seed))
        for ids in tokens(texts)["input_ids"]:
            row += [*ids, END_ID]
            used += 1
            if len(row) >= ROW_TOKENS:
                ids_NT[filled] = row[:ROW_TOKENS]
                filled += 1
                row = []
                if filled == rows:
                    break
    return ids_NT, used


def rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to FINAL_RATE of the peak."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    through = (step - warm_up) / max(1, steps - warm_up)
    return peak * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * through)))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of one pretraining on one machine."""

    size: Size
    steps: int
    corpus_seed: int = corpus.SEED
    seed: int = 1
    batch_rows: int = BATCH_ROWS

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_rows * ROW_TOKENS


def recipe(size: Size, tokens: int | None = None, **changes: Any) -> Recipe:
    """The recipe for about so many tokens; None for the size's own budget."""
    wanted = tokens if tokens is not None else size.tokens
    return Recipe(size, steps=max(2, round(wanted / (BATCH_ROWS * ROW_TOKENS))), **changes)


def build_model(plan: Recipe) -> LlamaForCausalLM:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(plan.seed)
    return LlamaForCausalLM(plan.size.config())


def heldout_loss(model: torch.nn.Module, ids_NT: np.ndarray, *, half: bool | None = None) -> float:
    """Mean loss in nats a token over whole rows; `half` multiplies in bfloat16, None where that is quick."""
    import torch

    model.eval()
    total = 0.0
    with torch.inference_mode(), _autocast(half):
        for start in range(0, len(ids_NT), BATCH_ROWS):
            ids_BT = torch.from_numpy(ids_NT[start : start + BATCH_ROWS].astype("int64"))
            total += model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss.item() * len(ids_BT)
    model.train()
    return total / len(ids_NT)


def _autocast(half: bool | None = None) -> Any:
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=half_precision() if half is None else half)


def half_precision() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere autocast only slows training down."""
    import torch

    supported = torch.cpu._is_avx512_bf16_supported  # noqa: SLF001 - torch has no public question for it
    return bool(supported())


def run(
    plan: Recipe,
    tokens: PreTrainedTokenizerFast,
    work: Path,
    say: Callable[[str], None] = print,
    save_every: int = 100,
) -> tuple[LlamaForCausalLM, Progress, dict[str, Any]]:
    """Train to the end, from the last checkpoint in `work` if there is one of this very recipe."""
    import torch

    work.mkdir(parents=True, exist_ok=True)
    ids_NT, used = pack(tokens, plan.steps * plan.batch_rows, "train", plan.corpus_seed)
    heldout_NT, _ = pack(tokens, HELD_OUT_ROWS, "heldout", plan.corpus_seed)
    model = build_model(plan)
    optimizers = _optimizers(model)
    progress = _restore(plan, model, optimizers, work)
    if progress.step:
        say(f"{plan.size.name}: going on from step {progress.step} of {plan.steps}")
    marks = {round(plan.steps * i / EVALUATIONS) for i in range(1, EVALUATIONS + 1)}
    model.train()
    started, before = time.monotonic(), progress.seconds
    first_step = progress.step
    for step in range(progress.step, plan.steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate_at(step, plan.steps, plan.size.rate)
        chunk_NT = ids_NT[step * plan.batch_rows : (step + 1) * plan.batch_rows]
        ids_BT = torch.from_numpy(chunk_NT.astype("int64"))
        with _autocast():
            loss = model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise DataError(
                f"{plan.size.name}: loss became {value} at step {step}; try a lower rate than {plan.size.rate}"
            )
        mean = progress.train_loss
        progress.train_loss = value if math.isnan(mean) else 0.95 * mean + 0.05 * value
        progress.step = step + 1
        progress.seconds = before + time.monotonic() - started
        done = (step + 1) * plan.batch_rows * ROW_TOKENS
        if step + 1 in marks:
            entry = {"step": step + 1, "tokens": done, "train_loss": round(progress.train_loss, 4)}
            progress.curve.append({**entry, "heldout_loss": round(heldout_loss(model, heldout_NT), 4)})
        saves = (step + 1) % save_every == 0 and step + 1 < plan.steps
        if saves:
            _save(plan, model, optimizers, progress, work)
        if saves or (step + 1) % 50 == 0 or step + 1 == plan.steps:
            say(_line(plan, progress, step + 1 - first_step, time.monotonic() - started))
    facts = {"documents": used, "tokens": plan.tokens, "steps": plan.steps, "bf16": half_precision()}
    return model, progress, facts


def _line(plan: Recipe, progress: Progress, steps: int, seconds: float) -> str:
    speed = steps * plan.batch_rows * ROW_TOKENS / seconds
    left = (plan.steps - progress.step) * plan.batch_rows * ROW_TOKENS / speed
    held = f"  held-out {progress.curve[-1]['heldout_loss']:.3f}" if progress.curve else ""
    return (
        f"{plan.size.name}  step {progress.step}/{plan.steps}  loss {progress.train_loss:.3f}{held}  "
        f"{speed:,.0f} tokens/s  {left / 60:.1f} min left"
    )


def _optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for norms and the tied embedding.

    On wren's first 0.4 M tokens this reached a held-out loss of 1.32 where AdamW alone reached 1.69.
    """
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim <= 1 or "embed" in n]
    return [
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def _save(
    plan: Recipe,
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    progress: Progress,
    work: Path,
) -> None:
    import torch

    state = {
        "recipe": json.dumps(asdict(plan), sort_keys=True),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": asdict(progress),
    }
    beside = work / "checkpoint.part"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(work / "checkpoint.pt")


def _restore(
    plan: Recipe, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], work: Path
) -> Progress:
    import torch

    path = work / "checkpoint.pt"
    if not path.is_file():
        return Progress()
    state = torch.load(path, weights_only=True)
    if state["recipe"] != json.dumps(asdict(plan), sort_keys=True):
        return Progress()
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return Progress(**state["progress"])


def machine() -> dict[str, Any]:
    """Where the figures were measured."""
    import torch
    import transformers

    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines: Iterator[str] = iter(info.read_text().splitlines() if info.is_file() else ())
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


__all__ = ["Progress", "Recipe", "heldout_loss", "pack", "recipe", "run", "tokenizer"]
