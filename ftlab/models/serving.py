"""Answers and scores for another process: one message in, pieces and whole answers out."""

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ftlab.answers import Delta, Sampling, as_messages
from ftlab.errors import ConfigError, FtlabError
from ftlab.models.features import features
from ftlab.models.model import load, stream
from ftlab.models.rewards import load_reward

Send = Callable[[dict[str, Any]], None]

_PIECES_SECONDS = 0.05  # a browser draws about 15 times a second; a tiny model draws thousands of tokens


def serve(message: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """Answer {"prompts": [messages], "references": [...], "sampling": {...}} through `send`.

    With "want" of "scores" or "features", {"rows": [{"prompt", "text"}], "references": [one]} instead: see
    `ftlab.scoring`.

    Sends {"note": text} about slow steps, {"loaded": {"reference", "fingerprint"}} once a model is there,
    {"delta": {"reference", "index", "text"}}, {"answer": {...}, "index": N}; where it fails, {"error": text,
    "kind": class name} is the last. What `send` raises is passed on.
    """
    if message.get("want", "answers") != "answers":
        _serve_rows(message, send, cancelled)
        return
    try:
        sampling = _sampling(message)
        chats = [as_messages(prompt) for prompt in message["prompts"]]
    except (FtlabError, KeyError, TypeError) as error:
        send(_error(error))
        return

    note = _noting(send)
    models = []
    for reference in message["references"]:
        if cancelled.is_set():
            return
        try:
            model = load(reference, note)
        except FtlabError as error:
            send(_error(error))
            return
        models.append(model)
        send({"loaded": {"reference": reference, "fingerprint": asdict(model.fingerprint(sampling))}})
    pieces = _Pieces(send)
    try:
        for piece in stream(models, chats, sampling, cancelled=cancelled, note=note):
            if isinstance(piece, Delta):
                pieces.add(piece)
            else:
                pieces.flush()
                send({"answer": piece[1].to_dict(), "index": piece[0]})
    except FtlabError as error:
        send(_error(error))


def _serve_rows(message: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """{"scores": [...]} once, or {"places": [...], "features": base64 of 32-bit floats} until all have come."""
    try:
        wanted, (reference,) = message["want"], message["references"]
        pairs = [(row["prompt"], row["text"]) for row in message["rows"]]
        if wanted == "scores":
            send({"scores": load_reward(reference, _noting(send)).scores(pairs, cancelled)})
        elif wanted == "features":
            for places, batch in features(load(reference, _noting(send)), pairs, cancelled):
                data = base64.b64encode(batch.numpy().astype("<f4").tobytes()).decode("ascii")
                send({"places": places, "features": data})
        else:
            raise ConfigError(f"'want' is {wanted!r}; it is answers, scores or features")
    except (FtlabError, KeyError, TypeError) as error:
        send(_error(error))


def _noting(send: Send) -> Callable[[str], None]:
    return lambda text: send({"note": text})


class _Pieces:
    """Pieces of text, joined until it is time to send them."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.texts: dict[tuple[str, int], str] = {}
        self.sent = 0.0

    def add(self, piece: Delta) -> None:
        key = (piece.reference, piece.index)
        self.texts[key] = self.texts.get(key, "") + piece.text
        if time.monotonic() - self.sent >= _PIECES_SECONDS:
            self.flush()

    def flush(self) -> None:
        for (reference, index), text in self.texts.items():
            self.send({"delta": {"reference": reference, "index": index, "text": text}})
        self.texts.clear()
        self.sent = time.monotonic()


def _sampling(message: Mapping[str, Any]) -> Sampling:
    values = dict(message.get("sampling") or {})
    unknown = set(values) - set(Sampling.__dataclass_fields__)
    if unknown:
        known = ", ".join(Sampling.__dataclass_fields__)
        raise ConfigError(f"sampling has no {', '.join(sorted(unknown))}; there are: {known}")
    return Sampling(**values)


def _error(error: Exception) -> dict[str, Any]:
    text = f"the message lacks {error}" if isinstance(error, KeyError) else str(error)
    return {"error": text, "kind": type(error).__name__}
