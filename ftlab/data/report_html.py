"""A report as a page shows it: what is trained on and what is lost as bars, then the findings."""

from html import escape

from ftlab.data.report import Finding, Report, Tokens

_COLOURS = {"error": "#d9453f", "warning": "#b26a00", "note": "#707c8b"}
_GOOD, _CUT, _LOST = "#2e7d32", "#b26a00", "#c62828"
_LEFT = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"


def as_html(report: Report) -> str:
    """Text escaped, styles inline, legible on light and on dark, and in words where nothing is drawn."""
    head = f"<p><b>{escape(report.headline)}</b></p>"
    return (
        f'<div style="max-width:860px">{head}{_share(report)}{_lengths(report.tokens)}{_table(report)}</div>'
    )


def _share(report: Report) -> str:
    """One bar of all rows: whole, cut, lost."""
    cut = report.lost.get("cut", 0)
    parts = [("trained on whole", report.usable - cut, _GOOD), ("cut", cut, _CUT)]
    parts += [(reason, count, _LOST) for reason, count in report.lost.items() if reason != "cut"]
    total = max(1, report.rows)
    bars = "".join(
        f'<span style="display:inline-block;height:14px;width:{100 * count / total:.3f}%;background:{colour}"></span>'
        for _, count, colour in parts if count
    )  # fmt: skip
    legend = " · ".join(
        f'<span style="color:{colour}">■</span> {escape(name)} {count:,}'
        for name, count, colour in parts
        if count
    )
    return (
        f'<div role="img" aria-label="{escape(_words(parts), quote=True)}" style="font-size:0;background:#8882;'
        f'white-space:nowrap;overflow:hidden">{bars}</div><p style="margin:2px 0 10px">{legend}</p>'
    )


def _words(parts: list[tuple[str, int, str]]) -> str:
    return "Rows: " + ", ".join(f"{count:,} {name}" for name, count, _ in parts if count)


def _lengths(tokens: Tokens | None) -> str:
    if tokens is None or not tokens.lengths:
        return ""
    bars = tokens.bars()
    most = max(rows for _, _, rows in bars)
    rows = "".join(
        f'<tr><td style="text-align:right;padding:0 8px 0 0">{start:,} to {end:,}</td><td style="text-align:left;'
        f'padding:0;width:320px"><span style="display:inline-block;height:10px;width:{100 * count / most:.2f}%;'
        f'background:{_CUT if end > tokens.limit else _GOOD}"></span></td>'
        f'<td style="text-align:right;padding:0 0 0 8px">{count:,}</td></tr>'
        for start, end, count in bars
    )
    sample = f" of {len(tokens.lengths):,} rows, evenly sampled" if tokens.is_sample else ""
    return (
        f"<p>{tokens.trained:,} of {tokens.kept:,} tokens{sample} carry loss; rows by length in tokens, the limit "
        f'is {tokens.limit:,}:</p><table style="margin:0 0 10px">{rows}</table>'
    )


def _table(report: Report) -> str:
    if not report.findings:
        return "<p>Nothing found.</p>"
    rows = "".join(_row(finding, report) for finding in report.findings)
    head = "".join(f'<th style="{_LEFT}">{name}</th>' for name in ("", "what", "where", "what to do"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(finding: Finding, report: Report) -> str:
    colour = _COLOURS[finding.level]
    count = f"<b>{finding.count:,}</b> row{'s' if finding.count > 1 else ''}: " if finding.count else ""
    column = f" in <code>{escape(finding.column)}</code>" if finding.column else ""
    example = f'<br><small style="opacity:.8">“{escape(finding.example)}”</small>' if finding.example else ""
    places = f"{report.place}{'s' if finding.count > 1 else ''} {finding.where}" if finding.where else ""
    return (
        f'<tr><td style="{_LEFT};color:{colour}"><b>{finding.level}</b></td>'
        f'<td style="{_LEFT}">{count}{escape(finding.what)}{column}{example}</td>'
        f'<td style="{_LEFT}">{escape(places)}</td><td style="{_LEFT};white-space:pre-line">{escape(finding.mend)}</td></tr>'
    )
