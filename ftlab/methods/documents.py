"""A forward pass without padding: rows laid end to end, each attending to itself, scored where a label is.

The trainers of TRL call `model(..., labels=…, fused_lm_head=True)` and read per-token log-probabilities.
TRL's own version of that call computes every padded position and, on a CPU, projects each of them on the whole
vocabulary, twice. The one here gives the same numbers at the positions that count and zero elsewhere.

Axes: B row, T token of a row, N token of all rows laid end to end, S scored token, V vocabulary, D width.
"""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ATTENTION = "ftlab_documents"
IGNORE = -100
SCORE = ("score",)
CHUNK = 256  # scored tokens projected together: 256 x 49,152 in 32 bits are 48 MiB


def install(model: Any, outputs: tuple[str, ...]) -> None:
    """Puts the unpadded forward behind `fused_lm_head=True` of a causal language model that TRL has prepared.

    `outputs` names the per-token fields the trainer reads, as in `trl.trainer.utils.FusedCausalLMOutput`; SCORE
    alone, for a model whose head gives one number a row, replaces its whole forward.
    """
    register()
    model.set_attn_implementation(ATTENTION)
    if outputs == SCORE:
        model.forward = types.MethodType(_rewarded, model)
        return
    prepared = model.forward

    def forward(self: Any, *arguments: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return prepared(*arguments, **inputs)
        given = {
            name: value for name, value in inputs.items() if value is not None
        }  # PEFT names every argument
        return _scored(self, outputs, **given)

    forward.__signature__ = _signature(prepared)  # type: ignore[attr-defined]  # generate() checks its arguments by it
    model.forward = types.MethodType(forward, model)


def fits(model: Any) -> bool:
    """Whether the model is one whose numbers `_scored` is known to give: a plain decoder with a plain head."""
    config = model.config.get_text_config()
    scales = (
        "logit_scale",
        "output_multiplier",
        "lm_head_multiplier",
        "logits_scaling",
        "final_logit_softcapping",
    )
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config is model.config
        and getattr(model, "_supports_attention_backend", False)
        and kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and all(getattr(config, name, None) is None for name in scales)
        and not hasattr(config, "output_router_logits")
        and not hasattr(config, "alibi")
    )


