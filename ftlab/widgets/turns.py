"""The next turn of a conversation: two models answer, apart from the kernel's own work, and in step."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from ftlab.answers import Answer, Comparison, Delta, Message, Sampling, ask
from ftlab.errors import ConfigError, RatingError
from ftlab.widgets.presence import Presence

FLUSH_SECONDS = 1 / 15
SAME = 3  # small models like to say the same: so many seeds are tried before a person is asked for another message


def in_step(texts: Sequence[str], whole: Sequence[bool]) -> list[str]:
    """What may be read of texts that are being written: of none more than of the shortest still unfinished.

    Which of two models is the quicker one would tell them apart.
    """
    limit = min((len(text) for text, done in zip(texts, whole, strict=True) if not done), default=None)
    return [text[:limit] for text in texts]


class Turns:
    """Asks two models for their answers to a conversation, one conversation at a time."""

    _ask = staticmethod(ask)  # the one seam: whoever answers

    def __init__(self, models: Sequence[str], sampling: Sampling | None) -> None:
        """Raises ConfigError where these are not two different models."""
        if len(models) != 2 or models[0] == models[1]:
            raise ConfigError(f"a dialogue is held with two different models, not {list(models)}")
        self.models = tuple(models)
        self.presence = Presence()
        self.note = ""
        self.prompt: list[Message] = []
        self._sampling = sampling or Sampling(max_new_tokens=128)
        self._columns = self.models  # who is shown where while they write: drawn anew for each turn
        self._texts: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_answering(self) -> bool:
        """Whether answers are being written."""
        return self._thread is not None

    def texts(self) -> list[str]:
        """What may be read of both so far; the sides of the whole answers are drawn when they are stored."""
        written = [self._texts.get(model, "") for model in self._columns]
        return in_step(written, [model in self._answers for model in self._columns])

    def responses(self, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """Both answers as `Ratings.add` takes them."""
        row = Comparison(
            [self.prompt], list(self.models), self._sampling, [{one.reference: one for one in answers}]
        )
        (pair,) = row.pairs(*self.models)
        return list(pair["responses"])

    def start(
        self,
        prompt: list[Message],
        *,
        changed: Callable[[], None],
        store: Callable[[list[Answer]], str],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        """Asks in the background. `changed` is called as they write, `store` with both answers.

        `store` tells why they are no use, "" where they are stored; they are then drawn again with another
        seed. `ended` is called last, with what went wrong.
        """
        self.prompt, self._cancel = prompt, threading.Event()
        self._columns = random.choice((self.models, self.models[::-1]))
        self._thread = threading.Thread(
            target=self._run, args=(self._cancel, changed, store, ended), name="turn", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Gives up; nothing of it is stored."""
        self._cancel.set()

    def join(self, seconds: float) -> None:
        """Waits until the answers are there."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(
        self,
        cancel: threading.Event,
        changed: Callable[[], None],
        store: Callable[[list[Answer]], str],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        failure: BaseException | None = None
        try:
            reason = ""
            for attempt in range(SAME):
                answers = self._both(attempt, cancel, changed)
                reason = "" if cancel.is_set() else store(answers)
                if not reason:
                    break
            failure = RatingError(f"{reason}: say something else") if reason else None
        except Exception as error:  # noqa: BLE001 - a thread's error is shown nowhere: it is handed to `ended`
            failure = error
        finally:
            self._thread, self.note = None, ""
            ended(failure)

    def _both(self, attempt: int, cancel: threading.Event, changed: Callable[[], None]) -> list[Answer]:
        self._texts, self._answers = {}, {}
        sampling = replace(self._sampling, seed=self._sampling.seed + attempt)
        shown = monotonic()
        for piece in self._ask([self.prompt], list(self.models), sampling, cancel=cancel, note=self._tell):
            self._take(piece)
            if monotonic() - shown >= FLUSH_SECONDS and self.presence.is_here:
                changed()
                shown = monotonic()
        return [self._answers[model] for model in self.models if model in self._answers]

    def _take(self, piece: Delta | tuple[int, Answer]) -> None:
        if isinstance(piece, Delta):
            self._texts[piece.reference] = self._texts.get(piece.reference, "") + piece.text
            self.note = ""
        else:
            answer = piece[1]
            self._texts[answer.reference], self._answers[answer.reference] = answer.text, answer

    def _tell(self, note: str) -> None:
        """Slow steps, without the name of the model that they are about."""
        hidden = any(model in note for model in self.models)
        self.note = "A model is being made ready." if hidden else note
