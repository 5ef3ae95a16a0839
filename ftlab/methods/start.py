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
    quantization: dict[str, Any] | None = None
    """How the adapter's run rounded the base to four bits, where it did; see `nf4`."""


def find(reference: str, note: Callable[[str], None], *, scores: bool = False) -> Start:
    """Fetches what is missing; `note` hears of slow steps. `scores`: a reward model may be gone on with.

    Raises ModelError where the reference names nothing that can be trained, or an adapter of another base.
    """
    from ftlab.models import fingerprints, references

    source = references.fetch(references.refuse_composed(references.resolve(reference)), note)
    base = Path(source.base)
    base_reference = reference
    quantization = None
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
        facts = references.read_manifest(source.adapter)
        base_reference = (facts.get("base") or {}).get("reference") or str(base)
        quantization = facts.get("quantization")
    return Start(
        reference,
        base,
        base_reference,
        Path(source.tokenizer),
        source.adapter,
        fingerprints.base_sha256(base),
        fingerprints.count_numbers(base),
        gives_scores,
        quantization,
    )


def described(source: Any, note: Callable[[str], None]) -> Path:
    """A folder with what describes the base of a `references.Source`: its configuration and its tokenizer.

    Weights that are on the hub stay there. Raises ModelError where the description cannot be had.
    """
    from ftlab.models import references, smollm2

    if isinstance(source.base, Path):
        return source.base
    if source.base == smollm2.NAME:
        return smollm2.ensure(note)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    wanted = ["*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
    try:
        folder = Path(snapshot_download(source.base, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError):
        # told in words, and with the way out, by the code that fetches all of it
        return Path(references.fetch(source, note).base)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{source.reference}: there is no config.json on the hub, so it is no model for transformers"
        )
    return folder


def template_sha256(tokenizer: Any) -> str:
    """Of the chat template; of no text where there is none."""
    from ftlab.models import fingerprints

    return fingerprints.text_sha256(tokenizer.chat_template or "")


def recorded_template(start: Start) -> str | None:
    """The hash of the chat template that the start was trained with, where a run recorded it."""
    from ftlab.models import references

    recorded = references.read_manifest(start.adapter or start.base).get("tokenizer") or {}
    found: str | None = recorded.get("template_sha256")
    return found


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
    """The base model in the given number format, rounded to four bits where the adapter's run had it so.

    Safetensors only, no code from the folder.
    """
    import torch

    from ftlab.methods import nf4

    if start.quantization is None:
        return _read(start, getattr(torch, weights), attention)
    model = as_stored(start, attention)
    block, double = start.quantization["block"], start.quantization["double_quantization"]
    nf4.round_through(model, block, double, dtype=getattr(torch, weights))
    return in_format(model, weights)


def as_stored(start: Start, attention: str) -> Any:
    """The base model in the number format of its files, from which weights are rounded to four bits."""
    return _read(start, "auto", attention)


def in_format(model: Any, weights: str) -> Any:
    """The same model with its parameters in another number format; what positions are turned by keeps its own."""
    import torch

    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(getattr(torch, weights))
    return model


def _read(start: Start, dtype: Any, attention: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if start.gives_scores else AutoModelForCausalLM
    try:
        return kind.from_pretrained(
            str(start.base),
            dtype=dtype,
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
