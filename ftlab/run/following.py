"""The thread that carries a run's events to views."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from ftlab.events import Ended, Event, Measured
from ftlab.run.attempt import ENDS

if TYPE_CHECKING:
    from ftlab.run.run import Run

LOOK_SECONDS = 0.06
"""Between two looks at a running run: about 15 batches a second, as much as a browser draws."""

_log = logging.getLogger(__name__)


class View(Protocol):
    """Anything that draws events."""

    def update(self, events: list[Event], /) -> Any:
        """Takes the events since the last call, in order; any batching comes to the same picture."""


class Following(threading.Thread):
    """Ends behind the end of the run. `errors` holds what views raised."""

    def __init__(self, run: "Run", views: tuple[View, ...]) -> None:
        super().__init__(name=f"ftlab-follow-{run.name}", daemon=True)
        self._followed = run
        self._views = list(views)
        self._given_up = threading.Event()
        self.errors: list[Exception] = []

    def stop(self) -> None:
        """Ends the thread after the batch at hand; the run goes on."""
        self._given_up.set()

    def run(self) -> None:
        offset, step = 0, 0
        while self._views and not self._given_up.is_set():
            status, ended = self._followed._state()  # noqa: SLF001 - asked before reading, so that nothing comes behind it
            events, offset = self._followed.events(offset)
            step = max([step, *(event.step for event in events if isinstance(event, Measured))])
            is_over = status in ENDS
            if is_over and ended is None:
                # The trainer could not say so itself; a view need not know the difference.
                events.append(Ended(time.time(), step, "failed", self._followed.reason))
            if events:
                self._deliver(events)
            if is_over:
                return
            self._given_up.wait(LOOK_SECONDS)

    def _deliver(self, events: list[Event]) -> None:
        for view in list(self._views):
            try:
                view.update(list(events))
            except Exception as error:  # noqa: BLE001 - one view's fault is not the others'
                self._views.remove(view)
                self.errors.append(error)
                _log.exception("%s: %r raised and is followed no more", self._followed.name, view)
