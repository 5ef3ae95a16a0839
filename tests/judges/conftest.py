"""Judges are asked in this very process, so that no warm one is started for each test's home."""

import pytest


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("FTLAB_WARM", "off")
