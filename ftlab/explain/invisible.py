"""The invisible words of a soft prompt: which words of the vocabulary its learned vectors lie nearest to.

Read from the saved numbers with numpy alone, so that a notebook's kernel stays light.

Axes: P token of the prompt, V vocabulary, D width.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

VECTORS = ("PROMPT_TUNING", "P_TUNING")
TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How architectures call their table of token embeddings; the end of its name."""
BLOCK = 8192  # rows of the table looked at together


@dataclass(frozen=True)
class Near:
    """A word near a learned vector; `cosine` of the angle between the two, -1 to 1."""

    word: str
    cosine: float


def nearest_words(reference: str | Path, k: int = 3) -> list[list[Near]]:
    """For each vector of a soft prompt, in order, its `k` nearest words, the nearest first (Lester et al. 2021, 7).

    `reference`: a run that trained prompt_tuning or p_tuning, or the folder of one of its checkpoints. Special tokens
    are words too. Raises ModelError where there is no such prompt (a prefix has keys and values, but no vectors), or
    the base is not here.
    """
    from ftlab.models import references

    source = references.fetch(references.resolve(str(reference)))
    kind = None if source.adapter is None else _settings(source.adapter)["peft_type"]
    if source.adapter is None or kind not in VECTORS:
        raise ModelError(
            f"{reference} has no vectors that stand for words: it is "
            f"{'a whole model' if kind is None else str(kind).lower().replace('_', ' ')}; name a run of prompt_tuning "
            "or p_tuning"
        )
    vectors_PD = _read([source.adapter / "adapter_model.safetensors"], ("prompt_embeddings",))
    base = Path(source.base)
    table_VD = _read(references.weight_files(base), TABLES)
    if vectors_PD.shape[1] != table_VD.shape[1]:
        raise ModelError(
            f"{reference}: its vectors are {vectors_PD.shape[1]} wide, the words of {base} {table_VD.shape[1]}; "
            "take the base that it was trained on"
        )
    cosines_PV = _cosines(vectors_PD, table_VD)
    words = _words(Path(source.tokenizer), cosines_PV.shape[1])
    order_PV = (-cosines_PV).argsort(axis=1, kind="stable")[:, :k]
    return [
        [Near(words[int(token)], float(cosines[token])) for token in order]
        for order, cosines in zip(order_PV, cosines_PV, strict=True)
    ]


def _cosines(vectors_PD: "np.ndarray", table_VD: "np.ndarray") -> "np.ndarray":
    """Cosine of every vector and every word; 0 where either has no length."""
    import numpy as np

    parts = []
    for start in range(0, len(table_VD), BLOCK):
        part = table_VD[start : start + BLOCK].astype(np.float32)
        scale = np.linalg.norm(vectors_PD, axis=1)[:, None] * np.linalg.norm(part, axis=1)[None]
        parts.append(np.divide(vectors_PD @ part.T, scale, out=np.zeros_like(scale), where=scale > 0))
    return np.concatenate(parts, axis=1)


def _words(folder: Path, size: int) -> list[str]:
    """How each token reads in a text, a leading space included."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json, which says what its tokens read as; save the tokenizer again"
        )
    tokenizer = Tokenizer.from_file(str(path))
    count = tokenizer.get_vocab_size()
    texts = tokenizer.decode_batch([[token] for token in range(min(size, count))], skip_special_tokens=False)
    return texts + [f"token {token}" for token in range(len(texts), size)]


def _settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    return settings


def _read(paths: list[Path], names: tuple[str, ...]) -> "np.ndarray":
    """The one tensor whose name ends so, 32 bits wide; numpy knows no bfloat16, which is the upper half of them.

    Raises ModelError where no file holds it.
    """
    import numpy as np

    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    for path in paths:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if not name.endswith(names) or entry.get("dtype") not in kinds:
                continue
            start = 8 + length + entry["data_offsets"][0]
            stored = np.memmap(path, kinds[entry["dtype"]], "r", start, tuple(entry["shape"]))
            if entry["dtype"] == "BF16":
                return (stored.astype(np.uint32) << 16).view(np.float32)
            return stored.astype(np.float32)
    raise ModelError(
        f"{paths[0].parent} holds none of {', '.join(names)} in a number format that can be read here"
    )
