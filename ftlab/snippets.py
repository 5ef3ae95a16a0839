"""A configuration as text that a person copies, edits and gives back: YAML, a Python call, a shell command.

Each says only what differs from the defaults, and `read` takes any of the three. Python is looked at and never
executed; a fault is told with its line and column.
"""

import ast
import io
import json
import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ftlab.config import RunConfig, parse_yaml
from ftlab.errors import ConfigError
from ftlab.section import Section, nearest, sections_in

WIDTH = 84
"""Longest line that is written, in characters, where the values allow it."""

_MAIN = {"data": "train"}
"""Fields that stand for their section; elsewhere it is `kind`."""

_SHELL = re.compile(r"\s*(?:#.*\n\s*)*[$!%>]*\s*(?:\S*python\S*\s+-m\s+)?(?:\S*/)?ftlab\s+\w")
_CALL = re.compile(r"\b(?:RunConfig|launch|Launch)\s*\(")


def changed(config: RunConfig) -> dict[str, Any]:
    """Model, method and whatever differs from the defaults; `RunConfig.from_dict` makes an equal one of it."""
    tree = {"model": config.model, "method": None, **_differences(config)}
    method = _differences(config.method)
    tree["method"] = {"kind": config.method.kind, **method} if method else config.method.kind
    return tree


def _differences(section: Section) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = field.get_default(call_default_factory=True, validated_data=section.__dict__)
        if name == "kind" or (value == default and not field.is_required()):
            continue
        tree[name] = _written(name, value)
    return tree


def _written(name: str, value: Any) -> Any:
    """A value as JSON has it; of a section its differences, or its main field alone where that says all."""
    if not isinstance(value, Section):
        return list(value) if isinstance(value, tuple) else value
    tree, main = _differences(value), _MAIN.get(name, "kind")
    if main == "kind":
        is_chosen = "kind" in type(value).model_fields
        if is_chosen and name != "adapter":
            return {"kind": value.kind, **tree} if tree else value.kind  # type: ignore[attr-defined]
        return tree
    return {main: getattr(value, main), **tree} if {*tree} - {main} else getattr(value, main)


def to_yaml(config: RunConfig) -> str:
    """What `ftlab train FILE` reads."""
    import yaml

    text: str = yaml.safe_dump(changed(config), sort_keys=False, allow_unicode=True, width=WIDTH)
    return text


def to_python(config: RunConfig) -> str:
    """A cell that starts the run."""
    fields = "".join(f"    {name}={_python(value, 4)},\n" for name, value in changed(config).items())
    return f"from ftlab import launch\n\nrun = launch(\n{fields})\n"


def _python(value: Any, indent: int) -> str:
    """A literal, over several lines where it is long."""
    if isinstance(value, dict | list) and value:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        named = [f"{_text(key)}: " for key in value] if isinstance(value, dict) else [""] * len(value)
        inner = list(value.values()) if isinstance(value, dict) else value
        parts = [head + _python(one, indent + 4) for head, one in zip(named, inner, strict=True)]
        line = f"{opening}{', '.join(parts)}{closing}"
        if len(line) + indent < WIDTH - 12 and "\n" not in line:
            return line
        pad = " " * indent
        return f"{opening}\n{''.join(f'{pad}    {part},{chr(10)}' for part in parts)}{pad}{closing}"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """Every escape of JSON is one of Python's; what no editor shows is written as an escape."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def to_shell(config: RunConfig) -> str:
    """A command for a terminal, a setting a line."""
    words = [f"--set {shlex.quote(f'{path}={_flow(value)}')}" for path, value in _leaves(changed(config))]
    return " \\\n  ".join(["ftlab train", *words]) + "\n"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted path, value) of each setting; `trainer` as one, since its keys may hold dots."""
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if not isinstance(value, dict) or not value or path == "trainer":
            found.append((path, value))
            continue
        if "kind" in value:  # the bare name first: it starts the section anew
            found.append((path, value["kind"]))
        found += _leaves({key: one for key, one in value.items() if key != "kind"}, f"{path}.")
    return found


