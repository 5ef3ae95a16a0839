"""Soft prompts: vectors that no word has before a row, or keys and values before it in every layer.

Prompt tuning (Lester et al. 2021) and P-tuning (Liu et al. 2021) leave vectors as wide as an embedding; prefix
tuning (Li and Liang 2021) leaves keys and values, to which every token of the row attends. No weight of the base
has part in them, so that rows of several soft prompts, of LoRA adapters and of the bare base share a batch.

Axes: P token of the soft prompt, D width, L layer, H head of keys and values, E width of a head.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ftlab.errors import ModelError
from ftlab.models.lora import read_tensors

if TYPE_CHECKING:
    from peft import PeftConfig

VECTORS = ("PROMPT_TUNING", "P_TUNING")
PREFIX = "PREFIX_TUNING"
KINDS = (*VECTORS, PREFIX)
_NAME = "prompt_embeddings"


@dataclass(frozen=True)
class Soft:
    """Either `vectors` (P x D), or a pair (keys_HPE, values_HPE) for each layer."""

    tokens: int
    vectors: Tensor | None = None
    layers: tuple[tuple[Tensor, Tensor], ...] = ()


def read(folder: Path, config: "PeftConfig", model: Any, reference: str) -> Soft:
    """The soft prompt that PEFT saved in a folder, in the model's number format and on its device.

    Raises ModelError where its numbers are not there, or are of another shape than the model needs.
    """
    tensors = read_tensors(folder, reference)
    if _NAME not in tensors:
        raise ModelError(
            f"{reference}: {folder}/adapter_model.safetensors has no {_NAME!r}, only {', '.join(sorted(tensors))}; "
            "save it again with PEFT's save_pretrained"
        )
    weight = model.get_input_embeddings().weight
    numbers = tensors[_NAME].to(device=weight.device, dtype=weight.dtype)
    if config.peft_type == PREFIX:
        return _prefix(numbers, model.config, reference)
    if numbers.dim() != 2 or numbers.shape[1] != weight.shape[1]:
        raise ModelError(
            f"{reference}: its vectors have the shape {tuple(numbers.shape)}, the model's embeddings are "
            f"{weight.shape[1]} wide; take the base that it was trained on"
        )
    return Soft(numbers.shape[0], vectors=numbers)


def _prefix(numbers: Tensor, config: Any, reference: str) -> Soft:
    """As PEFT lays it out: for each token, the keys of layer 0, its values, the keys of layer 1, ..."""
    layers = config.num_hidden_layers
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if numbers.dim() != 2 or numbers.shape[1] != 2 * layers * heads * width:
        raise ModelError(
            f"{reference}: its keys and values have the shape {tuple(numbers.shape)}; {layers} layers with {heads} "
            f"heads of {width} need {2 * layers * heads * width} numbers a token; take the base that it was trained on"
        )
    sides = numbers.view(-1, 2 * layers, heads, width).permute(1, 2, 0, 3).contiguous()
    return Soft(
        numbers.shape[0], layers=tuple((sides[2 * layer], sides[2 * layer + 1]) for layer in range(layers))
    )
