"""The rows of a damaged SQLite file, read from its pages without SQLite, which would refuse.

Table leaves are found by their form, not by the way from a root: a lost inner page or a torn schema costs
nothing but itself. The format: https://www.sqlite.org/fileformat2.html, sections 1.6, 2.1 and 4.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Value = int | str | None

_LEAF = 0x0D
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class TornError(ValueError):
    """A cell or record that is not whole."""


class Pages:
    """The pages of a file with its log laid over them, up to the last whole commit."""

    def __init__(self, data: "mmap.mmap | bytes", log: bytes) -> None:
        self._data = data
        self.size = _page_size(data[:100])
        reserved = data[20] if len(data) >= 100 and data[:6] == b"SQLite" else 0
        self.usable = self.size - reserved
        self._log = dict(_committed(log, self.size))
        self.count = max(len(data) // self.size, max(self._log, default=0))

    def page(self, number: int) -> bytes:
        """A page by its number, from 1; TornError where the file ends before it."""
        if number in self._log:
            return self._log[number]
        start = (number - 1) * self.size
        if number < 1 or start + self.size > len(self._data):
            raise TornError
        return bytes(self._data[start : start + self.size])

    def rows(self) -> Iterator[tuple[int, list[Value]] | None]:
        """Row number and values of every row in every table leaf; None for each that is not whole."""
        for number in range(1, self.count + 1):
            try:
                page = self.page(number)
            except TornError:
                continue
            start = 100 if number == 1 else 0
            if page[start] == _LEAF:
                yield from self._leaf(page, start)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where in the file each row lies that is whole and on one page, beginning and end."""
        for number in range(1, len(self._data) // self.size + 1):
            page, start = self.page(number), 100 if number == 1 else 0
            if page[start] != _LEAF:
                continue
            (cells,) = struct.unpack_from(">H", page, start + 3)
            for place in struct.unpack_from(f">{cells}H", page, start + 8):
                length, behind = _varint(page, place)
                _, behind = _varint(page, behind)
                if self._local(length) == length:
                    yield (number - 1) * self.size + place, (number - 1) * self.size + behind + length

    def _leaf(self, page: bytes, start: int) -> Iterator[tuple[int, list[Value]] | None]:
        (cells,) = struct.unpack_from(">H", page, start + 3)
        if start + 8 + 2 * cells > self.size:
            return
        for place in struct.unpack_from(f">{cells}H", page, start + 8):
            try:
                yield self._cell(page, place)
            except (TornError, IndexError, struct.error):
                yield None

    def _cell(self, page: bytes, place: int) -> tuple[int, list[Value]]:
        length, place = _varint(page, place)
        row, place = _varint(page, place)
        if row >= 1 << 63:
            row -= 1 << 64
        local = self._local(length)
        payload = page[place : place + local]
        if local < length:
            (following,) = struct.unpack_from(">I", page, place + local)
            payload += self._overflow(following, length - local)
        if len(payload) != length:
            raise TornError
        return row, _record(payload)

    def _local(self, length: int) -> int:
        """How much of a payload lies on the page itself."""
        most = self.usable - 35
        if length <= most:
            return length
        least = (self.usable - 12) * 32 // 255 - 23
        wanted = least + (length - least) % (self.usable - 4)
        return wanted if wanted <= most else least

    def _overflow(self, number: int, length: int) -> bytes:
        parts, seen = [], set()
        while length > 0:
            if number in seen:
                raise TornError
            seen.add(number)
            page = self.page(number)
            (number,) = struct.unpack_from(">I", page, 0)
            parts.append(page[4 : 4 + min(length, self.usable - 4)])
            length -= len(parts[-1])
        return b"".join(parts)


@contextmanager
def open_pages(path: Path) -> Iterator[Pages]:
    """The pages of a database file, read only; OSError where it cannot be read."""
    log = path.with_name(f"{path.name}-wal")
    content = log.read_bytes() if log.exists() else b""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield Pages(b"", content)
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Pages(data, content)


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big") if header[:6] == b"SQLite" else 4096
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else 4096


def _committed(log: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """The pages of a write-ahead log up to its last commit whose checksum is right."""
    if len(log) < 32 or struct.unpack_from(">I", log)[0] not in _WAL_MAGIC:
        return
    order = ">" if log[3] & 1 else "<"
    if struct.unpack_from(">I", log, 8)[0] != size:
        return
    salt, sums = log[16:24], _sum(log[:24], (0, 0), order)
    open_frames: list[tuple[int, bytes]] = []
    for start in range(32, len(log) - size - 23, size + 24):
        number, commit = struct.unpack_from(">II", log, start)
        frame = log[start + 24 : start + 24 + size]
        sums = _sum(frame, _sum(log[start : start + 8], sums, order), order)
        if log[start + 8 : start + 16] != salt or struct.unpack_from(">II", log, start + 16) != sums:
            return
        open_frames.append((number, frame))
        if commit:
            yield from open_frames
            open_frames = []


def _sum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of up to nine bytes, and the place behind it."""
    value = 0
    for step in range(8):
        byte = data[place + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + step + 1
    return value << 8 | data[place + 8], place + 9


def _record(payload: bytes) -> list[Value]:
    end, place = _varint(payload, 0)
    if end > len(payload):
        raise TornError
    values: list[Value] = []
    at = end
    while place < end:
        kind, place = _varint(payload, place)
        value, at = _value(payload, at, kind)
        values.append(value)
    if at > len(payload):
        raise TornError
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in _SIZES:
        size = _SIZES[kind]
        return int.from_bytes(payload[at : at + size], "big", signed=True), at + size
    if kind in (8, 9):
        return kind - 8, at
    if kind < 12 or kind % 2 == 0:  # a store's tables hold no fractions and no blobs
        raise TornError
    size = (kind - 12) // 2
    return payload[at : at + size].decode("utf-8", "surrogateescape"), at + size
