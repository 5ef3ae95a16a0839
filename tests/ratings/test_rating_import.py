"""What was rated elsewhere: every shape is recognised, says what it said, and comes in once."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange import PLAIN, read_lines, say

from ftlab.errors import RatingError
from ftlab.ratings.exchange.shapes import transcript

SAMPLES = Path(__file__).with_name("samples")


def put(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def chat(*turns):
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(turns)]


def answer(text):
    return [{"role": "assistant", "content": text}]


def judged(store, batch="imported"):
    """(prompt's end, chosen, rejected) of each preference."""
    return [
        (each["prompt"][-1]["content"], each["chosen"][0]["content"], each["rejected"][0]["content"])
        for each in store.preferences(batch)
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."},
        {"prompt": chat("Sky?"), "chosen": answer("Blue."), "rejected": answer("Green.")},
        {"chosen": chat("Sky?", "Blue."), "rejected": chat("Sky?", "Green.")},
        {"prompt": "Sky?", "chosen": chat("Sky?", "Blue."), "rejected": chat("Sky?", "Green.")},
        {"chosen": "\n\nHuman: Sky?\n\nAssistant: Blue.", "rejected": "\n\nHuman: Sky?\n\nAssistant: Green."},
        {
            "prompt": [{"from": "human", "value": "Sky?"}],
            "chosen": [{"from": "gpt", "value": "Blue."}],
            "rejected": [{"from": "gpt", "value": "Green."}],
        },
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "Sky?"}]}],
            "chosen": [{"role": "assistant", "content": "Blue.", "tool_calls": None}],
            "rejected": answer("Green."),
        },
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_every_shape_of_a_preference_says_the_same(store, tmp_path, record, suffix):
    path = tmp_path / f"p{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([record]), path)
    elif suffix == ".json":
        path.write_text(json.dumps([record]))
    else:
        put(path, record)
    found = store.import_(path)
    assert (found.tasks, found.ratings, found.refused) == (1, 1, ())
    assert judged(store) == [("Sky?", "Blue.", "Green.")]
    (stood,) = store.current()
    assert (stood["rater"], stood["rater_kind"]) == ("imported", "replay")
    again = store.import_(path)
    assert (again.tasks, again.ratings, again.known) == (0, 0, 1)
    assert store.last_seq() == 1
    assert store.verify()


def test_a_prompt_inside_plain_text_is_what_both_share_up_to_a_word(store, tmp_path):
    record = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    store.import_(put(tmp_path / "p.jsonl", record))
    assert judged(store) == [("The sky is", " blue.", " black.")]


