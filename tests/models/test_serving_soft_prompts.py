"""Soft prompts: rows behind made-up words, in whatever batch they stand."""

import pytest
import tiny
import torch

from ftlab import models
from ftlab.answers import Sampling
from ftlab.errors import DataError, ModelError

PROMPTS = [
    "Hi",
    "What is it?",
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Go"}],
]
SAMPLING = Sampling(max_new_tokens=12, temperature=0.9, seed=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soft")
    base = tiny.save_model(folder / "base")
    return {
        "base": base,
        "lora": tiny.save_adapter(folder / "lora", base, seed=1),
        "short": tiny.save_soft(folder / "short", base, kind="prompt", tokens=3, seed=2),
        "long": tiny.save_soft(folder / "long", base, kind="prompt", tokens=7, seed=3),
        "p": tiny.save_soft(folder / "p", base, kind="p", tokens=4, seed=4),
        "prefix": tiny.save_soft(folder / "prefix", base, kind="prefix", tokens=5, seed=5),
        "prefix2": tiny.save_soft(folder / "prefix2", base, kind="prefix", tokens=2, seed=6),
        "ia3": tiny.save_soft(folder / "ia3", base, kind="ia3", seed=7),
    }


SOFT = ["short", "long", "p", "prefix", "prefix2", "ia3"]


@pytest.fixture(scope="module")
def loaded(world):
    models.forget()
    yield {name: models.load(str(folder)) for name, folder in world.items()}
    models.forget()


def ids_of(model, prompt):
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return model.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]


def plain(world, name):
    """PEFT's own model, with nothing of ours."""
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(world["base"])
    return PeftModel.from_pretrained(model, world[name]).eval()


def logits(world, name, ids):
    """Of each of these ids, behind the soft prompt."""
    with torch.inference_mode():
        out = plain(world, name)(input_ids=torch.tensor([ids])).logits[0]
    return out[-len(ids) :]


@pytest.mark.parametrize("name", SOFT)
def test_greedy_answers_equal_the_likeliest_tokens_of_the_plain_library(loaded, world, name):
    for prompt in PROMPTS:
        answer = loaded[name].generate([prompt], Sampling(max_new_tokens=6, temperature=0))[0]
        start = ids_of(loaded[name], prompt)
        ids = list(start)
        for _ in range(answer.tokens):
            ids.append(int(logits(world, name, ids)[-1].argmax()))
        assert answer.text == loaded[name].tokenizer.decode(ids[len(start) :], skip_special_tokens=True)


@pytest.mark.parametrize("name", SOFT)
def test_scores_are_those_of_a_plain_forward(loaded, world, name):
    model = loaded[name]
    pairs = [("Hi", "Hello you"), ("What is it?", "x"), ("Hi", "")]
    for (prompt, text), scores in zip(pairs, model.scores(pairs), strict=True):
        ids, answer = ids_of(model, prompt), model.tokenizer(text)["input_ids"]
        table = logits(world, name, ids + answer).log_softmax(-1)
        wanted = [table[len(ids) - 1 + place, token].item() for place, token in enumerate(answer)]
        assert scores == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mixed_batch_equals_separate_forwards(loaded, world, side):
    from ftlab.models.feeding import feed

    names = ["base", "lora", "short", "long", "p", "prefix", "prefix2", "short"]
    names.sort(key=lambda name: loaded[name].base.place(loaded[name].adapter))
    base = loaded["base"].base
    rows = [[10 + k for k in range(4 + place)] for place, _ in enumerate(names)]
    fed = feed(base.model, [(ids, loaded[name].soft) for ids, name in zip(rows, names, strict=True)], side)
    forward = base.forward_for([loaded[name].adapter for name in names])
    with torch.inference_mode():
        mixed = forward(range(len(names)), **fed.inputs).logits
    for row, (name, ids) in enumerate(zip(names, rows, strict=True)):
        if name == "base":
            with torch.inference_mode():
                wanted = base.model(input_ids=torch.tensor([ids])).logits[0]
        else:
            wanted = logits(world, name, ids)
        start = fed.starts[row]
        assert (mixed[row, start : start + len(ids)] - wanted).abs().max() < 1e-5


