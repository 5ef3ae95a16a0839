"""LoRA: what every rank recovers of full fine-tuning's gain, and two voices swapped on one base.

Paper: rank 1 does nearly what rank 64 does (Hu et al. 2021, Table 6), so nothing is claimed of an order of the ranks.
"""

from ftlab.answers import Answer, Sampling, compare
from ftlab.bench.methods import news
from ftlab.models import base_sha256, resolve
from ftlab.wren import data
from ftlab.wren.gold import style_of

RANKS = (1, 2, 4, 8)
BARS = {
    **{f"recovered_rank_{rank}": (">=", 0.85) for rank in RANKS},
    "style_pirate": (">=", 0.9),
    "style_robot": (">=", 0.9),
    "cross_talk": ("<=", 0),
    "base_unchanged": (">=", 1),
}
VOICES = ("pirate", "robot")
VOICE_ROWS, ASKED = 240, 60
GREEDY = Sampling(max_new_tokens=48, temperature=0.0)


def measure(start: str, seed: int) -> dict[str, float]:
    """Losses in nats a token on unseen wordings; `recovered_...` of full fine-tuning's gain; shares of answers, 0 to 1."""
    weights = resolve(start).base
    before = base_sha256(weights)
    taught, asked = news.rows("train", seed), news.rows("eval", seed)
    losses = {"start": news.loss(start, asked)}
    full = news.learned(f"full-{seed}", start, {"kind": "sft"}, taught, seed, learning_rate=5e-4)
    losses["full"] = news.loss(full.reference, asked)
    for rank in RANKS:
        run = news.learned(
            f"lora-{rank}-{seed}", start, {"kind": "lora", "rank": rank}, taught, seed, learning_rate=5e-3
        )
        losses[f"rank_{rank}"] = news.loss(run.reference, asked)
    gain = losses["start"] - losses["full"]
    return {
        **{f"loss_{name}": round(value, 3) for name, value in losses.items()},
        **{
            f"recovered_rank_{rank}": round((losses["start"] - losses[f"rank_{rank}"]) / gain, 3)
            for rank in RANKS
        },
        **_voices(start, seed),
        "base_unchanged": float(base_sha256(weights) == before),
    }


def _voices(start: str, seed: int) -> dict[str, float]:
    """Adapters of two voices and none of them, answering side by side in one batch on one base."""
    runs = {
        voice: news.learned(
            f"{voice}-{seed}",
            start,
            {"kind": "lora", "rank": 4},
            news.spoken(voice, VOICE_ROWS, seed),
            seed,
            epochs=2,
            learning_rate=3e-3,
        ).reference
        for voice in VOICES
    }
    rows = [
        row for row in data.rows("prompts", "eval", 2 * ASKED, seed) if row["family"] not in ("rule", "harm")
    ]
    answers = compare([row["prompt"] for row in rows[:ASKED]], [start, *runs.values()], GREEDY).answers
    said = {name: [by[name] for by in answers] for name in (start, *runs.values())}
    bases = {one.fingerprint.base for texts in said.values() for one in texts}
    strays = (
        _share(said[start], *VOICES)
        + _share(said[runs["pirate"]], "robot")
        + _share(said[runs["robot"]], "pirate")
    )
    return {
        **{f"style_{voice}": round(_share(said[runs[voice]], voice), 3) for voice in VOICES},
        "cross_talk": round(strays, 3),
        "bases": len(bases),
    }


def _share(answers: list[Answer], *voices: str) -> float:
    return sum(style_of(answer.text) in voices for answer in answers) / len(answers)
