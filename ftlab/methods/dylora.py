"""LoRA of every rank at once: each step trains a rank drawn anew, so the finished adapter may be cut to any."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ftlab.methods.lora import Adapter


class DyLoRA(Adapter):
    """An adapter learns that can be cut to any lower rank afterwards."""

    kind: Literal["dylora"] = "dylora"
    min_rank: int = Field(1, gt=0, le=1024, description="Smallest rank that is drawn; up to rank.")
    draw: Literal["uniform", "geometric"] = Field(
        "uniform", description="How ranks are drawn: each as often, or small ones more often."
    )
    update: Literal["normal", "frozen"] = Field(
        "normal", description="What a step changes: all ranks up to the one drawn, or that one alone."
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="Highest step size, per optimiser step; 1e-4 to 1e-3 is usual."
    )

    @model_validator(mode="after")
    def _draws_from_something(self) -> Self:
        if self.min_rank > self.rank:
            raise ValueError(
                f"min_rank is {self.min_rank} and rank {self.rank}; the smallest rank cannot be larger"
            )
        return self
