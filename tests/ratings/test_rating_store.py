"""What a rater does, and what the store makes of it."""

import json
import random
import shutil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from ftlab.errors import RatingError
from ftlab.ratings import Conflict, Quarantined, Ratings
from ftlab.ratings import schema as t
from ftlab.ratings.clean import clean
from ftlab.ratings.sides import order


def test_a_store_is_made_for_its_owner_only_and_opens_again_without_alembic(tmp_path, make_pairs):
    import subprocess
    import sys

    with Ratings(tmp_path / "new" / "ratings.db") as store:
        store.add_pairs(make_pairs(1))
        assert store.path.stat().st_mode & 0o777 == 0o600
    program = "import sys; from ftlab.ratings import Ratings; print(Ratings(sys.argv[1]).batches(), 'alembic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(store.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'default': 1} False"
    assert [file.name for file in store.path.parent.iterdir()] == ["ratings.db"]


def test_the_settings_are_those_that_lose_nothing(store):
    with store.database.reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 10_000,
    }


def test_the_migrations_make_the_tables_that_the_code_believes_in(store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.database.writing() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []
        columns = connection.exec_driver_sql("SELECT * FROM current_rating").keys()
    assert list(columns) == [column.name for column in t.current_rating.columns]


def test_pairs_are_added_once_and_worthless_ones_are_refused_with_a_reason(store, make_pairs):
    rows = make_pairs(3)
    same = {"prompt": "Hi", "responses": [{"model": "a", "text": "yes"}, {"model": "b", "text": " yes\n"}]}
    blank = {"prompt": "  ", "responses": [{"model": "a", "text": "x"}, {"model": "b", "text": "y"}]}
    added = store.add_pairs([*rows, same, blank])
    assert added == 3
    assert [(item.row, item.reason.split(":")[0]) for item in added.refused] == [
        (3, "both answers are the same text"),
        (4, "the prompt is empty"),
    ]
    turned = [row | {"responses": row["responses"][::-1]} for row in rows]
    again = store.add_pairs(turned + make_pairs(1, start=9))
    assert (again, again.known) == (1, 3)
    assert store.add_pairs(rows, batch="other") == 3
    assert store.batches() == {"default": 4, "other": 3}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "x"}, "row 1: needs 'prompt' and 'responses'"),
        ({"prompt": 3, "responses": [{}, {}]}, "row 1: 'prompt' is text"),
        ({"prompt": "x", "responses": [{"model": "a", "text": "b"}]}, "list of two"),
        ({"prompt": "x", "responses": [{"model": "a"}, {}]}, "row 1, response 0: needs 'model' and 'text'"),
        ({"prompt": [{"role": "boss", "content": "x"}], "responses": [{}, {}]}, "role 'boss'"),
        (
            {
                "prompt": "x",
                "responses": [{"model": "a", "text": "b", "generation": {"t": float("nan")}}] * 2,
            },
            "without NaN",
        ),
        (
            {"prompt": [{"role": "assistant", "content": "x"}], "responses": [{}, {}]},
            "ends with the assistant",
        ),
    ],
)
def test_a_row_of_another_shape_is_named_and_nothing_is_added(store, make_pairs, row, words):
    with pytest.raises(RatingError, match="row 1") as error:
        store.add_pairs([make_pairs(1)[0], row])
    assert words in str(error.value)
    assert store.batches() == {}


def test_new_instructions_hold_for_new_rows_only(store, make_pairs):
    store.add_pairs(make_pairs(1), instructions="Prefer the helpful one.")
    store.add_pairs(make_pairs(1, start=1), instructions="Prefer the kind one.")
    store.add_pairs(make_pairs(1, start=2))
    seen = []
    for _ in range(3):
        task = store.next("ann")
        seen.append((task.instructions_version, task.instructions))
        store.record({"event_id": f"event-{len(seen)}-", "assignment_id": task.assignment_id, "kind": "skip"})
    assert seen == [
        (1, "Prefer the helpful one."),
        (2, "Prefer the kind one."),
        (2, "Prefer the kind one."),
    ]


