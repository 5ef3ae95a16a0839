"""Five modes, one data model: what each is asked, what it may say, and what never reaches a rater."""

import json
import shutil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ftlab.errors import RatingError
from ftlab.ratings import FLAGS, Conflict, Ratings, Settings, Task
from ftlab.ratings import schema as t
from ftlab.ratings.said import LABELS, TEXT_CHARACTERS

ANSWERS = {"pair": 2, "single": 1, "rank": 4, "edit": 1, "dialogue": 2}
PLAIN = Settings(repeats=0, gold=0)
SAID: dict[str, dict[str, Any]] = {
    "pair": {"choice": "left", "strength": 3, "scores": {"safety": "left_safe"}},
    "single": {
        "choice": None,
        "scores": {"thumb": "up", "likert": 6, "flags": ["opinion"], "labels": ["kind"]},
    },
    "rank": {"choice": None, "scores": {"ranks": [2, 1, 1, None], "flags": [[], ["sexual"], [], []]}},
    "edit": {"choice": None, "scores": {"text": "Better said.", "likert": 2}},
    "dialogue": {"choice": "tie"},
}


def rows(count: int, answers: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Question {n}?",
            "responses": [
                {"model": f"secret-model-{slot}", "text": f"answer {n}, version {slot}"}
                for slot in range(answers)
            ],
            **more,
        }
        for n in range(count)
    ]


def say(task: Task, mode: str, make_event: Any, **more: Any) -> dict[str, Any]:
    return make_event(task, strength=None) | SAID[mode] | more


@pytest.mark.parametrize("mode", ANSWERS)
def test_each_mode_is_asked_answered_and_remembered(store, make_event, mode):
    added = store.add(rows(3, ANSWERS[mode]), "b", mode=mode, settings=PLAIN)
    assert (int(added), added.refused) == (3, ())
    for n in (1, 2, 3):
        task = store.next("ann", "b")
        assert (task.mode, task.position, task.total, len(task.texts)) == (mode, n, 3, ANSWERS[mode])
        store.record(say(task, mode, make_event))
        back = store.task(task.assignment_id)
        assert back.state.choice == SAID[mode]["choice"]
        assert back.state.scores == SAID[mode].get("scores")
    assert store.next("ann", "b") is None
    assert store.progress("ann", "b").rated == 3
    assert store.verify()


@pytest.mark.parametrize(
    ("mode", "change", "words"),
    [
        ("pair", {"scores": {"likert": 3}}, "not 'likert'"),
        ("pair", {"scores": {"safety": "safe"}}, "'safety' is one of both_safe"),
        ("pair", {"scores": {"flags": ["opinion"]}}, "list of 2 lists"),
        ("pair", {"scores": {"flags": [["opinion"], ["rude"]]}}, "not 'rude'"),
        ("pair", {"scores": {"labels": ["x" * 41]}}, "1 to 40 characters"),
        ("pair", {"scores": {"labels": ["x"] * (LABELS + 1)}}, "list of at most 20"),
        ("pair", {"scores": [1]}, "'scores' is an object"),
        ("pair", {"choice": None, "scores": {"safety": "both_safe"}}, "has a 'choice'"),
        ("single", {"choice": "left"}, "no 'choice', not 'left'"),
        ("single", {"scores": {"likert": 8}}, "from 1 to 7, not 8"),
        ("single", {"scores": {"likert": True}}, "from 1 to 7, not True"),
        ("single", {"scores": {"thumb": "sideways"}}, "one of up, down"),
        ("single", {"scores": {"labels": ["kind"]}}, "needs 'thumb' or 'likert'"),
        ("rank", {"scores": {"ranks": [1, 2, 3]}}, "a list of 4"),
        ("rank", {"scores": {"ranks": [1, 2, 3, 5]}}, "not 5"),
        ("rank", {"scores": {"ranks": [1, 2, 3, 0]}}, "not 0"),
        ("rank", {"scores": {"ranks": [None] * 4}}, "holds no rank"),
        ("rank", {"scores": {}}, "'ranks' is a list of 4"),
        ("edit", {"scores": {"text": "  "}}, "not empty"),
        ("edit", {"scores": {"text": "x" * (TEXT_CHARACTERS + 1)}}, "none are cut off"),
        ("edit", {"scores": {"likert": 3}}, "'text' is the answer"),
        ("dialogue", {"scores": {"text": "x"}}, "not 'text'"),
    ],
)
def test_what_a_mode_cannot_hold_is_refused_by_name(store, make_event, mode, change, words):
    store.add(rows(1, ANSWERS[mode]), "b", mode=mode, settings=PLAIN)
    task = store.next("ann", "b")
    with pytest.raises(RatingError) as error:
        store.record(say(task, mode, make_event, **change))
    assert words in str(error.value)
    assert store.last_seq() == 0


