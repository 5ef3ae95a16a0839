"""Context distillation: the start behind a prompt teaches the start without it, before training and for good."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlab.errors import ConfigError, DataError, ModelError
from ftlab.events import Ended, Evaluated, Measured, Noted, Started
from ftlab.methods import asked, train
from ftlab.methods.distilled import Batch, Figures, FromKept
from ftlab.methods.teaching import KeptOdds, padded
from tests.methods.conftest import WORDS, sft_rows, told

Make = Callable[..., Path]
CONTEXT = "loud red sky sings"


@pytest.fixture(scope="module")
def sharp(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, sure of what it says: a context changes its answers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("sharp")
    model = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


def prompts_only(count: int = 16) -> list[dict[str, Any]]:
    return [{"prompt": row["prompt"]} for row in sft_rows(count)]


def method(**more: Any) -> dict[str, Any]:
    return {"kind": "context_distillation", "context": CONTEXT, "max_new_tokens": 6, **more}


def notes(folder: Path) -> list[str]:
    return [event.text for event in told(folder, Noted)]


def divergence(
    model: Any, kept: KeptOdds, bare: list[list[int]], answers: list[list[int]], shift: int = 0
) -> float:
    """KL a token of what is kept, from 0 on, and what the model holds behind the bare prompts."""
    from ftlab.methods import projected

    inputs = padded([(one + other, len(one)) for one, other in zip(bare, answers, strict=True)])
    lengths = [len(answer) for answer in answers]
    inputs["place"] = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths) + shift
    following = projected.following(inputs["labels"])
    batch = Batch(inputs, following[following != -100], lengths, is_drawn=False)
    with torch.no_grad():
        total = FromKept(kept).total(model, projected.scored(model, inputs), batch, Figures())
    return total.item() / sum(lengths)


@pytest.mark.parametrize("top", [None, 3, 64])
def test_a_teacher_without_a_context_is_no_distance_away_and_one_token_off_is_far(
    sharp: Path, top: int | None
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(sharp).eval()
    with torch.no_grad():
        model.model.norm.weight *= 8  # as sure as a trained model is
    tokenizer = AutoTokenizer.from_pretrained(sharp)
    bare = [tokenizer.convert_tokens_to_ids(WORDS[i : i + 2 + i % 4]) for i in range(6)]
    answers = [tokenizer.convert_tokens_to_ids(WORDS[9 + i : 12 + i + i % 3]) for i in range(6)]
    kept = KeptOdds(top, head="learns")
    spare = [tokenizer.convert_tokens_to_ids(["yes", "no"])]  # so that a shift by one stays inside
    assert kept.ask(model, [*bare, bare[0]], [*answers, *spare])[:3] == [0, 3, 7]
    assert divergence(model, kept, bare, answers) == pytest.approx(0, abs=1e-5)
    assert divergence(model, kept, bare, answers, shift=1) > 1
    assert kept.mib > 0


def test_all_odds_are_kept_as_hidden_states_and_say_the_same_as_themselves(sharp: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sharp).eval()
    told_, bare, answers = [[20, 21, 5, 3]], [[5, 3]], [[30, 31, 32]]
    found = []
    for top in (None, 64, 2):
        kept = KeptOdds(top, head="learns")
        kept.ask(model, told_, answers)
        found.append(divergence(model, kept, bare, answers))
    with torch.no_grad():
        P, Q = (
            model(torch.tensor([start + answers[0]])).logits[0, len(start) - 1 : -1].log_softmax(-1)
            for start in (told_[0], bare[0])
        )
    expected = (P.exp() * (P - Q)).sum(-1).mean().item()
    assert expected > 0.1
    assert found[:2] == pytest.approx([expected, expected], rel=1e-4)
    assert found[2] < expected


def test_the_head_that_is_kept_does_not_move_with_the_student(sharp: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sharp).eval()
    kept = KeptOdds(None, head="learns")
    kept.ask(model, [[5, 3]], [[30, 31]])
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(
            torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        )
    assert divergence(model, kept, [[5, 3]], [[30, 31]]) > 0.01


@pytest.mark.parametrize(("loss", "drawn"), [("kl", {"answers": 2}), ("sft", {"temperature": 0})])
def test_the_context_moves_into_the_weights(
    make_run: Make, sharp: Path, loss: str, drawn: dict[str, float]
) -> None:
    rows = make_run("rows", prompts_only(16)).parents[2] / "rows.jsonl"
    folder = make_run(
        "moved",
        model=str(sharp),
        data={"train": str(rows), "eval": str(rows)},
        method=method(loss=loss, **drawn),
        max_steps=24,
        batch_size=16,
        learning_rate=5e-3,
        evaluate={"every_steps": 12},
    )
    train(folder)
    answers = 16 * drawn.get("answers", 1)
    assert told(folder, Started)[0].rows == answers
    first, last = told(folder, Measured)[0], told(folder, Evaluated)[-1]
    name = "kl" if loss == "kl" else "loss"
    assert last.values[name] < first.values[name] / 2
    assert any(f"{answers} answers of" in note for note in notes(folder))
    assert any("50 of each" in note for note in notes(folder)) is (loss == "kl")


def test_an_adapter_learns_what_the_whole_model_would_and_the_base_stays(make_run: Make, sharp: Path) -> None:
    before = (sharp / "model.safetensors").read_bytes()
    folder = make_run(
        "adapter",
        prompts_only(8),
        model=str(sharp),
        method=method(adapter={"rank": 4, "alpha": 8}, top=None),
        max_steps=20,
        learning_rate=1e-2,
    )
    train(folder)
    measured = told(folder, Measured)
    assert measured[-1].values["kl"] < 0.8 * measured[0].values["kl"]
    assert (folder / "model" / "adapter_model.safetensors").is_file()
    assert (sharp / "model.safetensors").read_bytes() == before


def test_the_context_goes_before_what_the_rows_demand_and_the_student_still_reads_that() -> None:
    question = {"role": "user", "content": "hi"}
    rule = {"role": "system", "content": "no red"}
    assert asked.with_context([question], "loud") == [{"role": "system", "content": "loud"}, question]
    assert asked.with_context([rule, question], "loud") == [
        {"role": "system", "content": "loud\n\nno red"},
        question,
    ]
    assert asked.with_context("hi", "loud") == "loud\n\nhi"


def test_rows_are_read_with_and_without_their_answers() -> None:
    question, said = [{"role": "user", "content": "hi"}], [{"role": "assistant", "content": "ok"}]
    read = asked.read(
        [{"messages": question + said}, {"messages": question + said + question}, {"messages": question}]
    )
    assert read.prompts == [question, question + said + question, question]
    assert [row is not None for row in read.answered] == [True, False, False]
    read = asked.read([{"prompt": "hi"}, {"prompt": "hi", "completion": "ok"}])
    assert read.prompts == ["hi", "hi"]
    assert [row is not None for row in read.answered] == [False, True]
    with pytest.raises(DataError, match=r"row 2: .*prompt-completion"):
        asked.read([{"prompt": "hi"}, {"messages": question}])


def test_only_answers_that_the_judge_prefers_are_learned_from(make_run: Make, sharp: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    from tests.methods.conftest import preference_rows

    judge = make_run("judge", preference_rows(), method="reward", model=str(sharp), max_steps=4)
    train(judge)
    assert AutoModelForSequenceClassification.from_pretrained(judge / "model").config.num_labels == 1
    folder = make_run(
        "kept", prompts_only(16), model=str(sharp), method=method(keep_if_better="run:judge"), max_steps=1
    )
    train(folder)
    rows = told(folder, Started)[0].rows
    assert 0 < rows < 16
    assert f"{rows} of 16 answers are learned from: run:judge scores them above the bare ones" in notes(
        folder
    )


def test_a_filter_that_is_no_judge_is_refused_before_the_start(make_run: Make, sharp: Path) -> None:
    for reference in (str(sharp), "run:nobody"):
        folder = make_run(
            "bad-" + reference[-6:].replace(":", "-"),
            model=str(sharp),
            method=method(keep_if_better=reference),
        )
        with pytest.raises(ModelError, match=r"^method\.keep_if_better: "):
            train(folder)
        assert [type(event) for event in told(folder)] == [Ended]


def test_what_cannot_be_carried_out_is_told_with_its_way_out(make_run: Make, sharp: Path) -> None:
    twice = make_run("twice", model=str(sharp), method=method(answers=2, temperature=0))
    with pytest.raises(ConfigError, match="at temperature 0 all 2 answers to a prompt are the same"):
        train(twice)
    long = make_run("long", model=str(sharp), method=method(context=" ".join(["red"] * 130)))
    with pytest.raises(DataError, match="nothing is left for an answer; shorten the context"):
        train(long)
    short = make_run(
        "short", model=str(sharp), data={"train": str(_rows(long)), "max_length": 8}, method=method()
    )
    train(short)
    assert any("prompts were left out: no room for an answer in 8 tokens" in note for note in notes(short))


def _rows(folder: Path) -> Path:
    path = Path(json.loads((folder / "config.json").read_text())["data"]["train"])
    assert path.is_file()
    return path


def test_the_same_seed_gives_the_same_answers_and_another_one_others(make_run: Make, sharp: Path) -> None:
    losses = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        folder = make_run(name, prompts_only(8), model=str(sharp), method=method(), max_steps=1, seed=seed)
        train(folder)
        losses.append(told(folder, Measured)[0].values["label_loss"])
    assert losses[0] == losses[1] != losses[2]
