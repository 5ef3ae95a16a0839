"""What was rated, in words and tables: for Undo, for the end of a batch, and for a page without a kernel."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ftlab.answers import word_diff

if TYPE_CHECKING:
    from ftlab.ratings import Ratings, Task, WinRate

ROWS = 6
NOUNS = {"pair": "pair", "single": "answer", "rank": "ranking", "edit": "text", "dialogue": "turn"}
"""What a task of each mode is called."""

_CHOICES = {"left": "A is better", "right": "B is better", "tie": "tie", "both_bad": "both bad"}
_STRENGTHS = ("negligibly", "slightly", "clearly", "significantly")
_CELL = "padding:4px 10px;border-bottom:1px solid rgba(128,128,128,.45);text-align:left;vertical-align:top"
BOX = "border:1px solid rgba(128,128,128,.45);border-radius:8px;padding:12px;font-family:sans-serif"


def words(said: Mapping[str, Any]) -> str:
    """What stands, for a person to read; `said` has kind, choice, strength and scores."""
    if said["kind"] in ("skip", "flag"):
        return {"skip": "skipped", "flag": "flagged"}[said["kind"]]
    scores = said["scores"] or {}
    parts = [_CHOICES.get(said["choice"] or "", "")]
    if said["choice"] in ("left", "right") and said["strength"] is not None:
        parts[0] = f"{parts[0]}, {_STRENGTHS[said['strength']]}"
    if "safety" in scores:
        parts.append(_SAFETY[scores["safety"]])
    if "thumb" in scores:
        parts.append({"up": "good", "down": "bad"}[scores["thumb"]])
    if "likert" in scores:
        parts.append(f"{scores['likert']} of 7")
    if "ranks" in scores:
        parts.append(_order(scores["ranks"]))
    if "text" in scores:
        count = len(scores["text"].split())
        parts.append(f"a text of {count} {'word' if count == 1 else 'words'}")
    return "; ".join(part for part in parts if part) or str(said["kind"])


_SAFETY = {
    "both_safe": "both safe",
    "both_unsafe": "neither safe",
    "left_safe": "only A safe",
    "right_safe": "only B safe",
}


def _order(ranks: Sequence[int | None]) -> str:
    """Letters in the order shown, such as: B, then A = C; not ranked: D."""
    name = {place: chr(65 + place) for place in range(len(ranks))}
    known = sorted({rank for rank in ranks if rank is not None})
    tiers = [" = ".join(name[place] for place, rank in enumerate(ranks) if rank == one) for one in known]
    rest = ", ".join(name[place] for place, rank in enumerate(ranks) if rank is None)
    return ", then ".join(tiers) + (f"; not ranked: {rest}" if rest else "")


# when everything is answered and the models may be seen


def standings(ratings: "Ratings", batch: str, mode: str) -> dict[str, Any]:
    """{heads, rows, about}: how the models of a batch did, by all raters."""
    rows = [row for row in ratings.current(batch) if not row["gold"] and row["kind"] in ("rate", "revise")]
    if mode in ("pair", "dialogue"):
        return _preferred(ratings, batch, rows)
    if mode == "single":
        return _graded(rows)
    return _ranked(rows) if mode == "rank" else _written(rows)


def _preferred(ratings: "Ratings", batch: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    models = sorted({model for row in rows for model in row["models"]})
    rates = [ratings.win_rate(batch, a, b) for a, b in combinations(models, 2)]
    return {
        "heads": ["Preferred", "to", "Won", "Lost", "Tied", "of them both bad", "Share", "n"],
        "rows": [_win_rate(rate) for rate in rates if rate.n],
        "about": "All raters of this batch. A tie counts half for each; the interval is Wilson's at 90 %.",
    }


def _win_rate(rate: "WinRate") -> list[Any]:
    share = "" if rate.rate is None else f"{rate.rate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
    return [rate.a, rate.b, rate.wins, rate.losses, rate.ties, rate.both_bad, share, rate.n]


def _graded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = []
    for model in sorted({row["models"][0] for row in rows}):
        scores = [row["scores"] for row in rows if row["models"][0] == model]
        thumbs = [one["thumb"] == "up" for one in scores if "thumb" in one]
        grades = [one["likert"] for one in scores if "likert" in one]
        good = f"{sum(thumbs)} of {len(thumbs)}" if thumbs else "-"
        table.append([model, good, f"{sum(grades) / len(grades):.2f}" if grades else "-", len(scores)])
    about = "All raters of this batch; the mean is of the grades 1 to 7."
    heads = ["Model", "Good", "Mean grade", "n"]
    asked = [n for n in range(len(heads)) if any(row[n] != "-" for row in table)]
    return {
        "heads": [heads[n] for n in asked],
        "rows": [[row[n] for n in asked] for row in table],
        "about": about,
    }


def _ranked(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Where each model stood against the others of a ranking: a tie and two without rank count half."""
    won: Counter[str] = Counter()
    met: Counter[str] = Counter()
    first: Counter[str] = Counter()
    for row in rows:
        ranks = [rank if rank is not None else len(row["models"]) + 1 for rank in row["scores"]["ranks"]]
        for model, rank in zip(row["models"], ranks, strict=True):
            first[model] += rank == min(ranks)
        for (a, x), (b, y) in combinations(zip(row["models"], ranks, strict=True), 2):
            if a != b:
                won[a] += (x < y) + (x == y) / 2  # type: ignore[assignment]
                won[b] += (y < x) + (x == y) / 2  # type: ignore[assignment]
                met[a] += 1
                met[b] += 1
    order = sorted(met, key=lambda model: (-won[model] / met[model], model))
    return {
        "heads": ["Model", "Ranked first", "Above another model", "n"],
        "rows": [[m, first[m], f"{won[m] / met[m]:.0%}", met[m]] for m in order],
        "about": "All raters of this batch; n counts the meetings of two models, where a tie is half for each.",
    }


