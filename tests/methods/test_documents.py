"""The unpadded forward gives the numbers of the definition, and those of TRL."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftlab.methods import documents, portions

# PEFT asks transformers under a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*deprecated:FutureWarning")

IGNORE = -100
FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")


def loss_of(hidden_SD: torch.Tensor, weight_VD: torch.Tensor, labels_S: torch.Tensor) -> float:
    return -documents.Score.apply(hidden_SD, weight_VD, None, labels_S, False)[0].mean().item()


def test_two_equal_logits_cost_ln_two() -> None:  # G-SFT-1
    assert loss_of(torch.zeros(1, 3), torch.zeros(2, 3), torch.tensor([1])) == pytest.approx(
        0.693147, abs=1e-6
    )


class Oracle:
    """A model that is sure of the token `ahead` places after the one it reads (0: the very token)."""

    def __init__(self, ahead: int, vocabulary: int) -> None:
        self.ahead, self.vocabulary = ahead, vocabulary

    def base_model(self, *, input_ids: torch.Tensor, **_: Any) -> Any:
        ids = torch.roll(input_ids[0], -self.ahead)
        return SimpleNamespace(last_hidden_state=F.one_hot(ids, self.vocabulary).float()[None])

    def get_output_embeddings(self) -> Any:
        return SimpleNamespace(weight=torch.eye(self.vocabulary) * 50, bias=None)


@pytest.mark.parametrize(("ahead", "low", "high"), [(1, 0, 1e-6), (0, 10, math.inf)])
def test_labels_are_shifted_exactly_once(ahead: int, low: float, high: float) -> None:  # G-SFT-4
    ids = torch.tensor([[3, 1, 4, 2, 5]])
    loss = documents._scored(Oracle(ahead, 8), FIELDS, input_ids=ids, labels=ids).loss.item()
    assert low <= loss < high


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three rows of 9, 4 and 6 tokens, right-padded; the first tokens of each carry no loss."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 60, (3, 9), generator=generator)
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 6])[:, None]
    labels = ids.masked_fill(~mask | (torch.arange(9)[None] < 2), IGNORE)
    return {"input_ids": ids.masked_fill(~mask, 0), "attention_mask": mask.long(), "labels": labels}


@pytest.fixture
def models(tiny: Path) -> tuple[Any, Any]:
    """The same model twice: with TRL's forward and with ours."""
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    theirs = AutoModelForCausalLM.from_pretrained(tiny)
    ours = copy.deepcopy(theirs)
    add_fused_lm_head(theirs, outputs=FIELDS)
    add_fused_lm_head(ours, outputs=FIELDS)
    assert documents.fits(ours)
    documents.install(ours, FIELDS)
    return theirs.train(), ours.train()


def test_every_field_and_gradient_is_that_of_trl(
    models: tuple[Any, Any], batch: dict[str, torch.Tensor]
) -> None:
    theirs, ours = models
    expected, found = (model(**batch, fused_lm_head=True) for model in models)
    for name in ("loss", *FIELDS, "label_mask"):
        one, other = getattr(expected, name).float(), getattr(found, name).float()
        assert torch.allclose(one, other, atol=1e-5), name
    expected.loss.backward()
    found.loss.backward()
    for (name, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5), name


def test_padding_changes_nothing(models: tuple[Any, Any], batch: dict[str, torch.Tensor]) -> None:  # G-SFT-3
    _, ours = models
    together = ours(**batch, fused_lm_head=True).log_probs
    for row, length in enumerate((9, 4, 6)):
        alone = ours(
            input_ids=batch["input_ids"][row : row + 1, :length],
            labels=batch["labels"][row : row + 1, :length],
            fused_lm_head=True,
        ).log_probs[0]
        assert torch.allclose(together[row, : length - 1], alone, atol=1e-6)


def test_a_document_never_sees_its_neighbour(models: tuple[Any, Any], batch: dict[str, torch.Tensor]) -> None:
    _, ours = models
    before = ours(**batch, fused_lm_head=True).log_probs[1]
    changed = batch | {"input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0] = 7
    assert torch.equal(ours(**changed, fused_lm_head=True).log_probs[1], before)


def test_generation_is_untouched(tiny: Path, models: tuple[Any, Any]) -> None:
    from transformers import AutoModelForCausalLM

    plain, (_, ours) = AutoModelForCausalLM.from_pretrained(tiny), models
    inputs = {
        "input_ids": torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
    }
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6, "pad_token_id": 0}
    assert torch.equal(ours.eval().generate(**inputs, **options), plain.eval().generate(**inputs, **options))


