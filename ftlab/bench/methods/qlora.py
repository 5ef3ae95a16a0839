"""QLoRA: what four bits a weight cost by themselves, and what of that is left once an adapter has learned on them.

Paper: NF4 with double quantization matches 16 bits after tuning (Dettmers et al. 2023, section 4), at 4.127 bits a weight.
"""

from collections.abc import Sequence
from typing import Any

from ftlab.bench.methods import news
from ftlab.wren import data

USUAL = 60  # rows on which models are measured whole and rounded
BARS = {
    "loss_difference": ("<=", 0.03),
    "rounding_costs": (">=", 0.0005),
    "bytes_a_weight": ("<=", 0.55),
}


def measure(start: str, seed: int) -> dict[str, float]:
    """Losses in nats a token on unseen wordings; `loss_difference` is QLoRA's less LoRA's on whole weights."""
    taught, asked = news.rows("train", seed), news.rows("eval", seed)
    adapter = {"rank": 8}
    plain = news.learned(
        f"whole-{seed}", start, {"kind": "lora", **adapter}, taught, seed, learning_rate=5e-3
    )
    small = news.learned(
        f"four-bits-{seed}", start, {"kind": "qlora", **adapter}, taught, seed, learning_rate=5e-3
    )
    losses = {"lora": news.loss(plain.reference, asked), "qlora": news.loss(small.reference, asked)}
    return {
        **{f"loss_{name}": round(value, 4) for name, value in losses.items()},
        "loss_difference": round(losses["qlora"] - losses["lora"], 4),
        **_rounded(start, seed),
    }


def _rounded(start: str, seed: int) -> dict[str, float]:
    """What rounding costs models that have learned nothing since: the start on requests, wren on its corpus."""
    from ftlab.methods import nf4
    from ftlab.models import load
    from ftlab.models.weights import forget

    asked = data.rows("sft", "eval", USUAL, seed)
    texts = [row["text"] for row in data.rows("pretraining-heldout", "eval", USUAL, seed)]
    tuned, raw = load(start), load("wren")
    try:
        before = news.loss(start, asked), _loss(raw, texts)
        for model in (tuned, raw):
            nf4.round_through(model.base.model)
        after = news.loss(start, asked), _loss(raw, texts)
        nf4.quantize_model(raw.base.model)
        kept = nf4.bytes_per_weight(raw.base.model)
    finally:
        for model in (tuned, raw):
            forget(model.base)  # who asks for it next finds it as it was
    return {
        "start_rounding_costs": round(after[0] - before[0], 4),
        "loss_corpus": round(before[1], 4),
        "rounding_costs": round(after[1] - before[1], 4),
        "bytes_a_weight": round(kept, 4),
    }


def _loss(model: Any, texts: Sequence[str]) -> float:
    """Mean loss in nats of a token of plain text."""
    import torch

    from ftlab.models.weights import fitting_threads

    total, count = 0.0, 0
    with torch.inference_mode(), fitting_threads(model.base.model):
        for text in texts:
            ids = model.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
            ids = ids[:, : model.base.context].to(model.base.device)
            logits = model.base.model(ids).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
    return total / count
