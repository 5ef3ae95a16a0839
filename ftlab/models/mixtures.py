"""How mixtures are written: adapters counted with weights, `0.7*run:a + -0.5*run:b`, or cut, `run:a@3`.

A mixture of LoRA adapters is exact: the layer's answer is W x + sum over k of weight_k scale_k B_k A_k x, which is
what one adapter with all their ranks side by side would say. An adapter cut to its first b ranks is counted
alpha / b times, as DyLoRA does (Valipour et al. 2023, eq. 7), and not alpha / r times as before.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlab.errors import ModelError

MOST_TERMS = 8
WIDEST = 4.0
"""Weights lie between its negative and it."""
FORM = '"0.7*run:a + -0.5*run:b" (1 to 8 terms, weights from -4 to 4)'

# What makes an adapter more than two thin matrices a layer.
MORE = (
    "alora_invocation_tokens", "alpha_pattern", "fan_in_fan_out", "layer_replication", "lora_bias",
    "modules_to_save", "rank_pattern", "target_parameters", "trainable_token_indices", "use_dora",
)  # fmt: skip
# Starting values that leave the base's own weights alone; the others change them when the adapter is put on.
HARMLESS_STARTS = (True, False, None, "gaussian", "orthogonal", "eva", "mica", "lora_ga")

_CUT = re.compile(r"(?P<name>.+)@(?P<rank>[0-9]+)")
_PLUS = re.compile(r"\s+\+\s+")


@dataclass(frozen=True)
class Term:
    """`weight` times the adapter that `name` names, cut or whole; `text` is how it stood."""

    text: str
    weight: float
    name: str


def is_blend(reference: str) -> bool:
    """Whether this is written like adapters with weights."""
    return (
        "*" in reference
        or _PLUS.search(reference) is not None
        or ("run:" in reference and " - " in reference)
    )


def terms(reference: str) -> list[Term]:
    """What a blend is made of, in the order of writing. Raises ModelError that names the term and the way out."""
    texts = [text.strip() for text in _PLUS.split(reference)]
    if len(texts) > MOST_TERMS:
        raise ModelError(f"{reference!r} has {len(texts)} terms; wanted {FORM}")
    return [_term(reference, place, text) for place, text in enumerate(texts, 1)]


def cut(name: str) -> tuple[str, int | None]:
    """("run:a", 3) of "run:a@3"; (name, None) where no rank is written."""
    found = _CUT.fullmatch(name)
    return (name, None) if found is None else (found["name"], int(found["rank"]))


def check_plain(settings: Mapping[str, Any], place: str) -> None:
    """Raises ModelError where these settings of an adapter are of more than two thin matrices a layer."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{place} is an adapter of the kind {kind}; only LoRA adapters are cut or blended")
    if settings.get("task_type") == "SEQ_CLS":
        raise ModelError(f"{place} is the adapter of a reward model; only models that answer are blended")
    more = [name for name in MORE if settings.get(name)]
    if settings.get("bias", "none") != "none":
        more.append("bias")
    if settings.get("init_lora_weights", True) not in HARMLESS_STARTS:
        more.append("init_lora_weights")
    if more:
        what = "a DoRA adapter" if more == ["use_dora"] else f"LoRA with {', '.join(more)}"
        raise ModelError(
            f"{place} is {what}, which is more than two thin matrices a layer and cannot be cut or blended; "
            "answer with it by itself, or train a plain LoRA"
        )


def check_rank(rank: int | None, settings: Mapping[str, Any], place: str) -> int | None:
    """The rank to cut to; None where that cuts nothing off. Raises ModelError where the adapter has fewer."""
    whole = int(settings["r"])
    if rank is not None and not 1 <= rank <= whole:
        raise ModelError(f"{place} asks for {rank} ranks; the adapter has {whole}, so wanted @1 to @{whole}")
    return None if rank == whole else rank


def scale_of(settings: Any, rank: int) -> float:
    """How often an adapter of so many ranks is counted: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
    return float(settings.lora_alpha / (math.sqrt(rank) if settings.use_rslora else rank))


def mixture_sha256(parts: Sequence[tuple[str, float, int | None]]) -> str:
    """64 hex digits over (an adapter's hash, its weight, its rank) of each part; their order plays no part."""
    recipe = sorted(json.dumps([adapter, rank, float(weight)]) for adapter, weight, rank in parts)
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()


def _term(reference: str, place: int, text: str) -> Term:
    where = f"{reference!r}, term {place} ({text!r})"
    head, star, rest = text.partition("*")
    if " - " in text:
        raise ModelError(f"{where}: what is taken away is written as a negative weight, as in {FORM}")
    written, name = (head.strip(), rest.strip()) if star else ("1", text)
    try:
        weight = float(written)
    except ValueError:
        raise ModelError(f"{where}: the weight {written!r} is no number; wanted {FORM}") from None
    if not -WIDEST <= weight <= WIDEST:  # nan is outside as well
        raise ModelError(f"{where}: the weight {written} lies outside -4 to 4")
    if not name:
        raise ModelError(f"{where}: no adapter behind the weight; wanted {FORM}")
    return Term(text, weight, name)