def test_the_scale_of_a_batch_says_what_is_needed(store, make_event):
    for scale, missing in (("thumbs", {"likert": 3}), ("likert", {"thumb": "up"})):
        store.add(rows(1, 1), scale, mode="single", settings=Settings(scale=scale))
        task = store.next("ann", scale)
        assert task.settings["scale"] == scale
        with pytest.raises(RatingError, match="needs"):
            store.record(make_event(task, choice=None, strength=None, scores=missing))


def test_a_skip_may_carry_flags_and_an_undo_nothing(store, make_event):
    store.add(rows(1, 1), "b", mode="single", settings=PLAIN)
    task = store.next("ann", "b")
    with pytest.raises(RatingError, match="not 'likert'"):
        store.record(make_event(task, "skip", scores={"likert": 3}))
    store.record(make_event(task, "flag", scores={"flags": ["hallucination"], "labels": ["odd"]}))
    with pytest.raises(RatingError, match="takes none"):
        store.record(make_event(store.task(task.assignment_id), "undo", scores={"labels": ["x"]}))


def test_the_flags_are_the_eleven_of_instructgpt():
    assert len(FLAGS) == 11
    assert {"hallucination", "opinion", "moral_judgment", "sexual", "violent"} <= set(FLAGS)


@pytest.mark.parametrize(
    ("mode", "answers", "words"),
    [
        ("pair", 3, "a list of two, not a list of 3"),
        ("single", 2, "a list of one, not a list of 2"),
        ("rank", 3, "a list of 4 to 9, not a list of 3"),
        ("rank", 10, "a list of 4 to 9, not a list of 10"),
        ("edit", 2, "a list of 0 to 1, not a list of 2"),
        ("dialogue", 1, "a list of two, not a list of 1"),
    ],
)
def test_a_row_with_too_few_or_too_many_answers_is_refused(store, mode, answers, words):
    with pytest.raises(RatingError, match="row 0") as error:
        store.add(rows(1, answers), "b", mode=mode)
    assert words in str(error.value)
    assert store.batches() == {}


def test_a_demonstration_is_asked_for_by_a_prompt_alone(store, make_event):
    store.add([{"prompt": "Write a poem."}], "b", mode="edit", settings=PLAIN)
    task = store.next("ann", "b")
    assert task.texts == ()
    with pytest.raises(RatingError, match="about the answer shown"):
        store.record(make_event(task, choice=None, strength=None, scores={"text": "A poem.", "likert": 3}))
    store.record(make_event(task, choice=None, strength=None, scores={"text": "A poem."}))
    assert store.reveal(task.assignment_id) == ()
    assert store.verify()


def test_an_edited_text_of_many_hostile_characters_is_kept(store, make_event):
    store.add(rows(1, 1), "b", mode="edit", settings=PLAIN)
    text = "👩‍👩‍👧\u202e<script>\x1b" * 10_000
    task = store.next("ann", "b")
    store.record(make_event(task, choice=None, strength=None, scores={"text": text}))
    assert store.task(task.assignment_id).state.scores == {"text": text}


