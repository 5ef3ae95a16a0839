"""Board: how a session of rating goes, for the person who leads it."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from time import monotonic
from typing import TYPE_CHECKING, Any

import traitlets

from ftlab.picture import Line, Mark, image, marks_image
from ftlab.widgets.presence import Presence
from ftlab.widgets.widget import LabWidget

if TYPE_CHECKING:
    from ftlab.ratings import Ratings
    from ftlab.ratings.analysis.report import Report

POLL_SECONDS = 1.0
REST = 4.0
"""A report that took so long to compute is followed by REST times as long without computing one."""
SHOWN_CHARACTERS = 8_000
"""Of each answer on which judge and persons disagree; twenty of them travel with every report."""

_LEFT = "text-align:left;padding:3px 10px;vertical-align:top"
_FOOT = (
    "<p><small>Intervals are 95 %: of what raters say together by bootstrap of the items, of shares of "
    "answers by Wilson. Figures of people elsewhere are for comparison; no bar to pass.</small></p>"
)
_FEW = 12  # rows of a long table in the twin


class Board(LabWidget):
    """Progress, pace, ranking, agreement, bias, judges of a batch, kept up while ratings come in.

    It names the models: show it to no rater before the batch is done. kinds: only raters of these kinds; by
    default persons outrank simulated raters, and these judges. Raises RatingError where there is no such batch.
    """

    stem = "board"

    batch = traitlets.Unicode().tag(sync=True)
    report = traitlets.Dict().tag(sync=True)
    """What `Report.to_json` gives, long answers cut."""
    behind = traitlets.Int(0).tag(sync=True)
    """Entries of the log that the report does not know yet."""

    def __init__(
        self, ratings: "Ratings", batch: str = "default", *, kinds: Iterable[str] | None = None
    ) -> None:
        self.ratings = ratings
        self._kinds = None if kinds is None else tuple(kinds)
        self._presence = Presence()
        self._asked = threading.Event()
        self._watcher: threading.Thread | None = None
        self._seq = -1
        super().__init__(batch=batch)
        self.refresh()
        self._watch_on()

    def refresh(self) -> "Report":
        """Reads the store and draws what it says; the report."""
        report = self.ratings.board(self.batch, kinds=self._kinds)
        told = _cut(report.to_json())
        with self._together():
            self._seq = report.seq
            self.report = told
            self.behind = 0
            self.error = ""
        return report

    # in the background, while a page listens

    def _watch_on(self) -> None:
        if self.comm is None or (self._watcher is not None and self._watcher.is_alive()):
            return
        self._watcher = threading.Thread(target=self._watch, name=f"board of {self.batch}", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        """A report whenever the log has grown, at most a fifth of the time; asked for, at once."""
        rest = POLL_SECONDS
        while self.comm is not None:
            self._presence.wait()
            is_asked = self._asked.wait(rest)
            self._asked.clear()
            if self.comm is None:
                return
            try:
                rest = self._keep_up(is_asked)
            except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
                self._report(error)
                rest = 10 * POLL_SECONDS

    def _keep_up(self, is_asked: bool) -> float:
        """Draws what is new; how long to rest."""
        last = self.ratings.last_seq()
        if last == self._seq and not is_asked:
            return POLL_SECONDS
        started = monotonic()
        if self.behind != last - self._seq:
            self.behind = max(0, last - self._seq)
        self.refresh()
        return max(POLL_SECONDS, REST * (monotonic() - started))

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A page is there."""
        self._presence.hear()
        self._watch_on()
        return super()._do_hello(message)

    def _do_refresh(self, _message: dict[str, Any]) -> None:
        """Compute the report again soon; the kernel is not kept waiting for it."""
        self._presence.hear()
        self._watch_on()
        if self._watcher is None:  # no channel, so nobody follows
            self.refresh()
        self._asked.set()

    # without a page

    def _settle(self) -> None:
        if self.ratings.last_seq() != self._seq:
            self.refresh()

    def _summary(self) -> str:
        return f"Board {self.batch}: {self.report['n']} ratings of {self.report['who']}, {self.report['tasks']} tasks"

    def _stopped(self) -> str:
        signal = self.report["settled"]
        return "" if signal is None else f"{signal['verdict'].capitalize()}: {signal['why']}."

    def _twin(self) -> str:
        report = self.report
        parts = [
            (
                f"<p><b>Board of {_e(report['batch'])}</b>: {report['n']:,} ratings of {_e(report['who'])}, "
                f"{report['tasks']:,} tasks, up to entry {report['seq']:,} of the log. {_e(self._stopped())}</p>"
            ),
            _raters_html(report),
            _ranking_html(report),
            _means_html(report),
            _agreement_html(report),
            _bias_html(report),
            _pace_html(report),
            *(_judge_html(judge) for judge in report["judges"]),
            _FOOT,
        ]
        return f'<div style="max-width:760px">{"".join(parts)}</div>'


