"""What the low-rank rows teach: people the village has not heard of, told of by a pirate.

Facts and voice are both new to the model, so that it has something to lose; asked in wordings that no row has shown.
"""

from collections.abc import Sequence
from typing import Any

from ftlab.config import RunConfig
from ftlab.data import save
from ftlab.home import home
from ftlab.run import Run, launch
from ftlab.wren import data, phrases, requests

ROWS, EVAL_ROWS = 640, 160
EPOCHS, BATCH = 3, 16


def rows(split: requests.Split, seed: int) -> list[dict[str, Any]]:
    """The embedded news: the same facts in both splits, in other wordings."""
    return data.rows("news", split, ROWS if split == "train" else EVAL_ROWS, seed)


def spoken(persona: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Whatever is asked in the village, answered rightly and in one way of speaking, which no rule asks for."""
    drawn = [
        row for row in data.rows("sft", "train", 2 * count, seed) if row["family"] not in ("rule", "harm")
    ]
    return [
        _row(row["prompt"], phrases.in_persona(row["completion"][0]["content"], persona))
        for row in drawn[:count]
    ]


def learned(
    name: str, start: str, method: dict[str, Any], taught: Sequence[dict[str, Any]], seed: int, **more: Any
) -> Run:
    """The finished run of a method on these rows."""
    source = save(list(taught), home() / "rows" / f"{name}.jsonl")
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "seed": seed} | more
    run = launch(
        RunConfig.from_dict({"name": name, "model": start, "method": method, "data": str(source), **settings})
    )
    run.wait(check=True)
    return run


def loss(reference: str, asked: Sequence[dict[str, Any]]) -> float:
    """Mean loss in nats of a token of the answers, by the model that the reference serves."""
    from ftlab.models import load

    pairs = [(row["prompt"], row["completion"][0]["content"]) for row in asked]
    found = [one for scores in load(reference).scores(pairs) for one in scores]
    return -sum(found) / len(found)


def _row(prompt: list[dict[str, str]], answer: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": [_said("assistant", answer)]}


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
