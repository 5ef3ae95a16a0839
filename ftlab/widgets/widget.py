"""What every widget of the lab has in common: bundle, static twin, messages that are always answered."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import Layout
from ipywidgets.widgets.trait_types import InstanceDict
from ipywidgets.widgets.widget import widget_serialization

from ftlab.errors import FtlabError

logger = logging.getLogger(__name__)

VIEW = "application/vnd.jupyter.widget-view+json"
LIVE = ("lab", "voila")

_NO_BUNDLE = """export default { render({ el }) {
  el.textContent = "The front end of this widget (%s) is not built: run `make bundle`, then this cell again.";
} };"""


def front_end() -> str:
    """Who shows this kernel's output: "lab", "voila", or "static" where nobody could click.

    $FTLAB_FRONTEND decides where it is set (VS Code and Colab need it: FTLAB_FRONTEND=lab).
    """
    if chosen := os.environ.get("FTLAB_FRONTEND"):
        return chosen
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return "voila"
    session = os.environ.get("JPY_SESSION_NAME")  # set by a notebook server for each kernel it starts
    return "lab" if session and not _is_inherited(session) else "static"


def _is_inherited(session: str) -> bool:
    """Whether the session's name came from a parent that is a kernel itself: papermill called from a cell."""
    try:
        around = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:  # not Linux, or somebody else's process: then the name is taken at its word
        return False
    return f"JPY_SESSION_NAME={session}".encode() in around.split(b"\0")


def is_live() -> bool:
    """Whether a person can click here."""
    return front_end() in LIVE


class _QuietLayout(Layout):
    """A layout that opens no channel where nobody listens, so that no widget state is saved with a notebook."""

    def open(self) -> None:
        if is_live():
            super().open()


class LabWidget(anywidget.AnyWidget):
    """A widget made of `static/STEM.js`, which answers every message and leaves a twin where nobody can click.

    Traits describe the whole picture; messages are commands. A command `{"id": …, "type": "save", …}` is
    carried out by the method `_do_save(message)`, and answered with what that returns plus `id` and
    `type: "done"`, or with `{"id", "type": "error", "error": text, "kind": class, "ours": bool}`. Handlers run on
    a thread of their own, one at a time, under `_lock`: they must return soon and open their own connections.
    """

    stem: str = ""
    """Name of the bundle, the TypeScript file and the Python file alike."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    layout = InstanceDict(_QuietLayout).tag(sync=True, **widget_serialization)
    error = traitlets.Unicode("").tag(sync=True)
    """What went wrong outside of a command, for a person to read; empty when nothing did."""

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()
        script, style = _bundle(self.stem)
        super().__init__(_esm=script, _css=style, **traits)

    def open(self) -> None:
        """Open the channel to the page, where there is one."""
        if not is_live() or self.comm is not None:
            return
        super().open()
        # ipykernel 7.4 answers on the thread that last published on this channel instead of the one the page
        # asked on: one trait set by a busy cell, and the widget is deaf until the cell ends. Private, so guarded.
        comm: Any = self.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Answer that the kernel lives; a page asks on loading and whenever it has reason to doubt."""
        return None

    def _do_nudge(self, message: dict[str, Any]) -> None:
        """Nothing: the page spoke so that its connection would not dawdle, see channel.ts."""

    def _answered(self, name: str) -> None:
        """Called after the answer to a command has been sent, for what need not delay it; must not raise."""

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        """Carry out one command from the page and answer it, whatever happens."""
        name = content.get("type") if isinstance(content, dict) else None
        if not isinstance(name, str):
            super()._handle_custom_msg(content, buffers)
            return
        reply = {"id": content.get("id")}  # none: the page asks for no answer
        try:
            handler = getattr(self, f"_do_{name}")
            with self._lock:
                reply = {**(handler(content) or {}), **reply, "type": "done"}
        except Exception as error:  # a traceback from this thread is shown nowhere in JupyterLab
            logger.log(
                logging.INFO if isinstance(error, FtlabError) else logging.ERROR,
                "%s could not %s",
                type(self).__name__,
                name,
                exc_info=error,
            )
            reply |= {"type": "error", **_told(error)}
            if not is_live():  # no page will show it, so it belongs to the cell
                raise
        if reply["id"] is not None:
            self.send(reply)
        with self._lock:
            self._answered(name)

    def _report(self, error: BaseException) -> None:
        """Show an error of a background thread in the widget, and log it with its traceback."""
        logger.error("%s failed in the background", type(self).__name__, exc_info=error)
        self.error = _told(error)["error"]

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Set related traits so that the page sees them change at once; safe from any thread."""
        with self._lock, self.hold_sync():
            yield

    def _settle(self) -> None:
        """Wait for what the twin should show; called only where no person could have waited."""

    def _twin(self) -> str:
        """HTML of the whole picture: text escaped, styles inline, legible on light and on dark."""
        raise NotImplementedError

    def _summary(self) -> str:
        """One stable line of plain text; no address, so that executed notebooks can be compared."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self._summary()}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live view where somebody can click, else the twin: beside each other the twin is never shown."""
        live = is_live() and self.comm is not None
        if not live:
            self._settle()
        data: dict[str, Any] = {"text/plain": repr(self), "text/html": self._twin()}
        if live:
            data[VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return data, {}


def _told(error: BaseException) -> dict[str, Any]:
    """What the page is told of an error; our own speak for themselves, others need their class's name."""
    ours = isinstance(error, FtlabError)
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return {"error": text, "kind": type(error).__name__, "ours": ours}


def _bundle(stem: str) -> tuple[str, str]:
    """Script and style of a widget; a script that says how to build it where there is no bundle."""
    static = resources.files(__package__) / "static"
    try:
        script = (static / f"{stem}.js").read_text("utf-8")
        style = (static / f"{stem}.css").read_text("utf-8")
    except OSError:
        return _NO_BUNDLE % stem, ""
    return script, style