def _written(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by = Counter(row["models"][0] if row["models"] else "(none: a demonstration)" for row in rows)
    return {
        "heads": ["Original by", "Texts"],
        "rows": [[name, count] for name, count in sorted(by.items())],
        "about": "All raters of this batch.",
    }


# the twin: inline styles only, because JupyterLab's sanitizer leaves nothing else


def escaped(value: object) -> str:
    """As text in HTML."""
    return html.escape(str(value))


def table_html(heads: Sequence[str], rows: Sequence[Sequence[object]], marked: Sequence[int] = ()) -> str:
    """A table; the columns in `marked` are HTML already, all others become text."""
    top = "".join(f'<th style="{_CELL}">{escaped(head)}</th>' for head in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_CELL};white-space:pre-wrap">{cell if n in marked else escaped(cell)}</td>'
            for n, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse;margin:8px 0"><tr>{top}</tr>{body}</table>'


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[:length]}…"


def waiting_html(task: Mapping[str, Any]) -> str:
    """The first task, as it waits for somebody who can click."""
    texts = [excerpt(text) for text in task["texts"]]
    return table_html(
        ["Prompt", *_heads(task["mode"], len(texts))], [[excerpt(_asked(task["prompt"])), *texts]]
    )


def counts_html(mode: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What was said how often, and how many were said in a hurry."""
    counted = Counter(_counted(mode, row) for row in rows)
    hasty = sum(bool(row["hasty"]) for row in rows)
    known = sum(row["hasty"] is not None for row in rows)
    speed = (
        f"{hasty} of {known} were said faster than the answers can be read."
        if known
        else "Times were not recorded."
    )
    return table_html(["Said", f"n = {len(rows)}"], counted.most_common()) + f"<p>{speed}</p>"


def _counted(mode: str, row: Mapping[str, Any]) -> str:
    """The kind of answer that a row is counted as."""
    if row["kind"] in ("skip", "flag"):
        return words(row)
    scores = row["scores"] or {}
    if mode in ("pair", "dialogue"):
        return _CHOICES[row["choice"]]
    if mode == "rank":
        ranks = [rank for rank in scores["ranks"] if rank is not None]
        return "a ranking with ties" if len(set(ranks)) < len(ranks) else "a ranking without ties"
    if mode == "edit":
        return "a better answer" if row["models"] else "a demonstration"
    return words({**row, "scores": {name: scores[name] for name in ("thumb", "likert") if name in scores}})


def rows_html(ratings: "Ratings", mode: str, mine: Sequence[Mapping[str, Any]]) -> str:
    """The first answers, with the number of their entry in the log: that is their receipt."""
    body = [_row(ratings.task(row["assignment_id"]), row) for row in mine[:ROWS]]
    count = max((len(row) for row in body), default=0) - 4
    more = f"<p>The first {len(body)} of {len(mine)}.</p>" if len(mine) > len(body) else ""
    heads = ["", "Prompt", *_heads(mode, count), "Said", "Entry"]
    padded = [[*row[:-2], *[""] * (count + 4 - len(row)), *row[-2:]] for row in body]
    return table_html(heads, padded, marked=[len(heads) - 2]) + more


def _heads(mode: str, count: int) -> list[str]:
    return ["Answer"] * count if mode in ("single", "edit") else [chr(65 + place) for place in range(count)]


def _row(task: "Task", row: Mapping[str, Any]) -> list[str]:
    """Cells of one answer; the one before the last is HTML."""
    texts = [excerpt(text) for text in task.texts]
    said = escaped(words(row))
    text = (row["scores"] or {}).get("text")
    if text is not None and row["kind"] in ("rate", "revise"):
        said = _changes(task.texts[0], text) if task.texts else escaped(excerpt(text))
    labels = (row["scores"] or {}).get("labels", [])
    marks = [
        *(f"label: {label}" for label in labels),
        *([f"“{excerpt(row['comment'])}”"] if row["comment"] else []),
    ]
    said += "".join(f"<br><small>{escaped(mark)}</small>" for mark in marks)
    return [str(task.position), excerpt(_asked(task.prompt)), *texts, said, f"no.\u00a0{row['seq']}"]


def _changes(before: str, after: str) -> str:
    """The beginning of the new text with what was changed marked, as HTML."""
    found = [
        word for word in word_diff(excerpt(before, 400), excerpt(after, 400)) if word.change != "removed"
    ]
    return "".join(f"<u>{escaped(w.text)}</u>" if w.change == "added" else escaped(w.text) for w in found)


def _asked(prompt: Sequence[Mapping[str, str]]) -> str:
    return prompt[-1]["content"] if len(prompt) == 1 else f"({len(prompt)} messages) {prompt[-1]['content']}"


def standings_html(shown: Mapping[str, Any]) -> str:
    """The table of the end, where it was asked for."""
    return table_html(shown["heads"], shown["rows"]) if shown["rows"] else ""
