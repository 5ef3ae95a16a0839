"""Recorded sessions and simulated raters: a batch is answered the same way each time."""

import json
import math

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Click, Ratings, Recording, Settings, replay, simulate
from ftlab.ratings.analysis.bias import position
from ftlab.ratings.simulated import HYPE, Faults, Scale


def _length(_, text):
    return len(text)


def test_a_recorded_session_gives_the_same_preferences_where_the_sides_differ(
    tmp_path, make_pairs, make_event
):
    rows = make_pairs(8)
    answers = ["left", "right", "tie", "both_bad", "skip", "flag", "right", "left"]
    with Ratings(tmp_path / "first.db") as first, Ratings(tmp_path / "second.db") as second:
        first.add_pairs(rows, seed="one")
        for answer in answers:
            task = first.next("ann")
            if answer in ("skip", "flag"):
                first.record(make_event(task, answer, comment="why"))
            else:
                strength = 3 if answer in ("left", "right") else 0
                first.record(make_event(task, choice=answer, strength=strength, shown_ms=2000))
        path = Recording.of(first, "default", "ann").save(tmp_path / "session.json")
        assert "ann" not in json.loads(path.read_text()).values()
        second.add_pairs(rows[::-1], seed="two")
        recording = Recording.load(path)
        assert replay(second, "default", recording) == 8
        assert replay(second, "default", recording) == 0

        def said(store):
            return sorted(
                (row["chosen"][0]["content"], row["rejected"][0]["content"], row["margin"])
                for row in store.preferences()
            )

        assert said(first) == said(second)
        assert len(said(first)) == 4
        assert first.preferences().excluded == second.preferences().excluded
        assert {row["rater_kind"] for row in second.current()} == {"replay"}


def test_a_replayed_click_has_the_same_event_id_each_time(store, make_pairs):
    store.add_pairs(make_pairs(1))
    recording = Recording((), otherwise="longer")
    task = store.next(recording.rater, kind="replay")
    event = recording.event_for(task)
    assert event == recording.event_for(store.next(recording.rater))
    assert store.record(event).status == "stored"
    assert store.record(event).status == "duplicate"


def test_clicks_find_their_task_by_place_and_their_side_by_rule(store, make_pairs):
    store.add_pairs(make_pairs(3))
    clicks = (Click(position=1, rule="longer", strength=3), Click(position=2, rule="tie"))
    replay(store, "default", Recording(clicks, otherwise="shorter"))
    rows = store.current()
    assert [row["winner"] for row in rows] == ["run:tuned", None, "wren"]
    assert [row["strength"] for row in rows] == [3, 0, 1]


def test_a_recording_that_does_not_fit_says_where(store, make_pairs, tmp_path):
    store.add_pairs(make_pairs(2))
    with pytest.raises(RatingError, match="no click for task 1 of batch 'default'"):
        replay(store, "default", Recording(()))
    with pytest.raises(RatingError, match=r"task 1: the answer that the recording prefers is not shown"):
        replay(store, "default", Recording((Click(position=1, chosen="another text"),)))
    with pytest.raises(RatingError, match="no rule 'best'"):
        Recording((Click(position=1, rule="best"),))
    (tmp_path / "bad.json").write_text('{"format": "ftlab recording 1", "clicks": [{"positon": 1}]}')
    with pytest.raises(RatingError, match=r"bad\.json, click 0.*positon"):
        Recording.load(tmp_path / "bad.json")
    (tmp_path / "worse.json").write_text("[")
    with pytest.raises(RatingError, match="is no recording"):
        Recording.load(tmp_path / "worse.json")


def test_a_simulated_rater_prefers_what_its_judge_prefers(store, make_pairs):
    store.add_pairs(make_pairs(20))
    assert simulate(store, "default", "gold", _length) == 20
    assert store.win_rate(None, "run:tuned", "wren").wins == 20
    assert simulate(store, "default", "indifferent", lambda *_: 0.0) == 20
    tied = [row["choice"] for row in store.current() if row["rater"] == "indifferent"]
    assert tied == ["tie"] * 20
    assert {row["rater_kind"] for row in store.current()} == {"simulated"}


