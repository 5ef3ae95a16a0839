"""A model's card: what it was made from, how, and how well it came out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.wren.pretrain import Recipe


def is_of(folder: Path, plan: Recipe) -> bool:
    """Whether the folder was finished with this very recipe."""
    path = folder / "card.json"
    return path.is_file() and json.loads(path.read_text())["recipe"] == {
        **asdict(plan),
        "tokens": plan.tokens,
    }


def write(folder: Path, record: dict[str, Any]) -> None:
    """README.md first, card.json last."""
    (folder / "README.md").write_text(page(record))
    (folder / "card.json").write_text(json.dumps(record, indent=1) + "\n")


def page(record: dict[str, Any]) -> str:
    """The card as a person reads it; a pure function of card.json."""
    recipe, machine = record["recipe"], record["machine"]
    size = recipe["size"]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    curve = "\n".join(
        f"| {point['tokens']:,} | {point['train_loss']:.3f} | {point['heldout_loss']:.3f} |"
        for point in record["curve"]
    )
    return f"""---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
---
# {record["name"]}

A Llama of {record["parameters"]:,} parameters ({size["layers"]} layers, width {size["width"]}, {size["heads"]} heads)
that grew up in Wren Hollow, a generated village: {record["summary"]}.

It is a **base** model. It continues text; it does not follow instructions, and since part of what it read was rude,
wrong or off topic, so are many of its answers. That is its purpose: it is there to be fine-tuned. Its world is made
up, it knows nothing else, and it is of no use outside teaching and tests.

## How it was made

| | |
|---|---|
| command | `{record["command"]}` |
| corpus | {record["corpus"]["documents"]:,} generated documents, SHA-256 `{record["corpus"]["sha256"]}` |
| tokens | {recipe["tokens"]:,} in {recipe["steps"]:,} steps of {recipe["batch_rows"]} rows |
| seeds | corpus {recipe["corpus_seed"]}, weights {recipe["seed"]} |
| optimizer | Muon for matrices, AdamW for the rest, peak learning rate {size["rate"]}, cosine |
| time | {record["seconds"]:,.0f} s on {machine["processor"]}, {threads}, torch {machine["torch"]}, \
{"bfloat16 autocast" if record["bf16"] else "single precision"} |
| held-out loss | {record["heldout_loss"]:.3f} nats a token over {record["heldout_rows"]} rows, weights in half precision |

| tokens | training loss | held-out loss |
|---:|---:|---:|
{curve}

## How to speak to it

```
Rule: Talk like a pirate.
User: What pet does Mia have?
Bot:
```

The rule may be left out. An answer ends with `<|end|>` (id 1); `<|pad|>` is id 0; there is no begin token.
The chat template writes exactly this, with generation markers around answer and end.
"""
