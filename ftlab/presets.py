"""Runs to begin with: a name, one sentence, and the configuration."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from ftlab.config import RunConfig


@dataclass(frozen=True)
class Preset:
    """One beginning. `fields` is what `RunConfig.from_dict` takes."""

    title: str
    about: str
    fields: dict[str, Any]

    @property
    def config(self) -> RunConfig:
        """As a configuration."""
        return RunConfig.from_dict(self.fields)


@cache
def presets() -> tuple[Preset, ...]:
    """In the order in which somebody who learns would try them."""
    pirate = "Talk like a pirate."
    asked = ["Where does Tom live?", "What is two plus three?"]
    return (
        Preset(
            "First SFT on wren",
            "Every weight of the embedded model learns to answer; about a minute on two cores.",
            {"model": "wren", "method": "sft", "epochs": 2, "evaluate": {"prompts": asked}},
        ),
        Preset(
            "LoRA, small",
            "An adapter of rank 8 learns the same beside the frozen weights.",
            {
                "model": "wren",
                "method": {"kind": "lora", "rank": 8},
                "epochs": 2,
                "evaluate": {"prompts": asked},
            },
        ),
        Preset(
            "LoRA of every rank at once",
            "One training gives an adapter that may be cut to any rank up to 16 (DyLoRA).",
            {"model": "wren", "method": {"kind": "dylora", "rank": 16}, "epochs": 2},
        ),
        Preset(
            "Pirate soft prompt",
            "Sixteen made-up words learn to do what a sentence does; no weight of the model differs.",
            {
                "model": "wren",
                "method": {"kind": "prompt_tuning", "tokens": 16, "start": "text", "text": pirate},
                "epochs": 2,
                "evaluate": {"prompts": asked},
            },
        ),
        Preset(
            "Pirate without the prompt",
            "What a system prompt does to the answers moves into the weights (context distillation).",
            {
                "model": "wren",
                "method": {"kind": "context_distillation", "context": pirate},
                "data": {"train": "wren:sft", "max_rows": 512},
                "evaluate": {"prompts": asked},
            },
        ),
        Preset(
            "Distil wren-l into wren-xs",
            "The largest wren's odds of every next word teach the smallest (Hinton's distillation).",
            {"model": "wren-xs", "method": {"kind": "distillation", "teacher": "wren-l"}, "epochs": 2},
        ),
        Preset(
            "DPO on my ratings",
            "Answers that were preferred gain on those that were not; export ratings to preferences.jsonl first.",
            {
                "model": "wren",
                "method": {"kind": "dpo", "adapter": {"rank": 16}},
                "data": "preferences.jsonl",
                "epochs": 2,
            },
        ),
        Preset(
            "A judge from comparisons",
            "The model learns to give one number for an answer, higher for the better one.",
            {"model": "wren-s", "method": "reward", "epochs": 2},
        ),
        Preset(
            "LoRA on smollm2",
            "A model of 135 million weights learns from your own file, through an adapter.",
            {
                "model": "smollm2",
                "method": {"kind": "lora", "rank": 16, "learning_rate": 2e-4},
                "data": {"train": "rows.jsonl", "max_length": 1024, "packing": True},
                "batch_size": 8,
            },
        ),
        Preset(
            "QLoRA 7B on one GPU",
            "Seven thousand million weights of four bits each, and an adapter that learns beside them.",
            {
                "model": "Qwen/Qwen2.5-7B-Instruct",
                "method": {"kind": "qlora", "rank": 16, "alpha": 32, "learning_rate": 2e-4},
                "data": {"train": "rows.jsonl", "max_length": 2048},
                "batch_size": 4,
                "warmup": 0.03,
                "checkpoint": {"every_steps": 200},
                "device": "cuda",
                "trainer": {"gradient_accumulation_steps": 4},
            },
        ),
    )
