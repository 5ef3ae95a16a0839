"""The doctor finds what is wrong, says where and how to mend it, and calls nothing sick that is well."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab import data
from ftlab.cli import main
from ftlab.data import Finding, Report, examine
from ftlab.errors import DataError


def chat(*contents: str, system: str = "") -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"messages": [{"role": "system", "content": system}, *turns] if system else turns}


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def written(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def found(report: Report, what: str) -> Finding:
    one = [finding for finding in report.findings if what in finding.what]
    assert len(one) == 1, f"{what!r} once in {[finding.what for finding in report.findings]}"
    return one[0]


GOOD = [{"prompt": f"What is {i}?", "completion": f" It is {i}, as you know."} for i in range(30)]


def test_a_healthy_dataset_has_no_finding(tmp_path: Path) -> None:
    report = examine(
        data.save(GOOD, tmp_path / "good.jsonl"), evaluation=[{"prompt": "Who?", "completion": "I."}]
    )
    assert [finding for finding in report.findings if finding.level != "note"] == []
    assert (report.format, report.rows, report.usable, bool(report)) == ("prompt-completion", 30, 30, True)


@pytest.mark.parametrize(
    ("line", "what", "mend"),
    [
        ('{"text": "a"},', "not JSON: a comma at the end", "take the comma out"),
        ('{"text": "a"} {"text": "b"}', "not JSON: two objects on one line", "line break"),
        ("{'text': 'a', 'n': None}", "not JSON: written with str()", "json.dumps"),
        ('{"text": "a', "not JSON: the line stops in the middle", "write it again"),
        ("text: a", "not JSON", "mend the line"),
        ('{"text": NaN}', "NaN is not JSON", "mend the line"),
        ('{"text": "a", "text": "b"}', "the key 'text' appears twice", "mend the line"),
        ("[1, 2]", "not an object but list", "one object a line"),
        (b'{"text": "caf\xe9"}', "not UTF-8", "save the file as UTF-8"),
        (r'{"text": "\ud800"}', "half a character", "mend the line"),
    ],
)
def test_a_line_that_is_no_row_is_told_with_its_number_and_the_rest_is_read(
    tmp_path: Path, line: str | bytes, what: str, mend: str
) -> None:
    report = examine(written(tmp_path / "rows.jsonl", '{"text": "one"}', "", line, '{"text": "two"}'))
    finding = found(report, what)
    assert (finding.level, finding.places, report.place) == ("error", (3,), "line")
    assert mend in finding.mend
    assert (report.rows, report.usable) == (3, 2)


def test_a_file_of_the_other_kind_is_read_and_told(tmp_path: Path) -> None:
    lines = written(tmp_path / "a.json", '{"text": "one"}', '{"text": "two"}')
    assert found(examine(lines), "one object a line in a .json file").mend == "name the file .jsonl"
    array = written(tmp_path / "b.jsonl", '[{"text": "one"}]')
    assert examine(array).usable == 1
    with pytest.raises(DataError, match="no such file"):
        examine(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("row", "format_", "told"),
    [
        ({"question": "a", "answer": "b"}, "prompt-completion", "rename 'question' to 'prompt' and rename 'answer' to 'completion'"),
        ({"promt": "a", "completion": "b"}, "prompt-completion", "rename 'promt' to 'prompt'"),
        ({"Prompt": "a", "Chosen": "b", "Rejected": "c"}, "preference", "rename 'Chosen' to 'chosen'"),
        ({"instruction": "a", "input": "x", "output": "b"}, "prompt-completion", "with 'input' beneath it"),
        ({"conversations": chat("a", "b")["messages"]}, "messages", "rename 'conversations' to 'messages'"),
        ({"content": "a"}, "text", "rename 'content' to 'text'"),
    ],
)  # fmt: skip
def test_columns_by_other_names_are_recognised_with_the_rename_that_mends_them(
    row: dict[str, Any], format_: str, told: str, tmp_path: Path
) -> None:
    report = examine([row])
    assert (report.format, report.is_fit) == (format_, False)
    assert told in found(report, "columns by other names").mend
    report.mended(tmp_path / "mended.jsonl")
    assert data.recognise(data.read(tmp_path / "mended.jsonl")[0], "") == format_


def test_conversations_of_sharegpt_are_rewritten(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "human", "value": " hi"}, {"from": "gpt", "value": "ok"}]}
    report = examine([row])
    assert found(report, "messages in another form").level == "error"
    report.mended(tmp_path / "mended.jsonl")
    assert data.read(tmp_path / "mended.jsonl") == [chat("hi", "ok")]


def test_columns_that_come_near_nothing_are_told_with_the_forms(tmp_path: Path) -> None:
    report = examine([{"foo": 1}])
    assert (
        "give prompt and completion, messages, text" in found(report, "no format has these columns: foo").mend
    )
    with pytest.raises(DataError, match="no row is left"):
        report.mended(tmp_path / "mended.jsonl")


@pytest.mark.parametrize(
    ("row", "what", "column"),
    [
        ({"prompt": "a", "completion": ""}, "empty", "completion"),
        ({"prompt": "a", "completion": " \n"}, "only white space", "completion"),
        ({"prompt": "a", "completion": None}, "null", "completion"),
        ({"prompt": 3, "completion": "b"}, "int where text was expected", "prompt"),
        ({"messages": []}, "no messages", "messages"),
        ({"messages": "a"}, "'messages' is str", ""),
        ({"messages": [{"role": "robot", "content": "a"}]}, "the role 'robot'", "messages"),
        ({"messages": [{"role": "user"}]}, "without text in 'content'", "messages"),
        ({"messages": ["a"]}, "a message that is str", "messages"),
        ({"prompt": chat("a")["messages"], "completion": [{"role": "assistant", "content": " "}]}, "empty answer", "completion"),
        ({"prompt": chat("a")["messages"], "completion": "b"}, "must both be text or both be messages", ""),
        ({"chosen": "a", "rejected": "b"}, "share no beginning", ""),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_learned_from_is_an_error_with_its_column(
    row: dict[str, Any], what: str, column: str
) -> None:
    finding = found(examine([row]), what)
    assert (finding.level, finding.column, finding.places) == ("error", column, (1,))


def test_rows_of_two_formats_are_told_and_the_more_frequent_one_stays() -> None:
    report = examine([{"text": "a"}, {"text": "b"}, chat("a", "b")])
    assert (report.format, report.usable) == ("text", 2)
    assert found(report, "a messages row among text rows").places == (3,)
    mixed = examine(
        [
            GOOD[0],
            GOOD[1],
            {"prompt": chat("a")["messages"], "completion": [{"role": "assistant", "content": "b"}]},
        ]
    )
    assert found(mixed, "a conversation among text").places == (3,)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (["user", "system", "assistant"], "a system message that is not the first"),
        (["user", "user", "assistant"], "two user turns in a row"),
        (["user", "assistant", "assistant"], "two assistant turns in a row"),
        (["assistant", "user", "assistant"], "the assistant speaks first"),
        (["user", "assistant", "user"], "the last turn is no answer"),
        (["system", "user"], "no answer to learn from"),
    ],
)
def test_turns_out_of_order_are_warned_of(messages: list[str], what: str) -> None:
    report = examine([{"messages": [{"role": role, "content": f"{role} speaks"} for role in messages]}])
    assert found(report, what).level == "warning"


@pytest.mark.parametrize(
    ("text", "what", "level"),
    [
        ("It is cafÃ© time", "broken encoding", "warning"),
        ("It\u2019s here \ufffd", "broken encoding", "warning"),
        ("ring\x07 the bell", "characters that nobody sees", "warning"),
        ("zero\u200bwidth", "characters that nobody sees", "warning"),
        ("stop <|im_end|> here", "special tokens spelled in the text", "warning"),
        ("the token hf_AbCdEfGhIjKlMnOpQrStUvWx", "a secret in the text", "error"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a secret in the text", "error"),
    ],
)
def test_what_does_not_belong_into_text_is_found(text: str, what: str, level: str) -> None:
    finding = found(examine([chat("Say it", text)]), what)
    assert (finding.level, finding.column) == (level, "messages")


@pytest.mark.parametrize("text", ["Ça va, señor? naïve, Ångström, 90 €", "भाषा 👩\u200d🚀", "a < b and [x]", "task sk-1"])  # fmt: skip
def test_text_of_the_wide_world_is_well(text: str) -> None:
    assert examine([chat("Say it", text)]).findings == []


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    secret = "sk-" + "a1B2" * 8
    report = examine([chat(f"My key is {secret}", "Thanks."), {"wrong": secret}])
    for shown in (str(report), report._repr_html_(), json.dumps(report.to_rows())):
        assert secret not in shown
        assert "sk-a1…[secret]" in shown or "sk-a1\\u2026[secret]" in shown


def test_duplicates_are_told_apart_and_only_exact_ones_are_taken_out(tmp_path: Path) -> None:
    rows = [
        *GOOD,
        GOOD[3],
        {"prompt": "what is 4", "completion": "it is 4 as you know"},
        {"prompt": "What is 5?", "completion": " No idea."},
    ]
    report = examine(rows)
    assert found(report, "there already but for case").places == (32,)
    assert [one.places for one in report.findings if one.what == "there already"] == [(31,)]
    assert found(report, "the prompt comes again with another answer").places == (6,)
    told = report.mended(tmp_path / "mended.jsonl")
    assert told[0] == "left out, there already: 1 row"
    assert data.read(tmp_path / "mended.jsonl") == [*GOOD, *rows[31:]]


def test_preferences_without_a_choice_or_with_a_contradiction_are_found(tmp_path: Path) -> None:
    rows = [
        pair("a", "yes", "no"),
        pair("b", "ok", "ok"),
        pair("a", "no", "yes"),
        pair("c", "well", "well then"),
        pair("d", "x", "y"),
    ]
    report = examine(rows, method="dpo")
    assert found(report, "chosen and rejected are the same").places == (2,)
    assert found(report, "the other way round").places == (3,)
    assert found(report, "chosen is the beginning of the other").places == (4,)
    assert (report.usable, report.lost) == (4, {"not a choice": 1})
    report.mended(tmp_path / "mended.jsonl")
    assert len(data.read(tmp_path / "mended.jsonl")) == 4


def test_a_leaning_towards_length_is_told_with_its_interval() -> None:
    leaning = [pair(f"q {i}", "long " * (3 + i % 5), "short") for i in range(60)]
    finding = found(examine(leaning), "the chosen answer is the longer one in 100%")
    assert (finding.level, finding.count) == ("warning", 0)
    fair = [pair(f"q {i}", f"{'a' * (5 + i % 7)} b", f"c {'d' * (5 + (i + 3) % 7)}") for i in range(70)]
    assert found(examine(fair), "the chosen answer is the").level == "note"


def test_margins_are_checked_and_summed_up() -> None:
    rows = [
        pair("a", "x", "y", margin=1),
        pair("b", "x", "y", margin=-1),
        pair("c", "x", "y", margin="2"),
        pair("d", "x", "y"),
    ]
    report = examine(rows, method="reward")
    assert found(report, "a margin that is no number from 0 up").places == (2, 3)
    assert found(report, "rows have no margin").level == "note"


def test_labels_that_nobody_reads_are_told() -> None:
    rows = [{**row, "label": i > 2} for i, row in enumerate(GOOD)]
    assert "keep the true ones" in found(examine(rows), "90% of 30 labels are true").mend


def test_leaks_are_found_by_question_and_by_runs_of_words() -> None:
    story = "once upon a time there was a miller who lived by the river and baked bread for all the folk of the valley"
    training = [
        chat("What is two plus two?", "Four."),
        chat("Tell me a story", story),
        chat("Who is Ann?", "A baker."),
    ]
    evaluation = [
        chat("what is  two plus two", "It is four."),
        chat("Please tell a tale", f"Well, {story} every day"),
        chat("Where is Ann?", "Here."),
    ]
    report = examine(training, evaluation=evaluation)
    assert found(report, "the question of an evaluation row").places == (1,)
    assert found(report, "nearly an evaluation row").places == (2,)
    assert "2 of 3 evaluation rows" in found(report, "are given away").what


def test_what_the_limit_cuts_and_drops_is_what_a_run_cuts_and_drops() -> None:
    rows = data.read("wren:sft", 300)
    tokenizer = data.load_tokenizer("wren")
    report = examine(rows, tokenizer="wren", max_length=16)
    columns = data.render(rows, tokenizer, "assistant", 16)
    assert report.usable == len(columns)
    assert f"{report.lost['cut']} of 300 rows were cut at 16 tokens" in columns.notes
    assert (
        f"{report.lost['dropped']} of 300 rows were dropped: nothing to learn within 16 tokens"
        in columns.notes
    )
    assert report.tokens is not None
    assert report.tokens.trained == sum(map(sum, columns.weights))
    assert report.tokens.kept == sum(map(len, columns.data["input_ids"]))
    assert sum(rows for _, _, rows in report.tokens.bars()) == 300
    assert report.tokens.bars()[-1][2] == report.lost["cut"] + report.lost["dropped"]


def test_preferences_are_measured_as_their_method_learns_them() -> None:
    rows = data.read("wren:preferences", 60)
    columns = data.render_preferences(rows, data.load_tokenizer("wren"), 32)
    report = examine(rows, tokenizer="wren", max_length=32, method="dpo")
    assert report.usable == len(columns)
    assert report.tokens is not None
    assert report.tokens.trained == sum(
        len(ids) for name in ("chosen_ids", "rejected_ids") for ids in columns.data[name]
    )


def test_a_template_that_is_missing_or_refuses_is_an_error(tokenizer: Any) -> None:
    folder = Path(tokenizer.name_or_path)
    (folder / "chat_template.jinja").unlink()
    bare = examine([chat("hi", "ok")], tokenizer=str(folder))
    assert "chat_template.jinja" in found(bare, "the model has no chat template").mend
    rows = [
        chat("hi", "ok"),
        {"messages": [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]},
    ]
    assert found(examine(rows, tokenizer="wren"), "chat template refuses").places == (2,)


def test_rows_that_the_method_cannot_use_are_an_error() -> None:
    assert "dpo learns from preferences" in found(examine(GOOD, method="dpo"), "dpo learns").what
    assert not examine([pair("a", "b", "c")], method="sft").is_fit


def test_one_row_that_is_a_whole_file_is_an_outlier() -> None:
    rows = [*GOOD, {"prompt": "All?", "completion": " word" * 5000}]
    assert found(examine(rows), "times as long as the median").places == (31,)


def test_nothing_is_written_over_what_was_examined(tmp_path: Path) -> None:
    path = data.save(GOOD, tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="is the file that was examined"):
        examine(path).mended(path)


messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": st.sampled_from(["a", "", " b ", None, "ann"])}),
    max_size=4,
)  # fmt: skip
values = st.one_of(st.sampled_from(["hello", "", " ", "it is so", None, 3]), messages)
any_row = st.dictionaries(st.sampled_from(["prompt", "completion", "messages", "text", "chosen", "rejected", "margin"]), values, max_size=3)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(any_row, min_size=1, max_size=4))
def test_what_it_passes_a_run_can_read_and_what_it_mends_it_passes(rows: list[dict[str, Any]]) -> None:
    report = examine(rows)
    if report.is_fit:
        wanted = "preference" if report.format == "preference" else "sft"
        format_, _ = data.examples(rows, wanted=wanted)  # type: ignore[arg-type]
        assert format_ == report.format
    assert report._mend is not None
    mended, _ = report._mend()
    if mended:
        again = examine(mended)
        assert again.usable + again.lost.get("not a choice", 0) == len(mended)


def test_text_html_and_rows_tell_the_same_and_text_stays_text() -> None:
    report = examine([chat("<img src=x onerror=alert(1)>", ""), chat("hi", "ok")], tokenizer="wren")
    html = report._repr_html_()
    assert "<img" not in html
    for finding in report.findings:
        assert finding.what in str(report)
        assert finding.mend in html
    assert [row["what"] for row in report.to_rows()] == [finding.what for finding in report.findings]
    assert "carry loss" in html


def test_the_shell_checks_mends_and_fails_where_there_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = written(
        tmp_path / "bad.jsonl",
        '{"question": "Who?", "answer": "Ann."}',
        "{",
        '{"question": "Who?", "answer": "Ann."}',
    )
    out = tmp_path / "good.jsonl"
    assert main(["data", "check", str(bad), "--mend", str(out)]) == 1
    told = capsys.readouterr().out
    assert "rename 'question' to 'prompt'" in told
    assert "1 of 3 rows were written" in told
    assert main(["data", "check", str(out), "--model", "wren", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["data", "check", str(tmp_path / "none.jsonl")]) == 1


def test_it_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = [f"word{i}" for i in range(500)]
    rows = [chat(" ".join(rng.choices(words, k=8)), " ".join(rng.choices(words, k=15))) for _ in range(5000)]
    path = data.save(rows, tmp_path / "rows.jsonl")
    code = (
        f"import sys, time; from ftlab.data import examine; began = time.process_time(); examine({str(path)!r}, "
        "tokenizer='wren', evaluation='wren:sft:eval'); print(time.process_time() - began, "
        "*[name for name in ('torch', 'transformers', 'pandas', 'datasets') if name in sys.modules])"
    )
    began = time.monotonic()
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(out) == 1, f"loaded {out[1:]}"
    assert float(out[0]) < 8, f"5,000 rows took {out[0]} s of a core ({time.monotonic() - began:.1f} s)"