def test_a_soft_prompt_of_real_words_is_those_words(loaded, world, tmp_path):
    words = [40, 41, 42]
    table = loaded["base"].base.model.get_input_embeddings().weight
    folder = tiny.save_soft(tmp_path / "words", world["base"], kind="prompt", vectors=table[words].clone())
    model = models.load(str(folder))
    fed_ids = ids_of(model, "Hi")
    with torch.inference_mode():
        wanted = (
            model.base.model(input_ids=torch.tensor([words + fed_ids + [50]])).logits[0, -2].log_softmax(-1)
        )
    text = model.tokenizer.decode([50])
    assert model.score("Hi", text) == pytest.approx([wanted[50].item()], abs=1e-5)


def test_answers_beside_other_soft_prompts_are_the_answers_alone(loaded):
    together = {
        (piece[1].reference, piece[0]): piece[1].text
        for piece in models.stream(list(loaded.values()), PROMPTS, SAMPLING)
        if isinstance(piece, tuple)
    }
    assert len(together) == len(loaded) * len(PROMPTS)
    for model in loaded.values():
        for place, prompt in enumerate(PROMPTS):
            assert model.generate([prompt], SAMPLING)[0].text == together[model.reference, place]
    assert len({together[model.reference, 0] for model in loaded.values()}) == len(loaded)


def test_soft_prompts_share_the_base_and_leave_it_as_it_was(loaded):
    shared = {id(loaded[name].base) for name in ("base", "lora", "short", "long", "p", "prefix")}
    assert len(shared) == 1
    marks = {name: model.fingerprint(SAMPLING) for name, model in loaded.items()}
    assert len({mark.base for mark in marks.values()}) == 1
    assert len({mark.adapter for mark in marks.values()}) == len(marks)
    assert marks["short"].adapter_active


def test_the_length_of_a_soft_prompt_counts_against_the_context(loaded):
    room = 128 - len(ids_of(loaded["base"], "x" * 100)) - 7
    answer = loaded["long"].generate(["x" * 100], Sampling(max_new_tokens=64, seed=2))[0]
    assert answer.tokens <= room
    for name, tokens in (("long", 7), ("prefix", 5)):
        fits = "x" * (128 - len(ids_of(loaded[name], "")) - tokens - 1)
        assert loaded[name].generate([fits], Sampling(max_new_tokens=64, temperature=0))[0].tokens == 1
        with pytest.raises(
            DataError, match="takes 128 tokens, what stands before it included, and the model reads 128"
        ):
            loaded[name].generate([fits + "x"])
        with pytest.raises(DataError, match="take 129 tokens, what stands before"):
            loaded[name].scores([(fits + "x", "y")])


def test_features_are_read_behind_the_soft_prompt(loaded, world):
    from ftlab.models.features import features

    for name in ("long", "prefix"):
        ((places, table),) = list(features(loaded[name], [("Hi", "you"), ("Ho", "abc")]))
        assert places == [0, 1]
        sums = [sum(loaded[name].score("Hi", "you")), sum(loaded[name].score("Ho", "abc"))]
        assert table[:, -4].tolist() == pytest.approx(sums, abs=1e-4)
        ids = ids_of(loaded[name], "Hi") + loaded[name].tokenizer("you")["input_ids"]
        with torch.inference_mode():
            states = plain(world, name)(
                input_ids=torch.tensor([ids]), output_hidden_states=True
            ).hidden_states
        width = states[0].shape[-1]
        assert table[0, :width].tolist() == pytest.approx(states[2][0, -1].tolist(), abs=1e-4)


def test_a_soft_prompt_of_another_width_is_refused_with_both(world, tmp_path):
    other = tiny.save_model(tmp_path / "other", width=64)
    for kind in ("prompt", "prefix"):
        folder = tiny.save_soft(tmp_path / kind, other, kind=kind, tokens=2)
        settings = folder / "adapter_config.json"
        settings.write_text(settings.read_text().replace(str(other), str(world["base"])))
        with pytest.raises(ModelError, match="take the base that it was trained on"):
            models.load(str(folder))
