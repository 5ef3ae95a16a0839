"""The board: from what stands in a store to figures, by every mode; quick at a million ratings."""

import json
import time
from uuid import uuid4

import numpy as np
import pytest

from ftlab.errors import RatingError
from ftlab.ratings import Ratings
from ftlab.ratings.analysis.board import analyse, board
from ftlab.ratings.choosing import settled
from ftlab.ratings.judging import judge
from ftlab.ratings.standing import HASTY, Standing

MODELS = ("base", "tuned", "large")


def pair(n, a="base", b="tuned", gold=None, words=(3, 3)):
    row = {
        "prompt": f"Question {n}?",
        "responses": [
            {"model": a, "text": f"{a} {n} " + "word " * words[0]},
            {"model": b, "text": f"{b} {n} " + "word " * words[1]},
        ],
    }
    return row if gold is None else row | {"gold": {"choice": gold}}


def rate(store, rater, batch, say, *, kind=None, limit=None):
    """Answers all there is with what `say(task)` gives; how many."""
    count = 0
    while (limit is None or count < limit) and (task := store.next(rater, batch, kind=kind)) is not None:
        event = {
            "event_id": uuid4().hex,
            "assignment_id": task.assignment_id,
            "kind": "rate",
            "prev_event_id": task.prev_event_id,
            "shown_ms": 4000,
        }
        store.record(event | say(task))
        count += 1
    return count


def preferring(model, strength=2):
    """What a rater says who always finds this model's answers better, wherever they stand."""

    def say(task):
        left, right = (text.startswith(model) for text in task.texts[:2])
        if left == right:
            return {"choice": "tie"}
        return {"choice": "left" if left else "right", "strength": strength}

    return say


PLAIN = {"repeats": 0.0, "gold": 0.0}


def figure(report, name):
    [found] = [one for one in report.agreement if one.name == name]
    return found


