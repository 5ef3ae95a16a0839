"""A model that answers and scores: weights, adapter, tokenizer and the fingerprint that names them."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ftlab.answers import Answer, Delta, Fingerprint, Finish, Message, Prompt, Sampling, as_messages
from ftlab.errors import DataError, ModelError
from ftlab.models.chat import TextStream, encode, encode_text, lead, load_tokenizer, template_of
from ftlab.models.decoding import Drawn, Row, draw
from ftlab.models.fingerprints import adapter_sha256, base_sha256, text_sha256
from ftlab.models.references import Note, Source, fetch, is_reward_model, resolve
from ftlab.models.weights import BARE, Base, base_for, forget

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IN_USE = threading.RLock()
"""Held by whoever loads or computes: models of one base share layers, which serve one batch at a time."""

_CACHE_BYTES = 256 << 20  # of keys and values, a batch
_LOGIT_BYTES = 128 << 20  # a batch that is scored
_ROWS = 64  # beyond this, a step's time grows with the rows as much as without a batch


@dataclass(frozen=True)
class Model:
    """One reference, loaded. Models of one base share its weights in memory."""

    reference: str
    source: Source
    base: Base
    adapter: str
    tokenizer: "PreTrainedTokenizerBase"
    hashes: tuple[str, str | None, str]
    ends: frozenset[int]
    lead: str
    """White space of the template before an answer's own text."""

    def fingerprint(self, sampling: Sampling) -> Fingerprint:
        """What proves an answer of this model."""
        base, adapter, template = self.hashes
        return Fingerprint(base, adapter, adapter is not None, template, sampling)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | None = None,
    ) -> list[Answer]:
        """Answers in the order of the prompts; the same prompt and seed give the same answer in any list."""
        answers: dict[int, Answer] = {}
        for piece in self.stream(prompts, sampling):
            if isinstance(piece, tuple):
                answers[piece[0]] = piece[1]
        return [answers[place] for place in range(len(prompts))]

    def stream(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Delta | tuple[int, Answer]]:
        """Pieces of text as they are drawn, for all prompts at once, then (place, whole answer) of each."""
        return stream([self], prompts, sampling, cancelled=cancelled)

    def lead_of(self, messages: Sequence[Message]) -> str:
        """What stands between the conversation's end and an answer's text; nothing where it is continued."""
        return "" if messages[-1]["role"] == "assistant" else self.lead

    def score(self, prompt: Prompt, text: str) -> list[float]:
        """Log-probability in nats of each token of `text` as the answer to the prompt."""
        return self.scores([(prompt, text)])[0]

    def scores(self, pairs: Sequence[tuple[Prompt, str]]) -> list[list[float]]:
        """As `score` for many, in right-padded batches."""
        encoded = []
        for prompt, text in pairs:
            messages = as_messages(prompt)
            ids = encode(self.tokenizer, messages, self.reference).ids
            answer = encode_text(self.tokenizer, self.lead_of(messages) + text)
            if len(ids) + len(answer) > self.base.context:
                raise DataError(_too_long(self.reference, len(ids) + len(answer), self.base.context))
            encoded.append((ids, answer))
        scores: list[list[float]] = []
        longest = max((len(ids) + len(answer) for ids, answer in encoded), default=1)
        size = max(1, _LOGIT_BYTES // (4 * longest * self.base.vocabulary))
        for start in range(0, len(encoded), size):
            with IN_USE, torch.inference_mode():
                scores += self._score_batch(encoded[start : start + size])
        return scores

    def _score_batch(self, encoded: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        longest = max(len(ids) + len(answer) for ids, answer in encoded)
        rows = [ids + answer + [0] * (longest - len(ids) - len(answer)) for ids, answer in encoded]
        masks = [
            [1] * (len(ids) + len(answer)) + [0] * (longest - len(ids) - len(answer))
            for ids, answer in encoded
        ]
        forward = self.base.forward_for([self.adapter] * len(rows))
        logits_BTV = forward(
            range(len(rows)),
            input_ids=torch.tensor(rows, device=self.base.device),
            attention_mask=torch.tensor(masks, device=self.base.device),
            use_cache=False,
        ).logits
        scores = []
        for logits_TV, (ids, answer) in zip(logits_BTV, encoded, strict=True):
            before = logits_TV[len(ids) - 1 : len(ids) - 1 + len(answer)].float().log_softmax(-1)
            drawn = torch.tensor(answer, device=self.base.device, dtype=torch.long)
            scores.append(before.gather(-1, drawn[:, None])[:, 0].tolist())
        return scores


def load(reference: str, note: Note | None = None) -> Model:
    """The model behind a reference, fetched and read where it is not in memory yet.

    Raises ModelError where the reference names nothing usable, or its parts do not belong together.
    """
    with IN_USE:
        source = fetch(resolve(reference), note)
        if is_reward_model(source):
            raise ModelError(
                f"{reference} is a reward model: it scores answers (ftlab.scoring.score) and writes none"
            )
        folder = Path(source.base)
        tokenizer = load_tokenizer(Path(source.tokenizer), reference)
        adapter = None if source.adapter is None else adapter_sha256(source.adapter)
        base = base_for(folder, source.adapter, adapter or BARE, reference)
        if source.adapter is not None and adapter is not None:
            try:
                base.put_on(source.adapter, adapter, reference)
            except ModelError:
                forget(base)  # a half of the adapter may be on it
                raise
        highest = max(tokenizer.get_vocab().values(), default=0)
        if highest >= base.vocabulary:
            raise ModelError(
                f"{reference}: the tokenizer in {source.tokenizer} has ids up to {highest}, the model embeddings up "
                f"to {base.vocabulary - 1}; take the tokenizer that the model was trained with"
            )
        template = text_sha256(template_of(tokenizer))
        hashes = (base_sha256(folder)[:12], None if adapter is None else adapter[:12], template[:12])
        return Model(
            reference,
            source,
            base,
            adapter or BARE,
            tokenizer,
            hashes,
            _ends(base, tokenizer),
            lead(tokenizer),
        )


def stream(
    models: Sequence[Model],
    prompts: Sequence[Prompt],
    sampling: Sampling | None = None,
    *,
    cancelled: threading.Event | None = None,
    note: Note | None = None,
) -> Iterator[Delta | tuple[int, Answer]]:
    """Several models' answers to the same prompts; rows of one base are drawn in one batch.

    After `cancelled` is set, at the next token, the answers that are not whole come as "cancelled".
    """
    sampling = sampling or Sampling()
    chats = [as_messages(prompt) for prompt in prompts]
    tasks = [_task(model, chats[i], i, sampling, note) for i in range(len(chats)) for model in models]
    groups: dict[tuple[int, str, frozenset[int]], list[_Task]] = {}
    for task in tasks:
        alone = "" if task.model.base.is_mixable(task.model.adapter) else task.model.adapter
        groups.setdefault((id(task.model.base), alone, task.model.ends), []).append(task)
    for group in groups.values():
        size = _batch_size(group)
        for start in range(0, len(group), size):
            # Rows of one adapter side by side, as the shared layers want them.
            yield from _answers(sorted(group[start : start + size], key=_place), sampling, cancelled)


@dataclass
class _Task:
    """One answer on its way."""

    model: Model
    chat: list[Message]
    index: int
    row: Row
    text: TextStream
    tokens: int = 0
    finish: Finish = "cancelled"
    is_whole: bool = field(default=False)

    def answer(self, sampling: Sampling, seconds: float) -> tuple[int, Answer]:
        mark = self.model.fingerprint(sampling)
        whole = Answer(
            self.model.reference, self.chat, self.text.text, self.tokens, self.finish, seconds, mark
        )
        return self.index, whole


def _task(model: Model, messages: list[Message], index: int, sampling: Sampling, note: Note | None) -> _Task:
    encoded = encode(model.tokenizer, messages, model.reference)
    if encoded.escaped and note is not None:
        note(
            f"{model.reference}: {encoded.escaped} special tokens written in prompt {index} were read as plain text"
        )
    if not encoded.ids:
        raise DataError(f"{model.reference}: the chat template writes nothing for prompt {index}")
    room = model.base.context - len(encoded.ids)
    if room < 1:
        raise DataError(_too_long(model.reference, len(encoded.ids), model.base.context))
    row = Row(encoded.ids, sampling.row_seed(messages), min(room, sampling.max_new_tokens))
    return _Task(model, messages, index, row, TextStream(model.tokenizer, model.lead_of(messages)))


def _answers(
    tasks: list[_Task], sampling: Sampling, cancelled: threading.Event | None
) -> Iterator[Delta | tuple[int, Answer]]:
    base, began = tasks[0].model.base, time.perf_counter()
    forward = base.forward_for([task.model.adapter for task in tasks])
    rows = [task.row for task in tasks]
    ends = tasks[0].model.ends
    if cancelled is None or not cancelled.is_set():
        for step in _locked(draw(forward, base.model.config, rows, sampling, ends, base.device)):
            for drawn in step:
                yield from _step(tasks[drawn.row], drawn, ends, sampling, began)
            if cancelled is not None and cancelled.is_set():
                break
    for task in tasks:
        if not task.is_whole:
            rest = task.text.end()
            if rest:
                yield Delta(task.model.reference, task.index, rest)
            yield task.answer(sampling, time.perf_counter() - began)


def _step(
    task: _Task, drawn: Drawn, ends: frozenset[int], sampling: Sampling, began: float
) -> Iterator[Delta | tuple[int, Answer]]:
    task.tokens += 1
    is_end = drawn.token in ends
    piece = "" if is_end else task.text.push(drawn.token)
    if drawn.last:
        piece += task.text.end()
    if piece:
        yield Delta(task.model.reference, task.index, piece)
    if drawn.last:
        task.finish, task.is_whole = "end" if is_end else "length", True
        yield task.answer(sampling, time.perf_counter() - began)


def _locked(steps: Iterator[list[Drawn]]) -> Iterator[list[Drawn]]:
    """Each step under the lock, which is free while the consumer writes its pieces out."""
    while True:
        with IN_USE:
            step = next(steps, None)
        if step is None:
            return
        yield step


def _batch_size(tasks: Sequence[_Task]) -> int:
    config: Any = tasks[0].model.base.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    longest = max(len(task.row.ids) + task.row.room for task in tasks)
    row = 2 * config.num_hidden_layers * heads * width * longest * tasks[0].model.base.model.dtype.itemsize
    return max(1, min(_ROWS, _CACHE_BYTES // row))


def _place(task: _Task) -> int:
    return task.model.base.place(task.model.adapter)


def _ends(base: Base, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    named = getattr(base.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(int(end) for end in ends if isinstance(end, int))


def _too_long(reference: str, tokens: int, context: int) -> str:
    return f"{reference}: the prompt takes {tokens} tokens and the model reads {context}; shorten it"
