"""Prompts as models: what is kept, what is refused, and that no weight has part in them."""

import json

import pytest
import tiny
import torch

from ftlab import models, prompting
from ftlab.answers import Answer, Comparison, Fingerprint, Sampling, compare, count_tokens
from ftlab.errors import DataError, ModelError
from ftlab.home import home
from ftlab.prompting import Prompted, prompted

SAMPLING = Sampling(max_new_tokens=10, temperature=0.9, seed=3)
RULE = "Talk like a pirate."
SHOTS = (("Who?", "Arr, I."), ("Where?", "Arr, at sea."))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompting")
    base = tiny.save_model(folder / "base")
    return base, tiny.save_adapter(folder / "adapter", base)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("FTLAB_WARM", "off")


def text_read(model, messages):
    return model.tokenizer.decode(model.encode(messages).ids)


def test_rule_and_examples_stand_before_the_conversation(world):
    model = models.load(prompted("pirate", str(world[0]), system=RULE, examples=SHOTS))
    asked = [{"role": "user", "content": "Hi"}]
    assert text_read(model, asked) == (
        "<|system|>Talk like a pirate.<|user|>Who?<|assistant|>Arr, I.<|end|>"
        "<|user|>Where?<|assistant|>Arr, at sea.<|end|><|user|>Hi<|assistant|>"
    )
    own = [{"role": "system", "content": "Be brief."}, *asked]
    few = models.load(prompted("few", str(world[0]), examples=SHOTS[:1]))
    assert text_read(model, own).startswith("<|system|>Talk like a pirate.\nBe brief.<|user|>Who?")
    assert text_read(few, own).startswith("<|system|>Be brief.<|user|>Who?")


def test_an_answer_equals_that_of_the_model_told_the_same_in_the_conversation(world):
    """Temperature 0: the seed of a row is drawn from what was asked, without the prompt."""
    greedy = Sampling(max_new_tokens=10, temperature=0)
    model = models.load(prompted("pirate", str(world[1]), system=RULE))
    told = [{"role": "system", "content": RULE}, {"role": "user", "content": "Hi"}]
    (answer,) = model.generate(["Hi"], greedy)
    (spelled,) = models.load(str(world[1])).generate([told], greedy)
    assert answer.text == spelled.text
    assert answer.prompt == [{"role": "user", "content": "Hi"}]
    assert answer.fingerprint.adapter == spelled.fingerprint.adapter
    assert model.score("Hi", "you") == models.load(str(world[1])).score(told, "you")


def test_no_weight_changes_and_without_the_prompt_the_logits_are_the_old_ones(world):
    """G-PE-1 and G-PE-2 of the specification."""
    bare = models.load(str(world[0]))
    before = {name: weight.clone() for name, weight in bare.base.model.state_dict().items()}
    scores = bare.score("Hi", "you")
    behind = models.load(prompted("pirate", str(world[0]), system=RULE))
    assert behind.score("Hi", "you") != scores
    behind.generate(["Hi"], SAMPLING)
    assert behind.base is bare.base
    assert all(torch.equal(before[name], weight) for name, weight in bare.base.model.state_dict().items())
    assert models.load(str(world[0])).score("Hi", "you") == scores


def test_a_fingerprint_names_the_prompt_and_the_untouched_base(world):
    def mark(reference):
        return models.load(reference).fingerprint(SAMPLING)

    bare, ruled = mark(str(world[0])), mark(prompted("pirate", str(world[0]), system=RULE))
    assert (ruled.base, ruled.adapter, ruled.template) == (bare.base, None, bare.template)
    assert (bare.context, bare.heading) == (None, f"base {bare.base[:6]}")
    assert ruled.heading == f"base {bare.base[:6]} + prompt {ruled.context[:6]}"
    again = mark(prompted("again", str(world[0]), system=RULE))
    assert again == ruled  # the name plays no part
    others = [{"system": "Be kind."}, {"examples": SHOTS}, {"system": RULE, "examples": SHOTS}]
    contexts = {mark(prompted("other", str(world[0]), **other)).context for other in others}
    assert len(contexts | {ruled.context}) == 4


