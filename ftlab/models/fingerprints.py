"""Which weights these are: sha256 over names, types, shapes and bytes of stored tensors, in the order of names.

The same tensors give the same hash however they are split into files, and in whatever number format they are
loaded later.
"""

import hashlib
import json
import math
import mmap
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftlab.errors import ModelError

# Settings of an adapter that change what its tensors do; the rest concern training or say where it was made.
ADAPTER_SETTINGS = (
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out",
    "layer_replication", "target_parameters",
)  # fmt: skip

_known: dict[tuple[tuple[str, int, int, int], ...], str] = {}
_counted: dict[tuple[tuple[str, int, int, int], ...], int] = {}


def tensors_sha256(files: Iterable[Path]) -> str:
    """64 hex digits over all tensors of these safetensors files; remembered as long as the files stay untouched.

    Raises ModelError where a file is no whole safetensors file.
    """
    paths = sorted(files)
    key = tuple(_identity(path) for path in paths)
    if key not in _known:
        digest = hashlib.sha256()
        for name, (path, kind, shape, start, end) in sorted(_tensors(paths).items()):
            digest.update(json.dumps([name, kind, shape]).encode() + b"\n")
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                memoryview(data) as view,
                view[start:end] as part,
            ):
                digest.update(part)
        _known[key] = digest.hexdigest()
    return _known[key]


def base_sha256(folder: str | Path) -> str:
    """64 hex digits that name the weights of a model's folder. Raises ModelError where it holds none."""
    return tensors_sha256(weight_files(Path(folder)))


def adapter_sha256(folder: str | Path) -> str:
    """64 hex digits over an adapter's tensors and those settings that change what they do (alpha, rank, ...)."""
    folder = Path(folder)
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    meant = {name: settings.get(name) for name in ADAPTER_SETTINGS}
    digest = hashlib.sha256(json.dumps(meant, sort_keys=True).encode())
    digest.update(tensors_sha256([folder / "adapter_model.safetensors"]).encode())
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    """64 hex digits over a text, such as a chat template, in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, as its index lists them.

    Raises ModelError where there are none, or where a listed one is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder}: {index.name} lists {', '.join(missing)}, which is not there; copy it again"
            )
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    raise ModelError(f"{folder} holds no model.safetensors; save the model there with save_pretrained")


def count_numbers(folder: Path) -> int:
    """How many numbers a model's stored tensors hold, read from the files' headers alone."""
    paths = weight_files(folder)
    key = tuple(_identity(path) for path in paths)
    if key not in _counted:
        _counted[key] = sum(math.prod(shape) for _, _, shape, _, _ in _tensors(paths).values())
    return _counted[key]


def _tensors(paths: Iterable[Path]) -> dict[str, tuple[Path, str, list[int], int, int]]:
    """Name -> (file, type, shape, first byte, byte behind the last)."""
    found = {}
    for path in paths:
        header, begin = _header(path)
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                found[name] = (path, entry["dtype"], entry["shape"], begin + start, begin + end)
        size = path.stat().st_size
        if any(end > size for file, _, _, _, end in found.values() if file == path):
            raise ModelError(f"{path} is cut short ({size} bytes); copy or save it again")
    return found


def _header(path: Path) -> tuple[Mapping[str, Any], int]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError(length)  # noqa: TRY301 -- told below like any other damage
            return json.loads(file.read(length)), 8 + length
    except (struct.error, ValueError) as error:
        raise ModelError(f"{path} is no whole safetensors file; copy or save it again") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _identity(path: Path) -> tuple[str, int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino
