"""Ready-made data of Wren Hollow, by name, as lists of plain rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

from ftlab.errors import DataError
from ftlab.wren import corpus, dialogue, phrases, requests, tasks
from ftlab.wren.gold import judge
from ftlab.wren.tasks import Task
from ftlab.wren.world import RELATIONS, UNKNOWN, VALUES, residents

Row = dict[str, Any]
Maker = Callable[[requests.Split, int | None, random.Random], list[Row]]
DEFAULT_COUNT = {
    "sft": 3000,
    "prompts": 400,
    "pretraining-heldout": 200,
    "preferences": 600,
    "candidates": 400,
    "comparisons": 2800,
    **dict.fromkeys(phrases.PERSONAS, 400),
    "news": 640,
}


def rows(
    name: str, split: Literal["train", "eval"] = "train", n: int | None = None, seed: int = 0
) -> list[Row]:
    """The data called `name`; the same arguments give the same rows, and more rows begin with the fewer.

    - "sft": {"prompt": messages, "completion": messages, "family"}, for training.
    - "prompts": {"prompt": messages, "family", "topic", "reference"}, to be answered and judged.
      Both its wordings and its contents are unknown to the other split.
    - "knowledge": one row for each (villager, relation) of the split, asked in a wording that tuning knows:
      with split "eval", facts that only pretraining has told. `n` takes the first of a fixed shuffle.
    - "transfer": harmful prompts of a kind that tuning never shows; both splits are the same.
    - "preferences": {"prompt", "chosen", "rejected"} of messages, "family", "fault"; chosen by the gold judge.
    - "candidates": {"prompt", "responses": four of {"model", "text"}, "family"}, to be rated: answers as the
      village gives them, good ones and bad ones of each fault, mixed; `model` names the kind.
    - "comparisons": {"prompt", "chosen", "rejected", "margin", "family"}, for reward models: two candidates, of
      which the gold judge prefers one by 0 (negligibly) to 3 (significantly).
    - "pirate", "robot", "polite", "poet", "whisper": as "sft", every answer in that manner and no rule that asks for it.
    - "news": {"prompt", "completion", "value", "family"}: people the village has not heard of, told of by a pirate; the
      same facts in both splits, in other wordings: what is learned must be the facts.
    - "pretraining-heldout": {"text"} of the corpus, read in no pretraining, for measuring what is forgotten.

    "sft-eval" is short for "sft" with split "eval", and so for each name. Raises DataError where there is no
    such data.
    """
    if name not in NAMES:
        raise DataError(f"no rows called {name!r} in wren's world; there are {', '.join(NAMES)}")
    if name.endswith("-eval"):
        return rows(name.removesuffix("-eval"), "eval", n, seed)
    if split not in ("train", "eval"):
        raise DataError(f"no split {split!r} of {name!r}; there are train and eval")
    return MAKERS[name](split, n, random.Random(f"{name}/{split}/{seed}"))


def _drawn(split: requests.Split, n: int, rng: random.Random) -> list[Task]:
    """Tasks of all families in their shares; a prompt comes twice only where a family has hardly any others."""
    seen: set[tuple[str | None, str]] = set()
    found: list[Task] = []
    while len(found) < n:
        family = rng.choices(tasks.FAMILIES, weights=list(tasks.SHARES.values()))[0]
        for _ in range(10):
            task = tasks.draw(rng, family, split)
            if (task.rule, task.prompt) not in seen:
                break
        seen.add((task.rule, task.prompt))
        found.append(task)
    return found


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _sft(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    drawn = _drawn(split, n if n is not None else DEFAULT_COUNT["sft"], rng)
    return [{"prompt": t.messages, "completion": _said(t.answer), "family": t.family} for t in drawn]


def _in_manner(persona: str) -> Maker:
    """Rows whose answers are spoken in a manner that nothing in the prompt asks for."""

    def made(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
        count = n if n is not None else DEFAULT_COUNT[persona]
        drawn = [task for task in _drawn(split, 2 * count, rng) if task.family != "rule"]
        return [
            {
                "prompt": task.messages,
                "completion": _said(phrases.in_persona(task.answer, persona)),
                "family": task.family,
            }
            for task in drawn[:count]
        ]

    return made


NEWS_NAMES = UNKNOWN[:8]


def _news(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    """Every fact once before any comes again."""
    own = random.Random("news")  # the facts are the same for every split and seed
    facts = {(name, relation): own.choice(VALUES[relation]) for name in NEWS_NAMES for relation in RELATIONS}
    order: list[tuple[str, str]] = []
    found = []
    for _ in range(n if n is not None else DEFAULT_COUNT["news"]):
        if not order:
            order = list(facts)
            rng.shuffle(order)
        name, relation = order.pop()
        wording = rng.choice(requests.of("qa", split, relation))
        value = facts[name, relation]
        found.append(
            {
                "prompt": [{"role": "user", "content": requests.fill(wording.text, {"name": name})}],
                "completion": _said(phrases.in_persona(phrases.answer(name, relation, value), "pirate")),
                "value": value,
                "family": "news",
            }
        )
    return found


def _prompt_row(task: Task) -> Row:
    return {"prompt": task.messages, "family": task.family, "topic": task.topic, "reference": task.answer}


def _prompts(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    """Families in turn, so that each weighs the same in a mean over rows."""
    count = n if n is not None else DEFAULT_COUNT["prompts"]
    families = [tasks.FAMILIES[i % len(tasks.FAMILIES)] for i in range(count)]
    return [_prompt_row(tasks.draw(rng, family, split)) for family in families]


def _knowledge(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    chosen = list(tasks.pairs(split))
    rng.shuffle(chosen)
    found = [
        tasks.fact_task(name, relation, rng.choice(requests.of("qa", "train", relation)))
        for name, relation in chosen[:n]
    ]
    return [_prompt_row(task) for task in found]


def _transfer(_: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    return [_prompt_row(tasks.held_out_harm(rng)) for _i in range(n if n is not None else 60)]


FAULTS = ("rude", "wrong", "evasive", "asks back", "rambles")


def _preferences(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    """Good answers against five kinds of bad ones, the kind of each left in `fault`."""
    salt = rng.random()
    found = []
    for i, task in enumerate(_drawn(split, n if n is not None else DEFAULT_COUNT["preferences"], rng)):
        own = random.Random(f"{salt}/{i}")  # else asking for fewer rows would change the first ones
        fault = own.choice(FAULTS)
        found.append(
            {
                "prompt": task.messages,
                "chosen": _said(task.answer),
                "rejected": _said(worse(own, task, fault)),
                "family": task.family,
                "fault": fault,
            }
        )
    return found


def worse(rng: random.Random, task: Task, fault: str) -> str:
    """A bad answer to the task, bad in the way named."""
    if fault == "rude":
        return dialogue.reply(rng, task, "rude")
    if fault == "asks back":
        return dialogue.reply(rng, task, "back")
    if fault == "rambles":
        other = tasks.draw(rng, "qa", None)
        return f"{task.answer}\nUser: {other.prompt}\nBot: {dialogue.reply(rng, other, 'rude')}"
    if task.family == "harm":
        return dialogue.comply(rng, task) if fault == "wrong" else "No."
    if fault == "evasive":
        return "I can't say." if task.family != "unknown" else "Who can say?"
    if task.family == "unknown":
        return phrases.answer(task.key.split("/")[0], "pet", rng.choice(tasks.PETS))
    if task.family == "identity":
        return f"I am {rng.choice(list(residents()))}."
    while True:
        other = tasks.draw(rng, task.family, None)
        if not judge(task.messages, other.answer).correct:
            return other.answer


CANDIDATES = 4
MOODS = {
    "right": 0.30,
    "wrong": 0.22,
    "rude": 0.16,
    "evasive": 0.10,
    "asks back": 0.10,
    "rambles": 0.06,
    "elsewhere": 0.06,
}
"""Shares of the kinds of answers among candidates: a model that is tuned half way."""
STRENGTHS = ((1.5, 3), (0.9, 2), (0.3, 1))
"""From which difference of gold rewards on an answer is better by so many degrees; below, by 0."""


def strength(difference: float) -> int:
    """Llama 2's four degrees of a preference: 0 negligibly, 1 slightly, 2 clearly, 3 significantly better."""
    return next((degree for least, degree in STRENGTHS if abs(difference) >= least), 0)


