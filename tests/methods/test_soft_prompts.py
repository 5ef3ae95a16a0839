"""Soft prompts and IA3: what learns, what stays, where it starts, and that a stop costs nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftlab.config import RunConfig
from ftlab.errors import ConfigError, FtlabError, ModelError
from ftlab.events import Measured, Noted, Sampled, Started
from ftlab.explain.invisible import nearest_words
from ftlab.methods import fed, samples, start, train, trainers, wrapped
from ftlab.methods.recipes import recipe_of
from tests.methods.conftest import WORDS, sft_rows, told
from tests.models.tiny import save_model

# PEFT asks transformers under a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*deprecated:FutureWarning")

Make = Callable[..., Path]

METHODS: dict[str, dict[str, Any]] = {
    "prompt": {"kind": "prompt_tuning", "tokens": 5},
    "prefix": {"kind": "prefix_tuning", "tokens": 4},
    "projected": {"kind": "prefix_tuning", "tokens": 4, "projection": True},
    "mlp": {"kind": "p_tuning", "tokens": 5, "width": 8},
    "lstm": {"kind": "p_tuning", "tokens": 5, "width": 8, "encoder": "lstm"},
    "ia3": {"kind": "ia3"},
}
WIDTH, LAYERS, KEYS, INNER = 32, 2, 16, 48  # of the tiny model; KEYS: two heads of eight


def losses(folder: Path) -> list[float]:
    return [event.values["loss"] for event in told(folder, Measured)]


def saved(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "adapter_model.safetensors")


def embeddings(tiny: Path) -> torch.Tensor:
    return load_file(tiny / "model.safetensors")["model.embed_tokens.weight"]


@pytest.mark.parametrize(
    ("name", "trained", "shape"),
    [
        ("prompt", 5 * WIDTH, (5, WIDTH)),
        ("prefix", 4 * 2 * LAYERS * KEYS, (4, 2 * LAYERS * KEYS)),
        # table, two layers of a network of the keys' width, and their biases
        ("projected", 4 * KEYS + KEYS * KEYS + KEYS + (KEYS + 1) * 2 * LAYERS * KEYS, (4, 2 * LAYERS * KEYS)),
        ("mlp", 5 * WIDTH + (WIDTH + 1) * 8 + 9 * 8 + 9 * WIDTH, (5, WIDTH)),
        ("lstm", None, (5, WIDTH)),
        ("ia3", LAYERS * (2 * KEYS + INNER), None),
    ],
)
def test_exactly_the_prompt_learns_and_is_what_is_saved(  # G-PT-1
    make_run: Make, name: str, trained: int | None, shape: tuple[int, int] | None
) -> None:
    folder = make_run(name, method=METHODS[name], epochs=4, learning_rate=0.05)
    train(folder)
    (started,) = told(folder, Started)
    assert trained is None or started.trained == trained
    assert started.settings["padding"] == "none"
    steps = len(losses(folder)) // 4
    assert sum(losses(folder)[-steps:]) < sum(losses(folder)[:steps])
    tensors = saved(folder)
    if shape:
        assert {key: tuple(value.shape) for key, value in tensors.items()} == {"prompt_embeddings": shape}
    else:
        assert sum(value.numel() for value in tensors.values()) == trained
    settings = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(
        RunConfig.from_json((folder / "config.json").read_text()).model
    )
    assert json.loads((folder / "model" / "manifest.json").read_text())["kind"] == "adapter"


@pytest.mark.parametrize(
    ("width", "tokens", "numbers"), [(4096, 5, 20_480), (4096, 100, 409_600), (192, 5, 960)]
)
def test_a_prompt_has_a_number_for_each_token_and_place_of_the_width(
    width: int, tokens: int, numbers: int
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM  # G-PT-1

    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=16, hidden_size=width, intermediate_size=8, num_hidden_layers=1,
                    num_attention_heads=2, head_dim=8)
    )  # fmt: skip
    config = RunConfig(method={"kind": "prompt_tuning", "tokens": tokens, "start": "random"})
    wrapped_model = recipe_of(config).put_on(model, None, print)  # type: ignore[attr-defined]
    assert sum(p.numel() for p in wrapped_model.parameters() if p.requires_grad) == numbers


def test_the_optimiser_holds_the_prompt_alone_and_the_base_stays_bit_for_bit(  # G-PT-3
    make_run: Make, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    build = trainers.build
    monkeypatch.setattr(trainers, "build", lambda *given: built.append(build(*given)) or built[0])
    train(make_run("prompt", method=METHODS["prompt"], learning_rate=0.05))
    (trainer,) = built
    (group,) = [group for group in trainer.optimizer.param_groups if group["params"]]
    assert [tuple(parameter.shape) for parameter in group["params"]] == [(5, WIDTH)]
    after = trainer.model.get_base_model().state_dict()
    for name, before in load_file(tiny / "model.safetensors").items():
        assert torch.equal(after[name], before), name


def test_a_prompt_that_starts_as_a_text_starts_as_its_embeddings(make_run: Make, tiny: Path) -> None:
    from transformers import AutoTokenizer

    method = {
        "kind": "prompt_tuning",
        "tokens": 5,
        "start": "text",
        "text": "the red dog",
        "learning_rate": 1e-9,
    }
    folder = make_run("text", method=method, max_steps=1)
    train(folder)
    ids = AutoTokenizer.from_pretrained(tiny)("the red dog")["input_ids"]
    vectors = saved(folder)["prompt_embeddings"]
    assert torch.allclose(vectors[:3], embeddings(tiny)[ids], atol=1e-6)
    assert is_words(vectors[3:], tiny)
    assert any("the last 2 of 5" in event.text for event in told(folder, Noted))


def is_words(vectors: torch.Tensor, tiny: Path) -> bool:
    """Whether each vector is the embedding of a different word that the rows have, and no special token."""
    distance = (vectors[:, None] - embeddings(tiny)[None]).norm(dim=2)
    ids = distance.argmin(1).tolist()
    return float(distance.min(1).values.max()) < 1e-5 and len(set(ids)) == len(ids) and min(ids) > 2


def test_a_prompt_that_starts_as_common_tokens_starts_as_different_words_of_the_rows(
    make_run: Make, tiny: Path
) -> None:
    method = {"kind": "prompt_tuning", "tokens": 6, "learning_rate": 1e-9}
    folders = [make_run(f"words-{seed}", method=method, max_steps=1, seed=seed) for seed in (0, 1)]
    for folder in folders:
        train(folder)
        assert is_words(saved(folder)["prompt_embeddings"], tiny)
    one, other = (saved(folder)["prompt_embeddings"] for folder in folders)
    assert not torch.equal(one, other)


def test_random_first_values_lie_between_minus_and_plus_a_half(make_run: Make) -> None:
    method = {"kind": "prompt_tuning", "tokens": 64, "start": "random", "learning_rate": 1e-9}
    folder = make_run("random", sft_rows(4), method=method, max_steps=1)
    train(folder)
    vectors = saved(folder)["prompt_embeddings"]
    assert vectors.abs().max() <= 0.5 + 1e-6
    assert vectors.std() == pytest.approx(12**-0.5, rel=0.05)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(make_run: Make, name: str) -> None:
    from ftlab.methods import reporter

    whole = make_run("whole", method=METHODS[name], epochs=3)
    train(whole)
    broken = make_run("broken", method=METHODS[name], epochs=3)
    write = reporter.Log.append

    def stop_at_four(log: Any, event: Any) -> None:
        write(log, event)
        if isinstance(event, Measured) and event.step == 4:
            (broken / "stop").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporter.Log, "append", stop_at_four)
        train(broken)
    assert len(losses(broken)) < len(losses(whole))
    train(broken)
    assert losses(broken) == losses(whole)
    for key, value in saved(whole).items():
        assert torch.equal(saved(broken)[key], value), key


@pytest.mark.parametrize(
    ("first", "then"), [("prompt", "prompt"), ("mlp", "prompt"), ("prefix", "prefix"), ("ia3", "ia3")]
)
def test_a_run_goes_on_from_the_prompt_of_another(make_run: Make, first: str, then: str) -> None:
    one = make_run("one", method=METHODS[first], learning_rate=0.05)
    train(one)
    other = make_run("other", method=METHODS[then] | {"learning_rate": 1e-9}, model="run:one", max_steps=1)
    train(other)
    for key, value in saved(one).items():
        assert torch.allclose(saved(other)[key], value, atol=1e-6), key
    assert json.loads((other / "model" / "manifest.json").read_text())["base"]["reference"] != "run:one"


@pytest.mark.parametrize(
    ("first", "then", "advice"),
    [
        ("mlp", METHODS["mlp"], "prompt_tuning"),
        ("projected", METHODS["projected"], "method.projection to false"),
        ("prompt", METHODS["ia3"], "start from"),
        ("prompt", {"kind": "lora"}, "soft prompt"),
        ("prompt", {"kind": "sft"}, "soft prompt"),
    ],
)
def test_what_cannot_go_on_from_a_prompt_says_what_can(
    make_run: Make, first: str, then: dict[str, Any], advice: str
) -> None:
    train(make_run("one", sft_rows(4), method=METHODS[first], max_steps=1))
    with pytest.raises(FtlabError, match=advice):
        train(make_run("other", method=then, model="run:one"))


def test_a_prefix_refuses_gradient_checkpointing_before_anything_is_loaded(make_run: Make) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.gradient_checkpointing: a prefix"):
        train(make_run("prefix", method=METHODS["prefix"], trainer={"gradient_checkpointing": True}))


def test_a_prompt_learns_the_same_with_gradient_checkpointing(make_run: Make) -> None:
    plain, frugal = (
        make_run("plain", method=METHODS["prompt"]),
        make_run("frugal", method=METHODS["prompt"], trainer={"gradient_checkpointing": True}),
    )
    train(plain)
    train(frugal)
    assert losses(plain) == pytest.approx(losses(frugal), abs=1e-6)


@pytest.mark.parametrize("name", ["prompt", "prefix", "mlp"])
def test_a_fixed_prompt_is_answered_the_same_alone_and_among_others(tiny: Path, name: str) -> None:
    """PEFT's own batch puts the padding between the soft prompt and the shorter rows."""
    begin = start.find(str(tiny), print)
    tokenizer = start.tokenizer_of(begin)
    torch.manual_seed(0)
    model = start.load(begin, "float32", "sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)  # so that answers depend on what was read
    recipe = recipe_of(
        RunConfig(model=str(tiny), method=METHODS[name] | ({"start": "random"} if name == "prompt" else {}))
    )
    whole = recipe.put_on(model, tokenizer, print)  # type: ignore[attr-defined]
    prompts = samples.prompts_of(["hi", " ".join(WORDS[:9]), "the red dog sat", "no"])
    together = samples.sample(whole, tokenizer, prompts, 6)
    alone = [samples.sample(whole, tokenizer, [prompt], 6)[0] for prompt in prompts]
    assert together == alone
    assert len({text for _, text in together}) > 1


def test_the_last_answers_of_a_run_are_those_of_the_prompt_that_it_saves(
    make_run: Make, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base = save_model(tmp_path / "strong")  # its answers differ with every token that it reads
    folder = make_run(
        "told", method=METHODS["prompt"], model=str(base), learning_rate=0.3,
        evaluate={"prompts": ["hi", "the red dog"], "max_new_tokens": 4},
    )  # fmt: skip
    train(folder)
    begin = start.find(str(base), print)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), start.tokenizer_of(begin)
    vectors = saved(folder)["prompt_embeddings"]
    first, last = told(folder, Sampled)[:2], told(folder, Sampled)[-2:]
    for event in last:
        ids = tokenizer.apply_chat_template(event.prompt, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            known = torch.cat([vectors, model.get_input_embeddings()(torch.tensor(ids))])[None]
            written = model.generate(inputs_embeds=known, do_sample=False, max_new_tokens=4)
        assert event.text == tokenizer.decode(written[0], skip_special_tokens=True).strip()
    assert [event.text for event in first] != [event.text for event in last]


def test_only_what_peft_leaves_out_is_added_to_a_checkpoint(make_run: Make) -> None:
    for name, is_soft in (("mlp", True), ("ia3", False)):
        folder = make_run(name, method=METHODS[name], max_steps=2, checkpoint={"every_steps": 1})
        train(folder)
        writer = folder / "checkpoints" / "step-1" / fed.PROMPT_WRITER
        assert writer.is_file() == is_soft
    assert wrapped.kind_of(folder / "model") == "IA3"


@pytest.mark.parametrize("kind", ["sft", "prompt_tuning", "word", "gkd"])
def test_a_run_in_portions_is_the_run_in_one(
    make_run: Make, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    method: Any = kind
    if kind in ("word", "gkd"):  # with gkd every row is drawn anew in its step
        teacher = tmp_path / "teacher"
        shutil.copytree(tiny, teacher)
        torch.manual_seed(7)
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny)).save_pretrained(teacher)
        objective = {"kind": "gkd", "on_policy": 1.0} if kind == "gkd" else {"kind": "word"}
        method = {
            "kind": "distillation",
            "teacher": str(teacher),
            "objective": objective,
            "max_new_tokens": 4,
        }
    whole, cut = (make_run(name, method=method, max_steps=3, learning_rate=0.05) for name in ("whole", "cut"))
    train(whole)
    monkeypatch.setattr(fed.portions, "fitting", lambda _: 20)
    train(cut)
    for name in ("loss", "entropy", "accuracy", "tokens", "grad_norm"):
        ours, theirs = ([event.values[name] for event in told(folder, Measured)] for folder in (cut, whole))
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6), name


