"""Rows become exactly the ids and labels that are trained on."""

from typing import Any

import pytest

from ftlab import data
from ftlab.data import IGNORE
from ftlab.errors import DataError, ModelError


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


def pair(prompt: str, answer: str) -> dict[str, Any]:
    (question, reply) = chat(prompt, answer)
    return {"prompt": [question], "completion": [reply]}


def marks(columns: data.Columns, tokenizer: Any) -> list[tuple[str, int]]:
    tokens = tokenizer.convert_ids_to_tokens(columns.data["input_ids"][0])
    return list(zip(tokens, columns.weights[0], strict=True))


def test_the_answer_and_its_end_carry_the_loss_and_nothing_else(tokenizer: Any) -> None:  # G-SFT-2
    columns = data.render([pair("hi", "ok")], tokenizer, "completion")
    assert marks(columns, tokenizer) == [
        ("user", 0), (":", 0), ("hi", 0), ("assistant", 0), (":", 0), ("ok", 1), ("<eos>", 1),
    ]  # fmt: skip
    labels, ids = columns.data["labels"][0], columns.data["input_ids"][0]
    assert labels == [IGNORE] * 5 + ids[5:]


def test_every_assistant_turn_carries_loss_or_only_the_last(tokenizer: Any) -> None:
    rows = [{"messages": chat("hi", "ok", "who", "ann")}]
    both = data.render(rows, tokenizer, "assistant").weights[0]
    last = data.render(rows, tokenizer, "completion").weights[0]
    assert both == [0] * 5 + [1, 1] + [0] * 5 + [1, 1]
    assert last == [0] * 12 + [1, 1]
    assert sum(data.render(rows, tokenizer, "all").weights[0]) == 14


def test_plain_text_carries_loss_everywhere_and_says_so(tokenizer: Any) -> None:
    columns = data.render([{"text": "the red dog"}], tokenizer, "completion")
    assert marks(columns, tokenizer) == [("the", 1), ("red", 1), ("dog", 1), ("<eos>", 1)]
    assert columns.notes == ["rows of plain text have no completion: every token carries loss"]


def test_plain_prompt_and_completion_end_with_the_end_token(tokenizer: Any) -> None:
    columns = data.render([{"prompt": "who is", "completion": " ann"}], tokenizer)
    assert marks(columns, tokenizer) == [("who", 0), ("is", 0), ("ann", 1), ("<eos>", 1)]


def test_an_end_token_spelled_out_by_a_user_stays_text(tokenizer: Any) -> None:
    columns = data.render([pair("hi <eos> ok", "yes")], tokenizer)
    ids = columns.data["input_ids"][0]
    assert ids.count(tokenizer.eos_token_id) == 1, "the only end is the template's own"
    assert ids[-1] == tokenizer.eos_token_id
    assert "1 conversations were encoded as plain text" in columns.notes[0]


def test_long_rows_are_cut_and_rows_without_loss_dropped_and_both_counted(tokenizer: Any) -> None:
    rows = [pair("hi", "ok"), pair("hi", "ok red dog"), pair("the red dog sat on a mat", "ok")]
    columns = data.render(rows, tokenizer, "completion", max_length=7)
    assert [len(ids) for ids in columns.data["input_ids"]] == [7, 7]
    assert columns.notes == [
        "1 of 3 rows were cut at 7 tokens",
        "1 of 3 rows were dropped: nothing to learn within 7 tokens",
    ]


def test_no_row_left_is_an_error_with_the_way_out(tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"none of 1 rows is left.*raise max_length \(now 4\)"):
        data.render([pair("hi", "ok")], tokenizer, max_length=4)
    same = {"prompt": chat("hi"), "chosen": chat("", "ok")[1:], "rejected": chat("", "ok")[1:]}
    with pytest.raises(DataError, match="chosen and rejected are the same"):
        data.render_preferences([same], tokenizer)


def test_preferences_become_prompt_chosen_and_rejected_ids(tokenizer: Any) -> None:
    question, good, bad = *chat("hi", "yes"), {"role": "assistant", "content": "no well"}
    rows = [
        {"prompt": [question], "chosen": [good], "rejected": [bad]},
        {"prompt": [question], "chosen": [good], "rejected": [good]},
    ]
    columns = data.render_preferences(rows, tokenizer)
    words = {name: tokenizer.convert_ids_to_tokens(column[0]) for name, column in columns.data.items()}
    assert words == {
        "prompt_ids": ["user", ":", "hi", "assistant", ":"],
        "chosen_ids": ["yes", "<eos>"],
        "rejected_ids": ["no", "well", "<eos>"],
    }
    assert columns.notes == ["1 of 2 rows were left out: chosen and rejected are the same"]


def test_a_missing_chat_template_is_told_with_the_way_out(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template.*plain text"):
        data.render([pair("hi", "ok")], tokenizer)


def test_a_conversation_the_template_refuses_is_a_data_error(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match=r"\['user'.*roles must alternate"):
        data.render([pair("hi", "ok")], tokenizer)


def test_ids_are_those_of_trl(tokenizer: Any) -> None:
    from datasets import Dataset
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [pair("hi", "ok"), pair("who is ann", "yes well"), pair("the red dog", "no")]

    class Bare(SFTTrainer):  # type: ignore[misc]
        """Only TRL's own preparation of a dataset."""

        def __init__(self) -> None:
            self._tokenizer, self.chat_template, self.completion_only_loss = tokenizer, None, True

    class Settings:
        dataset_num_proc, dataset_text_field, assistant_only_loss = None, "text", False
        max_length, truncation_mode, shuffle_dataset = None, "keep_start", False

    theirs = Bare()._prepare_dataset(Dataset.from_list(rows), tokenizer, Settings(), False, None, "train")
    ours = data.render(rows, tokenizer, "completion")
    assert ours.data == {"input_ids": theirs["input_ids"][:], "labels": theirs["labels"][:]}
