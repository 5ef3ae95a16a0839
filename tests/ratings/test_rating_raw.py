"""The raw export and its way back: the same log, in every mode, on both databases."""

import json
from uuid import uuid4

import pytest
from exchange import PLAIN, every_mode, read_lines, row, say
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ftlab.errors import RatingError
from ftlab.ratings import Ratings
from ftlab.ratings import schema as t
from ftlab.ratings.exchange import raw


def contents(store):
    """Every row of every table, what is derived included; a count of 0 is no row."""
    with store.database.reading() as connection:
        found = {
            table.name: sorted(map(repr, connection.execute(select(table)).all()))
            for table in t.metadata.sorted_tables
        }
    found["tally"] = [row for row in found["tally"] if not row.endswith(" 0)")]
    return found


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_store_comes_back_row_by_row(store, tmp_path, suffix, fresh):
    every_mode(store)
    store.undo(store.at("ann", "pair", 2).assignment_id)
    store.rename("bob", "Robert")
    store.redact(store.current("pair")[0]["event_id"], "named a person")
    store.next("eve", "pair")  # an assignment that waits
    store.open_batch("empty", instructions="Nobody came.")
    done = store.export(tmp_path / f"raw{suffix}", "raw")
    with fresh("other.db") as other:
        found = other.import_(done.path)
        assert (found.format, found.ratings, found.known) == ("raw", store.last_seq(), 0)
        assert contents(other) == contents(store)
        assert other.verify()
        assert str(other.verify()) == str(store.verify())
        assert other.current() == store.current()
        again = other.export(tmp_path / f"again{suffix}", "raw")
        assert again.path.read_bytes() == done.path.read_bytes()
        once_more = other.import_(done.path)
        assert (once_more.tasks, once_more.ratings, once_more.known) == (0, 0, store.last_seq())
        assert contents(other) == contents(store)


def test_a_store_goes_from_one_database_to_the_other_and_back(store, postgres, tmp_path):
    every_mode(store)
    there = postgres.import_(store.export(tmp_path / "raw.jsonl", "raw").path)
    assert there.ratings == store.last_seq()
    assert postgres.verify()
    back = postgres.export(tmp_path / "back.jsonl", "raw").path
    assert back.read_bytes() == (tmp_path / "raw.jsonl").read_bytes()


def test_rating_goes_on_after_a_restore_and_the_longer_log_brings_the_shorter_up_to_date(
    store, tmp_path, fresh
):
    every_mode(store)
    store.export(tmp_path / "one.jsonl", "raw")
    with fresh("other.db") as other:
        other.import_(tmp_path / "one.jsonl")
        say(other, "bob", "pair", {"prefer": "three"})
        say(other, "new", "single", {"scores": {"thumb": "up"}})
        other.undo(other.at("ann", "rank", 1).assignment_id)
        other.export(tmp_path / "two.jsonl", "raw")
        assert store.import_(tmp_path / "two.jsonl").ratings == 3
        assert contents(store) == contents(other)
        assert other.import_(tmp_path / "one.jsonl").ratings == 0
        assert other.verify()


def test_logs_that_went_different_ways_are_not_mixed(store, tmp_path, fresh):
    every_mode(store)
    store.export(tmp_path / "raw.jsonl", "raw")
    with fresh("other.db") as other:
        other.add_pairs([row("P?", "yes", "no")], batch="pair")
        say(other, "ann", "pair", {"prefer": "yes"})
        before = contents(other)
        with pytest.raises(RatingError, match=r"another \w+ under .*different ways.*Ratings\('other.db'\)"):
            other.import_(tmp_path / "raw.jsonl")
        assert contents(other) == before


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("rating_event", {"choice": "right", "strength": 2}, "event 1: was changed after it was stored"),
        ("response", {"text": "another"}, "was changed after it was stored"),
        ("assignment", {"order_json": "[9]"}, "do not hold together"),
        ("rating_event", {"seq": "one"}, "'seq' of rating_event is str, not int"),
        ("task", {"prompt_json": None}, "task has no 'prompt_json'"),
        ("batch", {"table": "btach"}, "there is no table 'btach'"),
    ],
)
def test_a_raw_file_that_was_changed_is_refused_whole(store, tmp_path, table, change, words, fresh):
    store.add_pairs([row("P?", "yes", "no")], batch="p")
    say(store, "ann", "p", {"choice": "left", "strength": 2})
    lines = read_lines(store.export(tmp_path / "raw.jsonl", "raw").path)
    next(line for line in lines if line["table"] == table).update(change)
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with fresh("other.db") as other:
        with pytest.raises(RatingError, match=words):
            other.import_(tmp_path / "bad.jsonl")
        assert other.last_seq() == 0
        assert other.batches() == {}


