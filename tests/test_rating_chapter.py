"""The chapter on rating, headless: a recorded session in three modes, its worth, its habits and its export."""

import json
import re

import nbformat
import pytest

from ftlab import warm
from ftlab.notebook import chapters, execute


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rating").resolve()
    environment = {"FTLAB_HOME": str(folder / "home")}
    done = execute(
        chapters()["03_rating"],
        folder / "rating.ipynb",
        {"report": str(folder / "rating.json")},
        environment=environment,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTLAB_HOME", environment["FTLAB_HOME"])
        warm.stop()
    assert done.complete, done.error
    return nbformat.read(done.output, 4), json.loads((folder / "rating.json").read_text()), folder


def test_sixty_clicks_make_reward_models_that_know_better_than_a_coin(taken):
    _, figures, _ = taken
    assert set(figures["yours"]) == {"single", "pair", "rank"}
    assert all(accuracy > 0.6 for accuracy in figures["yours"].values())


def test_the_same_presses_teach_more_as_rankings_than_as_thumbs(taken):
    _, figures, _ = taken
    assert figures["crowd"]["rank"] > figures["crowd"]["single"]


def test_each_mode_and_the_board_leave_a_twin_that_tells_what_was_rated(taken):
    node, _, _ = taken
    outputs = [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    for batch in ("clicks-single", "clicks-pair", "clicks-rank"):
        assert any(
            re.search(rf"{batch}: (\d+) of \1 \w+ answered by a recorded session", page) for page in pages
        )
    assert any("The side decides more than chance would" in page for page in pages)
    assert any("gold judge" in page for page in pages)
    assert "widgets" not in node.metadata


def test_what_was_rated_leaves_as_rows_for_a_trainer_and_a_card_for_a_stranger(taken):
    _, figures, folder = taken
    rows = (folder / "home" / "rating" / "preferences.jsonl").read_text().splitlines()
    assert figures["exported"] == len(rows) > 10
    assert {"prompt", "chosen", "rejected"} <= set(json.loads(rows[0]))
    assert "decided by a keyed hash" in (folder / "home" / "rating" / "README.md").read_text()