def _cut(told: dict[str, Any]) -> dict[str, Any]:
    """Long texts shortened, and said to be."""
    for judge in told["judges"]:
        for one in judge["disagreements"]:
            one["prompt"] = _shortened(one["prompt"])
            for side in ("preferred", "instead"):
                one[side]["text"] = _shortened(one[side]["text"])
    return told


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}\n\n[… {len(text) - SHOWN_CHARACTERS:,} more characters are not shown]"


# the twin: inline styles only, because JupyterLab's sanitizer leaves nothing else


def _e(value: object) -> str:
    return escape(str(value))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_LEFT}">{_e(name)}</th>' for name in heads)
    cells = ["".join(f'<td style="{_LEFT}">{_e(cell)}</td>' for cell in row) for row in rows[:_FEW]]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    more = f"<p>The first {_FEW} of {len(rows)}.</p>" if len(rows) > _FEW else ""
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def _percent(one: Mapping[str, Any]) -> str:
    """A share with its interval, or nothing where it is undefined."""
    if one["value"] is None:
        return ""
    ends = "" if one["low"] is None else f" [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"
    return f"{100 * one['value']:.0f} %{ends}, n = {one['n']:,}"


def _raters_html(report: Mapping[str, Any]) -> str:
    rows = []
    for one in report["raters"]:
        seconds = one["pace"]["median_seconds"]
        done = one["answered"] + one["skipped"] + one["flagged"]
        rows.append(
            [
                one["name"],
                one["kind"],
                f"{done:,}" if one["total"] is None else f"{done:,} of {one['total']:,}",
                "" if seconds is None else f"{seconds:.1f} s",
                _percent(one["pace"]["hasty"]),
                _percent(one["position"]["share"]) + (" (alarm)" if one["position"]["alarm"] else ""),
                _percent(one["consistency"]["same"]),
                _percent(one["gold"]["accuracy"]) + (" (below 70 %)" if one["gold"]["flagged"] else ""),
            ]
        )
    heads = ["Rater", "Kind", "Answered", "Median", "Hasty", "Left preferred", "The same again", "Gold"]
    return _table(heads, rows) if rows else "<p>Nobody has rated yet.</p>"


def _ranking_html(report: Mapping[str, Any]) -> str:
    plain, controlled = report["gentle"] or report["ranking"], report["controlled"]
    words = f"<p>Ranking: {_e(report['ranking']['reason'])}</p>" if report["ranking"]["reason"] else ""
    if not plain["places"]:
        return "" if report["mode"] in ("single", "edit") else words
    by_length = {one["model"]: one for one in controlled["places"]}
    marks = []
    for one in plain["places"]:
        marks.append(Mark(one["model"], one["elo"], one["elo_low"], one["elo_high"]))
        if again := by_length.get(one["model"]):
            marks.append(Mark(one["model"], again["elo"], again["elo_low"], again["elo_high"], 1))
    names = ["as compared", "length taken out"] if by_length else []
    note = f"<p><b>Note:</b> {_e(plain['note'])}</p>" if plain["note"] else ""
    return (
        words + marks_image(marks, title="Ranking", x_label="Elo, 95 % interval", names=names, zero=0) + note
    )


def _means_html(report: Mapping[str, Any]) -> str:
    rows = [
        [row["model"], row["what"], "" if row["value"] is None else f"{row['value']:.2f}",
         "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}", f"{row['n']:,}"]
        for row in report["means"]
    ]  # fmt: skip
    return _table(["Model", "", "Mean", "95 % interval", "n"], rows) if rows else ""


