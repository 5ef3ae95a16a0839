"""A notebook run headless: with parameters that are checked, and a verdict on what really ran.

papermill executes; this module adds what it leaves out: an unknown or ill-typed parameter is an error, an
output file is whole or absent, and a cell that never ran is never taken for one that did.
"""

import ast
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ftlab.errors import FtlabError

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"


@dataclass(frozen=True)
class Execution:
    """What became of a notebook: `error` is empty when every code cell ran to its end."""

    output: Path
    cells: int
    ran: int
    error: str

    @property
    def complete(self) -> bool:
        return not self.error and self.ran == self.cells


def execute(
    path: str | Path,
    output: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout_seconds: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Execution:
    """Run `path` from top to bottom into `output`, which appears only when the run is over, failed or not.

    `environment` is set for the kernel on top of this process's own. Raises FtlabError for a missing
    notebook and for parameters that the notebook's `parameters` cell doesn't have or has with another type.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    path, output = Path(path), Path(output)
    if not path.is_file():
        raise FtlabError(f"{path}: no such notebook")
    parameters = dict(parameters or {})
    check_parameters(path, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".ipynb", dir=output.parent)
    os.close(handle)
    partial = Path(name)
    error = ""
    try:
        with with_environment({"FTLAB_FRONTEND": "static", **(environment or {})}):
            papermill.execute_notebook(
                str(path),
                str(partial),
                parameters=parameters,
                cwd=str(path.parent),
                kernel_name="python3",
                progress_bar=False,
                store_widget_state=False,
                execution_timeout=timeout_seconds,
                autosave_cell_every=0,
            )
    except papermill.PapermillExecutionError as failure:
        error = f"cell {failure.cell_index}: {failure.ename}: {failure.evalue}"
    except (DeadKernelError, CellTimeoutError) as failure:
        error = f"{type(failure).__name__}: {str(failure).strip().splitlines()[0]}"
    except OSError as failure:
        partial.unlink()  # half a notebook; the last whole one stays
        raise FtlabError(
            f"{output}: cannot be written: {failure.strerror or failure}; make room there"
        ) from failure
    finally:
        if partial.exists() and partial.stat().st_size:
            partial.replace(output)
        else:
            partial.unlink(missing_ok=True)
    cells = _code_cells(output)
    ran = sum(cell.get("execution_count") is not None for cell in cells)
    if not error and ran < len(cells):
        error = f"{len(cells) - ran} of {len(cells)} code cells never ran"
    return Execution(output, len(cells), ran, error)


def check_parameters(path: Path, given: Mapping[str, Any]) -> None:
    """Raise FtlabError where `given` has a name or a type that the parameters cell of `path` doesn't."""
    import papermill

    # papermill warns of a parameters cell it can't fully read; names are still found
    logging.getLogger("papermill").setLevel(logging.ERROR)
    known = papermill.inspect_notebook(str(path))
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {sorted(known)}"
            raise FtlabError(f"{path.name} has no parameter {name!r}{hint}")
        default = _literal(known[name]["default"])
        if default is None or value is None:
            continue
        numbers = isinstance(default, int | float) and isinstance(value, int | float)
        booleans = isinstance(default, bool), isinstance(value, bool)
        if booleans[0] != booleans[1] or not (numbers or isinstance(value, type(default))):
            wanted = type(default).__name__
            raise FtlabError(f"parameter {name!r} of {path.name} wants {wanted}, got {value!r}")


def to_html(notebook: str | Path, output: str | Path) -> Path:
    """Write an executed notebook as one web page that needs neither network nor JavaScript, and runs none."""
    import nbformat
    from nbconvert import HTMLExporter

    node = nbformat.read(str(notebook), as_version=4)
    node.metadata.pop("widgets", None)
    page, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(node)
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    page = page.replace("<head>", head, 1)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(output)
    return output


def chapters() -> dict[str, Path]:
    """Name -> path of the notebooks that come with ftlab, by chapter."""
    package = Path(__file__).parent
    for folder in (package.parent / "notebooks", package / "notebooks"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    return {}


def _code_cells(path: Path) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [
        cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]


def _literal(text: str) -> Any:
    """The value of a default as papermill reports it, or None where it isn't a literal."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None


@contextmanager
def with_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for child processes, and put the old ones back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
