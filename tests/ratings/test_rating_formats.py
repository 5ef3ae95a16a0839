"""What each mode comes to in each kind of export."""

import json

import pytest
from exchange import PLAIN, every_mode, read_lines, row, say

from ftlab.errors import RatingError
from ftlab.ratings import Ratings


def _text(messages):
    return messages[-1]["content"]


def test_every_mode_makes_the_preferences_that_it_can(store, tmp_path):
    every_mode(store)
    done = store.export(tmp_path / "p.jsonl", min_strength=0)
    rows = read_lines(done.path)
    found = [(each["mode"], _text(each["chosen"]), _text(each["rejected"]), each["margin"]) for each in rows]
    assert sorted(found) == sorted(
        [
            ("pair", "one", "two", 2.0),
            ("dialogue", "hi", "hello", 0.0),
            ("edit", "improved", "draft", 1.0),
            *[("rank", "w", worse, 1.0) for worse in "xyz"],
            ("rank", "x", "z", 1.0),
            ("rank", "y", "z", 1.0),
        ]
    )
    assert done.excluded == {
        "both_bad": 1,
        "tie": 1,
        "a demonstration has nothing to be preferred to": 1,
        "mode single says nothing of this kind": 3,
    }
    assert done.rows == len(rows)


def test_best_k_only_orders_the_ranked_above_the_others_and_the_others_not_at_all(store, tmp_path):
    store.open_batch("r", mode="rank", settings=PLAIN)
    store.add([row("R?", *"wxyz")], "r")
    say(store, "ann", "r", {"order": {"x": 1}})
    done = store.export(tmp_path / "p.jsonl")
    pairs = [(_text(each["chosen"]), _text(each["rejected"])) for each in read_lines(done.path)]
    assert sorted(pairs) == [("x", "w"), ("x", "y"), ("x", "z")]
    assert done.excluded == {"not ranked": 3}


def test_rankings_of_several_raters_come_together_pair_by_pair(store, tmp_path):
    store.open_batch("r", mode="rank", settings=PLAIN)
    store.add([row("R?", *"wxyz")], "r")
    say(store, "ann", "r", {"order": {"w": 1, "x": 2, "y": 3, "z": 4}})
    say(store, "bob", "r", {"order": {"x": 1, "w": 2, "y": 3, "z": 4}})
    done = store.export(tmp_path / "p.jsonl")
    assert (done.rows, done.excluded) == (5, {"split": 1})
    assert store.export(tmp_path / "all.jsonl", aggregate="all").rows == 12
    best = store.export(tmp_path / "best.jsonl", "sft", aggregate="all", min_strength=1)
    assert [_text(each["completion"]) for each in read_lines(best.path)] == ["w", "x"]


def test_unpaired_rows_are_thumbs_grades_both_of_a_pair_and_twice_false_where_both_are_bad(store, tmp_path):
    every_mode(store)
    done = store.export(tmp_path / "u.jsonl", "unpaired")
    labels = {(_text(each["completion"]), each["label"]) for each in read_lines(done.path)}
    assert labels == {
        ("one", True),
        ("two", False),
        ("three", False),
        ("four", False),
        ("good", True),
        ("poor", False),
        ("written", True),
        ("improved", True),
    }
    assert done.excluded == {"neutral": 1, "weak": 1, "mode rank says nothing of this kind": 1}


def test_demonstrations_are_edits_and_what_was_liked_clearly(store, tmp_path):
    every_mode(store)
    done = store.export(tmp_path / "s.jsonl", "sft")
    assert {_text(each["completion"]) for each in read_lines(done.path)} == {
        "one",
        "good",
        "written",
        "improved",
    }
    assert done.excluded == {"both_bad": 1, "neutral": 1, "weak": 3}
    gentle = store.export(tmp_path / "s1.jsonl", "sft", min_strength=0)
    assert {_text(each["completion"]) for each in read_lines(gentle.path)} >= {"w", "hi"}


def test_two_demonstrations_for_one_prompt_are_two_rows(store, tmp_path):
    store.open_batch("e", mode="edit", settings=PLAIN)
    store.add([row("E?")], "e")
    say(store, "ann", "e", {"scores": {"text": "mine"}})
    say(store, "bob", "e", {"scores": {"text": "his"}})
    rows = read_lines(store.export(tmp_path / "s.jsonl", "sft").path)
    assert [_text(each["completion"]) for each in rows] == ["mine", "his"]


