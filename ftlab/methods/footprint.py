"""What training takes, from the shape of a model alone: bytes of weights, gradients, moments and activations.

Nothing here is measured on the machine; `probe` does that where the model is small enough to be tried.
"""

from dataclasses import dataclass
from typing import Any, Literal

MIB = 1 << 20
LIBRARIES_MIB = 620.0  # of a trainer on a CPU before it has a model: torch, transformers, TRL, PEFT
NF4_BYTES = 0.53  # a weight in four bits with the scales of its block (QLoRA, section 3)
MOMENTS = 8  # bytes AdamW keeps a trained number, two in 32 bits
SCORED_TOGETHER = 256  # tokens, as in `documents`
LOGIT_BYTES = 12  # a token and word where TRL's own forward keeps logits, their softmax and its gradient

Weights = Literal["float32", "bfloat16", "nf4"]


@dataclass(frozen=True)
class Shape:
    """A decoder: widths in numbers, `parameters` all of it, `embedded` those of the table of words."""

    parameters: int
    embedded: int
    width: int
    layers: int
    inner: int
    keys: int
    """Width of keys and of values: less than `width` where heads share them."""
    vocabulary: int

    @classmethod
    def of(cls, config: Any, parameters: int) -> "Shape":
        """From transformers' configuration of a text model."""
        text = config.get_text_config()
        width = int(text.hidden_size)
        heads = int(getattr(text, "num_attention_heads", 1))
        shared = int(getattr(text, "num_key_value_heads", None) or heads)
        vocabulary = int(text.vocab_size)
        return cls(
            parameters,
            vocabulary * width,
            width,
            int(text.num_hidden_layers),
            int(getattr(text, "intermediate_size", None) or 4 * width),
            width * shared // heads,
            vocabulary,
        )


@dataclass(frozen=True)
class Setting:
    """How a model is trained, as far as memory is concerned."""

    trained: int
    """Numbers that learn."""
    tokens: int
    """Of the heaviest batch that is computed at once."""
    weights: Weights = "float32"
    short_products: bool = False
    """Activations in 16 bits."""
    checkpointing: bool = False
    """Each layer computed again on the way back instead of kept."""
    logits_kept: bool = False
    """The whole batch's logits at once, as TRL's own forward has them."""


def memory_mib(shape: Shape, setting: Setting, *, libraries: float = LIBRARIES_MIB) -> float:
    """The most that one process holds."""
    return libraries + (_lasting(shape, setting) + _passing(shape, setting)) / MIB


def _lasting(shape: Shape, setting: Setting) -> float:
    """Weights, gradients and moments."""
    linear = shape.parameters - shape.embedded
    each = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.0}[setting.weights]
    weights = (
        linear * NF4_BYTES + shape.embedded * 2.0 if setting.weights == "nf4" else shape.parameters * each
    )
    added = setting.trained * 4 if setting.trained < shape.parameters else 0  # an adapter stands beside them
    return weights + added + setting.trained * (4 + MOMENTS)


def _passing(shape: Shape, setting: Setting) -> float:
    """What one batch leaves behind on the way forward, for the way back."""
    each = 2 if setting.short_products or setting.weights != "float32" else 4
    layer = each * (10 * shape.width + 3 * shape.keys + 4 * shape.inner)
    kept = each * shape.width * shape.layers + layer if setting.checkpointing else layer * shape.layers
    together = setting.tokens if setting.logits_kept else min(setting.tokens, SCORED_TOGETHER)
    return setting.tokens * kept + together * shape.vocabulary * LOGIT_BYTES


def operations(shape: Shape, setting: Setting, tokens: float) -> float:
    """Additions and multiplications of a pass there and back over so many tokens (Kaplan et al. 2020, appendix B)."""
    forward = 2.0 * (shape.parameters - shape.embedded) + 2.0 * shape.embedded
    there_and_back = 3.0 if setting.trained >= shape.parameters else 2.0  # frozen weights have no gradient
    return forward * tokens * (there_and_back + (1.0 if setting.checkpointing else 0.0))