def test_noise_turns_the_same_answers_round_whatever_the_sides(tmp_path, make_pairs):
    found = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        with Ratings(tmp_path / f"{name}.db") as store:
            store.add_pairs(make_pairs(40), seed=name)
            simulate(store, "default", "gold", _length, noise=0.3, seed=seed)
            found.append([row["winner"] for row in store.current()])
    assert found[0] == found[1] != found[2]
    assert 4 <= found[0].count("wren") <= 20


def test_a_judge_without_a_number_is_refused(store, make_pairs):
    store.add_pairs(make_pairs(1))
    with pytest.raises(RatingError, match="scores are finite numbers"):
        simulate(store, "default", "gold", lambda *_: float("nan"))
    with pytest.raises(RatingError, match="probability from 0 to 1"):
        simulate(store, "default", "gold", _length, noise=2)


PLAIN = Settings(repeats=0, gold=0)
ANSWERS = {"pair": 2, "single": 1, "rank": 4, "edit": 1, "dialogue": 2}


def _rows(count, answers):
    return [
        {
            "prompt": f"Question {n}?",
            "responses": [
                {"model": f"m{s}", "text": f"{n}: {'word ' * (1 + (n + s) % 7)}{s}"} for s in range(answers)
            ],
        }
        for n in range(count)
    ]


def _said(mode, n):
    return {
        "pair": {
            "choice": "left",
            "strength": 2,
            "scores": {"safety": "left_safe", "flags": [["opinion"], []]},
        },
        "dialogue": {"choice": "both_bad", "scores": {"safety": "both_unsafe"}},
        "single": {"scores": {"likert": 1 + n % 7, "thumb": "up", "labels": ["kind"]}},
        "rank": {"scores": {"ranks": [2, 1, None, 2], "flags": [["opinion"], [], [], ["sexual"]]}},
        "edit": {"scores": {"text": f"edited {n}"}},
    }[mode]


def _by_text(store, mode):
    """What stands, said of texts instead of sides."""
    found = {}
    for n in range(1, store.progress("replay", mode).total + 1):
        task = store.at("replay", mode, n) or store.at("ann", mode, n)
        scores = dict(task.state.scores or {})
        chosen = (
            {"left": task.left, "right": task.right}.get(task.state.choice) if len(task.texts) > 1 else None
        )
        for key in ("ranks", "flags"):
            if key in scores and len(task.texts) > 1:
                scores[key] = sorted(zip(task.texts, map(repr, scores[key]), strict=True))
        if scores.get("safety") in ("left_safe", "right_safe"):
            scores["safety"] = task.left if scores["safety"] == "left_safe" else task.right
        found[task.key] = (task.state.kind, chosen, task.state.strength, task.state.comment, scores)
    return found


@pytest.mark.parametrize("mode", ANSWERS)
def test_a_session_of_any_mode_replays_to_the_same_opinions_where_the_sides_differ(
    tmp_path, make_event, mode
):
    rows = _rows(9, ANSWERS[mode])
    with Ratings(tmp_path / "first.db") as first, Ratings(tmp_path / "second.db") as second:
        first.add(rows, mode, mode=mode, seed="one", settings=PLAIN)
        for n in range(9):
            task = first.next("ann", mode)
            if n == 4:
                first.record(make_event(task, "skip", comment="unclear"))
            else:
                first.record(make_event(task, choice=None, strength=None) | _said(mode, n))
        path = Recording.of(first, mode, "ann").save(tmp_path / "session.json")
        second.add(rows[::-1], mode, mode=mode, seed="two", settings=PLAIN)
        assert replay(second, mode, Recording.load(path)) == 9
        assert _by_text(first, mode) == _by_text(second, mode)


