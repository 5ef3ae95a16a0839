"""Who is asked what, and when: sides, overlap, leases, repeats, gold tasks, and an order that can be told."""

import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event as listen
from sqlalchemy import select, text

from ftlab.errors import RatingError
from ftlab.ratings import Ratings, Settings, Task
from ftlab.ratings import schema as t
from ftlab.ratings.mixing import APART, Mixing
from ftlab.ratings.sides import chance, order, pick

_FORK = multiprocessing.get_context("fork")


def rows(count: int, *, gold: int = 0, models: int = 2, start: int = 0) -> list[dict[str, Any]]:
    """Pairs of two of the models in turn; the first `gold` of them have a known answer."""
    made = []
    for n in range(start, start + count):
        names = [f"m{n % models}", f"m{(n + 1 + n // models % (models - 1)) % models}"]
        row: dict[str, Any] = {
            "prompt": f"Question {n}?",
            "responses": [
                {"model": name, "text": f"{name} says {n}{'!' * slot}"} for slot, name in enumerate(names)
            ],
        }
        made.append(row | {"gold": {"choice": "first"}} if n - start < gold else row)
    return made


def answer_all(store: Ratings, rater: str, batch: str, make_event: Any, limit: int = 10_000) -> list[Task]:
    seen: list[Task] = []
    while len(seen) < limit and (task := store.next(rater, batch)) is not None:
        seen.append(task)
        store.record(make_event(task))
    return seen


def assignments(store: Ratings, batch: str) -> list[dict[str, Any]]:
    a = t.assignment.c
    with store.database.reading() as connection:
        wanted = select(t.assignment).where(a.batch == batch).order_by(a.rater_id, a.place)
        return [dict(row) for row in connection.execute(wanted).mappings()]


def pass_lease(store: Ratings, batch: str) -> None:
    """Sixteen minutes pass, as far as the leases are concerned."""
    with store.database.writing() as connection:
        connection.execute(
            text(
                "UPDATE assignment SET leased_until = '2020-01-01T00:00:00Z' "
                "WHERE batch = :batch AND leased_until < '9'"
            ),
            {"batch": batch},
        )


def test_r01_sides_are_fair_stored_before_they_are_shown_and_fixed_by_the_seed_alone(store):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what a user's cell may do
    tasks = [f"task-{n}" for n in range(10_000)]
    first = [order("seed", name, "ann", 0, 2) for name in tasks]
    share = sum(shown == [0, 1] for shown in first) / len(first)
    assert abs(share - 0.5) < 0.0165  # 99.9 % of fair coins
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert [order("seed", name, "ann", 0, 2) for name in tasks] == first
    store.add(rows(1), "b", seed="seed")
    task = store.next("ann", "b")
    (stored,) = assignments(store, "b")
    assert json.loads(stored["order_json"]) == order("seed", stored["task_id"], "ann", 0, 2)
    assert store.next("ann", "b").texts == task.texts


def test_chance_is_even_and_picks_cover_every_place():
    values = [chance("seed", "x", n) for n in range(10_000)]
    assert abs(sum(values) / len(values) - 0.5) < 0.01
    assert Counter(pick("seed", 7, n) for n in range(7000)).keys() == set(range(7))


def test_two_stores_with_one_seed_ask_the_same_in_the_same_order(tmp_path, make_event):
    seen = []
    for name in ("one.db", "two.db"):
        with Ratings(tmp_path / name) as store:
            how = Settings(order="uniform", repeats=0.1, gold=0.1)
            store.add(rows(60, gold=8), "b", seed="classroom", settings=how)
            seen.append([task.texts for task in answer_all(store, "ann", "b", make_event)])
    assert seen[0] == seen[1]


