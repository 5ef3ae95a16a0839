"""Figures for a notebook: tables in, plotly figures out, each with a twin for where no script runs.

A table is a list of mappings or of dataclass objects, or anything with `to_dict("records")`, such as a pandas
DataFrame. Colours keep their contrast on a light and on a dark page, and are never the only difference.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from ftlab.errors import DataError
from ftlab.picture import PALETTE, Line, image

if TYPE_CHECKING:
    import plotly.graph_objects as go

_INK = "#797979"  # 4.3:1 on white and on #111111 alike; the page behind a transparent figure is not known
_ALIASES = {"what": "group", "share": "rate"}  # as the gold judge's scores call them
_NOT_A_NUMBER = "not a number"
_GRID = "rgba(128,128,128,0.28)"
_PLOTLY_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_PATTERNS = ("", "/", ".", "x", "\\")
_SYMBOLS = ("circle-open", "diamond-open", "square-open")
_FIGURES = {"loss": ("training", "nats"), "eval/loss": ("evaluation", "nats")}


def loss_curve(run: Any, values: Sequence[str] = ("loss", "eval/loss")) -> "go.Figure":
    """`values` over the steps of a run, or of rows with a "step" such as `Run.metrics()` gives.

    Evaluations ("eval/…") are marks, the rest lines; None and NaN are gaps. Raises DataError where no row has
    any of the values.
    """
    rows = _records(run.metrics() if hasattr(run, "metrics") else run)
    figure = blank(getattr(run, "name", "") or "Loss", "step", _FIGURES.get(values[0], (values[0], ""))[1])
    known = [name for name in values if any(name in row for row in rows)]
    if not known:
        there = sorted({name for row in rows for name in row} - {"step", "epoch"})
        raise DataError(
            f"no row has {' or '.join(map(repr, values))}; there are: {', '.join(there) or 'none'}"
        )
    for place, name in enumerate(known):
        label, unit = _FIGURES.get(name, (name, ""))
        have = [row for row in rows if name in row]
        colour = PALETTE[place % len(PALETTE)]
        is_marks = name.startswith("eval/")
        figure.add_scatter(
            x=[row["step"] for row in have],
            y=[row[name] for row in have],
            name=label,
            mode="markers" if is_marks else "lines",
            line={"color": colour, "dash": _PLOTLY_DASHES[place % len(_PLOTLY_DASHES)], "width": 2},
            marker={
                "color": colour,
                "symbol": _SYMBOLS[place % len(_SYMBOLS)],
                "size": 9,
                "line": {"width": 2},
            },
            connectgaps=False,
            hovertemplate=f"step %{{x}}<br>{label} %{{y:.4g}} {unit}<extra></extra>",
        )
    _mark_gaps(figure, rows, known)
    return figure


def _mark_gaps(figure: "go.Figure", rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """A cross below every step at which a figure was not a number."""
    gaps = [row["step"] for row in rows if any(name in row and not _is_finite(row[name]) for name in names)]
    finite = [row[name] for row in rows for name in names if _is_finite(row.get(name))]
    if not gaps or not finite:
        return
    figure.add_scatter(
        x=gaps,
        y=[min(finite)] * len(gaps),
        name=_NOT_A_NUMBER,
        mode="markers",
        marker={"color": "#d1435b", "symbol": "x", "size": 10},
        hovertemplate=f"step %{{x}}<br>{_NOT_A_NUMBER}<extra></extra>",
    )


def win_rates(table: Any) -> "go.Figure":
    """A mark and its 90 % interval for each row with a, b, rate, low, high and n, such as `Ratings.win_rate`.

    A row whose rate is None was never rated: it is named, with no mark.
    """
    rows = _records(table if _is_table(table) else [table])
    _require(rows, ("a", "b", "rate", "low", "high", "n"))
    names = [f"{row['a']} over {row['b']} (n = {row['n']})" for row in rows]
    figure = blank("Preferred", "share of rated pairs, 90 % interval", "")
    figure.add_scatter(
        x=[row["rate"] for row in rows],
        y=names,
        name="win rate",
        mode="markers",
        showlegend=False,
        marker={"color": PALETTE[0], "size": 11, "symbol": "diamond"},
        error_x=_interval(rows, "rate"),
        customdata=[(row["low"], row["high"], row["n"]) for row in rows],
        hovertemplate="%{y}<br>%{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<extra></extra>",
    )
    figure.add_vline(x=0.5, line={"color": _INK, "dash": "dot", "width": 1})
    figure.update_layout(height=110 + 44 * len(rows), margin={"l": 10})
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def accuracy_bars(table: Any) -> "go.Figure":
    """Bars by group, one for each model, with their 90 % intervals.

    Rows have group (or what), model, n, and correct (how many of n) or rate (or share), or are objects with
    `to_row()` that gives these; low and high are Wilson's where they are not given. Models keep the order in which they first come: put "before" in front of "after".
    """
    from ftlab.interval import wilson

    rows = [{_ALIASES.get(name, name): value for name, value in row.items()} for row in _records(table)]
    _require(rows, ("group", "model", "n"))
    for row in rows:
        if "rate" not in row:
            _require([row], ("correct",))
            row["rate"] = row["correct"] / row["n"] if row["n"] else None
        if row["rate"] is not None and ("low" not in row or "high" not in row):
            row["low"], row["high"] = wilson(row["rate"] * row["n"], row["n"])
    figure = blank("Accuracy", "", "share correct, 90 % interval")
    for place, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        own = [row for row in rows if row["model"] == model and row["rate"] is not None]
        figure.add_bar(
            x=[row["group"] for row in own],
            y=[row["rate"] for row in own],
            name=str(model),
            marker={
                # Washed, with the full colour around, so that the interval's ink shows inside a bar as well.
                "color": _washed(PALETTE[place % len(PALETTE)]),
                "line": {"color": PALETTE[place % len(PALETTE)], "width": 2},
                "pattern": {
                    "shape": _PATTERNS[place % len(_PATTERNS)],
                    "fgcolor": PALETTE[place % len(PALETTE)],
                    "fillmode": "overlay",
                    "size": 8,
                    "solidity": 0.15,
                },
            },
            error_y=_interval(own, "rate"),
            customdata=[(row["low"], row["high"], row["n"]) for row in own],
            hovertemplate=(
                f"{escape(str(model))}, %{{x}}<br>%{{y:.2f}} [%{{customdata[0]:.2f}}, "
                "%{customdata[1]:.2f}], n = %{customdata[2]}<extra></extra>"
            ),
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(range=[0, 1.04])
    return figure


def static(figure: "go.Figure") -> str:
    """HTML that needs no script: curves over numbers as a picture, everything else as a table of its figures."""
    if figure.layout.meta and figure.layout.meta.get("twin") == "marks":
        from ftlab.rating_plots import twin

        return twin(figure)
    if any(trace.type == "heatmap" for trace in figure.data):
        from ftlab.rating_plots import table_twin

        return table_twin(figure)
    title = figure.layout.title.text or ""
    scatters = [trace for trace in figure.data if trace.type == "scatter" and _is_curve(trace)]
    if scatters and len(scatters) == len(figure.data):
        lines = [
            Line(trace.name or "", list(trace.x), list(trace.y), points=trace.mode == "markers")
            for trace in scatters
            if trace.name != _NOT_A_NUMBER  # the picture marks gaps by itself
        ]
        axes = (figure.layout.xaxis.title.text or "", figure.layout.yaxis.title.text or "")
        told = "; ".join(_told(line) for line in lines)
        return image(lines, title=title, x_label=axes[0], y_label=axes[1], alt=f"{title}: {told}")
    rows = [cells for trace in figure.data for cells in _bars(trace)]
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("", "", "", "90 % interval", "n"))
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f"<p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _bars(trace: Any) -> Iterable[list[str]]:
    """A row a mark: series, name, figure with a bar, interval, n."""
    across = trace.error_x.array is not None  # a mark that lies along x
    names, values = (trace.y, trace.x) if across else (trace.x, trace.y)
    facts = trace.customdata if trace.customdata is not None else [None] * len(values)
    cell = '<td style="text-align:left">'
    for name, value, fact in zip(names, values, facts, strict=True):
        low, high, n = fact if fact is not None else (None, None, None)
        figure = "not rated" if value is None else f"{value:.2f}"
        bar = "" if value is None else f'<progress value="{value:.4f}" max="1"></progress> '
        interval = f"{low:.2f} to {high:.2f}" if low is not None and value is not None else ""
        yield [
            f"{cell}{escape(str(text))}</td>"
            for text in ("" if trace.name == "win rate" else trace.name or "", name)
        ] + [f"{cell}{bar}{figure}</td>", f"{cell}{interval}</td>", f"{cell}{'' if n is None else n}</td>"]


def _told(line: Line) -> str:
    """A series in words, for who cannot see the picture."""
    known = [(s, v) for s, v in zip(line.steps, line.values, strict=True) if _is_finite(v)]
    if not known:
        return f"{line.name}, nothing finite"
    (first, start), (last, end) = known[0], known[-1]
    return f"{line.name} {start:.4g} at {first:g}, {end:.4g} at {last:g}"


def _interval(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    known = [row if row[name] is not None else {**row, name: 0, "low": 0, "high": 0} for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, row["high"] - row[name]) for row in known],
        "arrayminus": [max(0.0, row[name] - row["low"]) for row in known],
        "color": _INK,
        "thickness": 1.8,
        "width": 6,
    }


def _washed(colour: str) -> str:
    """The colour at a third of its strength, whatever lies behind."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.33)"