@pytest.mark.parametrize(
    ("mode", "gold"),
    [
        ("pair", {"choice": "left"}),
        ("pair", {"likert": 3}),
        ("pair", {}),
        ("single", {"likert": 9}),
        ("single", {"thumb": "yes"}),
        ("rank", {"ranks": [1, 2]}),
        ("rank", {"ranks": [None] * 4}),
        ("edit", {"text": "x"}),
    ],
)
def test_a_known_answer_that_cannot_be_said_is_refused(store, mode, gold):
    with pytest.raises(RatingError, match="row 0, gold"):
        store.add(rows(1, ANSWERS[mode], gold=gold), "b", mode=mode)


def test_a_batch_keeps_its_mode_seed_and_settings(store):
    store.open_batch("b", mode="rank", seed="one", settings={"best": 2})
    for change, words in (
        ({"mode": "pair"}, "of mode 'rank'"),
        ({"seed": "two"}, "has its seed already"),
        ({"settings": Settings()}, "best=2, which cannot become None"),
    ):
        with pytest.raises(RatingError, match=words):
            store.open_batch("b", **change)
    assert store.open_batch("b", instructions="Rank them.") == "b"
    store.add(rows(1, 4), "b")
    assert store.next("ann", "b").settings["best"] == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"overlop": 2}, "overlop"),
        ({"double": 0.2}, "'double' needs an 'overlap'"),
        ({"repeats": 0.9}, "repeats"),
        ({"labels": ["x" * 41]}, "labels"),
        ({"order": "best"}, "order"),
    ],
)
def test_a_wrong_setting_is_named(store, wrong, words):
    with pytest.raises(RatingError, match=words):
        store.open_batch("b", settings=wrong)
    assert store.batches() == {}


def test_active_choice_is_refused_where_no_two_models_are_compared(store):
    with pytest.raises(RatingError, match="chooses pairs of models"):
        store.open_batch("b", mode="single", settings=Settings(order="active"))


@pytest.mark.parametrize("mode", ANSWERS)
def test_r02_nothing_that_a_rater_gets_tells_a_model_or_a_known_answer(store, make_event, mode):
    known = {
        "pair": {"choice": "first"},
        "dialogue": {"choice": "first"},
        "single": {"likert": 7},
        "rank": {"ranks": [1, 2, 3, 4]},
        "edit": None,
    }[mode]
    given_rows = rows(30, ANSWERS[mode])
    if known:
        for row in given_rows[:10]:
            row["gold"] = known
    store.add(given_rows, "b", mode=mode, settings=Settings(repeats=0.2, gold=0.3))
    seen = set()
    while (task := store.next("ann", "b")) is not None:
        shown = repr(task) + json.dumps(task.to_json())
        assert "secret-model" not in shown
        assert "gold" not in shown
        assert "repeat" not in shown
        seen.add(frozenset(task.to_json()))
        with pytest.raises(RatingError, match="once a rating is stored"):
            store.reveal(task.assignment_id)
        store.record(say(task, mode, make_event))
        assert all("secret-model" in name for name in store.reveal(task.assignment_id))
    assert len(seen) == 1  # gold tasks and repeats have no key that others have not


def test_r03_skips_and_flags_hold_no_opinion_and_choices_are_four_with_four_strengths(store, make_event):
    store.add(rows(8, 2), "b", settings=PLAIN)
    for choice, strength in (("left", 0), ("right", 3), ("tie", 0), ("both_bad", 0)):
        store.record(make_event(store.next("ann", "b"), choice=choice, strength=strength))
    for kind in ("skip", "flag"):
        store.record(make_event(store.next("ann", "b"), kind))
        with pytest.raises(RatingError, match="takes no choice"):
            store.record(make_event(store.next("ann", "b"), kind, choice="left"))
    with pytest.raises(RatingError, match="from 0 to 3"):
        store.record(make_event(store.next("ann", "b"), strength=4))
    progress = store.progress("ann", "b")
    assert (progress.rated, progress.skipped, progress.flagged) == (4, 1, 1)
    assert len(store.preferences("b", min_strength=0)) == 2


