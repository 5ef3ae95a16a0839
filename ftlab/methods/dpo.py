"""Direct preference optimisation: the chosen answer gains against the rejected, measured from the start model."""

from typing import Literal

from pydantic import Field

from ftlab.methods.lora import LoRA
from ftlab.section import Section


class DPO(Section):
    """The model learns from pairs of answers of which one was preferred."""

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(
        0.1,
        gt=0,
        le=10,
        description="How strongly the reference holds, in 1/nats; small values let it move far.",
    )
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = Field(
        "sigmoid", description="Shape of the loss on the margin between chosen and rejected."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of the ratings taken to be wrong way round, 0 to 0.5."
    )
    adapter: LoRA | None = Field(
        None, description="Train a low-rank adapter instead of every weight; its base is then the reference."
    )
    learning_rate: float = Field(
        5e-5, gt=0, le=1, description="Highest step size, per optimiser step; 1e-6 for models over 1 G."
    )
