"""A part of a run's configuration: frozen, closed to unknown keys, and able to say what is wrong with it."""

import difflib
import json
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ftlab.errors import ConfigError


class Section(BaseModel):
    """Raises ConfigError, one line for each fault, where the values don't fit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    if not TYPE_CHECKING:  # type checkers and editors keep the constructor that they make from the fields

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(explain(type(self), error)) from None

        # Without this mark pydantic calls __init__ for inner sections as well, and an inner fault would be
        # reported without its path and before its neighbours are looked at.
        __init__.__pydantic_base_init__ = True


def explain(model: type[Section], error: ValidationError) -> str:
    """One line for each fault: the field's path, what is wrong, the value, and the nearest key that exists."""
    lines = [
        _line(model, fault)
        for fault in error.errors(include_url=False)
        if fault["type"] != "default_factory_not_called"  # follows from a fault that has its own line
    ]
    return "\n".join(lines)


def _line(model: type[Section], fault: ErrorDetails) -> str:
    path, owner = _place(model, fault["loc"])
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        advice = nearest(str(fault["loc"][-1]), list(owner.model_fields) if owner else [])
        return f"{path}: no such key (value {_short(value)}); {advice}"
    if kind == "missing":
        return f"{path}: is needed"
    if kind == "union_tag_not_found":
        return f"{path}: has no 'kind' to say which method it is: {_short(value)}"
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in fault["ctx"]["expected_tags"].split(",")]
        return f"{path}: there is no {fault['ctx']['tag']!r}; {nearest(fault['ctx']['tag'], known)}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{path or 'the configuration'}: {message[:1].lower()}{message[1:]}, not {_short(value)}"


def nearest(word: str, known: list[str]) -> str:
    """The advice for a misspelled word: the one that was meant, else all there are."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _place(model: type[Section], location: tuple[int | str, ...]) -> tuple[str, type[Section] | None]:
    """The dotted path as a person would write it, without the tags of unions, and the section it ends in."""
    path: list[str] = []
    candidates = [model]
    owner: type[Section] | None = model
    for part in location:
        tagged = [one for one in candidates if _tag(one) == part]
        if tagged and not _is_field(candidates, part):
            candidates = tagged
            owner = tagged[0]
            continue
        path.append(str(part))
        owner = candidates[0] if candidates else None
        candidates = [
            inner
            for one in candidates
            if str(part) in one.model_fields
            for inner in _sections(one.model_fields[str(part)].annotation)
        ]
    return ".".join(path), owner


def _is_field(candidates: list[type[Section]], part: int | str) -> bool:
    return any(str(part) in one.model_fields for one in candidates)


def _tag(section: type[Section]) -> str | None:
    field = section.model_fields.get("kind")
    return field.default if field else None


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections(argument)]


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
