"""The house itself: what an import costs, and which names are promised."""

import subprocess
import sys

import pytest

import ftlab

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "pandas", "plotly", "sqlalchemy", "papermill")


@pytest.mark.parametrize("module", ["ftlab", "ftlab.widgets", "ftlab.events", "ftlab.answers", "ftlab.cli"])
def test_an_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


@pytest.mark.parametrize(
    "module", ["ftlab.run", "ftlab.config", "ftlab.warm", "ftlab.ratings", "ftlab.plots", "ftlab.notebook"]
)
def test_the_light_half_never_loads_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules or 'transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_public_names_are_these_and_each_one_loads():
    assert sorted(ftlab.__all__) == [
        "Board", "Compare", "Comparison", "Flipbook", "Launch", "Rate", "Ratings", "Run", "RunConfig", "RunView", "Runs",
        "Sampling", "Tokens", "check", "compare", "eject", "examine", "launch", "prompted", "runs",
    ]  # fmt: skip
    for name in ftlab.__all__:
        assert getattr(ftlab, name).__name__ == name
