"""Adapters added to their base's weights, W' = W + s B A, as one whole model in a folder; and taken out again."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from ftlab.errors import ModelError
from ftlab.models.fingerprints import adapter_sha256, base_sha256
from ftlab.models.lora import is_plain, read_tensors
from ftlab.models.mixtures import scale_of
from ftlab.models.references import Note, Part, Source, fetch, read_manifest, resolve

_SOFT = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


def merge(
    reference: str,
    folder: Path | str,
    *,
    weights: Literal["float32", "bfloat16", "float16"] = "float32",
    note: Note | None = None,
) -> str:
    """Writes the base with the adapter, or the blend of them, in its weights; returns the 64 hex digits that name them.

    `folder` is a reference afterwards, of a model that needs no PEFT and costs what its base costs. In 32 bits its
    logits are those of the two apart to 1e-5; shorter formats round. Raises ModelError where there is no adapter,
    where no weight can take it up (soft prompts), or where something is in the folder already.
    """
    import torch

    target = _free(folder)
    source = fetch(resolve(reference), note)
    parts = _parts(source)
    model = _load(source, "auto")
    format_ = str(model.dtype).removeprefix("torch.")
    if source.rounding is not None:
        from ftlab.methods import nf4

        nf4.round_through(
            model, source.rounding.block, source.rounding.double_quantization, dtype=torch.float32
        )
    model = model.float()
    can_be_taken_out = all(is_plain(_settings(part.adapter, reference)) for part in parts)
    if can_be_taken_out:
        _add(model, ((part.adapter, part.weight, part.rank) for part in parts), 1.0, reference)
    else:
        model = _add_by_peft(model, parts[0].adapter, reference)
    facts = {
        "reference": reference,
        "base": {"reference": _base_reference(parts[0].source), "sha256": base_sha256(Path(source.base))},
        "base_format": format_,
        "rounding": None if source.rounding is None else source.rounding.mark,
        "adapters": [
            {
                "folder": str(part.adapter),
                "sha256": adapter_sha256(part.adapter),
                "weight": part.weight,
                "rank": part.rank,
            }
            for part in parts
        ]
        if can_be_taken_out
        else None,
    }
    return _save(model.to(getattr(torch, weights)), source, target, {"kind": "model", "merged": facts})


def unmerge(reference: str, folder: Path | str, *, note: Note | None = None) -> str:
    """Writes what `merge` had added to, without the base being there; returns the 64 hex digits that name it.

    Where the base is stored in 16 bits and was merged in 32, it comes back bit for bit, and the digits are the base's;
    else it differs in the last digits. Raises ModelError where `reference` was not merged here, or with an adapter
    that cannot be subtracted (DoRA, IA3).
    """
    import torch

    target = _free(folder)
    source = fetch(resolve(reference), note)
    facts = {} if source.parts or source.adapter else read_manifest(Path(source.base)).get("merged")
    if not facts:
        raise ModelError(f"{reference} was not merged by ftlab; only what `merge` wrote can be unmerged")
    if facts["adapters"] is None:
        raise ModelError(
            f"{reference}: its adapter ({facts['reference']}) scaled the weights themselves and cannot be subtracted; "
            f"take the base, {facts['base']['reference']}"
        )
    for one in facts["adapters"]:
        if not Path(one["folder"]).is_dir() or adapter_sha256(one["folder"]) != one["sha256"]:
            raise ModelError(
                f"{reference}: the adapter that was merged ({facts['reference']}, {one['sha256'][:12]}) is no longer in "
                f"{one['folder']}; take the base, {facts['base']['reference']}"
            )
    model = _load(source, torch.float32)
    taken = ((Path(one["folder"]), one["weight"], one["rank"]) for one in facts["adapters"])
    _add(model, taken, -1.0, reference)
    # of a base that had been rounded to four bits, the rounded weights come back, which no 16 bits hold
    format_ = "float32" if facts["rounding"] else facts["base_format"]
    whole = model.to(getattr(torch, format_))
    return _save(whole, source, target, {"kind": "model", "unmerged": {**facts, "reference": reference}})


def _parts(source: Source) -> tuple[Part, ...]:
    """What is added, at least one adapter."""
    if source.prompt is not None:
        raise ModelError(f"{source.reference} is a model behind a prompt; no weight can take that up")
    if source.parts:
        return source.parts
    if source.adapter is None:
        raise ModelError(f"{source.reference} is a whole model already; there is no adapter to merge")
    kind = _settings(source.adapter, source.reference).peft_type
    if kind in _SOFT:
        raise ModelError(
            f"{source.reference}: a soft prompt ({kind}) stands before the text; no weight can take that up"
        )
    return (Part(source, 1.0, None),)


def _add(model: Any, adapters: Iterable[tuple[Path, float, int | None]], sign: float, reference: str) -> None:
    """Adds each (folder, weight, its first ranks or all) to the weights in place, or takes it from them (sign -1)."""
    import torch

    with torch.no_grad():
        for folder, weight, rank in adapters:
            settings = _settings(folder, reference)
            scale = sign * weight * scale_of(settings, rank or settings.r)
            tensors = read_tensors(folder, reference)
            for key, a_RI in tensors.items():
                name, found, _ = key.removeprefix("base_model.model.").partition(".lora_A.")
                if found:
                    b_OR = tensors[key.replace(".lora_A.", ".lora_B.")]
                    layer = model.get_submodule(name)
                    layer.weight.addmm_(b_OR[:, :rank].float(), a_RI[:rank].float(), alpha=scale)


def _add_by_peft(model: Any, adapter: Path, reference: str) -> Any:
    """The same of adapters that are more than two thin matrices a layer."""
    from peft import PeftModel

    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # PEFT's to change
    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ModelError(f"{reference}: PEFT cannot merge this adapter: {error}") from error


def _base_reference(source: Source) -> str:
    assert source.adapter is not None, "of an adapter"
    recorded = (read_manifest(source.adapter).get("base") or {}).get("reference")
    return str(recorded or source.base)


def _free(folder: Path | str) -> Path:
    target = Path(folder).expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError(f"{target} is there already; name a folder that is not")
    return target


def _settings(adapter: Path, reference: str) -> Any:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(adapter))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{reference}: {adapter}/adapter_config.json cannot be read: {error}") from error


def _load(source: Source, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from ftlab.models.references import is_reward_model

    kind = AutoModelForSequenceClassification if is_reward_model(source) else AutoModelForCausalLM
    try:
        return kind.from_pretrained(
            str(source.base),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{source.reference}: {source.base} cannot be loaded ({error})") from error


def _save(model: Any, source: Source, target: Path, facts: dict[str, Any]) -> str:
    """The folder, whole or not at all."""
    from transformers import AutoTokenizer

    from ftlab.methods import checkpoints

    def fill(aside: Path) -> None:
        model.save_pretrained(str(aside))
        tokenizer = AutoTokenizer.from_pretrained(str(source.tokenizer), trust_remote_code=False)
        tokenizer.save_pretrained(str(aside))

    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_whole(target, fill, facts)
    return base_sha256(target)
