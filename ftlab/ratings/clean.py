"""Text that every database keeps: hostile characters replaced and counted, and hashes of the original."""

import hashlib
import json
import re
from typing import Any, NamedTuple

_SURROGATE = re.compile("[\ud800-\udfff]")


class Clean(NamedTuple):
    """A text that can be stored, and how many of its characters had to be replaced."""

    text: str
    replaced: int


def clean(raw: str) -> Clean:
    """NUL becomes U+2400 (PostgreSQL refuses it), a lone surrogate U+FFFD (no UTF-8 for it).

    All else stays: control characters, bidi marks, line separators, HTML.
    """
    text, replaced = raw, 0
    if _SURROGATE.search(text):
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        text, replaced = _SURROGATE.subn("\ufffd", paired)
    nuls = text.count("\0")
    return Clean(text.replace("\0", "\u2400") if nuls else text, replaced + nuls)


def clean_all(value: Any) -> tuple[Any, int]:
    """The same for every string (keys too) in a JSON value; the count is the sum."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        pairs = [(clean(str(key)), clean_all(item)) for key, item in value.items()]
        return (
            {key.text: item for key, (item, _) in pairs},
            sum(key.replaced + replaced for key, (_, replaced) in pairs),
        )
    if isinstance(value, list | tuple):
        items = [clean_all(item) for item in value]
        return [item for item, _ in items], sum(replaced for _, replaced in items)
    return value, 0


def canonical(value: Any) -> str:
    """One JSON text for equal values, in ASCII; ValueError or TypeError where JSON has no word for it."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()
