"""The tour, headless, as papermill runs it: the loop closes, and its page is readable without JavaScript."""

import json
import re

import nbformat
import pytest

from ftlab import warm
from ftlab.bench import tour as bench
from ftlab.notebook import POLICY

PEAK_MIB = 1536


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour").resolve()
    peak = bench.take(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTLAB_HOME", str(folder / "home"))
        warm.stop()
    scores = {
        (row["model"], row["what"]): row for row in json.loads((folder / "tour.json").read_text())["scores"]
    }
    return folder, peak, scores


def test_examples_teach_wren_to_answer_and_to_mind_its_manners(taken):
    _, _, scores = taken
    assert scores["wren", "right"]["share"] <= 0.3
    assert scores["run:tour-wren-sft", "right"]["low"] > scores["wren", "right"]["high"] + 0.2
    assert scores["wren", "rude"]["low"] > scores["run:tour-wren-sft", "rude"]["high"]


def test_twelve_ratings_carry_over_to_questions_that_were_not_rated(taken):
    _, _, scores = taken
    before, after = (scores[f"run:tour-wren-sft{name}", "pirate"] for name in ("", "-dpo"))
    assert before["high"] < 0.2
    assert after["low"] > before["high"] + 0.2
    assert scores["run:tour-wren-sft-dpo", "right"]["share"] > scores["wren", "right"]["high"]


def test_every_process_together_stays_below_one_and_a_half_gib(taken):
    _, peak, _ = taken
    assert 0 < peak < PEAK_MIB


def test_the_saved_notebook_holds_a_readable_twin_of_every_widget_and_no_live_one(taken):
    folder, _, _ = taken
    node = nbformat.read(folder / "tour.ipynb", 4)
    assert "widgets" not in node.metadata
    outputs = [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]
    bundles = [output.data for output in outputs if "data" in output]
    assert not any("application/vnd.jupyter.widget-view+json" in data for data in bundles)
    texts = [data.get("text/plain", "") for data in bundles]
    for widget in ("Compare", "Rate", "RunView"):
        assert any(text.startswith(f"<{widget}") for text in texts)
    assert not any(re.search(r"object at 0x", text) for text in texts)
    assert not any(output.output_type == "stream" and output.name == "stderr" for output in outputs)


def test_the_page_made_of_it_shows_curves_fingerprints_and_ratings_without_a_script(taken):
    folder, _, _ = taken
    page = (folder / "tour.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 2  # the two runs' curves
    assert re.search(r"base [0-9a-f]{6}", page)
    assert "12 of 12 pairs answered" in page
    assert POLICY in page