def test_the_slot_of_an_answer_does_not_tell_that_it_was_chosen(store, tmp_path):
    records = [{"prompt": f"P{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(60)]
    store.import_(put(tmp_path / "p.jsonl", *records))
    assert len(judged(store)) == 60
    first = sum(
        row["models"] == ["unknown", "unknown"] and row["choice"] == "left" for row in store.current()
    )
    assert 10 < first < 50
    with store.database.reading() as connection:
        chosen_first = connection.exec_driver_sql(
            "SELECT count(*) FROM response WHERE slot = 0 AND text LIKE 'yes%'"
        ).scalar()
    assert 10 < chosen_first < 50


def test_thumbs_and_demonstrations_come_in_their_own_modes(store, tmp_path):
    thumbs = [
        {"prompt": "P", "completion": "good", "label": True},
        {"prompt": "P", "completion": "bad", "label": 0},
    ]
    store.import_(put(tmp_path / "u.jsonl", *thumbs), "thumbs")
    assert [row["scores"] for row in store.current("thumbs")] == [{"thumb": "up"}, {"thumb": "down"}]
    edits = [{"prompt": "P", "completion": "one"}, {"prompt": "P", "completion": "two"}]
    found = store.import_(put(tmp_path / "s.jsonl", *edits), "edits")
    assert (found.tasks, found.ratings) == (1, 2)
    assert store.import_(tmp_path / "s.jsonl", "edits").known == 2
    talk = {"messages": [*chat("Hi", "Hello!", "Bye", "See you."), {"role": "user", "content": "?"}]}
    store.import_(put(tmp_path / "m.jsonl", talk), "talk")
    texts = {
        row["prompt"][-1]["content"]: row
        for row in read_lines(store.export(tmp_path / "x.jsonl", "sft").path)
    }
    assert texts["Bye"]["completion"] == answer("See you.")


def test_transcripts_are_parted_at_their_speakers(store, tmp_path):
    text = "\n\nHuman: Hi\n\nAssistant: Hello. Human: is a word.\n\nHuman: Bye\n\nAssistant:"
    assert [message["content"] for message in transcript(text)] == [
        "Hi",
        "Hello. Human: is a word.",
        "Bye",
        "",
    ]
    rows = [
        {"chosen": text + " Ciao", "rejected": text + " Go"},
        {"chosen": text + " Ciao", "rejected": "\n\nHuman: Else\n\nAssistant: Go"},
        {"chosen": text + " Ciao", "rejected": text},
    ]
    found = store.import_(put(tmp_path / "hh.jsonl", *rows), skip_bad=True)
    assert found.format == "hh"
    assert [refusal.reason for refusal in found.refused] == [
        "'chosen' and 'rejected' are answers to different conversations",
        "an answer is empty",
    ]
    assert judged(store) == [("Bye", "Ciao", "Go")]


def test_scored_lists_are_rankings_of_a_judge(store, tmp_path):
    completions = [
        {"model": "m1", "response": "one", "overall_score": 7.5},
        {"model": "m2", "response": "two", "overall_score": 9},
        {"model": "m3", "response": "three", "overall_score": 7.5},
        {"model": "m4", "response": "four", "annotations": {"a": {"Rating": "2"}, "b": {"Rating": "3"}}},
    ]
    found = store.import_(put(tmp_path / "uf.jsonl", {"instruction": "Count", "completions": completions}))
    assert found.format == "scored"
    (row,) = store.current()
    ranks = dict(zip(row["models"], row["scores"]["ranks"], strict=True))
    assert ranks == {"m1": 2, "m2": 1, "m3": 2, "m4": 3}
    assert (row["rater"], row["rater_kind"]) == ("imported-judge", "judge")
    assert len(store.preferences()) == 5
    two = {"prompt": "Two", "answers": [{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}]}
    store.import_(put(tmp_path / "two.jsonl", two), "two")
    assert judged(store, "two") == [("Two", "b", "a")]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("label-studio-pairwise.json", {}, [("pair", "An animal with feathers."), ("pair", "Blue.")]),
        ("label-studio-ranker.json", {}, [("rank", "Green.")]),
        (
            "label-studio-single.json",
            {},
            [("edit", "An animal with feathers."), ("single", 7), ("single", 2)],
        ),
        (
            "argilla.json",
            {"questions": ["preference"]},
            [
                ("pair", None),
                ("pair", "blue\u2028green"),
                ("pair", "blue\u2028green"),
                ("pair", "red and 0 more"),
            ],
        ),
        ("argilla-flat.json", {"questions": ["better"]}, [("pair", "red and 0 more")]),
        (
            "argilla-flat.json",
            {"questions": ["quality", "corrected"], "answers": ["response-1"]},
            [("edit", "Red and blue."), ("single", 2), ("single", 6)],
        ),
    ],
)
def test_exports_of_rating_tools_say_what_was_rated(store, tmp_path, name, fields, said):
    found = store.import_(SAMPLES / name, "x", fields=fields)
    told = []
    for row in store.current():
        assert row["rater_kind"] == "person"
        assert row["rater"].startswith("imported-")
        task = store.task(row["assignment_id"])
        if row["mode"] == "pair":
            told.append(("pair", dict(zip(("left", "right"), task.texts, strict=True)).get(row["choice"])))
        elif row["mode"] == "rank":
            told.append(("rank", task.texts[row["scores"]["ranks"].index(1)]))
        else:
            told.append((row["mode"], row["scores"].get("text") or row["scores"]["likert"]))
    assert sorted(told, key=repr) == sorted(said, key=repr)
    assert found.ratings == len(said)
    again = store.import_(SAMPLES / name, "x", fields=fields)
    assert (again.tasks, again.ratings) == (0, 0)
    assert store.verify()


