"""From what stands in the log to rows that a trainer takes."""

import hashlib
import json
import multiprocessing
import random
import re
import resource
import signal

import pytest

from ftlab import ratings as public
from ftlab.errors import RatingError
from ftlab.interval import wilson
from ftlab.ratings import NotSaved, Ratings


def _say(store, make_event, rater, *answers, batch="default"):
    """Each answer is the model preferred and how much, or a choice without a side, or a kind."""
    for answer in answers:
        task = store.next(rater, batch)
        if isinstance(answer, tuple):
            words, strength = answer
            side = "left" if words in task.left else "right"
            store.record(make_event(task, choice=side, strength=strength))
        elif answer in ("skip", "flag"):
            store.record(make_event(task, answer))
        else:
            store.record(make_event(task, choice=answer, strength=0))


def test_a_row_is_what_trl_calls_a_conversational_preference(store, make_event):
    prompt = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Who are you?"},
    ]
    answers = [{"model": "wren", "text": "a base thing"}, {"model": "run:t", "text": "a tuned one"}]
    store.add_pairs([{"prompt": prompt, "responses": answers}])
    _say(store, make_event, "ann", ("tuned", 3))
    (row,) = store.preferences()
    assert row["prompt"] == prompt
    assert row["chosen"] == [{"role": "assistant", "content": "a tuned one"}]
    assert row["rejected"] == [{"role": "assistant", "content": "a base thing"}]
    assert (row["margin"], row["agreement"], row["n_raters"], row["rater_kind"]) == (3.0, 1.0, 1, "person")
    assert (row["chosen_model"], row["rejected_model"]) == ("run:t", "wren")


def test_what_teaches_nothing_is_left_out_and_counted(store, make_pairs, make_event):
    store.add_pairs(make_pairs(7))
    _say(store, make_event, "ann", ("tuned", 1), "tie", "both_bad", "skip", "flag", ("base", 0), ("base", 2))
    found = store.preferences()
    assert [row["chosen_model"] for row in found] == ["run:tuned", "wren"]
    assert found.excluded == {"tie": 1, "both_bad": 1, "skipped": 1, "flagged": 1, "weak": 1}
    store.undo(store.at("ann", "default", 7).assignment_id)
    assert store.preferences().excluded["undone"] == 1
    assert len(store.preferences(min_strength=0)) == 2


def test_an_empty_answer_is_never_taught(store, make_event):
    responses = [{"model": "wren", "text": " "}, {"model": "run:t", "text": "something"}]
    store.add_pairs([{"prompt": "x", "responses": responses}])
    _say(store, make_event, "ann", ("something", 1))
    assert store.preferences().excluded == {"empty answer": 1}
    assert store.win_rate(None, "run:t", "wren").wins == 1


@pytest.mark.parametrize(
    ("aggregate", "models", "margins", "excluded"),
    [
        ("majority", ["run:tuned", "wren"], [4 / 3, 2.0], {"split": 1}),
        ("unanimous", ["wren"], [2.0], {"not unanimous": 2}),
        (
            "all",
            ["run:tuned"] * 2 + ["wren"] * 5 + ["run:tuned"],
            [3.0, 2.0, 1.0, 2.0, 2.0, 2.0, 1.0, 3.0],
            {"tie": 1},
        ),
    ],
)
def test_raters_of_one_task_are_brought_together_as_asked(
    store, make_pairs, make_event, aggregate, models, margins, excluded
):
    store.add_pairs(make_pairs(3))
    _say(store, make_event, "ann", ("tuned", 3), ("base", 2), ("base", 1))
    _say(store, make_event, "bob", ("tuned", 2), ("base", 2), ("tuned", 3))
    _say(store, make_event, "eve", ("base", 1), ("base", 2), "tie")
    found = store.preferences(aggregate=aggregate)
    assert [row["chosen_model"] for row in found] == models
    assert [row["margin"] for row in found] == pytest.approx(margins)
    assert found.excluded == excluded
    assert found[-1]["agreement"] == 1.0


