"""One real JupyterLab for the module, and a browser that looks at notebooks written for a single test."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftlab import warm
from ftlab.bench.jupyter import Notebook, Server, browser, jupyter, write_notebook

PATIENCE_MS = 60_000
"""A cell that trains or loads torch may take its time on a busy machine; nothing here waits longer than it must."""

HARMLESS = [
    # Lab asks for the workspace that `?reset` has just made anew.
    re.compile(r"Failed to load resource: .* 404 .*/api/workspaces/"),
    # Lab's own requests that were under way when a test restarted, killed or left the kernel.
    re.compile(r"Canceled future for \w+ message before replies were done"),
    # Chromium has no GPU here, and says so.
    re.compile(r"GPU stall due to ReadPixels"),
]


class Book(Notebook):
    """A notebook whose cells must not fail, and whose page must not complain."""

    def __init__(self, page: Any, server: Server, name: str) -> None:
        super().__init__(page, server, name)
        self.requests: list[str] = []
        page.on("console", self._hear)
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: Any) -> None:
        told = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(known.search(told) for known in HARMLESS):
            self.errors.append(told)

    def run(self, index: int, *, wait: bool = True) -> None:
        super().run(index, wait=wait)
        if wait:
            failed = [one for one in self.outputs(index) if one["output_type"] == "error"]
            assert not failed, "\n".join(failed[0]["traceback"])

    def printed(self, index: int) -> str:
        """What a cell has printed."""
        return "".join(part["text"] for part in self.outputs(index) if part["output_type"] == "stream")

    def sources(self) -> list[list[str]]:
        """Kind and text of every cell: what a stray shortcut of the notebook would change."""
        cells = "panel.content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.source])"
        return self.in_panel(f"return {cells};")

    def settle(self) -> None:
        """After a kernel's death: wait until Lab has started another one, and put its message away."""
        self.page.locator(".jp-Dialog").get_by_role("button").first.click()
        self.in_panel("await panel.sessionContext.session.kernel.info;")

    def text(self, selector: str) -> str:
        """The text at the first place that fits."""
        return str(self.page.locator(selector).first.inner_text())

    def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a JavaScript condition holds."""
        self.page.wait_for_function(condition, arg=argument)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab on a folder, with settings and an FTLAB_HOME of its own."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / ".jupyter").mkdir()
    patch = pytest.MonkeyPatch()
    with patch.context() as environment, jupyter(folder) as started:
        environment.setenv("FTLAB_HOME", str(started.home))
        yield started
        warm.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(autouse=True)
def own_home(server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test looks into the home that the kernels write to."""
    monkeypatch.setenv("FTLAB_HOME", str(server.home))
    return server.home


@pytest.fixture
def open_book(server: Server, chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Book]]:
    """`open_book(*cells)`: a notebook of these cells in a page of its own; at the end nothing may have gone wrong there."""
    books: list[Book] = []

    def make(*cells: str) -> Book:
        name = f"{re.sub(r'[^a-z0-9]+', '-', request.node.name)[:60]}-{len(books)}.ipynb"
        write_notebook(server.folder / name, cells)
        context = chromium.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(PATIENCE_MS)
        books.append(Book(context.new_page(), server, name))
        books[-1].page.goto(server.link(name))
        books[-1].ready()
        return books[-1]

    yield make
    errors = [error for book in books for error in book.errors]
    for book in books:
        book.in_panel("await panel.sessionContext.shutdown();")
        book.page.context.close()
    assert not errors, "\n".join(errors)
