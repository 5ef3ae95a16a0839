"""What a reference names: a folder of weights, and the adapter on top of it."""

import difflib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ftlab.errors import ModelError
from ftlab.home import home
from ftlab.models import smollm2
from ftlab.models.fingerprints import base_sha256, weight_files

Kind = Literal["wren", "smollm2", "folder", "hub", "run"]
Note = Callable[[str], None]

WREN = ("wren", "wren-xs", "wren-s", "wren-l")
FORMS = "wren, wren-xs, wren-s, wren-l, smollm2, a folder, a hub id (owner/name), or run:NAME"

# What is fetched from the hub: weights as safetensors and what describes them, never code or pickles.
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RUN_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Source:
    """Where a reference's weights are.

    `base` is a folder, or, as long as it is not on this disk, a hub id or "smollm2". `base_sha256` is what the
    adapter was trained on, where that was recorded.
    """

    reference: str
    kind: Kind
    base: Path | str
    adapter: Path | None = None
    base_sha256: str | None = None

    @property
    def tokenizer(self) -> Path | str:
        """Where the tokenizer is: with the adapter where it brought one, else with the base."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return self.adapter
        return self.base


def resolve(reference: str) -> Source:
    """What the reference names, without fetching or loading anything.

    Raises ModelError where it names nothing, or something that cannot be used.
    """
    return _resolve(reference, ())


def fetch(source: Source, note: Note | None = None) -> Source:
    """The same source with all of it on this disk; `note` hears of slow steps.

    Raises ModelError where it cannot be had, or where the adapter was trained on other weights.
    """
    if source.base == smollm2.NAME:
        source = replace(source, base=smollm2.ensure(note))
    elif isinstance(source.base, str):
        folder = _from_hub(source.base, note)
        if source.adapter is None:
            inner = _folder(folder, source.reference, source.kind, ())
            source = inner if isinstance(inner.base, Path) else fetch(inner, note)
        else:
            source = replace(source, base=_checked(folder))
    _refuse_other_base(source)
    return source


def base_folder(reference: str, note: Note | None = None) -> tuple[Path, Path]:
    """(folder of the base model, folder of the tokenizer) for a trainer; fetches what is missing."""
    source = fetch(resolve(reference), note)
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
    if reference.startswith("run:"):
        return _run(reference, seen)
    path = Path(reference).expanduser()
    if reference.strip() and path.is_dir():
        return _folder(path.resolve(), reference, "folder", seen)
    if reference.startswith(("/", ".", "~")):
        raise ModelError(f"there is no folder {reference!r}; wanted {FORMS}")
    if _HUB_ID.fullmatch(reference):
        return Source(reference, "hub", reference)
    close = difflib.get_close_matches(reference, [*WREN, smollm2.NAME], n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ModelError(f"no model is called {reference!r}{hint}; wanted {FORMS}")


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
    facts = read_manifest(folder).get("base") or {}
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
    return Source(reference, kind, base.base, folder, facts.get("sha256") or None)


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


def _refuse_other_base(source: Source) -> None:
    if source.adapter is None or source.base_sha256 is None:
        return
    found = base_sha256(source.base)
    if found != source.base_sha256:
        raise ModelError(
            f"{source.reference}: the adapter was trained on the base {source.base_sha256[:12]}, but {source.base} "
            f"is {found[:12]}; put the weights back that it was trained on, or train it again"
        )


def _from_hub(name: str, note: Note | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if note is not None:
        note(f"{name}: looking on the hub")
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} asks for consent: accept its terms on its page, then log in (`hf auth login`)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {name!r}, or it is private; log in with `hf auth login`"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(
            f"{name} is not on this disk, and the hub cannot be reached; connect once, or copy the model's folder "
            "here and give its path"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"{name} could not be fetched from the hub: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds no JSON object")
    return values
