"""The form that configures a run, tells what it would do, and starts it."""

import threading
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

import ftlab
from ftlab import snippets
from ftlab.config import RunConfig
from ftlab.errors import ConfigError, FtlabError
from ftlab.presets import presets
from ftlab.widgets.draft import LABELS, Draft, methods
from ftlab.widgets.presence import Presence
from ftlab.widgets.run_view import OVER, RunView, Watchable
from ftlab.widgets.widget import LabWidget

if TYPE_CHECKING:
    from ftlab.preflight import Preflight

CHECK_SECONDS = 0.6  # nobody is told anything of a configuration that is still being typed
SUGGESTED = 200
"""Most names that are offered for a field."""


class Launch(LabWidget):
    """`Launch()`, or `Launch(RunConfig(method="dpo"))` to begin elsewhere: fill in, read what it will do, start.

    `config` is what the form says at this moment, `run` the run that it started last, for the next cell. Where
    nobody can click it shows what it was given, and starts nothing.
    """

    stem = "launch"

    schema = traitlets.Dict().tag(sync=True)
    """JSON Schema of RunConfig: what the fields are drawn from."""
    draft = traitlets.Dict().tag(sync=True)
    """What is set, fit or not: a tree of the fields that differ from the defaults."""
    defaults = traitlets.Dict().tag(sync=True)
    """A tree of what holds where nothing is set, in the draft's present shape."""
    faults = traitlets.Dict().tag(sync=True)
    """{path: what is wrong}, from pydantic."""
    sheet = traitlets.Dict().tag(sync=True)
    """{front, groups: [{title, paths}], folded, unused}: where each field stands, by path."""
    methods: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{kind, title, about}]."""
    labels = traitlets.Dict().tag(sync=True)
    """{path, or dot and last name: label} where the field's name would not do."""
    presets: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{title, about}]."""
    suggestions = traitlets.Dict().tag(sync=True)
    """{path: [{value, about}]} of fields that name a model or rows."""
    texts = traitlets.Dict().tag(sync=True)
    """{python, yaml, shell}: the same configuration as text; as it was last whole."""
    preflight = traitlets.Dict().tag(sync=True)
    """{state: none | checking | done | failed, lines, findings: [{level, field, text}], fits, advice, error}.

    level is error, warning or note; fits is null where nothing is known of memory."""
    started = traitlets.Int(0).tag(sync=True)
    """How many runs were started here; a page that starts one says how many it knows of."""
    run_name = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    """What is to be said about the run beside its name."""
    view = traitlets.Unicode("").tag(sync=True)
    """The model id of the RunView of the run; empty where there is none."""

    def __init__(
        self,
        config: RunConfig | None = None,
        *,
        start: Callable[[RunConfig], Watchable] | None = None,
        check: "Callable[[RunConfig], Preflight] | None" = None,
    ) -> None:
        """`start` carries a configuration out (by default `ftlab.launch`), `check` foretells what it will do."""
        self._draft = Draft(config)
        self._first = self._draft.config
        self._start, self._check = start or _launch, check or _preflight
        self._presence = Presence()
        self._checker: threading.Thread | None = None
        self._wanted: RunConfig | None = None
        self._pause = threading.Event()
        self._shown: RunView | None = None
        self.run: Watchable | None = None
        super().__init__(
            schema=RunConfig.json_schema(),
            methods=methods(),
            labels=LABELS,
            presets=[{"title": one.title, "about": one.about} for one in presets()],
        )
        self._show()

    @property
    def config(self) -> RunConfig:
        """What the form says now. Raises ConfigError, one line for each field that does not fit."""
        return self._draft.config

    # What the page asks for

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A page is there: names are gathered, the process that trains is woken, the pre-flight begins."""
        was_absent = not self._presence.is_here or not self.suggestions
        self._presence.hear()
        if was_absent:
            threading.Thread(target=self._prepare, name="launch prepares", daemon=True).start()
            self._ask_check()
        return super()._do_hello(message)

    def _do_edit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Carries out `changes`, a list of {path, value}, {path, kind} or {path, reset: true}."""
        self._edit(message.get("changes", []))
        return {}

    def _do_preset(self, message: dict[str, Any]) -> dict[str, Any]:
        """Fills the form with a preset."""
        wanted = message.get("title")
        found = next((one for one in presets() if one.title == wanted), None)
        if found is None:
            raise ConfigError(f"there is no preset {wanted!r}")
        self._take(found.config)
        return {}

    def _do_paste(self, message: dict[str, Any]) -> dict[str, Any]:
        """Fills the form with what a YAML, a Python call or a command line says."""
        self._take(snippets.read(str(message.get("text", ""))))
        return {}

    def _do_reset(self, _message: dict[str, Any]) -> dict[str, Any]:
        """The form as it was when the cell ran."""
        self._take(self._first)
        return {}

    def _do_eject(self, _message: dict[str, Any]) -> dict[str, Any]:
        """The script that does the same without the lab."""
        from ftlab.scripts import eject

        return {"text": eject(self.config)}

    def _do_suggest(self, _message: dict[str, Any]) -> dict[str, Any]:
        """Looks again for runs and files."""
        self.suggestions = suggestions()
        return {}

    def _do_start(self, message: dict[str, Any]) -> dict[str, Any]:
        """Starts a run, unless one was started since the page last looked: a second click is not a second run."""
        if int(message.get("started", 0)) != self.started:
            return {"name": self.run_name}
        self._edit(message.get("changes", []))
        run = self._start(self.config)
        was_over = run.status in OVER
        view = RunView(run)
        with self._together():
            if self._shown is not None:
                self._shown.close()
            self.run, self._shown = run, view
            self.view = view.model_id or ""
            self.run_name = run.name
            self.started += 1
            self.note = (
                "was run with exactly these settings before: this is that run; another name, or none, runs it again"
                if was_over
                else ""
            )
        return {"name": run.name}

    # How the form follows

    def _edit(self, changes: Sequence[dict[str, Any]]) -> None:
        if not changes:
            return
        for change in changes:
            path = str(change["path"])
            if change.get("reset"):
                self._draft.drop(path)
            elif "kind" in change:
                self._draft.choose(path, str(change["kind"]))
            else:
                self._draft.put(path, change["value"])
        self._show()
        self._ask_check()

    def _take(self, config: RunConfig) -> None:
        self._draft.take(config)
        self._show()
        self._ask_check()

    def _show(self) -> None:
        with self._together():
            self.draft = _copied(self._draft.tree)
            self.defaults = self._draft.defaults()
            self.sheet = self._draft.sheet()
            self.faults = self._draft.faults()
            if not self.faults:
                config = self.config
                self.texts = {
                    "python": snippets.to_python(config),
                    "yaml": snippets.to_yaml(config),
                    "shell": snippets.to_shell(config),
                }

    # What goes on in the background

    def _prepare(self) -> None:
        try:
            self.suggestions = suggestions()
            if self._start is _launch:
                from ftlab.warm import warm

                warm()
        except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
            self._report(error)

    def _ask_check(self) -> None:
        """Has the present configuration looked over, once it has rested; nothing where no page is."""
        if self.comm is None:
            return
        with self._lock:
            if self.faults:
                self._wanted = None
                self.preflight = {"state": "none"}
                return
            self._wanted = self.config
            self.preflight = {**self.preflight, "state": "checking"}
            if self._checker is None or not self._checker.is_alive():
                self._checker = threading.Thread(target=self._check_wanted, name="pre-flight", daemon=True)
                self._checker.start()

    def _check_wanted(self) -> None:
        while True:
            with self._lock:
                config = self._wanted
                if config is None:
                    self._checker = None
                    return
            self._pause.wait(CHECK_SECONDS)
            if config is not self._wanted:
                continue
            told = self._checked(config)
            with self._lock:
                if config is self._wanted:
                    self.preflight, self._wanted = told, None

    def _checked(self, config: RunConfig) -> dict[str, Any]:
        try:
            return _told(self._check(config))
        except FtlabError as error:
            return {"state": "failed", "error": str(error)}
        except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
            return {"state": "failed", "error": f"{type(error).__name__}: {error}"}

    # What stays behind

    def _settle(self) -> None:
        if not self.preflight and not self.faults:
            self.preflight = self._checked(self.config)

    def close(self) -> None:
        """The view below goes with the form."""
        if self._shown is not None:
            self._shown.close()
        super().close()

    def _summary(self) -> str:
        config = None if self.faults else self.config
        told = f"{len(self.faults)} fields do not fit" if config is None else config.title
        return f"Launch {told}"

    def _twin(self) -> str:
        config = self.config
        rows = "".join(
            f'<tr><td style="{_CELL}">{escape(path)}</td><td style="{_CELL}">{escape(str(value))}</td>'
            f'<td style="{_CELL}">{escape(about)}</td></tr>'
            for path, value, about in _rows(config)
        )
        about = next(one["about"] for one in self.methods if one["kind"] == config.method.kind)
        lines = [
            *self.preflight.get("lines", []),
            *([self.preflight["error"]] if self.preflight.get("error") else []),
        ]
        lines += [
            f"{one['level']}: {one['field']}: {one['text']}" for one in self.preflight.get("findings", [])
        ]
        foretold = f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
        started = f"<p>Started: {escape(self.run_name)}</p>" if self.run_name else ""
        return (
            f'<div style="max-width:760px"><p><b>{escape(config.title)}</b>: {escape(about)}</p>'
            f'<table style="border-collapse:collapse"><tbody>{rows}</tbody></table>{foretold}{started}'
            f"<pre>{escape(snippets.to_yaml(config))}</pre></div>"
        )


# JupyterLab's sanitizer keeps plain values only; mid grey shows on light and on dark.
_CELL = "border:1px solid #888888;padding:4px 8px;text-align:left;vertical-align:top"


def _launch(config: RunConfig) -> Watchable:
    return ftlab.launch(config)


def _preflight(config: RunConfig) -> "Preflight":
    from ftlab.preflight import check

    return check(config)


def _told(found: "Preflight") -> dict[str, Any]:
    is_known = found.memory_mib is not None and found.available_mib is not None
    return {
        "state": "done",
        "lines": _lines(found),
        "findings": [{"level": one.level, "field": one.field, "text": one.text} for one in found.findings],
        "fits": found.fits if is_known else None,
        "advice": list(found.advice),
        "error": "",
    }


def _lines(found: "Preflight") -> list[str]:
    """What is known of them: "trains 54 k of 2.1 M weights", "about 40 s", "300 of 3,900 MiB of memory"."""
    lines = []
    if found.trained is not None and found.parameters:
        lines.append(f"trains {_count(found.trained)} of {_count(found.parameters)} weights")
    if found.rows is not None and found.steps is not None:
        lines.append(f"{found.steps:,} steps on {found.rows:,} rows")
    if found.seconds is not None:
        lines.append(f"about {_duration(found.seconds)}")
    if found.memory_mib is not None:
        available = f" of {found.available_mib:,.0f}" if found.available_mib is not None else ""
        lines.append(f"{found.memory_mib:,.0f}{available} MiB of memory")
    return lines


def _count(number: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {sign}"
    return f"{number:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _copied(tree: Any) -> Any:
    """A tree of its own, so that the next edit is seen as a change."""
    if isinstance(tree, dict):
        return {name: _copied(value) for name, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _rows(config: RunConfig) -> list[tuple[str, object, str]]:
    """(path, value, description) of everything that differs from the defaults."""
    rows: list[tuple[str, object, str]] = []

    def walk(section: Any, tree: dict[str, Any], prefix: str) -> None:
        for name, value in tree.items():
            if name == "kind":
                continue
            field, inner = type(section).model_fields[name], getattr(section, name)
            if isinstance(value, dict) and name != "trainer":
                walk(inner, value, f"{prefix}{name}.")
            else:
                rows.append((f"{prefix}{name}", value, field.description or ""))

    walk(config, snippets.changed(config), "")
    return rows


def suggestions() -> dict[str, list[dict[str, str]]]:
    """{path: [{value, about}]}: models, runs and rows that are at hand."""
    from ftlab.wren.data import MAKERS
    from ftlab.wren.family import SIZES

    models = [{"value": size.name, "about": size.summary} for size in SIZES.values()]
    models.append(
        {"value": "smollm2", "about": "135 M weights, speaks English; about 150 MB to fetch at first"}
    )
    judges: list[dict[str, str]] = []
    for run in ftlab.runs()[:SUGGESTED]:
        if not (run.folder / "model" / "manifest.json").is_file():
            continue
        try:
            config = run.config
        except FtlabError:  # a broken run is no start
            continue
        item = {"value": run.reference, "about": f"{config.method.kind} from {config.model}"}
        (judges if config.method.kind == "reward" else models).append(item)
    rows = [{"value": f"wren:{name}", "about": "of the embedded world"} for name in MAKERS]
    here = sorted(path for path in Path().iterdir() if path.suffix in {".jsonl", ".parquet"})
    rows += [{"value": path.name, "about": "in this folder"} for path in here[:SUGGESTED]]
    return {
        "model": models + judges,
        "method.teacher": models,
        "method.keep_if_better": judges,
        "data.train": rows,
        "data.eval": rows,
    }
