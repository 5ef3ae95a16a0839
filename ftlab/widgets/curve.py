"""One figure over the steps of a run, held in bounded space: each bucket keeps its least and greatest value.

What is kept depends on the sequence of figures alone, never on how they were handed over.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

BUCKETS = 1000  # two points each: more than a chart has pixels, and 16 kB to send


@dataclass(slots=True)
class _Bucket:
    """Neighbouring steps; `low` and `high` are (step, value) and None while no value was finite."""

    count: int
    last: int
    low: tuple[int, float] | None
    high: tuple[int, float] | None
    gap: int | None  # the first step whose figure was not finite

    def take(self, other: "_Bucket") -> None:
        self.count += other.count
        self.last = other.last
        if other.low and (self.low is None or other.low[1] < self.low[1]):
            self.low = other.low
        if other.high and (self.high is None or other.high[1] > self.high[1]):
            self.high = other.high
        if self.gap is None:
            self.gap = other.gap

    def points(self) -> Iterator[tuple[int, float]]:
        kept = {spot for spot in (self.low, self.high) if spot is not None}
        gap = {(self.gap, math.nan)} if self.gap is not None else set()
        return iter(sorted(kept | gap, key=lambda spot: spot[0]))

    def before(self, step: int) -> bool:
        """Forgets what lies at `step` or after it; False where nothing is left."""
        self.low = self.low if self.low and self.low[0] < step else None
        self.high = self.high if self.high and self.high[0] < step else None
        self.gap = self.gap if self.gap is not None and self.gap < step else None
        self.last = min(self.last, step - 1)
        return any(spot is not None for spot in (self.low, self.high, self.gap))


class Curve:
    """Figures in order of their steps; at most `buckets` buckets, which grow in powers of two."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        self._buckets: list[_Bucket] = []
        self._limit = buckets
        self._width = 1

    def add(self, step: int, value: float | None) -> None:
        """`None`, NaN and the infinities are a gap. A step that was seen before replaces what came from it on:
        a resumed run does the steps behind its checkpoint again.
        """
        while self._buckets and self._buckets[-1].last >= step:
            if self._buckets[-1].before(step):
                break
            self._buckets.pop()
        finite = value is not None and math.isfinite(value)
        spot = (step, float(value)) if value is not None and finite else None
        fresh = _Bucket(1, step, spot, spot, None if finite else step)
        if self._buckets and self._buckets[-1].count < self._width:
            self._buckets[-1].take(fresh)
        else:
            self._buckets.append(fresh)
        if len(self._buckets) > self._limit:
            self._merge()

    def _merge(self) -> None:
        for left, right in zip(self._buckets[::2], self._buckets[1::2], strict=False):
            left.take(right)
        self._buckets = self._buckets[::2]
        self._width *= 2

    def points(self) -> list[tuple[int, float]]:
        """(step, value) in order of step; NaN is a gap."""
        return [spot for bucket in self._buckets for spot in bucket.points()]

    def packed(self) -> tuple[bytes, bytes]:
        """The steps as little-endian int32 and the values as float32."""
        points = self.points()
        return _bytes("i", [step for step, _ in points]), _bytes("f", [value for _, value in points])


def _bytes(code: str, values: list[int] | list[float]) -> bytes:
    packed = array(code, values)
    if packed.itemsize != 4:  # pragma: no cover - no platform that Python runs on today
        raise OverflowError(f"array({code!r}) has {packed.itemsize} bytes on this platform, 4 are needed")
    return packed.tobytes()
