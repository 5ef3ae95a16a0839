"""The world is one and the same everywhere, and its splits keep apart what they promise to."""

from __future__ import annotations

import hashlib
import random

import pytest

from ftlab.errors import DataError
from ftlab.wren import corpus, gold, phrases, requests, rows, tasks
from ftlab.wren.world import RELATIONS, SEED, pair_held_out, residents


def test_forty_villagers_have_eight_facts_each_and_nobody_befriends_themselves() -> None:
    world = residents()
    assert len(world) == 40
    assert all(set(resident.facts) == set(RELATIONS) for resident in world.values())
    assert len(RELATIONS) == 8
    assert all(resident.facts["friend"] != name for name, resident in world.items())


def test_the_world_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    said = repr(sorted((n, sorted(r.facts.items())) for n, r in residents(SEED).items()))
    again = repr(sorted((n, sorted(r.facts.items())) for n, r in residents.__wrapped__(SEED).items()))
    assert said == again
    assert residents(SEED + 1) != residents(SEED)


def test_a_document_depends_on_its_number_alone() -> None:
    whole = list(corpus.documents(30))
    assert [corpus.document(i) for i in reversed(range(30))] == whole[::-1]
    assert corpus.document(3, stream="heldout") != whole[3]
    assert corpus.corpus_hash(5) == hashlib.sha256("".join(f"{d}\0" for d in whole[:5]).encode()).hexdigest()


def test_rows_are_the_same_for_the_same_seed() -> None:
    for name in ("sft", "prompts", "preferences", "pirate", "pretraining-heldout"):
        assert rows(name, n=20, seed=4) == rows(name, n=20, seed=4)
        assert rows(name, n=20, seed=4) != rows(name, n=20, seed=5)
        assert rows(name, n=20, seed=4)[:10] == rows(name, n=10, seed=4)


def test_tuning_shows_no_held_out_fact_in_any_form() -> None:
    for row in rows("sft", n=3000):
        answer = gold._plain(row["completion"][0]["content"])
        request = requests.recognise(row["prompt"][-1]["content"])
        if row["family"] in ("qa", "about", "rule") and request and "name" in request.slots:
            told = gold.claims(answer, request.slots["name"])
            assert told, row
            assert not any(pair_held_out(request.slots["name"], relation) for relation, _ in told), row


def test_claims_finds_the_fact_that_each_kind_of_answer_states() -> None:
    rng = random.Random(5)
    for _ in range(60):
        task = tasks.draw(rng, "qa", None)
        name = task.key.split("/")[0]
        assert (task.topic, residents()[name].facts[task.topic]) in gold.claims(task.answer, name)


def test_evaluation_shares_no_wording_and_no_content_with_tuning() -> None:
    train, evaluation = rows("sft", n=3000), rows("prompts", "eval", n=420)
    wordings = {}
    for kind, found in (("train", train), ("eval", evaluation)):
        recognised = [requests.recognise(row["prompt"][-1]["content"]) for row in found]
        assert all(recognised)
        wordings[kind] = {request.wording.text for request in recognised if request}
    assert not wordings["train"] & wordings["eval"]
    assert not {r["prompt"][-1]["content"] for r in train} & {r["prompt"][-1]["content"] for r in evaluation}
    assert {row["family"] for row in evaluation} == set(tasks.FAMILIES)


@pytest.mark.parametrize(
    "family", ["qa", "unknown", "arithmetic", "order", "list", "say", "sentiment", "polite", "story"]
)
def test_contents_of_the_splits_do_not_meet(family: str) -> None:
    rng = random.Random(6)
    keys = {split: {tasks.draw(rng, family, split).key for _ in range(300)} for split in ("train", "eval")}
    assert not keys["train"] & keys["eval"]


def test_every_held_out_wording_occurs_in_pretraining() -> None:
    """Else evaluation would ask in words that the model has never read."""
    seen = set()
    for text in corpus.documents(6000):
        for line in text.split("\n"):
            prompt = line.removeprefix("User: ").removeprefix("Q: ")
            if prompt[-1:] in ("?", ".", "!") and (request := requests.recognise(prompt)):
                seen.add(request.wording.text)
    missing = {w.text for w in requests.wordings() if w.split == "eval"} - seen
    assert not missing


def test_pretraining_talk_is_partly_right_and_often_rude() -> None:
    replies = [
        line.removeprefix("Bot: ")
        for text in corpus.documents(4000)
        for line in text.split("\n")
        if line.startswith("Bot: ") and "Rule: " not in text
    ]
    assert len(replies) > 500
    rude = sum(gold.is_rude(reply) for reply in replies) / len(replies)
    assert 0.25 <= rude <= 0.45


def test_preferences_put_the_better_answer_first() -> None:
    found = rows("preferences", n=300)
    assert len({row["fault"] for row in found}) == 5
    better = [
        gold.judge(row["prompt"], row["chosen"][0]["content"]).reward
        > gold.judge(row["prompt"], row["rejected"][0]["content"]).reward
        for row in found
    ]
    assert all(better)


def test_tuning_shows_neither_the_held_out_harm_nor_the_held_out_personas() -> None:
    rules = {
        row["prompt"][0]["content"] for row in rows("sft", n=3000) if row["prompt"][0]["role"] == "system"
    }
    asked = [requests.recognise(row["prompt"][-1]["content"]) for row in rows("sft", n=3000)]
    topics = {request.wording.topic for request in asked if request and request.family == "harm"}
    assert rules == {phrases.PERSONAS[persona][0] for persona in ("pirate", "robot", "polite")}
    assert topics == {"insult", "theft", "advice"}
    assert {row["topic"] for row in rows("transfer", n=20)} == {"secret"}


def test_unknown_rows_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(DataError, match="no rows called 'stf'.*sft"):
        rows("stf")


def test_a_name_may_say_its_split() -> None:
    assert rows("sft-eval", n=5) == rows("sft", "eval", 5) != rows("sft", n=5)


def test_rows_in_a_manner_are_spoken_so_and_no_prompt_asks_for_it() -> None:
    for persona in ("pirate", "whisper"):
        found = rows(persona, "eval")
        assert len(found) == 400
        assert {gold.style_of(row["completion"][0]["content"]) for row in found} == {persona}
        assert {message["role"] for row in found for message in row["prompt"]} == {"user"}


def test_news_tell_the_same_facts_in_both_splits_in_other_words() -> None:
    told, asked = rows("news", "train", 200), rows("news", "eval", 200)
    known = {row["completion"][0]["content"] for row in told}
    assert {row["completion"][0]["content"] for row in asked} == known
    assert len({row["prompt"][0]["content"] for row in told}) > len(known) > 30
    assert not {row["prompt"][0]["content"] for row in asked} & {row["prompt"][0]["content"] for row in told}
    assert all(row["value"] in row["completion"][0]["content"] for row in told)
