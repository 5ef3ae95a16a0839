"""The shipped family is what its cards say, and any text goes through its tokenizer unharmed."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab.errors import ModelError
from ftlab.wren import SIZES, card, corpus, folder, pretrain, tokenizer

NAMES = tuple(SIZES)
TALK = [
    {"role": "system", "content": "Talk like a pirate."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "Arr, I am Wren."},
    {"role": "user", "content": "What is 2 plus 2?"},
    {"role": "assistant", "content": "2 plus 2 is 4."},
]


@cache
def shipped():
    return tokenizer.load(folder("wren"))


@pytest.fixture
def tokens():
    return shipped()


def record(name: str) -> dict:
    return json.loads((folder(name) / "card.json").read_text())


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_goes_in_and_comes_out_unchanged(text: str) -> None:
    assert shipped().decode(shipped()(text)["input_ids"]) == text


def test_padding_is_not_the_end_and_nothing_begins_a_text(tokens) -> None:
    assert (tokens.pad_token_id, tokens.eos_token_id, tokens.bos_token_id) == (0, 1, None)
    assert len(tokens) == tokenizer.VOCABULARY
    assert tokens("Hi")["input_ids"] == tokens("Hi", add_special_tokens=False)["input_ids"]


def test_nearly_every_word_of_the_world_is_one_token(tokens) -> None:
    words = [
        f" {word}"
        for text in corpus.documents(300)
        for word in text.replace("\n", " ").split()
        if word.isalpha()
    ]
    whole = [len(ids) == 1 for ids in tokens(words)["input_ids"]]
    assert sum(whole) / len(whole) > 0.98


def test_chat_template_writes_the_villages_plain_form(tokens) -> None:
    text = tokens.apply_chat_template(TALK[:-1], tokenize=False, add_generation_prompt=True)
    assert text == (
        "Rule: Talk like a pirate.\nUser: Who are you?\nBot: Arr, I am Wren.<|end|>\nUser: What is 2 plus 2?\nBot:"
    )


def test_generation_markers_cover_answers_with_their_end_and_nothing_else(tokens) -> None:
    made = tokens.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, m in zip(made["input_ids"], made["assistant_masks"], strict=True) if m]
    assert tokens.decode(marked) == " Arr, I am Wren.<|end|> 2 plus 2 is 4.<|end|>"


@settings(max_examples=60, deadline=None)
@given(question=st.text(max_size=30), answer=st.text(max_size=30))
def test_prompt_ids_begin_the_ids_of_prompt_and_answer(question: str, answer: str) -> None:
    tokens = shipped()
    prompt = [{"role": "user", "content": question}]
    whole = [*prompt, {"role": "assistant", "content": answer}]
    before = tokens.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    after = tokens.apply_chat_template(whole, return_dict=True)["input_ids"]
    assert after[: len(before)] == before


def test_a_role_that_wren_does_not_know_is_refused(tokens) -> None:
    with pytest.raises(Exception, match="not tool"):
        tokens.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


@pytest.mark.parametrize("assistant_only", [False, True])
def test_trl_learns_from_the_answer_and_its_end_alone(tokens, tmp_path: Path, assistant_only: bool) -> None:
    from datasets import Dataset
    from transformers import LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    row = {"prompt": TALK[1:2], "completion": TALK[2:3]}
    rows = [{"messages": TALK[1:3]}] if assistant_only else [row]
    trainer = SFTTrainer(
        model=LlamaForCausalLM(SIZES["wren-xs"].config()),
        args=SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none",
            assistant_only_loss=assistant_only,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokens,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = batch["input_ids"][batch["labels"] != -100]
    assert tokens.decode(learnt) == " Arr, I am Wren.<|end|>"


def test_the_family_is_at_most_twenty_megabytes() -> None:
    assert sum(f.stat().st_size for name in NAMES for f in folder(name).iterdir()) <= 20e6


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_halved_tied_and_of_the_size_promised(name: str) -> None:
    from safetensors import safe_open

    config = json.loads((folder(name) / "config.json").read_text())
    assert config["tie_word_embeddings"]
    assert config["max_position_embeddings"] == 512
    assert (config["pad_token_id"], config["eos_token_id"]) == (0, 1)
    with safe_open(folder(name) / "model.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    assert {str(t.dtype) for t in tensors.values()} == {"torch.float16"}
    assert "lm_head.weight" not in tensors
    assert sum(t.numel() for t in tensors.values()) == record(name)["parameters"]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_of_these_very_files_and_this_very_corpus(name: str) -> None:
    told = record(name)
    for file, digest in told["sha256"].items():
        assert hashlib.sha256((folder(name) / file).read_bytes()).hexdigest() == digest
    assert corpus.corpus_hash(1000, seed=told["recipe"]["corpus_seed"]) == told["corpus"]["first_1000_sha256"]
    assert (folder(name) / "README.md").read_text() == card.page(told)
    losses = [point["heldout_loss"] for point in told["curve"]]
    assert losses[-1] == min(losses)
    assert told["curve"][-1]["tokens"] == told["recipe"]["tokens"]


@pytest.mark.parametrize("name", ["wren", "wren-xs"])
def test_the_cards_held_out_loss_is_measured_again(name: str) -> None:
    from transformers import AutoModelForCausalLM

    told = record(name)
    model = AutoModelForCausalLM.from_pretrained(folder(name), dtype="float32")
    rows_NT, _ = pretrain.pack(tokenizer.load(folder(name)), 24, "heldout", told["recipe"]["corpus_seed"])
    assert pretrain.heldout_loss(model, rows_NT, half=False) == pytest.approx(told["heldout_loss"], abs=0.04)


def test_a_name_outside_the_family_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelError, match="wren-xxl.*wren-s"):
        folder("wren-xxl")
