"""Records of a file that comes from elsewhere, each with its place; what cannot be read is told, never guessed."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ftlab.data.files import unique_keys
from ftlab.errors import RatingError

Record = dict[str, Any]

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_MARKS = (
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xff\xfe", "UTF-16"),
)
_BOM = b"\xef\xbb\xbf"
_CELL = 2**31 - 1  # characters of a cell; csv's own limit, 131,072, would refuse long answers


class Placed(NamedTuple):
    """A record, or the reason why there is none, and where that is: `file:line:column` or `file, row n`."""

    place: str
    record: Record | None
    reason: str = ""
    raw: str = ""


def read(path: str | Path, notes: list[str]) -> Iterator[Placed]:
    """The records of a .jsonl, .json, .parquet or .csv file, in order; oddities that do no harm go to `notes`.

    RatingError where the file as a whole is no such file, or empty.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        what = "is a folder" if place.is_dir() else "there is no such file"
        raise RatingError(f"{place}: {what}; give one of {', '.join(_READERS)}")
    suffix = place.suffix.lower()
    if suffix in _ARCHIVES:
        raise RatingError(
            f"{place}: archives are not opened here (one can write outside its folder, or fill the disk): unpack "
            "it with a tool you trust and give the file inside"
        )
    reader = _READERS.get(suffix)
    if reader is None:
        raise RatingError(
            f"{place}: {suffix or 'a file without suffix'!r}? Give one of {', '.join(_READERS)}"
        )
    is_empty = True
    for placed in reader(place, notes):
        is_empty = False
        yield placed
    if is_empty:
        raise RatingError(f"{place}: the dataset is empty")


def parse(text: str) -> Any:
    """Strict JSON: no NaN, no infinity, no key twice. ValueError, in words, otherwise."""
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=unique_keys
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON: leave the field out or write a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is beyond every number: leave the field out")
    return number


def _placed(place: str, text: str, line: int | None) -> Placed:
    """The record in `text`, which is at `place`, or in line `line` of it."""
    where = place if line is None else f"{place}:{line}"
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        at = f"{place}:{(line or 1) + error.lineno - 1}:{error.colno}"
        return Placed(at, None, f"not JSON ({error.msg})", text)
    except ValueError as error:
        return Placed(where, None, str(error), text)
    if not isinstance(value, dict):
        return Placed(where, None, f"an object was expected, not {_kind(value)}", text)
    return Placed(where, value, "", text)


def _lines(path: Path, notes: list[str]) -> Iterator[Placed]:
    blank = windows = 0
    with path.open("rb") as file:
        # iterating bytes splits at "\n" alone: U+2028 and U+0085 are legal inside JSON strings
        for number, line in enumerate(file, start=1):
            raw = line
            if number == 1:
                _refuse_encoding(path, raw)
                if raw.startswith(_BOM):
                    raw = raw[len(_BOM) :]
                    notes.append("a byte order mark was passed over")
            windows += raw.endswith(b"\r\n")
            if not raw.strip():
                blank += 1
                continue
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                yield Placed(
                    f"{path}:{number}:{error.start + 1}", None, _not_utf8(raw, error), repr(raw[:2000])
                )
                continue
            yield _placed(str(path), text.rstrip("\r\n"), number)
    if blank:
        notes.append(f"{blank} blank lines were passed over")
    if windows:
        notes.append(f"{windows} lines end in the manner of Windows")


def _refuse_encoding(path: Path, start: bytes) -> None:
    for mark, name in _MARKS:
        if start.startswith(mark):
            raise RatingError(f"{path}: is {name}; save it as UTF-8")
    if start[:4].count(0) >= 2:
        raise RatingError(f"{path}: looks like UTF-16 without a mark; save it as UTF-8")


def _not_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte 0x{raw[error.start]:02x}; Latin-1 or Windows-1252, perhaps): save it as UTF-8"


def _whole(path: Path, notes: list[str]) -> str:
    raw = path.read_bytes()
    _refuse_encoding(path, raw)
    if raw.startswith(_BOM):
        raw = raw[len(_BOM) :]
        notes.append("a byte order mark was passed over")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise RatingError(f"{path}:{line}:{column}: {_not_utf8(raw, error)}") from error


def _array(path: Path, notes: list[str]) -> Iterator[Placed]:
    text = _whole(path, notes)
    if not text.strip():
        return
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        raise RatingError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg})") from error
    except ValueError as error:
        raise RatingError(f"{path}: {error}") from error
    if not isinstance(value, list):
        raise RatingError(
            f"{path}: a list of objects was expected, not {_kind(value)}; one object a line is .jsonl"
        )
    yield from _rows(path, value)


def _rows(path: Path, values: list[Any], before: int = 0) -> Iterator[Placed]:
    for number, value in enumerate(values, start=before + 1):
        place = f"{path}, row {number}"
        if isinstance(value, dict):
            yield Placed(place, value)
        else:
            raw = json.dumps(value)
            yield Placed(place, None, f"an object was expected, not {_kind(value)}", raw)


def _parquet(path: Path, notes: list[str]) -> Iterator[Placed]:  # noqa: ARG001 - one signature
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            before = 0
            for batch in file.iter_batches(batch_size=1000):
                yield from _rows(path, batch.to_pylist(), before)
                before += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise RatingError(f"{path}: not a Parquet file that can be read ({error})") from error


def _cells(path: Path, notes: list[str]) -> Iterator[Placed]:
    text = _whole(path, notes)
    limit = csv.field_size_limit(_CELL)
    try:
        # csv wants the line ends inside quoted cells as they are, and splits where it must
        reader = csv.reader(_split(text))
        header = next(reader, None)
        if header is None:
            return
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise RatingError(f"{path}:1: the column {twice[0]!r} appears twice: keep one of them")
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raw = json.dumps(cells)
                yield Placed(place, None, f"{len(cells)} cells under {len(header)} columns", raw)
                continue
            yield Placed(place, {name: _cell(cell) for name, cell in zip(header, cells, strict=True)})
    except csv.Error as error:
        raise RatingError(f"{path}: not CSV ({error})") from error
    finally:
        csv.field_size_limit(limit)


def _split(text: str) -> list[str]:
    """Lines that end in a line feed alone: a cell may hold U+2028, at which splitlines() would cut."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _cell(cell: str) -> Any:
    """Lists of messages are written as JSON in a cell; all else stays the text that it is."""
    if cell[:1] == "[" and cell[-1:] == "]":
        try:
            value = parse(cell)
        except ValueError:
            return cell
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            return value
    return cell


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        list: "a list",
        str: "text",
        int: "a number",
        float: "a number",
        bool: "true or false",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


_READERS: dict[str, Callable[[Path, list[str]], Iterator[Placed]]] = {
    ".jsonl": _lines,
    ".json": _array,
    ".parquet": _parquet,
    ".csv": _cells,
}
