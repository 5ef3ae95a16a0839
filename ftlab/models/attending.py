"""How much a model looks back at its rule in the moment in which it begins to answer.

Axes: L layer, H head, T token.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from ftlab.answers import Message, Prompt, as_messages
from ftlab.errors import DataError
from ftlab.models.chat import encode
from ftlab.models.feeding import feed
from ftlab.models.model import IN_USE, Model


def attention(
    model: Model, prompts: Sequence[Prompt], cancelled: threading.Event | None = None
) -> Iterator[list[tuple[str, float]]]:
    """For each conversation, (text, attention) of every token of what stands before it.

    That is its prompt or, where the model is behind none, its system message. The attention is the largest of all
    layers and heads, 0 to 1, from the last token that is read, as in Llama 2's figure on rules that wear off
    (Touvron et al. 2023, section 3.3). Raises DataError where nothing stands before, or it is too long.
    """
    for place, prompt in enumerate(prompts):
        if cancelled is not None and cancelled.is_set():
            return
        messages = as_messages(prompt)
        ids = model.encode(messages).ids
        before = len(ids) - len(encode(model.tokenizer, _bare(messages), model.reference).ids)
        if before == 0:
            raise DataError(f"{model.reference}: no rule stands before prompt {place}; give a system message")
        length = len(ids) + (0 if model.soft is None else model.soft.tokens)
        if length > model.base.context:
            raise DataError(
                f"{model.reference}: prompt {place} takes {length} tokens and the model reads {model.base.context}"
            )
        with IN_USE, torch.inference_mode():
            looked = _from_last(model, ids)
        texts = [model.tokenizer.decode([token]) for token in ids[:before]]
        yield list(zip(texts, looked[:before], strict=True))


def _bare(messages: list[Message]) -> list[Message]:
    return messages[1:] if messages[0]["role"] == "system" else messages


def _from_last(model: Model, ids: list[int]) -> list[float]:
    """To each of the ids, from the last one; only its row of the table of all pairs is ever made."""
    network: Any = model.base.model
    forward = model.base.forward_for([model.adapter])
    cache = DynamicCache(config=network.config)
    fed = feed(network, [(ids[:-1], model.soft)], "right", cache)
    forward([0], **fed.inputs, logits_to_keep=1)
    usual = network.config._attn_implementation  # noqa: SLF001 - it has no public name
    network.set_attn_implementation("eager")  # the fused kinds keep no table
    try:
        output = forward(
            [0],
            input_ids=torch.tensor([ids[-1:]], device=model.base.device),
            attention_mask=torch.cat([fed.mask, fed.mask.new_ones(1, 1)], -1),
            position_ids=fed.positions[:, -1:] + 1,
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        )
    finally:
        network.set_attn_implementation(usual)
    table_LHT = torch.stack([layer[0, :, -1] for layer in output.attentions])
    found: list[float] = table_LHT.amax((0, 1))[-len(ids) :].tolist()
    return found