@pytest.mark.parametrize(
    ("ranks", "pairs"),
    [
        # G-PREF-1: the ranking b, a, c; the fourth answer has no rank and loses to all three
        ([2, 1, 3, None], {"ba", "ac", "bc", "ad", "bd", "cd"}),
        # a and c are equal: their pair is left out
        ([2, 1, 2, None], {"ba", "bc", "ad", "bd", "cd"}),
    ],
)
def test_g_pref_1_a_ranking_is_the_pairs_it_orders(store, make_event, ranks, pairs):
    names = "abcd"
    responses = [{"model": name, "text": f"answer {name}"} for name in names]
    store.add([{"prompt": "x", "responses": responses}], "b", mode="rank", settings=PLAIN)
    task = store.next("ann", "b")
    shown = [ranks[names.index(text[-1])] for text in task.texts]
    store.record(make_event(task, choice=None, strength=None, scores={"ranks": shown}))
    found = {row["chosen_model"] + row["rejected_model"] for row in _preferences(store)}
    assert found == pairs


@pytest.mark.parametrize(("answers", "pairs"), [(4, 6), (5, 10), (6, 15), (7, 21), (8, 28), (9, 36)])
def test_g_pref_2_k_answers_make_k_k_minus_1_halves_pairs(store, make_event, answers, pairs):
    store.add(rows(1, answers), "b", mode="rank", settings=PLAIN)
    task = store.next("ann", "b")
    ranks = list(range(1, answers + 1))
    store.record(make_event(task, choice=None, strength=None, scores={"ranks": ranks}))
    assert len(_preferences(store)) == pairs


def _preferences(store: Ratings) -> list[dict[str, Any]]:
    path = store.path.with_name("rows.jsonl")
    store.export(path, "preference", batch="b")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_conversation_goes_on_with_the_answer_that_was_chosen(store, make_event):
    store.add(rows(2, 2), "b", mode="dialogue", settings=PLAIN)
    task = store.next("ann", "b")
    two = [{"model": "m", "text": "and then?"}, {"model": "n", "text": "well"}]
    with pytest.raises(RatingError, match="choose one first"):
        store.next_turn(task.assignment_id, "Go on.", two)
    store.record(make_event(task, choice="right", strength=2))
    assert int(store.next_turn(task.assignment_id, "Go on.", two)) == 1
    again = store.next_turn(task.assignment_id, "Go on.", two)
    assert (int(again), again.known) == (0, 1)
    turn = store.next("ann", "b")
    assert turn.prompt == [
        *task.prompt,
        {"role": "assistant", "content": task.right},
        {"role": "user", "content": "Go on."},
    ]
    assert (turn.position, turn.total) == (2, 3)
    store.record(make_event(turn, choice="both_bad", strength=0))
    with pytest.raises(RatingError, match="neither answer will do"):
        store.next_turn(turn.assignment_id, "So?", two)
    assert store.next("ann", "b").position == 3
    with store.database.reading() as connection:
        tags = [json.loads(row) for row in connection.execute(select(t.task.c.tags_json)).scalars()]
    assert sorted(tag["turn"] for tag in tags) == [1, 1, 2]
    assert len({tag["conversation"] for tag in tags}) == 2
    assert store.verify()


def test_the_turns_of_a_conversation_are_its_raters_alone(store, make_event):
    store.add(rows(1, 2), "b", mode="dialogue", settings=Settings(overlap=2, repeats=0, gold=0))
    task = store.next("ann", "b")
    store.record(make_event(task, choice="tie", strength=0))
    two = [{"model": "m", "text": "and then?"}, {"model": "n", "text": "well"}]
    store.next_turn(task.assignment_id, "Go on.", two)
    assert store.next("ann", "b").prompt[-2]["content"] == task.left
    other = store.next("bob", "b")
    assert len(other.prompt) == 1
    store.record(make_event(other))
    assert store.next("bob", "b") is None


