"""DyLoRA: one adapter that may be cut to any rank afterwards, against plain LoRA cut to the same.

Paper: one training instead of a search over ranks, and low ranks that hold (Valipour et al. 2023). Near the full rank
plain LoRA may well be better, and nothing is claimed of that.
"""

from ftlab.bench.methods import news

RANK, EPOCHS = 4, 7  # of so few ranks each is drawn often enough
BARS = {
    "better_at_rank_1": (">=", 0.3),
    "better_up_to_half": (">=", 0.03),
    "worse_at_full_rank": ("<=", 0.03),
    "spread": ("<=", 0.1),
}


def measure(start: str, seed: int) -> dict[str, float]:
    """Losses in nats a token on unseen wordings, at every rank; `better_...` is plain LoRA's loss less DyLoRA's."""
    taught, asked = news.rows("train", seed), news.rows("eval", seed)
    cut: dict[str, list[float]] = {}
    for kind in ("lora", "dylora"):
        run = news.learned(
            f"cut-{kind}-{seed}",
            start,
            {"kind": kind, "rank": RANK},
            taught,
            seed,
            epochs=EPOCHS,
            learning_rate=5e-3,
        )
        cut[kind] = [news.loss(f"{run.reference}@{rank}", asked) for rank in range(1, RANK + 1)]
    better = [plain - ours for plain, ours in zip(cut["lora"], cut["dylora"], strict=True)]
    return {
        **{f"{kind}_at_{rank}": round(value, 3) for kind in cut for rank, value in enumerate(cut[kind], 1)},
        "better_at_rank_1": round(better[0], 3),
        "better_up_to_half": round(min(better[: RANK // 2]), 3),
        "worse_at_full_rank": round(-better[-1], 3),
        "spread": round(max(cut["dylora"]) - min(cut["dylora"]), 3),
    }
