"""Rows as far as they can be read: every line that is broken is a finding, and the others are rows."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.data.files import Row, Rows, parse
from ftlab.data.symptoms import Symptoms
from ftlab.errors import DataError

_AT = re.compile(r":(\d+)(?::(\d+))?: (.*)", re.DOTALL)


@dataclass
class Loose:
    """What could be read of a source, and what could not."""

    source: str
    rows: list[Row] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """The line (or row number, from 1) of each row."""
    has_lines: bool = False
    broken: int = 0
    """Lines or entries that are no row."""


def read_loosely(source: str | Path | Sequence[Row], symptoms: Symptoms) -> Loose:
    """Everything readable in a .jsonl, .json or .parquet file, embedded rows or a list.

    Raises DataError where there is nothing to look at: no such file, or one of another kind.
    """
    if not isinstance(source, str | Path):
        name = getattr(source, "source", "the rows")
        return _objects(Loose(str(name)), list(source), symptoms)
    if str(source).startswith("wren:"):
        from ftlab.data import read

        return _objects(Loose(str(source)), list(read(source)), symptoms)
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (".jsonl", ".json"):
        from ftlab.data.files import read_file

        return _objects(Loose(str(path)), list(read_file(path)), symptoms)
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    is_array = raw.lstrip()[:1] == b"["
    if is_array and suffix == ".jsonl":
        symptoms.add(
            "error",
            "a JSON array in a file of lines",
            1,
            mend="name the file .json, or write one object a line",
        )
    if not is_array and suffix == ".json" and _holds_lines(raw):
        symptoms.add("error", "one object a line in a .json file", 1, mend="name the file .jsonl")
        is_array = False
    elif suffix == ".json":
        is_array = True
    return _array(path, raw, symptoms) if is_array else _lines(path, raw, symptoms)


def _holds_lines(raw: bytes) -> bool:
    lines = [line for line in raw.split(b"\n") if line.strip()]
    return len(lines) > 1 and lines[0].lstrip()[:1] == b"{" and lines[0].rstrip()[-1:] == b"}"


def _lines(path: Path, raw: bytes, symptoms: Symptoms) -> Loose:
    found = Loose(str(path), has_lines=True)
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        text = _decoded(line, number, symptoms)
        value = None if text is None else _parsed(text, path, number, symptoms)
        if isinstance(value, dict):
            found.rows.append(value)
            found.places.append(number)
            continue
        found.broken += 1
        if value is not None:
            kind = type(value[0]).__name__
            symptoms.add(
                "error",
                f"not an object but {kind}",
                number,
                example=text or "",
                mend="write one object a line",
            )
    return found


def _array(path: Path, raw: bytes, symptoms: Symptoms) -> Loose:
    found = Loose(str(path))
    text = _decoded(raw, 1, symptoms)
    value = _parsed(text, path, 1, symptoms) if text is not None else None
    if value is None:
        found.broken = 1
        return found
    if isinstance(value, dict):
        symptoms.add(
            "error",
            "not a list of objects",
            1,
            mend="put the objects into [ … ], or one a line into a .jsonl file",
        )
        found.broken = 1
        return found
    return _objects(found, value[0] if value else [], symptoms)


def _objects(found: Loose, values: list[Any], symptoms: Symptoms) -> Loose:
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            found.rows.append(value)
            found.places.append(number)
        else:
            found.broken += 1
            symptoms.add("error", f"not an object but {type(value).__name__}", number, example=repr(value))
    return found


def _decoded(raw: bytes, number: int, symptoms: Symptoms) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + raw.count(b"\n", 0, error.start)
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        where = f"byte 0x{raw[error.start]:02x} at column {column}"
        told = raw[max(0, error.start - 30) : error.start + 30].decode("utf-8", "replace")
        symptoms.add("error", "not UTF-8", line, example=f"{where}: …{told}…", mend="save the file as UTF-8")
        return None


def _parsed(text: str, path: Path, number: int, symptoms: Symptoms) -> dict[str, Any] | list[Any] | None:
    """The object; [the value] where it is something else; None, and a finding, where it is no JSON."""
    try:
        value = parse(text, path, number)
    except DataError as error:
        found = _AT.search(str(error), len(str(path)))
        line, column, why = (found[1], found[2], found[3]) if found else (number, None, str(error))
        cause = why.partition(";")[0].removeprefix("not JSON (").removesuffix(")")
        what, mend = _fault(text) if column else (cause, "mend the line or take it out")
        example = f"column {column}: {cause}" if column else ""
        symptoms.add("error", what, int(line), example=example, mend=mend)
        return None
    return value if isinstance(value, dict) else [value]


def _fault(text: str) -> tuple[str, str]:
    """(what went wrong most likely, how to mend it) in a line that is no JSON."""
    text = text.strip()
    if text.endswith(","):
        return "not JSON: a comma at the end", "take the comma out"
    if "}{" in text or "} {" in text:
        return "not JSON: two objects on one line", "put a line break between them"
    if text.startswith("{'") and _is_literal(text):
        return "not JSON: written with str()", "write it with json.dumps() or ftlab.data.save"
    if text.startswith("{") and not text.endswith("}"):
        return "not JSON: the line stops in the middle", "write it again, or join it with the next"
    return "not JSON", "mend the line or take it out"


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def as_rows(loose: Loose) -> Rows:
    """With their places, as every other function of ftlab.data takes them."""
    return Rows(loose.rows, loose.source, loose.places if loose.has_lines else None)