def test_only_a_dialogue_has_a_next_turn(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    task = store.next("ann")
    store.record(make_event(task))
    with pytest.raises(RatingError, match="only a dialogue has a next turn"):
        store.next_turn(task.assignment_id, "x", [])


def test_r13_an_event_leads_to_all_that_made_the_answers(store, make_event):
    generation = {
        "seed": 7,
        "temperature": 0.7,
        "weights": "sha256:1",
        "adapter": "sha256:2",
        "tokenizer": "sha256:3",
    }
    responses = [{"model": f"m{n}", "text": f"t{n}", "generation": generation | {"seed": n}} for n in (7, 8)]
    store.add([{"prompt": "x", "responses": responses}], "b", seed="classroom", settings=PLAIN)
    task = store.next("ann", "b")
    store.record(make_event(task, session_id="jupyterlab 4.6 / pair 1", shown_ms=2500, client_mono_ms=99))
    (event,) = store.history(task.assignment_id)
    for name in ("app_version", "schema_version", "session_id", "server_utc", "shown_ms", "client_mono_ms"):
        assert event[name], name
    with store.database.reading() as connection:
        stored = connection.execute(
            select(t.response.c.generation_json).order_by(t.response.c.slot)
        ).scalars()
        assert [json.loads(row)["seed"] for row in stored] == [7, 8]
        assignment = connection.execute(select(t.assignment)).mappings().one()
        assert (assignment["reason"], assignment["place"]) == ("given", 1)
        batch = connection.execute(select(t.batch)).mappings().one()
        assert batch["seed"] == "classroom"
        assert json.loads(batch["settings_json"])["order"] == "given"


def test_r14_other_instructions_are_another_version_for_the_rows_that_follow(store, make_event):
    store.add(rows(1, 2), "b", instructions="Prefer the kind one.", settings=PLAIN)
    store.add(rows(2, 2)[1:], "b", instructions="Prefer the true one.")
    store.open_batch("b", instructions="Prefer the short one.")
    store.add(rows(3, 2)[2:], "b")
    seen = []
    while (task := store.next("ann", "b")) is not None:
        seen.append((task.instructions_version, task.instructions))
        store.record(make_event(task))
    assert seen == [(1, "Prefer the kind one."), (2, "Prefer the true one."), (3, "Prefer the short one.")]


# every mode against a list

_OPINIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "pair": st.fixed_dictionaries(
        {"choice": st.sampled_from(["left", "right", "tie", "both_bad"])},
        optional={"scores": st.fixed_dictionaries({"safety": st.sampled_from(["both_safe", "right_safe"])})},
    ),
    "dialogue": st.fixed_dictionaries({"choice": st.sampled_from(["left", "right", "tie"])}),
    "single": st.fixed_dictionaries(
        {"scores": st.fixed_dictionaries({"likert": st.integers(1, 7)}, optional={"thumb": st.just("up")})}
    ),
    "rank": st.fixed_dictionaries(
        {
            "scores": st.fixed_dictionaries(
                {"ranks": st.lists(st.none() | st.integers(1, 4), min_size=4, max_size=4).filter(any)}
            )
        }
    ),
    "edit": st.fixed_dictionaries(
        {"scores": st.fixed_dictionaries({"text": st.text("aé👩\u202e<", min_size=1, max_size=20)})}
    ),
}


@pytest.mark.parametrize("mode", ANSWERS)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_a08_what_stands_in_any_mode_agrees_with_a_list(tmp_path_factory, empty_store, mode, data):
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(empty_store, folder / "ratings.db")
    with Ratings(folder / "ratings.db") as store:
        store.add(rows(2, ANSWERS[mode]), "b", mode=mode, settings=PLAIN)
        said: dict[str, list[dict[str, Any]]] = {}
        for step in range(data.draw(st.integers(1, 14))):
            open_one = store.next("ann", "b")
            place = data.draw(
                st.sampled_from(sorted({*said, *([open_one.assignment_id] if open_one else [])}))
            )
            _step(store, place, said.setdefault(place, []), mode, data, step)
        answered = 0
        for place, events in said.items():
            stored = store.history(place)
            assert [row["event_id"] for row in stored] == [event["event_id"] for event in events]
            standing = events[-1] if events and events[-1]["kind"] != "undo" else None
            answered += standing is not None
            state = store.task(place).state
            assert (state is None) == (standing is None)
            if standing is not None:
                assert (state.kind, state.choice) == (standing["kind"], standing.get("choice"))
                assert state.scores == standing.get("scores")
        assert store.progress("ann", "b").answered == answered
        assert store.verify()


