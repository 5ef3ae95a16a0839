"""ftlab: a fine-tuning lab that lives in a notebook.

See what a pretrained model does, compare it with tuned ones, rate the answers, train on the ratings, and
look again. The names below are loaded when they are first used, so that importing ftlab costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.answers import Comparison, Sampling, compare
    from ftlab.config import RunConfig
    from ftlab.data import examine
    from ftlab.preflight import check
    from ftlab.prompting import prompted
    from ftlab.ratings import Ratings
    from ftlab.run import Run, launch, runs
    from ftlab.scripts import eject
    from ftlab.widgets import Board, Compare, Flipbook, Launch, Rate, Runs, RunView, Tokens

__version__ = "0.1.0"

_HOMES = {
    "Board": "ftlab.widgets",
    "Compare": "ftlab.widgets",
    "Comparison": "ftlab.answers",
    "Flipbook": "ftlab.widgets",
    "Launch": "ftlab.widgets",
    "Rate": "ftlab.widgets",
    "Ratings": "ftlab.ratings",
    "Run": "ftlab.run",
    "RunConfig": "ftlab.config",
    "RunView": "ftlab.widgets",
    "Runs": "ftlab.widgets",
    "Sampling": "ftlab.answers",
    "Tokens": "ftlab.widgets",
    "check": "ftlab.preflight",
    "compare": "ftlab.answers",
    "eject": "ftlab.scripts",
    "examine": "ftlab.data",
    "launch": "ftlab.run",
    "prompted": "ftlab.prompting",
    "runs": "ftlab.run",
}

__all__ = [
    "Board",
    "Compare",
    "Comparison",
    "Flipbook",
    "Launch",
    "Rate",
    "Ratings",
    "Run",
    "RunConfig",
    "RunView",
    "Runs",
    "Sampling",
    "Tokens",
    "check",
    "compare",
    "eject",
    "examine",
    "launch",
    "prompted",
    "runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftlab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
