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
    return "\n".join(f"{path or 'the configuration'}: {text}" for path, text in faults(model, error).items())


def faults(model: type[Section], error: ValidationError) -> dict[str, str]:
    """{path of the field: what is wrong with it}, in the order of the fields; the path "" is the whole."""
    found: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        if fault["type"] == "default_factory_not_called":  # follows from a fault that has its own line
            continue
        path, text = _told(model, fault)
        if path in found:  # it fits no member of a union: each has its say, and all name the same value
            text = f"{found[path].rpartition(', not ')[0] or found[path]}, or {text}"
        found[path] = text
    return found


def _told(model: type[Section], fault: ErrorDetails) -> tuple[str, str]:
    path, owner = _place(model, fault["loc"])
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        advice = nearest(str(fault["loc"][-1]), list(owner.model_fields) if owner else [])
        return path, f"no such key (value {_short(value)}); {advice}"
    if kind == "missing":
        return path, "is needed"
    if kind == "union_tag_not_found":
        return path, f"has no 'kind' to say which method it is: {_short(value)}"
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in fault["ctx"]["expected_tags"].split(",")]
        return path, f"there is no {fault['ctx']['tag']!r}; {nearest(fault['ctx']['tag'], known)}"
    message = fault["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    text = f"{message[:1].lower()}{message[1:]}"
    if kind == "value_error" and isinstance(value, dict):  # fields that do not go together, which it names
        return path, text
    return path, f"{text}, not {_short(value)}"


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
        if path and not candidates and "[" in str(part):
            continue  # pydantic's name for a member of a union of plain types, such as list[str]
        path.append(str(part))
        owner = candidates[0] if candidates else None
        candidates = [
            inner
            for one in candidates
            if str(part) in one.model_fields
            for inner in sections_in(one.model_fields[str(part)].annotation)
        ]
    return ".".join(path), owner


def _is_field(candidates: list[type[Section]], part: int | str) -> bool:
    return any(str(part) in one.model_fields for one in candidates)


def _tag(section: type[Section]) -> str | None:
    field = section.model_fields.get("kind")
    return field.default if field else None


def sections_in(annotation: Any) -> list[type[Section]]:
    """The sections that a value of this type may be."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in sections_in(argument)]


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
