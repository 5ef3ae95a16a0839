"""What references name, and what is refused at the door."""

import json
import shutil

import pytest
import tiny

from ftlab import models
from ftlab.errors import ModelError
from ftlab.home import home


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base):
    return tiny.save_adapter(tmp_path_factory.mktemp("adapters") / "adapter", base)


def run_of(adapter, name, **base_facts):
    """A run as a trainer leaves it: its adapter with a manifest that names the base and its hash."""
    folder = home() / "runs" / name / "model"
    shutil.copytree(adapter, folder)
    (folder / "manifest.json").write_text(json.dumps({"base": base_facts}), "utf-8")
    return folder


def test_a_folder_is_its_own_base_and_keeps_its_tokenizer(base):
    source = models.resolve(str(base))
    assert (source.kind, source.base, source.adapter) == ("folder", base, None)
    assert models.base_folder(str(base)) == (base, base)


def test_an_adapter_folder_leads_to_the_base_that_it_names(base, adapter):
    source = models.resolve(str(adapter))
    assert (source.base, source.adapter) == (base, adapter)
    assert models.base_folder(str(adapter)) == (base, base)


def test_a_run_leads_to_its_adapter_and_the_recorded_base(base, adapter):
    folder = run_of(adapter, "first", reference=str(base), sha256=models.base_sha256(base))
    source = models.fetch(models.resolve("run:first"))
    assert (source.kind, source.base, source.adapter) == ("run", base, folder)


def test_an_adapter_of_other_weights_is_refused_with_both_hashes(tmp_path, base, adapter):
    other = tiny.save_model(tmp_path / "other", seed=5)
    run_of(adapter, "moved", reference=str(other), sha256=models.base_sha256(base))
    with pytest.raises(ModelError) as caught:
        models.fetch(models.resolve("run:moved"))
    assert models.base_sha256(base)[:12] in str(caught.value)
    assert models.base_sha256(other)[:12] in str(caught.value)


def test_an_adapter_of_another_shape_is_refused_even_where_no_hash_was_recorded(tmp_path, adapter):
    other = tiny.save_model(tmp_path / "other", width=64)
    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    settings = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": str(other)})
    )
    with pytest.raises(ModelError, match="does not fit"):
        models.load(str(moved))


def test_an_adapter_that_lacks_layers_of_its_base_is_refused(tmp_path, base, adapter):
    from safetensors.torch import load_file, save_file

    part = tmp_path / "part"
    shutil.copytree(adapter, part)
    weights = load_file(part / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if "layers.1." not in k}, part / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="missing .*layers.1"):
        models.load(str(part))


def test_an_adapter_that_names_no_base_says_where_to_write_it(tmp_path, adapter):
    nameless = tmp_path / "nameless"
    shutil.copytree(adapter, nameless)
    settings = json.loads((nameless / "adapter_config.json").read_text())
    (nameless / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        models.resolve(str(nameless))


def test_an_adapter_on_an_adapter_and_a_circle_are_refused(base, adapter):
    run_of(adapter, "inner", reference=str(base))
    run_of(adapter, "outer", reference="run:inner")
    run_of(adapter, "snake", reference="run:snake")
    with pytest.raises(ModelError, match="itself an adapter"):
        models.resolve("run:outer")
    with pytest.raises(ModelError, match="names itself"):
        models.resolve("run:snake")


def test_pickled_weights_are_refused_unread(tmp_path, base):
    folder = tmp_path / "pickled"
    shutil.copytree(base, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*save_pretrained"):
        models.resolve(str(folder))


def test_a_shard_that_is_missing_is_named(tmp_path, base):
    folder = tmp_path / "sharded"
    shutil.copytree(base, folder)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"model-2\.safetensors"):
        models.resolve(str(folder))


def test_weights_that_were_cut_short_are_refused(tmp_path, base):
    folder = tmp_path / "cut"
    shutil.copytree(base, folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        models.load(str(folder))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("wern", "did you mean 'wren'"),
        ("./nowhere", "no folder"),
        ("run:nothing", "no run 'nothing'"),
        ("run:../../etc", "no name of a run"),
        ("", "no model is called"),
        ("nobody/has-this-model", "not on this disk"),
    ],
)
def test_a_wrong_reference_is_told_with_the_way_out(reference, words):
    with pytest.raises(ModelError, match=words):
        models.fetch(models.resolve(reference))


def test_a_run_without_a_model_says_so(base):
    (home() / "runs" / "young").mkdir(parents=True)
    with pytest.raises(ModelError, match="saved no model yet"):
        models.resolve("run:young")


def test_code_in_a_folder_is_never_run(tmp_path, base):
    folder = tmp_path / "remote"
    shutil.copytree(base, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "model_type": "mine",
        "auto_map": {"AutoModelForCausalLM": "mine.Model", "AutoConfig": "mine.Config"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError):
        models.load(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path, base):
    folder = tmp_path / "wide"
    shutil.copytree(base, folder)
    wide = tiny.tokenizer()
    wide.add_tokens(["one more"])
    wide.save_pretrained(folder)
    with pytest.raises(ModelError, match="tokenizer .* has ids up to 261"):
        models.load(str(folder))


def test_resolving_loads_no_torch():
    import subprocess
    import sys

    code = "import sys; from ftlab import models; models.resolve; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
