"""How far two odds of the next token are apart: the losses of distillation, each as its paper has it.

Pure functions of tensors, in nats, one number a token; who calls them picks the tokens that are scored. A teacher is
P, a student Q; `log_P_SV` and `log_Q_SV` are their log-probabilities.

Axes: S scored token, V vocabulary, K likeliest tokens of the teacher.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def forward_kl(log_P_SV: Tensor, log_Q_SV: Tensor) -> Tensor:
    """KL(P‖Q): dear wherever the teacher puts odds and the student none, so the student covers all it does."""
    return (log_P_SV.exp() * _difference(log_P_SV, log_Q_SV)).sum(-1)


def reverse_kl(log_P_SV: Tensor, log_Q_SV: Tensor) -> Tensor:
    """KL(Q‖P): dear wherever the student puts odds and the teacher none, so the student picks what is likeliest."""
    return forward_kl(log_Q_SV, log_P_SV)


def generalised_jsd(log_P_SV: Tensor, log_Q_SV: Tensor, beta: float) -> Tensor:
    """The sum of beta KL(P‖M) and (1 - beta) KL(Q‖M), M being beta P + (1 - beta) Q (Agarwal et al. 2023).

    At its ends, where this is 0 everywhere, it is what remains of it divided by beta or 1 - beta: forward KL for
    beta = 0, reverse KL for beta = 1. So it is in TRL as well.
    """
    if beta == 0:
        return forward_kl(log_P_SV, log_Q_SV)
    if beta == 1:
        return reverse_kl(log_P_SV, log_Q_SV)
    log_M_SV = mixture(log_P_SV, log_Q_SV, beta)
    return beta * forward_kl(log_P_SV, log_M_SV) + (1 - beta) * forward_kl(log_Q_SV, log_M_SV)


def mixture(log_P_SV: Tensor, log_Q_SV: Tensor, share: float) -> Tensor:
    """Log-probabilities of `share` P + (1 - share) Q; 0 < share < 1."""
    return torch.logaddexp(log_P_SV + math.log(share), log_Q_SV + math.log(1 - share))


def softened_kl(teacher_SV: Tensor, student_SV: Tensor, temperature: float) -> Tensor:
    """T² KL(P_T‖Q_T) of logits divided by T (Hinton et al. 2015): T² keeps the gradient's size as T grows."""
    log_P_SV = (teacher_SV / temperature).log_softmax(-1)
    log_Q_SV = (student_SV / temperature).log_softmax(-1)
    return temperature**2 * forward_kl(log_P_SV, log_Q_SV)


def hinton(
    teacher_SV: Tensor, student_SV: Tensor, labels_S: Tensor, *, alpha: float, temperature: float
) -> Tensor:
    """Their sum: alpha H(y, Q) + (1 - alpha) T² KL(P_T‖Q_T) of logits; the labels' part is not softened."""
    hard_S = label_loss(student_SV.log_softmax(-1), labels_S) if alpha else 0.0
    soft_S = softened_kl(teacher_SV, student_SV, temperature) if alpha < 1 else 0.0
    return torch.as_tensor(alpha * hard_S + (1 - alpha) * soft_S)


def label_loss(log_Q_SV: Tensor, labels_S: Tensor) -> Tensor:
    """-log Q(label)."""
    return -log_Q_SV.gather(-1, labels_S[..., None])[..., 0]


def top_kl(ids_SK: Tensor, log_P_SK: Tensor, log_rest_S: Tensor, student_SV: Tensor) -> Tensor:
    """KL of the teacher's likeliest K tokens and one bucket with all others (Askell et al. 2021).

    Never above the full KL, and equal to it where the rest has odds of 0 or is spread as the student spreads it.
    `log_rest_S` is -inf where there is no rest.
    """
    log_total_S = student_SV.logsumexp(-1)
    log_Q_SK = student_SV.gather(-1, ids_SK) - log_total_S[..., None]
    top_S = forward_kl(log_P_SK, log_Q_SK)
    if ids_SK.shape[-1] == student_SV.shape[-1]:
        return top_S
    others_SV = student_SV.scatter(-1, ids_SK, -torch.inf)
    log_Q_rest_S = others_SV.logsumexp(-1) - log_total_S
    return top_S + log_rest_S.exp() * _difference(log_rest_S, log_Q_rest_S)


def keep_top(log_P_SV: Tensor, count: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """(ids_SK, log_P_SK, log_rest_S) for `top_kl`: the likeliest `count` tokens, all where it is None."""
    width = log_P_SV.shape[-1]
    log_P_SK, ids_SK = log_P_SV.topk(width if count is None else min(count, width), dim=-1)
    rest_S = (1 - log_P_SK.exp().sum(-1)).clamp(min=0)
    if log_P_SK.shape[-1] == width:
        rest_S = torch.zeros_like(rest_S)
    return ids_SK, log_P_SK, rest_S.log()


def importance(log_Q_S: Tensor, log_drawn_S: Tensor) -> Tensor:
    """w_t = q(y_t) / p̃(y_t) of tokens drawn from p̃: MiniLLM's per-token weight (Gu et al. 2023, after eq. 6).

    The exact weight is the product over all tokens so far; the paper takes the last factor, of smaller variance.
    """
    return (log_Q_S - log_drawn_S).exp()


def returns_ahead(log_ratio_S: Tensor, lengths: Sequence[int]) -> Tensor:
    """R_{t+1}: the mean of log p / q over the tokens of an answer after this one; 0 at its last (Gu et al., eq. 6).

    Answers lie end to end, `lengths` tokens each. Divided by the number of tokens ahead, so that long answers have
    no greater weight than short ones.
    """
    pieces = []
    for ratio_T in log_ratio_S.split(list(lengths)):
        ahead_T = ratio_T.flip(0).cumsum(0).flip(0) - ratio_T
        count_T = torch.arange(len(ratio_T) - 1, -1, -1, device=ratio_T.device)
        pieces.append(ahead_T / count_T.clamp(min=1))
    return torch.cat(pieces) if pieces else log_ratio_S


def minillm(log_P_SV: Tensor, log_Q_SV: Tensor, drawn_S: Tensor, ahead_S: Tensor, weight_S: Tensor) -> Tensor:
    """What has MiniLLM's gradient (Gu et al. 2023, eq. 7): w (KL(Q‖P) - R_{t+1} log Q(y_t)), w and R held fixed.

    The first term is the expected reward of the next token over the whole vocabulary, the second the policy
    gradient of everything after it. As a number only its first term means anything.
    """
    single_S = reverse_kl(log_P_SV, log_Q_SV)
    long_S = ahead_S.detach() * label_loss(log_Q_SV, drawn_S)
    return weight_S.detach() * (single_S + long_S)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Of log-probabilities; 0 where `one` is -inf, whose term counts nothing."""
    if one.detach().amin() > -torch.inf:  # one pass over them, where telling them apart takes three
        return one - other
    return torch.where(one == -torch.inf, torch.zeros_like(one), one - other)