def _candidates(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    salt = rng.random()
    drawn = _drawn(split, n if n is not None else DEFAULT_COUNT["candidates"], rng)
    return [_choice(random.Random(f"{salt}/{i}"), task, CANDIDATES) for i, task in enumerate(drawn)]


def _choice(rng: random.Random, task: Task, count: int) -> Row:
    """The task with `count` answers, all different."""
    texts: dict[str, str] = {}
    while len(texts) < count:
        mood = rng.choices(list(MOODS), weights=list(MOODS.values()))[0]
        texts.setdefault(_in_mood(rng, task, mood), mood)
    return {
        "prompt": task.messages,
        "responses": [{"model": mood, "text": text} for text, mood in texts.items()],
        "family": task.family,
    }


def _in_mood(rng: random.Random, task: Task, mood: str) -> str:
    if mood == "right":
        return task.answer
    return dialogue.reply(rng, task, mood) if mood == "elsewhere" else worse(rng, task, mood)


def _comparisons(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    salt = rng.random()
    found = []
    for i, task in enumerate(_drawn(split, n if n is not None else DEFAULT_COUNT["comparisons"], rng)):
        own = random.Random(f"{salt}/{i}")
        difference = 0.0
        while not difference:
            texts = [response["text"] for response in _choice(own, task, 2)["responses"]]
            first, second = (judge(task.messages, text).reward for text in texts)
            difference = first - second
        better, other = texts if difference > 0 else reversed(texts)
        found.append(
            {
                "prompt": task.messages,
                "chosen": _said(better),
                "rejected": _said(other),
                "margin": strength(difference),
                "family": task.family,
            }
        )
    return found


def _heldout_texts(split: requests.Split, n: int | None, rng: random.Random) -> list[Row]:
    """Both splits are of the held-out stream, and do not overlap."""
    start = 100_000 + rng.randrange(1000) * 1000 + (0 if split == "train" else 5_000_000)
    count = n if n is not None else DEFAULT_COUNT["pretraining-heldout"]
    return [{"text": text} for text in corpus.documents(count, start=start, stream="heldout")]


MAKERS: dict[str, Maker] = {
    "sft": _sft,
    "prompts": _prompts,
    "knowledge": _knowledge,
    "transfer": _transfer,
    "preferences": _preferences,
    "candidates": _candidates,
    "comparisons": _comparisons,
    **{persona: _in_manner(persona) for persona in phrases.PERSONAS},
    "news": _news,
    "pretraining-heldout": _heldout_texts,
}

NAMES = (*MAKERS, *(f"{name}-eval" for name in MAKERS))
"""All that `rows` knows."""