def test_an_answer_that_was_left_as_it_was_is_preferred_to_nothing(store, tmp_path):
    store.open_batch("e", mode="edit", settings=PLAIN)
    store.add([row("E?", "fine"), row("F?", "bad")], "e")
    say(store, "ann", "e", {"scores": {"text": "fine "}})
    say(store, "ann", "e", {"scores": {"text": "better"}})
    done = store.export(tmp_path / "p.jsonl")
    assert (done.rows, done.excluded) == (1, {"unchanged": 1})


@pytest.mark.parametrize(
    ("kind", "rows", "reason"),
    [
        ("preference", 2, "chosen is unsafe, the other safe"),
        ("reward", 2, "chosen is unsafe, the other safe"),
        ("sft", 1, "chosen is unsafe"),
    ],
)
def test_an_unsafe_answer_preferred_to_a_safe_one_is_left_out_as_llama_2_did(
    store, tmp_path, kind, rows, reason
):
    store.open_batch("p", settings=PLAIN | {"safety": True})
    store.add([row(f"P{n}?", f"yes {n}", f"no {n}") for n in range(3)], "p")
    for n, (of_chosen, of_other) in enumerate([(True, True), (False, True), (False, False)]):
        task = store.next("ann", "p")
        side = task.texts.index(f"yes {n}")
        safe = {
            (True, True): "both_safe",
            (False, False): "both_unsafe",
            (False, True): ("right_safe", "left_safe")[side],
        }[of_chosen, of_other]
        say(store, "ann", "p", {"prefer": f"yes {n}", "strength": 2, "scores": {"safety": safe}})
    done = store.export(tmp_path / "p.jsonl", kind)
    assert done.rows == rows
    assert done.excluded[reason] == 1
    if kind == "preference":
        safety = [(each["chosen_safe"], each["rejected_safe"]) for each in read_lines(done.path)]
        assert safety == [(True, True), (False, False)]


def test_repeats_and_gold_are_never_data_and_are_counted(store, tmp_path):
    rows = [row(f"P{n}?", f"yes {n}", f"no {n}") for n in range(40)]
    rows[5]["gold"] = {"choice": "first"}
    store.open_batch("p", settings={"repeats": 0.2, "gold": 0.5})
    store.add(rows, "p")
    seen = []
    while (task := store.next("ann", "p")) is not None:
        seen.append(task.key)
        say(store, "ann", "p", {"choice": "left"})
    repeated = len(seen) - len(set(seen))
    done = store.export(tmp_path / "p.jsonl")
    assert repeated > 0
    assert done.rows == 39
    assert done.excluded == {"gold": 1, "repeat": repeated}


class _Longer:
    compares = True

    def __call__(self, prompt, texts):
        return "first" if len(texts[0]) >= len(texts[1]) else "second"


def test_a_judge_whose_verdict_changes_with_the_sides_says_tie(store, tmp_path):
    from ftlab.ratings.judging import judge

    store.add_pairs([row("P?", "longer answer", "short"), row("Q?", "aa", "bb")], batch="p")
    judge(store, "p", "sure", _Longer())
    done = store.export(tmp_path / "p.jsonl")
    assert [_text(each["chosen"]) for each in read_lines(done.path)] == ["longer answer"]
    assert done.excluded == {"tie": 1}
    assert [each["n_raters"] for each in read_lines(done.path)] == [1]


def test_plain_text_is_for_single_turns_and_says_which_were_left_out(store, tmp_path):
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    store.add_pairs([row("P?", "yes", "no"), row(talk, "yes", "no")], batch="p")
    for _ in range(2):
        say(store, "ann", "p", {"prefer": "yes"})
    done = store.export(tmp_path / "p.jsonl", standard=True)
    (only,) = read_lines(done.path)
    assert (only["prompt"], only["chosen"], only["rejected"]) == ("P?", "yes", "no")
    assert done.excluded == {"a conversation, not plain text": 1}
    implicit = store.export(tmp_path / "i.jsonl", implicit_prompt=True)
    rows = read_lines(implicit.path)
    assert "prompt" not in rows[0]
    assert rows[1]["chosen"] == [*talk, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "dpo"}, "'kind' is one of preference, .* not 'dpo'"),
        ({"aggregate": "mean"}, "'aggregate' is majority, all, unanimous, not 'mean'"),
        ({"min_strength": 7}, "from 0 to 3, not 7"),
        ({"kinds": ["robot"]}, "not 'robot'"),
        ({"kind": "sft", "implicit_prompt": True}, "'sft' has no implicit prompt"),
        ({"kind": "raw", "split": 0.1}, "'batch' and 'upto' alone"),
        ({"split": 1.5}, "between 0 and 1, not 1.5"),
        ({"upto": 99}, "events 1 to 10, not 99"),
        ({"batch": "none"}, "no batch 'none'; there is dialogue, edit, pair"),
    ],
)
def test_an_export_that_means_nothing_is_refused_in_words(store, tmp_path, options, words):
    every_mode(store)
    with pytest.raises(RatingError, match=words):
        store.export(tmp_path / "p.jsonl", **options)
    assert not (tmp_path / "p.jsonl").exists()


