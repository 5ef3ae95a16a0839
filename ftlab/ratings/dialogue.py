"""A conversation that goes on: the answer that was chosen, what the user says to it, and two new answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ftlab.errors import RatingError
from ftlab.ratings import batches, log, queue
from ftlab.ratings import schema as t
from ftlab.ratings.tasks import Refused, check_row


def store_turn(
    connection: Connection, assignment_id: str, message: str, responses: Sequence[Mapping[str, Any]]
) -> tuple[int, tuple[Refused, ...]]:
    """Stores the turn after the one of this assignment, for its rater; how many, and what was refused."""
    before = queue.assignment(connection, assignment_id)
    batch = batches.get(connection, before["batch"])
    if batch.mode != "dialogue":
        raise RatingError(f"batch {batch.name!r} is of mode {batch.mode!r}: only a dialogue has a next turn")
    prompt, tags = _so_far(connection, before)
    row = {"prompt": [*prompt, {"role": "user", "content": message}], "responses": responses, "tags": tags}
    item = check_row(row, 0, batch.mode)
    if isinstance(item, Refused):
        return 0, (item,)
    version = batches.version_of(connection, before["task_id"])
    stored = queue.store_turn(connection, item, batch, version, before["rater_id"])
    return int(stored is not None), ()


def _so_far(connection: Connection, before: RowMapping) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The conversation with the answer that was chosen, and the tags of the turn to come."""
    state = log.state(log.event(connection, before["head_event_id"]) if before["head_event_id"] else None)
    if state is None or state.kind not in ("rate", "revise"):
        raise RatingError("the conversation goes on with the answer that was chosen: choose one first")
    if state.choice == "both_bad":
        raise RatingError(
            "neither answer will do, so that there is none to go on with: begin another conversation"
        )
    k = t.task.c
    about = connection.execute(select(k.prompt_json, k.tags_json).where(k.task_id == before["task_id"])).one()
    # after a tie it goes on with the left one: which that is was left to chance
    slot = json.loads(before["order_json"])[1 if state.choice == "right" else 0]
    answer = queue.responses(connection, before["task_id"])[slot]["text"]
    tags = json.loads(about.tags_json)
    turn = tags.get("turn")
    return (
        [*json.loads(about.prompt_json), {"role": "assistant", "content": answer}],
        tags | {"turn": turn + 1 if isinstance(turn, int) else 2},
    )
