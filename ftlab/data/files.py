"""Rows on disk: strict JSON, JSON lines and parquet, with the place of every row for error messages."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ftlab.errors import DataError

Row = dict[str, Any]
FORMATS_HINT = "see `ftlab.data.FORMATS` for what a row may hold"


class Rows(list[Row]):
    """Rows that remember where they came from; an ordinary list in every other respect."""

    def __init__(self, rows: Iterable[Row], source: str, lines: Sequence[int] | None = None) -> None:
        super().__init__(rows)
        self.source = source
        self._lines = lines

    def place(self, index: int) -> str:
        """`file:line` where lines are known, else `source, row N` counted from 1."""
        if self._lines is not None:
            return f"{self.source}:{self._lines[index]}"
        return f"{self.source}, row {index + 1}"

    def first(self, count: int | None) -> "Rows":
        """The first `count` rows (all of them for None), places kept."""
        return Rows(self[:count], self.source, self._lines)


def place(rows: Sequence[Row], index: int) -> str:
    """Where row `index` is found, for rows from a file as well as for a plain list."""
    return rows.place(index) if isinstance(rows, Rows) else f"row {index + 1}"


def read_file(path: Path) -> Rows:
    """All rows of a .jsonl, .json or .parquet file; DataError names file, line and column."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a .jsonl, .json or .parquet file, or 'wren:sft'")
    readers = {".jsonl": _read_lines, ".json": _read_array, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'a file without a suffix'!r}; use {', '.join(readers)}"
        )
    rows = reader(path)
    if not rows:
        raise DataError(f"{path}: the dataset is empty; {FORMATS_HINT}")
    return rows


def save(rows: Iterable[Row], path: str | Path) -> Path:
    """One JSON object a line; the file appears whole or not at all."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a row is not JSON: {error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def _text(path: Path) -> str:
    """The file's text; a byte order mark and any line ending are accepted, broken UTF-8 is not."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise DataError(
            f"{path}:{line}:{column}: not UTF-8 (byte 0x{raw[error.start]:02x}); save it as UTF-8"
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; leave the field out or write a number")


def unique_keys(pairs: list[tuple[str, Any]]) -> Row:
    """The object; ValueError that names a key that it has twice, of which JSON readers keep the last unsaid."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice; keep one of them")
    return row


def _refuse_surrogates(value: object) -> None:
    """Half a character (a lone surrogate escape) has no UTF-8 form; tokenizers fail on it."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def parse(text: str, path: Path, line: int) -> Any:
    """The strict JSON value of `text`, which begins at `line` (from 1) of the file; DataError with line and column."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unique_keys)
        if "\\u" in text:
            _refuse_surrogates(value)
    except json.JSONDecodeError as error:
        where = f"{path}:{line + error.lineno - 1}:{error.colno}"
        raise DataError(f"{where}: not JSON ({error.msg}); mend the line or take it out") from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}:{line}: half a character (a lone surrogate escape); mend the text"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}:{line}: nested too deeply; {FORMATS_HINT}") from error
    except ValueError as error:
        raise DataError(f"{path}:{line}: {error}") from error
    return value


def _read_lines(path: Path) -> Rows:
    rows, lines = [], []
    # split on "\n" alone: U+2028 and U+0085 are legal inside JSON strings, where splitlines() would cut
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        value = parse(line, path, number)
        if not isinstance(value, dict):
            raise DataError(
                f"{path}:{number}: an object was expected, not {type(value).__name__}; {FORMATS_HINT}"
            )
        rows.append(value)
        lines.append(number)
    return Rows(rows, str(path), lines)


def _read_array(path: Path) -> Rows:
    text = _text(path)
    value = parse(text, path, 1) if text.strip() else []
    if not isinstance(value, list):
        raise DataError(
            f"{path}: a list of objects was expected, not {type(value).__name__}; one object a line is .jsonl"
        )
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number}: an object was expected, not {type(row).__name__}; {FORMATS_HINT}"
            )
    return Rows(value, str(path))


def _read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Rows(pq.read_table(path).to_pylist(), str(path))
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({error})") from error
