"""What a person sees and touches in a notebook: views with a live half and a static twin."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftlab.widgets.board import Board
    from ftlab.widgets.compare import Compare
    from ftlab.widgets.flipbook import Flipbook
    from ftlab.widgets.launch import Launch
    from ftlab.widgets.rate import Rate
    from ftlab.widgets.run_view import RunView
    from ftlab.widgets.runs import Runs
    from ftlab.widgets.tokens import Tokens

__all__ = ["Board", "Compare", "Flipbook", "Launch", "Rate", "RunView", "Runs", "Tokens"]

_HOMES = {
    "Board": "board",
    "Compare": "compare",
    "Flipbook": "flipbook",
    "Launch": "launch",
    "Rate": "rate",
    "RunView": "run_view",
    "Runs": "runs",
    "Tokens": "tokens",
}


def __getattr__(
    name: str,
) -> Any:  # anywidget brings IPython, a quarter of a second that only a shown widget needs
    if name not in _HOMES:
        raise AttributeError(f"module 'ftlab.widgets' has no attribute {name!r}")
    return getattr(import_module(f"ftlab.widgets.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
