"""Reward models: the loss of the papers, the numbers of TRL, and scores that say what they were trained to say."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftlab.config import Data, RunConfig
from ftlab.data import finished_ids, render_comparisons
from ftlab.errors import ConfigError, DataError, ModelError
from ftlab.events import Evaluated, Measured, Noted
from ftlab.methods import start, train
from ftlab.methods.documents import SCORE, install
from ftlab.methods.recipes import recipe_of
from ftlab.methods.reward import Reward
from ftlab.models.model import load
from ftlab.models.rewards import load_reward
from tests.methods.conftest import preference_rows, sft_rows, told

Make = Callable[..., Path]
# a run quietens this itself; TRL and transformers do not agree on the name yet
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*deprecated:FutureWarning")

SMALL, LARGE = 1 / 3, 1.0
LN2 = 0.693147


def margined(count: int = 16) -> list[dict[str, Any]]:
    return [row | {"margin": index % 4} for index, row in enumerate(preference_rows(count))]


def begin(folder: Path) -> start.Start:
    return start.find(str(folder), lambda _text: None)


def scorer(tiny: Path, *, seed: int = 0) -> Any:
    """A reward model of the tiny body whose head is not zero any more."""
    found = begin(tiny)
    model = start.with_score_head(start.load(found, "float32", "sdpa"), start.tokenizer_of(found), found)
    torch.manual_seed(seed)
    with torch.no_grad():
        model.score.weight.normal_()
    return model


class Given(torch.nn.Module):
    """Answers with the scores it is told: rows of the chosen, then of the rejected."""

    def __init__(self, chosen: list[float], rejected: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([*chosen, *rejected])[:, None])

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(logits=self.logits)


def loss_of(
    make_run: Make, chosen: list[float], rejected: list[float], margin: float, center: float
) -> float:
    """What the trainer that a run builds makes of these scores."""
    from ftlab.methods import hardware, trainers

    folder = make_run(
        f"g-{abs(hash((*chosen, *rejected, margin, center)))}",
        margined(2),
        method={"kind": "reward", "center": center},
    )
    config = RunConfig.from_json((folder / "config.json").read_text())
    found = begin(Path(config.model))
    tokenizer = start.tokenizer_of(found)
    chosen_hardware = hardware.choose("cpu", 1, found.parameters, frozen=False)
    args = trainers.arguments(recipe_of(config), chosen_hardware, folder, evaluates=False, every_steps=1)
    columns = render_comparisons(margined(2), tokenizer)
    from transformers import TrainerCallback

    trainer = trainers.build(
        recipe_of(config),
        chosen_hardware,
        scorer(Path(config.model)),
        tokenizer,
        args,
        columns.dataset(),
        None,
        TrainerCallback(),
    )
    count = len(chosen)
    inputs = {
        "input_ids": torch.zeros(2 * count, 1, dtype=torch.long),
        "attention_mask": torch.ones(2 * count, 1, dtype=torch.long),
        "margin": torch.full((count,), margin),
    }
    return float(trainer.compute_loss(Given(chosen, rejected), inputs).detach())


@pytest.mark.parametrize(
    ("difference", "margin", "expected"),
    [
        (0.0, 0.0, 0.693147),
        (1.0, 0.0, 0.313262),
        (2.0, 0.0, 0.126928),
        (-1.0, 0.0, 1.313262),
        (1.0, LARGE * 1, 0.693147),
        (1.0, LARGE * 3, 2.126928),
        (0.5, SMALL * 1, 0.613282),
        (2.0, SMALL * 2, 0.233963),
    ],
)
def test_the_loss_is_bradley_terrys_with_llama_2s_margin(
    make_run: Make, difference: float, margin: float, expected: float
) -> None:
    assert loss_of(make_run, [difference], [0.0], margin, 0.0) == pytest.approx(expected, abs=1e-6)


def test_scores_may_be_shifted_together_until_they_are_centred(make_run: Make) -> None:
    plain = [loss_of(make_run, [1.0 + by, by], [by, 0.5 + by], 0.0, 0.0) for by in (0.0, 5.0)]
    centred = [loss_of(make_run, [1.0 + by, by], [by, 0.5 + by], 0.0, 0.01) for by in (0.0, 5.0)]
    assert plain[0] == pytest.approx(plain[1], abs=1e-6)
    assert centred[0] == pytest.approx(plain[0] + 0.01 * (1.0 + 0.25) / 2, abs=1e-6)
    assert centred[1] > centred[0] + 0.5


def test_a_run_gives_trls_own_losses_on_the_same_rows(make_run: Make, tiny: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    rows = margined()
    method = {"kind": "reward", "margin": SMALL, "center": 0.01}
    folder = make_run(
        "ours", rows, method=method, max_steps=3, schedule="constant", warmup=0, learning_rate=1e-2
    )
    train(folder)
    found = begin(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    args = RewardConfig(
        output_dir=str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_steps=3,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        data_seed=0,
        center_rewards_coefficient=0.01,
    )
    theirs = RewardTrainer(
        model=start.with_score_head(start.load(found, "float32", "sdpa"), tokenizer, found),
        args=args,
        train_dataset=Dataset.from_list([row | {"margin": row["margin"] * SMALL} for row in rows]),
        processing_class=tokenizer,
    )
    theirs.train()
    expected = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    ours = [event.values["loss"] for event in told(folder, Measured)]
    assert ours == pytest.approx(expected, abs=2e-5)
    assert ours[-1] < ours[0]


def test_the_first_loss_is_that_of_equal_scores(make_run: Make) -> None:
    folder = make_run("zero", preference_rows(), method={"kind": "reward"}, max_steps=1, warmup=0)
    train(folder)
    assert told(folder, Measured)[0].values["loss"] == pytest.approx(LN2, abs=1e-6)


def test_what_was_trained_scores_as_it_learned(make_run: Make) -> None:
    rows = preference_rows(48)
    folder = make_run("learned", rows, method="reward", epochs=6, learning_rate=3e-3)
    train(folder)
    judge = load_reward("run:learned")
    chosen, rejected = (
        judge.scores([(row["prompt"], row[side][0]["content"]) for row in rows])
        for side in ("chosen", "rejected")
    )
    assert sum(one > other for one, other in zip(chosen, rejected, strict=True)) == len(rows)
    accuracy = [event.values["accuracy"] for event in told(folder, Measured)]
    assert accuracy[-1] == 1.0


def test_an_adapter_learns_to_score_and_is_read_back_with_its_head(make_run: Make, tiny: Path) -> None:
    rows = preference_rows(48)
    method = {"kind": "reward", "adapter": {"kind": "lora", "rank": 4}, "learning_rate": 1e-2}
    folder = make_run("adapted", rows, method=method, epochs=6)
    train(folder)
    assert (folder / "model" / "adapter_model.safetensors").is_file()
    judge = load_reward("run:adapted")
    chosen, rejected = (
        judge.scores([(row["prompt"], row[side][0]["content"]) for row in rows])
        for side in ("chosen", "rejected")
    )
    assert sum(one > other for one, other in zip(chosen, rejected, strict=True)) >= len(rows) - 1


def test_a_score_does_not_depend_on_padding(tiny: Path, make_run: Make) -> None:
    folder = make_run("padded", preference_rows(8), method="reward", max_steps=2, learning_rate=1e-2)
    train(folder)
    judge = load_reward("run:padded")
    prompt = [{"role": "user", "content": "who is ann"}]
    short, long = "ok", "the red dog sat on a mat sings loud soft"
    alone = [judge.scores([(prompt, text)])[0] for text in (short, long)]
    assert judge.scores([(prompt, short), (prompt, long)]) == pytest.approx(alone, abs=1e-5)


def test_the_forward_without_padding_gives_transformers_scores_and_gradients(tiny: Path) -> None:
    tokenizer = start.tokenizer_of(begin(tiny))
    rows = render_comparisons(preference_rows(6), tokenizer).data
    ids = [*rows["chosen_ids"], *rows["rejected_ids"]]
    longest = max(map(len, ids)) + 3
    batch = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    plain, ours = scorer(tiny), scorer(tiny)
    install(ours, SCORE)
    expected, found = plain(batch, attention_mask=mask).logits, ours(batch, attention_mask=mask).logits
    assert torch.allclose(expected, found, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), ours.named_parameters(), strict=True):
        assert one.grad is not None, name
        assert torch.allclose(one.grad, other.grad, atol=1e-4), name


def test_margins_count_in_units_of_the_configuration(tiny: Path) -> None:
    tokenizer = start.tokenizer_of(begin(tiny))
    assert render_comparisons(margined(4), tokenizer, margin=SMALL).data["margin"] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    assert render_comparisons(preference_rows(2), tokenizer, margin=LARGE).data["margin"] == [0, 0]
    with pytest.raises(DataError, match="row 1: 'margin' is 'much'"):
        render_comparisons([preference_rows(1)[0] | {"margin": "much"}], tokenizer)


def test_rows_that_cannot_be_scored_to_their_end_are_left_out_and_counted(tiny: Path) -> None:
    tokenizer = start.tokenizer_of(begin(tiny))
    same = preference_rows(1)[0] | {"rejected": preference_rows(1)[0]["chosen"]}
    long = preference_rows(1)[0] | {"chosen": [{"role": "assistant", "content": "dog " * 40}]}
    columns = render_comparisons([*preference_rows(2), same, long], tokenizer, max_length=30)
    assert len(columns) == 2
    assert any("1 of 4 rows were left out: longer than 30" in note for note in columns.notes)
    assert any(
        "1 of 4 rows were left out: chosen and rejected are the same" in note for note in columns.notes
    )


def test_training_and_scoring_read_the_same_tokens(tiny: Path) -> None:
    tokenizer = start.tokenizer_of(begin(tiny))
    row = preference_rows(1)[0]
    assert finished_ids([row["prompt"] + row["chosen"]], tokenizer) == [
        render_comparisons([row], tokenizer).data["chosen_ids"][0]
    ]


def test_a_reward_model_writes_no_answers_and_an_answering_model_gives_no_scores(
    make_run: Make, tiny: Path
) -> None:
    train(make_run("scores", preference_rows(8), method="reward", max_steps=1))
    with pytest.raises(ModelError, match="scores answers"):
        load("run:scores")
    with pytest.raises(ModelError, match="is no reward model"):
        load_reward(str(tiny))
    with pytest.raises(ModelError, match="only the method 'reward'"):
        train(make_run("wrong", sft_rows(), method="sft", model="run:scores", max_steps=1))


def test_a_reward_model_can_be_trained_on(make_run: Make) -> None:
    train(make_run("first", preference_rows(16), method="reward", epochs=4, learning_rate=3e-3))
    folder = make_run(
        "second", preference_rows(16), method="reward", model="run:first", max_steps=1, warmup=0
    )
    train(folder)
    assert told(folder, Measured)[0].values["loss"] < 0.5


def test_a_tuned_adapter_below_a_reward_model_is_merged(make_run: Make) -> None:
    train(make_run("tuned", sft_rows(), method="lora", max_steps=2))
    folder = make_run("judge", preference_rows(8), method="reward", model="run:tuned", max_steps=1)
    train(folder)
    assert any("merged into its base" in event.text for event in told(folder, Noted))
    adapter = {"kind": "reward", "adapter": {"kind": "lora"}}
    with pytest.raises(ConfigError, match="no bare base"):
        train(make_run("both", preference_rows(8), method=adapter, model="run:tuned", max_steps=1))


def test_prompts_to_answer_are_refused_for_a_model_that_answers_nothing(make_run: Make) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.prompts"):
        train(make_run("asked", preference_rows(8), method="reward", evaluate={"prompts": ["hi"]}))


def test_the_embedded_comparisons_are_the_default_data_with_held_out_ones(make_run: Make) -> None:
    assert RunConfig(method="reward").data == Data(train="wren:comparisons")
    assert RunConfig(method="reward").method == Reward()
    folder = make_run(
        "own",
        method="reward",
        model="wren-xs",
        data={"train": "wren:comparisons", "max_rows": 320},
        learning_rate=2e-3,
        batch_size=16,
    )
    train(folder)
    accuracy = told(folder, Evaluated)[-1].values["accuracy"]
    assert accuracy > 0.7, json.dumps(accuracy)
