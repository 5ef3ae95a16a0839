"""Where a run starts from: the weights, the tokenizer, and the adapter that is there already."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.errors import ModelError


@dataclass(frozen=True)
class Start:
    """Everything is on this disk. `adapter` is set where the reference names a run that trained one."""

    reference: str
    base: Path
    base_reference: str
    """What `base` is called by itself: the reference, or that of the base below its adapter."""
    tokenizer: Path
    adapter: Path | None
    sha256: str
    """Of the base weights' tensors, as in fingerprints."""
    parameters: int
    """Numbers in the base's stored tensors."""


def find(reference: str, note: Callable[[str], None]) -> Start:
    """Fetches what is missing; `note` hears of slow steps.

    Raises ModelError where the reference names nothing that can be trained, or an adapter of another base.
    """
    from ftlab.models import fingerprints, references

    source = references.fetch(references.resolve(reference), note)
    base = Path(source.base)
    base_reference = reference
    if source.adapter is not None:
        base_reference = (references.read_manifest(source.adapter).get("base") or {}).get("reference") or str(
            base
        )
    return Start(
        reference,
        base,
        base_reference,
        Path(source.tokenizer),
        source.adapter,
        fingerprints.base_sha256(base),
        fingerprints.count_numbers(base),
    )


def tokenizer_of(start: Start) -> Any:
    """The tokenizer, with a padding token that is never learned from."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(start.tokenizer), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{start.reference}: its tokenizer cannot be loaded ({error})") from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"{start.reference}: its tokenizer has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token  # safe: labels decide what is learned, not the id
    return tokenizer


def load(start: Start, weights: str, attention: str) -> Any:
    """The base model in the given number format; safetensors only, no code from the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            str(start.base),
            dtype=getattr(torch, weights),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{start.reference}: its weights cannot be loaded ({error})") from error


def check_vocabulary(tokenizer: Any, model: Any, start: Start) -> None:
    """Refuses a tokenizer that can write ids the model has no embedding for."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{start.reference}: the tokenizer knows {len(tokenizer)} tokens and the model {rows}; "
            "they do not belong together"
        )
