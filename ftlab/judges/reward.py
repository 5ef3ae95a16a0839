"""A judge that a run has trained: method "reward", on preferences."""

from collections.abc import Callable, Iterable
from typing import Any

from ftlab.answers import as_messages
from ftlab.scoring import score

_AHEAD = 512


class RewardJudge:
    """Scores one answer at a time; `read` asks for many at once and remembers them."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self._known: dict[tuple[str, str], float] = {}

    def __call__(self, prompt: list[dict[str, Any]], text: str) -> float:
        """Higher is better; only differences between answers to one prompt mean anything."""
        key = (repr(as_messages(prompt)), text)
        if key not in self._known:
            self.read([(prompt, text)])
        return self._known[key]

    def read(self, answers: Iterable[tuple[Any, str]], *, note: Callable[[str], None] | None = None) -> None:
        """Has all these (prompt, text) scored, in few requests; the judge then answers from memory."""
        keys = {(repr(as_messages(prompt)), text): (prompt, text) for prompt, text in answers}
        missing = [key for key in keys if key not in self._known]
        for start in range(0, len(missing), _AHEAD):
            part = missing[start : start + _AHEAD]
            rows = [{"prompt": keys[key][0], "text": keys[key][1]} for key in part]
            self._known.update(zip(part, score(rows, self.reference, note=note), strict=True))


def reward(reference: str) -> RewardJudge:
    """The judge behind "run:NAME" of method "reward", or a folder of such a model; errors come with the first use."""
    return RewardJudge(reference)
