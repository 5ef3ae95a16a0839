"""What models make of answers that are there already: a reward model's scores, and any model's features.

The models run in another process, which is reached through `ftlab.warm`, as in `ftlab.answers`.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftlab.answers import as_error, as_messages
from ftlab.errors import DataError

if TYPE_CHECKING:
    import numpy as np

Note = Callable[[str], None]


def score(rows: Sequence[Mapping[str, Any]], reference: str, *, note: Note | None = None) -> list[float]:
    """A reward model's score of each {"prompt": text or messages, "text": the answer}, in their order.

    Higher is better; only differences between answers to one prompt mean anything. `reference` names a run of
    method "reward", or a folder of such a model. Raises ModelError where it is something else.
    """
    if not rows:
        return []
    found: list[float] = []
    for line in _replies("scores", rows, reference, note):
        found += line.get("scores", [])
    return found


def features(
    rows: Sequence[Mapping[str, Any]], reference: str, *, note: Note | None = None
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """What a model that answers makes of each {"prompt", "text"}: one row of numbers an answer.

    Two hidden states (at the answer's last token, and the mean over its tokens), then the sum, mean and least of
    its tokens' log-probabilities in nats, and their count.
    """
    import numpy as np

    parts: list[tuple[list[int], Any]] = []
    for line in _replies("features", rows, reference, note) if rows else ():
        if "features" in line:
            values = np.frombuffer(base64.b64decode(line["features"]), dtype="<f4")
            parts.append((line["places"], values.reshape(len(line["places"]), -1)))
    width = parts[0][1].shape[1] if parts else 0
    found = np.zeros((len(rows), width), dtype=np.float32)
    for places, values in parts:
        found[places] = values
    return found


def _replies(
    wanted: str, rows: Sequence[Mapping[str, Any]], reference: str, note: Note | None
) -> Iterator[dict[str, Any]]:
    from ftlab import warm

    message = {"do": "answer", "want": wanted, "rows": list(_checked(rows)), "references": [reference]}
    for line in warm.request(message):
        if "error" in line:
            raise as_error(line)
        if "note" in line and note is not None:
            note(str(line["note"]))
        yield line


def _checked(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for place, row in enumerate(rows):
        text = row.get("text")
        if not isinstance(text, str) or "prompt" not in row:
            raise DataError(f'row {place} has {sorted(row)}; wanted {{"prompt": ..., "text": the answer}}')
        yield {"prompt": as_messages(row["prompt"]), "text": text}