def test_the_names_of_people_are_hashed_with_the_salt_of_the_batch(store, tmp_path):
    record = {
        "data": {"prompt": "P", "text": "T"},
        "annotations": [
            {
                "completed_by": {"email": "ann@example.org"},
                "result": [{"type": "rating", "from_name": "r", "value": {"rating": 4}}],
            }
        ],
    }
    path = tmp_path / "ls.json"
    path.write_text(json.dumps([record]))
    store.import_(path, "one")
    store.import_(path, "two")
    raters = {row["rater"] for row in store.current()}
    assert len(raters) == 2  # not linked across batches
    raw = store.export(tmp_path / "raw.jsonl", "raw").path.read_text()
    assert "example.org" not in raw


def test_a_contradiction_of_the_same_rater_is_told_and_the_first_stands(store, tmp_path):
    one = {"prompt": "P", "chosen": "yes", "rejected": "no"}
    other = {"prompt": "P", "chosen": "no", "rejected": "yes"}
    found = store.import_(put(tmp_path / "p.jsonl", one, other, one))
    assert (found.tasks, found.ratings, found.known) == (1, 1, 1)
    assert found.refused[0].place.endswith("p.jsonl:2")
    assert "contradicts" in found.refused[0].reason
    assert judged(store) == [("P", "yes", "no")]
    assert store.import_(put(tmp_path / "q.jsonl", other), rater="someone else").ratings == 1


def test_leaks_and_near_duplicates_are_told(store, tmp_path):
    store.import_(put(tmp_path / "eval.jsonl", {"prompt": "Same?", "chosen": "y", "rejected": "n"}), "eval")
    records = [
        {"prompt": "Same?", "chosen": "a", "rejected": "b"},
        {"prompt": "same  ?!", "chosen": "c", "rejected": "d"},
        {"prompt": "Other", "chosen": "go on", "rejected": "go"},
    ]
    notes = " ".join(store.import_(put(tmp_path / "train.jsonl", *records), "train").notes)
    assert "1 prompts are in batch 'eval' too" in notes
    assert "1 of 3 opinions are about a prompt like that of another one" in notes
    assert "1 pairs where one answer is the beginning of the other" in notes


def test_our_own_preferences_come_back_with_their_strength_and_models(store, tmp_path, fresh):
    store.add_pairs(
        [{"prompt": "P", "responses": [{"model": "a", "text": "yes"}, {"model": "b", "text": "no"}]}],
        batch="p",
    )
    say(store, "ann", "p", {"prefer": "no", "strength": 3})
    done = store.export(tmp_path / "p.parquet")
    with fresh("other.db") as other:
        other.import_(done.path, "p")
        (row,) = other.preferences()
    assert (row["chosen_model"], row["rejected_model"], row["margin"]) == ("b", "a", 3.0)


