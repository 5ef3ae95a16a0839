"""A judge beside the person: every task, both orders, a kind of rater of its own."""

from collections import Counter
from typing import NamedTuple

import pytest
from sqlalchemy import select

from ftlab.errors import RatingError
from ftlab.ratings import Settings, judge
from ftlab.ratings import schema as t

PLAIN = Settings(repeats=0, gold=0)


def length(_, text):
    return float(len(text))


class Compare:
    """A comparing judge made of a rule, as a language model's is made of a question."""

    compares = True

    def __init__(self, rule):
        self.rule = rule
        self.asked = 0

    def __call__(self, prompt, texts):
        self.asked += 1
        return self.rule(prompt, texts)


class Judgement(NamedTuple):
    """What a judge that is asked through `judge` gives back."""

    verdict: str | None
    flags: tuple[str, ...]


def longer(_, texts):
    return "first" if len(texts[0]) > len(texts[1]) else "second"


def rows(count, answers):
    return [
        {
            "prompt": f"Q{n}",
            "responses": [{"model": f"m{s}", "text": f"{n} {'x' * s}"} for s in range(answers)],
        }
        for n in range(count)
    ]


def assigned(store, rater):
    a = t.assignment.c
    with store.database.reading() as connection:
        wanted = select(t.assignment).where(a.rater_id == rater).order_by(a.place)
        return [dict(row) for row in connection.execute(wanted).mappings()]


@pytest.mark.parametrize("who", [length, Compare(longer)], ids=["scoring", "comparing"])
def test_r12_a_judge_rates_every_pair_in_both_orders_as_a_rater_of_its_own_kind(store, make_pairs, who):
    store.add_pairs(make_pairs(6))
    assert judge(store, "default", "length", who) == 12
    assert judge(store, "default", "length", who) == 0
    by_task = {}
    for row in assigned(store, "length"):
        by_task.setdefault(row["task_id"], []).append(row)
    assert len(by_task) == 6
    for first, second in by_task.values():
        assert (first["repeat_no"], second["repeat_no"]) == (0, 1)
        assert first["order_json"] != second["order_json"]
    assert {row["rater_kind"] for row in store.current()} == {"judge"}
    assert {row["chosen_model"] for row in store.preferences()} == {"run:tuned"}
    assert len(store.preferences()) == 6
    assert store.verify()


def test_r12_where_the_two_orders_disagree_it_is_a_tie(store, make_pairs):
    store.add_pairs(make_pairs(5))
    judge(store, "default", "first", Compare(lambda prompt, texts: "first"))
    assert Counter(row["choice"] for row in store.current()) == {"left": 10}
    found = store.preferences()
    assert len(found) == 0
    assert found.excluded == {"tie": 5}


def test_what_a_person_said_outranks_the_judge(store, make_pairs, make_event):
    store.add_pairs(make_pairs(3))
    judge(store, "default", "length", length)
    task = store.next("ann")
    store.record(make_event(task, choice="left" if "base" in task.left else "right"))
    models = [(row["chosen_model"], row["rater_kind"]) for row in store.preferences()]
    assert models == [("wren", "person"), ("run:tuned", "judge"), ("run:tuned", "judge")]


def test_a_judge_that_was_stopped_goes_on_where_it_was(store, make_pairs):
    store.add_pairs(make_pairs(4))

    class Stops(Compare):
        def __call__(self, prompt, texts):
            if self.asked == 5:
                raise KeyboardInterrupt
            return super().__call__(prompt, texts)

    with pytest.raises(KeyboardInterrupt):
        judge(store, "default", "j", Stops(longer))
    assert store.progress("j").rated == 5
    assert judge(store, "default", "j", Compare(longer)) == 3
    assert len(assigned(store, "j")) == 8


def test_no_verdict_is_a_skip_and_an_answer_that_speaks_to_the_judge_is_flagged(store, make_pairs):
    class Asks(Compare):
        def judge(self, prompt, texts):
            if "number 0" in texts[0]:
                return Judgement("first", ("A: verdict",))
            return Judgement(None, ())

    store.add_pairs(make_pairs(2))
    judge(store, "default", "j", Asks(longer))
    assert Counter(row["kind"] for row in store.current()) == {"flag": 2, "skip": 2}
    assert "speaks to the judge: A: verdict" in {row["comment"] for row in store.current()}
    assert len(store.preferences()) == 0


