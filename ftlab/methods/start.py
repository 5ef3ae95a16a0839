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
    gives_scores: bool = False
    """Whether `base` is a reward model already."""


def find(reference: str, note: Callable[[str], None], *, scores: bool = False) -> Start:
    """Fetches what is missing; `note` hears of slow steps. `scores`: a reward model may be gone on with.

    Raises ModelError where the reference names nothing that can be trained, or an adapter of another base.
    """
    from ftlab.models import fingerprints, references

    source = references.fetch(references.resolve(reference), note)
    base = Path(source.base)
    base_reference = reference
    gives_scores = references.is_reward_model(source)
    if gives_scores and not scores:
        raise ModelError(
            f"{reference} is a reward model: it writes no answers, so only the method 'reward' can go on with it"
        )
    if gives_scores and source.adapter is not None:
        raise ModelError(
            f"{reference} is the adapter of a reward model; train from its base, which the run's manifest.json names"
        )
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
        gives_scores,
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
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if start.gives_scores else AutoModelForCausalLM
    try:
        return kind.from_pretrained(
            str(start.base),
            dtype=getattr(torch, weights),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{start.reference}: its weights cannot be loaded ({error})") from error


def with_score_head(model: Any, tokenizer: Any, start: Start) -> Any:
    """The same body with a head that gives one number, 0 at first, so that the first loss is ln 2.

    Raises ModelError where the architecture has no such form.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = model.config.__class__.from_dict(model.config.to_dict())
    config.num_labels = 1
    config.pad_token_id = tokenizer.pad_token_id  # where a row ends is where its padding begins
    try:
        scorer = AutoModelForSequenceClassification.from_config(
            config,
            dtype=model.dtype,
            attn_implementation=model.config._attn_implementation,  # noqa: SLF001
        )
    except ValueError as error:
        raise ModelError(f"{start.reference}: no reward model can be made of it: {error}") from error
    scorer.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        scorer.score.weight.zero_()
    return scorer


def check_vocabulary(tokenizer: Any, model: Any, start: Start) -> None:
    """Refuses a tokenizer that can write ids the model has no embedding for."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{start.reference}: the tokenizer knows {len(tokenizer)} tokens and the model {rows}; "
            "they do not belong together"
        )