def test_an_import_counts_for_the_places_of_a_batch_that_asks_few(store, tmp_path):
    store.open_batch("p", settings=PLAIN | {"overlap": 1})
    store.import_(put(tmp_path / "p.jsonl", {"prompt": "P", "chosen": "yes", "rejected": "no"}), "p")
    assert store.next("ann", "p") is None
    assert store.progress("imported", "p").rated == 1


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"text": "A page."}], "plain text for language modelling says nothing"),
        ([{"prompt": "P"}], "a prompt alone says nothing"),
        ([{"prompt": "P", "completions": ["a"], "labels": [True]}], "stepwise supervision"),
        ([{"chosen": "yes"}], "needs both 'chosen' and 'rejected'"),
        ([{"a": 1}], "no known shape has the keys a"),
        ([{"prompt": "P", "completion": "C", "label": "maybe"}], "'label' is true or false, not 'maybe'"),
        ([{"messages": [{"role": "robot", "content": "x"}]}], "message 1 of 'messages' has the role 'robot'"),
        ([{"chosen": chat("a", "b", "c", "d"), "rejected": chat("a", "x")}], "one answer of the assistant"),
        (
            [{"instruction": "I", "completions": [{"response": "a"}, {"response": "b"}]}],
            "2 of 2 answers have no score",
        ),
    ],
)
def test_what_says_nothing_is_refused_by_name(store, tmp_path, records, words):
    with pytest.raises(RatingError, match=words):
        store.import_(put(tmp_path / "p.jsonl", *records))
    assert store.last_seq() == 0
    assert store.batches() == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": "nothing"}, "which of .* is the prompt"),
        ({"scale": 3}, "a rating of 4 on a scale of 1 to 3"),
        ({"scale": 1}, "a number of points from 2 to 100"),
        ({"promt": "x"}, "not 'promt'"),
        ({"answers": ["left"]}, "there is no field 'left', only question, text"),
    ],
)
def test_a_word_about_fields_that_does_not_fit_is_told(store, tmp_path, fields, words):
    record = {
        "data": {"question": "P", "text": "T"},
        "annotations": [{"completed_by": 1, "result": [{"type": "rating", "value": {"rating": 4}}]}],
    }
    path = tmp_path / "ls.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(RatingError, match=words):
        store.import_(path, fields=fields)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "P", "response": "x", "q.responses": ["up", "down"], "q.responses.users": ["u"]}, "2 values, 1 users"),
        ({"prompt": "P", "response": "x", "q.responses": "up"}, "'q.responses' is str, not a list"),
        ({"fields": {"prompt": "P", "response": "x"}, "responses": {"q": 5}}, "answered to 'q' is int, not a list"),
        (
            {"data": {"prompt": "P", "response": "x"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": 5}}]}]},
            "'choices' is int, not a list",
        ),
        (
            {
                "data": {"prompt": "P", "items": [{"id": 1, "body": "x"}, {"id": 2, "body": "y"}]},
                "annotations": [{"result": [{"type": "ranker", "value": {"ranker": {"r": 5}}}]}],
            },
            "the ranking is int, not a list",
        ),
        (
            {"prompt": "P", "completions": [{"text": "a", "rank": 1}, {"text": "b", "rank": None, "score": 9}]},
            "1 of 2 answers have a rank: all of them must, or none",
        ),
        (
            {"prompt": "P", "completions": [{"text": "a", "score": "nan"}, {"text": "b", "score": 9}]},
            "1 of 2 answers have no score",
        ),
    ],
)  # fmt: skip
def test_an_odd_record_is_refused_with_its_place_and_reason(store, tmp_path, record, reason):
    path = put(tmp_path / "odd.jsonl", record)
    with pytest.raises(RatingError, match=re.escape(reason)) as told:
        store.import_(path)
    assert f"{path}:1: " in str(told.value)
    assert store.batches() == {}


def test_a_rank_that_is_null_does_not_turn_the_scores_round(store, tmp_path):
    answers = [{"text": "best", "rank": None, "score": 9}, {"text": "worst", "rank": None, "score": 1}]
    store.import_(put(tmp_path / "s.jsonl", {"prompt": "P", "completions": answers}))
    (row,) = store.preferences()
    assert row["chosen"][0]["content"] == "best"


def test_a_bad_first_record_does_not_decide_what_the_others_are(store, tmp_path):
    good = [{"chosen": f"\n\nHuman: q{n}\n\nAssistant: a", "rejected": f"\n\nHuman: q{n}\n\nAssistant: b"} for n in range(3)]  # fmt: skip
    path = put(tmp_path / "hh.jsonl", {"chosen": None, "rejected": "\n\nHuman: q\n\nAssistant: b"}, *good)
    done = store.import_(path, skip_bad=True)
    assert (done.format, done.ratings, len(done.refused)) == ("hh", 3, 1)


def test_a_batch_that_asks_something_else_refuses_with_the_place(store, tmp_path):
    store.open_batch("likert", mode="single", settings=PLAIN | {"scale": "likert"})
    path = put(tmp_path / "u.jsonl", {"prompt": "P", "completion": "x", "label": True})
    with pytest.raises(RatingError, match=r"u\.jsonl:1: batch 'likert' does not take this: .*'likert'"):
        store.import_(path, "likert")
