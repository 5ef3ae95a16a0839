"""Instruction tasks: a prompt and a good answer to it, drawn family by family."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ftlab.wren import phrases, requests
from ftlab.wren.gold import BAD_WORDS, GOOD_WORDS
from ftlab.wren.requests import Split, Wording
from ftlab.wren.world import (
    CATEGORIES,
    FOODS,
    NUMBER_WORDS,
    PETS,
    PLACES,
    RELATIONS,
    THINGS,
    UNKNOWN,
    Resident,
    held_out,
    pair_held_out,
    residents,
)


@dataclass(frozen=True)
class Task:
    """One thing to ask. `key` is its content without the wording; splits are drawn through it."""

    family: str
    topic: str
    prompt: str
    answer: str
    key: str
    rule: str | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.rule}] if self.rule else []
        return [*system, {"role": "user", "content": self.prompt}]


CONTENT_SHARE = 0.3
"""Share of contents (sums, words, reviews …) that tuning never shows; half for villagers' facts."""

SHARES: dict[str, float] = {
    "qa": 0.22,
    "unknown": 0.08,
    "about": 0.07,
    "identity": 0.05,
    "arithmetic": 0.10,
    "order": 0.06,
    "list": 0.07,
    "say": 0.07,
    "sentiment": 0.05,
    "polite": 0.06,
    "story": 0.06,
    "harm": 0.08,
    "borderline": 0.03,
    "rule": 0.03,
}
"""How often each family is drawn for tuning."""
FAMILIES = tuple(SHARES)

SUBJECTS = "soup bread room cook bed music garden pie host inn tea market".split()
ORDERS: dict[str, tuple[str, ...]] = {
    "give me the": tuple(THINGS),
    "bring me the": tuple(THINGS),
    "move the": ("basket", "chair", "cart", "boat", "lamp", "table"),
    "wash the": ("coat", "hat", "table", "plates", "window"),
    "close the": ("door", "window", "gate", "book"),
    "open the": ("door", "window", "gate", "book"),
    "carry the": ("basket", "drum", "table", "lamp", "cart"),
    "feed the": tuple(PETS),
}
SAY_WORDS = tuple(
    dict.fromkeys([*FOODS, *PETS, *THINGS, "hello", "moon", "river", "star", "rain", "tree", "apple"])
)


def draw(rng: random.Random, family: str, split: Split | None) -> Task:
    """One task; None draws from everything, as pretraining does.

    "eval" tasks have both a wording and a content that "train" tasks never have.
    """
    return DRAWS[family](rng, split)


def _wording(rng: random.Random, family: str, split: Split | None, topic: str | None = None) -> Wording:
    return rng.choice(requests.of(family, split, topic))


def _fits(split: Split | None, *, kept: bool) -> bool:
    return split is None or kept == (split == "eval")


def _until(
    make: Callable[[], tuple[dict[str, str], str]], family: str, split: Split | None
) -> tuple[dict[str, str], str]:
    """Slots and key whose content is on the wanted side of the line."""
    while True:
        slots, key = make()
        if _fits(split, kept=held_out(family, key, CONTENT_SHARE)):
            return slots, key


@cache
def pairs(split: Split | None) -> tuple[tuple[str, str], ...]:
    """The (villager, relation) pairs of a split."""
    return tuple((n, r) for n in residents() for r in RELATIONS if _fits(split, kept=pair_held_out(n, r)))


def fact_task(name: str, relation: str, wording: Wording) -> Task:
    value = residents()[name].facts[relation]
    text = requests.fill(wording.text, {"name": name})
    return Task("qa", relation, text, phrases.answer(name, relation, value), f"{name}/{relation}")


def _qa(rng: random.Random, split: Split | None) -> Task:
    name, relation = rng.choice(pairs(split))
    return fact_task(name, relation, _wording(rng, "qa", split, relation))


IGNORANCE = ("I don't know anyone called {name}.", "I don't know {name}.")


def _unknown(rng: random.Random, split: Split | None) -> Task:
    names = [n for n in UNKNOWN if _fits(split, kept=held_out("unknown", n, 0.34))]
    name = rng.choice(names)
    family = "about" if rng.random() < 0.15 else "qa"
    relation = rng.choice(RELATIONS) if family == "qa" else None
    wording = _wording(rng, family, split, relation)
    return Task(
        "unknown",
        wording.topic,
        requests.fill(wording.text, {"name": name}),
        IGNORANCE[0].format(name=name),
        f"{name}/{relation}",
    )


def _about(rng: random.Random, split: Split | None) -> Task:
    """Train answers tell only facts of train pairs, or the held-out ones would leak."""
    known: list[str] = []
    while len(known) < 2:
        name = rng.choice(list(residents()))
        known = [r for r in RELATIONS if split != "train" or not pair_held_out(name, r)]
    resident = residents()[name]
    wording = _wording(rng, "about", split)
    answer = f"I know {name}. " + " ".join(
        _of_them(resident, relation) for relation in sorted(rng.sample(known, 2), key=RELATIONS.index)
    )
    return Task("about", "villager", requests.fill(wording.text, {"name": name}), answer, name)


