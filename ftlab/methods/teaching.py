"""A teacher of distillation: a model that is never changed, and the odds that it held once.

Axes: S scored token, K likeliest tokens of the teacher, V vocabulary, D width.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ftlab.methods import divergences, documents, projected, start, wrapped
from ftlab.methods.drawing import Forward
from ftlab.methods.hardware import Hardware
from ftlab.methods.projected import IGNORE, Odds

PADDED = 8192  # tokens of a batch that the teacher reads before training


class Teacher:
    """A frozen model; or, where it is the base that the student's adapter stands on, that base with the adapter off."""

    def __init__(self, model: Any | None) -> None:
        """`model` None: the student's own base."""
        self._model = model

    @contextlib.contextmanager
    def over(self, student: Any) -> Iterator[Any]:
        """The model to call."""
        if self._model is not None:
            yield self._model
            return
        was_training = student.training
        if was_training:
            student.eval()
        try:
            with student.disable_adapter():
                yield student
        finally:
            if was_training:
                student.train()

    def config(self, student: Any) -> Any:
        """The model's configuration, in transformers' terms."""
        return (student if self._model is None else self._model).config

    def forward(self, student: Any) -> Forward:
        """What tokens are drawn from."""

        def called(_: list[int], **inputs: Any) -> Any:
            with self.over(student) as model:
                return model(**inputs)

        return called

    def odds(self, student: Any, inputs: dict[str, Any]) -> Odds:
        """Before each labelled token of the inputs; without a gradient."""
        with torch.no_grad(), self.over(student) as model:
            found = projected.scored(model, inputs)
        return Odds(found.hidden, _fixed(found.weight), _fixed(found.bias))


def load(begin: start.Start, hardware: Hardware, tokenizer: Any) -> Any:
    """The teacher's model, its adapter merged; frozen, on the device that is trained on."""
    model = start.load(begin, hardware.weights, hardware.attention)
    if begin.adapter is not None:
        model = wrapped.merged(model, begin.adapter)
    start.check_vocabulary(tokenizer, model, begin)
    make_quick(model, hardware)
    return model.to(hardware.device).eval().requires_grad_(requires_grad=False)


def make_quick(model: Any, hardware: Hardware) -> None:
    """Has the model read rows without padding, where it can."""
    inner = projected.bare(model)
    if hardware.device == "cpu" and hardware.padding == "none" and documents.fits(inner):
        documents.attach(inner)


class KeptOdds:
    """What a teacher held likely before each token of some answers, asked once.

    The likeliest tokens and the sum of the rest; or all of them, as its last hidden states, which are shorter than
    its odds, and its head.
    """

    def __init__(self, top: int | None, *, head: Literal["learns", "stays"]) -> None:
        """`top` tokens are kept, None: all. The head is copied where the student's `learns`, for it is the same."""
        self.top = top
        self._is_head_copied = head == "learns"
        self.tokens = 0
        self._parts: list[tuple[Tensor, ...]] = []
        self._joined: tuple[Tensor, ...] = ()
        self._head: Odds | None = None

    @property
    def mib(self) -> float:
        """Memory that it takes."""
        kept = [*(tensor for part in self._parts for tensor in part), *self._joined]
        if self._head is not None and self._head.weight is not None:
            kept.append(self._head.weight)
        return sum(tensor.numel() * tensor.element_size() for tensor in kept) / 2**20

    def ask(self, model: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[int]:
        """Keeps the odds of all answers; returns where each answer's begin."""
        was_training = model.training
        model.eval()
        for rows in _batches(prompts, answers):
            inputs = padded([(prompts[row] + answers[row], len(prompts[row])) for row in rows], model.device)
            with torch.no_grad():
                self._keep(projected.scored(model, inputs))
        model.train(was_training)
        places = []
        for answer in answers:
            places.append(self.tokens)
            self.tokens += len(answer)
        return places

    def _keep(self, odds: Odds) -> None:
        if self.top is None:
            if self._head is None:
                head = (_fixed(odds.weight), _fixed(odds.bias))
                if self._is_head_copied:
                    head = tuple(None if part is None else part.clone() for part in head)  # type: ignore[assignment]
                self._head = Odds(odds.hidden[:0], *head)
            self._parts.append((odds.hidden.clone(),))
            return
        for part in odds.blocks():
            ids, log_P, rest = divergences.keep_top(odds.logits(part).log_softmax(-1), self.top)
            self._parts.append((ids.int(), log_P, rest))

    def _at(self, places_S: Tensor) -> tuple[Tensor, ...]:
        if self._parts:  # joined once, by the first who looks
            parts = [self._joined, *self._parts] if self._joined else self._parts
            self._joined = tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))
            self._parts = []
        return tuple(tensor[places_S.to(tensor.device)] for tensor in self._joined)

    def judge(self, places_S: Tensor) -> projected.Judge:
        """KL of the teacher at these places and the student."""
        held = self._at(places_S)
        if self.top is None:
            assert self._head is not None
            odds = Odds(held[0], self._head.weight, self._head.bias)
            return lambda logits_CV, part: divergences.forward_kl(
                odds.logits(part).log_softmax(-1), logits_CV.log_softmax(-1)
            ).sum()
        ids_SK, log_P_SK, rest_S = held
        return lambda logits_CV, part: divergences.top_kl(
            ids_SK[part].long(), log_P_SK[part], rest_S[part], logits_CV
        ).sum()


def padded(rows: Sequence[tuple[list[int], int]], device: Any = "cpu", pad: int = 0) -> dict[str, Tensor]:
    """(ids, where the answer starts) a row, right-padded: `input_ids`, `attention_mask`, `labels`."""
    longest = max(len(ids) for ids, _ in rows)
    ids_BT = [ids + [pad] * (longest - len(ids)) for ids, _ in rows]
    mask_BT = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]
    labels_BT = [[IGNORE] * answer + ids[answer:] + [IGNORE] * (longest - len(ids)) for ids, answer in rows]
    named = {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}
    return {name: torch.tensor(values, device=device) for name, values in named.items()}


def _batches(prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> Iterator[list[int]]:
    """Rows in their order, as many as PADDED tokens hold."""
    rows: list[int] = []
    longest = 0
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        longer = max(longest, len(prompt) + len(answer))
        if rows and longer * (len(rows) + 1) > PADDED:
            yield rows
            rows, longer = [], len(prompt) + len(answer)
        rows.append(row)
        longest = longer
    if rows:
        yield rows


def _fixed(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
