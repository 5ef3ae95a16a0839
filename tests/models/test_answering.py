"""Golden behaviour of answers: the same whatever stands beside them, proved by what they carry."""

import shutil
import threading

import pytest
import tiny
import torch

from ftlab import models
from ftlab.answers import Answer, Delta, Sampling
from ftlab.errors import DataError, ModelError

PROMPTS = [
    "Hi",
    "What is it?",
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Go"}],
    "äß€😀",
]
SAMPLING = Sampling(max_new_tokens=16, temperature=0.9, seed=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A base, two LoRA adapters of different rank, and a DoRA adapter that cannot share a batch."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.save_model(folder / "base")
    return {
        "base": base,
        "small": tiny.save_adapter(folder / "small", base, seed=1),
        "large": tiny.save_adapter(folder / "large", base, seed=2, r=8, target_modules=["q_proj", "up_proj"]),
        "dora": tiny.save_adapter(folder / "dora", base, seed=3, use_dora=True),
    }


@pytest.fixture
def loaded(world):
    models.forget()
    yield {name: models.load(str(folder)) for name, folder in world.items()}
    models.forget()


def answers_of(pieces):
    return {(p[1].reference, p[0]): p[1] for p in pieces if isinstance(p, tuple)}


def alone(folder, adapter=None):
    """The plain libraries' model, with nothing shared and nothing of ours."""
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    return (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()


def logits(model, ids):
    with torch.inference_mode():
        return model(input_ids=ids).logits


def test_answers_in_a_mixed_batch_equal_answers_one_by_one(loaded):
    together = answers_of(models.stream(list(loaded.values()), PROMPTS, SAMPLING))
    assert len(together) == len(loaded) * len(PROMPTS)
    for model in loaded.values():
        for index, prompt in enumerate(PROMPTS):
            single = model.generate([prompt], SAMPLING)[0]
            assert (single.text, single.tokens, single.finish) == (
                together[model.reference, index].text,
                together[model.reference, index].tokens,
                together[model.reference, index].finish,
            )


def test_the_four_models_answer_differently(loaded):
    texts = {model.generate(["Hi"], SAMPLING)[0].text for model in loaded.values()}
    assert len(texts) == len(loaded)


@pytest.mark.parametrize("name", ["base", "small", "large", "dora"])
def test_greedy_answers_equal_those_of_the_plain_library(loaded, world, name):
    model = loaded[name]
    plain = alone(world["base"], None if name == "base" else world[name])
    sampling = Sampling(max_new_tokens=20, temperature=0)
    for prompt, answer in zip(PROMPTS, model.generate(PROMPTS, sampling), strict=True):
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        ids = torch.tensor(
            [model.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]]
        )
        out = plain.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=20,
            pad_token_id=0,
        )
        drawn = out[0, ids.shape[1] :].tolist()
        assert answer.tokens == len(drawn)
        assert answer.text == model.tokenizer.decode(drawn, skip_special_tokens=True)


def test_the_base_under_adapters_equals_the_plain_base_bit_by_bit(loaded, world):
    base = loaded["base"].base
    ids = torch.randint(5, 200, (3, 9), generator=torch.Generator().manual_seed(0))
    forward = base.forward_for([loaded["base"].adapter] * 3)
    with torch.inference_mode():
        shared = forward(range(3), input_ids=ids).logits
    assert torch.equal(shared, logits(alone(world["base"]), ids))


@pytest.mark.parametrize(
    "order", [("base", "small", "large"), ("large", "base", "small"), ("small", "base"), ("base", "large")]
)
def test_a_base_row_beside_adapted_rows_equals_the_plain_base_bit_by_bit(loaded, world, order):
    names = [loaded[name].adapter for name in order]
    ids = torch.randint(5, 200, (1, 9), generator=torch.Generator().manual_seed(0))
    ids = ids.repeat(len(names), 1)
    with torch.inference_mode():
        mixed = loaded["base"].base.forward_for(names)(range(len(names)), input_ids=ids).logits
    assert torch.equal(mixed[names.index(loaded["base"].adapter)], logits(alone(world["base"]), ids)[0])
    for name in set(order) - {"base"}:
        wanted = logits(alone(world["base"], world[name]), ids)[0]
        torch.testing.assert_close(mixed[order.index(name)], wanted, rtol=1e-4, atol=1e-4)


