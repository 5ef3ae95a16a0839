"""A configuration says what is wrong with it, and comes back the same from every form it is written in."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.config import NAME, RunConfig, slug
from ftlab.errors import ConfigError
from ftlab.methods.dpo import DPO
from ftlab.methods.lora import LoRA
from ftlab.methods.sft import SFT


def complaint(**values):
    with pytest.raises(ConfigError) as caught:
        RunConfig(**values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"epohcs": 3}, ["epohcs: no such key (value 3); did you mean 'epochs'?"]),
        (
            {"method": {"kind": "lora", "rnak": 3}},
            ["method.rnak: no such key (value 3); did you mean 'rank'?"],
        ),
        (
            {"method": {"kind": "dpo", "adapter": {"rnk": 3}}},
            ["method.adapter.rnk: no such key (value 3); did you mean 'rank'?"],
        ),
        ({"method": "lroa"}, ["method: there is no 'lroa'; did you mean 'lora'?"]),
        ({"method": {"rank": 3}}, ["method: has no 'kind' to say which method it is: {\"rank\": 3}"]),
        ({"method": {"kind": "lora", "rank": -1}}, ["method.rank: input should be greater than 0, not -1"]),
        (
            {"data": {"mask": "none"}},
            ["data.mask: input should be 'completion', 'assistant' or 'all', not \"none\""],
        ),
        ({"epochs": float("nan")}, ["epochs: input should be a finite number, not NaN"]),
        ({"zzz": 1}, ["zzz: no such key (value 1); there are name, model, method"]),
    ],
)
def test_an_error_names_path_value_and_way_out(values, wanted):
    for line in wanted:
        assert line in complaint(**values)


def test_every_fault_gets_its_line():
    lines = complaint(method={"kind": "lora", "rank": 0, "drop": 1}, epochs=-1, sead=3).splitlines()
    assert [line.split(":")[0] for line in lines] == ["method.rank", "method.drop", "epochs", "sead"]


def test_a_section_alone_complains_in_the_same_way():
    with pytest.raises(ConfigError, match="rank: input should be greater than 0, not 0"):
        LoRA(rank=0)


@pytest.mark.parametrize(
    "name", ["../x", ".hidden", "a/b", "Größe", "a b", "x" * 81, "-" * 90, "a\n", "%2e%2e"]
)
def test_a_name_that_is_no_plain_folder_is_refused(name):
    assert complaint(name=name).startswith("name: ")


@given(st.text(max_size=200))
def test_a_made_name_is_always_a_plain_folder(text):
    assert NAME.fullmatch(slug(text))


def test_an_unnamed_run_is_called_after_method_and_model():
    assert RunConfig(method="lora").title == "lora-wren"
    assert RunConfig(method="dpo", model="run:First").title == "dpo-first"
    assert RunConfig(model="HuggingFaceTB/SmolLM2-135M").title == "sft-smollm2-135m"


def test_bare_strings_stand_for_a_method_and_for_rows():
    config = RunConfig(method="lora", data="rows.jsonl")
    assert config.method == LoRA()
    assert config.data.train == "rows.jsonl"


def test_the_embedded_rows_follow_the_method_until_rows_are_named():
    assert RunConfig().data.train == "wren:sft"
    assert RunConfig().with_(method="dpo").data.train == "wren:preferences"
    assert RunConfig(data="a.jsonl").with_(method="dpo").data.train == "a.jsonl"


def test_the_learning_rate_is_the_methods_own_unless_one_is_given():
    assert RunConfig(method=SFT(learning_rate=1e-4)).peak_learning_rate == 1e-4
    assert RunConfig(method=SFT(learning_rate=1e-4), learning_rate=1e-3).peak_learning_rate == 1e-3


def test_with_changes_one_field_and_keeps_the_rest():
    config = RunConfig(method=LoRA(rank=16, dropout=0.1))
    assert config.with_(**{"method.rank": 4}).method == LoRA(rank=4, dropout=0.1)
    assert RunConfig(method="dpo").with_(**{"method.adapter.rank": 2}).method == DPO(adapter=LoRA(rank=2))
    assert config.with_(**{"trainer.optim": "sgd"}).trainer == {"optim": "sgd"}
    assert config.with_(method=SFT()).method == SFT()
    assert config.with_() == config


def test_with_takes_text_as_the_shell_gives_it():
    config = RunConfig(method="lora").with_(**{"epochs": "2", "learning_rate": "1e-4", "method.rank": "4"})
    assert (config.epochs, config.learning_rate, config.method.rank) == (2.0, 1e-4, 4)


def test_with_checks_the_whole_again():
    with pytest.raises(ConfigError, match=r"method.rnk: no such key \(value 4\); did you mean 'rank'"):
        RunConfig(method="lora").with_(**{"method.rnk": 4})


def test_a_configuration_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        RunConfig().epochs = 3


CONFIGS = [
    RunConfig(),
    RunConfig(
        method=DPO(adapter=LoRA(targets=["q_proj"])), epochs=0.5, max_steps=3, trainer={"a": [1, {"b": None}]}
    ),
    RunConfig(
        method="lora",
        data={"train": "Ü ü.jsonl", "max_rows": 3},
        evaluate={"prompts": ["a\nb", "yes", "1e3"]},
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_and_yaml_bring_back_an_equal_configuration(config, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert RunConfig.from_yaml(path) == config
    assert RunConfig.from_json(config.to_json()) == config


def test_the_written_form_holds_every_field_so_that_new_defaults_change_nothing_old():
    assert set(RunConfig().to_dict()) == set(RunConfig.model_fields)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("epochs: 2\nepochs: 3\n", ":2:1: 'epochs' is there twice"),
        ("method: [\n", ":2:1: not YAML"),
        ("- 1\n", "expected keys and values, not list"),
        ("epohcs: 1\n", "did you mean 'epochs'"),
        ("learning_rate: 1e-4x\n", "learning_rate: input should be a valid number"),
        ("a: !!python/object/apply:os.getcwd []\n", "not YAML"),
        ("", "expected keys and values, not NoneType"),
    ],
)
def test_a_faulty_file_is_told_with_its_place(text, wanted, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert wanted in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="none.yaml: cannot be read"):
        RunConfig.from_yaml(tmp_path / "none.yaml")


def test_yaml_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("learning_rate: 1e-4\n")  # text, by YAML 1.1
    assert RunConfig.from_yaml(path).learning_rate == 1e-4


def test_a_runs_own_copy_holds_no_relative_path(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    config = RunConfig(model="model", data={"train": "rows.jsonl", "eval": "wren:sft"}).anchored(tmp_path)
    assert config.model == str(tmp_path / "model")
    assert config.data.train == str(tmp_path / "rows.jsonl")
    assert config.data.eval == "wren:sft"
    assert RunConfig(model="org/model").anchored(tmp_path).model == "org/model"


def numbers(schema):
    if isinstance(schema, dict):
        if schema.get("type") in ("number", "integer"):
            yield schema
        for inner in schema.values():
            yield from numbers(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from numbers(inner)


def test_every_field_explains_itself_and_every_number_has_a_range():
    schema = RunConfig.json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [
        (name, field)
        for section in sections
        for name, field in section.get("properties", {}).items()
        if name != "kind"
    ]
    assert len(fields) > 30
    assert [name for name, field in fields if len(field.get("description", "")) < 20] == []
    ranges = {"minimum", "exclusiveMinimum", "enum"}
    del schema["$defs"]["JsonValue"]
    assert [number for number in numbers(schema) if not ranges & set(number)] == []
    json.dumps(schema)


def test_importing_config_loads_no_training_library():
    code = "import sys; import ftlab.config; print(sorted({'torch', 'trl', 'pandas', 'yaml'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
