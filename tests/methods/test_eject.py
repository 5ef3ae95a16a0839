"""Scripts without the lab: they read well, run by themselves, and do what the run does."""

import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ftlab import methods
from ftlab.cli import main
from ftlab.config import RunConfig
from ftlab.events import Measured
from ftlab.presets import presets
from ftlab.scripts import eject
from tests.methods.conftest import preference_rows, sft_rows, told

METHODS = {
    "sft": {"kind": "sft", "neftune_alpha": 5.0},
    "lora": {"kind": "lora", "rank": 4},
    "lora_dora": {"kind": "lora", "rank": 4, "dora": True, "rslora": True, "start": "gaussian", "plus": 16},
    "lora_pissa": {"kind": "lora", "rank": 4, "start": "pissa"},
    "qlora": {"kind": "qlora", "rank": 4, "targets": ["q_proj"]},
    "dylora": {"kind": "dylora", "rank": 4},
    "prompt_random": {"kind": "prompt_tuning", "tokens": 4, "start": "random"},
    "prompt_text": {"kind": "prompt_tuning", "tokens": 4, "start": "text", "text": "ann sings"},
    "prefix_tuning": {"kind": "prefix_tuning", "tokens": 4},
    "p_tuning": {"kind": "p_tuning", "tokens": 4, "width": 16},
    "ia3": {"kind": "ia3"},
    "context_by_texts": {
        "kind": "context_distillation",
        "context": "loud",
        "loss": "sft",
        "max_new_tokens": 4,
    },
    "context_by_odds": {"kind": "context_distillation", "context": "loud", "max_new_tokens": 4},
    "hinton": {"kind": "distillation", "teacher": "TINY"},
    "word": {"kind": "distillation", "teacher": "TINY", "objective": "word", "adapter": {"rank": 4}},
    "sequence": {"kind": "distillation", "teacher": "TINY", "objective": "sequence", "max_new_tokens": 4},
    "gkd": {"kind": "distillation", "teacher": "TINY", "objective": "gkd", "max_new_tokens": 4},
    "minillm": {"kind": "distillation", "teacher": "TINY", "objective": "minillm", "max_new_tokens": 4},
    "dpo": {"kind": "dpo", "adapter": {"rank": 4}},
    "dpo_of_every_weight": {"kind": "dpo"},
    "reward": {"kind": "reward"},
}
WITH_FTLAB = {"dylora", "context_by_odds", "minillm"}
OTHERS = {"packed", "all", "completion", "plain", "text", "watched"}

DRIVER = """
import json, runpy, sys, warnings
warnings.simplefilter("ignore")
losses = {}
for path in sys.argv[2:]:
    done = runpy.run_path(path, run_name="__main__")
    if "trainer" in done:
        losses[path] = [line["loss"] for line in done["trainer"].state.log_history if "loss" in line]
    else:
        losses[path] = [line["loss"] for line in done["run"].metrics() if "loss" in line]
with open(sys.argv[1], "w") as file:
    json.dump(losses, file)
"""