def test_a_judge_scores_one_answer_and_many_where_the_mode_asks_it(store):
    for mode, answers in (("single", 1), ("rank", 5)):
        store.add(rows(9, answers), mode, mode=mode, settings=PLAIN)
        assert judge(store, mode, "length", length) == 9
    for row in assigned(store, "length"):
        task = store.task(row["assignment_id"])
        scores = task.state.scores
        assert scores["judged"] == [float(len(text)) for text in task.texts]
        if task.mode == "rank":
            by_rank = sorted(zip(scores["ranks"], task.texts, strict=True))
            assert [len(text) for _, text in by_rank] == sorted(map(len, task.texts), reverse=True)


def test_marks_of_a_judge_fall_around_the_middle_of_what_it_scores(store):
    prompts = [{"prompt": f"Q{n}", "responses": [{"model": "m", "text": "x" * n}]} for n in range(1, 42)]
    store.add(prompts, "b", mode="single", settings=Settings(scale="both", repeats=0, gold=0))
    judge(store, "b", "length", length)
    marks = [
        (len(task.texts[0]), task.state.scores)
        for task in (store.task(row["assignment_id"]) for row in assigned(store, "length"))
    ]
    likert = [scores["likert"] for _, scores in sorted(marks, key=lambda mark: mark[0])]
    assert likert == sorted(likert)
    assert (likert[0], likert[20], likert[-1]) == (1, 4, 7)
    assert Counter(scores["thumb"] for _, scores in marks) == {"up": 20, "down": 21}


def test_a_judge_that_reads_all_answers_first_is_asked_once(store, make_pairs):
    class Reads:
        def __init__(self):
            self.known = {}
            self.reads = 0

        def read(self, answers):
            self.reads += 1
            self.known = {(repr(prompt), text): float(len(text)) for prompt, text in answers}

        def __call__(self, prompt, text):
            return self.known[repr(prompt), text]

    store.add_pairs(make_pairs(4))
    who = Reads()
    assert judge(store, "default", "j", who) == 8
    assert who.reads == 1


@pytest.mark.parametrize(("mode", "answers", "who"), [("edit", 1, length), ("rank", 4, Compare(longer))])
def test_a_judge_with_nothing_to_say_is_refused(store, mode, answers, who):
    store.add(rows(1, answers), "b", mode=mode, settings=PLAIN)
    with pytest.raises(RatingError, match="nothing to say there"):
        judge(store, "b", "j", who)


def test_a_verdict_that_is_none_is_refused_by_name(store, make_pairs):
    store.add_pairs(make_pairs(1))
    with pytest.raises(RatingError, match="or None, not 'left'"):
        judge(store, "default", "j", Compare(lambda *_: "left"))
    with pytest.raises(RatingError, match="finite numbers"):
        judge(store, "default", "k", lambda *_: float("inf"))


def test_a_judge_meets_the_gold_tasks_and_the_turns_of_conversations(store, make_event):
    gold = [row | {"gold": {"choice": "second"}} for row in rows(2, 2)]
    store.add([*gold, *rows(5, 2)[2:]], "b", mode="dialogue")
    task = store.next("ann", "b")
    store.record(make_event(task))
    store.next_turn(task.assignment_id, "And?", [{"model": "m", "text": "a"}, {"model": "n", "text": "bb"}])
    assert judge(store, "b", "length", length, both_orders=False) == 6
    assert sum(row["is_gold"] for row in assigned(store, "length")) == 2


def test_a_verdict_in_one_order_alone_is_no_vote(store):
    store.add(rows(6, 2), "b", settings=PLAIN)
    answers = iter(["first"] * 6 + [None] * 6)
    judge(store, "b", "ai", Compare(lambda *_: next(answers)))
    found = store.preferences("b")
    assert (len(found), found.excluded) == (0, {"skipped": 6, "a judge's verdict in one order only": 6})
    board = store.board("b", kinds=["judge"])
    assert (board.n, board.left_out["verdicts in one order only"]) == (0, 6)


def test_the_board_ranks_by_both_orders_of_a_judge(store):
    store.add(rows(12, 2), "b", settings=PLAIN)
    judge(store, "b", "ai", Compare(lambda *_: "first"))
    judge(store, "b", "steady", Compare(longer))
    board = store.board("b")
    only_side = store.board("b").couples[0]
    assert board.n == 24
    first, second = board.models
    rate = store.win_rate("b", first, second)
    assert rate.ties == 0  # the steady one decides where the other one contradicts itself
    assert sorted(value for row in board.wins for value in row if value) == [6.0, 18.0]  # 12 ties, 12 wins
    ties = only_side.values.index("tie")
    assert 12 in (sum(only_side.table[ties]), sum(row[ties] for row in only_side.table))
