"""A batch worked through in portions, so that what a step keeps for its way back does not grow with the batch.

Loss and gradient of a batch are sums over its tokens, so any cut between rows gives the same ones, up to rounding.
Where rows lie end to end without padding a portion costs no time either: it is as dense as the whole.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

LEAST_BYTES = 512 << 20
"""What a step may always keep: below this nothing is worth cutting."""
SHARE = 4.0
"""What it may keep beyond, as a multiple of the model's own bytes."""
KEPT = (8, 5)
"""Numbers kept for the way back, a token and layer: multiples of width and inner width, as seen with Llamas."""


class Apart:
    """A collator that takes packed rows apart again: in a batch without padding each lies by itself anyway.

    Thus the documents of a packed row see each other as little as any two rows do.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return self.collate([document for row in rows for document in _documents(row)])


def _documents(row: dict[str, Any]) -> list[dict[str, Any]]:
    lengths = row.get("seq_lengths")
    if lengths is None:
        return [row]
    documents, start = [], 0
    for length in lengths:
        part = slice(start, start + length)
        documents.append({name: row[name][part] for name in ("input_ids", "labels")})
        start += length
    return documents


def fitting(model: Any) -> int:
    """How many tokens a portion may have. The number follows from the model alone, so that every run cuts the same."""
    config = model.config.get_text_config()
    width, inner = config.hidden_size, getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    numbers = config.num_hidden_layers * (KEPT[0] * width + KEPT[1] * inner)
    largest = max((p for p in model.parameters() if p.dim() > 1), key=lambda p: p.numel())
    own = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return max(1, int(max(LEAST_BYTES, SHARE * own) / (numbers * largest.element_size())))


def cut(inputs: dict[str, Any], tokens: int) -> list[dict[str, Any]]:
    """Neighbouring rows together while they have at most so many tokens, at least one row each; right-padded.

    Padding that only a longer row of another portion needed is taken away.
    """
    lengths = inputs["attention_mask"].sum(1).tolist()
    groups: list[list[int]] = [[]]
    size = 0
    for row, length in enumerate(lengths):
        if groups[-1] and size + length > tokens:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += length
    if len(groups) == 1:
        return [inputs]
    parts = []
    for group in groups:
        longest = max(lengths[row] for row in group)
        parts.append(
            {name: _part(value, inputs["input_ids"].shape, group, longest) for name, value in inputs.items()}
        )
    return parts


def _part(value: Any, shape: Any, group: list[int], longest: int) -> Any:
    """The rows of a group, where the value has a place for each row, and their tokens, where it has one for each."""
    if isinstance(value, list) and len(value) == shape[0]:
        return [value[row] for row in group]
    if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] != shape[0]:
        return value
    return value[group, :longest] if value.shape[:2] == shape else value[group]
