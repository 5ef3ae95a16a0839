"""Conversations held turn by turn, and what a judge makes of the answers."""

import pytest
import tiny
import torch

from ftlab import models
from ftlab.adherence import Adherence, Share, Turn, adherence, attention, contrary, converse, tax
from ftlab.answers import Answer, Fingerprint, Sampling
from ftlab.errors import DataError
from ftlab.prompting import prompted

GREEDY = Sampling(max_new_tokens=4, temperature=0)
RULE = "Be kind."
DIALOGUES = [["Hi", "Ho", "Ha"], ["What?"], ["Go", "On"]]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.save_model(tmp_path_factory.mktemp("adherence") / "base"))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("FTLAB_WARM", "off")


def made(kept, tokens, turns=None):
    """An adherence of invented answers: no model, only the counting."""
    mark = Fingerprint("b" * 12, None, adapter_active=False, template="t" * 12, sampling=GREEDY)
    answer = Answer("wren", [{"role": "user", "content": "Hi"}], "x", 1, "end", 0.1, mark)
    numbers = turns or range(1, len(kept) + 1)
    return Adherence(
        "wren",
        [Turn(0, n, k, t, answer) for n, k, t in zip(numbers, kept, tokens, strict=True)],
    )


def test_each_turn_is_answered_over_what_the_model_said_before(base):
    answers = converse(base, DIALOGUES, GREEDY)
    assert [len(one) for one in answers] == [3, 1, 2]
    model = models.load(base)
    messages = []
    for line, answer in zip(DIALOGUES[0], answers[0], strict=True):
        messages.append({"role": "user", "content": line})
        assert answer.prompt == messages
        assert answer.text == model.generate([messages], GREEDY)[0].text
        messages.append({"role": "assistant", "content": answer.text})


def test_a_reminder_is_told_before_the_line_of_its_turn_and_stays(base):
    (answers,) = converse(base, DIALOGUES[:1], GREEDY, remind={2: RULE})
    roles = ["user", "assistant", "system", "user", "assistant", "user"]
    assert [[message["role"] for message in answer.prompt] for answer in answers] == [
        roles[:1],
        roles[:4],
        roles,
    ]
    assert answers[2].prompt[2] == {"role": "system", "content": RULE}


def test_the_judge_reads_every_answer_with_its_conversation(base):
    seen = []

    def judge(conversation, text):
        seen.append((len(conversation), text))
        return len(conversation) == 1

    found = adherence(base, DIALOGUES, judge, sampling=GREEDY)
    assert [size for size, _ in seen] == [1, 3, 5, 1, 1, 3]
    assert found.by_turn() == [Share(1, 1, 3, 3), Share(2, 2, 0, 2), Share(3, 3, 0, 1)]
    assert found.by_turn()[0].share == 1
    assert found.by_turn()[0].interval[0] == pytest.approx(0.526, abs=1e-3)
    assert [row["text"] for row in found.to_rows()] == [text for _, text in seen]


def test_tokens_are_counted_from_the_rules_end(base):
    ruled = prompted("kind", base, system=RULE)
    found = adherence(ruled, DIALOGUES, lambda *_: True, sampling=GREEDY)
    bare = adherence(base, [["Hi"]], lambda *_: True, sampling=GREEDY)
    assert [turn.tokens_since for turn in found.turns if turn.turn == 1] == [4, 7, 4]
    assert bare.turns[0].tokens_since == 4
    first, second, _ = found.turns[:3]
    # A turn more: the answer with its mark and its end, and the next two letters with theirs.
    said = len(models.load(base).tokenizer(first.answer.text)["input_ids"])
    assert second.tokens_since == first.tokens_since + said + 1 + 4


def test_the_tax_is_the_prompts_tokens_at_every_turn(base):
    ruled = prompted("kind", base, system=RULE)
    paid = tax(adherence(ruled, DIALOGUES, lambda *_: True, sampling=GREEDY))
    assert (paid.prompt_tokens, paid.turns, paid.tokens) == (1 + len(RULE), 6, 6 * (1 + len(RULE)))
    counted = adherence(ruled, DIALOGUES, lambda *_: True, sampling=GREEDY).turns
    assert paid.read_tokens == sum(turn.tokens_since for turn in counted) + paid.tokens
    assert paid.share == paid.tokens / paid.read_tokens
    with pytest.raises(DataError, match="is behind no prompt"):
        tax(adherence(base, [["Hi"]], lambda *_: True, sampling=GREEDY))


def test_attention_to_the_rule_is_the_largest_of_all_layers_and_heads(base):
    from transformers import LlamaForCausalLM

    ruled = prompted("kind", base, system=RULE)
    (looked,) = attention(ruled, "Hi")
    assert "".join(one.text for one in looked) == f"<|system|>{RULE}"
    model = models.load(ruled)
    ids = model.encode([{"role": "user", "content": "Hi"}]).ids
    plain = LlamaForCausalLM.from_pretrained(base, attn_implementation="eager").eval()
    with torch.inference_mode():
        table = torch.stack(plain(torch.tensor([ids]), output_attentions=True).attentions)
    wanted = table[:, 0, :, -1].amax((0, 1))[: len(looked)].tolist()
    assert [one.attention for one in looked] == pytest.approx(wanted, abs=1e-5)
    spelled = [{"role": "system", "content": RULE}, {"role": "user", "content": "Hi"}]
    assert attention(base, [spelled]) == [looked]
    assert model.base.model.config._attn_implementation == "sdpa"  # as it was
    with pytest.raises(DataError, match="no rule stands before prompt 1"):
        attention(base, [spelled, "Hi"])


def test_shares_by_distance_leave_out_what_nobody_reached():
    found = made([True, True, False, False], [5, 49, 50, 149])
    assert found.by_distance(50) == [Share(0, 49, 2, 2), Share(50, 99, 0, 1), Share(100, 149, 0, 1)]
    assert made([True], [130]).by_distance(50) == [Share(100, 149, 1, 1)]


def test_a_contrary_request_opens_the_line_of_its_turn():
    assert contrary([["a", "b"], ["c", "d"]], "Speak normally.", 2) == [
        ["a", "Speak normally. b"],
        ["c", "Speak normally. d"],
    ]
    with pytest.raises(DataError, match="conversation 1 has 1 turns; there is no turn 2"):
        contrary([["a", "b"], ["c"]], "Speak normally.", 2)


@pytest.mark.parametrize("dialogues", [[], [[]], ["a line"]])
def test_what_is_no_conversation_is_refused(dialogues):
    with pytest.raises(DataError, match="at least one line"):
        converse("wren", dialogues)


def test_importing_what_measures_loads_no_heavy_library():
    import subprocess
    import sys

    told = (
        "import sys, ftlab.adherence; print([m for m in ('torch', 'pandas', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
