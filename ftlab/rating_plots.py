"""Figures about ratings: a report of `Ratings.board` in, plotly figures out, in the look of `ftlab.plots`.

They name the models: for the person who leads a session. Each leaves a twin where no script runs.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ftlab.errors import DataError
from ftlab.picture import PALETTE, Mark, marks_image
from ftlab.plots import blank

if TYPE_CHECKING:
    import plotly.graph_objects as go

MARKS = "marks"
"""What `layout.meta["twin"]` says of a figure whose twin is drawn by `twin`."""
_INK, _BAND = "#797979", "rgba(0,158,115,0.20)"
_NO_POINT = {"clicks": 0, "accuracy": None, "low": None, "high": None, "n": 0}
_COUNTED = 12  # so few clicks have a tick each: there is no half a click
_SYMBOLS = ("circle", "diamond", "square")
_DASHES = ("solid", "dash", "dot")
_MEASURES = {
    "percent with ties": "percent",
    "percent, the very same rating": "percent",
    "percent, each two answers": "percent",
    "percent without ties": "percent without ties",
    "Gwet's AC2, quadratic": "ac2",
    "self-consistency": "consistency",
}


def _told(report: Any) -> dict[str, Any]:
    """The report as plain JSON, also where it came as such. Raises DataError for what is none."""
    told = report.to_json() if hasattr(report, "to_json") else report
    if not isinstance(told, Mapping) or "ranking" not in told:
        raise DataError(f"a report is what Ratings.board gives, not {type(report).__name__}")
    return dict(told)


def ceilings_of(name: str, ceilings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What people reached by the measure that a statistic of this name takes."""
    measure = _MEASURES.get(name) or ("alpha" if "alpha" in name else "kappa" if "kappa" in name else "")
    return [one for one in ceilings if one["measure"] == measure]


def agreement(report: Any) -> "go.Figure":
    """Each measure of agreement with its interval, and behind it what people reached elsewhere."""
    told = _told(report)
    marks = [_mark(one["name"], one) for one in told["agreement"]]
    bands = {one["name"]: ceilings_of(one["name"], told["ceilings"]) for one in told["agreement"]}
    return _marks(
        f"Agreement of {told['who']}, {told['batch']}",
        "95 % interval; green: people elsewhere",
        [("", marks)],
        zero=0.0,
        bands=bands,
    )


def ranking(report: Any) -> "go.Figure":
    """Models by strength, as the comparisons stand and with the length of the answers taken out."""
    told = _told(report)
    plain = told["gentle"] or told["ranking"]
    series = [("as compared", _places(plain)), ("length taken out", _places(told["controlled"]))]
    there = [(name, marks) for name, marks in series if marks]
    if not there:
        there = [("", [Mark("no ranking", None, note=told["ranking"]["reason"])])]
    note = f" ({plain['note']})" if plain["note"] and told["gentle"] else ""
    return _marks(f"Ranking, {told['batch']}{note}", "Elo, 95 % interval", there, zero=0.0)


def bias(report: Any) -> "go.Figure":
    """How often the left and how often the longer answer is preferred, for each rater too; a half is no bias."""
    told = _told(report)
    marks = [
        _mark("left, all raters", told["position"]["share"]),
        _mark("longer, all raters", told["longer"]),
    ]
    marks += [_mark(f"left, {one['name']}", one["position"]["share"]) for one in told["raters"]]
    return _marks(
        f"Bias, {told['batch']}", "share of decisive answers, 95 % interval", [("", marks)], zero=0.5
    )


def calibration(report: Any, judge: str | None = None) -> "go.Figure":
    """How often a judge agrees with persons, by how sure it is. Raises DataError where it has no such judge."""
    told = _told(report)
    found = [one for one in told["judges"] if judge in (None, one["name"])]
    if not found:
        names = ", ".join(one["name"] for one in told["judges"]) or "none"
        raise DataError(f"no judge {judge!r} stands beside persons in this report; there is: {names}")
    rows = found[0]["calibration"]["bins"]
    figure = blank(
        f"{found[0]['name']} beside persons", "how sure the judge is", "share that agrees, 95 % interval"
    )
    figure.add_scatter(
        x=[row["gap"] for row in rows],
        y=[row["rate"] for row in rows],
        name="agrees",
        mode="lines+markers",
        line={"color": PALETTE[0], "width": 2},
        marker={"size": 9},
        error_y=_whiskers(rows, "rate"),
        customdata=[row["n"] for row in rows],
        hovertemplate="sure %{x:.3g}<br>%{y:.0%} of %{customdata}<extra></extra>",
    )
    figure.add_hline(y=0.5, line={"color": _INK, "dash": "dot", "width": 1})
    figure.update_yaxes(range=[0, 1.02])
    return figure


