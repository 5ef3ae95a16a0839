"""A configuration as YAML, Python and a command line, and back."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab import snippets
from ftlab.config import RunConfig
from ftlab.errors import ConfigError
from ftlab.presets import presets

WAYS = {
    "yaml": (snippets.to_yaml, snippets.from_yaml),
    "python": (snippets.to_python, snippets.from_python),
    "shell": (snippets.to_shell, snippets.from_shell),
}
TEXT = st.text(max_size=20)
SOME = st.text(min_size=1, max_size=20)
SMALL = st.floats(1e-6, 1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def some(**fields):
    """Any subset of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


ADAPTER = some(
    rank=st.integers(1, 64), alpha=st.none() | SMALL, dropout=st.floats(0, 0.9),
    targets=st.sampled_from(["all-linear", "attention"]) | st.lists(st.sampled_from(["q_proj", "v_proj", "a b", "1"]), min_size=1, unique=True),
)  # fmt: skip
LORA = some(rank=st.integers(1, 64), rslora=st.booleans(), plus=st.none() | st.floats(1, 256))
OBJECTIVE = st.sampled_from(["hinton", "word", "sequence", "gkd", "minillm"]) | st.builds(
    lambda beta: {"kind": "gkd", "beta": beta}, st.floats(0, 1)
)
METHOD = st.one_of(
    st.sampled_from(["sft", "lora", "qlora", "dylora", "prompt_tuning", "prefix_tuning", "p_tuning", "ia3", "dpo", "reward"]),
    ADAPTER.map(lambda tree: {"kind": "lora", **tree}),
    st.builds(lambda block, tree: {"kind": "qlora", "block": block, **tree}, st.sampled_from([32, 64, 128, 256]), LORA.map(lambda t: {k: v for k, v in t.items() if k == "rank"})),
    st.builds(lambda tokens, text: {"kind": "prompt_tuning", "tokens": tokens, "start": "text", "text": f"x{text}"}, st.integers(1, 9), TEXT),
    st.builds(lambda context, adapter: {"kind": "context_distillation", "context": f"x{context}", "adapter": adapter}, TEXT, st.none() | LORA),
    st.builds(lambda teacher, objective, adapter: {"kind": "distillation", "teacher": f"x{teacher}", "objective": objective, "adapter": adapter}, TEXT, OBJECTIVE, st.none() | LORA),
    st.builds(lambda beta, adapter: {"kind": "dpo", "beta": beta, "adapter": adapter}, SMALL, st.none() | LORA),
)  # fmt: skip
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[a-z0-9_-][a-z0-9._-]{0,20}", fullmatch=True),
        "model": SOME,
        "method": METHOD,
        "data": SOME | some(train=SOME, eval=st.none() | SOME, max_length=st.integers(8, 4096), mask=st.sampled_from(["completion", "all"])),
        "epochs": SMALL, "max_steps": st.none() | st.integers(1, 10**9), "learning_rate": st.none() | SMALL, "seed": st.integers(0, 2**32 - 1),
        "evaluate": some(prompts=st.lists(TEXT, max_size=3), every_steps=st.none() | st.integers(1, 99)),
        "early_stopping": st.none() | some(patience=st.integers(1, 9), keep_best=st.booleans()),
        "trackers": st.lists(st.sampled_from(["trackio", "tensorboard", "wandb"]), unique=True),
        "trainer": st.dictionaries(TEXT, JSON, max_size=3),
    },
).filter(lambda fields: not RunConfig.faults(fields)).map(RunConfig.from_dict)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)  # the machine may be busy
@given(config=CONFIGS)
def test_any_configuration_comes_back_from_its_text(way, config):
    to_text, from_text = WAYS[way]
    text = to_text(config)
    assert from_text(text) == config
    assert snippets.language(text) == way
    assert snippets.read(text) == config


@pytest.mark.parametrize("way", WAYS)
def test_only_what_differs_is_said(way):
    config = RunConfig(method={"kind": "lora", "rank": 4}, epochs=2)
    assert len(WAYS[way][0](config).split()) <= 17
    assert "rank" in WAYS[way][0](config) and "alpha" not in WAYS[way][0](config)


def test_the_python_text_is_a_cell_that_runs():
    config = RunConfig(
        name="x",
        method={"kind": "dpo", "adapter": {"rank": 4}},
        evaluate={"prompts": ['say "hi"\n\u2028', "ok" * 60]},
    )
    taken = {}
    text = snippets.to_python(config)
    assert text.startswith("from ftlab import launch\n")
    exec(text.partition("\n")[2], {"launch": lambda **fields: taken.update(fields)})
    assert RunConfig.from_dict(taken) == config


def test_the_shell_text_is_what_the_command_takes(monkeypatch, tmp_path):
    import shlex

    from ftlab import cli

    asked = []
    monkeypatch.setattr(cli, "train", lambda options: asked.append(cli._config(options)))
    config = presets()[5].config.with_(
        **{"evaluate.prompts": ["who's there?", "a\nb"], "trainer": {"a.b": 1}}
    )
    cli.main(shlex.split(snippets.to_shell(config).replace("\\\n", " "))[1:])
    assert asked == [config]


def test_prompts_are_legible_in_the_shell_text():
    config = presets()[0].config.with_(**{"evaluate.prompts": ["Where does Tom live?"]})
    assert "--set 'evaluate.prompts=[\"Where does Tom live?\"]'" in snippets.to_shell(config)


@pytest.mark.parametrize("text", [
    'launch(model="wren", method="lora", epochs=2)',
    'import ftlab\nrun = ftlab.launch(model="wren", method=dict(kind="lora"), epochs=4 / 2).wait()',
    'from ftlab import RunConfig, launch\nepochs = 2\nconfig = RunConfig(method="lora", epochs=epochs)\nrun = launch(config)\nrun',
    'config: RunConfig = RunConfig(method="lora")\nlaunch(config, epochs=1 + 1)',
    'RunConfig(method=LoRA(), **{"epochs": 2})',
    "%load_ext something\n!ls\nRunView(launch(method='lora', epochs=2,))",
    "Launch(RunConfig(method=('lora'), epochs=2.0))",
    "$ ftlab train --set method=lora --set=epochs=2 --detach",
    "!ftlab train \\\n  --set method=lora \\\n  --set 'epochs=2' # comment",
    "python -m ftlab train --set method=lora --set epochs=2",
    "# lesson\nmethod: lora\nepochs: 2\n",
    '{"method": "lora", "epochs": 2}',
])  # fmt: skip
def test_people_write_it_in_many_ways(text):
    if text.startswith("%load"):
        text = text.replace(
            "RunView(launch(method='lora', epochs=2,))", "run = launch(method='lora', epochs=2,)"
        )
    assert snippets.read(text) == RunConfig(method="lora", epochs=2)


def test_a_command_with_a_file_reads_it(tmp_path):
    (tmp_path / "a run.yaml").write_text("method: lora\nepochs: 2\n")
    assert snippets.read(f"ftlab train '{tmp_path / 'a run.yaml'}' --set method.rank=3") == RunConfig(
        method={"kind": "lora", "rank": 3}, epochs=2
    )


@pytest.mark.parametrize(("text", "told"), [
    ("method:\n  kind: lora\n  rnak: 3\n", "line 3, column 3: method.rnak: no such key (value 3); did you mean 'rank'?"),
    ("epochs: 1\nepochs: 2\n", "line 2, column 1: 'epochs' is there twice"),
    ("a: b: c", "line 1, column 5: not YAML: "),
    ("just words", "this is no configuration: expected YAML such as"),
    ("evaluate:\n  prompts: [a, 3]", "line 2, column 16: evaluate.prompts.1: "),
    ("launch(\n  model='wren',\n  method={'kind': 'lora', 'rank': 0})", "line 3, column 27: method.rank: input should be greater than 0, not 0"),
    ("launch(model=", "line 1, column 7: not Python: "),
    ("launch(model=os.environ['x'])", "line 1, column 14: only plain values are read here"),
    ("launch(model=open('x').read())", "line 1, column 14: read is not executed"),
    ("launch(model=name)", "line 1, column 14: name is not known here"),
    ("launch(epochs='a' * 10**9)", "line 1, column 21: only plain values"),
    ("launch(epochs=1 / 0)", "line 1, column 15: only plain values"),
    ("launch(method=LoRA(4))", "line 1, column 20: LoRA takes its fields by name"),
    ("launch(method=LoRa(rank=4))", "line 1, column 15: LoRa is not executed; did you mean 'LoRA'?"),
    ("launch(data={'train': 'a', 'train': 'b'})", "line 1, column 28: 'train' is there twice"),
    ("ftlab train --set method=lora --set method.rank=x", "line 1, column 37: method.rank: "),
    ("ftlab train \\\n  --set 'epochs=[' ", "line 2, column 9: epochs: not YAML: '['"),
    ("ftlab train --set epochs", "line 1, column 19: 'epochs' is not PATH=VALUE"),
    ("ftlab train --sat epochs=2", "line 1, column 13: '--sat' is no option"),
    ("ftlab train --set 'epochs=2", "line 1, column 19: not a command: no closing quotation"),
    ("ftlab runs", "this is no `ftlab train` command"),
])  # fmt: skip
def test_a_fault_is_told_with_its_place(text, told):
    with pytest.raises(ConfigError) as caught:
        snippets.read(text)
    assert str(caught.value).startswith(told), str(caught.value)


def test_nothing_that_is_pasted_is_executed(tmp_path):
    trace = tmp_path / "trace"
    for text in (
        f"launch(model=open({str(trace)!r}, 'w').name)",
        f"launch(model=__import__('pathlib').Path({str(trace)!r}).touch())",
        f"ftlab train --set model=$(touch {trace})",
    ):
        with contextlib.suppress(ConfigError):
            snippets.read(text)
    assert not trace.exists()


@given(TEXT)
def test_any_text_is_a_configuration_or_told_why_not(text):
    for read in (snippets.read, snippets.from_yaml, snippets.from_python, snippets.from_shell):
        with contextlib.suppress(ConfigError):
            assert isinstance(read(text), RunConfig)
