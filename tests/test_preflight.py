"""Pre-flight: what is wrong with a configuration is told before anything is trained, and what it would take."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftlab.config import RunConfig
from ftlab.errors import RunError
from ftlab.events import Ended, Measured, Started, append
from ftlab.methods import checkpoints, footprint, inspect, probe, train
from ftlab.methods.footprint import Setting, Shape
from ftlab.preflight import Finding, Preflight, check
from ftlab.run import Run, runs
from tests.methods import conftest as methods
from tests.methods.conftest import preference_rows, sft_rows

tiny, make_run = methods.tiny, methods.make_run
Make = Callable[..., Path]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Preflight]:
    """`check` with the look itself taken in this process, so that no test waits for libraries to load."""

    def here(message: dict[str, Any], *_: Any) -> Iterator[dict[str, Any]]:
        replies: list[dict[str, Any]] = []
        inspect(json.loads(json.dumps(message)), replies.append)
        yield from replies
        yield {"end": True}

    monkeypatch.setattr("ftlab.preflight.request", here)
    return check


def rows_file(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def told(found: Preflight, level: str) -> list[tuple[str, str]]:
    return [(one.field, one.text) for one in found.findings if one.level == level]


def test_a_run_that_fits_is_told_with_figures_that_were_tried(look: Any, tiny: Path, tmp_path: Path) -> None:
    found = look(
        model=str(tiny),
        method="lora",
        data=rows_file(tmp_path, sft_rows(40)),
        batch_size=8,
        epochs=2,
        threads=1,
    )
    assert found.errors == []
    assert found.ready
    assert found.source == "probe"
    assert (found.rows, found.steps) == (40, 10)
    assert 0 < found.trained < found.parameters
    assert found.tokens > 40
    assert 100 < found.memory_mib < found.available_mib
    assert 0 < found.seconds < 300
    assert found.advice == []
    assert "fits: " in str(found)
    assert "10 steps" in found._repr_html_()


METHODS: list[dict[str, Any]] = [
    {"kind": "sft", "neftune_alpha": 5.0},
    {"kind": "lora", "start": "pissa"},
    {"kind": "qlora"},
    {"kind": "dylora"},
    {"kind": "prompt_tuning"},
    {"kind": "prefix_tuning"},
    {"kind": "p_tuning"},
    {"kind": "ia3"},
    {"kind": "dpo"},
    {"kind": "reward"},
    {"kind": "context_distillation", "context": "hi ok", "max_new_tokens": 8},
    {"kind": "distillation", "teacher": "", "max_new_tokens": 8},
    {"kind": "distillation", "teacher": "", "objective": "gkd", "max_new_tokens": 8},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_every_method_can_be_tried_and_estimated(
    look: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    monkeypatch.setattr(probe, "LEAST_SECONDS", 0.05)
    if "teacher" in method:
        method = method | {"teacher": str(tiny)}
    rows = preference_rows(24) if method["kind"] in {"dpo", "reward"} else sft_rows(24)
    config = RunConfig(
        model=str(tiny), method=method, data=rows_file(tmp_path, rows), batch_size=8, threads=1
    )
    tried, estimated = look(config), look(config, probe=False)
    assert (tried.errors, tried.source, estimated.source) == ([], "probe", "estimate")
    assert tried.trained == estimated.trained
    assert tried.steps == estimated.steps == 3


def test_every_fault_is_told_at_once_and_at_its_field(look: Any, tiny: Path, tmp_path: Path) -> None:
    found = look(
        model=str(tiny),
        data={"train": str(tmp_path / "none.jsonl"), "eval": str(tmp_path / "neither.jsonl")},
        trainer={"learning_rat": 1},
    )
    fields = [field for field, _ in told(found, "error")]
    assert fields == ["trainer.learning_rat", "data.train", "data.eval"]
    assert not found.ready
    assert found.memory_mib is None
    assert "learning_rat" in str(found)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"model": "wrenn"}, "model", "did you mean 'wren'"),
        ({"method": {"kind": "distillation", "teacher": "run:nobody"}}, "method.teacher", "no run 'nobody'"),
        (
            {"method": {"kind": "context_distillation", "context": "Be brief.", "keep_if_better": "wren-xs"}},
            "method.keep_if_better",
            "is not a reward model",
        ),
        ({"method": "reward", "evaluate": {"prompts": ["hi"]}}, "evaluate.prompts", "writes no answers"),
    ],
)
def test_models_and_methods_that_do_not_go_together_are_refused(
    look: Any, tiny: Path, tmp_path: Path, fields: dict[str, Any], field: str, words: str
) -> None:
    rows = preference_rows() if fields.get("method") == "reward" else sft_rows()
    found = look(**{"model": str(tiny), "data": rows_file(tmp_path, rows)} | fields)
    assert [(name, words in text) for name, text in told(found, "error")] == [(field, True)]


def test_rows_of_another_kind_are_refused_at_their_place(look: Any, tiny: Path, tmp_path: Path) -> None:
    found = look(model=str(tiny), method="sft", data=rows_file(tmp_path, preference_rows()))
    ((field, text),) = told(found, "error")
    assert field == "data.train"
    assert "rows.jsonl:1" in text


def copied(tiny: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in tiny.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_tokenizer_with_more_words_than_the_model_is_an_error(
    look: Any, tiny: Path, tmp_path: Path
) -> None:  # C17
    from transformers import AutoTokenizer

    base = copied(tiny, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    tokenizer.add_tokens([f"word{number}" for number in range(40)])
    tokenizer.save_pretrained(base)
    found = look(model=str(base), data=rows_file(tmp_path, sft_rows()), probe=False)
    assert any("do not belong together" in text for _, text in told(found, "error"))


def test_another_end_token_than_the_models_is_a_warning(look: Any, tiny: Path, tmp_path: Path) -> None:  # C17
    base = copied(tiny, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"eos_token_id": 7}))
    found = look(model=str(base), data=rows_file(tmp_path, sft_rows()), probe=False)
    ((field, text),) = told(found, "warning")
    assert (field, "eos_token_id is 1" in text) == ("model", True)


def test_a_missing_chat_template_is_an_error_with_the_way_out(
    look: Any, tiny: Path, tmp_path: Path
) -> None:  # C19
    base = copied(tiny, tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    found = look(model=str(base), data=rows_file(tmp_path, sft_rows()))
    ((field, text),) = told(found, "error")
    assert (field, "has no chat template" in text) == ("model", True)


def test_a_run_whose_template_was_changed_is_refused(
    look: Any, make_run: Make, tmp_path: Path
) -> None:  # C17
    folder = make_run("first", method="sft", max_steps=1)
    train(folder)
    facts = checkpoints.manifest(folder / "model")
    template = folder / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    config = {"model": "run:first", "data": rows_file(tmp_path, sft_rows()), "probe": False}
    ((_, text),) = told(look(**config), "error")
    assert "chat_template.jinja is damaged" in text
    facts["files"]["chat_template.jinja"] = checkpoints.sha256_of(template)  # sealed again with the other one
    (folder / "model" / "manifest.json").write_text(json.dumps(facts))
    ((_, text),) = told(look(**config), "error")
    assert f"trained with the chat template {facts['tokenizer']['template_sha256'][:12]}" in text


def test_special_tokens_inside_the_text_are_counted(look: Any, tiny: Path, tmp_path: Path) -> None:  # C20
    rows = sft_rows(8)
    rows[3]["prompt"][0]["content"] = "hi <eos> ok"
    found = look(model=str(tiny), data=rows_file(tmp_path, rows), probe=False)
    assert any("inside the text of 1 conversations" in text for _, text in told(found, "note"))


def seven_billion(tiny: Path, folder: Path) -> Path:
    """A Llama of 7 billion numbers in 16 bits whose file has holes where the numbers would be."""
    base = copied(tiny, folder)
    (base / "model.safetensors").unlink()
    config = json.loads((base / "config.json").read_text())
    shape = {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "tie_word_embeddings": False,
        "max_position_embeddings": 4096,
    }
    (base / "config.json").write_text(json.dumps(config | shape))
    names = {"model.embed_tokens.weight": [32_000, 4096], "lm_head.weight": [32_000, 4096]}
    for layer in range(32):
        start = f"model.layers.{layer}."
        names |= {f"{start}self_attn.{one}_proj.weight": [4096, 4096] for one in "qkvo"}
        names |= {f"{start}mlp.{one}_proj.weight": [11_008, 4096] for one in ("gate", "up")}
        names |= {f"{start}mlp.down_proj.weight": [4096, 11_008]}
    header: dict[str, Any] = {}
    offset = 0
    for name, (rows, columns) in names.items():
        size = rows * columns * 2
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with (base / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return base


def test_a_model_too_large_to_try_is_estimated_and_told_what_would_fit(
    look: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = seven_billion(tiny, tmp_path / "seven")
    monkeypatch.setattr("ftlab.methods.hardware.available_mib", lambda _: 24_000.0)
    found = look(model=str(base), data=rows_file(tmp_path, sft_rows()), batch_size=16)
    assert found.source == "estimate"
    assert found.parameters == pytest.approx(6.74e9, rel=0.01)
    assert found.memory_mib == pytest.approx(6.74e9 * 16 / 2**20, rel=0.2)  # weights, gradients, moments
    assert not found.fits
    ((field, text),) = told(found, "error")
    assert (field, "24,000" in text or "MiB are free" in text) == ("model", True)
    assert found.seconds > 60
    assert any(line.startswith("method=qlora") for line in found.advice)
    assert not any(line.startswith("trainer.per_device") for line in found.advice), (
        "moments alone exceed the memory"
    )
    assert "MiB)" in found.advice[0]
    lora = look(model=str(base), method="lora", data=rows_file(tmp_path, sft_rows()))
    assert lora.source == "estimate", "nobody waits for steps of half a minute to be told how long they are"
    assert lora.trained < lora.parameters / 50
    assert lora.memory_mib < found.memory_mib / 2


def test_what_the_advice_says_does_fit(
    look: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ftlab.methods.hardware.available_mib", lambda _: 4.0
    )  # beyond what this very process has already
    base = copied(tiny, tmp_path / "wide")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"vocab_size": 200_000}))
    found = look(model=str(base), data=rows_file(tmp_path, sft_rows()), probe=False)
    assert not found.fits
    for line in found.advice:
        memory = float(line.rpartition("about ")[2].removesuffix(" MiB)").replace(",", ""))
        assert memory <= found.available_mib


def test_a_full_disk_is_foreseen(
    look: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        "ftlab.methods.inspection.shutil.disk_usage", lambda _: usage._replace(free=1_000_000)
    )
    config = {"model": str(tiny), "data": rows_file(tmp_path, sft_rows()), "probe": False}
    assert told(look(**config), "warning") == []
    ((field, text),) = told(look(**config, checkpoint={"every_steps": 1, "keep": 9}), "warning")
    assert (field, "checkpoint.keep is 9" in text) == ("checkpoint", True)


def test_an_earlier_run_of_the_same_kind_is_gone_by(look: Any, tiny: Path, tmp_path: Path) -> None:
    config = RunConfig(model=str(tiny), data=rows_file(tmp_path, sft_rows(40)), batch_size=8, threads=1)
    run = Run.create(config.with_(name="earlier", max_steps=30))
    start = Started(1000.0, run.name, 1, "cpu", {}, 20_000, 20_000, 40, 30, "0" * 12)
    path = run.folder / "events.jsonl"
    append(path, start)
    for step in range(1, 31):
        append(path, Measured(1000.0 + 0.5 * step, step, 0.0, {"loss": 1.0, "memory_mib": 321.0}))
    append(path, Ended(1016.0, 30, "finished", ""))
    (run.folder / "process.json").write_text("{}")
    found = look(config.with_(max_steps=100, learning_rate=1e-3))
    assert found.source == "earlier runs"
    assert found.memory_mib == 321.0
    assert found.seconds == pytest.approx(100 * 0.5, rel=0.1)
    assert look(config, batch_size=4, probe=False).source == "estimate"  # another kind of run
    assert len(runs()) == 1, "a check makes no run"


def test_a_trial_that_fails_is_told_and_not_raised(
    look: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: Any) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(probe, "try_out", burst)
    found = look(model=str(tiny), data=rows_file(tmp_path, sft_rows()))
    assert told(found, "error") == [("method", "the first steps fail: MemoryError: no more")]
    assert found.source == "estimate"


def test_a_trial_that_ends_its_process_is_told(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Iterator[dict[str, Any]]:
        yield {"surveyed": True}
        raise RunError("the process that was answering has ended (killed, or out of memory?)")

    monkeypatch.setattr("ftlab.preflight.request", dying)
    found = check(model=str(tiny), data=rows_file(tmp_path, sft_rows()))
    ((field, text),) = told(found, "error")
    assert (field, "when memory runs out" in text) == ("method", True)


def test_a_line_through_the_trial_meets_the_usual_size_and_is_never_negative() -> None:
    fixed, each = probe.line([(10, 1.0), (10, 1.2), (100, 2.0), (100, 2.0)])
    assert fixed + 100 * each == pytest.approx(2.0)
    assert fixed + 10 * each == pytest.approx(1.1)
    assert probe.line([(10, 5.0), (100, 2.0)])[1] == 0.0
    assert probe.line([(50, 1.0)]) == (0.0, 0.02)


def test_memory_grows_with_tokens_and_shrinks_with_what_is_frozen() -> None:
    shape = Shape(135_000_000, 28_000_000, 576, 30, 1536, 192, 49_152)
    whole = Setting(trained=135_000_000, tokens=200)
    take = footprint.memory_mib
    assert take(shape, whole, libraries=0) == pytest.approx(135e6 * 16 / 2**20, rel=0.25)
    assert take(shape, Setting(trained=135_000_000, tokens=4_000)) > take(shape, whole)
    low = Setting(trained=1_000_000, tokens=200, weights="bfloat16")
    assert take(shape, low) < take(shape, whole) / 1.5
    assert take(shape, Setting(trained=1_000_000, tokens=200, weights="nf4")) < take(shape, low)
    assert take(shape, Setting(trained=1_000_000, tokens=2_000, checkpointing=True)) < take(
        shape, Setting(trained=1_000_000, tokens=2_000)
    )


def test_findings_are_text_and_never_html() -> None:
    found = Preflight([Finding("error", "model", "<script>alert(1)</script>")])
    assert "<script>" not in found._repr_html_()
    assert not found.fits


def test_the_shell_says_the_same_and_its_code_tells_whether_to_start(
    look: Any, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftlab.cli import main

    config = RunConfig(model=str(tiny), data=rows_file(tmp_path, sft_rows()), threads=1)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert main(["check", str(tmp_path / "run.yaml"), "--no-probe", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["source"], said["rows"], said["ready"]) == ("estimate", 24, True)
    assert main(["check", str(tmp_path / "run.yaml"), "--set", "data.train=/nowhere.jsonl"]) == 1
    assert "error   data.train: /nowhere.jsonl: no such file" in capsys.readouterr().out
