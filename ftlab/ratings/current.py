"""What stands, as a table for people: a row for each answered assignment, with the models' names."""

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from ftlab.ratings import schema as t
from ftlab.ratings.opinions import check_batch, stream


def table(connection: Connection, batch: str | None) -> list[dict[str, Any]]:
    """What stands, a row for each answered assignment, with the models' names."""
    e, a, k, b = t.rating_event.c, t.assignment.c, t.task.c, t.batch.c
    wanted = (
        select(
            k.batch,
            k.ordinal,
            k.instruction_version,
            k.leaked,
            b.mode,
            a.assignment_id,
            a.task_id,
            a.order_json,
            a.repeat_no,
            a.is_gold,
            a.rater_id,
            t.rater.c.kind.label("rater_kind"),
            e.scores_json,
            *(e[name] for name in _SHOWN),
        )
        .join_from(t.assignment, t.rating_event, a.head_event_id == e.event_id)
        .join(t.task, k.task_id == a.task_id)
        .join(t.batch, b.name == k.batch)
        .join(t.rater, t.rater.c.rater_id == a.rater_id)
        .where(a.is_open == 0)
        .order_by(k.batch, k.ordinal, e.seq)
    )
    if batch is not None:
        check_batch(connection, batch)
        wanted = wanted.where(k.batch == batch)
    answers = _answers(connection, batch)
    return [_table_row(row, answers.get(row["task_id"], [])) for row in connection.execute(wanted).mappings()]


def _answers(connection: Connection, batch: str | None) -> dict[str, list[tuple[str, int]]]:
    """(model, words) of each answer of each task, by slot."""
    r = t.response.c
    wanted = select(r.task_id, r.model_ref, r.text).order_by(r.task_id, r.slot)
    if batch is not None:
        wanted = wanted.join_from(t.response, t.task, t.task.c.task_id == r.task_id).where(
            t.task.c.batch == batch
        )
    found: dict[str, list[tuple[str, int]]] = {}
    for task_id, model, answer in stream(connection, wanted):
        found.setdefault(task_id, []).append((model, len(answer.split())))
    return found


_SHOWN = ("seq", "event_id", "kind", "choice", "strength", "comment", "shown_ms", "server_utc", "post_reveal")


def _table_row(row: RowMapping, answers: list[tuple[str, int]]) -> dict[str, Any]:
    shown = [slot for slot in json.loads(row["order_json"]) if slot < len(answers)]
    models = [answers[slot][0] for slot in shown]
    words = sum(answers[slot][1] for slot in shown)
    sides = {"left": 0, "right": 1}
    return {
        "batch": row["batch"],
        "mode": row["mode"],
        "position": row["ordinal"],
        "instructions_version": row["instruction_version"],
        "assignment_id": row["assignment_id"],
        "repeat_no": row["repeat_no"],
        "gold": bool(row["is_gold"]),
        "leaked": bool(row["leaked"]),
        "rater": row["rater_id"],
        "rater_kind": row["rater_kind"],
        "models": models,
        "left_model": models[0] if models else None,
        "right_model": models[1] if len(models) > 1 else None,
        "winner": models[sides[row["choice"]]] if row["choice"] in sides else None,
        "scores": None if row["scores_json"] is None else json.loads(row["scores_json"]),
        **{name: row[name] for name in _SHOWN},
        "post_reveal": bool(row["post_reveal"]),
        "hasty": None if row["shown_ms"] is None else row["shown_ms"] < max(1000, 10 * words),
    }