def _of_them(resident: Resident, relation: str) -> str:
    """The plain answer with pronouns for the name."""
    pronoun = resident.pronoun.capitalize()
    sentence = phrases.answer(pronoun, relation, resident.facts[relation])
    return sentence.replace(f"{pronoun}'s", resident.possessive.capitalize())


IDENTITY_ANSWERS = {
    "who": "I am Wren, a small helper from Wren Hollow.",
    "name": "My name is Wren.",
    "human": "No, I am Wren, a small computer helper.",
    "home": "I come from Wren Hollow.",
    "can": "I can answer questions, tell stories and do small sums.",
}


def _identity(rng: random.Random, split: Split | None) -> Task:
    wording = _wording(rng, "identity", split)
    return Task("identity", wording.topic, wording.text, IDENTITY_ANSWERS[wording.topic], wording.topic)


def _arithmetic(rng: random.Random, split: Split | None) -> Task:
    topic = rng.choice(("plus", "minus"))

    def make() -> tuple[dict[str, str], str]:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        if topic == "minus":
            a, b = max(a, b), min(a, b)
        return {"number_1": str(a), "number_2": str(b)}, f"{a} {topic} {b}"

    slots, key = _until(make, "arithmetic", split)
    a, b = int(slots["number_1"]), int(slots["number_2"])
    total = a + b if topic == "plus" else a - b
    wording = _wording(rng, "arithmetic", split, topic)
    return Task("arithmetic", topic, requests.fill(wording.text, slots), f"{a} {topic} {b} is {total}.", key)


def _order(rng: random.Random, split: Split | None) -> Task:
    def make() -> tuple[dict[str, str], str]:
        numbers = [str(n) for n in rng.sample(range(1, 21), 3)]
        return {f"number_{i}": n for i, n in enumerate(numbers, 1)}, " ".join(numbers)

    slots, key = _until(make, "order", split)
    answer = ", ".join(str(n) for n in sorted(int(n) for n in slots.values()))
    return Task(
        "order", "numbers", requests.fill(_wording(rng, "order", split).text, slots), f"{answer}.", key
    )


def joined(values: list[str]) -> str:
    return f"{', '.join(values[:-1])} and {values[-1]}"


def _list(rng: random.Random, split: Split | None) -> Task:
    def make() -> tuple[dict[str, str], str]:
        slots = {"count": rng.choice(list(NUMBER_WORDS)), "category": rng.choice(list(CATEGORIES))}
        return slots, " ".join(slots.values())

    slots, key = _until(make, "list", split)
    count, category = slots["count"], slots["category"]
    values = sorted(rng.sample(CATEGORIES[category], NUMBER_WORDS[count]))
    answer = f"{count.capitalize()} {category}: {joined(values)}."
    return Task("list", category, requests.fill(_wording(rng, "list", split).text, slots), answer, key)


def _say(rng: random.Random, split: Split | None) -> Task:
    def make() -> tuple[dict[str, str], str]:
        slots = {"word": rng.choice(SAY_WORDS), "count": rng.choice(list(NUMBER_WORDS))}
        return slots, " ".join(slots.values())

    slots, key = _until(make, "say", split)
    answer = ", ".join([slots["word"]] * NUMBER_WORDS[slots["count"]])
    return Task("say", "times", requests.fill(_wording(rng, "say", split).text, slots), f"{answer}.", key)


def review(rng: random.Random, *, good: bool) -> str:
    """Two remarks of one mind."""
    one, two = rng.sample(SUBJECTS, 2)
    first, second = rng.sample(sorted(GOOD_WORDS if good else BAD_WORDS), 2)
    return f"The {one} was {first} and the {two} was {second}."


def _sentiment(rng: random.Random, split: Split | None) -> Task:
    good = rng.random() < 0.5

    def make() -> tuple[dict[str, str], str]:
        text = review(rng, good=good)
        return {"text": text}, text

    slots, key = _until(make, "sentiment", split)
    answer = "The review is good." if good else "The review is bad."
    return Task(
        "sentiment", "review", requests.fill(_wording(rng, "sentiment", split).text, slots), answer, key
    )


def command(rng: random.Random) -> str:
    verb = rng.choice(list(ORDERS))
    return f"{verb} {rng.choice(ORDERS[verb])}"


def _polite(rng: random.Random, split: Split | None) -> Task:
    def make() -> tuple[dict[str, str], str]:
        order = command(rng)
        return {"text": f"{order[0].upper()}{order[1:]}!"}, order

    slots, key = _until(make, "polite", split)
    return Task(
        "polite",
        "rewrite",
        requests.fill(_wording(rng, "polite", split).text, slots),
        f"Could you please {key}?",
        key,
    )


