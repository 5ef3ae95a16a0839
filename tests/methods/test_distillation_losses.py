"""The losses of distillation against their papers' numbers, plain autograd and TRL."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ftlab.methods import divergences, projected
from ftlab.methods.divergences import forward_kl, generalised_jsd, reverse_kl
from ftlab.methods.projected import Odds

P, Q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
TEACHER, STUDENT = torch.tensor([2.0, 0.0, -2.0]), torch.tensor([1.0, 0.0, -1.0])


def drawn_logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("temperature", "plain"), [(1.0, 0.115611), (2.0, 0.060269), (4.0, 0.019108)])
def test_softened_kl_has_hintons_numbers_and_the_factor_of_t_squared(
    temperature: float, plain: float
) -> None:
    found = divergences.softened_kl(TEACHER, STUDENT, temperature).item()
    assert found == pytest.approx(temperature**2 * plain, abs=temperature**2 * 6e-7)


def test_t_squared_keeps_the_gradient_from_falling_with_the_temperature() -> None:
    sizes = []
    for temperature in (20.0, 40.0):
        student = STUDENT.double().requires_grad_()
        divergences.softened_kl(TEACHER.double(), student, temperature).backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        sizes.append(student.grad.norm().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def test_divergences_of_two_coins_have_the_known_values() -> None:
    assert forward_kl(P, Q).item() == pytest.approx(0.510826, abs=1e-6)
    assert reverse_kl(P, Q).item() == pytest.approx(0.368064, abs=1e-6)
    for beta, expected in ((0.1, 0.043074), (0.5, 0.101749), (0.9, 0.033603)):
        assert generalised_jsd(P, Q, beta).item() == pytest.approx(expected, abs=1e-6)


def test_jsd_divided_by_beta_goes_to_forward_kl() -> None:
    small = generalised_jsd(P.double(), Q.double(), 1e-4).item() / 1e-4
    assert small == pytest.approx(forward_kl(P, Q).item(), rel=0.01)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_generalised_jsd_and_its_gradient_are_trls(beta: float) -> None:
    from trl.experimental.gkd import GKDTrainer

    teacher, labels = drawn_logits(2, 5, 7), torch.tensor([[1, 2, -100, 3, 4], [0, -100, -100, 6, 5]])
    ours, theirs = (drawn_logits(2, 5, 7, seed=1).requires_grad_() for _ in range(2))
    mask = labels != -100
    loss = generalised_jsd(teacher.log_softmax(-1), ours.log_softmax(-1), beta)[mask].mean()
    expected = GKDTrainer.generalized_jsd_loss(theirs, teacher, labels, beta=beta)
    loss.backward()  # type: ignore[no-untyped-call]
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    assert ours.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_a_narrow_student_covers_both_modes_by_forward_and_picks_one_by_reverse_kl() -> None:
    places = torch.linspace(-6, 6, 241, dtype=torch.float64)
    bumps = torch.stack([-((places - mode) ** 2) / 0.5 for mode in (-3.0, 3.0)])
    teacher = (bumps + torch.tensor([0.5, 0.5]).log()[:, None]).logsumexp(0).log_softmax(-1)
    means = {}
    for name, loss in (("forward", forward_kl), ("reverse", reverse_kl)):
        mean = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        log_width = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([mean, log_width], lr=0.1)
        for _ in range(300):
            optimiser.zero_grad()
            student = (-((places - mean) ** 2) / (2 * (2 * log_width).exp())).log_softmax(-1)
            loss(teacher, student).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        means[name] = (mean.item(), log_width.exp().item())
    assert abs(means["forward"][0]) < 0.3
    assert means["forward"][1] > 2
    assert abs(abs(means["reverse"][0]) - 3) < 0.3
    assert means["reverse"][1] < 1


def test_hintons_loss_mixes_labels_and_softened_odds() -> None:
    teacher, student, labels = drawn_logits(6, 9), drawn_logits(6, 9, seed=1), torch.arange(6)
    hard = functional.cross_entropy(student, labels, reduction="none")
    soft = 9 * functional.kl_div(
        (student / 3).log_softmax(-1), (teacher / 3).log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    for alpha in (0.0, 0.3, 1.0):
        found = divergences.hinton(teacher, student, labels, alpha=alpha, temperature=3.0)
        assert torch.allclose(found, alpha * hard + (1 - alpha) * soft)


def test_top_tokens_and_a_rest_never_cost_more_than_all_tokens_do() -> None:
    teacher, student = drawn_logits(40, 12).log_softmax(-1), drawn_logits(40, 12, seed=1)
    full = forward_kl(teacher, student.log_softmax(-1))
    before = torch.zeros(40, dtype=torch.float64)
    for count in (1, 3, 8, 11):
        ids, kept, rest = divergences.keep_top(teacher, count)
        found = divergences.top_kl(ids, kept, rest, student)
        assert (found <= full + 1e-12).all()
        assert (found >= before - 1e-12).all()
        before = found
    for count in (12, None, 99):
        ids, kept, rest = divergences.keep_top(teacher, count)
        assert torch.allclose(divergences.top_kl(ids, kept, rest, student), full)


def test_top_tokens_cost_the_same_where_the_rest_has_no_odds() -> None:
    logits = drawn_logits(5, 12)
    logits[:, 4:] = -torch.inf
    teacher, student = logits.log_softmax(-1), drawn_logits(5, 12, seed=1).requires_grad_()
    ids, kept, rest = divergences.keep_top(teacher, 6)  # two of them of no odds at all
    found = divergences.top_kl(ids, kept, rest, student)
    assert torch.allclose(found, forward_kl(teacher, student.log_softmax(-1)))
    (slope,) = torch.autograd.grad(found.sum(), student)
    assert torch.allclose(slope, student.softmax(-1) - teacher.exp(), atol=1e-7)


def test_minillms_terms_add_up_to_the_gradient_of_reverse_kl_over_whole_answers() -> None:
    """All answers of two tokens, where dividing by the number of tokens ahead changes nothing."""
    width = 4
    theta = drawn_logits(
        1 + width, width, seed=2
    ).requires_grad_()  # the odds at the start and after each token
    teacher = drawn_logits(1 + width, width, seed=3).log_softmax(-1)

    student = theta.log_softmax(-1)
    answers = list(itertools.product(range(width), repeat=2))
    log_q = torch.stack([student[0, a] + student[1 + a, b] for a, b in answers])
    log_p = torch.stack([teacher[0, a] + teacher[1 + a, b] for a, b in answers])
    (expected,) = torch.autograd.grad((log_q.exp() * (log_q - log_p)).sum(), theta, retain_graph=True)

    surrogate = torch.zeros((), dtype=torch.float64)
    for (a, b), weight in zip(answers, log_q.detach().exp(), strict=True):
        states, drawn = [0, 1 + a], torch.tensor([a, b])
        rows = student[states]
        ratio = (teacher[states] - rows).gather(-1, drawn[:, None])[:, 0]
        ahead = divergences.returns_ahead(ratio, [2])
        ones = torch.ones(2, dtype=torch.float64)
        surrogate = surrogate + weight * divergences.minillm(teacher[states], rows, drawn, ahead, ones).sum()
    (found,) = torch.autograd.grad(surrogate, theta)
    assert torch.allclose(found, expected, atol=1e-10)


def test_returns_are_means_of_what_is_ahead_within_an_answer() -> None:
    found = divergences.returns_ahead(torch.tensor([1.0, 2.0, 4.0, 5.0, 7.0]), [3, 2])
    assert found.tolist() == [3.0, 4.0, 0.0, 7.0, 0.0]


def test_importance_weighs_what_the_teacher_drew_for_the_student() -> None:
    drawn = divergences.mixture(P, Q, 0.2)
    found = divergences.importance(Q, drawn)
    assert found.tolist() == pytest.approx([0.9 / 0.82, 0.1 / 0.18], rel=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_loss_in_blocks_is_the_loss_in_one_piece(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    monkeypatch.setattr(projected, "BLOCK_BYTES", 4 * 11 * 3)  # three tokens
    given = [drawn_logits(8, 5), drawn_logits(11, 5, seed=1), drawn_logits(11, seed=2)]
    given = [tensor.float().requires_grad_() for tensor in given[: 2 + bias]]
    teacher = drawn_logits(8, 11, seed=3).float().log_softmax(-1)
    sizes: list[int] = []

    def judge(logits: Tensor, part: slice) -> Tensor:
        sizes.append(len(logits))
        return generalised_jsd(teacher[part], logits.log_softmax(-1), 0.3).sum()

    found = projected.total(Odds(*given), judge)
    slopes = torch.autograd.grad(found / 4, given)
    assert sizes == [3, 3, 2]
    whole = functional.linear(given[0], given[1], given[2] if bias else None).log_softmax(-1)
    expected = generalised_jsd(teacher, whole, 0.3).sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for slope, other in zip(slopes, torch.autograd.grad(expected / 4, given), strict=True):
        assert torch.allclose(slope, other, atol=1e-6)


def test_a_head_that_is_frozen_gets_no_gradient_and_an_evaluation_none_at_all() -> None:
    hidden, weight = drawn_logits(4, 3).float().requires_grad_(), drawn_logits(6, 3, seed=1).float()

    def judge(logits: Tensor, _: slice) -> Tensor:
        return logits.log_softmax(-1)[:, 0].sum()

    projected.total(Odds(hidden, weight), judge).backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert weight.grad is None
    with torch.no_grad():
        assert not projected.total(Odds(hidden, weight), judge).requires_grad


def test_padding_of_a_vocabulary_is_cut_off_without_touching_the_rest() -> None:
    odds = Odds(
        drawn_logits(4, 3).float(), drawn_logits(6, 3, seed=1).float(), drawn_logits(6, seed=2).float()
    )
    cut = odds.cut(5)
    assert torch.equal(cut.logits(slice(None)), odds.logits(slice(None))[:, :5])
    assert cut.vocabulary == 5


def test_minus_infinity_in_the_teacher_is_no_nan() -> None:
    teacher: Any = torch.tensor([[0.0, -math.inf]])
    student = torch.tensor([[0.3, 0.7]]).log()
    assert forward_kl(teacher, student).item() == pytest.approx(-math.log(0.3), rel=1e-6)


def test_the_figures_that_are_told_keep_their_digits_where_products_are_short() -> None:
    from ftlab.methods.distilled import Figures

    log_P, log_Q = (drawn_logits(4, 50, seed=seed).float().log_softmax(-1) for seed in (0, 1))
    figures = Figures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        figures.student(log_Q, torch.arange(4), log_P)
    assert figures.sums["kl"].item() == pytest.approx(forward_kl(log_P, log_Q).sum().item(), rel=1e-5)
    assert figures.sums["reverse_kl"].item() == pytest.approx(reverse_kl(log_P, log_Q).sum().item(), rel=1e-5)
