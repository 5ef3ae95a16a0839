"""What a reference names: a folder of weights, the adapters on top of it, and the prompt before it."""

import difflib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftlab.errors import ModelError
from ftlab.home import home
from ftlab.methods import checkpoints
from ftlab.models import hub, mixtures, smollm2
from ftlab.models.fingerprints import base_sha256, weight_files
from ftlab.models.source import Kind, Part, Rounding, Source
from ftlab.prompting import PREFIX as PROMPT
from ftlab.prompting import read as read_prompt

Note = Callable[[str], None]

WREN = ("wren", "wren-xs", "wren-s", "wren-l")
FORMS = (
    "wren, wren-xs, wren-s, wren-l, smollm2, a folder, a hub id (owner/name), run:NAME, run:NAME@RANK, a blend such "
    "as 0.7*run:a + -0.5*run:b, or prompt:NAME"
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RUN_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,79}")


def resolve(reference: str) -> Source:
    """What the reference names, without fetching or loading anything.

    Raises ModelError where it names nothing, or something that cannot be used.
    """
    return _resolve(reference, ())


def fetch(source: Source, note: Note | None = None) -> Source:
    """The same source with all of it on this disk; `note` hears of slow steps.

    Raises ModelError where it cannot be had, or where the adapter was trained on other weights.
    """
    if source.parts:
        return _fetch_blend(source, note)
    if source.base == smollm2.NAME:
        source = replace(source, base=smollm2.ensure(note))
    elif isinstance(source.base, str):
        folder = hub.fetch(source.base, note)
        if source.adapter is None:
            inner = replace(_folder(folder, source.reference, source.kind, ()), prompt=source.prompt)
            source = inner if isinstance(inner.base, Path) else fetch(inner, note)
        else:
            source = replace(source, base=_checked(folder))
    _refuse_damaged(source)
    _refuse_other_base(source)
    return source


def refuse_composed(source: Source) -> Source:
    """The source itself. Raises ModelError where it is put together as it answers, and so no model to train."""
    if source.prompt is not None:
        raise ModelError(
            f"{source.reference} is a prompt before {source.prompt.model}, which only answers; name that model instead"
        )
    if source.parts:
        parts = ", ".join(part.source.reference for part in source.parts)
        raise ModelError(
            f"{source.reference} is put together from {parts} as it answers, and stored nowhere; name one of them"
        )
    return source


def base_folder(reference: str, note: Note | None = None) -> tuple[Path, Path]:
    """(folder of the base model, folder of the tokenizer) for a trainer; fetches what is missing."""
    source = fetch(refuse_composed(resolve(reference)), note)
    return Path(source.base), Path(source.tokenizer)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run wrote about the model that it saved; empty where there is no manifest.

    Raises ModelError where it cannot be read.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    return _json(path)


def is_reward_model(source: Source) -> bool:
    """Whether what is named gives a number for an answer instead of writing one; its files must be on this disk."""
    if source.adapter is not None:
        return _json(source.adapter / "adapter_config.json").get("task_type") == "SEQ_CLS"
    kinds = _json(Path(source.base) / "config.json").get("architectures") or []
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds)


