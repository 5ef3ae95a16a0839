"""Supervised fine-tuning of every weight: the loss is the cross-entropy of the tokens that count."""

from typing import Literal

from pydantic import Field

from ftlab.section import Section


class SFT(Section):
    """Every weight of the model learns from examples."""

    kind: Literal["sft"] = "sft"
    learning_rate: float = Field(
        5e-4,
        gt=0,
        le=1,
        description="Highest step size, per optimiser step; 1e-5 to 5e-5 for models over 100 M.",
    )
    neftune_alpha: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Noise on the embeddings while training, in units of 1/sqrt(length x width) (NEFTune); none: off.",
    )
