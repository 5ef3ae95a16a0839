"""A run as a script without the lab: the same rows, model and settings, written with TRL and PEFT alone.

text.py      imports, constants and blocks put together
plan.py      what the script needs to know of a configuration: folders, rows, TRL's settings
learning.py  the blocks of each method
pieces.py    functions that they are put together from
"""

from pathlib import Path

from ftlab.config import RunConfig
from ftlab.scripts.learning import written
from ftlab.scripts.plan import Plan


def eject(config: RunConfig, path: Path | str | None = None) -> str:
    """The text of a script that does the run; with `path` it is saved there, its rows as JSON lines beside it.

    What TRL and PEFT do not have (DyLoRA, MiniLLM, context distillation by odds) is left to ftlab, and the script
    says so. Raises DataError or ModelError where rows or model cannot be had.
    """
    plan = Plan(config.anchored(), None if path is None else Path(path))
    text = written(plan)
    if plan.path is not None:
        plan.save_rows()
        plan.path.parent.mkdir(parents=True, exist_ok=True)
        plan.path.write_text(text, "utf-8")
    return text


__all__ = ["eject"]