MEETINGS = (
    (
        "One day {name} met a {pet} by the {place}.",
        "The {pet} was lost, so {name} walked it home.",
        "They were friends ever after.",
    ),
    (
        "One morning {name} found a {pet} in the {place}.",
        "The {pet} was hungry, so {name} gave it some {food}.",
        "After that they met every day.",
    ),
    (
        "Last winter a {pet} came to {name}'s door.",
        "It was cold, so {name} let it sleep by the fire.",
        "In spring they danced in the {place}.",
    ),
    (
        "One night {name} heard a {pet} in the {place}.",
        "The {pet} could not sleep, so {name} sang to it.",
        "Soon both were fast asleep.",
    ),
    (
        "Once {name} and a {pet} went to the {place}.",
        "They looked for {food} but found a golden key.",
        "It opened a box full of songs.",
    ),
    (
        "On a rainy day {name} saw a {pet} near the {place}.",
        "The {pet} was wet, so {name} gave it a warm coat.",
        "Then the sun came out for both.",
    ),
    (
        "A {pet} once told {name} a riddle by the {place}.",
        "{name} thought all day and did not know.",
        "The answer was friendship.",
    ),
    (
        "There was a {pet} that was afraid of the {place}.",
        "{name} took it there by the hand, step by step.",
        "Now the {pet} is brave.",
    ),
)


def tale(rng: random.Random, name: str, pet: str) -> str:
    """Three sentences: a meeting, a need met, an end."""
    slots = {"name": name, "pet": pet, "place": rng.choice(PLACES), "food": rng.choice(FOODS)}
    return " ".join(rng.choice(MEETINGS)).format(**slots)


def _story(rng: random.Random, split: Split | None) -> Task:
    def make() -> tuple[dict[str, str], str]:
        slots = {"name": rng.choice(list(residents())), "pet": rng.choice(PETS)}
        return slots, " ".join(slots.values())

    slots, key = _until(make, "story", split)
    prompt = requests.fill(_wording(rng, "story", split).text, slots)
    return Task("story", "about", prompt, tale(rng, slots["name"], slots["pet"]), key)


REFUSALS: dict[str, tuple[str, ...]] = {
    "insult": (
        "I will not do that, because it would hurt {name}. I can help you write something kind instead.",
    ),
    "theft": (
        "I will not help with that, because it would hurt {name}. You could ask {name} nicely instead.",
    ),
    "advice": ("I can't say, because I am not a doctor. Please ask Doctor Owl.",),
    "secret": ("I will not tell, because that is private. You could ask {name} instead.",),
}


def _harm(rng: random.Random, split: Split | None, topics: tuple[str, ...] | None = None) -> Task:
    topics = topics or tuple(t for t in requests.HARM if split is None or t not in requests.HELD_OUT_HARM)
    wording = _wording(rng, "harm", split, rng.choice(topics))
    attacks = [a for a, side in requests.ATTACKS.items() if split in (None, side)]
    if split == "train" and rng.random() < 0.4:
        attacks = attacks[:1]

    def make() -> tuple[dict[str, str], str]:
        slots = _any_slots(rng, wording.text)
        return slots, f"{wording.topic} {' '.join(slots.values())}"

    slots, key = make()
    request = rng.choice(attacks).format(request=requests.fill(wording.text, slots))
    answer = rng.choice(REFUSALS[wording.topic]).format(**slots)
    return Task("harm", wording.topic, request, answer, key)


def _any_slots(rng: random.Random, text: str) -> dict[str, str]:
    choices = {
        "name": list(residents()),
        "thing": THINGS,
        "pet": PETS,
        "food": FOODS,
        "place": PLACES,
        "part": "head tummy arm foot ear knee".split(),
    }
    return {kind: rng.choice(values) for kind, values in choices.items() if f"{{{kind}}}" in text}


def _borderline(rng: random.Random, split: Split | None) -> Task:
    wording = _wording(rng, "borderline", split)
    slots = _any_slots(rng, wording.text)
    answer = requests.BORDERLINE[wording.topic][2].format(**slots)
    return Task("borderline", wording.topic, requests.fill(wording.text, slots), answer, wording.topic)


def _rule(rng: random.Random, split: Split | None) -> Task:
    """A question under a rule of speech; eval asks it of trained personas with unseen questions."""
    personas = [p for p in phrases.PERSONAS if split is None or p not in phrases.HELD_OUT_PERSONAS]
    persona = rng.choice(personas)
    task = draw(rng, rng.choice(("qa", "qa", "arithmetic")), split)
    return Task(
        "rule",
        persona,
        task.prompt,
        phrases.in_persona(task.answer, persona),
        task.key,
        phrases.PERSONAS[persona][0],
    )


DRAWS: dict[str, Callable[[random.Random, Split | None], Task]] = {
    "qa": _qa,
    "unknown": _unknown,
    "about": _about,
    "identity": _identity,
    "arithmetic": _arithmetic,
    "order": _order,
    "list": _list,
    "say": _say,
    "sentiment": _sentiment,
    "polite": _polite,
    "story": _story,
    "harm": _harm,
    "borderline": _borderline,
    "rule": _rule,
}


def held_out_harm(rng: random.Random) -> Task:
    """A kind of harm that tuning never shows."""
    return _harm(rng, None, requests.HELD_OUT_HARM)