def test_r04_calibration_goes_to_all_and_a_share_of_the_rest_to_one_more(store, make_event):
    how = Settings(overlap=1, calibration=10, double=0.15, repeats=0, gold=0)
    store.add(rows(250), "b", settings=how, seed="r4")
    turns = [iter(_one_at_a_time(store, rater, make_event)) for rater in ("ann", "bob", "cid")]
    while turns:
        turns = [turn for turn in turns if next(turn, None) is not None]
    raters = Counter(row["ordinal"] for row in assignments(store, "b"))
    assert all(raters[ordinal] == 3 for ordinal in range(1, 11))
    rest = Counter(raters[ordinal] for ordinal in range(11, 251))
    assert set(rest) == {1, 2}
    assert 0.10 < rest[2] / 240 < 0.20
    reasons = Counter(row["reason"] for row in assignments(store, "b"))
    assert reasons == {"calibration": 30, "given": 240, "double": rest[2]}
    pairs = Counter()
    of_task: dict[int, list[str]] = {}
    for row in assignments(store, "b"):
        of_task.setdefault(row["ordinal"], []).append(row["rater_id"])
    for ordinal in range(11, 251):
        pairs[tuple(sorted(of_task[ordinal]))] += 1
    assert all(pairs[pair] >= 4 for pair in (("ann", "bob"), ("ann", "cid"), ("bob", "cid")))


def _one_at_a_time(store: Ratings, rater: str, make_event: Any) -> Iterator[Task]:
    while (task := store.next(rater, "b")) is not None:
        store.record(make_event(task))
        yield task


def test_r05_repeats_come_ten_or_more_tasks_later_with_the_sides_swapped(store, make_event):
    store.add(rows(200), "b", settings=Settings(repeats=0.1, gold=0), seed="r5")
    seen = answer_all(store, "ann", "b", make_event)
    places = {row["place"]: row for row in assignments(store, "b")}
    repeats = [row for row in places.values() if row["repeat_no"]]
    assert len(repeats) == 19  # one in ten, none before the eleventh task
    assert len({row["task_id"] for row in repeats}) == 19  # nothing is asked a third time
    first = {row["task_id"]: row for row in places.values() if not row["repeat_no"]}
    for row in repeats:
        before = first[row["task_id"]]
        assert row["place"] - before["place"] > APART
        assert json.loads(row["order_json"]) == json.loads(before["order_json"])[::-1]
        assert seen[row["place"] - 1].texts == seen[before["place"] - 1].texts[::-1]
        assert row["reason"] == "repeat"
    assert [task.total for task in seen] == [219] * 219
    gaps = {row["place"] - first[row["task_id"]]["place"] for row in repeats}
    assert len(gaps) > 5  # nobody can count on the place


def test_nothing_is_repeated_that_was_skipped_or_whose_models_were_seen(store, make_event):
    store.add(rows(40), "b", seed="again", settings=Settings(repeats=0.5, gold=0))
    asked = []
    while (task := store.next("ann", "b")) is not None:
        asked.append(task)
        if task.position % 3 == 0:
            store.record(make_event(task, "skip"))
        else:
            store.record(make_event(task))
            if task.position % 3 == 1:
                store.reveal(task.assignment_id)
        assert task.total >= task.position
    again = [row for row in assignments(store, "b") if row["repeat_no"]]
    first = {row["task_id"]: row["place"] for row in assignments(store, "b") if not row["repeat_no"]}
    assert len(again) > 5
    assert {first[row["task_id"]] % 3 for row in again} == {2}
    assert store.progress("ann", "b").remaining == 0


def test_r06_gold_tasks_are_mixed_in_at_places_nobody_can_tell(store, make_event):
    store.add(rows(240, gold=40), "b", settings=Settings(gold=0.1, repeats=0), seed="r6")
    places: dict[str, list[int]] = {}
    for rater in ("ann", "bob"):
        seen = answer_all(store, rater, "b", make_event)
        mine = [row for row in assignments(store, "b") if row["rater_id"] == rater]
        gold = [row for row in mine if row["is_gold"]]
        assert (len(mine), len(gold)) == (220, 20)
        assert {task.total for task in seen} == {220}
        places[rater] = [row["place"] for row in gold]
        with store.database.reading() as connection:
            known = set(connection.execute(select(t.gold.c.task_id)).scalars())
        assert {row["task_id"] for row in gold} <= known
        assert not {row["task_id"] for row in mine if not row["is_gold"]} & known
    assert places["ann"] != places["bob"]
    assert max(np.diff(places["ann"])) - min(np.diff(places["ann"])) > 5


