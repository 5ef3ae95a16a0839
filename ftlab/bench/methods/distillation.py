"""Row `distillation`: what a tuned wren's odds teach wren-xs, a fifth of its size, that labels alone do not."""

import tempfile
from pathlib import Path
from typing import Any

from ftlab import data, wren
from ftlab.answers import Sampling, compare
from ftlab.config import RunConfig
from ftlab.run import launch
from ftlab.scoring import apart, mean_kl
from ftlab.wren.gold import judge

LABELLED, UNLABELLED, TESTED = 300, 2500, 240
PASSES = 14  # over the few rows: labels alone are learned by heart by then, odds are not
ROLLOUTS, STEPS = 48, 30
RATE = {"learning_rate": 1e-3, "batch_size": 16}
BARS = {
    "kl_cut": (">=", 0.3),
    "unlabelled_gain": (">=", 0.1),
    "reverse_help_gain": (">=", 0.0),
    "reverse_kl_gain": (">=", 0.0),
}
"""Not judged, for it need not hold: that soft labels answer better than hard ones from the same few rows."""


def measure(start: str, seed: int) -> dict[str, float]:
    """Shares of right answers at temperature 1; KL(teacher‖student) a token in nats over the teacher's answers.

    The student is pretrained, the teacher `start`. `kl_cut`: how much of the KL after 300 labels is gone where
    the teacher's odds are learned from the same rows; `unlabelled_gain`: help, with 2,500 prompts that the teacher
    answers on top. `reverse_…_gain`: reverse over forward KL, on the student's own answers after the labels.
    """
    rows = wren.rows("sft", n=LABELLED + UNLABELLED, seed=seed)
    tested = [row["prompt"] for row in wren.rows("prompts", split="eval", n=TESTED, seed=seed)]
    sampling = Sampling(temperature=1.0, seed=seed)
    texts = [row[start].text for row in compare(tested, [start], sampling).answers]
    told = [{"prompt": prompt, "text": text} for prompt, text in zip(tested, texts, strict=True) if text]
    with tempfile.TemporaryDirectory() as folder:
        few = str(data.save(rows[:LABELLED], Path(folder) / "labelled.jsonl"))
        bare = [{"prompt": row["prompt"]} for row in rows[LABELLED:]]
        many = str(data.save([*rows[:LABELLED], *bare], Path(folder) / "more.jsonl"))
        on_policy = {"batch_size": ROLLOUTS, "max_steps": STEPS}
        students = {"hard": _trained("hard", seed, method="sft", data=few, epochs=PASSES)}
        students |= {
            "soft": _trained("soft", seed, method=_from(start, "word"), data=few, epochs=PASSES),
            "more": _trained("more", seed, method=_from(start, "word"), data=many, epochs=2),
        }
        for name, beta in (("forward", 0.0), ("reverse", 1.0)):
            objective = {"kind": "gkd", "on_policy": 1.0, "beta": beta, "temperature": 1.0}
            fields = {"model": students["hard"], "method": _from(start, objective), "data": many, **on_policy}
            students[name] = _trained(name, seed, **fields)
    answers = compare(tested, list(students.values()), sampling).answers
    help_, kl = {}, {}
    for name, reference in students.items():
        right = [
            judge(prompt, row[reference].text).correct for prompt, row in zip(tested, answers, strict=True)
        ]
        help_[name] = sum(found is True for found in right) / len(right)
        kl[name] = mean_kl(apart(told, start, reference))
    return {
        "kl_cut": 1 - kl["soft"] / kl["hard"],
        "unlabelled_gain": help_["more"] - help_["hard"],
        "reverse_help_gain": help_["reverse"] - help_["forward"],
        "reverse_kl_gain": kl["reverse"] - kl["forward"],
        **{f"{name}_help": value for name, value in help_.items()},
        **{f"{name}_kl": value for name, value in kl.items()},
    }


def _trained(name: str, seed: int, **fields: Any) -> str:
    """A run of wren-xs to its end; its reference."""
    run = launch(RunConfig(**{"name": f"{name}-{seed}", "model": "wren-xs", "seed": seed} | RATE | fields))
    run.wait(check=True)
    return run.reference


def _from(teacher: str, objective: Any) -> dict[str, Any]:
    return {"kind": "distillation", "teacher": teacher, "objective": objective}