def test_adapters_of_one_base_share_its_weights_in_memory(loaded):
    addresses = {model.base.model.get_input_embeddings().weight.data_ptr() for model in loaded.values()} | {
        model.base.model.model.layers[0].mlp.gate_proj.weight.data_ptr() for model in loaded.values()
    }
    assert len(addresses) == 2
    assert len({id(model.base) for model in loaded.values()}) == 1


def test_the_same_adapter_under_two_references_is_in_memory_once(loaded, world, tmp_path):
    shutil.copytree(world["small"], tmp_path / "copy")
    again = models.load(str(tmp_path / "copy"))
    assert again.adapter == loaded["small"].adapter
    assert len(again.base.adapters) == 3


def test_a_base_that_memory_has_no_room_for_pushes_out_the_longest_unused(world, tmp_path, monkeypatch):
    from ftlab.models.weights import loaded as bases

    models.forget()
    other = tiny.save_model(tmp_path / "other", seed=8, width=256)
    big = models.load(str(other))
    monkeypatch.setenv("FTLAB_MODEL_MEMORY_MIB", str(max(1, big.base.nbytes >> 20)))
    small = models.load(str(world["base"]))
    assert small.base in bases()
    assert big.base not in bases()
    models.forget()


def test_seeds_decide_and_temperature_zero_needs_none(loaded):
    model = loaded["base"]

    def texts(**settings):
        return [a.text for a in model.generate(["Hi", "Ho", "Hi"], Sampling(max_new_tokens=16, **settings))]

    assert texts(seed=1) == texts(seed=1)
    assert texts(seed=1) != texts(seed=2)
    assert texts(seed=1)[0] != texts(seed=1)[1]
    assert texts(seed=1)[0] == texts(seed=1)[2]  # the place in the list plays no part
    assert texts(temperature=0, seed=1) == texts(temperature=0, seed=2)
    assert texts(temperature=0)[0] == texts(temperature=0)[2]


def test_draws_follow_the_probabilities_and_top_p_keeps_the_fewest_that_suffice():
    from ftlab.models.decoding import choose

    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    many = probs.log().repeat(40_000, 1)
    noise = -torch.empty(many.shape).exponential_(generator=torch.Generator().manual_seed(0)).log()

    def shares(**settings):
        return torch.bincount(choose(many, Sampling(**settings), noise), minlength=4) / len(many)

    torch.testing.assert_close(shares(temperature=1.0), probs, atol=0.01, rtol=0)
    sharper = (probs**2) / (probs**2).sum()
    torch.testing.assert_close(shares(temperature=0.5), sharper, atol=0.01, rtol=0)
    torch.testing.assert_close(
        shares(temperature=1.0, top_p=0.7), torch.tensor([0.625, 0.375, 0, 0]), atol=0.01, rtol=0
    )


def test_pieces_join_to_the_answer_and_no_character_is_cut(loaded):
    texts: dict[tuple[str, int], str] = {}
    whole: dict[tuple[str, int], Answer] = {}
    for piece in models.stream(
        [loaded["base"], loaded["small"]], PROMPTS, Sampling(max_new_tokens=40, temperature=1)
    ):
        if isinstance(piece, Delta):
            key = (piece.reference, piece.index)
            texts[key] = texts.get(key, "") + piece.text
        else:
            whole[piece[1].reference, piece[0]] = piece[1]
    assert {key: answer.text for key, answer in whole.items()} == {key: texts.get(key, "") for key in whole}