def test_what_a_person_said_outranks_a_judge_and_is_never_mixed_with_it(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    public.simulate(store, "default", "gold", lambda _, text: len(text))
    _say(store, make_event, "ann", ("base", 1))
    found = store.preferences()
    assert [(row["chosen_model"], row["rater_kind"], row["n_raters"]) for row in found] == [
        ("wren", "person", 1),
        ("run:tuned", "simulated", 1),
    ]
    assert found.excluded == {"other kind of rater": 1}
    assert [row["chosen_model"] for row in store.preferences(kinds=["simulated"])] == ["run:tuned"] * 2
    with pytest.raises(RatingError, match="not 'robot'"):
        store.preferences(kinds=["robot"])


def test_the_same_event_number_gives_the_same_bytes_for_ever(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(4))
    _say(store, make_event, "ann", ("tuned", 1), ("base", 2))
    upto = store.last_seq()
    first = store.preferences(upto=upto).save(tmp_path / "one" / "p.jsonl")
    store.record(make_event(store.at("ann", "default", 1), "revise", choice="tie", strength=0))
    _say(store, make_event, "ann", ("tuned", 3))
    second = store.preferences(upto=upto).save(tmp_path / "two" / "p.jsonl")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_name("manifest.json").read_bytes() == second.with_name("manifest.json").read_bytes()
    assert len(store.preferences()) == 2
    with pytest.raises(RatingError, match="events 1 to 4, not 5"):
        store.preferences(upto=5)


def test_the_manifest_tells_what_the_file_is_and_keeps_its_neighbours(
    store, make_pairs, make_event, tmp_path
):
    store.add_pairs(make_pairs(3), instructions="Prefer the kind one.")
    _say(store, make_event, "ann", ("tuned", 1), "tie", ("base", 2))
    first = store.preferences().save(tmp_path / "first.jsonl")
    store.preferences(aggregate="all").save(tmp_path / "second.jsonl")
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert set(files) == {"first.jsonl", "second.jsonl"}
    entry = files["first.jsonl"]
    assert entry["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert (entry["rows"], entry["excluded"], entry["seq"]) == (2, {"tie": 1}, 3)
    assert entry["raters"] == {"person": 1}
    assert entry["batches"]["default"]["instructions"] == {"1": "Prefer the kind one."}
    assert "ann" not in (tmp_path / "manifest.json").read_text() + first.read_text()


def test_every_reader_sees_one_record_a_line_whatever_the_text(store, make_event, tmp_path):
    hostile = "one\u2028two\x85three\x1cfour\x0bfive\r\n<script>\u202e"
    responses = [{"model": "a", "text": hostile}, {"model": "b", "text": "plain"}]
    store.add_pairs([{"prompt": hostile, "responses": responses}])
    _say(store, make_event, "ann", ("five", 1))
    path = store.preferences().save(tmp_path / "p.jsonl")
    lines = path.read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["chosen"][0]["content"] == hostile


def test_nothing_to_save_is_an_error_that_says_why(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(2))
    _say(store, make_event, "ann", "tie", "both_bad")
    with pytest.raises(RatingError, match=r"1 both_bad, 1 tie left out.*rate some pairs first"):
        store.preferences().save(tmp_path / "p.jsonl")
    assert not (tmp_path / "p.jsonl").exists()
    with pytest.raises(RatingError, match="no batch 'tour'; there is default"):
        store.preferences("tour")


def _save_on_full_disk(path, goal, pipe):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    found = Ratings(path).preferences()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        found.save(goal)
        pipe.send("saved")
    except NotSaved as error:
        pipe.send(str(error))


def test_a_full_disk_leaves_the_old_export_and_no_scraps(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(12))
    _say(store, make_event, "ann", ("tuned", 1))
    goal = store.preferences().save(tmp_path / "out" / "p.jsonl")
    before = {file.name: file.read_bytes() for file in goal.parent.iterdir()}
    _say(store, make_event, "ann", *[("tuned", 1)] * 11)
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_save_on_full_disk, args=(store.path, goal, there))
    child.start()
    assert "NOT written (File too large)" in here.recv()
    child.join()
    assert {file.name: file.read_bytes() for file in goal.parent.iterdir()} == before


def _save_for_ever(path, goal, pipe):
    store = Ratings(path)
    exports = [store.preferences(upto=upto) for upto in range(4, store.last_seq() + 1)]
    while True:
        for found in exports:
            found.save(goal)
            pipe.send("saved")


def test_a_kill_during_an_export_leaves_a_whole_file(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(12))
    _say(store, make_event, "ann", *[("tuned", 1)] * 12)
    whole = {store.preferences(upto=n).save(tmp_path / f"{n}.jsonl").read_bytes() for n in range(4, 13)}
    goal = tmp_path / "out" / "p.jsonl"
    fork = multiprocessing.get_context("fork")
    for kill in range(20):
        here, there = fork.Pipe()
        child = fork.Process(target=_save_for_ever, args=(store.path, goal, there))
        child.start()
        for _ in range(kill % 3 + 1):
            here.recv()
        child.kill()
        child.join()
        data = goal.read_bytes()
        assert data in whole
        entry = json.loads((goal.parent / "manifest.json").read_text())["files"]["p.jsonl"]
        assert entry["seq"] in range(4, 13)


def test_trl_takes_the_rows_as_they_are(store, make_pairs, make_event, tmp_path):
    """TRL's own functions; they import torch."""
    pytest.importorskip("torch")
    datasets = pytest.importorskip("datasets")
    data_utils = pytest.importorskip("trl.data_utils")
    multi_turn = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Who are you?"},
    ]
    rows = make_pairs(4)
    rows[1]["prompt"] = multi_turn
    store.add_pairs(rows)
    _say(store, make_event, "ann", ("tuned", 1), ("base", 2), ("tuned", 3), ("tuned", 2))
    path = store.preferences().save(tmp_path / "p.jsonl")
    made = datasets.Dataset.from_list(list(store.preferences()))
    read = datasets.Dataset.from_json(str(path), cache_dir=str(tmp_path / "cache"))
    for dataset in (made, read):
        assert dataset.num_rows == 4
        assert all(data_utils.is_conversational(row) for row in dataset)
        assert data_utils.maybe_extract_prompt(dataset[1])["prompt"] == multi_turn
        unpaired = data_utils.unpair_preference_dataset(dataset)
        assert unpaired.num_rows == 8
        assert unpaired["label"].count(True) == 4