def test_a_packed_run_learns_as_much_from_the_same_rows(make_run: Make) -> None:
    rows = sft_rows(24)
    source = make_run("rows", rows).parents[2] / "rows.jsonl"
    plain = make_run(
        "plain", data={"train": str(source), "mask": "completion", "max_length": 64}, batch_size=24
    )
    dense = make_run(
        "dense",
        data={"train": str(source), "mask": "completion", "max_length": 64, "packing": True},
        batch_size=24,
    )
    for folder in (plain, dense):
        train(folder)
    assert losses(dense)[0] == pytest.approx(losses(plain)[0], abs=1e-6)
    assert told(dense, Started)[0].rows < told(plain, Started)[0].rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_nearest_words_of_a_prompt_that_has_not_moved_are_its_own(
    make_run: Make, tiny: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    AutoModelForCausalLM.from_pretrained(tiny, dtype=dtype).save_pretrained(base)
    method = {
        "kind": "prompt_tuning",
        "tokens": 3,
        "start": "text",
        "text": "the red dog",
        "learning_rate": 1e-9,
    }
    folder = make_run(
        "near", sft_rows(4), method=method, max_steps=1, model=str(base), checkpoint={"every_steps": 1}
    )
    train(folder)
    for reference in ("run:near", folder / "checkpoints" / "step-1"):
        found = nearest_words(reference, k=2)
        assert [row[0].word.strip() for row in found] == ["the", "red", "dog"]
        assert all(row[0].cosine == pytest.approx(1, abs=1e-3) for row in found)
        assert all(-1 <= row[1].cosine < 0.9 for row in found)


def test_only_vectors_have_nearest_words(make_run: Make, tiny: Path) -> None:
    train(make_run("keys", sft_rows(4), method=METHODS["prefix"], max_steps=1))
    for reference, what in ((str(tiny), "a whole model"), ("run:keys", "prefix tuning")):
        with pytest.raises(ModelError, match=f"it is {what}; name a run of prompt_tuning"):
            nearest_words(reference)
