"""Data: conversations, preferences and documents; and the tokens with loss marks that are trained on."""

from pathlib import Path

from ftlab.data.columns import (
    IGNORE,
    Columns,
    Mask,
    finished_ids,
    opening_ids,
    render,
    render_comparisons,
    render_preferences,
)
from ftlab.data.doctor import examine
from ftlab.data.files import Row, Rows, read_file, save
from ftlab.data.formats import FORMATS, examples, recognise
from ftlab.data.packing import packed
from ftlab.data.report import Finding, Report
from ftlab.data.tokenizer import Tokenizer, load_tokenizer
from ftlab.errors import DataError

__all__ = [
    "FORMATS",
    "IGNORE",
    "Columns",
    "Finding",
    "Mask",
    "Report",
    "Row",
    "Rows",
    "Tokenizer",
    "examine",
    "examples",
    "finished_ids",
    "load_tokenizer",
    "opening_ids",
    "packed",
    "read",
    "recognise",
    "render",
    "render_comparisons",
    "render_preferences",
    "save",
]


def read(source: str | Path, count: int | None = None) -> Rows:
    """The first `count` rows (None: all) of a .jsonl, .json or .parquet file, or of the embedded world.

    The embedded world's are called `wren:NAME`, and `wren:NAME:eval` its held-out ones. Raises DataError
    with file, line and column.
    """
    name = str(source)
    if name.startswith("wren:"):
        from ftlab import wren

        data, _, split = name.removeprefix("wren:").partition(":")
        if split not in ("", "train", "eval"):
            raise DataError(f"{name}: no split {split!r}; there are train and eval, as in wren:{data}:eval")
        return Rows(wren.rows(data, split="eval" if split == "eval" else "train", n=count), name)
    return read_file(Path(source).expanduser()).first(count)
