"""The table of runs, and several of them beside each other, for a page on which nobody can click."""

from html import escape
from typing import Any

from ftlab.answers import said
from ftlab.picture import Line, image
from ftlab.widgets.versus import FIRST, Course

_PICTURED = ("loss", "eval/loss")
_SHORT_NAMES = 70  # characters above a picture
_LEFT = 'style="text-align:left;vertical-align:top;padding:3px 10px"'

COLUMNS = {
    "run": "name",
    "status": "status",
    "method": "method",
    "model": "model",
    "data": "data",
    "steps": "step",
    "loss": "loss",
    "evaluation": "eval_loss",
    "time": "seconds",
    "memory": "memory",
}
"""Headings of the table, and what stands below each."""


def table(rows: list[dict[str, Any]]) -> str:
    """The runs, one a row; text escaped."""
    return _html_table(list(COLUMNS), [[_cell(name, row) for name in COLUMNS] for row in rows])


def comparison(
    courses: dict[str, Course], differences: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> str:
    """Pictures of their losses, where their configurations differ, and what they answered last."""
    # Names beside each other have to fit above a picture.
    is_short = sum(len(name) + 8 for name in courses) <= _SHORT_NAMES
    labels = {name: name if is_short else str(place) for place, name in enumerate(courses, 1)}
    heads = [name if is_short else f"{label}: {name}" for name, label in labels.items()]
    pictures = "".join(_picture(courses, labels, metric) for metric in _PICTURED)
    fields = _html_table(["configuration", *heads], [[row["path"], *row["values"]] for row in differences])
    texts = [
        [said(row["prompt"]), *(_last(row["runs"].get(name, [])) for name in courses)] for row in answers
    ]
    answered = _html_table(["prompt", *heads], texts) if texts else ""
    return f"{pictures}{fields if differences else '<p>Their configurations are the same.</p>'}{answered}"


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row.get(COLUMNS[column])
    if column == "status":
        place = f", number {row['position']} in line" if row.get("position") else ""
        return f"{value}{place}" + (f": {row['reason']}" if row["reason"] else "")
    if value is None:
        return "not a number" if column in {"loss", "evaluation"} and COLUMNS[column] in row else ""
    if column == "steps":
        return f"{value:,} of {row['total']:,}" if "total" in row else f"{value:,}"
    words = {"loss": "{:.4g}", "evaluation": "{:.4g}", "time": "{:,.0f} s", "memory": "{:,.0f} MiB"}
    return words.get(column, "{}").format(value)


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th {_LEFT}>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _picture(courses: dict[str, Course], labels: dict[str, str], metric: str) -> str:
    lines, told = [], []
    for name, course in courses.items():
        series = course.series(metric)
        if series is None:
            continue
        points = series.curve.points()
        is_line = (
            series.kind == "line" or len(points) > 1
        )  # evaluations of several runs need joining to be told apart
        lines.append(
            Line(
                labels[name], [step for step, _ in points], [value for _, value in points], points=not is_line
            )
        )
        if points:
            told.append(f"{name} {points[-1][1]:.4g} at step {points[-1][0]}")
    if not lines:
        return ""
    title = "Loss" if metric == FIRST else "Loss, evaluation"
    return image(lines, title=title, x_label="step", y_label="nats", alt=f"{title}: {'; '.join(told)}")


def _last(texts: list[dict[str, Any]]) -> str:
    return f"{texts[-1]['text']} (step {texts[-1]['step']})" if texts else ""