def test_the_same_task_comes_until_it_is_answered_and_none_at_the_end(store, make_pairs, make_event):
    store.add_pairs(make_pairs(2))
    first = store.next("ann")
    with Ratings(store.path) as other_kernel:
        assert other_kernel.next("ann") == first
    store.record(make_event(first))
    second = store.next("ann")
    assert (second.position, second.total) == (2, 2)
    store.record(make_event(second, "skip"))
    assert store.next("ann") is None
    assert store.next("bob").position == 1
    progress = store.progress("ann")
    assert (progress.rated, progress.skipped, progress.answered, progress.remaining) == (1, 1, 2, 0)
    back = store.at("ann", "default", 1)
    assert (back.state.choice, back.state.strength) == ("left", 2)
    assert store.at("bob", "default", 2) is None


def test_nothing_that_a_rater_gets_names_a_model_before_the_answer(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    task = store.next("ann")
    shown = repr(task) + json.dumps(task.to_json())
    assert "wren" not in shown
    assert "run:tuned" not in shown
    with pytest.raises(RatingError, match="once a rating is stored"):
        store.reveal(task.assignment_id)
    store.record(make_event(task))
    names = store.reveal(task.assignment_id)
    assert names == (("wren", "run:tuned") if "base" in task.left else ("run:tuned", "wren"))


def test_what_is_said_after_the_names_were_seen_is_marked(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    task = store.next("ann")
    store.record(make_event(task))
    store.reveal(task.assignment_id)
    store.record(make_event(store.task(task.assignment_id), "revise", choice="right"))
    assert [row["post_reveal"] for row in store.history(task.assignment_id)] == [0, 1]


def test_sides_are_fair_and_no_seeding_elsewhere_can_fix_them():
    names = [f"task-{n}" for n in range(10_000)]
    random.seed(0)
    first = [order("seed", name, "ann", 0, 2) for name in names]
    random.seed(1)
    assert first == [order("seed", name, "ann", 0, 2) for name in names]
    share = sum(shown == [0, 1] for shown in first) / len(first)
    assert abs(share - 0.5) < 0.0165  # 99.9 % of fair coins
    for other in (("other", "ann", 0), ("seed", "bob", 0), ("seed", "ann", 2)):
        agree = sum(
            shown == order(other[0], name, *other[1:], 2) for name, shown in zip(names, first, strict=True)
        )
        assert abs(agree / len(first) - 0.5) < 0.0165
    swapped = [order("seed", name, "ann", 1, 2)[::-1] for name in names]
    assert swapped == first  # asked again, the sides are the other way round (R5)
    assert sorted(order("seed", "task", "ann", 0, 9)) == list(range(9))


def test_two_stores_with_one_seed_show_the_same_sides(tmp_path, make_pairs, make_event):
    seen = []
    for name in ("one.db", "two.db"):
        with Ratings(tmp_path / name) as store:
            store.add_pairs(make_pairs(12), seed="classroom")
            texts = []
            while (task := store.next("ann")) is not None:
                texts.append(task.texts)
                store.record(make_event(task))
            seen.append(texts)
    assert seen[0] == seen[1]
    assert len({"base" in left for left, _ in seen[0]}) == 2


def test_an_event_that_is_sent_again_has_the_same_receipt(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann"))
    first, second = store.record(event), store.record(event)
    assert (first.status, second.status) == ("stored", "duplicate")
    assert (first.seq, first.row_hash) == (second.seq, second.row_hash)
    assert store.last_seq() == 1


def test_another_body_under_a_taken_id_is_put_aside_whole(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann"))
    store.record(event)
    for _ in range(2):
        with pytest.raises(Quarantined, match="put aside"):
            store.record(event | {"choice": "right"})
    with store.database.reading() as connection:
        held = connection.execute(select(t.quarantine)).mappings().all()
    assert [json.loads(row["body_json"])["choice"] for row in held] == ["right"]
    assert store.current()[0]["choice"] == "left"


def test_a07_a_revision_from_a_stale_view_is_told_what_stands(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    task = store.next("ann")
    receipt = store.record(make_event(task))
    with pytest.raises(Conflict, match=r"left \(strength 2\)") as conflict:
        store.record(make_event(task, choice="right"))
    assert conflict.value.stored.choice == "left"
    assert conflict.value.head == receipt.event_id
    store.record(make_event(task, "revise", choice="right", prev_event_id=conflict.value.head))
    with pytest.raises(Conflict) as stale:
        store.record(make_event(task, "revise", choice="tie", strength=0, prev_event_id=receipt.event_id))
    assert stale.value.stored.choice == "right"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choice": "middle"}, "'choice' is one of"),
        ({"strength": 4}, "from 0 to 3, not 4"),
        ({"strength": True}, "from 0 to 3, not True"),
        ({"choice": "tie"}, "'tie' has no strength"),
        ({"event_id": "x"}, "'event_id' has 8 to 64"),
        ({"event_id": "a'; DROP TABLE rating_event;--"}, "'event_id' has 8 to 64"),
        ({"shown_ms": float("nan")}, "without NaN"),
        ({"shown_ms": "3"}, "a number of milliseconds"),
        ({"comment": "x" * 20_001}, "20001 characters"),
        ({"kind": "delete"}, "'kind' is one of"),
        ({"colour": "red"}, "no 'colour'"),
        ({"kind": "revise"}, "cannot follow"),
        ({"kind": "skip"}, "takes no choice"),
        ({"assignment_id": "not-in-this-store"}, "no assignment"),
    ],
)
def test_an_event_that_cannot_be_understood_is_refused_by_name(store, make_pairs, make_event, change, words):
    store.add_pairs(make_pairs(1))
    event = make_event(store.next("ann")) | change
    with pytest.raises(RatingError) as error:
        store.record(event)
    assert words in str(error.value)
    assert store.last_seq() == 0


def test_a_clock_that_is_decades_off_changes_no_order(store, make_pairs, make_event):
    store.add_pairs(make_pairs(1))
    task = store.next("ann")
    store.record(make_event(task, client_utc="2099-01-01T00:00:00Z"))
    later = store.task(task.assignment_id)
    store.record(make_event(later, "revise", choice="right", client_utc="1970-01-01T00:00:00Z"))
    assert store.current()[0]["choice"] == "right"
    assert [row["client_utc"][:4] for row in store.history(task.assignment_id)] == ["2099", "1970"]


def test_answers_given_too_fast_to_have_been_read_are_marked_and_kept(store, make_pairs, make_event):
    store.add_pairs(make_pairs(3))
    for shown in (900, 1500, None):
        store.record(make_event(store.next("ann"), shown_ms=shown))
    assert [row["hasty"] for row in store.current()] == [True, False, None]


def test_a_rater_stays_of_one_kind(store, make_pairs):
    store.add_pairs(make_pairs(1))
    store.next("ann")
    with pytest.raises(RatingError, match="known as 'person'"):
        store.next("ann", kind="judge")


def test_an_unknown_batch_is_an_error_that_lists_the_known_ones(store, make_pairs):
    store.add_pairs(make_pairs(1), batch="tour")
    with pytest.raises(RatingError, match="there is tour"):
        store.next("ann", "tuor")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rating_event SET choice = 'right'",
        "DELETE FROM rating_event",
        "INSERT OR REPLACE INTO rating_event SELECT * FROM rating_event",
        "UPDATE response SET text = 'x'",
        "DELETE FROM task",
        "UPDATE assignment SET order_json = '[1,0]'",
        "DELETE FROM assignment",
        "DELETE FROM rater",
    ],
)
def test_what_was_stored_cannot_be_changed_by_sql(store, make_pairs, make_event, statement):
    store.add_pairs(make_pairs(1))
    store.record(make_event(store.next("ann")))
    with pytest.raises(IntegrityError), store.database.writing() as connection:
        connection.execute(text(statement))
    assert store.verify()


def test_reading_cannot_turn_into_writing(store):
    with pytest.raises(RatingError, match="readonly"), store.database.reading() as connection:
        connection.execute(text("DELETE FROM batch"))
    store.add_pairs([])


def test_hostile_text_comes_back_as_it_went_in_or_is_counted(store, make_event):
    kept = "\u202eabc \u200b \u2028 \x85 \x1c \x0b \x1b]0;x\x07 <script>alert(1)</script> 👩‍👩‍👧 '; DROP TABLE task;--"
    store.add_pairs(
        [
            {
                "prompt": "a\0b\ud800c\ud83d\ude00",
                "responses": [{"model": "a", "text": kept}, {"model": "b", "text": "x" * 100_000}],
            }
        ]
    )
    task = store.next("ann")
    assert task.prompt[0]["content"] == "a\u2400b\ufffdc😀"
    assert sorted(task.texts, key=len) == [kept, "x" * 100_000]
    event = make_event(task, comment="nul \0 and \udfff", session_id="s\0")
    assert store.record(event).status == "stored"
    assert store.record(event).status == "duplicate"
    row = store.history(task.assignment_id)[0]
    assert (row["comment"], row["replaced"]) == ("nul \u2400 and \ufffd", 3)
    with store.database.reading() as connection:
        assert connection.execute(select(t.task.c.replaced)).scalar() == 2
    assert store.verify()


@given(st.text(st.characters(), max_size=30))
def test_cleaned_text_is_always_utf8_without_nul(raw):
    text_, replaced = clean(raw)
    assert "\0" not in text_
    assert text_.encode().decode() == text_
    assert replaced > 0 or text_ == raw


class Model:
    """What a store must do, in a list."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str | None]] = []

    @property
    def standing(self) -> tuple[str, str, str | None] | None:
        return self.events[-1] if self.events and self.events[-1][1] != "undo" else None

    def allows(self, kind: str) -> bool:
        stands = self.standing
        if stands is None:
            return kind in ("rate", "skip", "flag")
        if stands[1] in ("skip", "flag"):
            return kind != stands[1]
        return kind != "rate"


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["rate", "revise", "undo", "skip", "flag"]),
        st.sampled_from(["left", "right", "tie", "both_bad"]),
        st.booleans(),  # from a stale view
        st.integers(0, 1),  # which task
    ),
    max_size=20,
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(_STEPS)
def test_undo_and_revise_agree_with_a_list(tmp_path_factory, empty_store, make_pairs, make_event, steps):
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(empty_store, folder / "ratings.db")
    with Ratings(folder / "ratings.db") as store:
        store.add_pairs(make_pairs(2))
        skip = store.next("ann")
        store.record(make_event(skip))
        places = [skip.assignment_id, store.next("ann").assignment_id]
        store.undo(places[0])
        models = [Model(), Model()]
        models[0].events = [(row["event_id"], row["kind"], row["choice"]) for row in store.history(places[0])]
        for kind, choice, stale, which in steps:
            _step(store, places[which], models[which], make_event, kind, choice, stale)
        for place, model in zip(places, models, strict=True):
            stored = [(row["event_id"], row["kind"], row["choice"]) for row in store.history(place)]
            assert stored == model.events
            state = store.task(place).state
            assert (None if state is None else (state.event_id, state.kind, state.choice)) == model.standing
        open_ones = [place for place, model in zip(places, models, strict=True) if model.standing is None]
        following = store.next("ann")
        assert (None if following is None else following.assignment_id) == (
            open_ones[0] if open_ones else None
        )
        assert store.verify()


def _step(
    store: Ratings, place: str, model: Model, make_event: Any, kind: str, choice: str, stale: bool
) -> None:
    more: dict[str, Any] = {"prev_event_id": model.events[-1][0] if model.events else None}
    if stale:
        more["prev_event_id"] = model.events[-2][0] if len(model.events) > 1 else "nothing-like-it"
    if kind in ("rate", "revise"):
        more |= {"choice": choice, "strength": 1 if choice in ("left", "right") else 0}
    event = make_event(place, kind) | more
    if stale:
        with pytest.raises(Conflict):
            store.record(event)
    elif not model.allows(kind):
        with pytest.raises(RatingError):
            store.record(event)
    else:
        store.record(event)
        model.events.append((event["event_id"], kind, event.get("choice")))
