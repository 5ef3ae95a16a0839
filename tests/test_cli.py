"""The shell does what a cell does, and says what went wrong."""

import json

import pytest

from ftlab import warm
from ftlab.bench import BENCHES, missed
from ftlab.cli import main
from ftlab.ratings import Ratings, simulate


@pytest.fixture
def trained(tmp_path, capsys):
    """A short run, made by the shell: (name, what it printed)."""
    config = tmp_path / "config.yaml"
    config.write_text("name: first\nmodel: wren-xs\nmethod: lora\ndata: {train: 'wren:sft', max_rows: 64}\n")
    assert main(["train", str(config), "--set", "method.rank=2", "--set", "max_steps=3"]) == 0
    yield "first", capsys.readouterr().out
    warm.stop()


def test_a_run_is_trained_followed_listed_and_asked(trained, capsys):
    name, printed = trained
    assert [line.split()[1] for line in printed.splitlines() if "learning_rate" in line] == ["1", "2", "3"]
    assert "finished at step 3" in printed
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"name": name, "status": "finished", "reason": ""}]
    assert main(["ask", "Who are you?", "wren-xs", f"run:{name}", "--max-new-tokens", "4"]) == 0
    told = capsys.readouterr().out
    assert "── wren-xs · base " in told
    assert "+ adapter " in told
    assert main(["resume", name]) == 1
    assert "finished and cannot be resumed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.yaml"], "none.yaml"),
        (["stop", "nobody"], "no run 'nobody'"),
        (["bench", "nothing"], "no bench 'nothing'"),
        (["notebook", "nothing.ipynb"], "no such notebook"),
        (["notebook", "00_tour", "-p", "modle=wren"], "did you mean 'model'"),
        (["notebook", "00_tour", "-p", "model"], "'model' is not NAME=VALUE"),
    ],
)
def test_an_error_is_one_line_with_the_value_and_no_traceback(arguments, message, capsys):
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_wrong_key_in_a_configuration_is_told_with_the_right_one(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("method: {kind: lora, rnak: 4}\n")
    assert main(["train", str(path)]) == 1
    assert "did you mean 'rank'?" in capsys.readouterr().err


def test_ratings_are_exported_checked_and_backed_up(tmp_path, capsys):
    with Ratings() as ratings:
        rows = [
            {
                "prompt": f"Q{n}",
                "responses": [{"model": "a", "text": "yes"}, {"model": "b", "text": "longer"}],
            }
            for n in range(3)
        ]
        ratings.add_pairs(rows, batch="mine")
        simulate(ratings, "mine", "rater", lambda _, text: len(text))
    assert main(["ratings", "export", str(tmp_path / "mine.jsonl"), "--batch", "mine"]) == 0
    assert "3 rows up to event 3" in capsys.readouterr().out
    exported = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert {row["chosen"][0]["content"] for row in exported} == {"longer"}
    assert main(["ratings", "check"]) == 0
    assert main(["ratings", "backup", str(tmp_path / "copy.db")]) == 0
    assert Ratings(tmp_path / "copy.db").last_seq() == 3


def test_benches_are_listed_with_their_bars_and_a_missed_bar_is_named(capsys):
    assert main(["bench"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in BENCHES)
    assert missed("import", {"seconds": 0.4, "torch": 0}) == ["seconds is 0.4, wanted <= 0.3"]
    assert missed("import", {"seconds": 0.2, "torch": 0}) == []


def test_a_bench_prints_one_line_of_json_with_its_figures_and_the_machine(capsys):
    main(["bench", "import", "--json"])
    line = json.loads(capsys.readouterr().out)
    assert line["bench"] == "import"
    assert set(line["figures"]) >= {"seconds", "torch"}
    assert line["machine"]["cores"] >= 1