def test_a_win_rate_counts_each_task_once_with_its_interval(store, make_pairs, make_event):
    store.add_pairs(make_pairs(6))
    _say(store, make_event, "ann", ("tuned", 1), ("tuned", 0), ("base", 1), "tie", "both_bad", "skip")
    _say(store, make_event, "bob", ("tuned", 1), ("tuned", 1), ("tuned", 1))
    found = store.win_rate("default", "run:tuned", "wren")
    assert (found.wins, found.losses, found.ties, found.both_bad, found.n) == (2, 0, 3, 1, 5)
    assert found.rate == 0.7
    assert (found.low, found.high) == wilson(3.5, 5)
    turned = store.win_rate("default", "wren", "run:tuned")
    assert turned.losses == 2
    assert turned.rate == pytest.approx(0.3)
    assert turned.low == pytest.approx(1 - found.high)
    with pytest.raises(RatingError, match="no answer here is of model 'gpt'; there are run:tuned, wren"):
        store.win_rate("default", "gpt", "wren")


def test_a_win_rate_of_nothing_is_undefined_not_zero(store, make_pairs):
    store.add_pairs(make_pairs(1))
    found = store.win_rate(None, "wren", "run:tuned")
    assert found.rate is None
    assert (found.low, found.high) == (0.0, 1.0)
    assert "undefined" in str(found)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(8, 10, 0.540_792_8, 0.931_442_0), (0, 10, 0.0, 0.212_942_0), (50, 100, 0.418_847_8, 0.581_152_2)],
)
def test_the_interval_is_wilsons(successes, n, low, high):
    """The bounds were found by bisection: where the share lies 1.645 standard errors away."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_the_default_store_is_that_of_the_home_folder(make_pairs, make_event, own_home):
    with Ratings() as store:
        store.add_pairs(make_pairs(1))
        _say(store, make_event, "ann", ("tuned", 1))
    assert (own_home / "ratings.db").exists()
    assert len(public.preferences()) == 1


def test_what_was_said_after_the_models_were_shown_is_no_row_and_counted(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    _say(store, make_event, "ann", ("tuned", 2), ("tuned", 2))
    first = store.at("ann", "default", 1)
    store.reveal(first.assignment_id)
    seq = store.last_seq()
    store.record(make_event(store.task(first.assignment_id), "revise", choice="left", strength=1))
    now = store.preferences()
    assert (len(now), now.excluded) == (1, {"said after the models were shown": 1})
    assert store.win_rate(None, "run:tuned", "wren").n == 1
    store.record(make_event(store.next("bob"), choice="tie", strength=0))
    assert store.preferences(upto=seq + 1).excluded == now.excluded  # also when looked back at
    assert len(store.preferences(upto=seq)) == 2  # the blind answers


@pytest.mark.parametrize(
    ("said", "aggregate", "excluded"),
    [
        ([("tuned", 1), ("base", 0), ("base", 0)], "majority", {"weak": 1}),
        ([("tuned", 1), ("base", 0)], "majority", {"split": 1}),
        ([("tuned", 1), "both_bad", "both_bad"], "majority", {"both_bad": 1}),
        (["tie", "both_bad"], "majority", {"tie": 1}),
        (["tie", "both_bad"], "unanimous", {"not unanimous": 1}),
        (["tie", "tie"], "unanimous", {"tie": 1}),
    ],
)
def test_no_row_goes_against_most_of_its_raters(store, make_pairs, make_event, said, aggregate, excluded):
    store.add_pairs(make_pairs(1))
    for rater, answer in zip("abc", said, strict=False):
        _say(store, make_event, rater, answer)
    found = store.preferences(aggregate=aggregate)
    assert (len(found), found.excluded) == (0, excluded)


def test_a_majority_holds_its_weak_votes_too(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    for rater, answer in zip("abc", [("tuned", 2), ("tuned", 0), "tie"], strict=True):
        _say(store, make_event, rater, answer)
    (row,) = store.preferences()
    assert (row["chosen_model"], row["agreement"], row["margin"]) == ("run:tuned", 2 / 3, 2 / 3)


def test_an_undone_gold_answer_is_told_alike_now_and_later(store, make_pairs, make_event, tmp_path):
    (known,) = make_pairs(1, start=90)
    store.add([*make_pairs(3), known | {"gold": {"choice": "first"}}], settings={"gold": 0.5, "repeats": 0})
    while (task := store.next("ann")) is not None:
        store.record(make_event(task))
    gold = next(row for row in store.current() if row["gold"])
    store.undo(gold["assignment_id"])
    now = store.export(tmp_path / "now" / "p.jsonl")
    store.record(make_event(store.next("bob")))
    later = store.export(tmp_path / "later" / "p.jsonl", upto=now.seq)
    assert now.excluded == later.excluded == {"undone": 1}
    for name in ("p.jsonl", "manifest.json", "README.md"):
        assert (tmp_path / "now" / name).read_bytes() == (tmp_path / "later" / name).read_bytes()


def test_card_and_manifest_speak_of_the_rows_alone(store, make_pairs, make_event, tmp_path):
    store.add(make_pairs(1), "pairs", settings={"licence": "MIT"})
    store.add(make_pairs(1, start=1), "more")
    answer = {"model": "of-no-row", "text": "a lonely one"}
    store.add([{"prompt": "S?", "responses": [answer]}], "single", mode="single")
    for batch in ("pairs", "more"):
        store.record(make_event(store.next("ann", batch)))
    task = store.next("bob", "single")
    store.record(make_event(task, choice=None, strength=None, scores={"thumb": "up"}))
    found = store.export(tmp_path / "p.jsonl")
    assert found.excluded == {"mode single says nothing of this kind": 1}
    about = json.loads((tmp_path / "manifest.json").read_text())["files"]["p.jsonl"]
    assert (about["models"], about["raters"], about["tasks"]) == (["run:tuned", "wren"], {"person": 1}, 2)
    assert set(about["batches"]) == {"pairs", "more"}
    card = (tmp_path / "README.md").read_text()
    assert "license: unknown" in card  # one batch's licence is not that of the whole
    assert "**Licence:** MIT; not stated for 1 of 2 batches." in card


def test_the_figures_of_a_card_are_those_of_the_board(store, make_pairs, make_event, tmp_path):
    dice = random.Random(5)
    store.add_pairs(make_pairs(30))
    for rater in ("ann", "bob", "eve"):
        while (task := store.next(rater)) is not None:
            choice = dice.choice(["left", "left", "right", "tie", "both_bad"])
            strength = dice.randrange(4) if choice in ("left", "right") else 0
            store.record(make_event(task, choice=choice, strength=strength))
    store.export(tmp_path / "p.jsonl")
    about = json.loads((tmp_path / "manifest.json").read_text())["files"]["p.jsonl"]
    board = store.board()
    of_board = [one.value for one in board.agreement if one.name != "Gwet's AC1"]
    assert [row["value"] for row in about["agreement"]] == pytest.approx(of_board)
    assert about["length"]["n"] == board.length.n == 90
    assert about["length"]["value"] == pytest.approx(board.length.value, abs=0.05)  # the board rounds lengths
    assert about["left_share"] == board.position.share.value


def test_degrees_of_pairs_and_marks_of_single_answers_are_not_one_scale(
    store, make_pairs, make_event, tmp_path
):
    store.add_pairs(make_pairs(3), batch="pairs")
    singles = [{"prompt": f"S{n}?", "responses": [{"model": "m", "text": "one"}]} for n in range(3)]
    store.add(singles, "single", mode="single", settings={"repeats": 0})
    for rater in ("ann", "bob"):
        _say(store, make_event, rater, ("tuned", 2), ("base", 1), ("tuned", 3), batch="pairs")
        for likert in (2, 5, 7):
            task = store.next(rater, "single")
            store.record(make_event(task, choice=None, strength=None, scores={"likert": likert}))
    store.export(tmp_path / "u.jsonl", "unpaired")
    rows = json.loads((tmp_path / "manifest.json").read_text())["files"]["u.jsonl"]["agreement"]
    assert {row["name"].rpartition(" (")[2] for row in rows} == {"pairs)", "single answers)"}
    assert {row["n"] for row in rows} == {3}


@pytest.mark.parametrize(
    ("name", "words"), [("README.md", "# My project"), ("manifest.json", '{"name": "an app"}')]
)
@pytest.mark.parametrize("kind", ["preference", "raw"])
def test_an_export_never_takes_the_place_of_somebodys_own_file(
    store, make_pairs, make_event, tmp_path, name, words, kind
):
    store.add_pairs(make_pairs(1))
    store.record(make_event(store.next("ann")))
    (tmp_path / name).write_text(words)
    (tmp_path / "p.jsonl").write_text("what was here before")
    with pytest.raises(RatingError, match=name):
        store.export(tmp_path / "p.jsonl", kind)
    if kind == "preference":
        with pytest.raises(RatingError, match=name):
            store.preferences().save(tmp_path / "p.jsonl")
    assert (tmp_path / name).read_text() == words
    assert (tmp_path / "p.jsonl").read_text() == "what was here before"


def test_each_file_of_a_folder_has_a_configuration_of_its_own(store, make_pairs, make_event, tmp_path):
    store.add_pairs(make_pairs(40))
    while (task := store.next("ann")) is not None:
        store.record(make_event(task))
    store.export(tmp_path / "p.jsonl")
    store.export(tmp_path / "p.parquet")
    store.export(tmp_path / "p.jsonl", split=0.5)
    card = (tmp_path / "README.md").read_text()
    names = re.findall(r'config_name: "(.*)"', card)
    assert len(names) == len(set(names)) == 3


def test_the_example_of_the_package_runs_as_written(make_pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("FTLAB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    example = public.__doc__.split("\n\n", 1)[1]
    exec(compile(example, "the docstring", "exec"), {"rows": make_pairs(1)})
    assert len((tmp_path / "preferences" / "tour.jsonl").read_bytes().splitlines()) == 1
