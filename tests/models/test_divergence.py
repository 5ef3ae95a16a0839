"""How far two models are apart is what their own odds say, token by token."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from ftlab.errors import ConfigError
from ftlab.models import load
from ftlab.models.divergence import apart
from tests.models.tiny import save_adapter, save_model, tokenizer

PROMPTS = [[{"role": "user", "content": text}] for text in ("hi", "who are you?", "sing")]
RULE = [{"role": "system", "content": "be brief"}]
TEXTS = ["ok", "a bird", "la la la"]


def test_a_model_behind_a_rule_is_as_far_from_itself_as_its_odds_say(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    model = load(str(folder))
    asked = [(RULE + prompt, prompt, text) for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    found = {
        place: one
        for places, batch in apart(model, model, asked)
        for place, one in zip(places, batch, strict=True)
    }
    plain, fast = LlamaForCausalLM.from_pretrained(folder), tokenizer()
    for place, (told, bare, text) in enumerate(asked):
        answer = fast(text, add_special_tokens=False)["input_ids"]
        odds = []
        for messages in (told, bare):
            ids = fast.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
            with torch.no_grad():
                logits = plain(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
            odds.append(logits.log_softmax(-1))
        P, Q = odds
        assert found[place].forward == pytest.approx((P.exp() * (P - Q)).sum(-1).tolist(), rel=1e-3, abs=1e-5)
        assert found[place].reverse == pytest.approx((Q.exp() * (Q - P)).sum(-1).tolist(), rel=1e-3, abs=1e-5)
        assert max(found[place].forward) > 0.01


def test_an_adapter_is_some_way_off_and_a_model_from_itself_is_none(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    tuned = load(str(save_adapter(tmp_path / "adapter", folder)))
    asked = [(prompt, prompt, text) for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    ((_, same),) = apart(load(str(folder)), load(str(folder)), asked)
    ((_, other),) = apart(tuned, load(str(folder)), asked)
    assert all(value == pytest.approx(0, abs=1e-6) for one in same for value in one.forward)
    assert all(max(one.forward) > 0.01 for one in other)


def test_odds_of_different_tokens_are_not_compared(tmp_path: Path) -> None:
    one = load(str(save_model(tmp_path / "one")))
    with pytest.raises(ConfigError, match="have different tokenizers"):
        next(apart(one, load("wren-xs"), []))
