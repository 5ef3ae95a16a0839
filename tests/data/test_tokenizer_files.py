"""A tokenizer read from its files gives the ids of transformers, and loads none of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftlab import data, wren
from ftlab.data import Tokenizer, load_tokenizer
from ftlab.errors import ModelError
from tests.models import tiny as byte_level

TEXTS = [
    {"text": "Café 😀 <|end|> and <eos>, then\nmore  spaces "},
    {"text": "the red dog"},
    {"text": "<|user|>"},
]
CHATS = [
    {"messages": [{"role": "user", "content": "hi <eos> <|end|>"}, {"role": "assistant", "content": "ok 😀"}]},
    {"messages": [{"role": "system", "content": "loud"}, {"role": "user", "content": "who"}, {"role": "assistant", "content": "ann"}, {"role": "user", "content": "is"}, {"role": "assistant", "content": "no"}]},
]  # fmt: skip


@pytest.fixture(params=["words", "bytes", "wren"])
def folder(request: pytest.FixtureRequest, tokenizer: Any, tmp_path: Path) -> Path:
    if request.param == "words":
        return Path(tokenizer.name_or_path)
    if request.param == "wren":
        return wren.folder("wren")
    byte_level.tokenizer().save_pretrained(tmp_path / "bytes")
    return tmp_path / "bytes"


@pytest.mark.parametrize("mask", ["completion", "assistant", "all"])
@pytest.mark.parametrize("rows", [TEXTS, CHATS], ids=["texts", "chats"])
def test_the_columns_are_those_of_transformers(
    folder: Path, rows: list[dict[str, Any]], mask: data.Mask
) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer(folder)
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert data.render(rows, ours, mask).data == data.render(rows, theirs, mask).data


def test_settings_that_the_file_overrides_are_ignored_as_transformers_does(tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    path = Path(tokenizer.name_or_path) / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token": "<pad>", "add_bos_token": True}))
    ids = AutoTokenizer.from_pretrained(path.parent)("the dog")["input_ids"]
    assert Tokenizer(path.parent)("the dog")["input_ids"] == ids


def test_pieces_are_text_and_half_characters_are_told_by_their_bytes(folder: Path) -> None:
    ours = Tokenizer(folder)
    if "wren" not in str(folder):
        return
    pieces = ours.pieces(ours("Tom\n😀<|end|>")["input_ids"])
    assert pieces == ["Tom", "\n", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<|end|>"]


def test_it_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from ftlab import data; tokenizer = data.load_tokenizer('wren');"
        "data.render(data.read('wren:sft', 5), tokenizer);"
        "print(*[name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer"):
        Tokenizer(tmp_path)
    with pytest.raises(ModelError, match="nowhere"):
        load_tokenizer("./nowhere")