def _resolve(reference: str, seen: tuple[str, ...]) -> Source:
    if reference in seen:
        raise ModelError(f"{seen[0]!r} names itself as its base ({' -> '.join((*seen, reference))})")
    seen = (*seen, reference)
    if reference in WREN:
        from ftlab.wren.family import SHIPPED

        return Source(reference, "wren", _checked(SHIPPED / reference))
    if reference == smollm2.NAME:
        return Source(reference, "smollm2", smollm2.NAME)
    if reference.startswith(PROMPT):
        return _prompted(reference, seen)
    path = Path(reference).expanduser()
    is_folder = bool(reference.strip()) and path.is_dir()
    if not is_folder and mixtures.is_blend(reference):
        return _blend(reference, seen)
    name, rank = (reference, None) if is_folder else mixtures.cut(reference)
    if rank is not None:
        return _mixed(reference, (_part(repr(reference), 1.0, name, rank, seen),))
    if reference.startswith("run:"):
        return _run(reference, seen)
    if is_folder:
        return _folder(path.resolve(), reference, "folder", seen)
    if reference.startswith(("/", ".", "~")):
        raise ModelError(f"there is no folder {reference!r}; wanted {FORMS}")
    if _HUB_ID.fullmatch(reference):
        return Source(reference, "hub", reference)
    close = difflib.get_close_matches(reference, [*WREN, smollm2.NAME], n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ModelError(f"no model is called {reference!r}{hint}; wanted {FORMS}")


def _prompted(reference: str, seen: tuple[str, ...]) -> Source:
    prompt = read_prompt(reference.removeprefix(PROMPT))
    if prompt.model.startswith(PROMPT):
        raise ModelError(
            f"{reference}: {prompt.model!r} is behind a prompt itself; name the model that it is for"
        )
    try:
        inner = _resolve(prompt.model, seen)
    except ModelError as error:
        raise ModelError(f"{reference}: its model {prompt.model!r} is not to be had: {error}") from error
    return replace(inner, reference=reference, kind="prompt", prompt=prompt)


def _blend(reference: str, seen: tuple[str, ...]) -> Source:
    terms = mixtures.terms(reference)
    places = [f"{reference!r}, term {place} ({term.text!r})" for place, term in enumerate(terms, 1)]
    parts = []
    for place, term in zip(places, terms, strict=True):
        is_folder = Path(term.name).expanduser().is_dir()
        name, rank = (term.name, None) if is_folder else mixtures.cut(term.name)
        parts.append(_part(place, term.weight, name, rank, seen))
    for place, part in zip(places[1:], parts[1:], strict=True):
        if part.source.rounding != parts[0].source.rounding:
            raise ModelError(
                f"{place} learned on {_rounded(part.source)}, {parts[0].source.reference} on "
                f"{_rounded(parts[0].source)}; adapters are blended on the very weights that they learned on"
            )
    return _mixed(reference, tuple(parts))


def _part(place: str, weight: float, name: str, rank: int | None, seen: tuple[str, ...]) -> Part:
    """A term, once it is seen to name a plain LoRA adapter. Raises ModelError that begins with `place`."""
    try:
        source = _resolve(name, seen)
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error
    if source.parts or source.prompt is not None or source.adapter is None:
        what = "has no adapter" if source.prompt is None and not source.parts else "is put together itself"
        raise ModelError(
            f"{place}: {name!r} {what}; name a run of a LoRA method, or the folder of a LoRA adapter"
        )
    settings = _json(source.adapter / "adapter_config.json")
    mixtures.check_plain(settings, place)
    return Part(source, weight, mixtures.check_rank(rank, settings, place))


def _mixed(reference: str, parts: tuple[Part, ...]) -> Source:
    """The parts as one source; a whole adapter that counts once is that adapter."""
    first = parts[0]
    if len(parts) == 1 and first.weight == 1 and first.rank is None:
        return replace(first.source, reference=reference)
    return Source(reference, "blend", first.source.base, rounding=first.source.rounding, parts=parts)


def _fetch_blend(source: Source, note: Note | None) -> Source:
    parts = tuple(replace(part, source=fetch(part.source, note)) for part in source.parts)
    hashes = [base_sha256(part.source.base) for part in parts]
    for part, found in zip(parts, hashes, strict=True):
        if found != hashes[0]:
            raise ModelError(
                f"{source.reference!r}: {part.source.reference} belongs to the base {found[:12]} "
                f"({part.source.base}), {parts[0].source.reference} to {hashes[0][:12]} ({parts[0].source.base}); "
                "only adapters of one base can be blended"
            )
    return replace(source, base=parts[0].source.base, parts=parts)


def _rounded(source: Source) -> str:
    return (
        "the base as it is"
        if source.rounding is None
        else f"the base rounded to four bits ({source.rounding.mark[1:]})"
    )


def _run(reference: str, seen: tuple[str, ...]) -> Source:
    name = reference.removeprefix("run:")
    runs = home() / "runs"
    if not _RUN_NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name of a run; wanted 1 to 80 of a-z, 0-9, '.', '_' and '-'")
    if not (runs / name).is_dir():
        there = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
        close = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean 'run:{close[0]}'?" if close else f"; there are: {', '.join(there) or 'none'}"
        raise ModelError(f"there is no run {name!r} in {runs}{hint}")
    folder = runs / name / "model"
    if not folder.is_dir():
        raise ModelError(
            f"run {name!r} has saved no model yet ({folder} is missing); wait for its end, or stop it to have it saved"
        )
    return _folder(folder, reference, "run", seen)


def _folder(folder: Path, reference: str, kind: Kind, seen: tuple[str, ...]) -> Source:
    if not (folder / "adapter_config.json").is_file():
        return Source(reference, kind, _checked(folder))
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(_no_weights(folder, "adapter_model.safetensors"))
    manifest = read_manifest(folder)
    facts = manifest.get("base") or {}
    recorded = facts.get("reference") or _json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not recorded:
        raise ModelError(
            f"the adapter in {folder} does not say which model it belongs to; write that model's reference as "
            "base_model_name_or_path into its adapter_config.json"
        )
    try:
        base = _resolve(str(recorded), seen or (reference,))
    except ModelError as error:
        raise ModelError(f"{reference}: the adapter's base {recorded!r} is not to be had: {error}") from error
    if base.adapter is not None:
        raise ModelError(
            f"{reference}: the adapter's base {recorded!r} is itself an adapter; merge that one into its base first"
        )
    rounding = _rounding(manifest.get("quantization"), folder)
    return Source(reference, kind, base.base, folder, facts.get("sha256") or None, rounding)


def _rounding(facts: Any, folder: Path) -> Rounding | None:
    """How the manifest says that the base was rounded. Raises ModelError where it says what nobody here can do."""
    if facts is None:
        return None
    known = isinstance(facts, dict) and facts.get("kind") == "nf4"
    if not known or not isinstance(facts.get("block"), int) or facts["block"] < 1:
        raise ModelError(
            f"{folder}/manifest.json: 'quantization' is {facts!r}; wanted "
            '{"kind": "nf4", "block": 64, "double_quantization": true}, or nothing for a base that is as it was stored'
        )
    return Rounding(facts["block"], bool(facts.get("double_quantization")))


def _checked(folder: Path) -> Path:
    """The folder, once it is seen to hold a model that can be read without running anyone's code."""
    if not (folder / "config.json").is_file():
        inner = folder / "model"
        hint = f"; did you mean {inner}?" if inner.is_dir() else ""
        raise ModelError(
            f"{folder} holds no model: neither config.json nor adapter_config.json is there{hint}"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(_no_weights(folder, "model.safetensors"))
    weight_files(folder)
    return folder


def _no_weights(folder: Path, wanted: str) -> str:
    pickles = sorted(
        path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)
    )
    if not pickles:
        return f"{folder} holds no {wanted}; save the model there again"
    return (
        f"{folder} holds its weights only as {', '.join(pickles)}, which can run any code when read; where you trust "
        f"it, load it in a process of its own and write {wanted} with save_pretrained"
    )


def _refuse_damaged(source: Source) -> None:
    """A run's files are what they were when the run sealed them: a flipped bit is no weight."""
    for folder in (source.adapter, source.base):
        if not isinstance(folder, Path) or "run" not in read_manifest(folder):
            continue
        reason = checkpoints.known_fault(folder)
        if reason is not None:
            raise ModelError(
                f"{source.reference}: {folder} is not as it was saved: {reason}; train it again, or put a copy back"
            )


def _refuse_other_base(source: Source) -> None:
    if source.adapter is None or source.base_sha256 is None:
        return
    found = base_sha256(source.base)
    if found != source.base_sha256:
        raise ModelError(
            f"{source.reference}: the adapter was trained on the base {source.base_sha256[:12]}, but {source.base} "
            f"is {found[:12]}; put the weights back that it was trained on, or train it again"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds no JSON object")
    return values