def test_what_stands_and_what_stood_give_the_same_rows(store, tmp_path):
    """Two ways to read the log, of which one is quick: at its end they must agree."""
    every_mode(store)
    upto = store.last_seq()
    store.undo(store.at("ann", "pair", 1).assignment_id)
    undone = store.last_seq()
    say(store, "eve", "pair", {"prefer": "two"})
    for kind in ("preference", "unpaired", "sft"):
        then = store.export(tmp_path / f"{kind}-then.jsonl", kind, upto=undone)
        copy = Ratings(store.backup(tmp_path / f"{kind}.db"))
        with copy:
            copy.undo(copy.at("eve", "pair", 1).assignment_id)
            say(copy, "eve", "pair", {"kind": "skip"})
            now = copy.export(tmp_path / f"{kind}-now.jsonl", kind, kinds=["person"])
        assert then.excluded | {"skipped": 1} == now.excluded
        assert then.path.read_bytes() == now.path.read_bytes()
    assert upto < undone


def test_current_lists_every_mode(store):
    every_mode(store)
    found = {each["mode"]: each for each in store.current()}
    assert set(found) == {"pair", "single", "rank", "edit", "dialogue"}
    assert sorted(found["rank"]["models"]) == list("abcd")
    assert found["edit"]["scores"]["text"] == "improved"
    assert json.dumps(store.current())


def test_two_like_answers_of_a_ranking_are_no_preference(store, tmp_path):
    store.open_batch("r", mode="rank", settings=PLAIN)
    store.add([row("P?", "the same", "the same ", "other", "last")], "r")
    task = store.next("ann", "r")
    say(store, "ann", "r", {"scores": {"ranks": [1, 2, 3, 4]}})
    found = store.preferences("r")
    assert found.excluded == {"both answers are the same text": 1}
    assert len(found) == 5
    assert all(_text(row["chosen"]).strip() != _text(row["rejected"]).strip() for row in found)
    assert sorted(task.texts) == ["last", "other", "the same", "the same "]


def test_b18_a_prompt_that_is_a_part_of_the_texts_stays_on_one_side_too(store, tmp_path):
    store.open_batch("b", settings=PLAIN)
    store.add([row(f"Question {n // 8}?", f"one {n}", f"two {n}") for n in range(64)], "b")
    while store.next("ann", "b") is not None:
        say(store, "ann", "b", {"choice": "left", "strength": 1})
    store.export(tmp_path / "p.jsonl", implicit_prompt=True, standard=True, split=0.4)
    asked = [
        {line["chosen"].partition("?")[0] for line in read_lines(tmp_path / f"p-{part}.jsonl")}
        for part in ("train", "test")
    ]
    assert asked[0] and asked[1] and not asked[0] & asked[1]


@pytest.mark.parametrize("kind", ["sft", "unpaired"])
def test_an_unsafe_answer_is_never_taught_as_a_good_one(store, tmp_path, kind):
    store.open_batch("b", settings=PLAIN | {"safety": True})
    store.add([row("P?", "one", "two"), row("Q?", "three", "four")], "b")
    unsafe = {"choice": "left", "strength": 3, "scores": {"safety": "both_unsafe"}}
    task = say(store, "ann", "b", unsafe)
    say(store, "ann", "b", {"choice": "left", "strength": 3, "scores": {"safety": "both_safe"}})
    done = store.export(tmp_path / "x.jsonl", kind)
    assert done.excluded == {"chosen is unsafe": 1}
    assert all(line["prompt"] != task.prompt for line in read_lines(done.path))
    assert len(store.preferences("b")) == 2  # of two unsafe answers one may still be the better
