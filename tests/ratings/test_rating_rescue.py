"""A damaged store is never written to, and what can be read of it is saved."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import DamagedStore, Ratings
from ftlab.ratings.storage.rescue import rescue


@pytest.fixture
def used(store, make_pairs, make_event):
    """A store with long answers, of which some events are still in its log."""
    rows = make_pairs(40)
    rows[3]["responses"][0]["text"] = "a long answer, over several pages of the file " * 900
    store.add_pairs(rows)
    for n in range(40):
        if n == 30:
            store.database.close()  # what was there goes into the file itself, the rest stays in the log
        store.record(make_event(store.next("ann"), comment=f"remark {n}, with é and \u2028"))
    store.rename("ann", "Ann")
    return store


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *lines = path.read_text(encoding="ascii").split("\n")
    return json.loads(first), [json.loads(line) for line in lines if line]


def test_a17_everything_in_a_whole_store_is_saved_with_its_log(used):
    before = used.path.read_bytes()
    found = rescue(used.path)
    assert found.path == used.path.with_name("ratings.db.rescued.jsonl")
    assert (found.changed, found.torn, found.missing) == (0, 0, ())
    assert found.rows["rating_event"] == found.rows["task"] == 40
    assert (found.rows["response"], found.rows["alias"], found.rows["rater"]) == (80, 1, 1)
    head, lines = _read(found.path)
    assert head["store"] == "ratings.db"
    saved = sorted(
        (line["row"] for line in lines if line["table"] == "rating_event"), key=lambda row: row["seq"]
    )
    assert all(line["whole"] for line in lines if line["table"] in ("rating_event", "response"))
    with used.database.reading() as connection:
        stored = connection.exec_driver_sql("SELECT * FROM rating_event ORDER BY seq").mappings().all()
    assert saved == [dict(row) for row in stored]
    texts = {line["row"]["text"] for line in lines if line["table"] == "response"}
    assert "a long answer, over several pages of the file " * 900 in texts
    assert used.path.read_bytes() == before
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        rescue(used.path)


@pytest.mark.parametrize("damage", ["cut", "head", "holes", "hundred flips"])
def test_a17_of_a_damaged_file_everything_readable_is_saved(used, tmp_path, damage):
    used.close()  # without another connection the log goes into the file
    content, dice = bytearray(used.path.read_bytes()), random.Random(11)
    if damage == "cut":
        del content[-16384:]  # four pages
    elif damage == "head":
        content[:8192] = bytes(8192)  # the schema is gone
    elif damage == "holes":
        for _ in range(6):
            start = dice.randrange(1, len(content) // 4096) * 4096
            content[start : start + 4096] = dice.randbytes(4096)
    else:
        for _ in range(100):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    broken = tmp_path / "broken.db"
    broken.write_bytes(content)
    if damage in ("cut", "head"):
        with pytest.raises(DamagedStore, match="ftlab ratings rescue"):
            Ratings(broken)
    found = rescue(broken, tmp_path / "saved.jsonl")
    assert broken.read_bytes() == content
    _, lines = _read(found.path)
    truth = {event["event_id"]: event for event in _events(used)}
    whole = [line["row"] for line in lines if line["table"] == "rating_event" and line["whole"]]
    assert all(row == truth[row["event_id"]] for row in whole)
    least = {"cut": 10, "head": 40, "holes": 10, "hundred flips": 20}[damage]
    assert len(whole) >= least
    assert len(whole) + found.changed + len(found.missing) <= 40 + found.changed
    assert str(found).startswith(f"{found.rows['rating_event']} events saved to ")


def _events(store: Ratings) -> list[dict[str, Any]]:
    with store.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM rating_event").mappings().all()
    return [dict(row) for row in rows]


@pytest.mark.parametrize("content", [b"", b"not a database, only a text" * 500, bytes(20_000)])
def test_a17_what_never_was_a_store_gives_nothing_and_no_error(tmp_path, content):
    path = tmp_path / "strange.db"
    path.write_bytes(content)
    found = rescue(path)
    assert (found.rows, found.missing) == ({}, ())
    assert "0 events saved" in str(found)


def test_a17_a_redacted_event_is_not_called_changed(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    receipt = store.record(make_event(store.next("ann"), comment="x"))
    store.redact(receipt.event_id, "asked for")
    assert rescue(store.path).changed == 0


def test_a17_where_there_is_no_file_it_says_so(tmp_path):
    with pytest.raises(RatingError, match="there is no file"):
        rescue(tmp_path / "nowhere.db")
