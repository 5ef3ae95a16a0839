"""What the tests of imports and exports share: a store in which every mode was rated, and reading files back."""

import json
from uuid import uuid4


def say(store, rater, batch, said, *, kind=None):
    """One event for the rater's next task; the task."""
    task = store.next(rater, batch, kind=kind)
    event = {
        "event_id": uuid4().hex,
        "assignment_id": task.assignment_id,
        "kind": said.pop("kind", "rate"),
        "prev_event_id": task.prev_event_id,
    }
    prefer = said.pop("prefer", None)
    if prefer is not None:  # a text, whatever side it is on
        said = {"choice": "left" if task.texts[0] == prefer else "right", "strength": 1} | said
    order = said.pop("order", None)
    if order is not None:  # {text: rank}
        said = {"scores": {"ranks": [order.get(text) for text in task.texts]}} | said
    store.record(event | said)
    return task


def row(prompt, *texts, models="abcdefghi", **more):
    answers = [{"model": model, "text": text} for model, text in zip(models, texts, strict=False)]
    return {"prompt": prompt, "responses": answers, **more}


PLAIN = {"repeats": 0.0, "gold": 0.0}


def every_mode(store):
    """Batches pair, single, rank, edit and dialogue, rated by ann, some by bob."""
    for mode in ("pair", "single", "rank", "edit", "dialogue"):
        settings = PLAIN | ({"safety": True} if mode in ("pair", "dialogue") else {})
        store.open_batch(mode, mode=mode, instructions=f"Rate {mode}.", seed=mode, settings=settings)
    store.add([row("P1?", "one", "two"), row("P2?", "three", "four")], "pair")
    store.add([row("S1?", "good"), row("S2?", "poor"), row("S3?", "so so")], "single")
    store.add([row("R1?", "w", "x", "y", "z")], "rank")
    store.add([row("E1?"), row("E2?", "draft")], "edit")
    store.add([row("D1?", "hello", "hi")], "dialogue")
    say(store, "ann", "pair", {"prefer": "one", "strength": 3, "comment": "clear\u2028\x85"})
    say(store, "ann", "pair", {"choice": "both_bad", "strength": 0})
    say(store, "bob", "pair", {"prefer": "one", "strength": 1, "shown_ms": 4000})
    say(store, "ann", "single", {"scores": {"likert": 6, "labels": ["kind"]}})
    say(store, "ann", "single", {"scores": {"thumb": "down"}})
    say(store, "ann", "single", {"scores": {"likert": 4}})
    say(store, "ann", "rank", {"order": {"w": 1, "x": 2, "y": 2}})
    say(store, "ann", "edit", {"scores": {"text": "written"}})
    say(store, "ann", "edit", {"scores": {"text": "improved"}})
    say(store, "ann", "dialogue", {"prefer": "hi", "strength": 0})


def read_lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
