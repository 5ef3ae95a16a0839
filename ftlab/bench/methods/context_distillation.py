"""Row `context_distillation`: wren learns to talk like a pirate without being told to, from itself being told to."""

import tempfile
from pathlib import Path

from ftlab import data, wren
from ftlab.answers import Sampling, compare, count_tokens
from ftlab.config import RunConfig
from ftlab.run import launch
from ftlab.scoring import apart, mean_kl
from ftlab.wren.gold import Verdict, judge

CONTEXT, STYLE = "Talk like a pirate.", "pirate"
TRAINED, TESTED = 400, 280
BARS = {
    "style": (">=", 0.9),
    "style_before": ("<=", 0.05),
    "help_away": ("<=", 0.1),
    "kl_falls": (">=", 10.0),
    "tokens_saved": (">=", 1.0),
}


def measure(start: str, seed: int) -> dict[str, float]:
    """Shares of answers at temperature 1 to held-out prompts without a rule of their own; KL a token in nats.

    `kl_falls`: how many times smaller KL(teacher‖student) is afterwards, over the teacher's answers.
    """
    prompts = _prompts("train", TRAINED, seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = data.save([{"prompt": prompt} for prompt in prompts], Path(folder) / "prompts.jsonl")
        run = launch(
            RunConfig(
                name=f"without-{seed}",
                model=start,
                method={"kind": "context_distillation", "context": CONTEXT},
                data=str(rows),
                epochs=2,
                seed=seed,
            )
        )
        run.wait(check=True)
    tested = _prompts("eval", TESTED, seed)
    told = [[{"role": "system", "content": CONTEXT}, *prompt] for prompt in tested]
    sampling = Sampling(temperature=1.0, seed=seed)
    texts = [row[start].text for row in compare(told, [start], sampling).answers]
    bare = compare(tested, [start, run.reference], sampling).answers
    teacher, before, after = (
        [judge(prompt, text) for prompt, text in zip(tested, some, strict=True)]
        for some in (texts, [row[start].text for row in bare], [row[run.reference].text for row in bare])
    )
    answers = [{"prompt": prompt, "text": text} for prompt, text in zip(tested, texts, strict=True) if text]
    far, near = (
        mean_kl(apart(answers, start, student, system=CONTEXT)) for student in (start, run.reference)
    )
    tokens = [sum(count_tokens(some, start)) for some in (told, tested)]
    return {
        "style": _styled(after),
        "style_before": _styled(before),
        "teacher_style": _styled(teacher),
        "help": _right(after),
        "teacher_help": _right(teacher),
        "help_before": _right(before),
        "help_away": abs(_right(after) - _right(teacher)),
        "kl_before": far,
        "kl_after": near,
        "kl_falls": far / near,
        "tokens_saved": (tokens[0] - tokens[1]) / len(tested),
    }


def _prompts(split: str, count: int, seed: int) -> list[list[dict[str, str]]]:
    """Those that have no rule of their own, which would speak against the context."""
    rows = wren.rows("prompts", split="train" if split == "train" else "eval", n=count * 5 // 4, seed=seed)
    return [row["prompt"] for row in rows if row["prompt"][0]["role"] != "system"][:count]


def _styled(verdicts: list[Verdict]) -> float:
    return sum(verdict.style == STYLE for verdict in verdicts) / len(verdicts)


def _right(verdicts: list[Verdict]) -> float:
    return sum(verdict.correct is True for verdict in verdicts) / len(verdicts)
