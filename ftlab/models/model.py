"""A model that answers and scores: weights, adapter, tokenizer and the fingerprint that names them."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ftlab.answers import Answer, Delta, Fingerprint, Finish, Message, Prompt, Sampling, as_messages
from ftlab.errors import DataError, ModelError
from ftlab.models.chat import (
    Encoded,
    TextStream,
    encode,
    encode_text,
    highest_id,
    lead,
    load_tokenizer,
    template_of,
)
from ftlab.models.decoding import Drawn, Row, draw
from ftlab.models.feeding import feed
from ftlab.models.fingerprints import adapter_sha256, base_sha256, text_sha256
from ftlab.models.mixtures import mixture_sha256
from ftlab.models.references import Note, fetch, is_reward_model, resolve
from ftlab.models.soft import Soft
from ftlab.models.source import Part, Source
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
        prompt = self.source.prompt
        context = None if prompt is None else prompt.sha256[:12]
        return Fingerprint(base, adapter, adapter is not None, template, sampling, context)

    @property
    def soft(self) -> Soft | None:
        """What stands before every row without being words."""
        return self.base.soft.get(self.adapter)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """The conversation as the model reads it, behind its prompt where it has one."""
        return _encoded(self.source, self.tokenizer, messages)

    def read(self, pairs: Sequence[tuple[Prompt, str]]) -> list[tuple[list[int], list[int]]]:
        """(ids of the prompt, ids of the answer) of each pair. Raises DataError where one is too long to be read."""
        encoded = []
        for prompt, text in pairs:
            messages = as_messages(prompt)
            ids = self.encode(messages).ids
            answer = encode_text(self.tokenizer, self.lead_of(messages) + text)
            length = len(ids) + len(answer) + (0 if self.soft is None else self.soft.tokens)
            if length > self.base.context:
                raise DataError(_too_long(self, f"a prompt and its answer take {length} tokens"))
            encoded.append((ids, answer))
        return encoded

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
        encoded = self.read(pairs)
        scores: list[list[float]] = []
        longest = max((len(ids) + len(answer) for ids, answer in encoded), default=1)
        size = max(1, _LOGIT_BYTES // (4 * longest * self.base.vocabulary))
        for start in range(0, len(encoded), size):
            with IN_USE, torch.inference_mode():
                scores += self._score_batch(encoded[start : start + size])
        return scores

    def _score_batch(self, encoded: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        forward = self.base.forward_for([self.adapter] * len(encoded))
        fed = feed(self.base.model, [(ids + answer, self.soft) for ids, answer in encoded], "right")
        logits_BTV = forward(range(len(encoded)), **fed.inputs).logits
        scores = []
        for logits_TV, start, (ids, answer) in zip(logits_BTV, fed.starts, encoded, strict=True):
            end = start + len(ids)
            before = logits_TV[end - 1 : end - 1 + len(answer)].float().log_softmax(-1)
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
        base, adapter = _put_together(source)
        highest = highest_id(tokenizer)
        if highest >= base.vocabulary:
            raise ModelError(
                f"{reference}: the tokenizer in {source.tokenizer} has ids up to {highest}, the model embeddings up "
                f"to {base.vocabulary - 1}; take the tokenizer that the model was trained with"
            )
        template = text_sha256(template_of(tokenizer))
        mark = "" if source.rounding is None else source.rounding.mark
        hashes = (base_sha256(folder)[:12] + mark, None if adapter is None else adapter[:12], template[:12])
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


def count_tokens(reference: str, prompts: Sequence[Prompt], note: Note | None = None) -> list[int]:
    """How many tokens the model reads of each conversation before it answers, its prompt and template included.

    The tokenizer is enough for it: no weights are loaded.
    """
    source = fetch(resolve(reference), note)
    tokenizer = load_tokenizer(Path(source.tokenizer), reference)
    return [len(_encoded(source, tokenizer, as_messages(prompt)).ids) for prompt in prompts]


def _encoded(source: Source, tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> Encoded:
    prompt = source.prompt
    return encode(tokenizer, messages if prompt is None else prompt.before(messages), source.reference)


def _put_together(source: Source) -> tuple[Base, str | None]:
    """The base in memory with all adapters on it that are needed, and the name of what is asked for there."""
    parts = source.parts or (() if source.adapter is None else (Part(source, 1.0, None),))
    folder = Path(source.base)
    if not parts:
        return base_for(folder, None, BARE, source.reference, source.rounding), None
    names = [adapter_sha256(part.adapter) for part in parts]
    base = base_for(folder, parts[0].adapter, names[0], source.reference, source.rounding)
    try:
        for part, name in zip(parts, names, strict=True):
            base.put_on(part.adapter, name, part.source.reference)
    except ModelError:
        forget(base)  # a half of the adapter may be on it
        raise
    if not source.parts:
        return base, names[0]
    mixed = [(name, part.weight, part.rank) for name, part in zip(names, parts, strict=True)]
    whole = mixture_sha256(mixed)
    base.plain.mix(whole, mixed)
    return base, whole


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
    encoded = model.encode(messages)
    if encoded.escaped and note is not None:
        note(
            f"{model.reference}: {encoded.escaped} special tokens written in prompt {index} were read as plain text"
        )
    if not encoded.ids:
        raise DataError(f"{model.reference}: the chat template writes nothing for prompt {index}")
    row = Row(encoded.ids, sampling.row_seed(messages), sampling.max_new_tokens, model.soft)
    room = model.base.context - row.length
    if room < 1:
        raise DataError(_too_long(model, f"the prompt takes {row.length} tokens"))
    row = replace(row, room=min(room, row.room))
    return _Task(model, messages, index, row, TextStream(model.tokenizer, model.lead_of(messages)))


def _answers(
    tasks: list[_Task], sampling: Sampling, cancelled: threading.Event | None
) -> Iterator[Delta | tuple[int, Answer]]:
    base, began = tasks[0].model.base, time.perf_counter()
    forward = base.forward_for([task.model.adapter for task in tasks])
    rows = [task.row for task in tasks]
    ends = tasks[0].model.ends
    if cancelled is None or not cancelled.is_set():
        for step in _locked(draw(forward, base.model, rows, sampling, ends)):
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
    longest = max(task.row.length + task.row.room for task in tasks)
    row = 2 * config.num_hidden_layers * heads * width * longest * tasks[0].model.base.model.dtype.itemsize
    return max(1, min(_ROWS, _CACHE_BYTES // row))


def _place(task: _Task) -> tuple[int, str]:
    return task.model.base.place(task.model.adapter)


def _ends(base: Base, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    named = getattr(base.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(int(end) for end in ends if isinstance(end, int))


def _too_long(model: Model, told: str) -> str:
    before = "" if model.soft is None and model.source.prompt is None else ", what stands before it included,"
    return f"{model.reference}: {told}{before} and the model reads {model.base.context}; shorten it"