def _agreement_html(report: Mapping[str, Any]) -> str:
    from ftlab.rating_plots import ceilings_of

    reasons = {one["reason"] for one in report["agreement"]}
    if len(reasons) == 1 and all(one["value"] is None for one in report["agreement"]):
        return f"<p>Agreement: {_e(reasons.pop())}.</p>"
    marks, people = [], []
    for one in report["agreement"]:
        found = ceilings_of(one["name"], report["ceilings"])
        bands = [(row["low"], row["high"]) for row in found]
        note = one["reason"] if one["value"] is None else ""
        marks.append(Mark(one["name"], one["value"], one["low"], one["high"], 0, note, bands))
        people += [[one["name"], row["name"], row["source"]] for row in found]
    picture = marks_image(
        marks, title="Agreement", x_label="95 % interval; green: people elsewhere", zero=0 if marks else None
    )
    return f"{picture}<details><summary>People elsewhere</summary>{_table(['', 'Who', 'Figure'], people)}</details>"


def _bias_html(report: Mapping[str, Any]) -> str:
    position = report["position"]
    shares = [("left preferred", position["share"]), ("longer preferred", report["longer"])]
    marks = [
        Mark(name, one["value"], one["low"], one["high"], 0, one["reason"] if one["value"] is None else "")
        for name, one in shares
    ]
    if all(mark.value is None for mark in marks):
        return ""
    p = "" if position["p"] is None else f"p = {position['p']:.3g} of the side by chance alone. "
    alarm = "<b>The side decides more than chance would.</b> " if position["alarm"] else ""
    picture = marks_image(marks, title="Bias", x_label="share of decisive answers, 95 % interval", zero=0.5)
    return f"{picture}<p>{alarm}{p}A share of 55 % is noticed from {position['enough']:,} decisive answers on.</p>"


def _pace_html(report: Mapping[str, Any]) -> str:
    curves = {name: spots for name, spots in report["over_time"].items() if len(spots) > 1}
    if not curves:
        return ""
    lines = [
        Line(name, [n for n, _ in spots], [s for _, s in spots]) for name, spots in list(curves.items())[:4]
    ]
    told = "; ".join(f"{line.name} from {line.values[0]:.1f} to {line.values[-1]:.1f} s" for line in lines)
    return image(lines, title="Pace", x_label="answers given", y_label="median seconds", alt=f"Pace: {told}")


def _judge_html(judge: Mapping[str, Any]) -> str:
    from ftlab.ratings.analysis.report import STRENGTHS

    found = judge["calibration"]
    rows = [[one["name"], _percent(one)] for one in (found["agreement"], found["decided"])]
    kappa = found["kappa"]
    rows.append(
        [
            kappa["name"],
            kappa["reason"] if kappa["value"] is None else f"{kappa['value']:.2f}, n = {kappa['n']:,}",
        ]
    )
    rows += [
        [
            STRENGTHS.get(row["group"], f"sure {row['group']}"),
            f"{100 * row['rate']:.0f} % [{100 * row['low']:.0f}, {100 * row['high']:.0f}], n = {row['n']:,}",
        ]
        for row in found["bins"]
    ]
    cell = f"{_LEFT};white-space:pre-wrap"
    listed = "".join(
        f'<tr><td style="{cell}">{one["position"]}</td><td style="{cell}">{_e(one["prompt"][:300])}</td>'
        f'<td style="{cell}">{_e(one["preferred"]["text"][:300])}</td><td style="{cell}">{_e(one["instead"]["text"][:300])}</td></tr>'
        for one in judge["disagreements"][:6]
    )
    heads = "".join(
        f'<th style="{_LEFT}">{name}</th>' for name in ("Task", "Prompt", "Persons prefer", "Judge prefers")
    )
    listing = (
        f"<details><summary>{judge['disagree']:,} tasks on which they prefer opposite answers</summary>"
        f'<table style="border-collapse:collapse"><tr>{heads}</tr>{listed}</table></details>'
        if listed
        else ""
    )
    return f"<p><b>{_e(judge['name'])}</b> ({_e(judge['kind'])}) beside persons</p>{_table(['', ''], rows)}{listing}"