def _flow(value: Any) -> str:
    """YAML on one line, as `--set` takes it."""
    import yaml

    if isinstance(value, list | dict):  # JSON is YAML, and its quotes need no escape in a shell
        text = json.dumps(value, ensure_ascii=False)
        if text.isprintable() and yaml.safe_load(text) == value:
            return text
    options: dict[str, Any] = {"default_flow_style": True, "width": float("inf"), "sort_keys": False}
    if isinstance(value, str) and not value.isprintable():
        options["default_style"] = '"'
    for is_readable in (True, False):  # a few rare characters are read back as others unless they are escaped
        text = yaml.safe_dump(value, allow_unicode=is_readable, **options)
        text = text.removesuffix("...\n").rstrip("\n")
        if yaml.safe_load(text) == value:
            break
    return text


class _Written:
    """What was read: values, and where each of them stands."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        """{dotted path: (line, column)}, both from 1."""

    def at(self, path: str) -> str:
        """Where the nearest thing to this field was written: "line 3, column 5: "."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return _where(*self.places[path]) if path in self.places else ""

    def config(self, make: Callable[[], RunConfig]) -> RunConfig:
        """Raises ConfigError with a place before each line."""
        try:
            return make()
        except ConfigError as error:
            lines = [f"{self.at(line.partition(':')[0])}{line}" for line in str(error).splitlines()]
        raise ConfigError("\n".join(lines))


def _where(line: int, column: int) -> str:
    return f"line {line}, column {column}: "


def read(text: str) -> RunConfig:
    """The configuration that a YAML, a Python call or a command line describes, whichever it is."""
    return {"shell": from_shell, "python": from_python, "yaml": from_yaml}[language(text)](text)


def language(text: str) -> str:
    """Told from its first words: "shell", "python", or "yaml", of which JSON is a part."""
    if _SHELL.match(text):
        return "shell"
    if not _CALL.search(text):
        return "yaml"
    try:
        statements = ast.parse(_without_magics(text)).body
    except (SyntaxError, ValueError):
        return "yaml" if re.match(r"\s*(?:#.*\n\s*)*[\w\"'.]+\s*:\s", text) else "python"
    calls = [one for one in statements if _root(getattr(one, "value", None))]
    return "python" if calls else "yaml"


def _without_magics(text: str) -> str:
    """A cell without its lines that are no Python: %magics and !commands."""
    return re.sub(r"^[!%].*$", "", text, flags=re.MULTILINE)


def from_yaml(text: str) -> RunConfig:
    """Raises ConfigError with line and column where the text is no YAML or no configuration."""
    import yaml

    try:
        values = parse_yaml(text, "YAML")
    except ConfigError as error:
        raise ConfigError(re.sub(r"^YAML:(\d+):(\d+): ", r"line \1, column \2: ", str(error))) from None
    if isinstance(values, str):
        raise ConfigError(
            "this is no configuration: expected YAML such as `model: wren`, a call of launch(…), or `ftlab train …`"
        )
    written = _Written()
    written.places = _nodes(yaml.compose(text, Loader=yaml.SafeLoader))
    return written.config(lambda: RunConfig.from_dict({} if values is None else values))


def _nodes(node: Any, prefix: str = "") -> dict[str, tuple[int, int]]:
    import yaml

    places: dict[str, tuple[int, int]] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            places[path] = (key.start_mark.line + 1, key.start_mark.column + 1)
            places |= _nodes(value, f"{path}.")
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            places[f"{prefix}{index}"] = (value.start_mark.line + 1, value.start_mark.column + 1)
    return places


def from_shell(text: str) -> RunConfig:
    """`ftlab train [FILE] [--set PATH=VALUE …]`. Raises ConfigError with line and column."""
    import yaml

    words = _words(text)
    begin = next((i for i, (word, _) in enumerate(words) if Path(word).name == "ftlab"), None)
    if begin is None or begin + 1 >= len(words) or words[begin + 1][0] != "train":
        raise ConfigError("this is no `ftlab train` command; one looks like: ftlab train --set method=lora")
    written, changes, file = _Written(), {}, None
    rest = iter(words[begin + 2 :])
    for word, place in rest:
        if word in {"--detach", "--queue"}:
            continue
        setting, spot = word.removeprefix("--set="), place
        if word == "--set":
            setting, spot = next(rest, ("", place))
        elif not word.startswith("-") and file is None:
            file = word
            continue
        elif setting == word:
            raise ConfigError(
                f"{_where(*place)}{word!r} is no option of `ftlab train`; there are --set, --detach and --queue"
            )
        path, sign, value = setting.partition("=")
        if not sign or not path:
            raise ConfigError(f"{_where(*spot)}{setting!r} is not PATH=VALUE, as in --set method.rank=4")
        try:
            changes[path] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{_where(*spot)}{path}: not YAML: {value!r} ({_problem(error)})") from None
        written.places[path] = spot
    start = RunConfig() if file is None else RunConfig.from_yaml(file)
    return written.config(lambda: start.with_(changes))


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).partition("\n")[0]


