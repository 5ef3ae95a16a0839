"""Answers without any model: what is said about them, shown, kept and handed on."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab import answers, warm
from ftlab.answers import Answer, Comparison, Delta, Fingerprint, Sampling, ask, compare, word_diff
from ftlab.errors import ConfigError, DataError, FtlabError, ModelError

SAMPLING = Sampling(max_new_tokens=8, seed=4)
PLAIN = Fingerprint("3fa2c9" + "0" * 6, None, adapter_active=False, template="t" * 12, sampling=SAMPLING)
TUNED = Fingerprint(
    "3fa2c9" + "0" * 6, "77ab01" + "0" * 6, adapter_active=True, template="t" * 12, sampling=SAMPLING
)


def answer(reference, text, mark=PLAIN, prompt="Hi"):
    return Answer(reference, [{"role": "user", "content": prompt}], text, 3, "end", 0.5, mark)


def comparison(left="one two three", right="one 2 three"):
    return Comparison(
        [[{"role": "user", "content": "<b>Hi</b>"}]],
        ["wren", "run:<i>sft</i>"],
        SAMPLING,
        [{"wren": answer("wren", left), "run:<i>sft</i>": answer("run:<i>sft</i>", right, TUNED)}],
    )


def test_a_comparison_survives_json_whole():
    whole = comparison("ä\u2028\n", "</script>")
    assert Comparison.from_json(whole.to_json()) == whole


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', '{"format"'])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(DataError):
        Comparison.from_json(text)


def test_only_what_no_adapter_touched_is_called_base():
    assert PLAIN.heading == "base 3fa2c9"
    assert TUNED.heading == "base 3fa2c9 + adapter 77ab01"


def test_the_table_shows_headings_and_marks_the_words_that_differ():
    html = comparison().html()
    assert "base 3fa2c9 + adapter 77ab01" in html
    assert "one <u>2</u> three" in html
    assert "seed 4" in html
    assert comparison()._repr_html_() == html


def test_text_of_models_prompts_and_references_is_never_markup():
    html = comparison("<script>x</script>", "<img src=x onerror=y>").html()
    for bad in ("<script", "<img", "<b>", "<i>"):
        assert bad not in html
    assert "&lt;script&gt;" in html
    assert "<style" not in html


def test_rows_are_flat_and_pairs_are_what_ratings_take():
    rows = comparison().rows()
    assert [row["reference"] for row in rows] == ["wren", "run:<i>sft</i>"]
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    (pair,) = comparison().pairs("run:<i>sft</i>", "wren", tags=["tour"])
    assert [response["text"] for response in pair["responses"]] == ["one 2 three", "one two three"]
    assert pair["responses"][0]["generation"]["adapter"] == TUNED.adapter
    assert pair["responses"][0]["generation"]["seed"] == 4
    assert pair["tags"] == ["tour"]
    with pytest.raises(ModelError, match="was not compared"):
        comparison().pairs("wren", "other")


@given(st.text(alphabet="ab \n", max_size=40), st.text(alphabet="ab \n", max_size=40))
def test_the_pieces_of_a_diff_join_to_both_texts(before, after):
    pieces = word_diff(before, after)
    assert "".join(piece.text for piece in pieces if piece.change != "removed") == after
    assert "".join(piece.text for piece in pieces if piece.change != "added") == before


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0},
     {"max_new_tokens": 1.5}, {"seed": -1}, {"seed": True}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Sampling(**settings)


def test_the_seed_of_a_row_depends_on_the_seed_and_the_conversation_alone():
    chats = [[{"role": "user", "content": f"{n}"}] for n in range(20)]
    one = Sampling(seed=1).row_seed(chats[2])
    assert one == Sampling(seed=1, max_new_tokens=5, temperature=0).row_seed([dict(chats[2][0])])
    assert len({Sampling(seed=seed).row_seed(chat) for seed in range(20) for chat in chats}) == 400


@pytest.mark.parametrize("prompt", [[], [{"role": "user"}], ["Hi"], [{"role": "user", "content": 3}]])
def test_a_prompt_that_is_no_conversation_is_refused(prompt):
    with pytest.raises(DataError):
        answers.as_messages(prompt)


class Line:
    """The other process, as far as it can be seen from here: a line of messages that knows when it is closed."""

    def __init__(self, *messages):
        self.messages, self.sent, self.closed = messages, [], False

    def __call__(self, message):
        self.sent.append(message)
        try:
            yield from self.messages
        finally:
            self.closed = True


def loaded(reference, mark):
    return {
        "loaded": {"reference": reference, "fingerprint": answer("x", "y", mark).to_dict()["fingerprint"]}
    }


def test_pieces_and_answers_come_as_they_are_sent(monkeypatch):
    whole = answer("wren", "ab")
    line = Line(
        {"note": "fetching"},
        loaded("wren", PLAIN),
        {"delta": {"reference": "wren", "index": 0, "text": "ab"}},
        {"answer": whole.to_dict(), "index": 0},
        {"end": True},
    )
    monkeypatch.setattr(warm, "request", line)
    notes: list[str] = []
    assert list(ask("Hi", "wren", SAMPLING, note=notes.append)) == [Delta("wren", 0, "ab"), (0, whole)]
    assert notes == ["fetching"]
    assert line.sent[0]["references"] == ["wren"]
    assert line.sent[0]["prompts"] == [[{"role": "user", "content": "Hi"}]]
    assert compare(["Hi"], ["wren"], SAMPLING).answers[0]["wren"] == whole


def test_cancelling_keeps_what_was_drawn_and_lets_go_of_the_line(monkeypatch):
    line = Line(
        loaded("wren", PLAIN),
        {"delta": {"reference": "wren", "index": 0, "text": "a"}},
        {"delta": {"reference": "wren", "index": 0, "text": "b"}},
        {"end": True},
    )
    monkeypatch.setattr(warm, "request", line)
    cancel, seen = threading.Event(), []
    for piece in ask("Hi", "wren", SAMPLING, cancel=cancel):
        seen.append(piece)
        cancel.set()
    assert isinstance(seen[-1], tuple)
    assert (seen[-1][1].text, seen[-1][1].finish, seen[-1][1].fingerprint) == ("a", "cancelled", PLAIN)
    assert line.closed


@pytest.mark.parametrize(("kind", "raised"), [("ModelError", ModelError), ("KeyError", FtlabError)])
def test_what_failed_over_there_is_raised_here(monkeypatch, kind, raised):
    monkeypatch.setattr(warm, "request", Line({"error": "no such thing", "kind": kind}))
    with pytest.raises(raised, match="no such thing"):
        list(ask("Hi", "wren"))


def test_importing_answers_loads_no_heavy_library():
    code = (
        "import sys, ftlab.answers; print([m for m in ('torch', 'pandas', 'ftlab.warm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
