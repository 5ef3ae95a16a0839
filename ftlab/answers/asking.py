"""Asking models, which live in another process: pieces of text as they come, then whole answers."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ftlab import errors
from ftlab.answers.answer import Answer, Delta, Fingerprint, Message, Prompt, Sampling, as_messages
from ftlab.answers.comparison import Comparison
from ftlab.errors import DataError, FtlabError, ModelError


def ask(
    prompts: Prompt | Sequence[Prompt],
    references: str | Sequence[str],
    sampling: Sampling | None = None,
    *,
    cancel: threading.Event | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Delta | tuple[int, Answer]]:
    """Stream every model's answers: pieces as they come, then (place of the prompt, whole answer).

    The models run in another process. `note` is told of slow steps such as a model being fetched. Once `cancel`
    is set, what was drawn so far comes as answers that finished "cancelled". Raises the FtlabError that the
    other process met.
    """
    from ftlab import warm

    sampling = sampling or Sampling()
    chats, names = _as_chats(prompts), _as_names(references)
    message = {"do": "answer", "prompts": chats, "references": names, "sampling": asdict(sampling)}
    parts = _Parts(chats, names)
    lines = warm.request(message)
    try:
        for line in lines:
            if "error" in line:
                raise as_error(line)
            if "end" in line:
                break
            if "note" in line and note is not None:
                note(str(line["note"]))
            yield from parts.take(line)
            if cancel is not None and cancel.is_set():
                yield from parts.cancelled()
                break
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            close()  # the other process sees the line go and stops drawing tokens


def compare(
    prompts: Prompt | Sequence[Prompt],
    references: str | Sequence[str],
    sampling: Sampling | None = None,
    *,
    note: Callable[[str], None] | None = None,
) -> Comparison:
    """Every model's answer to every prompt, with one seed for all; waits until the last is there."""
    sampling = sampling or Sampling()
    chats, names = _as_chats(prompts), _as_names(references)
    answers: list[dict[str, Answer]] = [{} for _ in chats]
    for piece in ask(chats, names, sampling, note=note):
        if isinstance(piece, tuple):
            index, answer = piece
            answers[index][answer.reference] = answer
    return Comparison(chats, names, sampling, answers)


def count_tokens(
    prompts: Prompt | Sequence[Prompt], reference: str, *, note: Callable[[str], None] | None = None
) -> list[int]:
    """How many tokens the model reads of each prompt before it answers, its template and its rule included."""
    return [count for line in wanted("tokens", prompts, reference, note) for count in line["tokens"]]


def wanted(
    want: str,
    prompts: Prompt | Sequence[Prompt],
    reference: str,
    note: Callable[[str], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """What the other process makes of the prompts, as `ftlab.models.wants` says of this want."""
    from ftlab import warm

    message = {"do": "answer", "want": want, "prompts": _as_chats(prompts), "references": [reference]}
    for line in warm.request(message):
        if "error" in line:
            raise as_error(line)
        if "note" in line and note is not None:
            note(str(line["note"]))
        if want in line:
            yield line


def _as_chats(prompts: Prompt | Sequence[Prompt]) -> list[list[Message]]:
    if isinstance(prompts, str):
        return [as_messages(prompts)]
    if len(prompts) == 0:
        raise DataError("no prompts; give one, or a list of them")
    if isinstance(prompts[0], Mapping):
        return [as_messages(prompts)]  # type: ignore[arg-type]  # one prompt, written as its messages
    return [as_messages(prompt) for prompt in prompts]  # type: ignore[arg-type]


def _as_names(references: str | Iterable[str]) -> list[str]:
    names = [references] if isinstance(references, str) else list(references)
    if not names:
        raise ModelError("no models; give a reference such as 'wren', or a list of them")
    return list(dict.fromkeys(names))


class _Parts:
    """What has come in so far of each answer, so that a cancelled one keeps its text and its proof."""

    def __init__(self, chats: list[list[Message]], names: list[str]) -> None:
        self.open: dict[tuple[str, int], list[str]] = {
            (name, i): [] for name in names for i in range(len(chats))
        }
        self.marks: dict[str, Fingerprint] = {}
        self.chats = chats

    def take(self, line: Mapping[str, Any]) -> Iterator[Delta | tuple[int, Answer]]:
        if "loaded" in line:
            mark = dict(line["loaded"]["fingerprint"])
            mark["sampling"] = Sampling(**mark["sampling"])
            self.marks[line["loaded"]["reference"]] = Fingerprint(**mark)
        if "delta" in line:
            delta = Delta(**line["delta"])
            self.open[delta.reference, delta.index].append(delta.text)
            yield delta
        if "answer" in line:
            answer = Answer.from_dict(line["answer"])
            self.open.pop((answer.reference, int(line["index"])), None)
            yield int(line["index"]), answer

    def cancelled(self) -> Iterator[tuple[int, Answer]]:
        for (name, index), texts in self.open.items():
            if name in self.marks and texts:
                text = "".join(texts)
                mark = self.marks[name]
                yield index, Answer(name, self.chats[index], text, len(texts), "cancelled", 0.0, mark)


def as_error(line: Mapping[str, Any]) -> FtlabError:
    """The error that another process met, from its line {"error": text, "kind": class name}."""
    kind = getattr(errors, str(line.get("kind")), FtlabError)
    known = isinstance(kind, type) and issubclass(kind, FtlabError)
    text = str(line["error"])
    return (
        kind(text) if known and kind is not FtlabError else FtlabError(f"{line.get('kind', 'error')}: {text}")
    )