def _step(store: Ratings, place: str, events: list[dict[str, Any]], mode: str, data: Any, step: int) -> None:
    kind = data.draw(st.sampled_from(["rate", "revise", "undo", "skip", "flag"]))
    stands = events[-1]["kind"] if events and events[-1]["kind"] != "undo" else None
    allowed = {
        None: ("rate", "skip", "flag"),
        "rate": ("revise", "undo", "skip", "flag"),
        "revise": ("revise", "undo", "skip", "flag"),
        "skip": ("rate", "revise", "undo", "flag"),
        "flag": ("rate", "revise", "undo", "skip"),
    }[stands]
    event = {
        "event_id": f"event-{step:04}",
        "assignment_id": place,
        "kind": kind,
        "prev_event_id": events[-1]["event_id"] if events else None,
    }
    if kind in ("rate", "revise"):
        event |= data.draw(_OPINIONS[mode])
    if data.draw(st.booleans()) and events:  # A7: from a view that is stale
        with pytest.raises(Conflict):
            store.record(event | {"prev_event_id": None, "event_id": f"stale-{step:04}"})
    if kind not in allowed:
        with pytest.raises(RatingError):
            store.record(event)
        return
    assert store.record(event).status == "stored"
    assert store.record(event).status == "duplicate"
    events.append(event)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("I am ChatGPT, made by OpenAI.", ("chatgpt", "openai")),
        ("As kind-1 I would say no.", ("kind-1",)),
        ("Says Qwen2.5-0.5B.", ("qwen2.5-0.5b",)),
        ("A wren, palms and a claudette.", ()),
        ("Nothing.", ()),
    ],
)
def test_r02_an_answer_that_says_who_wrote_it_is_kept_told_and_flagged(store, make_event, answer, names):
    responses = [{"model": "run:kind-1", "text": answer}, {"model": "Qwen/Qwen2.5-0.5B", "text": "another"}]
    added = store.add([*rows(1, 2), {"prompt": "x", "responses": responses}], "b", settings=PLAIN)
    assert int(added) == 2
    assert [(leak.row, leak.names) for leak in added.leaked] == ([(1, names)] if names else [])
    assert ("row 1 is not blind" in repr(added)) == bool(names)
    for _ in range(2):
        store.record(make_event(store.next("ann", "b")))
    assert [row["leaked"] for row in store.current()] == [False, bool(names)]
    assert store.verify()


def test_two_raters_whose_conversations_go_the_same_way_are_both_asked_the_turn(store, make_event):
    store.add(rows(1, 2), "talk", mode="dialogue", settings=PLAIN)
    answers = [{"model": "a", "text": "alike"}, {"model": "b", "text": "each time"}]
    chosen = store.next("ann", "talk").left
    for rater in ("ann", "bob"):
        task = store.next(rater, "talk")
        store.record(make_event(task, choice="left" if task.left == chosen else "right"))
        assert store.next_turn(task.assignment_id, "Go on!", answers) == 1
        assert store.next_turn(task.assignment_id, "Go on!", answers).known == 1  # sent again: once
        turn = store.next(rater, "talk")
        assert turn.prompt[-1]["content"] == "Go on!"
        assert (turn.position, turn.total) == (2, 2)
        store.record(make_event(turn))
        assert store.next(rater, "talk") is None
    assert store.batches() == {"talk": 2}
    assert store.verify()
