"""What the page is given of a task: enough to judge it, and no more than a message can carry."""

from typing import TYPE_CHECKING, Any

from ftlab.widgets import rated

if TYPE_CHECKING:
    from ftlab.ratings import State, Task

SHOWN_CHARACTERS = 100_000
"""The page is given this much of a text; a message of some megabytes would be dropped on its way."""
SHOWN_TOGETHER = 1_000_000
"""And this much of all texts of a task."""


def for_page(task: "Task") -> dict[str, Any]:
    """What the page gets of a task."""
    limit = min(SHOWN_CHARACTERS, SHOWN_TOGETHER // (len(task.prompt) + len(task.texts)))
    return {
        "assignment_id": task.assignment_id,
        "mode": task.mode,
        "position": task.position,
        "prompt": [{**message, "content": _cut(message["content"], limit)} for message in task.prompt],
        "texts": [text[:limit] for text in task.texts],
        "unseen": [max(0, len(text) - limit) for text in task.texts],
        "prev_event_id": task.prev_event_id,
        "settings": task.settings,
        "stands": stands(task),
    }


def stands(task: "Task") -> dict[str, Any] | None:
    """What was said about it already."""
    if task.state is None:
        return None
    return {**_said(task.state), "words": _words(task.state)}


def _said(state: "State") -> dict[str, Any]:
    return {name: getattr(state, name) for name in ("kind", "choice", "strength", "scores", "comment")}


def _words(state: "State") -> str:
    return rated.words(_said(state))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n\n[… {len(text) - limit:,} more characters are not shown]"


def undoable(task: "Task | None") -> dict[str, Any] | None:
    """What Undo would take back."""
    if task is None or task.state is None:
        return None
    return {
        "assignment_id": task.assignment_id,
        "event_id": task.state.event_id,
        "words": f"{rated.NOUNS[task.mode]} {task.position}: {_words(task.state)}",
    }


def follows(task: "Task | None", so_far: list[dict[str, str]]) -> bool:
    """Whether this task is the next turn of that conversation."""
    return task is not None and task.prompt[: len(so_far)] == so_far
