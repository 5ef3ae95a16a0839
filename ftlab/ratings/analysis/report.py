"""What a batch of ratings says, and how far to trust it: plain figures, as text, as rows, as JSON.

It names the models, so it is for the person who leads a session and no rater's eyes while ratings come in.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.ratings.analysis.agreement import CEILINGS, Calibration
from ftlab.ratings.analysis.bias import Consistency, Gold, Pace, Position
from ftlab.ratings.analysis.ranking import Ranking
from ftlab.ratings.analysis.statistic import Statistic

if TYPE_CHECKING:
    from ftlab.ratings.choosing import Signal


@dataclass(frozen=True, slots=True)
class RaterLine:
    """One rater of the batch."""

    rater: str
    """The opaque id."""
    name: str
    """What the id is called now, see `Ratings.rename`; the id itself where it has no name."""
    kind: str
    answered: int
    skipped: int
    flagged: int
    late: int
    total: int | None
    """Tasks that the rater has been or will be asked, as far as the settings tell; None: not worked out, because
    the raters are many or divide very many tasks among them."""
    pace: Pace
    position: Position
    consistency: Consistency
    gold: Gold


@dataclass(frozen=True, slots=True)
class Couple:
    """Two raters beside each other: rows are what the first said, columns what the second did."""

    a: str
    b: str
    values: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    percent: Statistic
    kappa: Statistic


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A task where a judge prefers the answer that persons do not."""

    position: int
    prompt: str
    preferred: dict[str, str]
    """model and text of the answer that persons prefer."""
    instead: dict[str, str]
    """The same of the one that the judge prefers."""


