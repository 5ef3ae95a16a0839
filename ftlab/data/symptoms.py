"""Findings as they are gathered: the same thing in many rows is one finding."""

import re
from dataclasses import dataclass, field

from ftlab.data.report import Finding, Level, order

KEPT = 20  # places remembered for each finding
LONGEST = 120  # characters of an example

SECRETS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Access tokens by the beginnings that their makers gave them, and private keys."""


@dataclass
class _Kind:
    level: Level
    what: str
    column: str
    example: str
    mend: str
    count: int = 0
    places: list[int] = field(default_factory=list)


class Symptoms:
    """Findings by level, words and column; the first example of each is kept."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(
        self,
        level: Level,
        what: str,
        place: int | None,
        *,
        column: str = "",
        example: str = "",
        mend: str = "",
    ) -> None:
        """One more row (None: it is about the whole) of which `what` is true."""
        kind = self._kinds.get((what, column))
        if kind is None:
            kind = self._kinds[what, column] = _Kind(level, what, column, shortened(example), mend)
        if place is None:
            return
        kind.count += 1
        if len(kind.places) < KEPT:
            kind.places.append(place)

    def findings(self) -> list[Finding]:
        return order(
            [
                Finding(one.level, one.what, one.count, tuple(one.places), one.column, one.example, one.mend)
                for one in self._kinds.values()
            ]
        )


def shortened(text: str) -> str:
    """One line of at most LONGEST characters, secrets taken out and controls written out."""
    text = redacted(text[:20_000])[: 2 * LONGEST]
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def redacted(text: str) -> str:
    """Secrets down to the beginning that says whose they are."""
    return SECRETS.sub(lambda match: f"{match[0][:5]}…[secret]", text)
