"""Whether a page listens: a widget that talks to nobody fills the server's memory without a bound."""

import threading
from time import monotonic

ABSENT_SECONDS = 30.0  # pages say hello every few seconds; a hidden tab's timers are slowed to one a minute


class Presence:
    """When a page was last heard of; a new widget has the benefit of the doubt."""

    def __init__(self, absent_seconds: float = ABSENT_SECONDS) -> None:
        self._absent_seconds = absent_seconds
        self._last = monotonic()
        self._heard = threading.Event()

    def hear(self) -> None:
        """A page said something."""
        self._last = monotonic()
        self._heard.set()

    @property
    def is_here(self) -> bool:
        """Whether a page was heard of lately."""
        return monotonic() - self._last < self._absent_seconds

    def wait(self, seconds: float | None = None) -> bool:
        """Until a page is there, at most `seconds`; whether one is."""
        self._heard.clear()
        return self.is_here or self._heard.wait(seconds)
