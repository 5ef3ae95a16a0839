"""The unpadded forward gives the numbers of the definition, and those of TRL."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftlab.methods import documents

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
