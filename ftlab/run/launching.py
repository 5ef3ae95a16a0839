"""From a configuration to a run that is on its way, in one go."""

from typing import Any

from ftlab.config import RunConfig
from ftlab.process import read_json
from ftlab.run import shelf
from ftlab.run.run import Run


def launch(config: RunConfig | None = None, /, *, queue: bool = False, **fields: Any) -> Run:
    """Creates and starts: `launch(method="lora", model="wren", epochs=2)`, or a RunConfig with fields to replace.

    With a name, a run that was launched under it with the same configuration on the same data is given back as it
    stands, going on or over, so that a cell finds its run again after a restart of the kernel; where the name was
    given to another run, this one is called NAME-2, -3… `queue`: it waits in line for the trainings before it.
    """
    chosen = RunConfig(**fields) if config is None else config.with_(fields)
    if not chosen.name:
        return _begin(Run.create(chosen), queue=queue)
    for name in shelf.numbered(chosen.name):
        named = chosen.with_(name=name)
        if not (shelf.runs_folder() / name).exists():
            return _begin(Run.create(named), queue=queue)
        run = Run.open(name)
        if _is_of(run, named.anchored()):
            return _begin(run, queue=queue) if run.status == "created" else run
    raise AssertionError  # there is always another number


def _begin(run: Run, *, queue: bool) -> Run:
    return run.enqueue() if queue else run.start()


def _is_of(run: Run, config: RunConfig) -> bool:
    """Whether the run was made of this configuration and these data."""
    is_same = run.config.to_dict() == config.to_dict()
    return is_same and read_json(run.folder / shelf.DATA) == shelf.data_hashes(config)
