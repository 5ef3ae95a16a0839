"""The first pass over a batch: rows of token ids, with what soft prompts put before them, as a model's inputs.

Axes: B row, P token of a prefix, T column of a batch, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from ftlab.models.soft import Soft


@dataclass(frozen=True)
class Fed:
    """`inputs` go into the model as keywords. `mask` is B x (P + T), the prefix in the cache included, `positions`
    B x T.

    `starts` is the column of the output, for each row, that belongs to its first id.
    """

    inputs: dict[str, Any]
    mask: Tensor
    positions: Tensor
    starts: list[int]


def feed(
    model: Any,
    rows: Sequence[tuple[list[int], Soft | None]],
    side: Literal["left", "right"],
    cache: DynamicCache | None = None,
) -> Fed:
    """Rows of (ids, soft prompt), padded at one side; `cache` receives the keys and values of prefixes.

    Without a cache one is made where a prefix needs it.
    """
    device = model.get_input_embeddings().weight.device
    before = [0 if soft is None or soft.vectors is None else soft.tokens for _, soft in rows]
    behind = [0 if soft is None or not soft.layers else soft.tokens for _, soft in rows]
    lengths = [len(ids) + count for (ids, _), count in zip(rows, before, strict=True)]
    longest, deepest = max(lengths), max(behind)
    pads = [longest - length if side == "left" else 0 for length in lengths]
    mask_BT = torch.tensor(
        [
            [0] * (deepest - depth) + [1] * depth + [0] * pad + [1] * length + [0] * (longest - pad - length)
            for depth, pad, length in zip(behind, pads, lengths, strict=True)
        ],
        device=device,
    )
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, deepest:]
    starts = [pad + count for pad, count in zip(pads, before, strict=True)]
    ids_BT = torch.tensor(
        [
            [0] * start + ids + [0] * (longest - start - len(ids))
            for start, (ids, _) in zip(starts, rows, strict=True)
        ],
        device=device,
    )
    inputs: dict[str, Any] = {"attention_mask": mask_BT, "position_ids": positions_BT}
    if any(before):
        inputs["inputs_embeds"] = _embedded(model, ids_BT, rows, pads)
    else:
        inputs["input_ids"] = ids_BT
    if deepest:
        cache = DynamicCache(config=model.config) if cache is None else cache
        _remember(cache, rows, deepest)
    if cache is not None:
        inputs |= {"past_key_values": cache, "use_cache": True}
    else:
        inputs["use_cache"] = False
    return Fed(inputs, mask_BT, positions_BT, starts)


def _embedded(
    model: Any, ids_BT: Tensor, rows: Sequence[tuple[list[int], Soft | None]], pads: Sequence[int]
) -> Tensor:
    embeds_BTD: Tensor = model.get_input_embeddings()(ids_BT).clone()
    for row, (pad, (_, soft)) in enumerate(zip(pads, rows, strict=True)):
        if soft is not None and soft.vectors is not None:
            embeds_BTD[row, pad : pad + soft.tokens] = soft.vectors
    return embeds_BTD


def _remember(cache: DynamicCache, rows: Sequence[tuple[list[int], Soft | None]], deepest: int) -> None:
    """Keys and values of the prefixes, as if the model had read them; zeros, which the mask hides, elsewhere."""
    prefixes = [soft for _, soft in rows if soft is not None and soft.layers]
    for layer, (some_HPE, _) in enumerate(prefixes[0].layers):
        shape = (len(rows), some_HPE.shape[0], deepest, some_HPE.shape[2])
        sides = (some_HPE.new_zeros(shape), some_HPE.new_zeros(shape))
        for row, (_, soft) in enumerate(rows):
            if soft is not None and soft.layers:
                for side, side_HPE in zip(sides, soft.layers[layer], strict=True):
                    side[row, :, deepest - soft.tokens :] = side_HPE
        cache.update(*sides, layer)
