"""A run as it trains: curves, samples, how far it is, and Stop.

The live curve is our own small chart (uPlot) and no plotly FigureWidget: at 100,000 points on two cores the
first kept 46 updates a second without a long task, the second 4 with 7 s of them, and it brings 5 MB of script
in every copy and every saved notebook (plotly 7.1, uPlot 1.6, JupyterLab 4.6, headless Chromium 156).
"""

import threading
from collections.abc import Sequence
from html import escape
from typing import Any, Protocol

import traitlets

from ftlab.answers import said
from ftlab.events import Event
from ftlab.picture import Line, image
from ftlab.widgets.presence import Presence
from ftlab.widgets.story import Series, Story
from ftlab.widgets.widget import LabWidget

POLL_SECONDS = 0.2  # five pictures a second; one is at most some 100 kB
OVER = ("finished", "stopped", "diverged", "failed")
_PICTURED = ("Loss", "Rewards", "Preferred the chosen")  # the panels of the static twin


class Watchable(Protocol):
    """What a view asks of a run; `ftlab.Run` is one."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    def events(self, offset: int = 0) -> tuple[Sequence[Event], int]: ...
    def stop(self) -> object: ...
    def wait(self, timeout: float | None = None) -> object: ...


class RunView(LabWidget):
    """The whole picture of a run, live; `RunView(Run.open("tour-sft"))` finds it again after a restart.

    A view like any other: `update(events)` draws more of the run, and any batching gives one picture. Where
    nobody can click, showing it waits for the run to end and leaves the curve as a picture.
    """

    stem = "run_view"

    name = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("created").tag(sync=True)
    """created, starting, running, stopping, finished, stopped, diverged or failed."""
    reason = traitlets.Unicode("").tag(sync=True)
    """Why it ended, for a person to read."""
    can_resume = traitlets.Bool(False).tag(sync=True)
    """Whether the run knows how to go on from its last checkpoint."""
    series: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{name, label, panel, unit, kind, length}]: what lies behind each other in `steps` and `values`."""
    steps = traitlets.Bytes(b"").tag(sync=True)
    """int32, little-endian, all series one after the other."""
    values = traitlets.Bytes(b"").tag(sync=True)
    """float32, little-endian; NaN is a figure that was not a number."""
    progress = traitlets.Dict().tag(sync=True)
    """step, total_steps, epoch, seconds, eta_seconds, tokens_per_second, memory_mib, peak_memory_mib, best_step and
    best_loss (of the evaluations); without the unknown."""
    facts = traitlets.Dict().tag(sync=True)
    """What was chosen for the hardware found, as text."""
    samples: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{prompt: messages, texts: [{step, text}]}], in order of step."""
    notes: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{level, text}], the latest last."""

    def __init__(self, run: Watchable) -> None:
        super().__init__(name=run.name, can_resume=hasattr(run, "resume"))
        self._run = run
        self._story = Story()
        self._offset = 0
        self._is_stop_asked = False
        self._presence = Presence()
        self._follower: threading.Thread | None = None
        self._pause = threading.Event()
        self.poll()
        self._follow()

    def update(self, events: Sequence[Event]) -> None:
        """Draws more of the run; the picture depends on the events alone, not on how they were handed over."""
        with self._together():
            for event in events:
                self._story.add(event)
            self._show()
            self._set_status(self._story.status)

    def poll(self) -> bool:
        """Reads and draws what is new; False once the run is over and all of it is drawn."""
        with self._together():
            status = (
                self._run.status
            )  # asked before reading, so that a dying trainer's last lines still count
            events, self._offset = self._run.events(self._offset)
            if events:
                self.update(events)
            is_told = self._story.ended is not None and status not in OVER
            self._set_status(self._story.status if is_told else status)
            return bool(events) or self.status not in OVER

    def _set_status(self, status: str) -> None:
        """Also says "stopping" between the wish and the end."""
        if status in OVER:
            self._is_stop_asked = False
            ended = self._story.ended
            self.reason = ended.reason if ended is not None else self._run.reason
        else:
            self.reason = ""
        self.status = "stopping" if self._is_stop_asked else status

    def _show(self) -> None:
        series = self._story.series()
        packed = [one.curve.packed() for one in series]
        self.series = [
            {
                "name": one.name,
                "label": one.label,
                "panel": one.panel,
                "unit": one.unit,
                "kind": one.kind,
                "length": len(steps) // 4,
            }
            for one, (steps, _) in zip(series, packed, strict=True)
        ]
        self.steps = b"".join(steps for steps, _ in packed)
        self.values = b"".join(values for _, values in packed)
        self.progress = self._story.progress()
        self.facts = self._story.facts()
        self.samples = self._story.samples()
        self.notes = self._story.notes()

    def _follow(self) -> None:
        """Draws in the background until the run is over; nothing to do where no page is."""
        if self.comm is None or (self._follower is not None and self._follower.is_alive()):
            return
        if self.status not in OVER:
            self._follower = threading.Thread(target=self._watch, name=f"view of {self.name}", daemon=True)
            self._follower.start()

    def _watch(self) -> None:
        try:
            while self.comm is not None:
                self._presence.wait()
                if not self.poll():
                    return
                self._pause.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
            self._report(error)

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A page is there; a run that was resumed meanwhile is followed again."""
        self._presence.hear()
        if self._follower is None or not self._follower.is_alive():
            self.poll()
            self._follow()
        return super()._do_hello(message)

    def _do_stop(self, _message: dict[str, Any]) -> None:
        """Asks the trainer to finish its step, save and end."""
        if self.status in OVER:
            return
        self._run.stop()
        self._is_stop_asked = True
        self.status = "stopping"

    def _do_resume(self, _message: dict[str, Any]) -> None:
        """Goes on from the last checkpoint."""
        self._run.resume()  # type: ignore[attr-defined]  # offered only where `can_resume`
        self.error = ""
        self.poll()
        self._follow()

    def _settle(self) -> None:
        if self._run.status != "created":  # one that nobody started would be waited for in vain
            self._run.wait()
        while self.poll() and self.status in OVER:
            pass  # what was written while the last lines were read

    def _summary(self) -> str:
        step, total = self.progress.get("step", 0), self.progress.get("total_steps", "?")
        return f"RunView {self.name}: {self.status}, step {step} of {total}"

    def _twin(self) -> str:
        series = self._story.series()
        pictures = "".join(
            _picture(self.name, panel, [one for one in series if one.panel == panel])
            for panel in _PICTURED
            if any(one.panel == panel for one in series)
        )
        notes = "".join(
            f"<li>{escape(note['text'])}</li>" for note in self.notes if note["level"] == "warning"
        )
        return (
            f'<div style="max-width:760px"><p><b>{escape(self.name)}</b>: {escape(self.status)}'
            f"{escape(f' ({self.reason})' if self.reason else '')}</p>"
            f"{_table(_progress_rows(self.progress))}{pictures}"
            f"{f'<p>Warnings</p><ul>{notes}</ul>' if notes else ''}{_samples_table(self.samples)}"
            f"<details><summary>What was chosen</summary>{_table(list(self.facts.items()))}</details></div>"
        )


def _picture(name: str, panel: str, series: list[Series]) -> str:
    """One panel as an image, with its first and last figures as the words for who cannot see it."""
    lines, told = [], []
    for one in series:
        points = one.curve.points()
        lines.append(
            Line(one.label, [s for s, _ in points], [v for _, v in points], points=one.kind == "points")
        )
        if points:
            (first, start), (last, end) = points[0], points[-1]
            told.append(f"{one.label} {start:.4g} at step {first}, {end:.4g} at step {last}")
    unit = series[0].unit
    alt = f"{panel} of {name}: {'; '.join(told)}{f' ({unit})' if unit else ''}"
    return image(lines, title=f"{panel}, {name}", x_label="step", y_label=unit, alt=alt)


def _progress_rows(progress: dict[str, Any]) -> list[tuple[str, str]]:
    rows = {
        "step": f"{progress.get('step', 0):,} of {progress.get('total_steps', 0):,}",
        "epoch": f"{progress['epoch']:.3g}" if "epoch" in progress else "",
        "time": f"{progress['seconds']:.1f} s" if "seconds" in progress else "",
        "speed": f"{progress['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in progress else "",
        "peak memory": f"{progress['peak_memory_mib']:,.0f} MiB" if "peak_memory_mib" in progress else "",
        "best evaluation": (
            f"{progress['best_loss']:.4g} nats at step {progress['best_step']:,}"
            if "best_loss" in progress
            else ""
        ),
    }
    return [(name, text) for name, text in rows.items() if text]


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><td style="text-align:left">{escape(name)}</td><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f"<table><tbody>{cells}</tbody></table>" if rows else ""


def _samples_table(samples: list[dict[str, Any]]) -> str:
    """Each fixed prompt with its first and its latest answer."""
    if not samples:
        return ""
    left = 'style="text-align:left;vertical-align:top;white-space:pre-wrap"'
    rows = "".join(
        f"<tr><td {left}>{escape(said(sample['prompt']))}</td>"
        + "".join(
            f"<td {left}><small>step {text['step']}</small><br>{escape(text['text'])}</td>"
            for text in (sample["texts"][0], sample["texts"][-1])
        )
        + "</tr>"
        for sample in samples
    )
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("prompt", "first", "latest"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
