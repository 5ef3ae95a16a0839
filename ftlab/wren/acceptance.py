"""What tuning does to wren, in figures: the bench called `wren`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.wren import data
from ftlab.wren.family import folder
from ftlab.wren.gold import Verdict, judge

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Messages = list[dict[str, str]]
Generate = Callable[[Sequence[Messages], float, int], list[str]]
"""(conversations, temperature, seed) -> one answer each; temperature 0 takes the likeliest token."""

SFT_ROWS = 3000
EPOCHS = 3
TEST_ROWS = 420
NEW_TOKENS = 64


def verdicts(generate: Generate, rows: Sequence[data.Row], *, temperature: float, seed: int) -> list[Verdict]:
    answers = generate([row["prompt"] for row in rows], temperature, seed)
    return [judge(row["prompt"], answer) for row, answer in zip(rows, answers, strict=True)]


def evaluate(generate: Generate, rows: Sequence[data.Row], seed: int = 0) -> dict[str, Any]:
    """Judge a model on rows of data.rows("prompts", "eval").

    `accuracy` is the mean over families of the share of correct answers at temperature 0, `sampled_accuracy`
    the same at temperature 1, `rude` the share of rude answers at temperature 1; all in 0..1.
    """
    greedy = verdicts(generate, rows, temperature=0.0, seed=seed)
    sampled = verdicts(generate, rows, temperature=1.0, seed=seed)
    families = by_family(rows, greedy)
    return {
        "accuracy": statistics.fmean(families.values()),
        "sampled_accuracy": statistics.fmean(by_family(rows, sampled).values()),
        "rude": share(v.rude for v in sampled),
        "rude_greedy": share(v.rude for v in greedy),
        "rambles": share(v.rambles for v in sampled),
        "reward": statistics.fmean(v.reward for v in sampled),
        "n": len(rows),
        "families": families,
    }


def by_family(rows: Sequence[data.Row], found: Sequence[Verdict]) -> dict[str, float]:
    """Share of correct answers in each family, in the rows' own order of families."""
    groups: dict[str, list[bool]] = {}
    for row, verdict in zip(rows, found, strict=True):
        groups.setdefault(row["family"], []).append(bool(verdict.correct))
    return {family: share(values) for family, values in groups.items()}


def share(values: Any) -> float:
    return statistics.fmean(float(value) for value in values)


def knowledge(generate: Generate, seed: int = 0) -> float:
    """Share of the facts that tuning never shows which are told right, at temperature 0."""
    return share(
        v.correct for v in verdicts(generate, data.rows("knowledge", "eval"), temperature=0.0, seed=seed)
    )


def generator(model: PreTrainedModel, tokens: PreTrainedTokenizerBase, *, batch: int = 70) -> Generate:
    """Answer with a loaded model, left-padded in batches."""
    import torch

    def generate(conversations: Sequence[Messages], temperature: float, seed: int) -> list[str]:
        torch.manual_seed(seed)
        model.eval()
        answers = []
        for start in range(0, len(conversations), batch):
            texts = [
                tokens.apply_chat_template(c, tokenize=False, add_generation_prompt=True)
                for c in conversations[start : start + batch]
            ]
            inputs = tokens(
                texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
            )
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": 0}
                if temperature
                else {"do_sample": False}
            )
            with torch.inference_mode():
                ids_BT = model.generate(**inputs, max_new_tokens=NEW_TOKENS, **sampling)
            answers += tokens.batch_decode(
                ids_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
        return [answer.removeprefix(" ") for answer in answers]

    return generate


def tune(
    base: Path, rows: Sequence[data.Row], seed: int, epochs: float = EPOCHS
) -> tuple[PreTrainedModel, float]:
    """(model, training seconds): all weights, TRL's SFTTrainer, on this machine's processor."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from ftlab.wren.tokenizer import load

    dataset = Dataset.from_list([{"prompt": row["prompt"], "completion": row["completion"]} for row in rows])
    with tempfile.TemporaryDirectory() as work:
        arguments = SFTConfig(
            output_dir=work, seed=seed, data_seed=seed, num_train_epochs=epochs, learning_rate=2e-3,
            per_device_train_batch_size=32, lr_scheduler_type="cosine", warmup_steps=10, weight_decay=0.01,
            use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
            logging_steps=20, max_length=128, disable_tqdm=True, optim="adamw_torch_fused",
            train_sampling_strategy="group_by_length",
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=load(base))
        started = time.monotonic()
        trainer.train()
        return model, time.monotonic() - started


def measure(seed: int = 0, base: Path | None = None) -> dict[str, Any]:
    """Base against tuned, for one seed; the bars are in the bench. Seconds are of training alone."""
    from transformers import AutoModelForCausalLM

    from ftlab.wren.tokenizer import load

    base = base or folder("wren")
    tokens = load(base)
    test = data.rows("prompts", "eval", TEST_ROWS, seed)
    before = generator(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), tokens)
    model, seconds = tune(base, data.rows("sft", "train", SFT_ROWS, seed), seed)
    after = generator(model, tokens)
    base_figures, tuned_figures = evaluate(before, test, seed), evaluate(after, test, seed)
    return {
        "base_accuracy": base_figures["accuracy"],
        "tuned_accuracy": tuned_figures["accuracy"],
        "base_rude": base_figures["rude"],
        "tuned_rude": tuned_figures["rude"],
        "seconds": seconds,
        "knowledge_kept": knowledge(after, seed),
        "base_knowledge": knowledge(before, seed),
        "base": base_figures,
        "tuned": tuned_figures,
    }
