"""Context distillation: what a system prompt does to the answers moves into the weights, and the prompt goes."""

from typing import Literal

from pydantic import Field

from ftlab.methods.lora import LoRA
from ftlab.section import Section


class ContextDistillation(Section):
    """The model learns to answer as it does with a system prompt, without it."""

    kind: Literal["context_distillation"] = "context_distillation"
    context: str = Field(
        min_length=1,
        max_length=20_000,
        description="The system prompt that the teacher sees and the student does not.",
    )
    loss: Literal["kl", "sft"] = Field(
        "kl", description="Match the teacher's odds of every next token, or learn its answers as examples."
    )
    top: int | None = Field(
        50, gt=0, le=100_000, description="Odds kept per token, the rest in one sum; none: all of them."
    )
    answers: int = Field(1, gt=0, le=16, description="Answers that the teacher writes to each prompt.")
    temperature: float = Field(
        1.0, ge=0, le=5, description="Of the teacher's answers; 0: the likeliest token each time."
    )
    max_new_tokens: int = Field(64, gt=0, le=4096, description="Longest answer of the teacher, in tokens.")
    keep_if_better: str | None = Field(
        None,
        min_length=1,
        description='A reward model ("run:NAME"): answers it does not score above the bare one are left out.',
    )
    adapter: LoRA | None = Field(None, description="Train a low-rank adapter instead of every weight.")
    learning_rate: float = Field(
        5e-4, gt=0, le=1, description="Highest step size, per optimiser step; 1e-5 for models over 1 G."
    )
