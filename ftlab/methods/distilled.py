"""TRL's trainer with the losses of distillation: what is learned is how the teacher continues, not a label alone.

Axes: B row, T token of a row, S scored token, C token of a block, V vocabulary.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from trl.trainer.sft_trainer import SFTTrainer

from ftlab.errors import ConfigError
from ftlab.methods import divergences, drawing, projected
from ftlab.methods.distillation import GKD, Hinton, MiniLLM, WordLevel
from ftlab.methods.projected import IGNORE, Odds
from ftlab.methods.teaching import KeptOdds, Teacher, padded

PLACE = "place"
"""Column: where the kept odds of a row's answer begin."""
PROMPT_TOKENS = "prompt_tokens"
"""Column: how many of a row's tokens are asked, not answered."""


@dataclass
class Figures:
    """Sums over the scored tokens of a batch, under the names that are logged."""

    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            value = value.detach().float().sum()  # noqa: PLW2901
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def student(self, log_Q_CV: Tensor, labels_C: Tensor, log_P_CV: Tensor | None = None) -> None:
        """What the student says by itself and, where the teacher's odds are all there, beside them.

        Sums of products without the products: each pass over C x V numbers counts on a large vocabulary.
        """
        log_Q_CV = log_Q_CV.detach()
        Q_CV = log_Q_CV.exp()
        entropy_C = -_dots(Q_CV, log_Q_CV)
        self.add(
            entropy=entropy_C,
            mean_token_accuracy=log_Q_CV.argmax(-1) == labels_C,
            label_loss=divergences.label_loss(log_Q_CV, labels_C),
        )
        if log_P_CV is not None:
            P_CV = log_P_CV.exp()
            self.add(
                kl=_dots(P_CV, log_P_CV) - _dots(P_CV, log_Q_CV),
                reverse_kl=-entropy_C - _dots(Q_CV, log_P_CV),
            )


@dataclass(frozen=True)
class Batch:
    """What is judged: right-padded rows, and the labels and lengths of their scored tokens, row after row."""

    inputs: dict[str, Tensor]
    labels: Tensor
    lengths: list[int]
    is_drawn: bool
    """Whether the answers were drawn in this step."""


class Aim:
    """What is learned of a teacher."""

    def is_drawn(self, step: int) -> bool:  # noqa: ARG002
        """Whether this step learns from answers that are drawn for it."""
        return False

    def answers(
        self, model: Any, prompts: list[list[int]], rooms: list[int], seeds: list[int], ends: frozenset[int]
    ) -> list[list[int]]:
        """Answers to learn from in a step that `is_drawn`."""
        raise NotImplementedError

    def total(self, model: Any, student: Odds, batch: Batch, figures: Figures) -> Tensor:
        """The sum of the losses of all scored tokens."""
        raise NotImplementedError


class FromKept(Aim):
    """Context distillation: the odds that the teacher held before training (Askell et al. 2021)."""

    def __init__(self, kept: KeptOdds) -> None:
        self.kept = kept

    def total(self, model: Any, student: Odds, batch: Batch, figures: Figures) -> Tensor:  # noqa: ARG002
        """KL of what the teacher held and what the student holds."""
        starts = batch.inputs[PLACE].tolist()
        places_S = torch.cat(
            [torch.arange(start, start + n) for start, n in zip(starts, batch.lengths, strict=True)]
        )
        held = self.kept.judge(places_S)

        def judge(logits_CV: Tensor, part: slice) -> Tensor:
            figures.student(logits_CV.detach().log_softmax(-1), batch.labels[part])
            kl = held(logits_CV, part)
            figures.add(kl=kl)
            return kl

        return projected.total(student, judge)