def test_a_recording_of_the_first_format_is_read(tmp_path, store, make_pairs):
    clicks = [{"position": 1, "rule": "longer", "strength": 3}, {"position": 2, "kind": "skip"}]
    old = {"format": "ftlab recording 1", "rater": "replay", "note": "", "otherwise": "tie", "clicks": clicks}
    (tmp_path / "old.json").write_text(json.dumps(old))
    store.add_pairs(make_pairs(3))
    assert replay(store, "default", Recording.load(tmp_path / "old.json")) == 3
    assert [(row["kind"], row["choice"] == "tie", row["strength"]) for row in store.current()] == [
        ("rate", False, 3),
        ("skip", False, None),
        ("rate", True, 0),
    ]


@pytest.mark.parametrize(
    ("mode", "rule", "wanted"),
    [
        ("single", "up", {"thumb": "up", "likert": 7}),
        ("single", "down", {"thumb": "down", "likert": 1}),
        ("rank", "tie", {"ranks": [1, 1, 1, 1]}),
        ("edit", "as_is", {"text": "0: word 0"}),
    ],
)
def test_a_rule_says_something_in_its_mode_and_is_an_error_in_others(store, mode, rule, wanted):
    store.add(_rows(1, ANSWERS[mode]), mode, mode=mode, settings=PLAIN)
    replay(store, mode, Recording((), otherwise=rule))
    assert store.at("replay", mode, 1).state.scores == wanted
    store.add(_rows(1, 2), "pair", settings=PLAIN)
    if rule != "tie":
        with pytest.raises(RatingError, match="says nothing in mode 'pair'; there are longer"):
            replay(store, "pair", Recording((), otherwise=rule))


def test_ranks_by_rule_go_by_length(store):
    store.add(_rows(1, 4), "b", mode="rank", settings=PLAIN)
    replay(store, "b", Recording((), otherwise="longer"))
    task = store.at("replay", "b", 1)
    assert [
        rank for _, rank in sorted(zip(map(len, task.texts), task.state.scores["ranks"], strict=True))
    ] == [
        4,
        3,
        2,
        1,
    ]


@pytest.mark.parametrize("mode", ANSWERS)
def test_a_simulated_rater_answers_every_mode_the_same_way_each_time(tmp_path, mode):
    found = []
    for name in ("one", "two"):
        with Ratings(tmp_path / f"{name}.db") as store:
            store.add(_rows(14, ANSWERS[mode]), mode, mode=mode, seed=name, settings=PLAIN)
            assert simulate(store, mode, "replay", _length, noise=0.2, seed=4) == 14
            found.append(_by_text(store, mode))
            assert store.verify()
    assert found[0] == found[1]


def test_a_simulated_rater_writes_where_it_is_told_how(store):
    store.add([{"prompt": "Say hello."}], "b", mode="edit", settings=PLAIN)
    with pytest.raises(RatingError, match="give 'write' to simulate"):
        simulate(store, "b", "sim", _length)
    simulate(store, "b", "sim", _length, write=lambda prompt, shown: f"{prompt[-1]['content']} {shown}")
    assert store.at("sim", "b", 1).state.scores == {"text": "Say hello. None"}


def _shares(store, **faults):
    """How often the longer, the left and the boasting answer was preferred by a rater without an opinion."""
    rows = [
        {
            "prompt": f"Question {n}?",
            "responses": [
                {"model": "plain", "text": f"{n} " + "word " * (20 if n % 2 else 5)},
                {"model": "hype", "text": f"{n} amazing " + "word " * (5 if n % 2 else 20)},
            ],
        }
        for n in range(60)
    ]
    store.add(rows, "b", seed="biased", settings=PLAIN)
    simulate(store, "b", "biased", lambda *_: 0.0, **faults)
    counted = dict.fromkeys(("longer", "left", "hype"), 0)
    for n in range(1, 61):
        task = store.at("biased", "b", n)
        if task.state.choice in ("left", "right"):
            chosen, other = (task.left, task.right)[:: 1 if task.state.choice == "left" else -1]
            counted["longer"] += len(chosen) > len(other)
            counted["left"] += task.state.choice == "left"
            counted["hype"] += "amazing" in chosen
    return {name: count / 60 for name, count in counted.items()}