def test_quick_adapters_give_the_numbers_and_gradients_of_peft(tiny: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from ftlab.methods import adapters

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    slow = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config)
    quick = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), config)
    quick.load_state_dict(slow.state_dict())
    assert adapters.quicken(quick) == 14
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    for model in (slow, quick):
        model(input_ids=ids, labels=ids).loss.backward()
    for (name, one), other in zip(slow.named_parameters(), quick.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-5), name
    with slow.disable_adapter(), quick.disable_adapter():
        assert torch.equal(slow(input_ids=ids).logits, quick(input_ids=ids).logits)


def test_sixteen_bits_cost_little(
    tiny: Path, batch: dict[str, torch.Tensor], models: tuple[Any, Any]
) -> None:
    theirs, ours = models
    exact = theirs(**batch, fused_lm_head=True).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ours(**batch, fused_lm_head=True).loss
    mixed.backward()
    assert mixed.item() == pytest.approx(exact, rel=0.01)
    short = ours.to(torch.bfloat16)(**batch, fused_lm_head=True).loss
    assert short.item() == pytest.approx(exact, rel=0.01)


def test_a_model_whose_numbers_are_not_known_keeps_its_own_forward() -> None:
    from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config

    for config in (
        Gemma2Config(vocab_size=32, hidden_size=16, num_hidden_layers=2, intermediate_size=16, head_dim=8,
                     num_attention_heads=2, num_key_value_heads=1),
        GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2),
    ):  # fmt: skip
        model = AutoModelForCausalLM.from_config(config)
        assert documents.fits(model) == isinstance(config, GPT2Config)


def prompted(base: Any, kind: str) -> Any:
    """The model with a random soft prompt of four tokens, a prefix, a written prompt or stretched activations."""
    from peft import IA3Config, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

    torch.manual_seed(3)
    soft: dict[str, Any] = {"num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}
    configs = {
        "prompt": lambda: PromptTuningConfig(**soft),
        "prefix": lambda: PrefixTuningConfig(**soft),
        "projected prefix": lambda: PrefixTuningConfig(**soft, prefix_projection=True),
        "written prompt": lambda: PromptEncoderConfig(**soft, encoder_hidden_size=16),
        "ia3": lambda: IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
        ),
    }
    return get_peft_model(base, configs[kind]())


@pytest.mark.parametrize("kind", ["prompt", "prefix", "projected prefix", "written prompt", "ia3"])
def test_a_soft_prompt_gives_the_numbers_and_gradients_of_peft(
    models: tuple[Any, Any], batch: dict[str, torch.Tensor], kind: str
) -> None:
    theirs, ours = (prompted(model, kind) for model in models)
    expected, found = (model(**batch, fused_lm_head=True) for model in (theirs, ours))
    assert torch.allclose(expected.loss, found.loss, atol=1e-6)
    for name in (*FIELDS, "label_mask"):
        one, other = getattr(expected, name).float(), getattr(found, name).float()
        assert torch.allclose(one, other, atol=1e-5), name
    expected.loss.backward()
    found.loss.backward()
    learned = [(name, p) for name, p in theirs.named_parameters() if p.requires_grad]
    assert learned
    grads = dict(ours.named_parameters())
    for name, parameter in learned:
        assert parameter.grad.abs().max() > 0, name
        assert torch.allclose(parameter.grad, grads[name].grad, atol=1e-5), name


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_every_row_stands_right_behind_its_prompt(
    models: tuple[Any, Any], batch: dict[str, torch.Tensor], kind: str
) -> None:
    ours = prompted(models[1], kind)
    front = 4 if kind == "prompt" else 0  # places of the prompt, none of them scored
    together = ours(**batch, fused_lm_head=True).log_probs
    for row, length in enumerate((9, 4, 6)):
        alone = {name: value[row : row + 1, :length] for name, value in batch.items()}
        found = ours(**alone, fused_lm_head=True).log_probs[0]
        assert torch.allclose(together[row, : front + length - 1], found, atol=1e-6)