class FromTeacher(Aim):
    """Knowledge distillation: the odds that the teacher holds of whatever text is at hand."""

    def __init__(
        self,
        objective: Hinton | WordLevel | GKD | MiniLLM,
        teacher: Teacher,
        seed: int,
    ) -> None:
        self.objective, self.teacher, self.seed = objective, teacher, seed

    def is_drawn(self, step: int) -> bool:
        match self.objective:
            case GKD(on_policy=share):
                return random.Random(drawing.seed_of(self.seed, step, "policy")).random() < share
            case MiniLLM():
                return True
        return False

    def answers(
        self, model: Any, prompts: list[list[int]], rooms: list[int], seeds: list[int], ends: frozenset[int]
    ) -> list[list[int]]:
        assert isinstance(self.objective, GKD | MiniLLM)
        objective = self.objective
        temperature = objective.temperature
        mixture: Callable[[], Any] | None = None
        if isinstance(objective, MiniLLM):
            share, temperature = objective.teacher_mixing, 1.0  # softened before they are mixed

            def mixture() -> drawing.Mixture:
                theirs = self.teacher.forward(model)
                config = self.teacher.config(model)
                return drawing.Mixture(model, theirs, config, share, objective.temperature)

        return drawing.answers(
            model, prompts, rooms=rooms, seeds=seeds, temperature=temperature, ends=ends, forward=mixture
        )

    def total(self, model: Any, student: Odds, batch: Batch, figures: Figures) -> Tensor:
        teacher = self.teacher.odds(model, batch.inputs)
        shared = min(student.vocabulary, teacher.vocabulary)  # beyond the tokenizer's, either may be padded
        student, teacher = student.cut(shared), teacher.cut(shared)
        loss = self._loss(student, teacher, batch)

        def judge(logits_CV: Tensor, part: slice) -> Tensor:
            teacher_CV = teacher.logits(part)
            log_P_CV, log_Q_CV = teacher_CV.log_softmax(-1), logits_CV.log_softmax(-1)
            figures.student(log_Q_CV, batch.labels[part], log_P_CV)
            return loss(part, teacher_CV, logits_CV, log_P_CV, log_Q_CV).sum()

        return projected.total(student, judge)

    def _loss(self, student: Odds, teacher: Odds, batch: Batch) -> Callable[..., Tensor]:
        """(part, teacher's logits, student's, log_P_CV, log_Q_CV) -> a number a token."""
        match self.objective:
            case Hinton(alpha=alpha, temperature=temperature):
                return lambda part, teacher_CV, student_CV, *_: divergences.hinton(
                    teacher_CV, student_CV, batch.labels[part], alpha=alpha, temperature=temperature
                )
            case GKD(beta=beta):
                return lambda _, __, ___, log_P, log_Q: divergences.generalised_jsd(log_P, log_Q, beta)
            case MiniLLM() if batch.is_drawn:
                ahead_S, weight_S = self._policy(student, teacher, batch)
                return lambda part, _, __, log_P, log_Q: divergences.minillm(
                    log_P, log_Q, batch.labels[part], ahead_S[part], weight_S[part]
                )
            case MiniLLM():  # an evaluation, on the rows' answers
                return lambda _, __, ___, log_P, log_Q: divergences.reverse_kl(log_P, log_Q)
        return lambda _, __, ___, log_P, log_Q: divergences.forward_kl(log_P, log_Q)

    def _policy(self, student: Odds, teacher: Odds, batch: Batch) -> tuple[Tensor, Tensor]:
        """(R_{t+1}, w_t) of the drawn tokens."""
        assert isinstance(self.objective, MiniLLM)
        share, temperature = self.objective.teacher_mixing, self.objective.temperature
        log_Q_S = projected.log_probs(student, batch.labels)
        log_P_S = projected.log_probs(teacher, batch.labels)
        drawn_S = soft_Q_S = log_Q_S
        if temperature != 1:
            drawn_S = soft_Q_S = projected.log_probs(student, batch.labels, temperature)
        if share:
            soft_P_S = (
                log_P_S if temperature == 1 else projected.log_probs(teacher, batch.labels, temperature)
            )
            drawn_S = divergences.mixture(soft_P_S, soft_Q_S, share)
        return (
            divergences.returns_ahead(log_P_S - log_Q_S, batch.lengths),
            divergences.importance(log_Q_S, drawn_S),
        )


