"""Where two texts differ, word by word."""

import difflib
import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or the space between two, and whether the other text has it at this place."""

    text: str
    change: Literal["same", "removed", "added"]


def word_diff(before: str, after: str) -> list[Word]:
    """How `after` differs from `before`, word by word, in reading order; spaces belong to the pieces.

    The pieces that are not "removed" join to `after`, those that are not "added" to `before`.
    """
    old, new = _words(before), _words(after)
    pieces: list[Word] = []
    for kind, from_old, to_old, from_new, to_new in difflib.SequenceMatcher(
        None, old, new, False
    ).get_opcodes():
        if kind == "equal":
            pieces.append(Word("".join(new[from_new:to_new]), "same"))
            continue
        if to_old > from_old:
            pieces.append(Word("".join(old[from_old:to_old]), "removed"))
        if to_new > from_new:
            pieces.append(Word("".join(new[from_new:to_new]), "added"))
    return pieces


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|[^\s]+", text)
