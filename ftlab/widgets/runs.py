"""Every run of the home in one table, and any of them over each other."""

import threading
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import traitlets

from ftlab.differences import ABSENT, differences
from ftlab.errors import RunError
from ftlab.widgets import sheet, versus
from ftlab.widgets.glance import Glance
from ftlab.widgets.listed import Entry, Listed
from ftlab.widgets.presence import Presence
from ftlab.widgets.run_view import RunView
from ftlab.widgets.story import plain
from ftlab.widgets.versus import Course
from ftlab.widgets.widget import LabWidget

POLL_SECONDS = 1.0
REST_SECONDS = 5.0  # between two looks at runs that are over: somebody may resume or delete them elsewhere
MOST_COMPARED = 10
SKIMMED_CURVE = (
    400  # events of a first look: 10 runs of 100,000 steps are drawn at once, and in full a little later
)


class Runs(LabWidget):
    """The table of all runs, live: stop, resume, queue, clone, delete, and compare those that are ticked.

    `Runs()` shows this home's; `Runs(source)` what the function gives, newest first, as `ftlab.runs` does. selected:
    names of 2 to 10 runs to compare from the start. A run that somebody opens is shown below, and `chosen` is its name,
    to be observed: `table.observe(show, "chosen")`. Where nobody can click the table is left as it stands.
    """

    stem = "runs"

    rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{name, created, method, model, data, status, reason, position}], and the figures of `live` for what rests;
    status as `Run.status`, or "stopping" between the wish and the end."""
    live = traitlets.Dict().tag(sync=True)
    """{name: {step, total, loss, eval_loss, spark, seconds, memory, eta}} of those that train now."""
    chosen = traitlets.Unicode("").tag(sync=True)
    """The run that was opened last."""
    view = traitlets.Unicode("").tag(sync=True)
    """The model id of the RunView of the opened run; empty where none is open."""
    selected: traitlets.List[str] = traitlets.List().tag(sync=True)
    """Names of the runs that are compared, in the order in which they were ticked."""
    metric = traitlets.Unicode(versus.FIRST).tag(sync=True)
    """Which figure the curves show."""
    metrics: traitlets.List[dict[str, str]] = traitlets.List().tag(sync=True)
    """[{name, label, panel, unit}]: the figures that there are."""
    curves: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{run, kind, unit, length}]: what lies behind each other in steps, values, tokens and seconds."""
    steps = traitlets.Bytes(b"").tag(sync=True)
    """int32, little-endian."""
    values = traitlets.Bytes(b"").tag(sync=True)
    """float32, little-endian; NaN is a figure that was not a number."""
    tokens = traitlets.Bytes(b"").tag(sync=True)
    """float32, little-endian: trained on up to that step."""
    seconds = traitlets.Bytes(b"").tag(sync=True)
    """float32, little-endian: of training up to that step."""
    differences: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{path, values}]: the fields that are not the same in all, as text in the order of `selected`."""
    answers: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{prompt, runs: {name: [{step, text}]}}]."""

    def __init__(
        self, source: Callable[[], Sequence[Listed]] | None = None, *, selected: Iterable[str | Listed] = ()
    ) -> None:
        # By name: a view knows runs by what they can do, not by where they come from.
        self._source = source or import_module("ftlab.run").runs
        self._entries: dict[str, Entry] = {}
        self._courses: dict[str, tuple[Course, int | None]] = {}
        self._opened: RunView | None = None
        self._presence = Presence()
        self._nudged = threading.Event()
        self._watcher: threading.Thread | None = None
        self._rested = 0.0
        super().__init__()
        self.refresh()
        if names := [one if isinstance(one, str) else one.name for one in selected]:
            self.compare(names)
        self._watch_on()

    # what is shown

    def refresh(self, *, all_of_them: bool = True) -> None:
        """Looks at the runs and draws them; without `all_of_them` only at those that can change by themselves."""
        with self._lock:
            found = {run.name: run for run in self._source()}
            entries = {}
            for name, run in found.items():
                entry = self._entries.get(name)
                if entry is None or entry.created != run.created:
                    entry = Entry(run)
                    self._courses.pop(name, None)
                if all_of_them or not entry.is_settled:
                    entry.look()
                entries[name] = entry
            self._entries = entries
            gone = [name for name in self.selected if name not in entries]
            with self._together():
                self._draw()
                if self._opened is not None and self._opened.name not in entries:
                    self._open(None)
                if gone:
                    self._select([name for name in self.selected if name in entries])

    def compare(self, names: Sequence[str]) -> None:
        """Shows 2 to 10 runs over each other; fewer: none. Raises RunError for one that is not there, or too many."""
        with self._lock:
            if unknown := [name for name in names if name not in self._entries]:
                raise RunError(f"no run {unknown[0]!r}; there are: {', '.join(self._entries) or 'none yet'}")
            if len(set(names)) > MOST_COMPARED:
                raise RunError(f"{len(names)} runs are too many for one picture; {MOST_COMPARED} at most")
            with self._together():
                self._select(list(dict.fromkeys(names)))
        self._nudged.set()

    def _draw(self) -> None:
        rows, live = [], {}
        for name, entry in self._entries.items():
            figures = entry.glance.told()
            if entry.is_alive:
                live[name] = figures
                rows.append(entry.told())
            else:
                figures.pop("eta", None)
                rows.append(entry.told() | figures)
        self.rows, self.live = rows, live

    def _select(self, names: list[str]) -> None:
        self.selected = names
        self._courses = {name: course for name, course in self._courses.items() if name in names}
        for name in names:
            if name not in self._courses:
                events, offset = self._entries[name].run.skim(SKIMMED_CURVE)
                self._courses[name] = (Course(events), offset)
        self._draw_compared()

    def _draw_compared(self) -> None:
        if len(self.selected) < 2:
            self.curves, self.differences, self.answers, self.metrics = [], [], [], []
            return
        courses = {name: self._courses[name][0] for name in self.selected}
        self.metrics = versus.metrics(courses.values())
        names = [one["name"] for one in self.metrics]
        if names and self.metric not in names:
            self.metric = names[0]
        for trait, value in versus.curves(courses, self.metric).items():
            setattr(self, trait, value)
        self.answers = versus.answers(courses)
        self.differences = self._differences()

    def _differences(self) -> list[dict[str, Any]]:
        configs = []
        for name in self.selected:
            try:
                configs.append(self._entries[name].run.config.to_dict() | {"name": ""})
            except RunError:
                configs.append({})  # broken
        return [
            {"path": path, "values": [_word(value) for value in values]}
            for path, values in differences(configs).items()
        ]

    def _go_on(self) -> bool:
        """Takes in more of one compared run, or of one that was only skimmed; whether there was anything new.

        The files may be long, so they are read without the lock; only one thread does this.
        """
        with self._lock:
            compared = [(name, *self._courses[name]) for name in self._courses if name in self._entries]
            entries = self._entries
            rough = next((entry for entry in self._entries.values() if entry.is_rough), None)
        for name, course, offset in compared:
            entry = entries[name]
            events, end = entry.run.events(offset or 0)
            if not events and offset is not None:
                continue
            whole = Course(events) if offset is None else course
            glance = Glance(events) if offset is None and entry.is_rough else None
            with self._together():
                for event in [] if offset is None else events:
                    course.add(event)
                if name in self._courses:
                    self._courses[name] = (whole, end)
                    self._draw_compared()
                if glance is not None:
                    entry.settle_for(glance, end)
                    self._draw()
            return True
        if rough is None:
            return False
        events, end = rough.run.events()
        glance = Glance(events)
        with self._together():
            rough.settle_for(glance, end)
            self._draw()
        return True

    # in the background, while a page listens

    def _watch_on(self) -> None:
        if self.comm is None or (self._watcher is not None and self._watcher.is_alive()):
            return
        self._watcher = threading.Thread(target=self._watch, name="table of runs", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while self.comm is not None:
            self._presence.wait()
            if self.comm is None:
                return
            try:
                self._rested += POLL_SECONDS
                is_due = self._rested >= REST_SECONDS
                self.refresh(all_of_them=is_due)
                if is_due:
                    self._rested = 0.0
                while self._go_on() and not self._nudged.is_set():
                    pass
            except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
                self._report(error)
            self._nudged.wait(POLL_SECONDS)
            self._nudged.clear()

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A page is there."""
        self._presence.hear()
        self._watch_on()
        return super()._do_hello(message)

    # what a page asks for

    def _do_select(self, message: dict[str, Any]) -> None:
        """Compare these."""
        self.compare([str(name) for name in message["names"]])

    def _do_metric(self, message: dict[str, Any]) -> None:
        """Show another figure."""
        with self._together():
            self.metric = str(message["name"])
            self._draw_compared()

    def _do_choose(self, message: dict[str, Any]) -> None:
        """Open this run below the table, and tell whoever observes `chosen`."""
        run = self._entry(message).run
        view = self._opened
        if view is None or view.name != run.name:
            self._open(RunView(run))
        self.chosen = run.name

    def _do_shut(self, _message: dict[str, Any]) -> None:
        """Puts the opened run away."""
        self._open(None)

    def _open(self, view: RunView | None) -> None:
        old, self._opened = self._opened, view
        self.view = (view.model_id or "") if view else ""
        if old is not None:
            old.close()

    def _do_stop(self, message: dict[str, Any]) -> None:
        """Let it finish its step, save and end; take it out of the line where it waits."""
        entry = self._entry(message)
        entry.run.stop()
        entry.is_stop_asked = True
        self.refresh()

    def _do_start(self, message: dict[str, Any]) -> None:
        """Start it, or go on from its last checkpoint."""
        entry = self._entry(message)
        self._carry_out(entry.run.start if entry.run.status == "created" else entry.run.resume)

    def _do_queue(self, message: dict[str, Any]) -> None:
        """Let it wait for its turn, at the end or at `position`."""
        position = message.get("position")
        self._entry(message).run.enqueue(None if position is None else int(position))
        self.refresh()

    def _do_dequeue(self, message: dict[str, Any]) -> None:
        """Take it out of the line."""
        self._entry(message).run.dequeue()
        self.refresh()

    def _do_delete(self, message: dict[str, Any]) -> None:
        """Remove it with all that it saved."""
        try:
            self._entry(message).run.delete()
        finally:
            self.refresh()

    def _do_config(self, message: dict[str, Any]) -> dict[str, Any]:
        """Its configuration as YAML, to be edited."""
        return {"yaml": self._entry(message).run.config.to_yaml()}

    def _do_clone(self, message: dict[str, Any]) -> dict[str, Any]:
        """A new run from an edited configuration; `then`: "create", "start" or "queue"."""
        clone = self._entry(message).run.clone(str(message["yaml"]))
        if message.get("then") == "queue":
            clone.enqueue()
        elif message.get("then") == "start":
            self._carry_out(clone.start)
        self.refresh()
        return {"name": clone.name}

    def _entry(self, message: dict[str, Any]) -> Entry:
        name = str(message.get("name"))
        if name not in self._entries:
            raise RunError(f"no run {name!r}: it was removed meanwhile")
        return self._entries[name]

    def _carry_out(self, action: Callable[[], object]) -> None:
        """Does what may take seconds (libraries may have to be loaded first) without keeping the page waiting."""
        self.error = ""
        if self.comm is None:  # no page, so nobody waits
            action()
            self.refresh()
            return

        def work() -> None:
            try:
                action()
                self.refresh()
            except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
                self._report(error)

        threading.Thread(target=work, name="start of a run", daemon=True).start()

    # without a page

    def close(self) -> None:
        """The view below goes with the table."""
        if self._opened is not None:
            self._opened.close()
        super().close()

    def _settle(self) -> None:
        self.refresh()
        while self._go_on():
            pass

    def _summary(self) -> str:
        compared = f", {len(self.selected)} of them compared" if len(self.selected) > 1 else ""
        return f"Runs: {len(self.rows)}{compared}"

    def _twin(self) -> str:
        if not self.rows:
            return "<p>There are no runs yet.</p>"
        return f'<div style="max-width:960px">{self._table()}{self._compared_twin()}</div>'

    def _table(self) -> str:
        return sheet.table([row | self.live.get(row["name"], {}) for row in self.rows])

    def _compared_twin(self) -> str:
        if len(self.selected) < 2:
            return ""
        courses = {name: self._courses[name][0] for name in self.selected}
        return sheet.comparison(courses, self.differences, self.answers)


def _word(value: Any) -> str:
    """A configured value for a table."""
    if value is ABSENT:
        return ""
    return "none" if value is None else plain(value)
