"""Blends and cuts: what they are written like, what they compute, and what is refused at the door."""

import json
import shutil

import pytest
import tiny
import torch

from ftlab import models
from ftlab.answers import Sampling
from ftlab.errors import ModelError
from ftlab.home import home
from ftlab.models import mixtures

SAMPLING = Sampling(max_new_tokens=12, temperature=0.9, seed=3)
IDS = torch.tensor([[9, 40, 41, 42, 43, 44]])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixtures")
    base = tiny.save_model(folder / "base")
    return {
        "base": base,
        "a": tiny.save_adapter(folder / "a", base, seed=1),
        "b": tiny.save_adapter(folder / "b", base, seed=2, r=8, target_modules=["q_proj", "up_proj"]),
        "rs": tiny.save_adapter(folder / "rs", base, seed=3, use_rslora=True),
        "dora": tiny.save_adapter(folder / "dora", base, seed=4, use_dora=True),
        "ia3": tiny.save_soft(folder / "ia3", base, kind="ia3"),
        "other": tiny.save_adapter(folder / "other", tiny.save_model(folder / "second", seed=9), seed=1),
    }


@pytest.fixture(autouse=True)
def runs(own_home, world):
    """`run:a` and so on, as trainers leave them."""
    for name in world.keys() - {"base"}:
        shutil.copytree(world[name], home() / "runs" / name / "model")


def logits(model):
    forward = model.base.forward_for([model.adapter] * len(IDS))
    with torch.inference_mode():
        return forward(range(len(IDS)), input_ids=IDS).logits


def summed(world, *parts):
    """The base with weight x alpha / rank x B A added to its weights, in 64 bits, by hand."""
    from safetensors.torch import load_file
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(world["base"])
    for name, weight, rank in parts:
        tensors = load_file(world[name] / "adapter_model.safetensors")
        settings = json.loads((world[name] / "adapter_config.json").read_text())
        power = 0.5 if settings["use_rslora"] else 1
        for key in tensors:
            if ".lora_A." in key:
                layer = model.get_submodule(key.removeprefix("base_model.model.").partition(".lora_")[0])
                a, b = tensors[key].double(), tensors[key.replace("lora_A", "lora_B")].double()
                ranks = rank or len(a)
                change = weight * settings["lora_alpha"] / ranks**power * (b[:, :ranks] @ a[:ranks])
                layer.weight.data = (layer.weight.double() + change).float()
    with torch.inference_mode():
        return model.eval()(IDS).logits


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("0.7*run:a + -0.5*run:b", [("a", 0.7, None), ("b", -0.5, None)]),
        ("-1*run:a", [("a", -1.0, None)]),
        ("run:a + run:b", [("a", 1.0, None), ("b", 1.0, None)]),
        ("run:a@2", [("a", 1.0, 2)]),
        ("run:rs@1", [("rs", 1.0, 1)]),
        ("1.5*run:b@3 + 0.25*run:rs + -2*run:a@1", [("b", 1.5, 3), ("rs", 0.25, None), ("a", -2.0, 1)]),
    ],
)
def test_a_mixture_is_the_sum_of_its_parts(world, reference, parts):
    model = models.load(reference)
    assert (logits(model) - summed(world, *parts)).abs().max() < 1e-5
    assert (logits(model) - logits(models.load(str(world["base"])))).abs().max() > 0.01


def test_folders_are_blended_and_cut_like_runs(world):
    by_folder = models.load(f"0.5*{world['a']} + 0.5*{world['b']}@4")
    by_run = models.load("0.5*run:a + 0.5*run:b@4")
    assert by_folder.fingerprint(SAMPLING) == by_run.fingerprint(SAMPLING)
    assert torch.equal(logits(by_folder), logits(by_run))


def test_mixtures_adapters_and_the_base_in_one_batch_equal_separate_forwards(world):
    references = ["run:a", "run:b", "0.7*run:a + -0.5*run:b", "run:b@2", str(world["base"]), "run:rs"]
    loaded = sorted(map(models.load, references), key=lambda model: model.base.place(model.adapter))
    names = [model.adapter for model in loaded]
    with torch.inference_mode():
        mixed = (
            loaded[0].base.forward_for(names)(range(len(names)), input_ids=IDS.repeat(len(names), 1)).logits
        )
    for row, model in enumerate(loaded):
        assert (mixed[row] - logits(model)[0]).abs().max() < 1e-5
    answers = {
        piece[1].reference: piece[1].text
        for piece in models.stream(loaded, ["Hi"], SAMPLING)
        if isinstance(piece, tuple)
    }
    assert answers == {model.reference: model.generate(["Hi"], SAMPLING)[0].text for model in loaded}


