"""Rows come from files strictly: what is wrong is told with file, line and column."""

import json
from pathlib import Path

import pytest

from ftlab import data
from ftlab.errors import DataError

GOOD = '{"prompt": "Who?", "completion": "Ann."}'


def write(tmp_path: Path, text: str | bytes, name: str = "rows.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode() + b"\n",
        GOOD.encode() + b"\r\n" + GOOD.encode() + b"\r\n",
        b"\n\n  \n" + GOOD.encode(),
        b'{"prompt": "Who?\xe2\x80\xa8", "completion": "Ann."}',  # U+2028 ends no line
    ],
    ids=["byte order mark", "carriage returns", "blank lines", "line separator"],
)
def test_harmless_oddities_of_a_file_are_accepted(tmp_path: Path, text: bytes) -> None:
    assert {"prompt", "completion"} == set(data.read(write(tmp_path, text))[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + '\n{"prompt": "x" "y"}', r":2:16: not JSON"),
        (GOOD + '\n{"prompt": "a", "prompt": "b", "completion": "c"}', r":2: the key 'prompt' appears twice"),
        ('{"prompt": NaN, "completion": "c"}', r":1: NaN is not JSON"),
        ('{"prompt": -Infinity, "completion": "c"}', r":1: -Infinity is not JSON"),
        ("[1, 2]", r":1: an object was expected, not list"),
        (GOOD + "\n\n" + b"\xff".decode("latin-1"), r":3:1: not JSON"),
        ('{"prompt": "\\ud800", "completion": "c"}', r":1: half a character"),
        ("", "the dataset is empty"),
        ("\n\n", "the dataset is empty"),
    ],
)
def test_a_malformed_line_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=told) as caught:
        data.read(path)
    assert str(path) in str(caught.value)


def test_broken_utf8_is_refused_with_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2:4: not UTF-8 \(byte 0xff\)"):
        data.read(write(tmp_path, GOOD.encode() + b"\nabc\xff"))


def test_a_json_array_is_read_and_its_faults_have_lines(tmp_path: Path) -> None:
    rows = data.read(write(tmp_path, f"[{GOOD},\n{GOOD}]", "rows.json"))
    assert len(rows) == 2
    with pytest.raises(DataError, match=r"rows.json:2:1: not JSON"):
        data.read(write(tmp_path, f"[{GOOD}\n{GOOD}]", "rows.json"))
    with pytest.raises(DataError, match="row 2: an object was expected"):
        data.read(write(tmp_path, f"[{GOOD}, 3]", "rows.json"))


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"messages": [{"role": "user", "content": "hi"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert data.read(tmp_path / "rows.parquet") == rows


@pytest.mark.parametrize("name", ["missing.jsonl", "rows.csv"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=name):
        data.read(tmp_path / name)


def test_saved_rows_come_back_and_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "a\u2028b — ü"}, {"text": "c"}]
    assert data.read(data.save(rows, path)) == rows
    with pytest.raises(DataError, match="not JSON"):
        data.save([{"text": float("nan")}], path)
    assert data.read(path) == rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


USER, BOT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}


@pytest.mark.parametrize(
    ("row", "wanted", "told"),
    [
        ({"prompt": "a"}, "sft", "'prompt' without 'completion'"),
        ({"question": "a"}, "sft", r"no format has the keys \['question'\]"),
        ({"prompt": None, "completion": "a"}, "sft", "'prompt' is null"),
        ({"prompt": "a", "completion": ""}, "sft", "'completion' is empty"),
        ({"prompt": "a", "completion": [BOT]}, "sft", "must both be text or both be messages"),
        ({"messages": []}, "sft", "'messages' is empty"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "sft",
            "message 1 of 'messages' has the role 'robot'",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": None}]},
            "sft",
            "message 2 of 'messages' has no text",
        ),
        ({"messages": [3]}, "sft", "message 1 of 'messages' is int"),
        ({"text": 3}, "sft", "'text' is int"),
        ({"chosen": "a"}, "preference", "'chosen' without 'rejected'"),
        ({"chosen": "a", "rejected": "b"}, "preference", "share no beginning"),
        ({"prompt": None, "chosen": "a", "rejected": "b"}, "preference", "'prompt' is null"),
        ({"prompt": "a", "chosen": "b", "rejected": [BOT]}, "preference", "must both be"),
        ({"text": "a"}, "preference", "this method needs 'chosen' and 'rejected'"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "sft", "this method needs 'messages'"),
    ],
)
def test_a_row_that_fits_no_format_is_refused_with_its_line(
    tmp_path: Path, row: dict[str, object], wanted: str, told: str
) -> None:
    path = write(tmp_path, "\n" + json.dumps(row))
    with pytest.raises(DataError, match=told) as caught:
        data.examples(data.read(path), wanted=wanted)  # type: ignore[arg-type]
    assert f"{path}:2" in str(caught.value)


def test_rows_of_two_formats_are_refused_at_the_first_that_differs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + '\n{"text": "a"}')
    with pytest.raises(DataError, match=r":2: a text row among prompt-completion rows \(the first is .*:1\)"):
        data.examples(data.read(path), wanted="sft")
    path = write(tmp_path, GOOD + "\n" + json.dumps({"prompt": [USER], "completion": [BOT]}))
    with pytest.raises(DataError, match=":2: a conversation among rows that hold text"):
        data.examples(data.read(path), wanted="sft")


def test_an_implicit_prompt_is_what_both_answers_share() -> None:
    other = {"role": "assistant", "content": "no"}
    _, (row,) = data.examples([{"chosen": [USER, BOT], "rejected": [USER, other]}], wanted="preference")
    assert (row.prompt, row.completion, row.rejected) == ([USER], [BOT], [other])
    _, (row,) = data.examples([{"chosen": "Who? An ox.", "rejected": "Who? An owl."}], wanted="preference")
    assert (row.prompt, row.completion, row.rejected) == ("Who? An", " ox.", " owl.")