def worth(needles: Mapping[str, Any]) -> "go.Figure":
    """What clicks are worth: accuracy of a reward model over the clicks it was made of, a curve for each name.

    needles: name to `ftlab.judges.Worth`; beside the name of one without a point stands why it has none.
    """
    figure = blank("What the clicks are worth", "clicks", "share right, 90 % interval")
    every = [row for needle in needles.values() for row in needle.to_rows()]
    for place, (name, needle) in enumerate(needles.items()):
        rows = needle.to_rows() or [_NO_POINT]
        colour = PALETTE[place % len(PALETTE)]
        figure.add_scatter(
            x=[row["clicks"] for row in rows],
            y=[row["accuracy"] for row in rows],
            name=name if needle.points else f"{name}: {needle.reason}",
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": _DASHES[place % len(_DASHES)]},
            marker={"size": 9, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
            error_y=_whiskers(rows, "accuracy"),
            customdata=[row["n"] for row in rows],
            hovertemplate="%{x} clicks<br>%{y:.2f} of %{customdata} pairs<extra></extra>",
        )
    figure.add_hline(y=0.5, line={"color": _INK, "dash": "dot", "width": 1})
    most = max((row["clicks"] for row in every), default=1)
    figure.update_xaxes(range=[0, 1.05 * most], dtick=1 if most <= _COUNTED else None)
    figure.update_yaxes(range=[min([0.4, *(row["low"] - 0.02 for row in every)]), 1.02])
    return figure


def pace(report: Any) -> "go.Figure":
    """Seconds an answer, the median of each stretch of a rater's answers, in the order in which they came."""
    told = _told(report)
    figure = blank(f"Pace, {told['batch']}", "answers given", "median seconds an answer")
    for place, (name, spots) in enumerate(told["over_time"].items()):
        figure.add_scatter(
            x=[n for n, _ in spots],
            y=[seconds for _, seconds in spots],
            name=name,
            mode="lines",
            line={
                "color": PALETTE[place % len(PALETTE)],
                "width": 2,
                "dash": ("solid", "dash", "dot")[place % 3],
            },
            hovertemplate="answer %{x}<br>%{y:.1f} s<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero")
    return figure


def confusion(report: Any, a: str | None = None, b: str | None = None) -> "go.Figure":
    """What one rater said of the tasks of which the other said something; by default the two with most in common.

    Raises DataError where the two answered no task in common.
    """
    told = _told(report)
    found = [
        one
        for one in told["couples"]
        if (a is None or a in (one["a"], one["b"])) and (b is None or b in (one["a"], one["b"]))
    ]
    if not found:
        raise DataError(f"{a or 'two raters'} and {b or 'another'} have no task in common in this report")
    one = found[0]
    figure = blank(f"{one['a']} and {one['b']}", f"{one['b']} said", f"{one['a']} said")
    figure.add_heatmap(
        z=one["table"],
        x=one["values"],
        y=one["values"],
        colorscale=[[0, "rgba(0,114,178,0.05)"], [1, "rgba(0,114,178,0.85)"]],
        showscale=False,
        xgap=2,
        ygap=2,
        text=one["table"],
        texttemplate="%{text}",
        hovertemplate=f"{escape(one['a'])}: %{{y}}<br>{escape(one['b'])}: %{{x}}<br>%{{z}} tasks<extra></extra>",
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", automargin=True)
    return figure


def _mark(name: str, one: Mapping[str, Any], series: int = 0) -> Mark:
    note = "" if one["value"] is not None else one["reason"]
    return Mark(name, one["value"], one["low"], one["high"], series, note)


def _places(ranking: Mapping[str, Any]) -> list[Mark]:
    return [Mark(one["model"], one["elo"], one["elo_low"], one["elo_high"]) for one in ranking["places"]]


def _marks(
    title: str,
    x_label: str,
    series: Sequence[tuple[str, Sequence[Mark]]],
    *,
    zero: float,
    bands: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> "go.Figure":
    """A figure of marks beside their names; a mark without a value has its note instead."""
    figure = blank(title, x_label, "")
    rows = list(dict.fromkeys(mark.name for _, marks in series for mark in marks))
    spread = {}
    for name, sources in (bands or {}).items():
        spread[name] = [(one["low"], one["high"]) for one in sources]
        for one in sources:
            at = rows.index(name)
            figure.add_shape(
                type="rect",
                x0=one["low"] - 0.002,
                x1=one["high"] + 0.002,
                y0=at - 0.4,
                y1=at + 0.4,
                fillcolor=_BAND,
                line={"width": 0},
                layer="below",
            )
    for place, (name, marks) in enumerate(series):
        shift = 0.0 if len(series) == 1 else 0.18 * (2 * place - 1)
        figure.add_scatter(
            x=[mark.value for mark in marks],
            y=[rows.index(mark.name) + shift for mark in marks],
            name=name,
            mode="markers",
            showlegend=len(series) > 1,
            marker={
                "color": PALETTE[place % len(PALETTE)],
                "size": 11,
                "symbol": _SYMBOLS[place % len(_SYMBOLS)],
            },
            error_x=_whiskers([{"value": m.value, "low": m.low, "high": m.high} for m in marks], "value"),
            customdata=[(mark.name, mark.low, mark.high, mark.note) for mark in marks],
            hovertemplate="%{customdata[0]}<br>%{x:.3g} [%{customdata[1]:.3g}, %{customdata[2]:.3g}]<extra></extra>",
        )
        for mark in marks:
            if mark.value is None:
                figure.add_annotation(
                    x=zero, y=rows.index(mark.name), text=escape(mark.note), showarrow=False, xanchor="left"
                )
    figure.add_vline(x=zero, line={"color": _INK, "dash": "dot", "width": 1})
    figure.update_layout(
        height=120 + 44 * len(rows), margin={"l": 10}, meta={"twin": MARKS, "zero": zero, "bands": spread}
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[escape(row) for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
    )
    return figure


def _whiskers(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """From low to high; none where one of the ends is not known."""
    known = [row[name] is not None and row["low"] is not None and row["high"] is not None for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [
            max(0.0, row["high"] - row[name]) if own else 0 for row, own in zip(rows, known, strict=True)
        ],
        "arrayminus": [
            max(0.0, row[name] - row["low"]) if own else 0 for row, own in zip(rows, known, strict=True)
        ],
        "thickness": 1.8,
        "width": 5,
    }


def twin(figure: "go.Figure") -> str:
    """A picture of the marks, for where no script runs."""
    meta, names = figure.layout.meta, [trace.name or "" for trace in figure.data]
    rows: dict[str, list[Mark]] = {}
    for series, trace in enumerate(figure.data):
        for value, (name, low, high, note) in zip(trace.x, trace.customdata, strict=True):
            bands = [tuple(band) for band in meta["bands"].get(name, ())]
            rows.setdefault(name, []).append(Mark(name, value, low, high, series, note or "", bands))
    return marks_image(
        [mark for marks in rows.values() for mark in marks],
        title=figure.layout.title.text,
        x_label=figure.layout.xaxis.title.text,
        names=names if len(names) > 1 else (),
        zero=meta["zero"],
    )


def table_twin(figure: "go.Figure") -> str:
    """A confusion matrix as an HTML table, its cells shaded."""
    [trace] = figure.data
    most = max((count for row in trace.z for count in row), default=0) or 1
    cell = "text-align:center;padding:4px 10px"
    head = "".join(f'<th style="{cell}">{escape(str(name))}</th>' for name in trace.x)
    body = "".join(
        f'<tr><th style="{cell};text-align:left">{escape(str(name))}</th>'
        + "".join(
            f'<td style="{cell};background:rgba(0,114,178,{0.55 * count / most:.2f})">{count}</td>'
            for count in row
        )
        + "</tr>"
        for name, row in zip(trace.y, trace.z, strict=True)
    )
    title = f"{figure.layout.title.text}: rows, {figure.layout.yaxis.title.text}; columns, {figure.layout.xaxis.title.text}"
    return f'<p><b>{escape(title)}</b></p><table style="border-collapse:collapse"><tr><th></th>{head}</tr>{body}</table>'