def test_gold_tasks_that_run_out_end_nothing(store, make_event):
    store.add(rows(50, gold=2), "b", settings=Settings(gold=0.2, repeats=0))
    seen = answer_all(store, "ann", "b", make_event)
    assert (len(seen), {task.total for task in seen}) == (50, {50})


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("first", [1, 11])
def test_a_total_is_known_from_the_start(share, first):
    mixing = Mixing("seed", "ann", "repeat", share, first)
    due = [new for new in range(1, 501) if mixing.is_due(new)]
    assert all(new >= first for new in due)
    for after in (0, 3, 11, 40, 499):
        assert mixing.between(after, 500) == sum(new > after for new in due)
    assert abs(len(due) - 500 * share) <= 1 + first * share


# several raters


def _claim(path: Path, rater: str, pipe: Connection) -> None:
    with Ratings(path) as store:
        count = 0
        while (task := store.next(rater, "b")) is not None:
            event = {"event_id": f"{rater}-{count:08}", "assignment_id": task.assignment_id, "kind": "rate"}
            store.record(event | {"choice": "left"})
            count += 1
        pipe.send(count)


def test_a05_raters_who_come_at_once_never_exceed_the_overlap(store):
    store.add(rows(120), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    runs = []
    for n in range(4):
        here, there = _FORK.Pipe()
        process = _FORK.Process(target=_claim, args=(store.path, f"rater-{n}", there))
        process.start()
        runs.append((process, here))
    counts = [here.recv() for _, here in runs]
    for process, _ in runs:
        process.join()
        assert process.exitcode == 0
    assert sum(counts) == 120
    assert sum(count > 0 for count in counts) > 1
    raters = Counter(row["ordinal"] for row in assignments(store, "b"))
    assert set(raters.values()) == {1}
    assert store.verify()


def test_a05_the_second_rater_of_a_task_gets_the_next_one(store, make_event):
    store.add(rows(3), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    assert store.next("ann", "b").prompt != store.next("bob", "b").prompt
    assert store.next("ann", "b").position == 1  # the same until it is answered
    store.next("cid", "b")
    assert store.next("dan", "b") is None
    assert store.progress("dan", "b").total == 0


def test_a06_what_a_rater_left_behind_goes_to_another_and_comes_late_from_the_first(store, make_event):
    store.add(rows(1), "b", settings=Settings(overlap=1, lease_minutes=15, repeats=0, gold=0))
    left_behind = store.next("ann", "b")
    assert store.next("bob", "b") is None
    pass_lease(store, "b")
    passed = store.next("bob", "b")
    assert passed.prompt == left_behind.prompt
    assert store.next("ann", "b") is None  # it waits for bob now
    store.record(make_event(passed))
    receipt = store.record(make_event(left_behind, choice="right"))
    assert receipt.status == "stored"
    (late,) = store.history(left_behind.assignment_id)
    (in_time,) = store.history(passed.assignment_id)
    assert (late["late"], in_time["late"]) == (1, 0)
    store.record(make_event(store.task(left_behind.assignment_id), "revise", choice="left"))
    assert [row["late"] for row in store.history(left_behind.assignment_id)] == [1, 1]
    assert [row["reason"] for row in assignments(store, "b")] == ["given", "returned"]
    assert store.verify()


def test_a_lease_that_is_over_hurts_nobody_where_nobody_else_came(store, make_event):
    store.add(rows(2), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    task = store.next("ann", "b")
    pass_lease(store, "b")
    store.record(make_event(task))
    assert store.history(task.assignment_id)[0]["late"] == 0
    second = store.next("ann", "b")
    pass_lease(store, "b")
    assert store.next("ann", "b") == second  # at it again: the lease is a new one
    assert store.next("bob", "b") is None


def test_a_task_given_back_is_its_first_raters_again_while_it_is_free(store, make_event):
    store.add(rows(1), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    task = store.next("ann", "b")
    store.record(make_event(task, "skip"))
    store.undo(task.assignment_id)
    assert store.next("ann", "b").assignment_id == task.assignment_id
    assert store.next("bob", "b") is None
    store.record(make_event(store.next("ann", "b")))
    assert store.history(task.assignment_id)[-1]["late"] == 0


def test_what_was_skipped_is_asked_of_another_and_not_twice_of_the_same(store, make_event):
    store.add(rows(5), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    for _ in range(5):
        store.record(make_event(store.next("ann", "b"), "skip"))
    assert store.next("ann", "b") is None
    assert len(answer_all(store, "bob", "b", make_event)) == 5
    assert store.next("cid", "b") is None


def test_an_undone_rating_keeps_its_place_for_as_long_as_the_lease(store, make_event):
    store.add(rows(1), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    task = store.next("ann", "b")
    store.record(make_event(task))
    pass_lease(store, "b")
    store.undo(task.assignment_id)
    assert store.next("bob", "b") is None
    pass_lease(store, "b")
    assert store.next("bob", "b") is not None


def test_a_judge_takes_no_place_from_a_person(store, make_event):
    store.add(rows(4, gold=1), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    while (task := store.next("judge", "b", kind="judge")) is not None:
        store.record(make_event(task))
    assert len(answer_all(store, "ann", "b", make_event)) == 3
    assert Counter(row["rater_id"] for row in assignments(store, "b")) == {"judge": 4, "ann": 3}


# the order


def test_uniform_order_differs_between_raters_and_leaves_nothing_out(store, make_event):
    store.add(rows(200), "b", seed="uniform", settings=Settings(order="uniform", repeats=0, gold=0))
    store.add(rows(10, start=200), "b")
    places = {}
    for rater in ("ann", "bob"):
        answer_all(store, rater, "b", make_event)
        mine = [row for row in assignments(store, "b") if row["rater_id"] == rater]
        assert sorted(row["ordinal"] for row in mine) == list(range(1, 211))
        assert {row["reason"] for row in mine} == {"uniform"}
        places[rater] = [row["ordinal"] for row in mine[:200]]
    for one, two in ((places["ann"], places["bob"]), (places["ann"], sorted(places["ann"]))):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.4


def test_active_order_asks_for_the_models_that_are_least_told_apart_and_says_why(store, make_event):
    store.add(rows(60, models=3), "b", settings=Settings(order="active", repeats=0, gold=0), seed="active")
    asked = []
    for _ in range(30):
        task = store.next("ann", "b")
        models = {text.split()[0] for text in task.texts}
        asked.append(frozenset(models))
        if models == {"m0", "m1"}:  # as good as each other
            store.record(make_event(task, choice="tie", strength=0))
        else:  # m2 always loses
            store.record(make_event(task, choice="right" if task.left.startswith("m2") else "left"))
    bits = [row["reason"] for row in assignments(store, "b")]
    assert all(reason.startswith("active 0.") and reason.endswith(" bits") for reason in bits)
    counted = Counter(asked[6:])
    assert counted[frozenset({"m0", "m1"})] > 24 / 3


def test_active_order_counts_what_is_undone_and_revised(store, make_event):
    from ftlab.ratings.choosing import Duels

    store.add(rows(12, models=3), "b", settings=Settings(order="active", repeats=0, gold=0))
    duels = Duels()
    dice = random.Random(3)
    for _ in range(12):
        task = store.next("ann", "b")
        store.record(make_event(task, choice=dice.choice(["left", "right", "tie"]), strength=0))
        head = store.task(task.assignment_id)
        if dice.random() < 0.4:
            store.record(make_event(head, "revise", choice=dice.choice(["left", "right"]), strength=0))
        elif dice.random() < 0.3:
            store.undo(task.assignment_id)
            store.record(make_event(store.task(task.assignment_id), "skip"))
        with store.database.reading() as connection:
            caught_up, afresh = duels.wins(connection, "b"), Duels().wins(connection, "b")
        assert caught_up == afresh


def test_rows_added_later_are_asked_too_in_every_order(store, make_event):
    for how in ("given", "uniform", "active"):
        store.add(rows(20), how, settings=Settings(order=how, repeats=0, gold=0))
        assert len(answer_all(store, "ann", how, make_event)) == 20
        store.add(rows(5, start=20), how)
        assert len(answer_all(store, "ann", how, make_event)) == 5


# nothing is slower for there being more of it


@contextmanager
def steps(store: Ratings) -> Iterator[list[int]]:
    """How many instructions SQLite's machine runs in between, and how many statements."""
    counted = [0, 0]

    def step() -> int:
        counted[0] += 1
        return 0

    def statement(*_: Any) -> None:
        counted[1] += 1

    with store.database.engine.connect() as connection:  # the pool hands this one out next
        driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(step, 1)
    listen.listen(store.database.engine, "before_cursor_execute", statement)
    try:
        yield counted
    finally:
        listen.remove(store.database.engine, "before_cursor_execute", statement)
        driver.set_progress_handler(None, 1)


@pytest.mark.parametrize("overlap", [None, 2])
@pytest.mark.parametrize("how", ["given", "uniform", "active"])
def test_the_next_task_costs_the_same_however_many_there_are(store, make_event, how, overlap):
    found = []
    for count in (90, 450):
        batch = f"{count}"
        store.add(
            rows(count, models=4), batch, settings=Settings(order=how, overlap=overlap, repeats=0, gold=0)
        )
        answer_all(store, "ann", batch, make_event, limit=count // 2)
        cost = {}
        with steps(store) as counted:
            task = store.next("ann", batch)
            cost["next"] = tuple(counted)
        with steps(store) as counted:
            store.progress("ann", batch)
            cost["progress"] = tuple(counted)
        with steps(store) as counted:
            store.record(make_event(task))
            cost["record"] = tuple(counted)
        found.append(cost)
    few, many = found
    for name, (instructions, statements) in many.items():
        assert statements <= 45, name
        assert instructions <= 1.25 * few[name][0] + 50, (name, few, many)


def test_what_one_rater_skipped_again_and_again_is_not_looked_at_each_time(store, make_event):
    store.add(rows(150), "b", settings=Settings(overlap=1, repeats=0, gold=0))
    costs = []
    for n in range(125):
        with steps(store) as counted:
            task = store.next("ann", "b")
        if n in (25, 124):
            costs.append(counted[0])
        store.record(make_event(task, "skip"))
    assert costs[1] <= 1.25 * costs[0] + 50


def test_a_batch_without_tasks_says_so(store):
    store.open_batch("b")
    with pytest.raises(RatingError, match="has no tasks yet"):
        store.next("ann", "b")


def test_a_store_of_before_goes_on_where_it_was(tmp_path, make_event):
    """What the migration made of an assignment is what the queue makes of one: a plain batch in lane 1."""
    with Ratings(tmp_path / "ratings.db") as store:
        store.add_pairs(rows(4))
        answer_all(store, "ann", "default", make_event, limit=2)
        with store.database.reading() as connection:
            pointer = connection.execute(select(t.pointer)).mappings().one()
            opening = connection.execute(select(t.opening)).mappings().all()
    assert (pointer["lane"], pointer["turn"], pointer["taken"]) == (1, 2, 2)
    assert [(row["lane"], row["turn"], row["ordinal"], row["missing"]) for row in opening] == [
        (1, n, n, -1) for n in range(1, 5)
    ]


def test_on_postgresql_too_the_overlap_holds_and_leases_pass(postgres, make_event):
    postgres.add(rows(12, models=3), "b", settings=Settings(overlap=1, order="uniform", repeats=0, gold=0))
    behind = []
    for rater in ("ann", "bob"):
        for _ in range(3):
            postgres.record(make_event(postgres.next(rater, "b")))
        behind.append(postgres.next(rater, "b").prompt)
    pass_lease(postgres, "b")
    seen = [task.prompt for task in answer_all(postgres, "cid", "b", make_event)]
    assert len(seen) == 6
    assert all(prompt in seen for prompt in behind)
    assert postgres.verify()


def test_on_postgresql_too_repeats_and_gold_tasks_are_mixed_in(postgres, make_event):
    postgres.add(rows(30, gold=4), "b", settings=Settings(repeats=0.2, gold=0.2))
    seen = answer_all(postgres, "ann", "b", make_event)
    reasons = Counter(row["reason"] for row in assignments(postgres, "b"))
    assert (reasons["given"], reasons["gold"]) == (26, 4)
    assert reasons["repeat"] >= 2
    assert {task.total for task in seen} == {sum(reasons.values())} == {len(seen)}
    assert postgres.progress("ann", "b").remaining == 0