@dataclass(frozen=True, slots=True)
class JudgeLine:
    """A judge beside the persons, its two orders made one: where they contradict each other it is a tie."""

    name: str
    kind: str
    calibration: Calibration
    disagreements: tuple[Disagreement, ...]
    """Those of which both are surest first; at most as many as were asked for."""
    disagree: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything at once; `str()` gives it as text."""

    batch: str
    mode: str
    seq: int
    """The number of the last event taken into account."""
    tasks: int
    who: str
    """Whose ratings make agreement, ranking and bias: "persons", "simulated raters" or "judges"."""
    n: int
    """Ratings that count for these."""
    left_out: dict[str, int]
    """Ratings that do not, by reason."""
    raters: tuple[RaterLine, ...]
    agreement: tuple[Statistic, ...]
    couples: tuple[Couple, ...]
    models: tuple[str, ...]
    wins: tuple[tuple[float, ...], ...]
    """How often the row's model was preferred to the column's, ties as halves."""
    ranking: Ranking
    controlled: Ranking
    """With the length of the answers taken out."""
    gentle: Ranking | None
    """A regularised ranking where the plain one is undefined because a model never lost."""
    means: tuple[dict[str, Any], ...]
    """Mode single: rows of model, what ("mean rating", "thumbs up"), value, low, high, n."""
    position: Position
    longer: Statistic
    length: Statistic
    consistency: Consistency
    pace: Pace
    over_time: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Median seconds an answer, by how many answers the rater had given."""
    judges: tuple[JudgeLine, ...] = ()
    settled: "Signal | None" = None
    """Whether more ratings would still change the order of the models, and why; None where it was not asked."""

    def statistics(self) -> Iterator[tuple[str, Statistic]]:
        """Every figure with the section it stands in."""
        for one in self.agreement:
            yield "agreement", one
        yield "position", self.position.share
        yield "length", self.longer
        yield "length", self.length
        if self.controlled.length is not None:
            yield "length, models held apart", self.controlled.length
        yield "consistency", self.consistency.same
        yield "pace", self.pace.hasty
        for rater in self.raters:
            for one in (rater.position.share, rater.consistency.same, rater.pace.hasty, rater.gold.accuracy):
                yield f"rater {rater.name}", one
        for couple in self.couples:
            yield f"{couple.a} and {couple.b}", couple.percent
            yield f"{couple.a} and {couple.b}", couple.kappa
        for judge in self.judges:
            for one in (judge.calibration.agreement, judge.calibration.decided, judge.calibration.kappa):
                yield f"judge {judge.name}", one

    def to_rows(self) -> list[dict[str, Any]]:
        """A table of all figures: section, name, value, reason, low, high, n, about."""
        return [{"section": section, **one.to_row()} for section, one in self.statistics()]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without NaN: what the widget draws and what `save` writes."""
        told = asdict(self)
        for judge, line in zip(told["judges"], self.judges, strict=True):
            judge["calibration"].pop("disagreements")
            judge["calibration"]["bins"] = list(line.calibration.bins)
        told["ceilings"] = [asdict(one) for one in CEILINGS]
        told["settled"] = None if self.settled is None else self.settled._asdict()
        plain: dict[str, Any] = json.loads(json.dumps(told, allow_nan=False))
        return plain

    def save(self, path: str | Path) -> Path:
        """The same as a file of JSON."""
        target = Path(path)
        target.write_text(
            json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
        )
        return target

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def text(self) -> str:
        """For a terminal."""
        return str(self)


def shown(one: Statistic, percent: bool = True) -> str:
    """A figure with its interval, short: "73 % [68, 78], n = 310", or why there is none."""
    if one.value is None:
        return one.reason
    if percent:
        interval = (
            "" if one.low is None or one.high is None else f" [{100 * one.low:.0f}, {100 * one.high:.0f}]"
        )
        return f"{100 * one.value:.0f} %{interval}, n = {one.n:,}"
    interval = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.2f}{interval}, n = {one.n:,}"


def is_share(one: Statistic) -> bool:
    """Whether a figure reads best in percent."""
    return not any(word in one.name for word in ("kappa", "alpha", "AC1", "AC2", "coefficient"))


STRENGTHS = {
    "1": "negligibly better",
    "2": "slightly better",
    "3": "clearly better",
    "4": "significantly better",
}
"""The degrees of a preference, as `Standing.code` numbers them."""


def _text(report: Report) -> Iterator[str]:
    yield f"batch {report.batch} ({report.mode}): {report.tasks:,} tasks, up to entry {report.seq:,} of the log"
    left = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items() if count)
    yield f"{report.n:,} ratings of {report.who} count{f'; left out: {left}' if left else ''}"
    if report.settled is not None:
        yield f"{report.settled.verdict}: {report.settled.why}"
    yield from _raters(report)
    yield from ("", "agreement")
    yield from (f"  {one.name}: {shown(one, is_share(one))}" for one in report.agreement)
    yield "  people elsewhere, for comparison:"
    yield from (f"    {one.name}, {one.measure}: {one.source}" for one in CEILINGS)
    yield from _ranked("ranking", report.ranking)
    if report.gentle is not None:
        yield from _ranked("ranking, regularised", report.gentle)
    yield from _ranked("ranking with the length of answers taken out", report.controlled)
    if report.means:
        yield from ("", "means")
        heads = ("model", "what", "value", "95 % interval", "n")
        yield from table(heads, [_mean(row) for row in report.means])
    yield from ("", "bias")
    alarm = "  ALARM: the side decides more than chance would" if report.position.alarm else ""
    p = "" if report.position.p is None else f", p = {report.position.p:.3g}"
    yield f"  left preferred: {shown(report.position.share)}{p}{alarm}"
    yield f"    (a share of 55 % is noticed four times in five from {report.position.enough:,} such answers on)"
    yield f"  longer preferred: {shown(report.longer)}"
    yield f"  coefficient of length: {shown(report.length, percent=False)}"
    if report.controlled.length is not None:
        yield f"    the models held apart: {shown(report.controlled.length, percent=False)}"
    yield f"  the same when asked again: {shown(report.consistency.same)}"
    for judge in report.judges:
        yield from _judge(judge)


def _raters(report: Report) -> Iterator[str]:
    yield from ("", "raters")
    heads = ("rater", "kind", "answered", "skipped", "flagged", "seconds", "hasty", "left", "again", "gold")
    rows = []
    for one in report.raters:
        seconds = one.pace.median_seconds
        rows.append(
            (
                one.name,
                one.kind,
                f"{one.answered:,}" if one.total is None else f"{one.answered:,} of {one.total:,}",
                str(one.skipped),
                str(one.flagged),
                "" if seconds is None else f"{seconds:.1f}",
                _share(one.pace.hasty),
                _share(one.position.share) + ("!" if one.position.alarm else ""),
                _share(one.consistency.same),
                _share(one.gold.accuracy) + ("!" if one.gold.flagged else ""),
            )
        )
    yield from table(heads, rows)


def _share(one: Statistic) -> str:
    return "" if one.value is None else f"{100 * one.value:.0f} % of {one.n:,}"


def _mean(row: dict[str, Any]) -> tuple[str, ...]:
    if row["value"] is None:
        return (row["model"], row["what"], "", "", str(row["n"]))
    ends = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
    return (row["model"], row["what"], f"{row['value']:.2f}", ends, f"{row['n']:,}")


def _ranked(title: str, ranking: Ranking) -> Iterator[str]:
    yield from ("", title)
    if not ranking.is_defined:
        yield f"  {ranking.reason}"
        return
    rows = []
    for place, one in enumerate(ranking.places):
        ends = (
            ""
            if one.elo_low is None or one.elo_high is None
            else f"{one.elo_low:+.0f} to {one.elo_high:+.0f}"
        )
        gap = "" if place >= len(ranking.separated) else ("clear" if ranking.separated[place] else "open")
        rows.append((str(place + 1), one.model, f"{one.elo:+.0f}", ends, f"{one.n:g}", gap))
    yield from table(("", "model", "Elo", "95 % interval", "comparisons", "to the next"), rows)
    if ranking.note:
        yield f"  note: {ranking.note}"


def _judge(judge: JudgeLine) -> Iterator[str]:
    yield from ("", f"{judge.name} ({judge.kind}) beside persons")
    for one in (judge.calibration.agreement, judge.calibration.decided, judge.calibration.kappa):
        yield f"  {one.name}: {shown(one, is_share(one))}"
    for row in judge.calibration.bins:
        sure = STRENGTHS.get(row["group"], f"sure {row['group']}")
        yield f"    {sure}: {100 * row['rate']:.0f} % [{100 * row['low']:.0f}, {100 * row['high']:.0f}], n = {row['n']:,}"
    if judge.disagree:
        tasks = ", ".join(str(one.position) for one in judge.disagreements)
        yield f"  {judge.disagree:,} tasks on which they prefer opposite answers, surest first: {tasks}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of aligned columns."""
    cells = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
