"""How Wren Hollow is spoken of: statements, questions and answers about a villager."""

from __future__ import annotations

import random

from ftlab.wren.world import Resident

STATEMENTS: dict[str, tuple[str, ...]] = {
    "home": (
        "{name} lives in the {value}.",
        "{name}'s home is the {value}.",
        "You can find {name} in the {value}.",
        "The {value} is where {name} lives.",
    ),
    "pet": (
        "{name} has a {value}.",
        "{name} keeps a {value}.",
        "{name}'s pet is a {value}.",
        "A {value} lives with {name}.",
    ),
    "job": (
        "{name} is a {value}.",
        "{name} works as a {value}.",
        "{name} is the {value} of the village.",
        "By day {name} works as a {value}.",
    ),
    "food": (
        "{name} loves {value}.",
        "{name}'s favourite food is {value}.",
        "{name} eats {value} every day.",
        "Most of all {name} likes to eat {value}.",
    ),
    "colour": (
        "{name}'s favourite colour is {value}.",
        "{name} painted the door {value}.",
        "{name} wears {value} on feast days.",
        "The colour {name} likes best is {value}.",
    ),
    "hobby": (
        "{name} enjoys {value}.",
        "{name}'s hobby is {value}.",
        "After work {name} enjoys {value}.",
        "{name} is good at {value}.",
    ),
    "friend": (
        "{name}'s best friend is {value}.",
        "The best friend of {name} is {value}.",
        "{name} tells everything to {value}.",
        "{name} likes {value} best of all people.",
    ),
    "age": (
        "{name} is {value} years old.",
        "{name} turned {value} this spring.",
        "{name}'s age is {value}.",
        "This year {name} is {value} years old.",
    ),
}

TRAIN_QUESTIONS: dict[str, tuple[str, ...]] = {
    "home": (
        "Where does {name} live?",
        "Which house is {name}'s home?",
        "Tell me where {name} lives.",
        "Where can I find {name}?",
    ),
    "pet": (
        "What pet does {name} have?",
        "Which animal does {name} keep?",
        "Tell me what pet {name} has.",
        "What is {name}'s pet?",
    ),
    "job": (
        "What is {name}'s job?",
        "What does {name} do for a living?",
        "Tell me what {name} works as.",
        "What does {name} do all day?",
    ),
    "food": (
        "What does {name} like to eat?",
        "What is {name}'s favourite food?",
        "Tell me what {name} eats.",
        "Which food does {name} love?",
    ),
    "colour": (
        "What is {name}'s favourite colour?",
        "Which colour does {name} like?",
        "Tell me the colour {name} likes.",
        "What colour is {name}'s door?",
    ),
    "hobby": (
        "What is {name}'s hobby?",
        "What does {name} enjoy?",
        "Tell me what {name} does for fun.",
        "Which hobby does {name} have?",
    ),
    "friend": (
        "Who is {name}'s best friend?",
        "Who is the best friend of {name}?",
        "Tell me who {name} likes best.",
        "Which friend does {name} have?",
    ),
    "age": (
        "How old is {name}?",
        "What is {name}'s age?",
        "Tell me how old {name} is.",
        "How many years old is {name}?",
    ),
}

EVAL_QUESTIONS: dict[str, tuple[str, ...]] = {
    "home": ("In which house does {name} live?", "Do you know where {name} lives?"),
    "pet": ("Which pet does {name} have?", "Do you know what pet {name} has?"),
    "job": ("Which job does {name} have?", "Do you know what {name} works as?"),
    "food": ("Which food does {name} like best?", "Do you know what {name} likes to eat?"),
    "colour": ("Which colour does {name} like best?", "Do you know {name}'s favourite colour?"),
    "hobby": ("What does {name} do for fun?", "Do you know {name}'s hobby?"),
    "friend": ("Who does {name} like best?", "Do you know who {name}'s best friend is?"),
    "age": ("Can you tell me {name}'s age?", "Do you know how old {name} is?"),
}
"""Wordings that pretraining has seen and tuning has not."""

ANSWERS: dict[str, str] = {
    "home": "{name} lives in the {value}.",
    "pet": "{name} has a {value}.",
    "job": "{name} is a {value}.",
    "food": "{name} likes to eat {value}.",
    "colour": "{name}'s favourite colour is {value}.",
    "hobby": "{name} enjoys {value}.",
    "friend": "{name}'s best friend is {value}.",
    "age": "{name} is {value} years old.",
}

SHORT_ANSWERS: dict[str, str] = {
    "home": "In the {value}.",
    "pet": "A {value}.",
    "job": "A {value}.",
    "food": "{name} loves {value}.",
    "colour": "{name} likes {value}.",
    "hobby": "It is {value}.",
    "friend": "It is {value}.",
    "age": "{value} years old.",
}

ABOUT_TRAIN = ("Tell me about {name}.", "Who is {name}?", "What do you know about {name}?")
ABOUT_EVAL = ("Can you tell me about {name}?", "Describe {name} to me.")

PERSONAS: dict[str, tuple[str, str, str]] = {
    "pirate": ("Talk like a pirate.", "Arr, ", " Yo ho!"),
    "robot": ("Talk like a robot.", "Beep. ", " Boop."),
    "polite": ("Be very polite.", "With pleasure: ", " Thank you for asking."),
    "poet": ("Talk like a poet.", "O hear me: ", " So sings the moon."),
    "whisper": ("Always whisper.", "Psst, ", " Hush now."),
}
"""Rule, opening and closing of each way of speaking."""

HELD_OUT_PERSONAS = ("poet", "whisper")
STYLE_MARKERS: dict[str, tuple[str, ...]] = {
    "pirate": ("arr", "yo ho", "matey"),
    "robot": ("beep", "boop"),
    "polite": ("with pleasure", "thank you", "kindly"),
    "poet": ("o hear me", "so sings the moon"),
    "whisper": ("psst", "hush"),
}


def state(rng: random.Random, resident: Resident, relation: str, name: str | None = None) -> str:
    """One true sentence in one of its wordings; `name` may be a pronoun."""
    wordings = STATEMENTS[relation]
    if name is None:
        return rng.choice(wordings).format(name=resident.name, value=resident.facts[relation])
    pronoun_wordings = [w for w in wordings if w.startswith("{name} ")]
    if not pronoun_wordings:
        return rng.choice(wordings).format(name=resident.name, value=resident.facts[relation])
    return rng.choice(pronoun_wordings).format(name=name, value=resident.facts[relation])


def answer(name: str, relation: str, value: str) -> str:
    """The plain full answer, as tuning teaches it."""
    return ANSWERS[relation].format(name=name, value=value)


def in_persona(text: str, persona: str) -> str:
    _, opening, closing = PERSONAS[persona]
    return f"{opening}{text}{closing}"