class DistillingTrainer(SFTTrainer):
    """TRL's SFT trainer with another loss, and where the aim wants it with answers drawn in the step."""

    def __init__(self, *arguments: Any, aim: Aim, longest: int, max_length: int, **options: Any) -> None:
        """`longest`: of a drawn answer; `max_length`: of prompt and answer; both in tokens."""
        self.aim, self._longest, self._max_length = aim, longest, max_length
        super().__init__(*arguments, **options)
        collate: Any = self.data_collator
        names = (PLACE, PROMPT_TOKENS)

        def collated(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = collate(examples)
            own = [name for name in names if name in examples[0]]
            return batch | {name: torch.tensor([row[name] for row in examples]) for name in own}

        self.data_collator = collated
        self._coming: list[dict[str, Any]] = []
        self._drawn_count: Tensor | None = None

    data_collator: Any

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "labels", PLACE, PROMPT_TOKENS]

    def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], Any]:
        """The batches of one optimiser step."""
        batches, count = super().get_batch_samples(*arguments)
        self._coming, self._drawn_count = batches, None
        return batches, count

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Answers are drawn for all batches of an optimiser step at its beginning, from the weights it has then."""
        if self._coming and self.aim.is_drawn(self.state.global_step):
            self._drawn_count = self._draw(self._coming)
        self._coming = []
        if self._drawn_count is not None:
            num_items_in_batch = None if num_items_in_batch is None else self._drawn_count
        return super().training_step(model, inputs, num_items_in_batch)

    @property
    def draws_in_step(self) -> bool:
        """Whether rows of this step are replaced as it goes on, so that none may be put aside before."""
        return self._drawn_count is not None or (
            bool(self._coming) and self.aim.is_drawn(self.state.global_step)
        )

    def _draw(self, batches: list[dict[str, Any]]) -> Tensor:
        """Puts drawn answers in the place of the rows' own; returns how many tokens they have."""
        prompts = [
            ids[:asked]
            for batch in batches
            for ids, asked in zip(batch["input_ids"].tolist(), batch[PROMPT_TOKENS].tolist(), strict=True)
        ]
        limit = min(self._max_length, drawing.context_of(self.model))
        model = self.accelerator.unwrap_model(self.model)
        seeds = [drawing.seed_of(self.args.seed, self.state.global_step, row) for row in range(len(prompts))]
        answers = self.aim.answers(
            model,
            prompts,
            [drawing.room(self._longest, limit, len(prompt)) for prompt in prompts],
            seeds,
            drawing.ends_of(model, self.processing_class),
        )
        rows = iter(zip(prompts, answers, strict=True))
        for batch in batches:
            mine = [next(rows) for _ in batch["input_ids"]]
            drawn = padded(
                [(prompt + answer, len(prompt)) for prompt, answer in mine],
                batch["input_ids"].device,
                self.processing_class.pad_token_id,
            )
            batch.update(drawn, is_drawn=True)
        return torch.tensor(sum(map(len, answers)), device=self.args.device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The aim's loss a token, averaged over the tokens of the step; what it is made of is logged."""
        if return_outputs:
            raise ConfigError(
                "trainer.prediction_loss_only: distillation makes no logits to hand out; leave it out"
            )
        model = self.accelerator.unwrap_model(model)
        next_BT = projected.following(inputs["labels"])
        is_scored_BT = next_BT != IGNORE
        batch = Batch(
            inputs, next_BT[is_scored_BT], is_scored_BT.sum(1).tolist(), bool(inputs.get("is_drawn", False))
        )
        figures = Figures()
        with self.accelerator.autocast():  # which accelerate puts around the model's own call, not made here
            student = projected.scored(model, inputs)
            total = self.aim.total(model, student, batch, figures)
        count = len(batch.labels) if num_items_in_batch is None else num_items_in_batch
        self._tell(batch, figures)
        return total / torch.as_tensor(count, device=total.device).clamp(min=1)

    def _tell(self, batch: Batch, figures: Figures) -> None:
        is_training = self.model.training
        told = self._metrics["train" if is_training else "eval"]
        for name, value in figures.sums.items():
            told[name].append(value.item() / max(1, len(batch.labels)))
        if is_training:
            self._total_train_tokens += int(batch.inputs["attention_mask"].sum())
            if hasattr(self.aim, "objective") and isinstance(self.aim.objective, GKD | MiniLLM):
                told["on_policy"].append(float(batch.is_drawn))
                told["answer_tokens"].append(len(batch.labels) / max(1, len(batch.lengths)))
        told["num_tokens"] = [self._total_train_tokens]


def _dots(one_CV: Tensor, other_CV: Tensor) -> Tensor:
    """The sum of the products of each row, in 32 bits also where products are short ones."""
    with torch.autocast(one_CV.device.type, enabled=False):
        return torch.bmm(one_CV[:, None], other_CV[..., None])[:, 0, 0]
