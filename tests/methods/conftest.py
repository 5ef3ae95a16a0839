"""A tiny random Llama with a word tokenizer, and runs of it in folders of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftlab import events
from ftlab.config import RunConfig

WORDS = "hi ok the red dog sat on a mat who is ann bob sings loud soft yes no what colour sky blue green well".split()
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ' : ' + message['content'] + ' ' }}"
    "{% if message['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant : ' }}{% endif %}"
)


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", "<unk>", ":", "user", "assistant", "system", "<", ">", "eos", *WORDS]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of two layers and grouped heads, with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def sft_rows(count: int = 24) -> list[dict[str, Any]]:
    """Conversations of several lengths."""
    return [
        {
            "prompt": [{"role": "user", "content": " ".join(WORDS[i % 5 : i % 5 + 1 + i % 7])}],
            "completion": [{"role": "assistant", "content": " ".join(WORDS[i % 11 : i % 11 + 1 + i % 4])}],
        }
        for i in range(count)
    ]


def preference_rows(count: int = 16) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": " ".join(WORDS[i % 5 : i % 5 + 1 + i % 6])}],
            "chosen": [{"role": "assistant", "content": "yes well " + WORDS[i % 9]}],
            "rejected": [{"role": "assistant", "content": "no " + WORDS[i % 7]}],
        }
        for i in range(count)
    ]


@pytest.fixture
def make_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`make_run("name", rows, method="lora", …)`: the folder of a run that is configured and not started."""
    monkeypatch.setenv("FTLAB_HOME", str(tmp_path / "home"))

    def make(name: str, rows: list[dict[str, Any]] | None = None, **fields: Any) -> Path:
        folder = tmp_path / "home" / "runs" / name
        folder.mkdir(parents=True)
        if "data" not in fields:
            source = tmp_path / f"{name}.jsonl"
            source.write_text("".join(json.dumps(row) + "\n" for row in (rows or sft_rows())))
            fields["data"] = str(source)
        config = RunConfig(
            **{"name": name, "model": str(tiny), "batch_size": 8, "device": "cpu", "threads": 1} | fields
        )
        (folder / "config.json").write_text(config.to_json())
        return folder

    return make


def told(folder: Path, kind: type | None = None) -> list[Any]:
    """The run's events, or those of one kind."""
    found, _ = events.read(folder / "events.jsonl")
    return [event for event in found if kind is None or isinstance(event, kind)]
