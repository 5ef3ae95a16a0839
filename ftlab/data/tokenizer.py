"""A tokenizer read from its own files: the ids of transformers, without loading transformers or torch.

`import transformers.AutoTokenizer` took 3.1 s and 330 MiB, this 0.1 s and 30 MiB (transformers 5.23, tokenizers 0.22,
two cores), and a kernel that shows tokens or checks rows should stay as light as it was.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.errors import ModelError

if TYPE_CHECKING:
    import jinja2

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class Tokenizer:
    """What `ftlab.data.render` asks of a tokenizer; see `load_tokenizer`.

    Raises ModelError where the folder has no tokenizer.json, or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Core

        self.name_or_path = str(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder}: no tokenizer.json; save the tokenizer there in the fast format")
        try:
            self.core = Core.from_str(path.read_text("utf-8"))
        except Exception as error:  # tokenizers raises no narrower class
            raise ModelError(f"{path}: not a tokenizer: {error}") from error
        self.core.no_truncation()
        self.core.no_padding()
        config = _json(folder / "tokenizer_config.json")
        self.special = _named(_json(folder / "special_tokens_map.json")) | _named(config)
        extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
        self.extra = [_text(token) for token in (extra.values() if isinstance(extra, dict) else extra)]
        known = {token.content for token in self.core.get_added_tokens_decoder().values()}
        self.core.add_special_tokens([token for token in self.all_special_tokens if token not in known])
        self.chat_template: str = _template(folder, config)
        self._written: jinja2.Template | None = None

    @property
    def all_special_tokens(self) -> list[str]:
        """Named ones first, each once."""
        return list(
            dict.fromkeys([*(self.special[name] for name in NAMED if name in self.special), *self.extra])
        )

    @property
    def eos_token_id(self) -> int | None:
        token = self.special.get("eos_token")
        found: int | None = None if token is None else self.core.token_to_id(token)
        return found

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
    ) -> dict[str, Any]:
        """{"input_ids": one list of ids, or one for each of several texts}."""
        self.core.encode_special_tokens = split_special_tokens
        if isinstance(text, str):
            return {"input_ids": self.core.encode(text, add_special_tokens=add_special_tokens).ids}
        many = self.core.encode_batch_fast(list(text), add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in many]}

    def encoding(self, text: str, *, special: bool) -> Any:
        """The ids and the characters (from, to) of each; `special`: what spells a special token is one."""
        self.core.encode_special_tokens = not special
        return self.core.encode(text, add_special_tokens=False)

    def apply_chat_template(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> str:
        """The conversation as the template writes it; jinja2.TemplateError where the template refuses it."""
        if tokenize:
            raise ValueError("only text comes from here; hand it to the tokenizer")
        if self._written is None:
            self._written = _compiled(self.chat_template)
        return self._written.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.special,
        )

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text before it; bytes that are no character yet as <0xE2>."""
        return [self._piece(token) for token in ids]

    def _piece(self, token: int) -> str:
        text: str = self.core.decode([token], skip_special_tokens=False)
        if "\ufffd" not in text:
            return text
        return _bytes(self.core.id_to_token(token) or "")


def load_tokenizer(reference: str) -> Tokenizer:
    """The tokenizer of a model, by its reference or folder; only tokenizer files are fetched, never weights.

    Raises ModelError where there is none.
    """
    folder = _folder_of(reference)
    stats = tuple((folder / name).stat().st_mtime_ns if (folder / name).is_file() else 0 for name in FILES)
    return _loaded(folder, stats)


@lru_cache(maxsize=4)
def _loaded(folder: Path, _stats: tuple[int, ...]) -> Tokenizer:
    return Tokenizer(folder)


def _folder_of(reference: str) -> Path:
    from ftlab.models.references import fetch, resolve
    from ftlab.models.smollm2 import NAME

    try:
        source = resolve(reference)
    except ModelError:
        folder = Path(reference).expanduser()
        if not (folder / FILES[0]).is_file():
            raise
        return folder  # a tokenizer without a model
    if isinstance(source.tokenizer, Path):
        return source.tokenizer
    if source.tokenizer == NAME:
        return Path(fetch(source).tokenizer)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source.tokenizer, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{reference}: its tokenizer cannot be fetched: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    return found


def _text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _named(values: dict[str, Any]) -> dict[str, str]:
    return {name: _text(values[name]) for name in NAMED if values.get(name) is not None}


def _template(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text("utf-8")
    found = config.get("chat_template") or ""
    if isinstance(found, list):  # several by name
        found = next((one["template"] for one in found if one.get("name") == "default"), "")
    return str(found)


def _compiled(template: str) -> "jinja2.Template":
    """In the sandbox and with the few functions that transformers gives to templates."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def now(form: str) -> str:
        from datetime import datetime

        return datetime.now().strftime(form)  # noqa: DTZ005 - the local day, as transformers has it

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation(), jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": refuse, "strftime_now": now}
    return environment.from_string(template)


def _generation() -> Any:
    """The {% generation %} block, which only marks what it holds."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return Generation


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """Which byte each letter of a byte-level vocabulary stands for (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def _bytes(token: str) -> str:
    """A token of half a character, its bytes written out."""
    table = _byte_of()
    if not all(letter in table for letter in token):
        return token
    raw = bytes(table[letter] for letter in token)
    return "".join(f"<0x{byte:02X}>" if byte >= 128 else chr(byte) for byte in raw)
