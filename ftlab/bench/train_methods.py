"""Bench `train_methods`: pace, memory and loss of four methods on smollm2, against the plainest script of each.

Full fine-tuning and LoRA against `trl sft`, prompt tuning against TRL's trainer with PEFT's prompt, word-level
distillation against TRL's GKD trainer, all with their defaults (16-bit autocast over 32-bit weights, gradient
checkpointing, padding): same rows in the same order, same step size, same first values, same cores. The student is
smollm2 with every second layer (Sanh et al. 2019), its teacher the whole one.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftlab.bench import courses, train
from ftlab.bench.courses import BATCH, STEPS, Course

TOKENS = 20  # of the soft prompt
TEXT = "You are the author of a long chronicle of a quiet village. Go on with the account in the same voice, calmly."


def measure(rounds: int = 2, model: str = "smollm2", methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """The worst of the methods' medians of `rounds` pairs of runs, one after the other, and a row a method.

    `model` is any reference on this disk; `methods` picks some of METHODS.
    """
    from ftlab.data import save
    from ftlab.models import references

    base = Path(references.fetch(references.resolve(model)).base)
    table = {}
    with TemporaryDirectory() as folder:
        rows = save(courses.make_rows(STEPS * BATCH), Path(folder) / "rows" / "train.jsonl")
        for name in methods or METHODS:
            pairs = []
            for number in range(rounds):
                place = Path(folder) / f"{name}-{number}"
                place.mkdir()
                pairs.append(METHODS[name](place, base, rows))
            table[name] = _row(pairs)
    return {
        "worst_ratio": min(row["ratio"] for row in table.values()),
        "worst_memory_ratio": max(row["memory_ratio"] for row in table.values()),
        "worst_loss_difference": max(row["loss_difference"] for row in table.values()),
        "rows": table,
        "steps": STEPS - courses.FIRST,
        "rounds": rounds,
    }


def _row(pairs: list[tuple[Course, Course]]) -> dict[str, Any]:
    tokens = pairs[0][0].tokens
    speeds = [(ours.speed(tokens), theirs.speed(tokens)) for ours, theirs in pairs]
    ours, theirs = pairs[-1]
    return {
        "ratio": round(statistics.median(one / other for one, other in speeds), 2),
        "memory_ratio": round(statistics.median(one.peak_mib / other.peak_mib for one, other in pairs), 3),
        "loss_difference": round(statistics.median(courses.difference(*pair) for pair in pairs), 5),
        "tokens_per_second": round(statistics.median(one for one, _ in speeds), 1),
        "their_tokens_per_second": round(statistics.median(other for _, other in speeds), 1),
        "peak_mib": round(statistics.median(one.peak_mib for one, _ in pairs)),
        "their_peak_mib": round(statistics.median(other.peak_mib for _, other in pairs)),
        "ratios": [round(one / other, 2) for one, other in speeds],
        "last_losses": [round(ours.losses[-1], 4), round(theirs.losses[-1], 4)],
    }


def _full(place: Path, base: Path, rows: Path) -> tuple[Course, Course]:
    rate = 2e-5
    return (
        courses.in_ftlab(place / "run", base, rows, {"kind": "sft", "learning_rate": rate}),
        courses.in_trl(place, base, rows, {"learning_rate": rate}),
    )


def _prompt_tuning(place: Path, base: Path, rows: Path) -> tuple[Course, Course]:
    rate = 3e-2
    method = {"kind": "prompt_tuning", "tokens": TOKENS, "start": "text", "text": TEXT, "learning_rate": rate}
    return (
        courses.in_ftlab(place / "run", base, rows, method),
        courses.in_script("prompt_tuning", base, rows, TEXT, TOKENS, rate, place / "peft"),
    )


def _distillation(place: Path, base: Path, rows: Path) -> tuple[Course, Course]:
    rate = 2e-5
    student = halved(base, place / "student")
    method = {
        "kind": "distillation",
        "teacher": str(base),
        "objective": {"kind": "word"},
        "learning_rate": rate,
    }
    return (
        courses.in_ftlab(place / "run", student, rows, method),
        courses.in_script("distillation", student, base, rows, rate, place / "gkd"),
    )


def halved(base: Path, target: Path) -> Path:
    """A copy of a Llama with every second layer, tokenizer and all."""
    import shutil

    from safetensors import safe_open
    from safetensors.numpy import save_file

    target.mkdir()
    for path in base.iterdir():
        if path.suffix in {".json", ".jinja", ".txt"} and "index" not in path.name:
            shutil.copy(path, target / path.name)
    config = json.loads((base / "config.json").read_text("utf-8"))
    kept = range(0, config["num_hidden_layers"], 2)
    places = {f"model.layers.{layer}.": f"model.layers.{place}." for place, layer in enumerate(kept)}
    tensors = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                head = ".".join(name.split(".")[:3]) + "."
                if not name.startswith("model.layers."):
                    tensors[name] = file.get_tensor(name)
                elif head in places:
                    tensors[places[head] + name.removeprefix(head)] = file.get_tensor(name)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config["num_hidden_layers"] = len(kept)
    config.pop("layer_types", None)
    (target / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    return target


METHODS: dict[str, Callable[[Path, Path, Path], tuple[Course, Course]]] = {
    "full": _full,
    "lora": train.lora,
    "prompt_tuning": _prompt_tuning,
    "distillation": _distillation,
}
