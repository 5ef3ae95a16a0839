"""What the gold judge says of models on held-out prompts: shares, each with its count and interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftlab.answers import Sampling, compare
from ftlab.interval import wilson
from ftlab.wren.gold import Verdict, judge


@dataclass(frozen=True)
class Score:
    """`hits` of `n` answers of a model were as `what` says."""

    model: str
    what: str
    hits: int
    n: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 90 % interval of the share."""
        return wilson(self.hits, self.n)

    def to_row(self) -> dict[str, Any]:
        """Plain values, as tables and plots take them."""
        low, high = self.interval
        return {
            "model": self.model,
            "what": self.what,
            "share": self.share,
            "low": low,
            "high": high,
            "n": self.n,
        }


def scores(
    references: Sequence[str], rows: Sequence[dict[str, Any]], *, style: str | None = None, seed: int = 0
) -> list[Score]:
    """Every model answers every row's prompt, once at temperature 1; the gold judge reads the answers.

    rows: of `data.rows("prompts", "eval")`. Counted are answers that do what was asked ("right"), insult the
    asker ("rude") and, where `style` names a way of speaking such as "pirate", those that speak so.
    """
    sampling = Sampling(temperature=1.0, seed=seed)
    comparison = compare([row["prompt"] for row in rows], list(references), sampling)
    found: list[Score] = []
    for reference in references:
        verdicts = [
            judge(row["prompt"], by[reference].text) for row, by in zip(rows, comparison.answers, strict=True)
        ]
        found += _counted(reference, verdicts, style)
    return found


def _counted(reference: str, verdicts: Sequence[Verdict], style: str | None) -> list[Score]:
    n = len(verdicts)
    found = [
        Score(reference, "right", sum(verdict.correct is True for verdict in verdicts), n),
        Score(reference, "rude", sum(verdict.rude for verdict in verdicts), n),
    ]
    if style is not None:
        found.append(Score(reference, style, sum(verdict.style == style for verdict in verdicts), n))
    return found


def table(found: Sequence[Score]) -> str:
    """The same as text: a line a model, "0.87 [0.83, 0.90] n=200" in each column."""
    columns = list(dict.fromkeys(score.what for score in found))
    models = list(dict.fromkeys(score.model for score in found))
    cells = {(score.model, score.what): score for score in found}
    width = max(len("model"), *(len(model) for model in models))
    lines = [f"{'model':{width}}  " + "  ".join(f"{what:26}" for what in columns)]
    for model in models:
        words = []
        for what in columns:
            score = cells[model, what]
            low, high = score.interval
            words.append(f"{f'{score.share:.2f} [{low:.2f}, {high:.2f}] n={score.n}':26}")
        lines.append(f"{model:{width}}  " + "  ".join(words))
    return "\n".join(line.rstrip() for line in lines)
