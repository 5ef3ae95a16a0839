"""Events are lines that survive anything: half lines, newer versions, NaN, foreign text."""

import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.events import (
    Ended,
    Evaluated,
    Measured,
    Noted,
    Sampled,
    Saved,
    Started,
    append,
    decode,
    encode,
    read,
)

ALL = [
    Started(1.0, "a", 7, "cpu", {"threads": 2}, 100, 10, 5, 3, "abc"),
    Measured(2.0, 1, 0.5, {"loss": 1.5, "grad_norm": None}),
    Evaluated(3.0, 1, {"loss": 2.5}),
    Sampled(4.0, 1, [{"role": "user", "content": "Hé\u2028llo\x85\n"}], "line\u2028\x0b\x1c end"),
    Saved(5.0, 1, "checkpoints/step-1", "checkpoint", "ff"),
    Noted(6.0, "warning", "careful"),
    Ended(7.0, 1, "finished", ""),
]


def test_every_event_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "events.jsonl"
    for event in ALL:
        append(path, event)
    assert read(path) == (ALL, path.stat().st_size)


def test_each_line_is_one_json_object_with_its_type_first(tmp_path):
    for event in ALL:
        line = encode(event)
        assert line.count(b"\n") == 1
        assert len(line.decode("ascii").splitlines()) == 1
        assert next(iter(json.loads(line))) == "type"


def test_no_number_is_written_that_json_does_not_know():
    event = Measured(1.0, 1, 0.0, {"loss": math.nan, "grad_norm": math.inf, "tokens": 3.0})
    assert decode(encode(event)) == Measured(1.0, 1, 0.0, {"loss": None, "grad_norm": None, "tokens": 3.0})
    assert b"NaN" not in encode(event)
    assert b"Infinity" not in encode(
        Started(1.0, "a", 1, "cpu", {"inner": [{"x": -math.inf}]}, 1, 1, 1, 1, "")
    )


@given(st.text(), st.integers(0, 10**9))
def test_any_text_fits_in_a_line(text, step):
    event = Sampled(1.0, step, [{"role": "user", "content": text}], text)
    assert decode(encode(event).rstrip(b"\n")) == event


@given(st.lists(st.integers(1, 60), max_size=40))
def test_reading_in_any_pieces_gives_the_same_events(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("pieces") / "events.jsonl"
    whole = b"".join(encode(event) for event in ALL)
    path.touch()
    found, offset = [], 0
    for size in [*sizes, len(whole)]:
        with path.open("ab") as file:
            written = path.stat().st_size
            file.write(whole[written : written + size])
        events, offset = read(path, offset)
        found += events
    assert found == ALL


def test_half_a_line_waits_for_its_end(tmp_path):
    path = tmp_path / "events.jsonl"
    line = encode(ALL[1])
    path.write_bytes(encode(ALL[0]) + line[:10])
    events, offset = read(path)
    assert events == ALL[:1]
    assert read(path, offset) == ([], offset)
    with path.open("ab") as file:
        file.write(line[10:])
    assert read(path, offset)[0] == [ALL[1]]


def test_half_a_line_of_a_killed_writer_costs_that_line_only(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(ALL[0]) + encode(ALL[1])[:10])
    append(path, ALL[2])
    first, broken, last = read(path)[0]
    assert (first, last) == (ALL[0], ALL[2])
    assert broken.level == "warning"


def test_a_line_of_a_newer_version_is_left_out_and_said_so():
    assert "Teleported" in decode(b'{"type": "Teleported", "time": 1}').text
    assert isinstance(decode(b'{"type": "Ended", "time": 1}'), Noted)
    assert isinstance(decode(b"[1, 2]"), Noted)
    assert decode(encode(ALL[6])[:-2] + b', "colour": "red"}\n') == ALL[6]


def test_a_run_without_events_has_none(tmp_path):
    assert read(tmp_path / "none.jsonl") == ([], 0)


def test_a_file_written_anew_is_read_from_its_start(tmp_path):
    path = tmp_path / "events.jsonl"
    append(path, ALL[5])
    assert read(path, 10_000)[0] == [ALL[5]]


def test_a_full_disk_leaves_only_whole_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    append(path, ALL[0])
    size = path.stat().st_size
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20}, {size + 20}))\n"
        "from pathlib import Path; from ftlab.events import Noted, append\n"
        "append(Path(sys.argv[1]), Noted(1.0, 'info', 'too long for this disk'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "OSError" in done.stderr
    assert read(path) == (ALL[:1], size)
    append(path, ALL[6])
    assert read(path)[0] == [ALL[0], ALL[6]]


def test_many_writers_in_turn_never_mix_their_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    code = (
        "import sys; from pathlib import Path; from ftlab.events import Noted, append\n"
        "for _ in range(50): append(Path(sys.argv[1]), Noted(1.0, 'info', sys.argv[2] * 3000))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    texts = [event.text for event in read(path)[0]]
    assert sorted(texts) == sorted(letter * 3000 for letter in "abc" for _ in range(50))


def test_importing_events_loads_nothing_else():
    code = "import sys; import ftlab.events; print(sorted({'torch', 'pydantic', 'pandas', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


@pytest.mark.parametrize("kind", [Saved, Ended])
def test_what_must_last_is_on_the_disk_before_append_returns(tmp_path, kind, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    event = next(event for event in ALL if isinstance(event, kind))
    append(tmp_path / "events.jsonl", event)
    assert synced == [len(encode(event))]
