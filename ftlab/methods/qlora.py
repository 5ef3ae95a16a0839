"""LoRA on a base that is kept in four bits: every weight is rounded to one of 16 levels of its block's scale."""

from typing import Literal

from pydantic import Field

from ftlab.methods.lora import Adapter


class QLoRA(Adapter):
    """A small adapter learns beside weights of four bits each."""

    kind: Literal["qlora"] = "qlora"
    block: Literal[32, 64, 128, 256] = Field(
        64, description="Weights that share one scale; smaller blocks are truer and larger."
    )
    double_quantization: bool = Field(
        True, description="Keep the blocks' scales in 8 bits as well (0.127 instead of 0.5 bits a weight)."
    )
    backend: Literal["auto", "torch", "bitsandbytes"] = Field(
        "auto", description="Whose 4-bit layers; auto: bitsandbytes on a GPU, ftlab's own on a CPU."
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        description="Highest step size, per optimiser step; 1e-4 to 2e-4 for models over 1 G.",
    )
