"""The faults of import and export, each named after its number in the catalogue (B1 to B22)."""

import csv
import io
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange import every_mode, read_lines, row, say

from ftlab.errors import RatingError
from ftlab.ratings import NothingToExport, NotSaved, Ratings
from ftlab.ratings.exchange import export as exports

FORK = multiprocessing.get_context("fork")


def pair(n=0, **more):
    return {"prompt": f"P{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} | more


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def rated(store):
    store.add_pairs([row(f"P{n}?", f"yes {n}", f"no {n}") for n in range(12)], batch="p")
    for n in range(12):
        say(store, "ann", "p", {"prefer": f"yes {n}", "strength": n % 4})
    return store


def test_b01_a_malformed_line_is_named_with_its_column_and_nothing_is_taken(store, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        lines(*map(pair, range(1000))) + '{"prompt": "P", "chosen": "yes", "rejec\n' + lines(pair(1001))
    )
    with pytest.raises(RatingError, match=r"p\.jsonl:1001:34: not JSON \(Unterminated string") as told:
        store.import_(path)
    assert "Nothing was imported" in str(told.value)
    assert store.last_seq() == 0
    found = store.import_(path, skip_bad=True)
    assert found.ratings == 1001
    assert [refusal.place for refusal in found.refused] == [f"{path}:1001:34"]
    (reject,) = read_lines(found.rejects)
    assert reject["record"].startswith('{"prompt": "P"')
    assert reject["place"].endswith("p.jsonl:1001:34")


def _on_a_full_disk(path, goal, options, pipe):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Ratings(path) as store:
        store.last_seq()
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, resource.RLIM_INFINITY))
        try:
            store.export(goal, **options)
            pipe.send("saved")
        except NotSaved as error:
            pipe.send(str(error))


@pytest.mark.parametrize("options", [{}, {"kind": "raw"}, {"split": 0.5}])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_b02_a_full_disk_leaves_the_old_export_whole_and_no_scraps(rated, tmp_path, options, suffix):
    goal = tmp_path / "out" / f"p{suffix}"
    rated.export(goal, **options)
    say(rated, "bob", "p", {"prefer": "yes 0"})
    before = {file.name: file.read_bytes() for file in goal.parent.iterdir()}
    here, there = FORK.Pipe()
    child = FORK.Process(target=_on_a_full_disk, args=(rated.path, goal, options, there))
    child.start()
    assert "NOT written (File too large)" in here.recv()
    child.join()
    assert {file.name: file.read_bytes() for file in goal.parent.iterdir()} == before


def _export_killed(path, goal, point, options):
    os.environ["FTLAB_CRASH_AT"] = point
    with Ratings(path) as store:
        store.export(goal, **options)