@pytest.mark.parametrize(
    ("fault", "certain"),
    [({"length": 1.0}, "longer"), ({"position": 1.0}, "left"), ({"hype": 1.0}, "hype")],
)
def test_a_bias_pulls_the_way_it_says_and_leaves_the_others_even(store, fault, certain):
    shares = _shares(store, **fault)
    assert shares.pop(certain) == 1.0
    assert all(0.3 < share < 0.7 for share in shares.values())


def test_the_biases_are_added_in_the_units_of_the_score():
    faults = Faults(length=0.5, position=0.25, hype=2.0)
    text = "Absolutely PERFECT, perfectly fine"
    assert faults.felt(1.0, text, 0) == pytest.approx(1 + 0.5 * math.log(len(text)) + 0.25 + 2 * 2.0)
    assert faults.felt(1.0, "", 1) == 1.0
    assert len(set(HYPE)) == len(HYPE)


def test_a_tired_rater_slips_more_often(store):
    store.add(_rows(300, 2), "b", settings=PLAIN)
    simulate(store, "b", "tired", _length, noise=0.02, fatigue=0.15)
    slips = []
    for row in store.current("b"):
        longer = "m0" if _longer_of(row["position"] - 1) == 0 else "m1"
        slips.append(row["winner"] is not None and row["winner"] != longer)
    assert sum(slips[:100]) < 20
    assert sum(slips[200:]) > 2 * sum(slips[:100])


def _longer_of(n):
    texts = [response["text"] for response in _rows(n + 1, 2)[n]["responses"]]
    return 0 if len(texts[0]) > len(texts[1]) else 1


def test_what_no_rater_can_be_is_refused():
    for wrong in ({"noise": -0.1}, {"fatigue": -1}, {"length": float("nan")}):
        with pytest.raises(RatingError):
            Faults(**wrong)


def test_the_scale_of_scores_is_their_middle_and_spread():
    assert Scale.of([]) == (0.0, 1.0)
    assert Scale.of([2.0, 2.0, 2.0]) == (2.0, 1.0)
    assert Scale.of([1.0, 2.0, 3.0, 10.0]).middle == 2.5
    scale = Scale(0, 1)
    assert [scale.likert(score) for score in (-9, -1, 0, 1, 9)] == [1, 2, 4, 6, 7]


def test_noise_in_a_ranking_turns_single_comparisons_round(store):
    store.add(_rows(120, 5), "b", mode="rank", settings=PLAIN)
    simulate(store, "b", "sim", _length, noise=0.1, seed=2)
    right = wrong = 0
    for n in range(1, 121):
        task = store.at("sim", "b", n)
        ranked = list(zip(map(len, task.texts), task.state.scores["ranks"], strict=True))
        for i, (long, rank) in enumerate(ranked):
            for other_long, other_rank in ranked[:i]:
                if long != other_long and rank != other_rank:
                    right += (long > other_long) == (rank < other_rank)
                    wrong += (long > other_long) != (rank < other_rank)
    assert 0.01 < wrong / (right + wrong) < 0.1


def test_r07_a_rater_who_prefers_the_left_is_noticed_and_one_who_does_not_is_not(store):
    store.add(_rows(80, 2), "b", seed="r07", settings=PLAIN)
    for rater, habit in (("lefty", 30.0), ("even", 0.0)):
        simulate(store, "b", rater, _length, position=habit)
        choices = [row["choice"] for row in store.current("b") if row["rater"] == rater]
        found = position(choices.count("left"), choices.count("left") + choices.count("right"))
        assert found.alarm == bool(habit)