def test_a_prompted_model_is_compared_like_any_other(world):
    ruled = prompted("pirate", str(world[1]), system=RULE)
    found = compare(["Hi", "Ho"], [str(world[1]), ruled], SAMPLING)
    assert [answers[ruled].fingerprint.context is None for answers in found.answers] == [False, False]
    assert [row["context"] is None for row in found.rows()] == [True, False, True, False]
    assert Comparison.from_json(found.to_json()) == found
    pair = found.pairs(str(world[1]), ruled)[0]["responses"]
    assert "context" not in pair[0]["generation"]
    assert pair[1]["generation"]["context"] == found.answers[0][ruled].fingerprint.context


def test_an_answer_recorded_before_there_were_prompts_is_still_read():
    recorded = Answer("wren", [{"role": "user", "content": "Hi"}], "x", 1, "end", 0.1, Fingerprint(
        "b" * 12, None, adapter_active=False, template="t" * 12, sampling=SAMPLING
    )).to_dict()  # fmt: skip
    del recorded["fingerprint"]["context"]
    assert Answer.from_dict(recorded).fingerprint.context is None


def test_tokens_are_counted_without_loading_weights(world):
    from ftlab.models.weights import loaded

    models.forget()
    ruled = prompted("pirate", str(world[0]), system=RULE)
    bare = count_tokens(["Hi", "Hello"], str(world[0]))
    assert bare == [4, 7]  # <|user|>, a token a letter, <|assistant|>
    assert count_tokens(["Hi", "Hello"], ruled) == [4 + 1 + len(RULE), 7 + 1 + len(RULE)]
    assert loaded() == []


def test_a_prompt_is_kept_whole_and_replaced_whole(world):
    reference = prompted("pirate", str(world[0]), system=RULE, examples=SHOTS)
    assert reference == "prompt:pirate"
    assert prompting.read("pirate") == Prompted("pirate", str(world[0]), RULE, SHOTS)
    prompted("pirate", str(world[0]), system="Be kind.")
    assert prompting.read("pirate").examples == ()
    assert [path.name for path in (home() / "prompts").iterdir()] == ["pirate.json"]
    assert prompting.names() == ["pirate"]


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"name": "Pirate!", "system": RULE}, ModelError, "is no name of a prompt"),
        ({"name": "../x", "system": RULE}, ModelError, "is no name of a prompt"),
        ({"name": "x"}, DataError, "is empty; give a system rule, examples, or both"),
        ({"name": "x", "system": " "}, DataError, "its system rule is ' '"),
        ({"name": "x", "examples": ["ab"]}, DataError, "example 0 is 'ab'; wanted a pair"),
        ({"name": "x", "examples": [("a", "b"), ("a", "")]}, DataError, "example 1"),
        ({"name": "x", "examples": [("a", "b")] * 65}, DataError, "at most 64"),
        ({"name": "x", "system": RULE, "model": "nothing-here"}, ModelError, "no model is called"),
        ({"name": "x", "system": RULE, "model": "prompt:y"}, ModelError, "is behind a prompt itself"),
    ],
)
def test_what_is_no_prompt_is_refused_and_nothing_is_kept(world, arguments, kind, words):
    with pytest.raises(kind, match=words):
        prompted(**{"model": str(world[0]), **arguments})
    assert prompting.names() == []


def test_a_reference_to_no_prompt_says_how_to_make_one(world):
    prompted("pirate", str(world[0]), system=RULE)
    with pytest.raises(ModelError, match=r"no prompt 'pirat' in .*there are: pirate.*prompted\('pirat'"):
        models.resolve("prompt:pirat")
    (home() / "prompts" / "pirate.json").write_text(json.dumps({"format": "x"}))
    with pytest.raises(ModelError, match=r"pirate\.json is no prompt .*make it again"):
        models.resolve("prompt:pirate")


def test_a_prompt_is_nothing_to_train_from(world):
    with pytest.raises(ModelError, match="only answers; name that model instead"):
        models.base_folder(prompted("pirate", str(world[0]), system=RULE))


def test_a_prompt_may_stand_before_a_blend(world):
    ruled = prompted("blend", f"0.5*{world[1]}", system=RULE)
    mark = models.load(ruled).fingerprint(SAMPLING)
    assert mark.adapter == models.load(f"0.5*{world[1]}").fingerprint(SAMPLING).adapter
    assert mark.context is not None
