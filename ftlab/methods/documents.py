"""A forward pass without padding: rows laid end to end, each attending to itself, scored where a label is.

The trainers of TRL call `model(..., labels=…, fused_lm_head=True)` and read per-token log-probabilities.
TRL's own version of that call computes every padded position and, on a CPU, projects each of them on the whole
vocabulary, twice. The one here gives the same numbers at the positions that count and zero elsewhere.
Soft prompts are carried too: vectors stand before each row like tokens, prefixes before its keys and values.

Axes: B row, T token of a row, N token of all rows laid end to end, S scored token, V vocabulary, D width,
H head of keys and values, P token of a prefix, W width of a head.
"""

import inspect
import types
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
    attach(model)
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

    # generate() checks its arguments by it; taken from the class, for binding takes the first one away
    forward.__signature__ = inspect.signature(type(model).forward)  # type: ignore[attr-defined]
    model.forward = types.MethodType(forward, model)


def attach(model: Any) -> None:
    """Gives the model the attention that `hidden` needs; whatever else calls the model sees the usual one."""
    register()
    model.set_attn_implementation(ATTENTION)


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
    document_prefix: list[tuple[Tensor, Tensor]] | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document; without `document_lengths` the usual one (for generation).

    Documents one after another cost the sum of their squares; a mask over all of them, the square of the sum.
    `document_prefix`: keys and values (1HPW each) a layer, which stand before each document and are seen by all of it.
    """
    if document_lengths is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
        return output
    options = {"dropout_p": dropout, "scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    prefix = None if document_prefix is None else document_prefix[module.layer_idx]
    pieces = []
    for q, k, v in zip(
        query.split(document_lengths, dim=2),
        key.split(document_lengths, dim=2),
        value.split(document_lengths, dim=2),
        strict=True,
    ):
        if prefix is None:
            piece = functional.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
        else:
            k, v = (torch.cat(pair, dim=2) for pair in zip(prefix, (k, v), strict=True))  # noqa: PLW2901
            seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
            seen = seen.tril(k.shape[2] - q.shape[2])
            piece = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, **options)
        pieces.append(piece.transpose(1, 2))
    return torch.cat(pieces, dim=1), None


def _scored(
    model: Any,
    outputs: tuple[str, ...],
    labels: Tensor,
    num_items_in_batch: Tensor | int | None = None,
    use_cache: bool = False,  # noqa: ARG001  # TRL names it; there is never a cache here
    **rows: Any,
) -> Any:
    """TRL's FusedCausalLMOutput for right-padded rows, given as `hidden` takes them."""
    from trl.trainer.utils import FusedCausalLMOutput

    hidden_ND, real_BT = hidden(model, **rows)
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

    hidden_ND, real_BT = hidden(model, input_ids, attention_mask)
    last_B = real_BT.sum(1).cumsum(0) - 1
    return SequenceClassifierOutputWithPast(logits=model.score(hidden_ND[last_B]))


def hidden(
    model: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    past_key_values: Any = None,
) -> tuple[Tensor, Tensor]:
    """Last hidden states of the tokens that are no padding (ND), and which of the right-padded ones these are (BT).

    `model` is a causal language model that `fits` and has been `attach`ed. `inputs_embeds` (BTD) stands for the ids
    where a soft prompt has been put before them; `past_key_values` is a prefix, the same for every row. The mask of
    either counts the prompt's tokens; the positions of what is given go on behind a prefix.
    """
    given = input_ids if inputs_embeds is None else inputs_embeds
    assert given is not None
    size = given.shape[:2]
    # cut at the left: a prefix has places in the mask, and none in the ids
    real_BT = (
        torch.ones(size, dtype=torch.bool, device=given.device)
        if attention_mask is None
        else attention_mask[:, attention_mask.shape[1] - size[1] :].bool()
    )
    lengths = real_BT.sum(1).tolist()
    prefix = _prefix(past_key_values)
    start = 0 if prefix is None else prefix[0][0].shape[2]
    hidden_1ND = model.base_model(
        **{"input_ids" if inputs_embeds is None else "inputs_embeds": given[real_BT][None]},
        position_ids=torch.cat([torch.arange(start, start + n, device=given.device) for n in lengths])[None],
        # four axes: transformers hands the mask on as it is, and builds none of N x N
        attention_mask=torch.zeros((1, 1, 1, 1), dtype=torch.long, device=given.device),
        use_cache=False,
        document_lengths=lengths,
        **({} if prefix is None else {"document_prefix": prefix}),
    ).last_hidden_state
    return hidden_1ND[0], real_BT


def _prefix(past_key_values: Any) -> list[tuple[Tensor, Tensor]] | None:
    """Keys and values (1HPW) of each layer, of the first row: PEFT repeats them for every one."""
    if past_key_values is None:
        return None
    return [(layer.keys[:1], layer.values[:1]) for layer in past_key_values.layers]


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
