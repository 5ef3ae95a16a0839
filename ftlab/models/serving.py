"""Answers and scores for another process: one message in, pieces and whole answers out."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ftlab.answers import Delta, Sampling, as_messages
from ftlab.errors import ConfigError, FtlabError
from ftlab.models.model import load, stream
from ftlab.models.wants import WANTS

Send = Callable[[dict[str, Any]], None]

_PIECES_SECONDS = 0.05  # a browser draws about 15 times a second; a tiny model draws thousands of tokens


def serve(message: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    """Answer {"prompts": [messages], "references": [...], "sampling": {...}} through `send`.

    With a "want" of something else than answers, see `ftlab.models.wants`.

    Sends {"note": text} about slow steps, {"loaded": {"reference", "fingerprint"}} once a model is there,
    {"delta": {"reference", "index", "text"}}, {"answer": {...}, "index": N}; where it fails, {"error": text,
    "kind": class name} is the last. What `send` raises is passed on.
    """
    if message.get("want", "answers") != "answers":
        _serve_want(message, send, cancelled)
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


def _serve_want(message: Mapping[str, Any], send: Send, cancelled: threading.Event) -> None:
    try:
        want = message["want"]
        if want not in WANTS:
            raise ConfigError(f"'want' is {want!r}; it is answers, {', '.join(WANTS)}")
        for reply in WANTS[want](message, _noting(send), cancelled):
            send(reply)
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
