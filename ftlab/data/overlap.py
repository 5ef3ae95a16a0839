"""Rows that say the same as other rows: duplicates in a dataset, and evaluation rows that were trained on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ftlab.data.formats import Example

WORDS = re.compile(r"\w+")
SHINGLE = 5  # words
NEAR = 0.6
"""Share of an evaluation row's word 5-grams that must stand in one training row for it to count as seen."""
COMMON = 20
"""A 5-gram of more evaluation rows than this is a turn of phrase, and says nothing about either of them."""


class Texts(NamedTuple):
    """An example in words: conversations with their roles before each turn."""

    prompt: str
    answer: str
    rejected: str
    question: str
    """What is asked, without the answer; the whole text where nothing is asked."""


def texts_of(example: Example | None) -> Texts | None:
    """None for a row that could not be read."""
    if example is None:
        return None
    prompt, answer, rejected = _said(example.prompt), _said(example.completion), _said(example.rejected)
    question = prompt
    if not prompt and isinstance(example.completion, list):
        question = _said([message for message in example.completion if message["role"] != "assistant"])
    return Texts(prompt, answer, rejected, question or answer)


def _said(value: object) -> str:
    """The text of a field: as it is, or the messages' contents with their roles."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join([f"{message['role']}: {message['content']}" for message in value])
    return ""


def plain(text: str) -> str:
    """Words only, in lower case: what two texts must share to say the same."""
    return " ".join(WORDS.findall(text.casefold())) or text.strip()


@dataclass(frozen=True)
class Doubles:
    """Row numbers (from 0) of what is there already."""

    exact: list[int]
    """Rows equal to an earlier one, all but the first."""
    near: list[int]
    """Equal but for case, punctuation and white space."""
    other_answers: list[int]
    """First rows of prompts that come again with another answer."""
    opposed: list[int]
    """Preferences whose two answers stand the other way round in an earlier row."""


def doubles(rows: Sequence[Texts | None]) -> Doubles:
    """Compared as wholes; rows that could not be read are None."""
    exact: set[int] = set()
    near: set[int] = set()
    opposed: list[int] = []
    seen: set[tuple[str, str, str]] = set()
    seen_plain: set[tuple[str, str, str]] = set()
    answers: dict[str, tuple[int, str]] = {}
    several: dict[int, None] = {}
    for index, texts in enumerate(rows):
        if texts is None:
            continue
        whole = texts[:3]
        if whole in seen:
            exact.add(index)
            continue
        seen.add(whole)
        prompt, answer, rejected = (plain(text) for text in whole)
        if (prompt, answer, rejected) in seen_plain:
            near.add(index)
            continue
        seen_plain.add((prompt, answer, rejected))
        if rejected and (prompt, rejected, answer) in seen_plain and answer != rejected:
            opposed.append(index)
        if prompt and not rejected:
            first, known = answers.setdefault(prompt, (index, answer))
            if known != answer:
                several[first] = None
    return Doubles(sorted(exact), sorted(near), list(several), opposed)


@dataclass(frozen=True)
class Seen:
    """The training row `row` (from 0) gives the evaluation row away; `share` of it, 1 for its whole question."""

    row: int
    evaluation: int
    share: float


def leaked(training: Sequence[Texts | None], evaluation: Sequence[Texts | None]) -> list[Seen]:
    """Training rows that hold an evaluation row's question, or most of its text, in their order.

    A question that is equal but for case and punctuation counts as seen, and so does a row of which NEAR of its word
    5-grams are in one training row. Every text is read once: the time grows with the sum of all lengths.
    """
    questions: dict[str, int] = {}
    grams: dict[int, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for index, texts in enumerate(evaluation):
        if texts is None:
            continue
        questions.setdefault(plain(texts.question), index)
        mine = set(_grams(texts))
        sizes[index] = len(mine)
        for gram in mine:
            grams[gram].append(index)
    telling = {gram: rows for gram, rows in grams.items() if len(rows) <= COMMON}
    found: list[Seen] = []
    for row, texts in enumerate(training):
        if texts is None:
            continue
        asked = questions.get(plain(texts.question))
        if asked is not None:
            found.append(Seen(row, asked, 1.0))
            continue
        shared = telling.keys() & set(_grams(texts)) if telling else ()
        if not shared:
            continue
        counts = Counter(index for gram in shared for index in telling[gram])
        index, most = max(counts.items(), key=lambda one: (one[1] / sizes[one[0]], -one[0]))
        if most / sizes[index] >= NEAR:
            found.append(Seen(row, index, most / sizes[index]))
    return found


def _grams(texts: "Texts") -> Iterator[int]:
    """A number for each run of SHINGLE words; equal within one process."""
    words = WORDS.findall(f"{texts.prompt}\n{texts.answer}".casefold())
    return map(hash, zip(*(words[i:] for i in range(SHINGLE)), strict=False))
