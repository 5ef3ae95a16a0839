"""The four sizes of wren: their shapes, their pretraining budgets, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import ModelError
from ftlab.wren.tokenizer import END_ID, PAD_ID, VOCABULARY

if TYPE_CHECKING:
    from transformers import LlamaConfig

CONTEXT = 512
"""Longest text in tokens."""
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Size:
    """One member: `width` must divide by `heads`; `tokens` and `rate` are its pretraining."""

    name: str
    width: int
    layers: int
    heads: int
    inner: int
    tokens: int
    rate: float
    summary: str

    def config(self) -> LlamaConfig:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            intermediate_size=self.inner,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            attention_dropout=0.0,
            bos_token_id=None,
            eos_token_id=END_ID,
            pad_token_id=PAD_ID,
            use_cache=True,
        )


SIZES: dict[str, Size] = {
    size.name: size
    for size in (
        Size("wren", 192, 4, 6, 512, 4_500_000, 4e-3, "the default of the notebooks"),
        Size("wren-s", 128, 3, 4, 352, 3_000_000, 5e-3, "small and quick: reward models, tests of methods"),
        Size("wren-xs", 96, 2, 4, 256, 3_000_000, 6e-3, "the student of distillation, and smoke tests"),
        Size(
            "wren-l", 256, 6, 8, 688, 6_000_000, 3e-3, "the teacher, and the big base model to compare with"
        ),
    )
}
"""In the order in which they are built."""


def folder(name: str = "wren") -> Path:
    """The shipped model's folder: config, weights, tokenizer and card, as transformers wants them.

    Raises ModelError where there is no such member, or its files were not installed.
    """
    if name not in SIZES:
        raise ModelError(f"no model {name!r} in the family; there are {', '.join(SIZES)}")
    found = SHIPPED / name
    if not (found / "model.safetensors").is_file():
        raise ModelError(f"{found} has no model.safetensors; `python -m ftlab.wren --only {name}` builds one")
    return found