def _is_table(table: Any) -> bool:
    return hasattr(table, "to_dict") or (isinstance(table, Iterable) and not isinstance(table, Mapping))


def _records(table: Any) -> list[dict[str, Any]]:
    """The rows as mappings. Raises DataError for what is no table."""
    if hasattr(table, "to_dict"):
        table = table.to_dict("records")
    if isinstance(table, str | Mapping) or not isinstance(table, Iterable):
        raise DataError(f"a table is a list of rows, not {type(table).__name__}")
    rows = [_record(row) for row in table]
    if wrong := next((row for row in rows if not isinstance(row, Mapping)), None):
        raise DataError(f"a row is a mapping or a dataclass object, not {wrong!r:.80}")
    return rows


def _record(row: Any) -> Any:
    if hasattr(row, "to_row"):
        return row.to_row()
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def _require(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for place, row in enumerate(rows):
        if missing := [name for name in names if name not in row]:
            raise DataError(
                f"row {place} has no {missing[0]!r}; it needs {', '.join(names)}, has {sorted(row)}"
            )


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _is_curve(trace: Any) -> bool:
    """Numbers over numbers, not marks beside names."""
    return not any(isinstance(value, str) for axis in (trace.x, trace.y) for value in axis)


def blank(title: str, x_label: str, y_label: str) -> "go.Figure":
    """An empty figure with the house's look: nothing painted behind it, ink that shows on light and on dark."""
    figure = _figure_class()()
    axis = {
        "gridcolor": _GRID,
        "zerolinecolor": _GRID,
        "linecolor": _INK,
        "ticks": "outside",
        "tickcolor": _INK,
    }
    figure.update_layout(
        template="none",
        title={"text": title, "font": {"size": 16}, "x": 0.01, "xanchor": "left"},
        font={"color": _INK, "size": 14},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"bgcolor": "#ffffff", "font": {"color": "#222222"}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 64, "r": 18, "t": 72, "b": 48},
        height=360,
    )
    figure.update_xaxes(title=x_label, **axis)
    figure.update_yaxes(title=y_label, **axis)
    return figure


@cache
def _figure_class() -> type["go.Figure"]:
    """A plotly figure that leaves its twin; made on first use, because plotly takes its time to import."""
    import plotly.graph_objects as go

    class Figure(go.Figure):
        def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
            from ftlab.widgets.widget import is_live

            bundle = {"text/plain": f"<figure {self.layout.title.text or ''}>", "text/html": static(self)}
            if is_live():  # JupyterLab prefers plotly's own type; nbconvert and GitHub take the twin
                bundle["application/vnd.plotly.v1+json"] = self.to_plotly_json()
            return bundle

        def _repr_html_(self) -> str:
            return static(self)

        def _ipython_display_(self) -> None:
            from IPython.display import display

            display(self._repr_mimebundle_(), raw=True)

    return Figure
