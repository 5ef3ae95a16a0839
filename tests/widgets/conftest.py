"""A page without a notebook: the real bundle, a model that is a few lines, and a real Python half behind it."""

import base64
import json
import shutil
import sys
from importlib import resources
from pathlib import Path

import pytest

THEMES = Path(sys.prefix) / "share" / "jupyter" / "lab" / "themes" / "@jupyterlab"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

MODEL = """
// binary traits reach the page as DataViews; on the way here they are base64
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
const unpacked = (state) => Object.fromEntries(Object.entries(state).map(([name, value]) => [name, value?.base64 === undefined ? value : bytes(value.base64)]));
class Model {
  constructor(state) { this.raw = { ...state }; this.state = unpacked(state); this.listeners = new Map(); this.sent = []; this.loseReplies = 0; this.dead = false; this.deaf = false; }
  get(name) { return this.state[name]; }
  on(event, callback) { this.listeners.set(event, [...(this.listeners.get(event) ?? []), callback]); }
  off(event, callback) { this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== callback)); }
  emit(event, ...values) { for (const callback of this.listeners.get(event) ?? []) callback(...values); }
  set(changes) {
    const changed = Object.keys(changes).filter((name) => JSON.stringify(this.raw[name]) !== JSON.stringify(changes[name]));
    Object.assign(this.raw, changes);
    Object.assign(this.state, unpacked(changes));
    for (const name of changed) this.emit(`change:${name}`);
  }
  async send(content) {
    if (this.dead) throw new Error('Cannot send');
    this.sent.push(content);
    if (this.deaf || !window.toPython) return;
    const { replies, state } = await window.toPython(content);
    if (this.loseReplies > 0 && content.type !== 'hello') { this.loseReplies -= 1; return; }
    this.set(state);
    for (const reply of replies) this.emit('msg:custom', reply, []);
  }
}
// the real `send` throws at once instead of rejecting
const send = Model.prototype.send;
Model.prototype.send = function (content) { if (this.dead) throw new Error('Cannot send'); void send.call(this, content); };
window.show = async (state) => {
  const { default: widget } = await import('/widget.js');
  window.model = new Model(state);
  window.controller = new AbortController();
  const el = document.querySelector('#cell');
  el.replaceChildren();
  await widget.render({ model: window.model, el, signal: window.controller.signal });
};
"""


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("no Chromium found: `make test` installs it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield started
        started.close()


class Bench:
    """Opens widgets on bare pages; every page error fails the test."""

    def __init__(self, browser):
        self.browser = browser
        self.contexts = []
        self.errors = []

    def open(self, widget=None, *, stem=None, state=None, theme="light", width=900, height=1000, **options):
        """A page that shows `widget` (a Python half, whose messages are carried by hand) or a bare `state`."""
        stem = stem or widget.stem
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        static = resources.files("ftlab.widgets") / "static"
        files = {"/widget.js": ((static / f"{stem}.js").read_text("utf-8"), "text/javascript")}
        style = (static / f"{stem}.css").read_text("utf-8")
        files["/"] = (_page(style, theme), "text/html")

        def serve(route):
            body, kind = files.get(route.request.url.removeprefix("http://w.test"), ("", "text/plain"))
            route.fulfill(status=200 if body else 404, body=body, content_type=f"{kind}; charset=utf-8")

        context.route("**/*", serve)
        return self.show(page, widget, state)

    def show(self, page, widget=None, state=None):
        """Loads the page and shows the widget on it; a second page of a context shares its storage."""
        if widget is not None:
            page.expose_function("toPython", lambda content: answer(widget, content))
        page.goto("http://w.test/")
        page.add_script_tag(content=MODEL)
        page.evaluate("state => window.show(state)", picture(widget) if widget is not None else state)
        return page

    def picture(self, widget):
        """The state of a page whose messages the test answers itself."""
        return picture(widget)

    def close(self):
        """Closes every page and tells what went wrong in them."""
        for context in self.contexts:
            context.close()
        assert not self.errors, self.errors


def picture(widget):
    """The synced traits, as the page gets them."""
    hidden = {"layout", "tabbable", "tooltip"}
    state = {
        name: value
        for name, value in widget.get_state().items()
        if not name.startswith("_") and name not in hidden
    }
    return json.loads(json.dumps(state, allow_nan=False, default=_packed))


def _packed(value):
    return {"base64": base64.b64encode(value).decode("ascii")}


def answer(widget, content):
    """What the Python half sends for a message, and its traits afterwards."""
    replies = []
    widget.send = lambda message, buffers=None: replies.append(message)
    widget._handle_custom_msg(content, [])
    return {"replies": replies, "state": picture(widget)}


def _page(style, theme):
    # JupyterLab's own variables, so that the widget is seen in the colours that it will have
    variables = THEMES / f"theme-{theme}-extension" / "index.css"
    sheet = variables.read_text("utf-8") if variables.exists() else ""
    light = json.dumps(theme == "light")
    return (
        f"<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>w</title><style>{sheet}</style><style>{style}</style>"
        f"<body data-jp-theme-light={light} style='margin:8px;background:var(--jp-layout-color0)'><main id=cell></main>"
    )


@pytest.fixture
def bench(browser):
    """Pages for one test."""
    made = Bench(browser)
    yield made
    made.close()


@pytest.fixture
def live(monkeypatch):
    """As in JupyterLab: somebody can click."""
    monkeypatch.setenv("FTLAB_FRONTEND", "lab")


@pytest.fixture
def static(monkeypatch):
    """As under papermill: nobody can."""
    monkeypatch.setenv("FTLAB_FRONTEND", "static")
