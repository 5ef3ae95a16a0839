"""The world in which every test runs: its own home, no network, quiet libraries."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Each test has a home of its own: no run, model or rating of the user's is seen or touched."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FTLAB_HOME", str(folder))
    return folder
