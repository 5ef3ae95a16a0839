"""Building the family from nothing: corpus, tokenizer, pretraining, shipped files and their cards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.wren import card, corpus, pretrain, tokenizer
from ftlab.wren.family import SIZES

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WORK = "work"
"""Folder below the target with tokenizer and checkpoints; it may go when all is built."""


def build(
    out: Path,
    *,
    only: str | None = None,
    tokens: int | None = None,
    say: Callable[[str], None] = print,
    save_every: int = 100,
) -> list[Path]:
    """Make each model's folder below `out`; what is finished is kept, what was cut off goes on.

    `tokens` replaces the budget of each size. A folder is complete when it has a card.json with this recipe.
    """
    reader = _tokenizer(out / WORK / "tokenizer", say)
    built = []
    for size in SIZES.values():
        if only not in (None, size.name):
            continue
        plan = pretrain.recipe(size, tokens)
        folder = out / size.name
        if card.is_of(folder, plan):
            say(f"{size.name}: already built in {folder}")
        else:
            work = out / WORK / size.name
            model, progress, facts = pretrain.run(plan, reader, work, say, save_every)
            finish(folder, plan, model, reader, progress, facts, _command(only, tokens))
            shutil.rmtree(work)
            say(
                f"{size.name}: held-out loss {progress.curve[-1]['heldout_loss']}, {progress.seconds:.0f} s, in {folder}"
            )
        built.append(folder)
    return built


def _command(only: str | None, tokens: int | None) -> str:
    parts = ["python -m ftlab.wren", f"--only {only}" if only else "", f"--tokens {tokens}" if tokens else ""]
    return " ".join(part for part in parts if part)


def _tokenizer(folder: Path, say: Callable[[str], None]) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        say(f"tokenizer: learning {tokenizer.VOCABULARY} tokens from {tokenizer.TRAINED_ON} documents")
        made = tokenizer.train(corpus.documents(tokenizer.TRAINED_ON))
        beside = folder.with_name("tokenizer.part")
        tokenizer.save(made, beside)
        beside.rename(folder)
    return tokenizer.load(folder)


def finish(
    folder: Path,
    plan: pretrain.Recipe,
    model: LlamaForCausalLM,
    reader: PreTrainedTokenizerFast,
    progress: pretrain.Progress,
    facts: dict[str, Any],
    command: str,
) -> None:
    """Write the folder as it ships; weights are halved, and the card is written last.

    The card's held-out loss is of the halved weights, as they are loaded again in single precision.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    model.to(torch.float16).save_pretrained(beside)
    tokenizer.save(reader, beside)
    (beside / "model.safetensors").chmod(0o644)  # safetensors makes it the owner's alone
    rows_NT, _ = pretrain.pack(reader, pretrain.HELD_OUT_ROWS, "heldout", plan.corpus_seed)
    shipped = pretrain.heldout_loss(model.float(), rows_NT, half=False)
    record = {
        "name": plan.size.name,
        "summary": plan.size.summary,
        "parameters": model.num_parameters(),
        "recipe": {**asdict(plan), "tokens": plan.tokens},
        **facts,
        "corpus": {
            "documents": facts["documents"],
            "sha256": corpus.corpus_hash(facts["documents"], seed=plan.corpus_seed),
            "first_1000_sha256": corpus.corpus_hash(1000, seed=plan.corpus_seed),
        },
        "heldout_loss": round(shipped, 4),
        "heldout_rows": pretrain.HELD_OUT_ROWS,
        "curve": progress.curve,
        "seconds": round(progress.seconds, 1),
        "command": command,
        "machine": pretrain.machine(),
        "sha256": {file.name: _sha256(file) for file in sorted(beside.iterdir())},
    }
    card.write(beside, record)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return record
