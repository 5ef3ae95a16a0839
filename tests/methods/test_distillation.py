"""Knowledge distillation: what is learned is the teacher's, whatever the objective, and the teacher stays as it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftlab.errors import ConfigError, DataError, ModelError
from ftlab.events import Ended, Evaluated, Measured, Noted, Started
from ftlab.methods import drawing, train
from tests.methods.conftest import WORDS, save_tokenizer, sft_rows, told

Make = Callable[..., Path]


def save_sharp(folder: Path, *, seed: int = 0, layers: int = 2, scale: float = 12.0) -> Path:
    """A random model that is sure of what it says, so that two of them differ."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.norm.weight *= scale / 12
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sharp(tmp_path_factory.mktemp("student"), seed=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sharp(tmp_path_factory.mktemp("teacher"), seed=2, layers=3)


def prompts_only(count: int = 24) -> list[dict[str, Any]]:
    return [{"prompt": row["prompt"]} for row in sft_rows(count)]


def method(teacher: Path | str, objective: Any, **more: Any) -> dict[str, Any]:
    return {
        "kind": "distillation",
        "teacher": str(teacher),
        "objective": objective,
        "max_new_tokens": 8,
        **more,
    }


def plain_odds(folder: Path, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities of transformers' own padded forward, before each token."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model(**batch).logits.log_softmax(-1)


def whole_batch(folder: Path, rows: list[dict[str, Any]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The rows as one padded batch, and the places whose next token is scored."""
    from transformers import AutoTokenizer

    from ftlab import data
    from ftlab.methods.teaching import padded

    columns = data.render(rows, AutoTokenizer.from_pretrained(folder))
    starts = [next(i for i, label in enumerate(row) if label != -100) for row in columns.data["labels"]]
    batch = padded(list(zip(columns.data["input_ids"], starts, strict=True)))
    labels = batch.pop("labels")
    return batch, labels[:, 1:] != -100


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("word", lambda P, Q, y: (P.exp() * (P - Q)).sum(-1)),
        (
            {"kind": "gkd", "on_policy": 0, "beta": 1},
            lambda P, Q, y: (Q.exp() * (Q - P)).sum(-1),
        ),
        (
            {"kind": "hinton", "alpha": 0.25, "temperature": 1},
            lambda P, Q, y: -0.25 * Q.gather(-1, y[:, None])[:, 0] + 0.75 * (P.exp() * (P - Q)).sum(-1),
        ),
    ],
)
def test_the_first_loss_is_the_papers_on_the_scored_tokens_alone(
    make_run: Make, student: Path, teacher: Path, objective: Any, expected: Any
) -> None:
    rows = sft_rows(8)
    folder = make_run("first", rows, model=str(student), method=method(teacher, objective), max_steps=1)
    train(folder)
    batch, scored = whole_batch(student, rows)
    P, Q = (plain_odds(place, batch)[:, :-1][scored] for place in (teacher, student))
    labels = batch["input_ids"][:, 1:][scored]
    (first,) = told(folder, Measured)
    assert first.values["loss"] == pytest.approx(expected(P, Q, labels).mean().item(), rel=1e-4)
    assert first.values["kl"] == pytest.approx((P.exp() * (P - Q)).sum(-1).mean().item(), rel=1e-4)
    assert first.values["reverse_kl"] == pytest.approx((Q.exp() * (Q - P)).sum(-1).mean().item(), rel=1e-4)


def test_a_student_draws_near_its_teacher_which_stays_as_it_was(
    make_run: Make, student: Path, teacher: Path
) -> None:
    before = (teacher / "model.safetensors").read_bytes()
    rows = sft_rows(24)
    folder = make_run(
        "near",
        rows,
        model=str(student),
        method=method(teacher, "word"),
        max_steps=25,
        learning_rate=1e-2,
        schedule="constant",
    )
    train(folder)
    divergences = [event.values["kl"] for event in told(folder, Measured)]
    assert min(divergences[-5:]) < divergences[0] / 3
    assert (teacher / "model.safetensors").read_bytes() == before
    assert told(folder, Ended)[0].status == "finished"


def test_a_base_behind_its_own_adapter_teaches_without_memory_and_is_no_distance_away_at_first(
    make_run: Make, student: Path
) -> None:
    lora = {"rank": 2, "alpha": 4}
    folder = make_run(
        "own",
        model=str(student),
        method=method(student, {"kind": "gkd", "on_policy": 1, "beta": 0.5}, adapter=lora),
        max_steps=3,
        learning_rate=1e-2,
    )
    train(folder)
    first, *_ = told(folder, Measured)
    assert first.values["kl"] == pytest.approx(0, abs=1e-5)
    assert any("no memory of its own" in event.text for event in told(folder, Noted))
    assert (folder / "model" / "adapter_model.safetensors").is_file()


def test_an_adapter_of_the_teacher_is_part_of_what_it_teaches(make_run: Make, student: Path) -> None:
    tuned = make_run("tuned", model=str(student), method="lora", max_steps=15, learning_rate=3e-2)
    train(tuned)
    folder = make_run("from-tuned", model=str(student), method=method("run:tuned", "word"), max_steps=1)
    train(folder)
    assert told(folder, Measured)[0].values["kl"] > 0.05


@pytest.mark.parametrize("objective", ["word", "sequence", "minillm"])
def test_prompts_without_answers_are_answered_by_the_teacher_where_answers_are_read(
    make_run: Make, student: Path, teacher: Path, objective: str
) -> None:
    evaluation = make_run("rows", prompts_only(4)).parent / "rows.jsonl"
    evaluation.write_text("".join(json.dumps(row) + "\n" for row in prompts_only(4)))
    folder = make_run(
        "unlabelled", prompts_only(16), model=str(student), method=method(teacher, objective), max_steps=2
    )
    config = json.loads((folder / "config.json").read_text())
    config["data"]["eval"] = str(evaluation)
    (folder / "config.json").write_text(json.dumps(config))
    train(folder)
    assert told(folder, Started)[0].rows == 16
    wrote = [event.text for event in told(folder, Noted) if "wrote" in event.text]
    assert len(wrote) == (1 if objective == "minillm" else 2)
    assert wrote[-1].startswith("evaluation: ")
    assert told(folder, Evaluated)[-1].values["loss"] is not None


def test_sequences_of_a_sure_teacher_become_the_students_own(
    make_run: Make, student: Path, teacher: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftlab import data

    rows = prompts_only(8)
    folder = make_run(
        "sequences",
        rows,
        model=str(student),
        method=method(teacher, "sequence"),
        epochs=40,
        learning_rate=1e-2,
        warmup=0,
    )
    train(folder)
    tokenizer = AutoTokenizer.from_pretrained(student)
    prompts = data.opening_ids([row["prompt"] for row in rows], tokenizer)
    said = []
    for place in (teacher, folder / "model"):
        model = AutoModelForCausalLM.from_pretrained(place)
        said.append(
            drawing.answers(
                model,
                prompts,
                rooms=[8] * 8,
                seeds=[0] * 8,
                temperature=0,
                ends=drawing.ends_of(model, tokenizer),
            )
        )
    same = sum(one == other for one, other in zip(*said, strict=True))
    assert same >= 6


def test_a_teacher_with_another_tokenizer_teaches_by_its_text_and_by_nothing_else(
    make_run: Make, student: Path, tmp_path: Path
) -> None:
    from tests.models.tiny import save_model

    other = save_model(tmp_path / "bytes")
    text = make_run(
        "text", prompts_only(8), model=str(student), method=method(other, "sequence"), max_steps=1
    )
    train(text)
    assert any("in the student's own tokens" in event.text for event in told(text, Noted))
    for objective in ("hinton", "word", "gkd", "minillm"):
        refused = make_run(f"odds-{objective}", model=str(student), method=method(other, objective))
        with pytest.raises(ConfigError, match=r'another tokenizer .*set method.objective to "sequence"'):
            train(refused)
        assert not told(refused, Started)


def test_a_teacher_that_is_not_there_is_told_before_anything_is_loaded(make_run: Make, student: Path) -> None:
    folder = make_run("lonely", model=str(student), method=method("run:nobody", "word"))
    with pytest.raises(ModelError, match=r"^method\.teacher: .*nobody"):
        train(folder)
    assert [type(event) for event in told(folder)] == [Ended]


def test_documents_ask_nothing(make_run: Make, student: Path, teacher: Path) -> None:
    folder = make_run(
        "documents", [{"text": "the red dog"}], model=str(student), method=method(teacher, "word")
    )
    with pytest.raises(DataError, match="asks nothing that a teacher could answer"):
        train(folder)


@pytest.mark.parametrize(
    "objective",
    [{"kind": "gkd", "on_policy": 0.5, "beta": 0.9}, {"kind": "minillm", "temperature": 0.8}],
    ids=["gkd", "minillm"],
)
def test_a_resumed_run_draws_what_it_would_have_drawn_and_ends_with_the_same_weights(
    make_run: Make, student: Path, teacher: Path, objective: Any
) -> None:
    fields = {
        "model": str(student),
        "method": method(teacher, objective),
        "max_steps": 4,
        "learning_rate": 1e-2,
        "checkpoint": {"every_steps": 2},
        "seed": 5,
    }
    whole, parted = make_run("whole", **fields), make_run("parted", **fields)
    train(whole)
    train(parted)
    for path in ("model", "checkpoints/step-4"):
        shutil.rmtree(parted / path)
    train(parted)
    assert any("goes on from" in event.text for event in told(parted, Noted))
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (whole, parted))
    assert all(torch.equal(one[name], other[name]) for name in one)
    drawn = [event.values["on_policy"] for event in told(whole, Measured)]
    if objective["kind"] == "gkd":
        assert 0 < sum(drawn) < len(drawn)  # both kinds of steps are in what was compared
    else:
        assert drawn == [1.0] * 4


def test_the_share_of_drawn_steps_is_what_was_asked_for() -> None:
    from ftlab.methods.distillation import GKD
    from ftlab.methods.distilled import FromTeacher
    from ftlab.methods.teaching import Teacher

    aim = FromTeacher(GKD(on_policy=0.3), Teacher(None), 0)
    assert sum(map(aim.is_drawn, range(2000))) == pytest.approx(600, abs=60)


def test_on_policy_steps_count_the_tokens_that_were_drawn(
    make_run: Make, student: Path, teacher: Path
) -> None:
    folder = make_run(
        "counted",
        prompts_only(8),
        model=str(student),
        method=method(teacher, {"kind": "gkd", "on_policy": 1}),
        max_steps=2,
        trainer={"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    )
    train(folder)
    for event in told(folder, Measured):
        assert event.values["on_policy"] == 1
        assert 1 <= event.values["answer_tokens"] <= 8
        assert event.values["loss"] <= event.values["kl"] + event.values["reverse_kl"]


def test_a_mixture_draws_as_the_one_whose_share_is_all_but_whole(student: Path, teacher: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student)
    ours, theirs = (AutoModelForCausalLM.from_pretrained(place) for place in (student, teacher))
    prompts = [tokenizer.convert_tokens_to_ids(WORDS[i : i + 2 + i % 3]) for i in range(6)]
    given = {
        "rooms": [4, 8, 8, 6, 8, 8],
        "seeds": list(range(6)),
        "temperature": 1.0,
        "ends": frozenset({1, 20, 30}),
    }

    def mixed(share: float) -> list[list[int]]:
        def forward() -> drawing.Mixture:
            return drawing.Mixture(ours, lambda _, **inputs: theirs(**inputs), theirs.config, share, 1.0)

        return drawing.answers(ours, prompts, forward=forward, **given)

    assert mixed(0.0) == drawing.answers(ours, prompts, **given)
    assert mixed(1 - 1e-9) == drawing.answers(theirs, prompts, **given)
    assert drawing.answers(ours, prompts, **given) != drawing.answers(theirs, prompts, **given)


def test_answers_are_what_transformers_draws_greedily_and_leave_the_random_state(student: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForCausalLM.from_pretrained(student)
    prompts = [tokenizer.convert_tokens_to_ids(WORDS[i : i + 2 + i % 3]) for i in range(5)]
    before = torch.get_rng_state()
    found = drawing.answers(model, prompts, rooms=[7] * 5, seeds=[1] * 5, temperature=0, ends=frozenset({1}))
    drawing.answers(model, prompts, rooms=[7] * 5, seeds=[1] * 5, temperature=1, ends=frozenset({1}))
    assert torch.equal(torch.get_rng_state(), before)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=7, eos_token_id=1)
        assert answer == ids[0, len(prompt) :].tolist()
