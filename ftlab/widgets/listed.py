"""A run as the table of runs knows it."""

from typing import Any, Protocol

from ftlab.errors import RunError
from ftlab.events import Event
from ftlab.widgets.glance import Glance

SKIMMED = 40  # events of a first look at a long run

OVER = ("finished", "stopped", "diverged", "failed")


class Configured(Protocol):
    """What the table asks of a run's configuration."""

    def to_dict(self) -> dict[str, Any]: ...
    def to_yaml(self) -> str: ...


class Listed(Protocol):
    """What the table asks of a run; `ftlab.Run` is one."""

    @property
    def name(self) -> str: ...
    @property
    def created(self) -> float: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def position(self) -> int | None: ...
    @property
    def config(self) -> Configured: ...
    def skim(self, count: int) -> tuple[list[Event], int | None]: ...
    def events(self, offset: int = 0) -> tuple[list[Event], int]: ...
    def start(self) -> object: ...
    def stop(self) -> object: ...
    def resume(self) -> object: ...
    def enqueue(self, position: int | None = None) -> object: ...
    def dequeue(self) -> object: ...
    def clone(self, changes: str, /) -> "Listed": ...
    def delete(self) -> None: ...
    def wait(self, timeout: float | None = None) -> object: ...


class Entry:
    """One run as it was last looked at."""

    def __init__(self, run: Listed) -> None:
        self.run, self.created = run, run.created
        self.status, self.reason = run.status, ""
        self.position: int | None = None
        self.is_stop_asked = False
        self.glance = Glance()
        self._offset: int | None = 0
        self.facts: dict[str, Any] = {"name": run.name, "created": run.created}
        self._is_new, self._is_settled = True, False
        try:
            config = run.config.to_dict()
        except RunError:
            config = {}  # broken: its status says so, and its reason why
        if config:
            self.facts |= {
                "method": config["method"]["kind"],
                "model": config["model"],
                "data": config["data"]["train"],
            }

    @property
    def is_alive(self) -> bool:
        return self.status in {"starting", "running"}

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change unless somebody resumes or removes it."""
        return self._is_settled

    @property
    def is_rough(self) -> bool:
        """Whether its events were only skimmed so far."""
        return self._offset is None

    def look(self) -> None:
        """Takes in what is new; of a long run at first only a part."""
        self.status = (
            self.run.status
        )  # asked before reading, so that a dying trainer's last lines still count
        self.position = self.run.position if self.status == "queued" else None
        events: list[Event] = []
        if self._is_new:
            events, self._offset = self.run.skim(SKIMMED)
        elif self._offset is not None:
            events, self._offset = self.run.events(self._offset)
        for event in events:
            self.glance.add(event)
        is_over = self.status in OVER
        self.is_stop_asked = self.is_stop_asked and not is_over
        self._is_settled = (is_over or self.status == "created") and not self.is_rough and not events
        self._is_new = False
        self.reason = self.run.reason if is_over else ""

    def settle_for(self, glance: Glance, offset: int) -> None:
        """What all events up to the offset add up to, in place of the skimmed ones."""
        self.glance, self._offset = glance, offset

    def told(self) -> dict[str, Any]:
        status = "stopping" if self.is_stop_asked and self.is_alive else self.status
        return {**self.facts, "status": status, "reason": self.reason, "position": self.position}
