"""Low-rank adapters: the base stays frozen, and a product of two thin matrices beside each weight learns."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ftlab.section import Section

Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Adapter(Section):
    """What every low-rank adapter has: h = W x + scale B A x, with A of rank x inputs and B of outputs x rank."""

    rank: int = Field(8, gt=0, le=1024, description="Width of the adapter; its size grows linearly with it.")
    alpha: float | None = Field(
        None, gt=0, le=8192, description="The adapter counts alpha / rank times; none: twice the rank."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the adapter's inputs that is dropped at random."
    )
    targets: Literal["all-linear", "attention"] | Annotated[list[Name], Field(min_length=1)] = Field(
        "all-linear",
        description='Which weights get an adapter: a word for the usual sets, or names of modules such as "q_proj".',
    )

    @property
    def scaled_by(self) -> float:
        """Alpha as it is used: twice the rank where none was given."""
        return 2 * self.rank if self.alpha is None else self.alpha


class LoRA(Adapter):
    """A small adapter beside the frozen weights learns from examples."""

    kind: Literal["lora"] = "lora"
    rslora: bool = Field(False, description="Count the adapter alpha / sqrt(rank) times, for ranks over 32.")
    dora: bool = Field(
        False, description="Learn the length of each weight's columns apart from their direction (DoRA)."
    )
    start: Literal["zero", "gaussian", "pissa", "olora"] = Field(
        "zero",
        description="First values: B = 0 with a uniform or Gaussian A, or a part of the weights themselves.",
    )
    plus: float | None = Field(
        None, ge=1, le=256, description="How many times A's step size B gets (LoRA+: 16); none: the same."
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="Highest step size, per optimiser step; 1e-4 to 1e-3 is usual."
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.dora and self.start in ("pissa", "olora"):
            raise ValueError(
                f"dora learns the length of the whole weight, and start {self.start!r} takes a part of it away; "
                'use one of them, or start "gaussian"'
            )
        return self
