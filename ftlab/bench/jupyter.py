"""A real JupyterLab for benches and browser tests: a server of its own, driven through Chromium."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlab.errors import FtlabError

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS = 90

# the panel, once notebook and kernel are ready; run in the page through the application that Lab lends us
_PANEL = """
  const app = window.jupyterapp;
  await app.restored;
  let panel = app.shell.currentWidget;
  while (!panel?.context?.path) { await new Promise((done) => setTimeout(done, 50)); panel = app.shell.currentWidget; }
  await panel.context.ready;
  await panel.sessionContext.ready;
"""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab; `folder` is its root, `home` the FTLAB_HOME of its kernels."""

    address: str
    token: str
    folder: Path
    home: Path
    process: "subprocess.Popen[bytes]"
    log: Path

    def link(self, notebook: str) -> str:
        """Address of a notebook in a fresh workspace, so that no layout is carried from one page to the next."""
        return (
            f"{self.address}lab/workspaces/w{secrets.token_hex(4)}/tree/{notebook}?reset&token={self.token}"
        )

    def get(self, path: str) -> Any:
        """JSON of a GET on the server's REST API, such as `api/kernels`."""
        request = urllib.request.Request(  # noqa: S310 - our own server's http address
            self.address + path, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)


def write_notebook(path: Path, cells: Sequence[str]) -> Path:
    """A notebook of code cells."""
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


@contextmanager
def jupyter(
    folder: Path, *, theme: str = "light", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """JupyterLab on `folder` with its own port, token, settings and FTLAB_HOME; ended, with its kernels, on leaving.

    theme: "light" or "dark". environment: further variables for the server and its kernels.
    Raises FtlabError with the server's last words where it does not come up.
    """
    private = folder / ".jupyter"
    home = folder / ".ftlab"
    settings = private / "settings"
    _write_settings(settings, theme)
    port, token, log = _free_port(), secrets.token_hex(16), private / "server.log"
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("JPY_", "FTLAB_FRONTEND"))
    }
    variables |= {
        "JUPYTER_CONFIG_DIR": str(private / "config"),
        "JUPYTER_DATA_DIR": str(private / "data"),
        "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(private / "workspaces"),
        "IPYTHONDIR": str(private / "ipython"),
        "FTLAB_HOME": str(home),
        # the ftlab that asks is the one that is driven, installed or not
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        ).rstrip(os.pathsep),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        **(environment or {}),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser"),
        *(["--allow-root"] if os.geteuid() == 0 else []),
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=variables,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _wait(process, private / "runtime", token, folder, home, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_settings(settings: Path, theme: str) -> None:
    """Lab's own questions and news are kept off the screen."""
    wanted = {
        "notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
        "themes": {"theme": f"JupyterLab {theme.capitalize()}"},
    }
    folder = settings / "@jupyterlab" / "apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in wanted.items():
        (folder / f"{name}.jupyterlab-settings").write_text(json.dumps(values), "utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(
    process: "subprocess.Popen[bytes]", runtime: Path, token: str, folder: Path, home: Path, log: Path
) -> Server:
    """The server, once it answers; it tells its real port in its runtime folder, should ours have been taken."""
    ends = time.monotonic() + START_SECONDS
    card = runtime / f"jpserver-{process.pid}.json"
    while time.monotonic() < ends and process.poll() is None:
        if card.exists():
            try:
                address = str(json.loads(card.read_text("utf-8"))["url"])
                server = Server(address, token, folder, home, process, log)
                server.get("api/status")
            except (OSError, ValueError):  # half a card, or not listening yet
                pass
            else:
                return server
        time.sleep(0.1)
    words = log.read_text("utf-8", errors="replace")[-2000:]
    raise FtlabError(f"JupyterLab did not start within {START_SECONDS} s; its last words:\n{words}")


def chromium() -> str:
    """Path of the system's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FtlabError("no Chromium found: apt-get install chromium")


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium (a playwright `Browser`)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        try:
            yield started
        finally:
            started.close()


class Notebook:
    """A notebook open in a page."""

    def __init__(self, page: Any, server: Server, name: str) -> None:
        self.page = page
        self.server = server
        self.name = name
        self.errors: list[str] = []
        """Errors of the page, where widgets' errors land too."""
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    @classmethod
    def open(cls, page: Any, server: Server, name: str) -> "Notebook":
        """Open it and wait for its kernel."""
        notebook = cls(page, server, name)
        page.goto(server.link(name))
        notebook.ready()
        return notebook

    def ready(self) -> None:
        """Wait until notebook and kernel are; after a reload too."""
        self.page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
        self.in_panel("")

    def in_panel(self, script: str, argument: Any = None) -> Any:
        """What the body of an async JavaScript function returns that sees `app`, `panel` and `argument`."""
        return self.page.evaluate(f"async (argument) => {{ {_PANEL} {script} }}", argument)

    def run(self, index: int, *, wait: bool = True) -> None:
        """Run the cell at `index` (from 0) like somebody who presses Ctrl+Enter; `wait` for its end."""
        script = """
          panel.content.activeCellIndex = argument.index;
          const done = app.commands.execute('notebook:run-cell');
          if (argument.wait) await done;
        """
        self.in_panel(script, {"index": index, "wait": wait})

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as saved in a notebook file."""
        return list(self.in_panel("return panel.content.widgets[argument].model.outputs.toJSON();", index))

    def save(self) -> None:
        """Save the file."""
        self.in_panel("await panel.context.save();")

    def restart(self) -> None:
        """Restart the kernel without Lab's question."""
        self.in_panel("await panel.sessionContext.session.kernel.restart();")

    def kernel_id(self) -> str:
        """Id of the kernel, as `api/kernels` lists it."""
        return str(self.in_panel("return panel.sessionContext.session.kernel.id;"))

    def reload(self) -> None:
        """Load the page again, as a person does with F5."""
        self.page.reload()
        self.ready()