def register() -> None:
    """Makes the attention known to transformers; done once a process."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    document_lengths: list[int] | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document; without `document_lengths` the usual one (for generation).

    Documents one after another cost the sum of their squares; a mask over all of them, the square of the sum.
    """
    if document_lengths is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
        return output
    grouped = query.shape[1] != key.shape[1]
    pieces = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in zip(
            query.split(document_lengths, dim=2),
            key.split(document_lengths, dim=2),
            value.split(document_lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat([piece.transpose(1, 2) for piece in pieces], dim=1), None


def _scored(
    model: Any,
    outputs: tuple[str, ...],
    input_ids: Tensor,
    labels: Tensor,
    attention_mask: Tensor | None = None,
    num_items_in_batch: Tensor | int | None = None,
    use_cache: bool = False,  # noqa: ARG001  # TRL names it; there is never a cache here
) -> Any:
    """TRL's FusedCausalLMOutput for right-padded rows."""
    from trl.trainer.utils import FusedCausalLMOutput

    hidden_ND, real_BT = _hidden(model, input_ids, attention_mask)
    next_BT = torch.full_like(labels, IGNORE)
    next_BT[:, :-1] = labels[:, 1:]
    next_N = next_BT[real_BT]
    scored_N = next_N != IGNORE
    head = model.get_output_embeddings()
    fields_S = Score.apply(
        hidden_ND[scored_N], head.weight, head.bias, next_N[scored_N], "entropy" in outputs
    )
    mask_BT = labels[:, 1:] != IGNORE
    spread = dict(zip(("log_probs", "entropy", "mean_logits", "is_top1"), fields_S, strict=True))
    fields = {
        name: field.new_zeros(mask_BT.shape).masked_scatter(mask_BT, field)
        for name, field in spread.items()
        if name in outputs
    }
    count = mask_BT.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    return FusedCausalLMOutput(loss=-fields["log_probs"].sum() / count, label_mask=mask_BT, **fields)


def _rewarded(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    **_: Any,  # TRL hands on its margins as well, and PEFT names every argument
) -> Any:
    """One number a row, read at the last token that is no padding; the same as transformers gives for padded rows."""
    from transformers.modeling_outputs import SequenceClassifierOutputWithPast

    hidden_ND, real_BT = _hidden(model, input_ids, attention_mask)
    last_B = real_BT.sum(1).cumsum(0) - 1
    return SequenceClassifierOutputWithPast(logits=model.score(hidden_ND[last_B]))


def _hidden(model: Any, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Last hidden states of the tokens that are no padding, and which of the right-padded ones these are."""
    real_BT = (
        torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    )
    lengths = real_BT.sum(1).tolist()
    positions_1N = torch.cat([torch.arange(length, device=input_ids.device) for length in lengths])[None]
    hidden_ND = model.base_model(
        input_ids=input_ids[real_BT][None],
        position_ids=positions_1N,
        # four axes: transformers hands the mask on as it is, and builds none of N x N
        attention_mask=input_ids.new_zeros((1, 1, 1, 1)),
        use_cache=False,
        document_lengths=lengths,
    ).last_hidden_state[0]
    return hidden_ND, real_BT


class Score(torch.autograd.Function):
    """Log-probability, entropy, mean logit and correctness of the next token, in blocks of the vocabulary's width.

    Only the log-probability has a gradient. The logits of a block are used for it at once and forgotten:
    keeping p - onehot would take S x V numbers, computing the logits again another projection.
    The gradient with respect to the hidden state is therefore kept per token for a cotangent of one.
    """

    @staticmethod
    def forward(
        context: Any,
        hidden_SD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_S: Tensor,
        entropy: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wants_hidden, wants_weight = context.needs_input_grad[0], context.needs_input_grad[1]
        size = hidden_SD.shape[0]
        log_probs_S, entropy_S, mean_S = (hidden_SD.new_zeros(size, dtype=torch.float32) for _ in range(3))
        is_top1_S = torch.empty(size, dtype=torch.bool, device=hidden_SD.device)
        slope_SD = torch.empty_like(hidden_SD) if wants_hidden else None
        weight = weight_VD.detach().to(hidden_SD.dtype)
        for start in range(0, size, CHUNK):
            part = slice(start, start + CHUNK)
            labels = labels_S[part, None]
            logits = functional.linear(hidden_SD[part], weight, bias_V).float()
            label_logits = logits.gather(1, labels)
            mean_S[part] = logits.mean(1)
            top = logits.amax(1, keepdim=True)
            is_top1_S[part] = (label_logits == top)[:, 0]
            # in place from here on: one block of S x V numbers is the largest thing in the step
            probs = logits.sub_(top).exp_()
            total = probs.sum(1, keepdim=True)
            log_total = total.log()
            log_probs_S[part] = (label_logits - top - log_total)[:, 0]
            probs.div_(total)
            if entropy:
                entropy_S[part] = torch.special.entr(probs).sum(1)
            if slope_SD is not None:
                probs.scatter_add_(1, labels, probs.new_full(labels.shape, -1.0))
                slope_SD[part] = probs.to(weight.dtype).neg_() @ weight
        context.save_for_backward(slope_SD, hidden_SD, weight_VD, bias_V, labels_S)
        context.wants_weight = wants_weight
        context.mark_non_differentiable(entropy_S, mean_S, is_top1_S)
        return log_probs_S, entropy_S, mean_S, is_top1_S

    @staticmethod
    def backward(context: Any, grad_S: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        slope_SD, hidden_SD, weight_VD, bias_V, labels_S = context.saved_tensors
        grad_hidden = None if slope_SD is None else slope_SD * grad_S[:, None].to(slope_SD.dtype)
        if not context.wants_weight:
            return grad_hidden, None, None, None, None
        grad_weight = torch.zeros_like(weight_VD)
        grad_bias = None if bias_V is None else torch.zeros_like(bias_V)
        weight = weight_VD.to(hidden_SD.dtype)
        for start in range(0, hidden_SD.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            probs = functional.linear(hidden_SD[part], weight, bias_V).float().softmax(1)
            labels = labels_S[part, None]
            probs.scatter_add_(1, labels, probs.new_full(labels.shape, -1.0))
            probs.mul_(-grad_S[part, None])
            grad_weight += (probs.T.to(hidden_SD.dtype) @ hidden_SD[part]).to(grad_weight.dtype)
            if grad_bias is not None:
                grad_bias += probs.sum(0).to(grad_bias.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None


def _signature(function: Callable[..., Any]) -> Any:
    import inspect

    return inspect.signature(function)
