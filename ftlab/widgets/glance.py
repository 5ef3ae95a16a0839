"""What a row of the table of runs tells of a run: a small fold over its events."""

from collections.abc import Iterable
from typing import Any

from ftlab.events import Ended, Evaluated, Event, Measured, Started
from ftlab.widgets.curve import Curve

SPARK = 24  # buckets of the small curve, two points each


class Glance:
    """The run so far; any batching of its events gives the same."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._told: dict[str, Any] = {}
        self._losses = Curve(SPARK)
        self._began: float | None = None
        self._seconds_before = 0.0  # of attempts that are over
        self._time = 0.0
        self._first: tuple[float, int] | None = None  # time and step of this attempt's first figure
        self._is_over = False
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Takes one event in."""
        told = self._told
        match event:
            case Started():
                self._seconds_before = self._seconds()
                self._began, self._first, self._is_over = event.time, None, False
                told["total"] = event.total_steps
            case Measured():
                told |= {"step": event.step, "loss": event.values.get("loss")}
                self._losses.add(event.step, event.values.get("loss"))
                if self._first is None or event.step <= self._first[1]:
                    self._first = (event.time, event.step)
                memory = event.values.get("memory_mib")
                if memory is not None:
                    told["memory"] = max(memory, told.get("memory", 0.0))
            case Evaluated():
                told["eval_loss"] = event.values.get("loss")
            case Ended():
                self._is_over = True
            case _:
                pass
        self._time = max(self._time, event.time)

    def told(self) -> dict[str, Any]:
        """step, total, loss, eval_loss, memory (MiB, the most), seconds, eta (seconds), spark; without the unknown.

        Losses in nats; one that was not a number is None. spark: the losses in order, at most 48.
        """
        known = {**self._told}
        if self._began is not None:
            known["seconds"] = round(self._seconds(), 1)
        if (eta := self._eta()) is not None:
            known["eta"] = round(eta, 1)
        points = self._losses.points()
        if len(points) > 1:
            known["spark"] = [None if value != value else round(value, 4) for _, value in points]  # noqa: PLR0124 - NaN
        return known

    def _seconds(self) -> float:
        if self._began is None:
            return 0.0
        return self._seconds_before + max(0.0, self._time - self._began)

    def _eta(self) -> float | None:
        if self._is_over or self._first is None:
            return None
        done, left = self._told["step"] - self._first[1], self._told.get("total", 0) - self._told["step"]
        return left * (self._time - self._first[0]) / done if done > 0 and left >= 0 else None