class TestPairs:
    @pytest.fixture
    def batch(self, store: Ratings):
        store.add([pair(n) for n in range(20)], "b", mode="pair", seed="1", settings=PLAIN)
        return store

    def test_two_raters_who_always_agree_agree(self, batch):
        for rater in ("ann", "ben"):
            rate(batch, rater, "b", preferring("tuned"))
        report = batch.board("b")
        assert (report.n, report.tasks, report.who) == (40, 20, "persons")
        assert figure(report, "percent with ties").value == 1.0
        assert figure(report, "percent with ties").n == 20
        assert report.couples[0].percent.value == 1.0
        assert report.couples[0].kappa.value is None  # one value alone: undefined, not 1 and not 0

    def test_ratings_count_for_the_model_whatever_the_side(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        report = batch.board("b")
        assert report.models == ("base", "tuned")
        assert report.wins == ((0, 0), (20, 0))
        assert report.position.share.n == 20
        assert 0.1 < report.position.share.value < 0.9

    def test_an_undefeated_model_is_refused_and_shown_regularised_with_its_note(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        report = batch.board("b")
        assert not report.ranking.is_defined and "tuned has not lost" in report.ranking.reason
        assert report.gentle is not None and "alpha = 0.01" in report.gentle.note
        assert report.gentle.places[0].model == "tuned"
        assert not report.controlled.is_defined

    def test_a_ranking_with_losses_is_bradley_and_terrys(self, batch):
        rate(batch, "ann", "b", preferring("tuned"), limit=15)
        rate(batch, "ann", "b", preferring("base"))
        report = batch.board("b")
        first, second = report.ranking.places
        assert first.model == "tuned"
        assert first.strength - second.strength == pytest.approx(np.log(3), abs=1e-6)
        assert report.gentle is None

    def test_ties_and_both_bad_are_half_a_win_each(self, batch):
        rate(batch, "ann", "b", lambda _: {"choice": "both_bad"}, limit=8)
        rate(batch, "ann", "b", lambda _: {"choice": "tie"})
        report = batch.board("b")
        assert report.wins == ((0, 10), (10, 0))
        assert report.position.share.reason == "undefined: no answer prefers a side"

    def test_skips_and_flags_are_progress_and_no_opinion(self, batch):
        rate(batch, "ann", "b", preferring("tuned"), limit=5)
        for kind in ("skip", "flag", "skip"):
            task = batch.next("ann", "b")
            batch.record({"event_id": uuid4().hex, "assignment_id": task.assignment_id, "kind": kind})
        report = batch.board("b")
        [ann] = report.raters
        assert (ann.answered, ann.skipped, ann.flagged, ann.total) == (5, 2, 1, 20)
        assert report.n == 5

    def test_what_was_said_after_the_models_were_shown_does_not_count_and_is_told(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        task = batch.at("ann", "b", 1)
        batch.reveal(task.assignment_id)
        revised = {"event_id": uuid4().hex, "assignment_id": task.assignment_id, "kind": "revise"}
        batch.record(revised | {"prev_event_id": task.prev_event_id, "choice": "tie", "strength": 0})
        report = batch.board("b")
        assert report.n == 19
        assert report.left_out["said after the models were shown"] == 1

    def test_persons_outrank_simulated_raters_who_stand_beside_them(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        rate(batch, "machine", "b", preferring("base", strength=3), kind="simulated")
        report = batch.board("b", kinds=None)
        assert (report.who, report.n) == ("persons", 20)
        assert report.left_out["of other raters"] == 20
        [machine] = report.judges
        assert (machine.name, machine.kind) == ("machine", "simulated")
        assert machine.calibration.decided.value == 0.0
        assert machine.disagree == 20
        assert machine.disagreements[0].preferred["text"].startswith("tuned")
        assert machine.disagreements[0].instead["model"] == "base"
        assert batch.board("b", kinds=["simulated"]).wins == ((0, 20), (0, 0))

    def test_simulated_raters_alone_are_called_what_they_are(self, batch):
        rate(batch, "machine", "b", preferring("base"), kind="simulated")
        report = batch.board("b")
        assert report.who == "simulated raters"
        assert report.judges == ()

    def test_a_list_of_disagreements_is_as_long_as_was_asked_and_the_number_whole(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        rate(batch, "machine", "b", preferring("base"), kind="simulated")
        [machine] = board(batch, "b", disagreements=3).judges
        assert (len(machine.disagreements), machine.disagree) == (3, 20)

    def test_the_stop_signal_is_that_of_the_choice_of_the_next_pair(self, batch):
        rate(batch, "ann", "b", preferring("tuned"), limit=4)
        report = batch.board("b")
        assert report.settled == settled(batch, "b")
        assert report.settled.verdict == "not settled"
        rate(batch, "ann", "b", preferring("tuned"))
        assert batch.board("b").settled == settled(batch, "b")
        assert batch.board("b").settled

    def test_raters_carry_the_names_they_were_given(self, batch):
        rate(batch, "rater-1", "b", preferring("tuned"))
        batch.rename("rater-1", "Ann")
        [line] = batch.board("b").raters
        assert (line.rater, line.name) == ("rater-1", "Ann")

    def test_a_batch_that_nobody_rated_has_a_report_of_reasons(self, batch):
        report = batch.board("b")
        assert (report.n, report.raters) == (0, ())
        assert {one.value for one in report.agreement} == {None}
        assert all(one.reason.startswith("undefined: ") for one in report.agreement)
        assert report.ranking.reason == "undefined: a ranking needs two models"
        assert "0 ratings of persons" in report.text()

    def test_a_batch_that_does_not_exist_is_named_with_those_that_do(self, batch):
        with pytest.raises(RatingError, match="'c'.*b"):
            batch.board("c")

    def test_the_report_is_plain_json_without_nan(self, batch, tmp_path):
        rate(batch, "ann", "b", preferring("tuned"), limit=3)
        rate(batch, "machine", "b", preferring("base"), kind="simulated")
        report = batch.board("b")
        told = json.loads(report.save(tmp_path / "board.json").read_text("utf-8"))
        assert told["raters"][0]["name"] == "ann"
        assert told["settled"]["verdict"] == "not settled"
        assert told == report.to_json()

    def test_rows_name_every_figure_or_why_there_is_none(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        rows = batch.board("b").to_rows()
        assert {"section", "name", "value", "reason", "low", "high", "n", "about"} == set(rows[0])
        assert all((row["value"] is None) == row["reason"].startswith("undefined: ") for row in rows)

    def test_a_judges_two_orders_that_contradict_each_other_are_a_tie(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        judge(batch, "b", "judge", Comparing(follows_side=True))
        report = batch.board("b")
        [found] = report.judges
        assert found.calibration.agreement.n == 20
        assert found.calibration.agreement.value == 0.0  # ties, where the person never says tie
        assert found.calibration.decided.value is None
        [line] = [one for one in report.raters if one.kind == "judge"]
        assert line.consistency.same.value == 0.0
        assert line.consistency.followed_side == 20
        assert report.n == 20  # of the person alone

    def test_a_judge_of_one_mind_is_set_beside_persons_once_a_task(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        judge(batch, "b", "judge", Comparing(follows_side=False))
        [found] = batch.board("b").judges
        assert (found.calibration.decided.value, found.calibration.decided.n) == (1.0, 20)
        assert found.disagree == 0

    def test_a_judge_without_a_verdict_in_one_order_has_none(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        judge(batch, "b", "judge", Silent(follows_side=False))
        [found] = batch.board("b").judges
        assert found.calibration.agreement.reason == "undefined: nothing to compare"

    def test_a_judge_asked_in_one_order_counts_as_it_spoke(self, batch):
        rate(batch, "ann", "b", preferring("tuned"))
        judge(batch, "b", "judge", Comparing(follows_side=False), both_orders=False)
        assert batch.board("b").judges[0].calibration.decided.n == 20


class Comparing:
    """A judge that compares: always the answer on the left, or always the tuned model's."""

    compares = True

    def __init__(self, *, follows_side):
        self.follows_side = follows_side

    def __call__(self, prompt, texts):
        return "first" if self.follows_side or texts[0].startswith("tuned") else "second"


class Silent(Comparing):
    """One that has no verdict where the tuned model's answer is on the left."""

    def __call__(self, prompt, texts):
        return None if texts[0].startswith("tuned") else "second"


def test_gold_and_repeats_are_measured_and_kept_out_of_everything_else(store: Ratings):
    rows = [pair(n) for n in range(40)] + [pair(100 + n, gold="second") for n in range(40)]
    store.add(rows, "b", mode="pair", seed="1", settings={"repeats": 0.2, "gold": 0.2})
    said = rate(store, "ann", "b", preferring("tuned"))
    report = store.board("b")
    [ann] = report.raters
    assert ann.gold.accuracy.value == 1.0
    assert ann.consistency.same.value == 1.0
    assert report.left_out["gold items"] == ann.gold.accuracy.n > 0
    assert report.left_out["repeats"] == ann.consistency.same.n > 0
    assert report.n + report.left_out["gold items"] + report.left_out["repeats"] == said
    assert ann.answered == said == ann.total


def test_both_databases_give_the_same_report(store: Ratings, postgres: Ratings):
    reports = []
    for ratings in (store, postgres):
        rows = [pair(n) for n in range(20)] + [pair(100 + n, gold="second") for n in range(20)]
        ratings.add(rows, "b", mode="pair", seed="1", settings={"repeats": 0.2, "gold": 0.2})
        rate(ratings, "ann", "b", preferring("tuned"))
        rate(ratings, "ben", "b", preferring("base"), limit=7)
        rate(ratings, "ben", "b", preferring("tuned"))
        rate(ratings, "machine", "b", preferring("base"), kind="simulated")
        reports.append(ratings.board("b").to_json())
    assert reports[0] == reports[1]
    assert reports[0]["judges"][0]["disagree"] > 0 < reports[0]["left_out"]["gold items"]


def test_who_gets_gold_wrong_is_flagged_over_twenty(store: Ratings):
    rows = [pair(n) for n in range(60)] + [pair(100 + n, gold="second") for n in range(60)]
    store.add(rows, "b", mode="pair", seed="1", settings={"repeats": 0.0, "gold": 0.5})
    rate(store, "ann", "b", preferring("base"))
    [ann] = store.board("b").raters
    assert ann.gold.accuracy.n >= 20 and ann.gold.accuracy.value == 0.0
    assert ann.gold.flagged


def test_a_rater_who_follows_the_left_side_raises_the_alarm(store: Ratings):
    store.add([pair(n) for n in range(60)], "b", mode="pair", seed="1", settings=PLAIN)
    rate(store, "ann", "b", lambda _: {"choice": "left", "strength": 1})
    report = store.board("b")
    assert report.position.share.value == 1.0
    assert report.position.alarm and report.raters[0].position.alarm
    assert "ALARM" in report.text()


def test_a_rater_who_takes_the_longer_answer_is_seen_through_length_control(store: Ratings):
    rng = np.random.default_rng(0)
    rows = [pair(n, words=tuple(rng.integers(1, 30, 2))) for n in range(150)]
    store.add(rows, "b", mode="pair", seed="1", settings=PLAIN)

    def longer(task):
        if rng.random() < 0.25:
            return {"choice": "left" if rng.random() < 0.5 else "right", "strength": 1}
        return {"choice": "left" if len(task.left) > len(task.right) else "right", "strength": 1}

    rate(store, "ann", "b", longer)
    report = store.board("b")
    assert report.longer.value > 0.8 and report.longer.low > 0.7
    assert report.length.low > 1
    assert report.controlled.length is not None and report.controlled.length.low > 1


class TestSingle:
    def test_models_have_means_and_raters_agree_in_order(self, store: Ratings):
        rows = [
            {"prompt": f"Q {n}", "responses": [{"model": MODELS[n % 2], "text": f"{MODELS[n % 2]} {n}"}]}
            for n in range(20)
        ]
        store.add(rows, "s", mode="single", seed="1", settings=PLAIN)
        for rater, shift in (("ann", 0), ("ben", 1)):
            rate(
                store,
                rater,
                "s",
                lambda task, k=shift: {
                    "scores": {"likert": (5 if task.texts[0].startswith("tuned") else 2) + k}
                },
            )
        report = store.board("s")
        means = {row["model"]: row for row in report.means if row["what"].startswith("mean")}
        assert (means["tuned"]["value"], means["base"]["value"]) == (5.5, 2.5)
        assert means["tuned"]["n"] == 20
        assert figure(report, "percent, the very same rating").value == 0.0
        assert figure(report, "Krippendorff's alpha, ordinal").value > 0.4
        assert not report.ranking.is_defined and report.settled is None
        assert "means" in report.text()

    def test_thumbs_have_their_share(self, store: Ratings):
        rows = [{"prompt": f"Q {n}", "responses": [{"model": "base", "text": f"a {n}"}]} for n in range(10)]
        store.add(rows, "s", mode="single", seed="1", settings=PLAIN | {"scale": "thumbs"})
        rate(
            store,
            "ann",
            "s",
            lambda task: {"scores": {"thumb": "up" if int(task.texts[0][2:]) < 7 else "down"}},
        )
        [row] = [row for row in store.board("s").means if row["what"] == "thumbs up"]
        assert (row["value"], row["n"]) == (0.7, 10)
        assert row["low"] < 0.7 < row["high"]


class TestRank:
    @pytest.fixture
    def ranked(self, store: Ratings):
        names = ("one", "two", "three", "four")
        rows = [
            {"prompt": f"Q {n}", "responses": [{"model": name, "text": f"{name} {n}"} for name in names]}
            for n in range(12)
        ]
        store.add(rows, "r", mode="rank", seed="1", settings=PLAIN)
        return store

    @staticmethod
    def order(*names, ranks=(1, 2, 3, 4)):
        place = dict(zip(names, ranks, strict=True))
        return lambda task: {"scores": {"ranks": [place[text.split()[0]] for text in task.texts]}}

    def test_a_ranking_is_its_pairs(self, ranked):
        rate(ranked, "ann", "r", self.order("two", "one", "four", "three"), limit=6)
        rate(ranked, "ann", "r", self.order("one", "two", "three", "four"))
        report = ranked.board("r")
        wins = dict(zip(report.models, report.wins, strict=True))
        at = report.models.index
        assert wins["one"][at("two")] == wins["two"][at("one")] == 6
        assert wins["one"][at("three")] == 12
        assert sum(map(sum, report.wins)) == 12 * 6
        assert not report.ranking.is_defined and report.gentle is not None

    def test_ties_are_halves_and_the_unranked_are_worse_but_not_compared_with_each_other(self, ranked):
        rate(ranked, "ann", "r", self.order("one", "two", "three", "four", ranks=(1, 1, None, None)))
        report = ranked.board("r")
        wins = dict(zip(report.models, report.wins, strict=True))
        at = report.models.index
        assert wins["one"][at("two")] == 6
        assert wins["one"][at("three")] == 12
        assert wins["three"][at("four")] == wins["four"][at("three")] == 0

    def test_raters_agree_by_each_two_answers_drawn_by_tasks(self, ranked):
        rate(ranked, "ann", "r", self.order("one", "two", "three", "four"))
        rate(ranked, "ben", "r", self.order("two", "one", "three", "four"), limit=6)
        rate(ranked, "ben", "r", self.order("one", "two", "three", "four"))
        found = figure(ranked.board("r"), "percent, each two answers")
        assert found.value == pytest.approx(1 - 6 / 72)
        assert found.n == 72
        assert found.low < found.value < found.high


def test_what_is_written_has_no_agreement_and_says_so(store: Ratings):
    store.add([{"prompt": f"Q {n}"} for n in range(5)], "e", mode="edit", seed="1", settings=PLAIN)
    rate(store, "ann", "e", lambda _: {"scores": {"text": "my own answer"}})
    report = store.board("e")
    assert report.raters[0].answered == 5
    [only] = report.agreement
    assert only.value is None and "no values" in only.reason
    assert "my own answer" not in json.dumps(report.to_json())


def test_a_dialogue_is_ranked_as_pairs_are(store: Ratings):
    store.add([pair(n) for n in range(10)], "d", mode="dialogue", seed="1", settings=PLAIN)
    rate(store, "ann", "d", preferring("tuned"), limit=7)
    rate(store, "ann", "d", preferring("base"))
    assert store.board("d").ranking.places[0].model == "tuned"


def columns(n, raters, overlap, models, seed=0):
    """What stands in a batch of `n` ratings, as numpy columns, with known strengths and a bias toward length."""
    rng = np.random.default_rng(seed)
    tasks = n // overlap
    ordinal = np.repeat(np.arange(1, tasks + 1), overlap)
    rater = (np.tile(np.arange(overlap), tasks) + ordinal) % raters
    order = np.lexsort((rater, ordinal))
    ordinal, rater = ordinal[order], rater[order]
    names = [f"model {k}" for k in range(models)]
    lineups = [(a, b) for a in names for b in names if a < b]
    lineup, gap = rng.integers(0, len(lineups), tasks + 1), rng.integers(-60, 61, tasks + 1)
    truth = np.linspace(0.6, -0.6, models)
    places = np.array([[names.index(a), names.index(b)] for a, b in lineups])[lineup]
    lead = truth[places[:, 0]] - truth[places[:, 1]] + 0.8 * gap / 100
    won = rng.random(ordinal.size) < 1 / (1 + np.exp(-lead[ordinal]))
    strength = rng.integers(1, 5, ordinal.size)
    code = np.where(rng.random(ordinal.size) < 0.1, 0, np.where(won, strength, -strength))
    zero = np.zeros(ordinal.size, np.int64)
    return Standing(
        batch="b", mode="pair", seq_upto=n, ordinal=ordinal, rater=rater, repeat_no=zero, kind=zero, code=code,
        thumb=zero - 1, left_slot=rng.integers(0, 2, ordinal.size), lineup=lineup[ordinal], gap=gap[ordinal],
        shown_ms=rng.integers(500, 9000, ordinal.size), flags=np.where(rng.random(ordinal.size) < 0.02, HASTY, 0),
        seq=rng.permutation(ordinal.size) + 1, raters=[(f"r{k}", "person") for k in range(raters)],
        names=[f"rater {k}" for k in range(raters)], lineups=lineups,
    )  # fmt: skip


def test_the_figures_are_those_that_the_ratings_were_made_with():
    report = analyse(columns(60_000, 6, 3, 4))
    assert [one.model for one in report.controlled.places] == [f"model {k}" for k in range(4)]
    for one, truth in zip(report.controlled.places, np.linspace(0.6, -0.6, 4), strict=True):
        assert one.strength == pytest.approx(0.9 * truth, abs=0.06)  # a tenth are ties, which draw together
    assert report.pace.hasty.value == pytest.approx(0.02, abs=0.003)
    assert report.position.share.value == pytest.approx(0.5, abs=0.01)
    assert sum(line.answered for line in report.raters) == 60_000
    [couple] = [one for one in report.couples if {one.a, one.b} == {"rater 0", "rater 1"}]
    assert couple.percent.n == sum(map(sum, couple.table)) > 1000


def test_a_million_ratings_are_read_into_figures_within_two_seconds_of_work():
    standing = columns(1_000_000, 20, 2, 6)
    started = time.process_time()
    report = analyse(standing)
    assert time.process_time() - started < 2.0
    assert report.n == 1_000_000 and report.ranking.is_defined


def test_what_was_written_twice_is_no_consistency(store, make_event):
    rows = [{"prompt": f"P{n}?", "responses": [{"model": "m", "text": "draft"}]} for n in range(40)]
    store.add(rows, "e", mode="edit", settings={"repeats": 0.3, "gold": 0})
    count = 0
    while (task := store.next("ann", "e")) is not None:
        count += 1
        store.record(make_event(task, choice=None, strength=None, scores={"text": f"text {count}"}))
    assert count > 40  # some were asked again
    same = store.board("e").consistency.same
    assert (same.value, same.n) == (None, 0)
    assert same.reason == "undefined: what is written has no values that could be the same"


def test_a_kind_of_raters_that_there_is_not_is_named(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    store.record(make_event(store.next("ann")))
    with pytest.raises(RatingError, match="kinds of raters are person, .*, not 'persons'"):
        store.board(kinds=["persons"])
    assert store.board(kinds=["person"]).n == 1


def test_two_raters_of_one_name_keep_a_curve_each(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    for rater in ("id-1", "id-2"):
        while (task := store.next(rater)) is not None:
            store.record(make_event(task, shown_ms=3000))
        store.rename(rater, "Kim")
    assert sorted(store.board().over_time) in (["Kim", "Kim (id-1)"], ["Kim", "Kim (id-2)"])
