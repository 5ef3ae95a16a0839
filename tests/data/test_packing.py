"""Packing joins whole rows, loses none, and lets none predict another."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.config import RunConfig
from ftlab.data import IGNORE, Columns, packed
from ftlab.errors import ConfigError

rows_of_tokens = st.lists(st.lists(st.integers(2, 99), min_size=1, max_size=12), min_size=1, max_size=40)


def columns(rows: list[list[int]]) -> Columns:
    return Columns({"input_ids": rows, "labels": [list(row) for row in rows]})


def parts(row: list[int], lengths: list[int]) -> list[tuple[int, ...]]:
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [tuple(row[end - length : end]) for length, end in zip(lengths, ends, strict=True)]


@given(rows_of_tokens)
def test_every_row_is_in_one_packed_row_whole_and_none_is_too_long(rows: list[list[int]]) -> None:
    made = packed(columns(rows), 12).data
    found = [
        part
        for ids, lengths in zip(made["input_ids"], made["seq_lengths"], strict=True)
        for part in parts(ids, lengths)
    ]
    assert Counter(found) == Counter(map(tuple, rows))
    assert all(
        sum(lengths) == len(ids) <= 12
        for ids, lengths in zip(made["input_ids"], made["seq_lengths"], strict=True)
    )


@given(rows_of_tokens)
def test_no_row_learns_to_predict_the_first_token_of_the_next(rows: list[list[int]]) -> None:
    made = packed(columns(rows), 12).data
    for ids, labels, lengths in zip(made["input_ids"], made["labels"], made["seq_lengths"], strict=True):
        for part, marks in zip(parts(ids, lengths), parts(labels, lengths), strict=True):
            assert marks == (IGNORE, *part[1:])


@given(rows_of_tokens)
def test_it_is_as_tight_as_best_fit_decreasing_promises(rows: list[list[int]]) -> None:
    needed = -(-sum(map(len, rows)) // 12)
    made = packed(columns(rows), 12)
    assert len(made) <= 11 / 9 * max(needed, len([row for row in rows if len(row) > 6])) + 4
    assert made.data == packed(columns(rows), 12).data, "the same every time"


def test_the_fullest_row_with_room_is_chosen_and_rows_keep_their_order() -> None:
    made = packed(columns([[1] * 3, [2] * 6, [3] * 5, [4] * 4]), 10)
    assert made.data["input_ids"] == [[1, 1, 1, 3, 3, 3, 3, 3], [2] * 6 + [4] * 4]
    assert made.notes == ["4 rows were packed into 2 of up to 10 tokens (90% full)"]


def test_the_packing_of_trl_is_no_tighter() -> None:
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    rows = [[i] * (1 + (i * 7) % 29) for i in range(2, 90)]
    theirs = pack_dataset(Dataset.from_dict({"input_ids": rows}), seq_length=32, strategy="bfd")
    assert len(packed(columns(rows), 32)) <= len(theirs)


def test_a_row_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="13 tokens does not fit into 12"):
        packed(columns([[1] * 13]), 12)


def test_only_methods_that_learn_from_examples_pack() -> None:
    assert RunConfig(method="lora", data={"packing": True}).data.packing
    with pytest.raises(
        ConfigError, match="data: packing is for sft, lora.*dpo learns from each row by itself"
    ):
        RunConfig(method="dpo", data={"packing": True})