@pytest.mark.parametrize("options", [{}, {"kind": "raw"}, {"split": 0.5}])
@pytest.mark.parametrize("point", ["before_rename", "before_manifest"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_b03_a_kill_at_a_crash_point_leaves_whole_files_and_a_manifest_that_tells(
    rated, tmp_path, point, options, suffix
):
    goal = tmp_path / "out" / f"p{suffix}"
    rated.export(goal, **options)
    old = {file.name: file.read_bytes() for file in goal.parent.iterdir()}
    say(rated, "bob", "p", {"prefer": "yes 0"})
    new = {
        file.name: file.read_bytes()
        for file in rated.export(tmp_path / "new" / goal.name, **options).path.parent.iterdir()
    }
    child = FORK.Process(target=_export_killed, args=(rated.path, goal, point, options))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    found = {file.name: file.read_bytes() for file in goal.parent.iterdir() if not file.name.startswith(".")}
    assert set(found) == set(old)
    assert all(found[name] in (old[name], new[name]) for name in found)
    renamed = point == "before_manifest"
    changed = sorted(name for name in old if old[name] != new[name] and name.startswith("p"))
    told = [f"{name}: is not the file that was exported" for name in changed]
    assert exports.check(goal.parent) == (told if renamed else [])
    rated.export(goal, **options)
    assert exports.check(goal.parent) == []


_EXPORT_FOR_EVER = """
import sys
from ftlab.ratings import Ratings
store = Ratings(sys.argv[1])
while True:
    store.export(sys.argv[2])
    print("saved", flush=True)
"""


def test_b03_kills_at_any_moment_leave_a_whole_file(rated, tmp_path):
    goal = tmp_path / "out" / "p.jsonl"
    whole = rated.export(tmp_path / "p.jsonl").path.read_bytes()
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _EXPORT_FOR_EVER, str(rated.path), str(goal)], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        os.sched_yield()
        deadline = time.monotonic() + kill * 0.004  # another moment of the export each time
        while time.monotonic() < deadline:
            pass
        child.kill()
        child.wait()
        child.stdout.close()
        assert goal.read_bytes() == whole
        assert exports.check(goal.parent) == []


@pytest.mark.parametrize("kind", ["preference", "unpaired", "sft", "reward"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_b04_the_same_event_number_gives_the_same_bytes_while_rating_goes_on(store, tmp_path, kind, suffix):
    every_mode(store)
    upto = store.last_seq()
    first = store.export(tmp_path / "one" / f"p{suffix}", kind)
    assert first.seq == upto
    store.undo(store.at("ann", "pair", 1).assignment_id)
    store.add([row("new", "x", "y")], "pair", instructions="Other words.")
    say(store, "eve", "pair", {"choice": "left"})
    store.open_batch("another", instructions="x")
    second = store.export(tmp_path / "two" / f"p{suffix}", kind, upto=upto)
    for name in (first.path.name, "manifest.json", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert second.sha256 == first.sha256


def test_b04_an_export_is_one_picture_of_a_log_that_grows_under_it(rated, tmp_path):
    with rated.database.reading() as connection:
        from ftlab.ratings import opinions

        stream = opinions.read(connection, "p", 12)
        next(stream)
        say(rated, "bob", "p", {"choice": "both_bad", "strength": 0})
        assert sum(len(task.votes) for task in stream) == 11


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_b05_numbers_that_are_none_are_refused(store, tmp_path, number, suffix):
    text = f'{{"prompt": "P", "chosen": "a", "rejected": "b", "margin": {number}}}'
    path = tmp_path / f"p{suffix}"
    path.write_text(text if suffix == ".jsonl" else f"[{text}]")
    with pytest.raises(RatingError, match="leave the field out"):
        store.import_(path)


def test_b06_a_key_that_appears_twice_is_an_error(store, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "P", "chosen": "a", "chosen": "c", "rejected": "b"}\n')
    with pytest.raises(RatingError, match=r"p\.jsonl:1: the key 'chosen' appears twice"):
        store.import_(tmp_path / "p.jsonl")
    (tmp_path / "p.csv").write_text("prompt,chosen,chosen\na,b,c\n")
    with pytest.raises(RatingError, match="the column 'chosen' appears twice"):
        store.import_(tmp_path / "p.csv")


def test_b07_marks_line_ends_and_blank_lines_are_passed_over_and_told(store, tmp_path):
    text = lines(pair(0)) + "\n" + lines(pair(1))
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    found = store.import_(tmp_path / "p.jsonl")
    assert found.ratings == 2
    assert found.notes[:3] == (
        "a byte order mark was passed over",
        "1 blank lines were passed over",
        "3 lines end in the manner of Windows",
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (json.dumps(pair()).encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (json.dumps(pair()).encode("utf-32"), "is UTF-32; save it as UTF-8"),
        (json.dumps(pair()).encode("utf-16-le"), "looks like UTF-16"),
        ('{"prompt": "café"}'.encode("latin-1"), r"p\.jsonl:1:16: not UTF-8 \(byte 0xe9; Latin-1"),
    ],
)
def test_b07_another_encoding_is_named(store, tmp_path, data, words):
    (tmp_path / "p.jsonl").write_bytes(data)
    with pytest.raises(RatingError, match=words):
        store.import_(tmp_path / "p.jsonl")


BREAKS = "a\u2028b\u2029c\x85d\x1ce\x0bf\x0cg\r\nh"


def test_b08_text_that_looks_like_the_end_of_a_line_is_one_record_for_every_reader(either, tmp_path, fresh):
    either.add_pairs([row(BREAKS, f"yes {BREAKS}", f"no {BREAKS}")], batch="p")
    say(either, "ann", "p", {"prefer": f"yes {BREAKS}", "comment": BREAKS})
    for kind in ("preference", "raw"):
        path = either.export(tmp_path / f"{kind}.jsonl", kind).path
        text = path.read_bytes().decode()
        assert len(text.splitlines()) == len(read_lines(path))
    (found,) = read_lines(tmp_path / "preference.jsonl")
    assert found["chosen"][0]["content"] == f"yes {BREAKS}"
    with fresh("other.db") as other:
        other.import_(tmp_path / "preference.jsonl", "p")
        assert other.preferences()[0]["chosen"] == found["chosen"]


HOSTILE = [
    "\x1b]0;title\x07 \x9b31m",
    "\u202eRTL\u2066 isolates\u2069 \u200b\u200d\ufeff",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "=cmd|'/C calc'!A0",
    "👩‍🚀 ＝1+1 ﷽ Z̸a̵l̶g̷o",
    "'; DROP TABLE rating_event; --",
    "{{constructor.constructor('x')()}} %s %n ${x}",
    "x" * 100_000,
]


def goes_through(store, tmp_path, fresh, text, kept, replaced):
    """Rated, exported in both formats and raw, and imported again: `kept` everywhere, `replaced` counted."""
    store.add_pairs([row(text, f"yes {text}", f"no {text}", models=[text[:100], "b"])], batch="p")
    task = store.next("ann", "p")
    say(store, "ann", "p", {"prefer": task.left, "comment": text[:20_000]})
    for suffix in (".jsonl", ".parquet"):
        done = store.export(tmp_path / f"p{suffix}")
        rows = read_lines(done.path) if suffix == ".jsonl" else pq.read_table(done.path).to_pylist()
        assert rows[0]["prompt"][0]["content"] == kept
        assert {rows[0]["chosen"][0]["content"], rows[0]["rejected"][0]["content"]} == {
            f"yes {kept}",
            f"no {kept}",
        }
        with fresh(f"from{suffix}.db") as other:
            other.import_(done.path, "p")
            assert other.preferences()[0]["chosen"] == rows[0]["chosen"]
    raw = store.export(tmp_path / "raw.jsonl", "raw").path
    with fresh("raw.db") as other:
        other.import_(raw)
        assert other.history(task.assignment_id) == store.history(task.assignment_id)
    assert sum(line.get("replaced") or 0 for line in read_lines(raw)) == replaced


def test_b09_nul_is_replaced_and_counted_on_both_databases(either, tmp_path, fresh):
    goes_through(either, tmp_path, fresh, "a\x00b", "a\u2400b", 4)


def test_b10_half_a_character_is_replaced_and_counted_on_both_databases(either, tmp_path, fresh):
    goes_through(either, tmp_path, fresh, "a\ud800b", "a\ufffdb", 4)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_b11_hostile_text_goes_through_both_databases_as_it_is(either, tmp_path, text, fresh):
    goes_through(either, tmp_path, fresh, text, text, 0)


def test_b09_b10_what_had_to_be_replaced_in_an_import_is_told(either, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a\\u0000", "chosen": "b\\ud800", "rejected": "c"}\n')
    found = either.import_(tmp_path / "p.jsonl")
    assert "2 characters that no database keeps were replaced" in found.notes
    assert either.import_(tmp_path / "p.jsonl").known == 1


def test_b12_control_characters_are_stripped_where_a_terminal_shows_them(tmp_path, capsys):
    from ftlab.cli import main

    path = tmp_path / "p.jsonl"
    path.write_text(lines({"\x1b]0;evil\x07": 1}))
    assert main(["ratings", "import", str(path)]) == 1
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert "\\x1b" in told


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_b13_an_empty_prompt_is_refused_on_the_way_in_and_counted(store, tmp_path, empty):
    (tmp_path / "p.jsonl").write_text(lines(pair(0, prompt=empty), pair(1)))
    found = store.import_(tmp_path / "p.jsonl")
    assert (found.ratings, [refusal.reason for refusal in found.refused]) == (1, ["the prompt is empty"])


def test_b14_a_long_prompt_is_never_cut(either, tmp_path):
    prompt = "word " * 200_000
    (tmp_path / "p.jsonl").write_text(lines(pair(0, prompt=prompt)))
    either.import_(tmp_path / "p.jsonl")
    (found,) = read_lines(either.export(tmp_path / "out.jsonl").path)
    assert found["prompt"][0]["content"] == prompt


def test_b15_same_empty_and_prefix_answers_are_told_by_their_place(store, tmp_path):
    records = [
        pair(0, rejected="yes 0"),
        pair(1, rejected=" "),
        pair(2, chosen="go", rejected="go on"),
        pair(3),
    ]
    (tmp_path / "p.jsonl").write_text(lines(*records))
    found = store.import_(tmp_path / "p.jsonl")
    assert [(refusal.place[-1], refusal.reason[:20]) for refusal in found.refused] == [
        ("1", "both answers are the"),
        ("2", "an answer is empty"),
    ]
    assert any("p.jsonl:3" in note and "beginning" in note for note in found.notes)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (pair(1, chosen=[{"role": "assistant", "content": "x"}]), "must both be text or both be messages"),
        (
            {
                "prompt": [{"role": "user", "content": "P"}],
                "chosen": [{"role": "assistant", "content": "x"}],
                "rejected": [{"role": "assistant", "content": "y"}],
            },
            "a conversation among rows that hold text",
        ),
        ({"prompt": "P", "chosen": "x"}, "needs both 'chosen' and 'rejected'"),
        (pair(1, chosen=None), "'chosen' is null"),
        (pair(1, prompt=None), "'prompt' is null"),
        ({"prompt": "P", "completion": "x", "label": True}, "'unpaired' among records of shape 'preference'"),
        ([1], "an object was expected, not a list"),
        (
            pair(1, chosen=[{"role": "assistant", "content": 3}]),
            "message 1 of 'chosen' has no text in 'content'",
        ),
    ],
)
def test_b16_a_row_of_another_kind_is_named_with_its_column(store, tmp_path, second, words):
    (tmp_path / "p.jsonl").write_text(lines(pair(0), second))
    with pytest.raises(RatingError, match=rf"p\.jsonl:2: .*{words}"):
        store.import_(tmp_path / "p.jsonl")
    assert store.import_(tmp_path / "p.jsonl", skip_bad=True).ratings == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_b17_an_empty_file_is_said_to_be_empty(store, tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_text("")
    if suffix == ".parquet":
        pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    with pytest.raises(RatingError, match="the dataset is empty"):
        store.import_(path)


def test_b17_nothing_to_export_is_an_error_and_a_single_row_is_told_and_not_split(rated, store, tmp_path):
    for n in range(12):
        task = store.at("ann", "p", n + 1)
        store.record(
            {
                "event_id": f"weak-{n:08}",
                "assignment_id": task.assignment_id,
                "kind": "revise",
                "prev_event_id": task.prev_event_id,
                "choice": "left",
                "strength": 0,
            }
        )
    with pytest.raises(NothingToExport, match=r"no unpaired rows to export.*12 weak left out"):
        store.export(tmp_path / "p.jsonl", "unpaired")
    store.add_pairs([row("Only?", "yes", "no")], batch="one")
    say(store, "ann", "one", {"prefer": "yes"})
    assert "a single row" in store.export(tmp_path / "p.jsonl", batch="one").notes[0]
    with pytest.raises(RatingError, match="would be empty: 1 rows"):
        store.export(tmp_path / "q.jsonl", batch="one", split=0.5)


def test_b18_like_prompts_are_on_one_side_of_a_split(store, tmp_path):
    words = [f"word{n}" for n in range(25)]
    forms = ["{}?", "  {} ?", "{}!", "{}\u00a0"]
    rows = [
        row(form.format(w.upper() if k % 2 else w), f"y {w} {k}", "n")
        for w in words
        for k, form in enumerate(forms)
    ]
    talk = [
        {"role": "user", "content": "word0?"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    store.add_pairs([*rows, row(talk, "y", "n")], batch="p")
    for _ in range(101):
        say(store, "ann", "p", {"choice": "left", "strength": 1})
    done = store.export(tmp_path / "p.jsonl", split=0.3)
    train, test = (read_lines(tmp_path / f"p-{part}.jsonl") for part in ("train", "test"))
    assert len(train) + len(test) == done.rows == 101
    sides = [{exports.prompt_key(each["prompt"]) for each in part} for part in (train, test)]
    assert len(sides[0]) + len(sides[1]) == 25
    assert not sides[0] & sides[1]
    assert all(len(part) >= 4 for part in (train, test))


# B19, a round trip of everything, is in test_rating_raw.py


def test_b20_no_csv_is_written_and_a_formula_in_one_stays_text(store, tmp_path):
    every_mode(store)
    with pytest.raises(RatingError, match="no CSV is written: a spreadsheet runs cells"):
        store.export(tmp_path / "p.csv")
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["prompt", "chosen", "rejected"])
    formulas = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "＝1", "0012", "3.0"]
    for n, formula in enumerate(formulas):
        table.writerow([f'P{n}\u2028,\n"{formula}"', formula, f"no {n}"])
    (tmp_path / "p.csv").write_bytes(out.getvalue().encode())
    assert store.import_(tmp_path / "p.csv", "csv").ratings == len(formulas)
    chosen = [each["chosen"][0]["content"] for each in store.preferences("csv")]
    assert chosen == formulas
    (tmp_path / "short.csv").write_text("prompt,chosen,rejected\na,b\n")
    with pytest.raises(RatingError, match=r"short\.csv:2: 2 cells under 3 columns"):
        store.import_(tmp_path / "short.csv")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz", "tgz"])
def test_b21_archives_are_refused_unopened(store, tmp_path, kind):
    path = tmp_path / f"bundle.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr("../../escaped.jsonl", lines(pair()))
    else:
        with tarfile.open(path, "w:gz") as bundle:
            member = tarfile.TarInfo("../../escaped.jsonl")
            bundle.addfile(member, io.BytesIO(b""))
    with pytest.raises(RatingError, match="archives are not opened here .*unpack it"):
        store.import_(path)
    assert not list(Path(tmp_path.parent).glob("escaped*"))


_EXPORT_SMALL = """
import sys
from ftlab.ratings import Ratings
with Ratings(sys.argv[1]) as store:
    store.export(sys.argv[2])
    store.export(sys.argv[3])
# not ru_maxrss, which a child takes over from the process it was forked from
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_b22_a_large_export_streams(store, tmp_path):
    """60 MB of answers pass through a process that holds a part of them at a time; the bench has 1,000,000."""
    text = "x" * 75_000
    store.add_pairs([row(f"P{n}?", f"yes {n} {text}", f"no {n} {text}") for n in range(400)], batch="p")
    for _ in range(400):
        say(store, "ann", "p", {"choice": "left", "strength": 1})
    run = [
        sys.executable,
        "-c",
        _EXPORT_SMALL,
        str(store.path),
        str(tmp_path / "p.jsonl"),
        str(tmp_path / "q.parquet"),
    ]
    peak = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "p.jsonl").stat().st_size > 60_000_000
    assert peak < 350
