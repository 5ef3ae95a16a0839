"""Adapters that learned on a base of four bits, answered with on a base that went through the same rounding."""

import json
import shutil

import pytest
import tiny
import torch

from ftlab import models
from ftlab.answers import Sampling
from ftlab.errors import ModelError

SAMPLING = Sampling(max_new_tokens=8, temperature=0)
IDS = torch.tensor([[9, 40, 41, 42, 43, 44]])
PAPER = {"kind": "nf4", "block": 64, "double_quantization": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("rounded") / "base")


@pytest.fixture
def learned_on(tmp_path, base):
    """Makes the folder that a run of QLoRA leaves."""
    models.forget()
    plain = tiny.save_adapter(tmp_path / "adapter", base)

    def made(quantization):
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(plain, folder)
        facts = {"base": {"reference": str(base)}, "quantization": quantization}
        (folder / "manifest.json").write_text(json.dumps(facts))
        return folder

    yield made
    models.forget()


def logits(model):
    with torch.inference_mode():
        return model.base.forward_for([model.adapter])(range(1), input_ids=IDS).logits


def by_hand(base, adapter, block, *, double_quantization):
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    from ftlab.methods import nf4

    model = LlamaForCausalLM.from_pretrained(base)
    nf4.round_through(model, block, double_quantization)
    with torch.inference_mode():
        return PeftModel.from_pretrained(model, adapter).eval()(IDS).logits


@pytest.mark.parametrize(("block", "double"), [(64, True), (32, False)])
def test_its_base_is_rounded_as_its_manifest_says(learned_on, base, block, double):
    folder = learned_on({"kind": "nf4", "block": block, "double_quantization": double})
    served = logits(models.load(str(folder)))
    torch.testing.assert_close(
        served, by_hand(base, folder, block, double_quantization=double), rtol=1e-5, atol=1e-5
    )
    untouched = logits(models.load(str(learned_on(None))))
    assert (served - untouched).abs().max() > 0.01


def test_the_fingerprint_says_so_and_the_plain_base_stays_as_it_was(learned_on, base):
    rounded = models.load(str(learned_on(PAPER)))
    before = rounded.fingerprint(SAMPLING)
    plain = models.load(str(base))
    mark = plain.fingerprint(SAMPLING)
    assert before.base == f"{mark.base}+nf4"
    assert before.heading == f"base {mark.base[:6]}+nf4 + adapter {before.adapter[:6]}"
    assert rounded.base is not plain.base
    other = models.load(str(learned_on({**PAPER, "block": 128, "double_quantization": False})))
    assert other.fingerprint(SAMPLING).base == f"{mark.base}+nf4/128/single"
    from transformers import LlamaForCausalLM

    stored = LlamaForCausalLM.from_pretrained(base).state_dict()
    assert all(torch.equal(weight, stored[name]) for name, weight in plain.base.model.state_dict().items())


def test_two_of_one_rounding_share_a_base_and_can_be_blended(learned_on):
    one, other = learned_on(PAPER), learned_on(PAPER)
    blend = models.load(f"0.5*{one} + 0.5*{other}")
    assert blend.base is models.load(str(one)).base
    assert blend.fingerprint(SAMPLING).base.endswith("+nf4")
    torch.testing.assert_close(logits(blend), logits(models.load(str(one))), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("facts", [{"kind": "int3"}, {"kind": "nf4"}, {"kind": "nf4", "block": 0}, "nf4"])
def test_a_rounding_that_nobody_here_can_do_is_refused(learned_on, facts):
    with pytest.raises(ModelError, match=r"manifest\.json: 'quantization' is .*wanted"):
        models.resolve(str(learned_on(facts)))
