"""What the data doctor found: how much of a dataset is trained on, what is lost, and what is wrong where."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ftlab.data.files import Row, save
from ftlab.errors import DataError

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
SHOWN = 5  # places named in full


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, and every place where it is.

    error: a run refuses the rows, or would learn what nobody wants; warning: it trains, but look; note: a fact.
    """

    level: Level
    what: str
    count: int
    """Rows concerned; 0 where it is about the whole."""
    places: tuple[int, ...] = ()
    """The first of them: line numbers of a file of lines, else row numbers, from 1."""
    column: str = ""
    example: str = ""
    """Shortened, secrets taken out."""
    mend: str = ""

    @property
    def where(self) -> str:
        """As in "3, 8, 12 and 40 more"; empty where it is about the whole."""
        if not self.count:
            return ""
        named = ", ".join(map(str, self.places[:SHOWN]))
        more = self.count - len(self.places[:SHOWN])
        return f"{named}{f' and {more:,} more' if more and named else ''}" or f"{self.count:,}"


@dataclass(frozen=True)
class Tokens:
    """How many tokens the rows have, template included."""

    lengths: list[int]
    """Of the rows that were measured, in tokens."""
    trained: int
    """Tokens that carry loss, of the rows that were measured, within the limit."""
    kept: int
    """All tokens of theirs within the limit."""
    limit: int
    rows: int
    """Rows of the dataset; more than were measured where an even sample was taken."""

    @property
    def is_sample(self) -> bool:
        return len(self.lengths) < self.rows

    def bars(self, count: int = 10) -> list[tuple[int, int, int]]:
        """(from, to, rows) of equal widths, ends included; all rows beyond the limit are in the last."""
        longest = max(self.lengths)
        within = min(longest, self.limit)
        width = max(1, -(-within // count))
        edges = [*range(width, within, width), within]
        found = [0] * len(edges)
        for length in self.lengths:
            if length <= within:
                found[max(0, length - 1) // width] += 1
        bars = [
            (1 + (edges[i - 1] if i else 0), end, rows)
            for i, (end, rows) in enumerate(zip(edges, found, strict=True))
        ]
        while bars and not bars[0][2]:
            bars.pop(0)
        beyond = len(self.lengths) - sum(found)
        return [*bars, (within + 1, longest, beyond)] if beyond else bars


@dataclass
class Report:
    """What `ftlab.data.examine` found. Printed it is text, in a notebook a picture with a table."""

    source: str
    format: str
    """The format of most rows, or "none"."""
    rows: int
    """Rows that could be read."""
    usable: int
    """Rows that can be trained on, whole or cut; those with other columns once these are renamed."""
    findings: list[Finding] = field(default_factory=list)
    tokens: Tokens | None = None
    place: Literal["line", "row"] = "row"
    """What the numbers of places count."""
    lost: dict[str, int] = field(default_factory=dict)
    """Rows that are not trained on, or not whole, by reason."""
    _mend: Callable[[], tuple[list[Row], list[str]]] | None = field(default=None, repr=False)

    @property
    def is_fit(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def __bool__(self) -> bool:
        return self.is_fit

    def of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    def to_rows(self) -> list[dict[str, Any]]:
        """Plain values, a row for each finding."""
        return [{**asdict(finding), "places": list(finding.places)} for finding in self.findings]

    def mended(self, path: str | Path) -> list[str]:
        """Writes the rows with everything put right that can be without a guess; tells what was done.

        Columns are renamed, white space around messages is taken off, and rows that are broken, empty, there already
        or no choice at all are left out. What is left to a person stays as it is. Raises DataError where nothing
        is left, or where `path` is the file itself.
        """
        path = Path(path).expanduser()
        if path.exists() and Path(self.source).expanduser().exists() and path.samefile(self.source):
            raise DataError(f"{path}: is the file that was examined; write the mended rows beside it")
        assert self._mend is not None
        rows, done = self._mend()
        if not rows:
            raise DataError(f"{self.source}: no row is left when the broken ones are taken out")
        save(rows, path)
        return [*done, f"{len(rows):,} of {self.rows:,} rows were written to {path}"]

    def __str__(self) -> str:
        lines = [self.headline, *self._token_lines()]
        for finding in self.findings:
            where = (
                f" ({self.place}{'s' if finding.count > 1 else ''} {finding.where})" if finding.where else ""
            )
            column = f" in {finding.column!r}" if finding.column else ""
            lines.append(f"{finding.level:7}  {_counted(finding)}{column}{where}")
            lines += [f"         {text}" for text in (_quoted(finding.example), finding.mend) if text]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """One sentence: how many rows are trained on, and what is the matter."""
        counts = [(len(self.of(level)), level) for level in LEVELS]
        told = ", ".join(f"{n} {level}{'s' if n != 1 else ''}" for n, level in counts if n) or "nothing found"
        return f"{self.source}: {self.usable:,} of {self.rows:,} {self.format} rows can be trained on; {told}"

    def _token_lines(self) -> list[str]:
        if self.tokens is None or not self.tokens.lengths:
            return []
        tokens = self.tokens
        most = max(rows for _, _, rows in tokens.bars())
        sample = f", {len(tokens.lengths):,} rows sampled" if tokens.is_sample else ""
        lines = [f"tokens   {tokens.trained:,} of {tokens.kept:,} carry loss{sample}"]
        for start, end, rows in tokens.bars():
            mark = "  cut" if end > tokens.limit else ""
            lines.append(
                f"{start:6,}-{end:<6,} {'█' * round(30 * rows / most) or ('▏' if rows else '')} {rows:,}{mark}"
            )
        return lines

    def _repr_html_(self) -> str:
        from ftlab.data.report_html import as_html

        return as_html(self)


def _counted(finding: Finding) -> str:
    if not finding.count:
        return finding.what
    return f"{finding.count:,} row{'s' if finding.count > 1 else ''}: {finding.what}"


def _quoted(text: str) -> str:
    return f"“{text}”" if text else ""


def order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, and of one level what concerns the most rows."""
    return sorted(findings, key=lambda one: (LEVELS.index(one.level), -one.count))


__all__ = ["Finding", "Level", "Report", "Tokens", "order"]