@pytest.mark.parametrize("text", ["plain", "äöü €uro 😀😀 日本語", "e\u0301 \u200d👩‍👩‍👧 \n\t x"])
def test_text_streams_in_whole_characters(text):
    from ftlab.models.chat import TextStream, encode_text

    tokenizer = tiny.tokenizer()
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in encode_text(tokenizer, text)]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)
    assert stream.end() == ""


def test_a_character_that_never_ends_is_told_at_the_end():
    from ftlab.models.chat import TextStream, encode_text

    tokenizer = tiny.tokenizer()
    stream = TextStream(tokenizer)
    assert [stream.push(token) for token in encode_text(tokenizer, "a😀")[:3]] == ["a", "", ""]
    assert stream.end() == "\ufffd"
    assert stream.text == "a\ufffd"


def test_cancelling_ends_all_rows_at_the_next_token(loaded):
    cancel, seen, ended = threading.Event(), 0, []
    for piece in models.stream(
        list(loaded.values())[:3], PROMPTS[:2], Sampling(max_new_tokens=100, seed=5), cancelled=cancel
    ):
        if isinstance(piece, Delta):
            seen += 1
            cancel.set()
        else:
            ended.append(piece[1])
    assert len(ended) == 6
    assert {answer.finish for answer in ended} <= {"cancelled", "end"}
    assert max(answer.tokens for answer in ended) < 10


def test_a_fingerprint_differs_with_weights_adapter_and_template_and_only_then(loaded, world, tmp_path):
    marks = {name: model.fingerprint(SAMPLING) for name, model in loaded.items()}
    assert len({mark.base for mark in marks.values()}) == 1
    assert len({mark.template for mark in marks.values()}) == 1
    assert len({mark.adapter for mark in marks.values()}) == 4
    assert (marks["base"].adapter, marks["base"].adapter_active) == (None, False)
    assert "adapter" not in marks["base"].heading
    assert marks["small"].heading.endswith(f"+ adapter {marks['small'].adapter[:6]}")

    shutil.copytree(world["base"], tmp_path / "copy")
    assert models.load(str(tmp_path / "copy")).fingerprint(SAMPLING) == marks["base"]
    (tmp_path / "copy" / "chat_template.jinja").write_text(tiny.TEMPLATE + " ")
    changed = models.load(str(tmp_path / "copy")).fingerprint(SAMPLING)
    assert (changed.base, changed.template == marks["base"].template) == (marks["base"].base, False)
    assert (
        models.load(str(tiny.save_model(tmp_path / "other", seed=4))).fingerprint(SAMPLING).base
        != marks["base"].base
    )


def test_an_adapter_with_another_strength_has_another_fingerprint(world, tmp_path):
    import json

    folder = tmp_path / "stronger"
    shutil.copytree(world["small"], folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 99}))
    assert models.adapter_sha256(folder) != models.adapter_sha256(world["small"])


def test_the_hash_of_weights_does_not_depend_on_how_they_are_split(world, tmp_path):
    from transformers import LlamaForCausalLM

    LlamaForCausalLM.from_pretrained(world["base"]).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert models.base_sha256(tmp_path) == models.base_sha256(world["base"])


def test_scores_are_the_log_probabilities_of_the_plain_model(loaded, world):
    model = loaded["small"]
    pairs = [("Hi", "Hello you"), ("What is it?", "x"), ("Hi", "")]
    plain = alone(world["base"], world["small"])
    for (prompt, text), scores in zip(pairs, model.scores(pairs), strict=True):
        ids = model.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True
        )
        ids = ids["input_ids"]
        answer = model.tokenizer(text)["input_ids"]
        table = logits(plain, torch.tensor([ids + answer]))[0].log_softmax(-1)
        wanted = [table[len(ids) - 1 + place, token].item() for place, token in enumerate(answer)]
        assert scores == pytest.approx(wanted, abs=1e-4)
    assert model.score("Hi", "Hello you") == pytest.approx(model.scores(pairs)[0], abs=1e-5)