def test_an_extract_is_deterministic_and_is_not_taken_back(store, tmp_path, fresh):
    every_mode(store)
    upto = store.last_seq()
    first = store.export(tmp_path / "one.jsonl", "raw", upto=upto).path.read_bytes()
    store.undo(store.at("ann", "single", 1).assignment_id)
    store.add_pairs([row("P?", "yes", "no")], batch="later")
    say(store, "eve", "later", {"choice": "tie", "strength": 0})
    assert store.export(tmp_path / "two.jsonl", "raw", upto=upto).path.read_bytes() == first
    only = read_lines(store.export(tmp_path / "rank.jsonl", "raw", batch="rank").path)
    assert {line["batch"] for line in only if line["table"] == "task"} == {"rank"}
    assert {line["table"] for line in only} >= {"rating_event", "assignment", "response", "rater", "opening"}
    with fresh("other.db") as other:
        for name in ("one", "rank"):
            with pytest.raises(RatingError, match="an extract"):
                other.import_(tmp_path / f"{name}.jsonl")


def test_the_columns_of_the_tables_agree_on_their_types():
    assert raw.columns()["table"] == "text"
    assert set(raw.TABLES) == set(t.metadata.sorted_tables) - {t.standing, t.tally}


_TEXT = st.text(max_size=12) | st.sampled_from(
    ["\u2028\x85\x1c", "\u202e<script>", "\x00", "\ud800", "=1+1", "👩‍🚀"]
)
_SCORES = {
    "pair": st.sampled_from(
        [{"choice": "left", "strength": 3}, {"choice": "tie", "strength": 0}, {"choice": "right"}]
    ),
    "single": st.builds(lambda n: {"scores": {"likert": n}}, st.integers(1, 7)),
    "rank": st.permutations([1, 2, 2, None]).map(lambda ranks: {"scores": {"ranks": list(ranks)}}),
    "edit": _TEXT.map(lambda text: {"scores": {"text": text + "x"}}),
}


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example is a store: shrinking takes minutes
)
@given(st.data())
def test_b19_whatever_was_said_comes_back_as_it_was(tmp_path_factory, empty_store, data):
    import shutil

    folder = tmp_path_factory.mktemp("raw")
    shutil.copy(empty_store, folder / "one.db")
    shutil.copy(empty_store, folder / "two.db")
    with Ratings(folder / "one.db") as store, Ratings(folder / "two.db") as other:
        answers = {"pair": 2, "single": 1, "rank": 4, "edit": 0}
        for mode, count in answers.items():
            store.open_batch(mode, mode=mode, settings=PLAIN)
            texts = [data.draw(_TEXT) + str(n) for n in range(count)]
            store.add([row("Q" + data.draw(_TEXT), *texts, tags={"t": data.draw(_TEXT)})], mode)
        for _ in range(data.draw(st.integers(1, 8))):
            mode, rater = (
                data.draw(st.sampled_from(list(answers))),
                data.draw(st.sampled_from(["ann", "bob"])),
            )
            task = store.at(rater, mode, 1) or store.next(rater, mode)
            kinds = ["revise", "undo", "skip", "flag"] if task.state else ["rate", "skip"]
            if task.state and task.state.kind in ("skip", "flag"):
                kinds = ["rate", "undo"]
            kind = data.draw(st.sampled_from(kinds))
            said = data.draw(_SCORES[mode]) if kind in ("rate", "revise") else {}
            store.record(
                {
                    "event_id": uuid4().hex,
                    "assignment_id": task.assignment_id,
                    "kind": kind,
                    "prev_event_id": task.prev_event_id,
                    "comment": data.draw(_TEXT),
                    **said,
                }
            )
        other.import_(store.export(folder / "raw.jsonl", "raw").path)
        assert contents(other) == contents(store)
        assert other.verify()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_both_databases_export_the_same_bytes(store, postgres, tmp_path, suffix):
    every_mode(store)
    store.undo(store.at("ann", "pair", 2).assignment_id)
    postgres.import_(store.export(tmp_path / "raw.jsonl", "raw").path)
    upto = store.last_seq()
    say(store, "eve", "pair", {"prefer": "four"})
    for kind in ("preference", "unpaired", "sft", "reward"):
        here = store.export(tmp_path / f"here-{kind}{suffix}", kind, upto=upto)  # by the log
        there = postgres.export(tmp_path / f"there-{kind}{suffix}", kind)  # by what stands
        assert here.path.read_bytes() == there.path.read_bytes()
        assert (here.excluded, here.rows) == (there.excluded, there.rows)
    assert postgres.current("edit") == store.current("edit")


def test_a_log_comes_into_a_store_whose_raters_have_said_nothing_yet(store, tmp_path, fresh):
    store.add([row("P?", "x", "y")], "p", settings=PLAIN)
    for rater in ("zed", "ann", "bob"):  # numbered as they came, exported by name
        say(store, rater, "p", {"prefer": "x"})
    store.export(tmp_path / "log.jsonl", "raw")
    other = fresh("other.db")
    other.add([row("Q?", "x", "y")], "q", settings=PLAIN)
    for rater in ("yves", "zoe"):
        other.next(rater, "q")
    done = other.import_(tmp_path / "log.jsonl")
    assert (done.tasks, done.ratings) == (1, 3)
    assert [line.rater for line in sorted(other.board("p").raters, key=lambda line: line.rater)] == [
        "ann",
        "bob",
        "zed",
    ]
    assert other.verify()
