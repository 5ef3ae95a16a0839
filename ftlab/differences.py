"""Where configurations differ, field by field."""

from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = object()
"""Stands for the value of a field that one of the configurations has not."""


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{"method.rank": [4, 8]}: each field that is not the same in all, in the order of declaration.

    Takes what `RunConfig.to_dict` gives. A section that some have not differs in each of its fields; lists are
    compared as wholes.
    """
    flat = [_flat(config) for config in configs]
    paths = dict.fromkeys(path for one in flat for path in one)
    rows = {path: [one.get(path, ABSENT) for one in flat] for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values[1:])}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat
