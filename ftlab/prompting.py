"""Models behind a prompt: a rule and examples that stand before every conversation, kept under a name.

`prompt:NAME` is a reference like any other, so that a prompt is compared with a tuned model as one model with
another. No weight differs: the fingerprint has the hash of the base that it stands before.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftlab.answers import Message
from ftlab.errors import DataError, ModelError
from ftlab.home import home
from ftlab.process import write_whole

PREFIX = "prompt:"
MOST_EXAMPLES = 64
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,79}")
_FORMAT = "ftlab.prompt/1"


@dataclass(frozen=True)
class Prompted:
    """What stands before the conversations of `model`: a system rule, examples as (question, answer), or both."""

    name: str
    model: str
    system: str | None = None
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def reference(self) -> str:
        """The name under which it answers."""
        return PREFIX + self.name

    @property
    def sha256(self) -> str:
        """64 hex digits over the rule and the examples; the name and the model play no part."""
        told = json.dumps([self.system, self.examples], ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()

    def before(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation as the model reads it: rule, examples, then what was said.

        A rule of the conversation's own follows this one in the same message: chat templates know only one.
        """
        rest = list(messages)
        rules = [self.system] if self.system else []
        if rest and rest[0]["role"] == "system":
            rules.append(rest.pop(0)["content"])
        opening = [{"role": "system", "content": "\n".join(rules)}] if rules else []
        for question, answer in self.examples:
            opening += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return opening + rest


def prompted(
    name: str, model: str, *, system: str | None = None, examples: Iterable[Sequence[str]] = ()
) -> str:
    """Keeps a prompt for `model` under a name and returns the reference "prompt:NAME".

    examples: pairs of a question and its answer, at most 64, in the order in which the model reads them. A
    prompt of the same name is replaced. Raises DataError for what is no prompt, ModelError where `model` names
    nothing usable or is behind a prompt already.
    """
    from ftlab.models.references import resolve

    made = Prompted(
        _checked_name(name), model, _checked_rule(name, system), _checked_examples(name, examples)
    )
    if made.system is None and not made.examples:
        raise DataError(f"prompt {name!r} is empty; give a system rule, examples, or both")
    if model.strip().startswith(PREFIX):
        raise ModelError(
            f"prompt {name!r}: {model!r} is behind a prompt itself; name the model that it is for"
        )
    resolve(model)
    _store(made)
    return made.reference


def read(name: str) -> Prompted:
    """The prompt of this name. Raises ModelError where there is none, or its file is damaged."""
    path = _path(_checked_name(name))
    if not path.is_file():
        there = ", ".join(names()) or "none"
        raise ModelError(
            f"there is no prompt {name!r} in {path.parent} (there are: {there}); "
            f"ftlab.prompting.prompted({name!r}, model, system=...) makes one"
        )
    try:
        return _from_dict(name, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError, DataError) as error:
        raise ModelError(
            f"{path} is no prompt ({error}); make it again with ftlab.prompting.prompted"
        ) from error


def names() -> list[str]:
    """The names of all prompts that are kept, in the order of the alphabet."""
    return sorted(path.stem for path in _folder().glob("*.json") if _NAME.fullmatch(path.stem))


def _from_dict(name: str, values: Any) -> Prompted:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise DataError(f"wanted an object whose format is {_FORMAT!r}")
    model = values["model"]
    if not isinstance(model, str):
        raise DataError(f"its model is {model!r}; wanted a reference")
    return Prompted(
        name, model, _checked_rule(name, values["system"]), _checked_examples(name, values["examples"])
    )


def _store(made: Prompted) -> None:
    path = _path(made.name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({"format": _FORMAT, **asdict(made)}, ensure_ascii=False, indent=2) + "\n"
    write_whole(path, text.encode())


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name of a prompt; wanted 1 to 80 of a-z, 0-9, '.', '_' and '-'")
    return name


def _checked_rule(name: str, system: str | None) -> str | None:
    if system is not None and (not isinstance(system, str) or not system.strip()):
        raise DataError(f"prompt {name!r}: its system rule is {system!r}; wanted a text, or None for no rule")
    return system


def _checked_examples(name: str, examples: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for place, example in enumerate(examples):
        pair = () if isinstance(example, str) else tuple(example)
        if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
            raise DataError(
                f'prompt {name!r}: example {place} is {example!r}; wanted a pair such as ("Who are you?", "I am Wren.")'
            )
        pairs.append((pair[0], pair[1]))
    if len(pairs) > MOST_EXAMPLES:
        raise DataError(f"prompt {name!r} has {len(pairs)} examples; at most {MOST_EXAMPLES} are kept")
    return tuple(pairs)


def _path(name: str) -> Path:
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return home() / "prompts"
