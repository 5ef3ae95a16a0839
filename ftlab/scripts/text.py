"""A Python script in the making."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 100

STANDARD = {"json", "math", "pathlib"}


class Bare(str):
    """A value that is written as it stands: a name or an expression."""

    __slots__ = ()


class Script:
    """Docstring, imports, constants, then blocks in the order in which they were added."""

    def __init__(self, docstring: str) -> None:
        self.docstring = docstring
        self._whole: set[str] = set()
        self._parts: dict[str, set[str]] = {}
        self._constants: list[str] = []
        self._blocks: list[str] = []

    def needs(self, module: str, *names: str) -> None:
        """`import module`, or `from module import names`."""
        if names:
            self._parts.setdefault(module, set()).update(names)
        else:
            self._whole.add(module)

    def constant(self, name: str, value: Any, comment: str = "") -> None:
        """A line at the top that somebody may want to change."""
        self._constants.append(f"{name} = {literal(value)}{f'  # {comment}' if comment else ''}")

    def add(self, block: str) -> None:
        """A block of code, at its own indentation."""
        self._blocks.append(textwrap.dedent(block).strip("\n"))

    def __str__(self) -> str:
        parts = [f'"""{self.docstring}"""', self._imports(), "\n".join(self._constants), *self._blocks]
        text = ""
        for part in filter(None, parts):
            is_definition = part.startswith(("def ", "class ", "@"))
            was_definition = text.rstrip().rpartition("\n")[2].startswith("    ") and _ends_in_definition(
                text
            )
            text += (
                ("\n\n" if text and (is_definition or was_definition) else "\n" if text else "") + part + "\n"
            )
        return text

    def _imports(self) -> str:
        groups = []
        for is_standard in (True, False):
            whole = [f"import {name}" for name in sorted(self._whole) if (name in STANDARD) == is_standard]
            some = [
                _from(name, sorted(self._parts[name], key=_isort))
                for name in sorted(self._parts)
                if (name.partition(".")[0] in STANDARD) == is_standard
            ]
            groups.append("\n".join(whole + some))
        return "\n\n".join(filter(None, groups))


def _ends_in_definition(text: str) -> bool:
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", ")", "}", "]"))]
    return bool(lines) and lines[-1].startswith(("def ", "class "))


def _isort(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def _from(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n{''.join(f'    {name},{chr(10)}' for name in names)})"


def literal(value: Any, indent: int = 0) -> str:
    """Python's text for a JSON value, in double quotes, over several lines where it is long."""
    if isinstance(value, Bare):
        return str(value)
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)
    if isinstance(value, Mapping) and value:
        return _several(
            "{", [f"{literal(key)}: {literal(one, indent + 4)}" for key, one in value.items()], "}", indent
        )
    if isinstance(value, list | tuple) and value:
        return _several("[", [literal(one, indent + 4) for one in value], "]", indent)
    return repr(value)


def call(name: str, arguments: Mapping[str, Any], *first: str, indent: int = 0) -> str:
    """A call with arguments by name, behind those by place."""
    parts = [*first, *(f"{key}={literal(value, indent + 4)}" for key, value in arguments.items())]
    return _several(f"{name}(", parts, ")", indent)


def _several(opening: str, parts: list[str], closing: str, indent: int) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) + indent < WIDTH - 12 and "\n" not in line:
        return line
    pad = " " * indent
    return f"{opening}\n{''.join(f'{pad}    {part},{chr(10)}' for part in parts)}{pad}{closing}"
