"""SFT: base against tuned, how few examples change what, and what each mask learns from the same conversations.

Thirty rows give wren the form of an answer, and with it most of what pretraining taught it (seed 0: 0.90 of the held-out
prompts; 1.00 after a thousand rows). Which mask is best is no claim: on one seed they were 0.04 apart, which is noise.
"""

from itertools import chain

from ftlab.answers import Sampling, compare
from ftlab.bench.wren import NEW_TOKENS, answering
from ftlab.config import RunConfig
from ftlab.data import save
from ftlab.home import home
from ftlab.run import launch
from ftlab.wren import acceptance, data
from ftlab.wren.acceptance import by_family, judged, share

BARS = {
    "base_accuracy": ("<=", 0.25),
    "tuned_accuracy": (">=", 0.75),
    "base_rude": (">=", 0.2),
    "tuned_rude": ("<=", 0.03),
    "knowledge_kept": (">=", 0.9),
    "gain_of_30_rows": (">=", 0.4),
    "gain_of_1000_over_30": (">=", 0.04),
    "least_mask_accuracy": (">=", 0.6),
}
CURVE = (30, 300, 1000)
"""Rows learned from; the tuned model that is given has learned from all 3,000."""
TURNS = 3
TALKS = 80
"""Conversations of TURNS turns, for the masks."""
ASKED = 140
"""Held-out prompts, ten of each family."""
MASKS = ("completion", "assistant", "all")


def measure(start: str, seed: int) -> dict[str, float]:
    """Accuracies are shares of greedy answers, the mean over families; rude are shares of answers at temperature 1."""
    rows = data.rows("prompts", "eval", ASKED, seed)
    runs = {
        f"accuracy_{count}_rows": _run(f"sft-{count}-{seed}", {"train": "wren:sft", "max_rows": count}, seed)
        for count in CURVE
    }
    talks = str(save(_talks(seed), home() / "rows" / f"talks-{seed}.jsonl"))
    for mask in MASKS:
        runs[f"accuracy_mask_{mask}"] = _run(f"sft-{mask}-{seed}", {"train": talks, "mask": mask}, seed)
    named = {"base_accuracy": "wren", "tuned_accuracy": start} | runs
    found = _accuracies(named, rows)
    return {
        **found,
        "base_rude": _rude("wren", rows, seed),
        "tuned_rude": _rude(start, rows, seed),
        "knowledge_kept": round(acceptance.knowledge(answering(start), seed), 3),
        "gain_of_30_rows": round(found["accuracy_30_rows"] - found["base_accuracy"], 3),
        "gain_of_1000_over_30": round(found["accuracy_1000_rows"] - found["accuracy_30_rows"], 3),
        "least_mask_accuracy": min(found[f"accuracy_mask_{mask}"] for mask in MASKS),
    }


def _run(name: str, settings: dict[str, object], seed: int) -> str:
    """The reference of a wren that has seen each row three times."""
    config = RunConfig(
        name=name, model="wren", method="sft", data=settings, epochs=3, batch_size=16, seed=seed
    )
    run = launch(config)
    run.wait(check=True)
    return run.reference


def _talks(seed: int) -> list[data.Row]:
    """Questions of one speaker after another; the same rows as single ones, so that only the mask differs."""
    single = [row for row in data.rows("sft", seed=seed) if len(row["prompt"]) == 1][: TURNS * TALKS]
    turns = [[*row["prompt"], *row["completion"]] for row in single]
    return [{"messages": list(chain(*turns[i : i + TURNS]))} for i in range(0, len(turns), TURNS)]


def _accuracies(named: dict[str, str], rows: list[data.Row]) -> dict[str, float]:
    """All models in one comparison: they share their prompts, and each is loaded once."""
    references = list(named.values())
    answers = compare([row["prompt"] for row in rows], references, Sampling(NEW_TOKENS, 0.0)).answers
    return {
        name: round(_accuracy(rows, [by[reference].text for by in answers]), 3)
        for name, reference in named.items()
    }


def _accuracy(rows: list[data.Row], answers: list[str]) -> float:
    """The mean over families of the share of right answers."""
    families = by_family(rows, judged(rows, answers))
    return sum(families.values()) / len(families)


def _rude(reference: str, rows: list[data.Row], seed: int) -> float:
    answers = answering(reference)([row["prompt"] for row in rows], 1.0, seed)
    return round(share(verdict.rude for verdict in judged(rows, answers)), 3)