def test_another_weight_stores_no_other_tensor():
    models.forget()
    first = models.load("0.7*run:a + -0.5*run:b")
    held = [stack.a_NIR for stack in first.base.plain._stacks.values()]
    for weight in range(-4, 5):
        other = models.load(f"{weight / 2}*run:a + run:b")
        assert other.base is first.base
    assert all(old is new.a_NIR for old, new in zip(held, first.base.plain._stacks.values(), strict=True))
    assert len(first.base.adapters) == 2


def test_a_fingerprint_tells_mixtures_apart_and_the_same_mixture_however_it_is_written():
    def mark(reference):
        return models.load(reference).fingerprint(SAMPLING)

    assert mark("0.7*run:a + -0.5*run:b") == mark("-0.50*run:b  +  0.7*run:a")
    assert mark("run:a@4") == mark("1*run:a") == mark("run:a")
    told = ["run:a", "run:a@3", "0.5*run:a", "run:a + run:b", "run:a@3 + run:b", "0.7*run:a + -0.5*run:b"]
    assert len({mark(reference).adapter for reference in told}) == len(told)
    assert len({mark(reference).base for reference in told}) == 1
    assert all(mark(reference).adapter_active for reference in told)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("run:a@0", "'run:a@0' asks for 0 ranks; the adapter has 4, so wanted @1 to @4"),
        ("run:a@5", "asks for 5 ranks"),
        ("5*run:a", r"term 1 \('5\*run:a'\): the weight 5 lies outside -4 to 4"),
        ("nan*run:a", "outside -4 to 4"),
        ("0,7*run:a", "the weight '0,7' is no number"),
        ("run:a + 2*", "term 2 .* no adapter behind the weight"),
        ("0.5*run:a - 0.5*run:b", "written as a negative weight"),
        ("run:a - run:b", "written as a negative weight"),
        ("run:a + run:none", r"term 2 \('run:none'\): there is no run 'none'"),
        ("run:a + 0.5*wren", "'wren' has no adapter; name a run of a LoRA method"),
        ("run:a + run:dora", "is a DoRA adapter.*answer with it by itself"),
        ("run:a + run:ia3", "is an adapter of the kind IA3; only LoRA"),
        ("run:dora@2", "is a DoRA adapter"),
        ("wren@2", "'wren' has no adapter"),
        (" + ".join(["run:a"] * 9), "has 9 terms"),
        ("run:a + run:other", "run:other belongs to the base .* only adapters of one base"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_the_term_and_the_way_out(reference, words):
    with pytest.raises(ModelError, match=words):
        models.fetch(models.resolve(reference))


def test_adapters_of_a_rounded_base_are_not_blended_with_others():
    facts = {"quantization": {"kind": "nf4", "block": 64, "double_quantization": True}}
    (home() / "runs" / "b" / "model" / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(
        ModelError, match=r"term 2 .*learned on the base rounded to four bits \(nf4\), run:a on the base as"
    ):
        models.resolve("run:a + run:b")


def test_what_is_put_together_as_it_answers_is_nothing_to_train_from():
    from ftlab.methods import start

    for reference in ("run:a@2", "0.5*run:a + 0.5*run:b"):
        with pytest.raises(ModelError, match="put together from .*run:a.* as it answers"):
            start.find(reference, print)
        with pytest.raises(ModelError, match="put together"):
            models.base_folder(reference)


def test_a_folder_whose_name_looks_like_a_blend_is_a_folder(world, tmp_path):
    folder = tmp_path / "2*x + y@3"
    shutil.copytree(world["a"], folder)
    assert models.resolve(str(folder)).adapter == folder


def test_a_scale_follows_the_ranks_that_are_left():
    class Settings:
        lora_alpha, use_rslora = 16, False

    assert mixtures.scale_of(Settings, 2) == 8.0
    Settings.use_rslora = True
    assert mixtures.scale_of(Settings, 4) == 8.0