def config_of(name, tiny, rows, **fields):
    method = {
        key: str(tiny) if value == "TINY" else value
        for key, value in METHODS.get(name, {"kind": "sft"}).items()
    }
    common = {
        "model": str(tiny),
        "method": method,
        "data": {"train": str(rows), "max_length": 64},
        "batch_size": 8,
    }
    return RunConfig.from_dict(common | {"max_steps": 2, "device": "cpu", "threads": 1} | fields)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """{name: (script, losses)} of every script, all run in one process that never sees this one."""
    folder = tmp_path_factory.mktemp("ejected")
    answered, preferred = (
        written(folder / "rows.jsonl", sft_rows()),
        written(folder / "pairs.jsonl", preference_rows()),
    )
    plain = [
        {"prompt": "who is ann ", "completion": f"ann sings {word}"} for word in "loud soft well".split()
    ] * 4
    configs = {
        name: config_of(name, tiny, preferred if method["kind"] in {"dpo", "reward"} else answered)
        for name, method in METHODS.items()
    }
    data = {"train": str(answered), "max_length": 64}
    configs |= {
        "packed": config_of("lora", tiny, answered, data=data | {"packing": True}),
        "all": config_of("sft_plain", tiny, answered, data=data | {"mask": "all"}),
        "completion": config_of("sft_plain", tiny, answered, data=data | {"mask": "completion"}),
        "plain": config_of("sft_plain", tiny, written(folder / "plain.jsonl", plain)),
        "text": config_of("sft_plain", tiny, written(folder / "text.jsonl", [{"text": row["completion"]} for row in plain])),
        "watched": config_of(
            "lora", tiny, answered, data=data | {"eval": str(answered)}, evaluate={"prompts": ["hi"], "max_new_tokens": 3, "every_steps": 1},
            early_stopping={"patience": 2}, checkpoint={"every_steps": 1}, schedule="constant", trainer={"adam_beta2": 0.9},
        ),
    }  # fmt: skip
    scripts = {name: folder / f"{name}.py" for name in configs}
    texts = {name: eject(config, scripts[name]) for name, config in configs.items()}
    (folder / "driver").write_text(DRIVER)
    command = [
        sys.executable,
        str(folder / "driver"),
        str(folder / "losses.json"),
        *map(str, scripts.values()),
    ]
    environment = os.environ | {
        "FTLAB_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-4000:]}"
    losses = json.loads((folder / "losses.json").read_text())
    return {name: (texts[name], losses[str(path)]) for name, path in scripts.items()}


@pytest.mark.parametrize("name", [*METHODS, *sorted(OTHERS)])
def test_a_script_trains_by_itself(ran, name):
    text, losses = ran[name]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    assert ("import Run" in text) == (name in WITH_FTLAB)
    assert ("ftlab" in text.split('"""')[2]) == (name in WITH_FTLAB)


@pytest.mark.parametrize(("name", "fields"), [
    ("lora", {}), ("lora_dora", {}), ("lora_pissa", {}), ("ia3", {}), ("hinton", {}), ("dpo", {}), ("dpo_of_every_weight", {}),
    ("all", {"data": {"mask": "all"}}), ("completion", {"data": {"mask": "completion"}}),
])  # fmt: skip
def test_a_script_loses_what_the_run_loses(ran, tiny, make_run, name, fields):
    rows = preference_rows() if name.startswith("dpo") else sft_rows()
    method = config_of(name, tiny, "x.jsonl").method
    folder = make_run(name.replace("_", "-"), rows, method=method, max_steps=2)
    if fields:
        config = RunConfig.from_json((folder / "config.json").read_text())
        (folder / "config.json").write_text(
            config.with_({f"data.{key}": value for key, value in fields["data"].items()}).to_json()
        )
    methods.train(folder)
    assert ran[name][1] == pytest.approx([event.values["loss"] for event in told(folder, Measured)], abs=1e-3)


def test_scripts_are_clean_and_well_laid_out(ran, tmp_path):
    for name, (text, _) in ran.items():
        (tmp_path / f"{name}.py").write_text(text)
    for order in (["check", "--select", "E,F,I,UP,B,SIM,C4,RET,PIE"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *order, "--isolated", "--line-length", "110", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_rows_of_the_embedded_world_lie_beside_the_script(tmp_path):
    text = eject(RunConfig(data={"train": "wren:sft", "max_rows": 7}), tmp_path / "train.py")
    assert (tmp_path / "train.py").read_text() == text
    assert len((tmp_path / "wren-sft.jsonl").read_text().splitlines()) == 7
    assert len((tmp_path / "wren-sft-eval.jsonl").read_text().splitlines()) == 128


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.title)
def test_every_preset_has_a_script(preset):
    compile(eject(preset.config), "train.py", "exec")


def test_the_shell_writes_a_script(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text("method: lora\nepochs: 3\n")
    assert main(shlex.split(f"eject {config} --set method.rank=5")) == 0
    text = capsys.readouterr().out
    assert "r=5" in text and "num_train_epochs=3.0" in text
    assert main(shlex.split(f"eject {config} -o {tmp_path / 'out' / 'train.py'}")) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train.py",
        "wren-sft.jsonl",
        "wren-sft-eval.jsonl",
    }


def test_a_script_reads_a_named_file_where_it_lies(tmp_path):
    rows = written(tmp_path / "my rows.jsonl", sft_rows())
    assert f'TRAIN = "{rows}"' in eject(RunConfig(data=str(rows)))
    assert sorted(Path(tmp_path).iterdir()) == [rows]
