"""Reward modelling: a number at the end of an answer learns to be higher for the answer that was preferred."""

from typing import Literal

from pydantic import Field

from ftlab.methods.lora import LoRA
from ftlab.section import Section


class Reward(Section):
    """The model becomes a judge: it gives one number for an answer, and writes none."""

    kind: Literal["reward"] = "reward"
    margin: float = Field(
        1 / 3,
        ge=0,
        le=10,
        description="Lead in score asked for per degree of a row's margin (Llama 2: 1/3 small, 1 large); 0: off.",
    )
    center: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Pull of a pair's scores towards a sum of zero: the weight of its square in the loss; 0: off.",
    )
    adapter: LoRA | None = Field(
        None, description="Train a low-rank adapter and the head instead of every weight."
    )
    learning_rate: float = Field(
        5e-4,
        gt=0,
        le=1,
        description="Highest step size, per optimiser step; 1e-5 for models over 1 G.",
    )
