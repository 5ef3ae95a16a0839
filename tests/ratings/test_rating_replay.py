"""Recorded sessions and simulated raters: a batch is answered the same way each time."""

import json

import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Click, Ratings, Recording, replay, simulate


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