def test_special_tokens_that_a_user_types_stay_text(loaded):
    from ftlab.models.chat import encode

    model = loaded["base"]
    end = model.tokenizer.convert_tokens_to_ids("<|end|>")
    told: list[str] = []
    encoded = encode(model.tokenizer, [{"role": "user", "content": "a<|end|>b<|end|>"}], "x")
    assert encoded.escaped == 2
    assert end not in encoded.ids
    assert model.tokenizer.decode(encoded.ids) == "<|user|>a<|end|>b<|end|><|assistant|>"
    list(models.stream([model], ["a<|end|>b"], Sampling(max_new_tokens=1), note=told.append))
    assert "1 special token" in told[0]


def test_an_unfinished_answer_in_the_prompt_is_continued(loaded):
    from ftlab.models.chat import encode

    tokenizer = loaded["base"].tokenizer
    opened = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.decode(encode(tokenizer, opened, "x").ids) == "<|user|>a<|assistant|>b"


def test_a_model_without_a_chat_template_says_where_to_put_one(tmp_path):
    model = models.load(str(tiny.save_model(tmp_path / "bare", template=None)))
    with pytest.raises(ModelError, match=r"chat_template\.jinja"):
        model.generate(["Hi"])


def test_a_prompt_longer_than_the_context_is_refused_and_a_long_answer_is_cut(loaded):
    with pytest.raises(DataError, match="reads 128"):
        loaded["base"].generate(["x" * 200])
    answer = loaded["base"].generate(["x" * 110], Sampling(max_new_tokens=64, seed=1))[0]
    assert answer.tokens <= 128 - 112


def test_bare_base_and_adapters_can_be_served_to_another_process(world, loaded):
    sent: list[dict] = []
    models.serve(
        {
            "prompts": [[{"role": "user", "content": "Hi"}]],
            "references": [str(world["base"]), str(world["small"])],
            "sampling": {"max_new_tokens": 16, "temperature": 0.9, "top_p": 1.0, "seed": 3},
        },
        sent.append,
        threading.Event(),
    )
    answers = {m["answer"]["reference"]: Answer.from_dict(m["answer"]) for m in sent if "answer" in m}
    direct = loaded["small"].generate(["Hi"], SAMPLING)[0]
    assert answers[str(world["small"])].text == direct.text
    assert answers[str(world["small"])].fingerprint == direct.fingerprint
    joined = "".join(
        m["delta"]["text"] for m in sent if m.get("delta", {}).get("reference") == str(world["small"])
    )
    assert joined == direct.text
    assert [m["loaded"]["reference"] for m in sent if "loaded" in m] == [
        str(world["base"]),
        str(world["small"]),
    ]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"prompts": ["Hi"], "references": ["nothing-here"]}, "ModelError"),
        ({"prompts": [[{"role": "user"}]], "references": ["wren"]}, "DataError"),
        ({"prompts": ["Hi"], "references": [], "sampling": {"top_k": 3}}, "ConfigError"),
        ({"prompts": ["Hi"], "references": [], "sampling": {"temperature": -1}}, "ConfigError"),
        ({"references": []}, "KeyError"),
    ],
)
def test_what_goes_wrong_is_sent_with_its_kind(message, kind):
    sent: list[dict] = []
    models.serve(message, sent.append, threading.Event())
    assert [reply["kind"] for reply in sent] == [kind]
    assert sent[0]["error"]


def test_white_space_that_the_template_puts_before_an_answer_is_no_part_of_it(tmp_path):
    from ftlab.models.chat import TextStream, encode_text, lead, load_tokenizer
    from ftlab.wren import folder

    tokenizer = load_tokenizer(folder("wren"), "wren")
    assert lead(tokenizer) == " "
    stream = TextStream(tokenizer, lead(tokenizer))
    pieces = [stream.push(token) for token in encode_text(tokenizer, " Mia  has a cat.")] + [stream.end()]
    assert "".join(pieces) == stream.text == "Mia  has a cat."
    again = TextStream(tokenizer, lead(tokenizer))
    for token in encode_text(tokenizer, "Yes."):  # nothing to take off
        again.push(token)
    assert again.text + again.end() == "Yes."
