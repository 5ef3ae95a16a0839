"""Data: conversations, preferences and documents; and the tokens with loss marks that are trained on."""

from pathlib import Path

from ftlab.data.columns import IGNORE, Columns, Mask, render, render_preferences
from ftlab.data.files import Row, Rows, read_file, save
from ftlab.data.formats import FORMATS, examples, recognise
from ftlab.errors import DataError

__all__ = [
    "FORMATS",
    "IGNORE",
    "Columns",
    "Mask",
    "Row",
    "Rows",
    "examples",
    "read",
    "recognise",
    "render",
    "render_preferences",
    "save",
]


def read(source: str | Path) -> Rows:
    """The rows of `wren:NAME` or of a .jsonl, .json or .parquet file.

    Raises DataError with file, line and column.
    """
    name = str(source)
    if name.startswith("wren:"):
        from ftlab import wren

        try:
            rows = wren.rows(name.removeprefix("wren:"))
        except KeyError as error:
            raise DataError(f"{name}: wren has no such dataset ({error})") from error
        return Rows(rows, name)
    return read_file(Path(source).expanduser())