@pytest.mark.parametrize("kind", ["prompt", "written prompt"])
def test_a_prompt_of_words_that_exist_is_read_as_these_words(tiny: Path, kind: str) -> None:  # G-PT-2
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny).eval()
    words, text = torch.tensor([[11, 12, 13, 14]]), torch.tensor([[20, 21, 22]])
    with torch.no_grad():
        expected = plain(input_ids=torch.cat([words, text], 1)).logits
        model = prompted(AutoModelForCausalLM.from_pretrained(tiny), kind).eval()
        model.peft_config["default"].inference_mode = True  # a finished prompt is a table, whoever wrote it
        model.prompt_encoder["default"].embedding.weight.copy_(plain.get_input_embeddings()(words)[0])
        documents.attach(model.get_base_model())
        prompts = model.get_prompt(1)
        hidden_ND, _ = documents.hidden(
            model.get_base_model(), inputs_embeds=torch.cat([prompts, plain.get_input_embeddings()(text)], 1)
        )
        found = model.get_base_model().get_output_embeddings()(hidden_ND)
        assert torch.allclose(model(input_ids=text).logits, expected, atol=1e-5)
    assert torch.allclose(found, expected[0], atol=1e-5)


def packed(rows: list[list[int]]) -> dict[str, Any]:
    """Documents laid into one row, as `data.packing` makes it; nothing is learned of a document's first token."""
    ids = [token for row in rows for token in row]
    labels = [label for row in rows for label in (IGNORE, *row[1:])]
    return {"input_ids": ids, "labels": labels, "seq_lengths": [len(row) for row in rows]}


def test_packed_documents_give_the_loss_and_gradients_of_separate_rows(models: tuple[Any, Any]) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    _, ours = models
    rows = [[5, 6, 7, 8], [9, 10], [11, 12, 13], [14, 15, 16, 17, 18]]
    collate = portions.Apart(DataCollatorForLanguageModeling(pad_token_id=0))
    apart = collate([{"input_ids": row, "labels": [IGNORE, *row[1:]]} for row in rows])
    together = collate([packed(rows[:2]), packed(rows[2:])])
    grads = []
    for inputs in (apart, together):
        ours.zero_grad()
        ours(**inputs, fused_lm_head=True).loss.backward()
        grads.append([p.grad.clone() for p in ours.parameters()])
    one, other = (ours(**inputs, fused_lm_head=True).loss.item() for inputs in (apart, together))
    assert one == pytest.approx(other, abs=1e-6)
    assert all(torch.allclose(left, right, atol=1e-6) for left, right in zip(*grads, strict=True))


def test_a_packed_document_never_sees_the_one_before_it(models: tuple[Any, Any]) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    _, ours = models
    collate = portions.Apart(DataCollatorForLanguageModeling(pad_token_id=0))
    scores = []
    for before in ([5, 6, 7], [20, 21, 22]):
        inputs = collate([packed([before, [9, 10, 11, 12]])])
        found = ours(**inputs, fused_lm_head=True)
        scores.append(found.log_probs[1][found.label_mask[1]])
    assert len(scores[0]) == 3
    assert torch.equal(*scores)


def test_a_batch_is_cut_between_rows_and_only_where_it_must(batch: dict[str, torch.Tensor]) -> None:
    assert portions.cut(batch, 19) == [batch]
    parts = portions.cut(batch, 13)  # rows of 9, 4 and 6 tokens
    assert [tuple(part["input_ids"].shape) for part in parts] == [(2, 9), (1, 6)]
    assert [len(portions.cut(batch, size)) for size in (12, 10, 1)] == [2, 2, 3]
    whole = torch.cat([part["input_ids"][part["attention_mask"].bool()] for part in portions.cut(batch, 1)])
    assert torch.equal(whole, batch["input_ids"][batch["attention_mask"].bool()])


def test_a_portion_is_smaller_for_a_larger_model_and_the_same_for_the_same(tiny: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert portions.fitting(model) == portions.fitting(copy.deepcopy(model)) > 10_000
    config = AutoConfig.from_pretrained(tiny)
    config.update({"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4})
    assert portions.fitting(AutoModelForCausalLM.from_config(config)) < portions.fitting(model) / 10
