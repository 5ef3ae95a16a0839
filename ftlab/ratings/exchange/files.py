"""Files that are whole or not there: rows written aside as JSON lines or Parquet, flushed, then renamed."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, Self

import orjson

from ftlab.errors import RatingError
from ftlab.ratings.storage.database import NotSaved, crash_point, flush

_CHUNK = 1 << 20  # bytes gathered before a write
_ROW_GROUP = 10_000
_GROUP_BYTES = 8 << 20
_SEPARATORS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
"""What some readers take for the end of a line; orjson escapes the others (below U+0020) itself."""


@contextmanager
def not_written(path: Path) -> Iterator[None]:
    """OSError in the words of NotSaved."""
    try:
        yield
    except OSError as error:
        raise NotSaved(
            f"{path}: NOT written ({error.strerror}); what was there before still is. "
            "Free disk space or save elsewhere"
        ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Writes aside, flushes and renames: at `path` stands the old file or the whole new one.

    NotSaved where the disk is full or the folder cannot be written.
    """
    with not_written(path), _aside(path) as (name, file):
        file.write(data)
        _settle(file)
        crash_point("before_rename")
        name.replace(path)
        flush(path.parent)


@contextmanager
def _aside(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield Path(name), file
    finally:
        Path(name).unlink(missing_ok=True)


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSON for every reader, whatever it takes for the end of a line."""
    data = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    if not data.isascii():
        for raw, escaped in _SEPARATORS:
            if raw in data:
                data = data.replace(raw, escaped)
    return data


def sha256(path: Path) -> str:
    """Of the file as it is on the disk, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Sink(Protocol):
    """Takes rows for one file."""

    rows: int

    def write(self, row: Mapping[str, Any]) -> None:
        """One row more."""

    def close(self) -> None:
        """No row will follow."""


@dataclass(slots=True)
class _Lines:
    file: IO[bytes]
    rows: int = 0
    _waiting: list[bytes] = field(default_factory=list)
    _size: int = 0

    def write(self, row: Mapping[str, Any]) -> None:
        data = line(row)
        self._waiting.append(data)
        self._size += len(data)
        self.rows += 1
        if self._size > _CHUNK:
            self._spill()

    def _spill(self) -> None:
        self.file.write(b"".join(self._waiting))
        self._waiting, self._size = [], 0

    def close(self) -> None:
        self._spill()


class _Parquet:
    """Row groups of 10,000 rows or 8 MiB, compressed by zstd; the same bytes for the same rows and pyarrow."""

    def __init__(self, file: IO[bytes], columns: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        types = {
            "text": pa.string(),
            "texts": pa.list_(pa.string()),
            "messages": pa.list_(message),
            "bool": pa.bool_(),
            "number": pa.float64(),
            "count": pa.int64(),
        }
        self._batch = pa.RecordBatch
        self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._waiting: list[Mapping[str, Any]] = []
        self._size = 0
        self.rows = 0

    def write(self, row: Mapping[str, Any]) -> None:
        self._waiting.append(row)
        self._size += len(orjson.dumps(row))
        self.rows += 1
        if len(self._waiting) == _ROW_GROUP or self._size > _GROUP_BYTES:
            self._spill()

    def _spill(self) -> None:
        self._writer.write_batch(self._batch.from_pylist(self._waiting, self._schema))
        self._waiting, self._size = [], 0

    def close(self) -> None:
        if self._waiting:
            self._spill()
        self._writer.close()


SUFFIXES = (".jsonl", ".parquet")


def goal(path: str | Path) -> Path:
    """The absolute path; RatingError where its name tells no format that is written."""
    place = Path(path).expanduser().absolute()
    if place.is_dir() or not place.suffix:
        raise RatingError(f"{place}: give the name of a file such as {place / 'preferences.jsonl'}")
    if place.suffix.lower() == ".csv":
        raise RatingError(
            f"{place}: no CSV is written: a spreadsheet runs cells that begin with = + - or @ as formulas, and "
            "quoting does not stop it. Use .jsonl or .parquet"
        )
    if place.suffix.lower() not in SUFFIXES:
        raise RatingError(f"{place}: {place.suffix!r} is not written; use {' or '.join(SUFFIXES)}")
    return place


class Files:
    """Several files that appear together: all are written aside and flushed before the first is renamed."""

    def __init__(self, paths: Sequence[Path], columns: Mapping[str, str]) -> None:
        self.paths = paths
        self._columns = columns
        self._open: list[tuple[Path, IO[bytes]]] = []
        self._stack = ExitStack()
        self.sinks: list[Sink] = []

    def __enter__(self) -> Self:
        """Opens them beside their places."""
        self._stack.enter_context(not_written(self.paths[0]))
        for path in self.paths:
            name, file = self._stack.enter_context(_aside(path))
            self._open.append((name, file))
            lines = path.suffix.lower() == ".jsonl"
            self.sinks.append(_Lines(file) if lines else _Parquet(file, self._columns))
        return self

    def settle(self) -> list[str]:
        """Flushes and renames; the sha256 of each file."""
        hashes = []
        for sink, (name, file) in zip(self.sinks, self._open, strict=True):
            sink.close()
            _settle(file)
            hashes.append(sha256(name))
        crash_point("before_rename")
        for path, (name, _) in zip(self.paths, self._open, strict=True):
            name.replace(path)
        flush(self.paths[0].parent)
        crash_point("before_manifest")
        return hashes

    def __exit__(self, *error: object) -> None:
        """Takes away what was not renamed."""
        self._stack.__exit__(*error)  # type: ignore[arg-type]
