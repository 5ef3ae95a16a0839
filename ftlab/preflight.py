"""Before the start: what is wrong with a configuration, what it takes, and what would fit where it does not."""

import contextlib
import html
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ftlab.config import RunConfig
from ftlab.errors import RunError
from ftlab.events import Ended, Measured, Started
from ftlab.methods import footprint
from ftlab.methods.footprint import Setting, Shape, Weights
from ftlab.run import Run, runs
from ftlab.warm import Replies, request

Level = Literal["error", "warning", "note"]
Origin = Literal["probe", "earlier runs", "estimate"]
_SOURCES: dict[Origin, str] = {
    "probe": "measured on a few steps",
    "earlier runs": "as earlier runs took",
    "estimate": "reckoned, not measured",
}

FITS = 0.95  # of the memory that is free: the rest is for the system, and for what a forecast is wrong by
LOOKED_THROUGH = 50  # earlier runs
ENOUGH_STEPS = 10  # of an earlier run, to go by its pace
MARKS = {"error": "✗", "warning": "!", "note": "·"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know before the start. `field` is the path in the configuration that it is about."""

    level: Level
    field: str
    text: str


@dataclass(frozen=True)
class Preflight:
    """What was found. A figure is None where a fault, told in `findings`, left nothing to compute it from."""

    findings: list[Finding] = field(default_factory=list)
    trained: int | None = None
    """Numbers that learn."""
    parameters: int | None = None
    """Numbers in the model, adapter included."""
    rows: int | None = None
    """Training rows left after rendering."""
    tokens: int | None = None
    """In one pass over the rows."""
    steps: int | None = None
    """Optimiser steps of the whole run."""
    memory_mib: float | None = None
    """The most that the training process will hold, libraries included."""
    available_mib: float | None = None
    """The most that such a process may hold here now."""
    seconds: float | None = None
    """From the start to the end, loading, evaluating and saving included."""
    source: Origin | None = None
    """Where the figures come from: steps that were tried, earlier runs of the same kind, or arithmetic."""
    advice: list[str] = field(default_factory=list)
    """What would fit, each with its memory; empty where the run fits."""

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def fits(self) -> bool:
        """Whether memory is known to be enough."""
        return (
            self.memory_mib is not None
            and self.available_mib is not None
            and self.memory_mib <= FITS * self.available_mib
        )

    @property
    def ready(self) -> bool:
        """Whether nothing speaks against starting."""
        return not self.errors and self.fits

    def to_dict(self) -> dict[str, Any]:
        """Every field, and the verdicts."""
        return asdict(self) | {"fits": self.fits, "ready": self.ready}

    def __str__(self) -> str:
        lines = [f"{MARKS[one.level]} {one.level:7} {one.field}: {one.text}" for one in self.findings]
        lines += [f"{name:9} {value}" for name, value in self._told()]
        lines += [f"  try     {one}" for one in self.advice]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._told()
        )
        items = "".join(
            f"<li><b>{one.level}</b> <code>{html.escape(one.field)}</code> {html.escape(one.text)}</li>"
            for one in self.findings
        )
        advice = "".join(f"<li>{html.escape(one)}</li>" for one in self.advice)
        return f"<ul>{items}</ul><table>{rows}</table>" + (
            f"<p>What would fit:</p><ul>{advice}</ul>" if advice else ""
        )

    def _told(self) -> list[tuple[str, str]]:
        told = []
        source = f" ({_SOURCES[self.source]})" if self.source else ""
        if self.parameters is not None and self.trained is not None:
            share = self.trained / self.parameters
            told.append(("learns", f"{self.trained:,} of {self.parameters:,} numbers ({share:.2%})"))
        if self.rows is not None and self.tokens is not None:
            steps = f", {self.steps:,} steps" if self.steps is not None else ""
            told.append(("data", f"{self.rows:,} rows, {self.tokens:,} tokens{steps}"))
        if self.memory_mib is not None and self.available_mib is not None:
            verdict = "fits" if self.fits else "does not fit"
            told.append(
                (
                    "memory",
                    f"{verdict}: {self.memory_mib:,.0f} MiB of {self.available_mib:,.0f} MiB{source}",
                )
            )
        if self.seconds is not None:
            told.append(("time", f"about {_duration(self.seconds)}{source}"))
        return told


def check(config: RunConfig | None = None, /, *, probe: bool = True, **fields: Any) -> Preflight:
    """Looks at a configuration as `launch` takes it, in a process of its own, and trains nothing.

    With `probe`, a few real steps are tried there and thrown away: a second or two for a small model, up to ten for
    a large one, none where an earlier run of the same kind tells as much. Raises ConfigError where the fields are
    no configuration, and RunError where no process can be had.
    """
    asked = (RunConfig(**fields) if config is None else config.with_(fields)).anchored()
    twin = _twin(asked)
    findings, figures = _inspected(asked, probe=probe and twin is None)
    if figures is None:
        return Preflight(findings)
    shape, setting = Shape(**figures["shape"]), Setting(**figures["setting"])
    memory, seconds, source = figures["memory_mib"], _seconds(asked, figures), figures["source"]
    if twin is not None and twin.rows == figures["rows"]:
        memory, seconds, source = twin.memory_mib, twin.seconds(figures["steps"]), "earlier runs"
        figures |= {"trained": twin.trained, "parameters": twin.parameters}
    found = Preflight(
        findings + _disk(asked, figures),
        trained=figures["trained"],
        parameters=figures["parameters"],
        rows=figures["rows"],
        tokens=figures["tokens"],
        steps=figures["steps"],
        memory_mib=round(memory, 1),
        available_mib=round(figures["available_mib"], 1),
        seconds=round(seconds, 1),
        source=source,
    )
    if found.fits:
        return found
    offset = memory - footprint.memory_mib(shape, setting, libraries=figures["libraries_mib"])
    advice = _advice(asked, shape, setting, figures["libraries_mib"] + max(0.0, offset), figures)
    text = f"takes about {memory:,.0f} MiB, and {figures['available_mib']:,.0f} MiB are free" + (
        "" if advice else "; a smaller model, or a machine with more memory, is what is left"
    )
    return replace(found, findings=[*found.findings, Finding("error", "model", text)], advice=advice)


def _inspected(config: RunConfig, *, probe: bool) -> tuple[list[Finding], dict[str, Any] | None]:
    """What the other process found, and its figures where there are any."""
    findings: list[Finding] = []
    figures: dict[str, Any] | None = None
    message = {"do": "check", "config": config.to_dict(), "probe": probe}
    with contextlib.closing(_alive(request(message), findings)) as replies:
        for reply in replies:
            if "finding" in reply:
                findings.append(Finding(**reply["finding"]))
            elif "figures" in reply:
                figures = reply["figures"]
            elif "error" in reply:
                raise RunError(f"the configuration could not be looked at: {reply['kind']}: {reply['error']}")
    return findings, figures


def _alive(replies: Replies, findings: list[Finding]) -> Replies:
    """The replies; where their process dies on the way, which only a trial gives it reason to, a finding says so."""
    has_begun = False
    try:
        with contextlib.closing(replies):
            for reply in replies:
                has_begun = True
                yield reply
    except RunError:
        if not has_begun and not findings:
            raise
        text = "the first steps end the process that tries them, as the system does when memory runs out"
        findings.append(Finding("error", "method", text))


def _seconds(config: RunConfig, figures: dict[str, Any]) -> float:
    """The whole run, from what its parts take."""
    steps = figures["steps"]
    every = config.evaluate.every_steps or max(1, steps // 10)
    looks = steps // every + (1 if steps % every else 0)
    saves = steps // config.checkpoint.every_steps if config.checkpoint.every_steps else 0
    moments = figures["trained"] * 8 / 300e6
    return float(
        figures["loading_seconds"]
        + steps * figures["step_seconds"]
        + looks * figures["evaluating_seconds"]
        + (1 + saves) * figures["saving_seconds"]
        + saves * moments
    )


def _disk(config: RunConfig, figures: dict[str, Any]) -> list[Finding]:
    """Whether the result and its checkpoints have room."""
    model = figures["saved_bytes"]
    kept = (
        config.checkpoint.keep + 1 if config.checkpoint.every_steps else 1
    )  # the next is written before one goes
    whole = model + kept * (model + footprint.MOMENTS * figures["trained"])
    free = figures["free_bytes"]
    if model >= free:
        text = (
            f"the result takes {_mib(model)} MiB, and {_mib(free)} MiB of the disk are free; make room there"
        )
        return [Finding("error", "checkpoint", text)]
    if whole >= free:
        text = (
            f"checkpoints and result take up to {_mib(whole)} MiB, and {_mib(free)} MiB of the disk are free; make room, "
            f"or keep fewer (checkpoint.keep is {config.checkpoint.keep})"
        )
        return [Finding("warning", "checkpoint", text)]
    return []


def _advice(
    config: RunConfig, shape: Shape, setting: Setting, libraries: float, figures: dict[str, Any]
) -> list[str]:
    """Settings that would fit, the least change first, each with what it would take."""
    room = FITS * figures["available_mib"]

    def takes(**changes: Any) -> float:
        return footprint.memory_mib(shape, replace(setting, **changes), libraries=libraries)

    ways: list[tuple[str, float]] = []
    micro = int(config.trainer.get("per_device_train_batch_size", config.batch_size))  # type: ignore[arg-type]
    smaller = micro
    while smaller > 1:
        smaller //= 2
        memory = takes(tokens=max(1, setting.tokens * smaller // micro))
        if memory <= room or smaller == 1:
            accumulated = -(-config.batch_size // smaller)
            text = (
                f"trainer.per_device_train_batch_size={smaller} with trainer.gradient_accumulation_steps={accumulated}: "
                "the same steps, in smaller parts"
            )
            ways.append((text, memory))
            break
    if not setting.checkpointing:
        text = "trainer.gradient_checkpointing=true: a third more time"
        ways.append((text, takes(checkpointing=True)))
    if config.data.max_length > 64:
        half = config.data.max_length // 2
        tokens = min(setting.tokens, half * micro)
        ways.append((f"data.max_length={half}: longer rows are cut there", takes(tokens=tokens)))
    if setting.trained >= shape.parameters and config.method.kind in {"sft", "dpo", "reward"}:
        low = min(setting.trained, 16 * shape.layers * (4 * shape.width + 3 * (shape.width + shape.inner)))
        name = "method=lora" if config.method.kind == "sft" else "method.adapter={}"
        frozen: Weights = "bfloat16" if setting.short_products else setting.weights
        ways.append((f"{name}: an adapter learns beside frozen weights", takes(trained=low, weights=frozen)))
        ways.append(
            (
                "method=lora, trainer.per_device_train_batch_size=1, trainer.gradient_checkpointing=true",
                takes(
                    trained=low, weights=frozen, tokens=max(1, setting.tokens // micro), checkpointing=True
                ),
            )
        )
        if config.method.kind == "sft":
            ways.append(("method=qlora: the frozen weights in four bits", takes(trained=low, weights="nf4")))
            ways.append(
                (
                    "method=qlora, trainer.per_device_train_batch_size=1, trainer.gradient_checkpointing=true",
                    takes(
                        trained=low, weights="nf4", tokens=max(1, setting.tokens // micro), checkpointing=True
                    ),
                )
            )
    elif config.method.kind == "lora" and setting.weights != "nf4":
        ways.append(("method=qlora: the frozen weights in four bits", takes(weights="nf4")))
    return [f"{text} (about {memory:,.0f} MiB)" for text, memory in ways if memory <= room]


@dataclass(frozen=True)
class _Earlier:
    """What a run of the same kind took."""

    parameters: int
    trained: int
    rows: int
    memory_mib: float
    fixed_seconds: float
    step_seconds: float

    def seconds(self, steps: int) -> float:
        return self.fixed_seconds + steps * self.step_seconds


def _twin(config: RunConfig) -> _Earlier | None:
    """The newest run that differs only in what changes neither memory nor pace."""
    for run in runs()[:LOOKED_THROUGH]:
        try:
            same = _kind(run.config) == _kind(config)
        except RunError:
            continue  # a broken folder, which `runs()` lists as well
        if same and (earlier := _taken(run)) is not None:
            return earlier
    return None


def _kind(config: RunConfig) -> dict[str, Any]:
    free = ("name", "epochs", "max_steps", "learning_rate", "schedule", "warmup", "weight_decay", "seed")
    kept = {name: value for name, value in config.to_dict().items() if name not in free}
    kept["method"].pop("learning_rate", None)
    return kept


def _taken(run: Run) -> _Earlier | None:
    """None where it did not get far enough to go by."""
    events, _ = run.events()
    starts = [event for event in events if isinstance(event, Started)]
    steps = [event for event in events if isinstance(event, Measured)]
    ends = [event for event in events if isinstance(event, Ended)]
    if (
        len(starts) != 1
        or len(steps) < ENOUGH_STEPS
        or not ends
        or ends[-1].status not in {"finished", "stopped"}
    ):
        return None
    memory = [event.values.get("memory_mib") or 0.0 for event in steps]
    pace = (steps[-1].time - steps[0].time) / (len(steps) - 1)
    launched = (
        (run.folder / "process.json").stat().st_mtime
        if (run.folder / "process.json").is_file()
        else starts[0].time
    )
    fixed = (steps[0].time - launched) - pace + (ends[-1].time - steps[-1].time)
    return _Earlier(
        starts[0].parameters, starts[0].trained, starts[0].rows, max(memory), max(0.0, fixed), pace
    )


def _mib(size: float) -> str:
    return f"{size / footprint.MIB:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
