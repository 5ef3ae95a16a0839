"""Losses over the odds of the next token whose logits exist one block at a time.

S x V logits of a large vocabulary, their softmax and its gradient are by far the largest thing in a step of
distillation. Here a block of tokens is projected, judged, and its slope brought back to the hidden states at once.

Axes: S scored token, C token of a block, V vocabulary, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ftlab.methods import documents

BLOCK_BYTES = 16 << 20  # of one block's logits; a loss holds about eight things of that size at once
IGNORE = documents.IGNORE

Judge = Callable[[Tensor, slice], Tensor]
"""(logits_CV, which of the S tokens they are) -> the sum of their losses."""


@dataclass(frozen=True)
class Odds:
    """What gives the logits of S tokens: last hidden states and the head; without a head, the logits themselves."""

    hidden: Tensor
    """S x D; S x V without a head."""
    weight: Tensor | None = None
    """V x D."""
    bias: Tensor | None = None

    def __len__(self) -> int:
        return self.hidden.shape[0]

    @property
    def vocabulary(self) -> int:
        return int((self.hidden.shape[-1:] if self.weight is None else self.weight.shape)[0])

    def cut(self, vocabulary: int) -> "Odds":
        """Over the first so many tokens; the rest is padding that no tokenizer writes."""
        if vocabulary == self.vocabulary:
            return self
        if self.weight is None:
            return Odds(self.hidden[:, :vocabulary])
        bias_V = None if self.bias is None else self.bias[:vocabulary]
        return Odds(self.hidden, self.weight[:vocabulary], bias_V)

    def logits(self, part: slice) -> Tensor:
        """In 32 bits."""
        return _project(self.hidden[part], self.weight, self.bias)

    def blocks(self) -> Iterator[slice]:
        """The tokens in blocks whose logits fit into BLOCK_BYTES."""
        size = max(1, BLOCK_BYTES // (4 * self.vocabulary))
        return (slice(start, start + size) for start in range(0, len(self), size))


def scored(model: Any, inputs: dict[str, Any]) -> Odds:
    """The odds before each token that has a label, row after row; `inputs` are right-padded.

    Through the unpadded forward for models that `documents.attach` has been called for.
    """
    inner = bare(model)
    ids_BT, mask_BT = inputs["input_ids"], inputs["attention_mask"]
    next_BT = following(inputs["labels"])
    if not documents.fits(inner):  # something is done to the logits behind the head
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
        return Odds(logits_BTV[next_BT != IGNORE])
    head = inner.get_output_embeddings()
    if inner.config._attn_implementation == documents.ATTENTION:  # noqa: SLF001  # transformers has no other name
        hidden_ND, real_BT = documents.hidden(inner, ids_BT, mask_BT)
        hidden_SD = hidden_ND[next_BT[real_BT] != IGNORE]
    else:
        hidden_BTD = inner.base_model(
            input_ids=ids_BT, attention_mask=mask_BT, use_cache=False
        ).last_hidden_state
        hidden_SD = hidden_BTD[next_BT != IGNORE]
    return Odds(hidden_SD, head.weight, head.bias)


def bare(model: Any) -> Any:
    """The causal language model itself, an adapter's layers left in it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def following(labels_BT: Tensor) -> Tensor:
    """The label that the logits of each place are judged by: that of the next token."""
    next_BT = torch.full_like(labels_BT, IGNORE)
    next_BT[:, :-1] = labels_BT[:, 1:]
    return next_BT


def log_probs(odds: Odds, labels_S: Tensor, temperature: float = 1.0) -> Tensor:
    """Of the labels, without a gradient."""
    with torch.no_grad():
        pieces = [
            (odds.logits(part) / temperature).log_softmax(-1).gather(-1, labels_S[part, None])[:, 0]
            for part in odds.blocks()
        ]
    return torch.cat(pieces) if pieces else odds.hidden.new_zeros(0, dtype=torch.float32)


def total(odds: Odds, judge: Judge) -> Tensor:
    """The sum of what `judge` says of all blocks, with its gradient; `judge` is called once a block."""
    if odds.weight is None:
        pieces = [judge(odds.logits(part), part) for part in odds.blocks()]
        return torch.stack(pieces).sum() if pieces else odds.hidden.sum() * 0.0
    loss: Tensor = _Total.apply(odds.hidden, odds.weight, odds.bias, judge)
    return loss


def _project(hidden_CD: Tensor, weight_VD: Tensor | None, bias_V: Tensor | None) -> Tensor:
    if weight_VD is None:
        return hidden_CD.float()
    bias = None if bias_V is None else bias_V.to(hidden_CD.dtype)
    return functional.linear(hidden_CD, weight_VD.to(hidden_CD.dtype), bias).float()


class _Total(torch.autograd.Function):
    """The gradient is worked out beside the value, block by block, and kept for a cotangent of one."""

    @staticmethod
    def forward(
        context: Any, hidden_SD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, judge: Judge
    ) -> Tensor:
        wants = context.needs_input_grad[:3]
        slopes = [
            torch.zeros_like(given) if wanted and given is not None else None
            for given, wanted in zip((hidden_SD, weight_VD, bias_V), wants, strict=True)
        ]
        kind = hidden_SD.device.type
        # once here: autocast would shorten the whole head anew for every block
        short = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_SD.dtype
        weight = weight_VD.detach().to(short)
        loss = hidden_SD.new_zeros((), dtype=torch.float32)
        for part in Odds(hidden_SD, weight_VD).blocks():
            hidden_CD = hidden_SD[part].detach().to(short)
            logits_CV = _project(hidden_CD, weight, bias_V)
            if not any(wants):
                loss += judge(logits_CV, part)
                continue
            with torch.enable_grad():
                said = judge(logits_CV.requires_grad_(), part)
            (slope_CV,) = torch.autograd.grad(said, logits_CV)
            loss += said.detach()
            del said, logits_CV
            _spread(slope_CV.to(weight.dtype), hidden_CD, weight, part, slopes)
        context.save_for_backward(*slopes)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """In place: the slopes are wanted once, and that of the head is as large as the head."""
        slopes = [
            None if slope is None else slope.mul_(cotangent.to(slope.dtype))
            for slope in context.saved_tensors
        ]
        return (*slopes, None)


def _spread(
    slope_CV: Tensor, hidden_CD: Tensor, weight_VD: Tensor, part: slice, slopes: list[Tensor | None]
) -> None:
    """A block's slope at the logits, carried to hidden states, weight and bias."""
    on_hidden, on_weight, on_bias = slopes
    if on_hidden is not None:
        on_hidden[part] = slope_CV @ weight_VD
    if on_weight is not None:
        if on_weight.dtype == hidden_CD.dtype and not torch.is_autocast_enabled(hidden_CD.device.type):
            on_weight.addmm_(slope_CV.T, hidden_CD)
        else:
            on_weight += (slope_CV.T @ hidden_CD).to(on_weight.dtype)
    if on_bias is not None:
        on_bias += slope_CV.sum(0).to(on_bias.dtype)