def _words(text: str) -> list[tuple[str, tuple[int, int]]]:
    """The words of a command, each with its place; a prompt or a notebook's "!" before it is left out."""
    lead = re.match(r"\s*[$!%>]*\s*", text)
    assert lead is not None
    # a line continued by a backslash keeps its length, so that places stay true
    source = io.StringIO(
        " " * lead.end() + re.sub(r"\\\r?\n", lambda found: " " * len(found[0]), text[lead.end() :])
    )
    lexer = shlex.shlex(source, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[tuple[str, tuple[int, int]]] = []
    while True:
        start = source.tell()
        try:
            word = lexer.get_token()
        except ValueError as error:
            raise ConfigError(f"{_where(*_spot(text, start))}not a command: {error}".lower()) from None
        if word is None:
            return words
        words.append((word, _spot(text, start)))


def _spot(text: str, start: int) -> tuple[int, int]:
    """Line and column of the first thing at or behind `start` that is neither space nor a continued line."""
    skipped = re.compile(r"(?:\s|\\\r?\n)*").match(text, start)
    end = skipped.end() if skipped else start
    return text.count("\n", 0, end) + 1, end - (text.rfind("\n", 0, end) + 1) + 1


def from_python(text: str) -> RunConfig:
    """A call of RunConfig or launch with plain values, also in a whole cell; nothing of it is executed.

    Raises ConfigError with line and column for what is no plain value.
    """
    try:
        module = ast.parse(_without_magics(text))
    except SyntaxError as error:
        raise ConfigError(f"{_where(error.lineno or 1, error.offset or 1)}not Python: {error.msg}") from None
    except ValueError as error:  # a NUL in the text
        raise ConfigError(f"not Python: {error}") from None
    reader = _Reader()
    for statement in module.body:
        reader.take(statement)
    if reader.found is None:
        raise ConfigError(
            'no call of launch or RunConfig here; one looks like: launch(model="wren", method="lora")'
        )
    fields, start = reader.found
    if start is None:
        return reader.written.config(lambda: RunConfig.from_dict(fields))
    return reader.written.config(lambda: RunConfig.from_dict(start).with_(fields))


@cache
def _parts() -> dict[str, type[Section]]:
    """{class name: section} of everything that a configuration may hold."""
    found: dict[str, type[Section]] = {}
    left: list[type[Section]] = [RunConfig]
    while left:
        one = left.pop()
        for field in one.model_fields.values():
            inner = [kind for kind in sections_in(field.annotation) if kind.__name__ not in found]
            found |= {kind.__name__: kind for kind in inner}
            left += inner
    return found


class _Reader:
    """Walks a cell and keeps what its plain values are; `found` is the last call, with what it started from."""

    def __init__(self) -> None:
        self.written = _Written()
        self.found: tuple[dict[str, Any], dict[str, Any] | None] | None = None
        self._known: dict[str, Any] = {}

    def take(self, statement: ast.stmt) -> None:
        """Imports, assignments and calls; anything else says nothing about a configuration."""
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if _root(statement.value) or not isinstance(
                statement.value, ast.Call | ast.Attribute | ast.Subscript
            ):
                value = self._top(statement.value)
                self._known |= {target.id: value for target in targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.Expr) and _root(statement.value):
            self._top(statement.value)

    def _top(self, node: ast.expr) -> Any:
        call = _root(node)
        if call is None:
            return self._value(node, "")
        start = None
        if call.args:
            start = self._value(call.args[0], "")
            if len(call.args) > 1 or not isinstance(start, dict):
                raise _refused(call.args[-1], "a configuration, then fields by name, are what is taken here")
        fields = self._keywords(call, "")
        self.found = (fields, start)
        return fields if start is None else {**start, **fields}

    def _keywords(self, call: ast.Call, prefix: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for keyword in call.keywords:
            if keyword.arg is None:  # **{"method.rank": 4}
                values |= self._dict(keyword.value, prefix)
                continue
            path = f"{prefix}{keyword.arg}"
            self.written.places[path] = (keyword.lineno, keyword.col_offset + 1)
            values[keyword.arg] = self._value(keyword.value, path)
        return values

    def _dict(self, node: ast.expr, prefix: str) -> dict[str, Any]:
        value = self._value(node, prefix.rstrip("."))
        if not isinstance(value, dict):
            raise _refused(node, "** wants a dict")
        return value

    def _value(self, node: ast.expr, path: str) -> Any:
        prefix = f"{path}." if path else ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(one, f"{prefix}{index}") for index, one in enumerate(node.elts)]
        if isinstance(node, ast.Dict):
            return self._mapping(node, prefix)
        if isinstance(node, ast.UnaryOp | ast.BinOp):
            return _number(node, self._value, path)
        if isinstance(node, ast.Name):
            if node.id in self._known:
                return self._known[node.id]
            raise _refused(node, f"{node.id} is not known here; give the value itself")
        if isinstance(node, ast.Call):
            return self._call(node, prefix)
        raise _refused(node, "only plain values are read here, nothing is executed")

    def _mapping(self, node: ast.Dict, prefix: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, one in zip(node.keys, node.values, strict=True):
            if key is None:
                values |= self._dict(one, prefix)
                continue
            name = self._value(key, "")
            if not isinstance(name, str):
                raise _refused(key, "a field is named by a text")
            if name in values:
                raise _refused(key, f"{name!r} is there twice")
            self.written.places[f"{prefix}{name}"] = (key.lineno, key.col_offset + 1)
            values[name] = self._value(one, f"{prefix}{name}")
        return values

    def _call(self, node: ast.Call, prefix: str) -> Any:
        name = _called(node)
        if name == "dict" and not node.args:
            return self._keywords(node, prefix)
        if name in {"Path", "str"} and len(node.args) == 1 and not node.keywords:
            return self._value(node.args[0], prefix.rstrip("."))
        if name == "RunConfig" and not node.args:
            return self._keywords(node, "")
        kind = _parts().get(name)
        if kind is None:
            advice = nearest(name, ["RunConfig", *_parts()]) if name else "only plain values are read here"
            raise _refused(node, f"{name or 'this'} is not executed; {advice}")
        if node.args:
            raise _refused(node.args[0], f"{name} takes its fields by name")
        values = self._keywords(node, prefix)
        field = kind.model_fields.get("kind")
        return values if field is None else {"kind": field.default, **values}


def _number(node: ast.UnaryOp | ast.BinOp, value: Callable[[ast.expr, str], Any], path: str) -> Any:
    """-3, 1 / 3, 8 * 4: what people write where a number is due."""
    operands = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
    numbers = [value(one, path) for one in operands]
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        match node.op:
            case ast.USub():
                return -numbers[0]
            case ast.Add():
                return sum(numbers)
            case ast.Sub():
                return numbers[0] - numbers[1]
            case ast.Mult():
                return numbers[0] * numbers[1]
            case ast.Div() if numbers[1]:
                return numbers[0] / numbers[1]
    raise _refused(node, "only plain values and + - * / of numbers are read here")


def _called(node: ast.Call) -> str:
    """The last part of the called name: launch of ftlab.launch."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _root(node: ast.expr | None) -> ast.Call | None:
    """The call of RunConfig, launch or Launch, also behind methods such as launch(…).wait()."""
    while isinstance(node, ast.Call):
        if _called(node) in {"RunConfig", "launch", "Launch"}:
            return node
        if not isinstance(node.func, ast.Attribute):
            return None
        node = node.func.value
    return None


def _refused(node: ast.expr, why: str) -> ConfigError:
    return ConfigError(f"{_where(node.lineno, node.col_offset + 1)}{why}")
