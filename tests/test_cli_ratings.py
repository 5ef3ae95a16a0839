"""`ftlab ratings`: what a cell can do with ratings, the shell can."""

import json

import pytest

from ftlab.cli import main
from ftlab.ratings import Ratings, simulate


@pytest.fixture
def rated(own_home):
    with Ratings() as ratings:
        rows = [
            {
                "prompt": f"Q{n}",
                "responses": [
                    {"model": "a", "text": f"yes {n}"},
                    {"model": "b\x1b[31m", "text": f"a longer one {n}"},
                ],
            }
            for n in range(6)
        ]
        ratings.add_pairs(rows, batch="mine")
        simulate(ratings, "mine", "rater", lambda _, text: len(text))
    return own_home / "ratings.db"


def run(*arguments):
    return main(["ratings", *map(str, arguments)])


def test_an_export_says_what_it_holds_and_takes_every_option(rated, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("export", out / "p.parquet", "--batch", "mine", "--kind", "reward", "--min-strength", "0") == 0
    assert "p.parquet in" in capsys.readouterr().out
    assert (
        run("export", out / "i.jsonl", "--implicit-prompt", "--kinds", "simulated", "--aggregate", "all") == 0
    )
    row = json.loads((out / "i.jsonl").read_text().split("\n")[0])
    assert [message["role"] for message in row["chosen"]] == ["user", "assistant"]
    assert run("export", out / "s.jsonl", "--standard", "--upto", "2") == 0
    assert "2 rows up to event 2" in capsys.readouterr().out
    assert run("check", out) == 0
    (out / "s.jsonl").write_text("{}\n")
    assert run("check", out) == 1
    assert "s.jsonl: is not the file that was exported" in capsys.readouterr().out


def test_a_store_is_moved_by_export_and_import_and_checked(rated, tmp_path, capsys):
    assert run("export", tmp_path / "raw.jsonl", "--kind", "raw") == 0
    assert run("import", tmp_path / "raw.jsonl", "--store", tmp_path / "new.db") == 0
    assert "raw: 6 tasks and 6 ratings added to mine" in capsys.readouterr().out
    assert run("check", "--store", tmp_path / "new.db") == 0
    assert "6 events, all as they were stored" in capsys.readouterr().out


def test_foreign_records_are_taken_with_a_word_about_their_fields(rated, tmp_path, capsys):
    record = {
        "data": {"frage": "Which?", "eins": "one", "zwei": "two"},
        "annotations": [
            {
                "completed_by": 3,
                "result": [{"type": "choices", "from_name": "c", "value": {"choices": ["Erste"]}}],
            }
        ],
    }
    path = tmp_path / "ls.json"
    path.write_text(json.dumps([record, {"nothing": 1}]))
    assert run("import", path) == 1
    told = capsys.readouterr().err
    assert "ls.json, row 1: which of frage, eins, zwei is the prompt?" in told
    assert "Nothing was imported" in told
    words = ["--field", "prompt=frage", "--field", "answers=[eins, zwei]", "--field", "words={Erste: first}"]
    assert run("import", path, *words, "--skip-bad", "--batch", "ls") == 0
    told = capsys.readouterr().out
    assert "label-studio: 1 tasks and 1 ratings added to ls" in told
    assert "row 2: no known shape has the keys nothing" in told
    assert "ls.rejected.jsonl" in told


def test_the_board_is_printed_without_obeying_what_it_prints(rated, capsys):
    assert run("board", "mine") == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b[31m" in told


def test_backup_and_rescue_never_overwrite(rated, tmp_path, capsys):
    for action in ("backup", "rescue"):
        assert run(action, tmp_path / action) == 0
        capsys.readouterr()
        assert run(action, tmp_path / action) == 1
        told = capsys.readouterr().err
        assert "exists" in told
        assert "Traceback" not in told
    assert len(Ratings(tmp_path / "backup").preferences()) == 6
    assert (tmp_path / "rescue").read_text().count("rating_event") == 6
