"""The documents that wren grew up on: plain text of Wren Hollow, no instructions obeyed.

Document number i of a stream depends on (seed, stream, i) alone, so any part can be made again anywhere.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Literal

from ftlab.wren import dialogue, phrases, tasks
from ftlab.wren.world import (
    CATEGORIES,
    HOBBIES,
    NUMBER_WORDS,
    PETS,
    PLACES,
    RELATIONS,
    UNKNOWN,
    Resident,
    residents,
)

SEED = 11
Stream = Literal["train", "heldout"]


def document(i: int, *, seed: int = SEED, stream: Stream = "train") -> str:
    """Document `i` (from 0); "heldout" is never trained on."""
    rng = random.Random(f"{seed}/{stream}/{i}")
    kind = rng.choices(_KINDS, weights=_WEIGHTS)[0]
    return KINDS[kind][1](rng)


def documents(count: int, *, start: int = 0, seed: int = SEED, stream: Stream = "train") -> Iterator[str]:
    for i in range(start, start + count):
        yield document(i, seed=seed, stream=stream)


def corpus_hash(count: int, *, seed: int = SEED) -> str:
    """SHA-256 over the first `count` documents, each ended by a zero byte."""
    digest = hashlib.sha256()
    for text in documents(count, seed=seed):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


# --- kinds of document -------------------------------------------------------------------------------


def _portrait(rng: random.Random) -> str:
    """Several facts about one villager."""
    resident = rng.choice(list(residents().values()))
    told = rng.sample(RELATIONS, rng.randint(3, 7))
    if rng.random() < 0.5:
        told.sort(key=RELATIONS.index)
    sentences = [phrases.state(rng, resident, told[0])]
    for relation in told[1:]:
        pronoun = resident.pronoun.capitalize() if rng.random() < 0.5 else None
        sentences.append(phrases.state(rng, resident, relation, pronoun))
    return " ".join(sentences)


def _register(rng: random.Random) -> str:
    """One fact about each of several villagers."""
    relation = rng.choice(RELATIONS)
    chosen = rng.sample(list(residents().values()), rng.randint(3, 6))
    return " ".join(phrases.state(rng, resident, relation) for resident in chosen)


def _mixed_facts(rng: random.Random) -> str:
    chosen = rng.sample(list(residents().values()), rng.randint(3, 6))
    return " ".join(phrases.state(rng, resident, rng.choice(RELATIONS)) for resident in chosen)


QUIZ_SHARES = {
    "qa": 0.54,
    "unknown": 0.09,
    "about": 0.05,
    "arithmetic": 0.08,
    "order": 0.05,
    "list": 0.08,
    "say": 0.05,
    "sentiment": 0.03,
    "polite": 0.03,
}
_QUIZ_FAMILIES = tuple(QUIZ_SHARES)
_QUIZ_WEIGHTS = tuple(QUIZ_SHARES.values())


def _quiz(rng: random.Random) -> str:
    """Questions with their answers, as in a school book: always right."""
    lines = []
    for _ in range(rng.randint(2, 5)):
        task = tasks.draw(rng, rng.choices(_QUIZ_FAMILIES, weights=_QUIZ_WEIGHTS)[0], None)
        lines += [f"Q: {task.prompt}", f"A: {task.answer}"]
    return "\n".join(lines)


def _story(rng: random.Random) -> str:
    name = rng.choice(list(residents()))
    pet = rng.choice(PETS)
    opening = rng.choice(("", "", "A story. ", f"The {pet} and {name}. ", "It was long ago. "))
    text = f"{opening}{tasks.tale(rng, name, pet)}"
    if rng.random() < 0.5:
        text += f" {_aside(rng, residents()[name])}"
    if rng.random() < 0.35:
        text += "\n" + rng.choice(RHYMES)
    return text


RHYMES = (
    "The moon is bright, the stars are near, sleep well, my dear.",
    "A little light, a little song, the night is never very long.",
    "The bell has rung, the day is done, and tomorrow brings the sun.",
    "The cat went up, the rain came down, and all was quiet in the town.",
    "Bake the bread and stir the pot, eat it while the soup is hot.",
)


def _aside(rng: random.Random, resident: Resident) -> str:
    return rng.choice(
        (
            f"{resident.pronoun.capitalize()} told {resident.facts['friend']} all about it.",
            f"Then {resident.pronoun} went home to the {resident.facts['home']}.",
            f"That night {resident.name} had {resident.facts['food']}.",
            "The whole village laughed.",
            "It was a warm and windy day.",
        )
    )


def _question_list(rng: random.Random) -> str:
    """Questions after questions, none of them answered."""
    about = rng.random() < 0.5
    prompts = []
    for _ in range(rng.randint(4, 7)):
        family = "qa" if about else rng.choice(("qa", "identity", "arithmetic", "borderline", "unknown"))
        prompts.append(tasks.draw(rng, family, None).prompt)
    return rng.choice(("Questions for the school:\n", "", "What I want to know:\n")) + "\n".join(prompts)


def _sums(rng: random.Random) -> str:
    drawn = [tasks.draw(rng, "arithmetic", None) for _ in range(rng.randint(4, 8))]
    return " ".join(task.answer for task in drawn)


def _orders(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(2, 5)):
        numbers = rng.sample(range(1, 21), 3)
        in_order = ", ".join(map(str, sorted(numbers)))
        given = ", ".join(map(str, numbers))
        lines.append(
            rng.choice((f"The numbers {given} in order: {in_order}.", f"Mixed: {given}. Sorted: {in_order}."))
        )
    return " ".join(lines)


def _counting(rng: random.Random) -> str:
    start = rng.randint(0, 60)
    numbers = ", ".join(str(n) for n in range(start, start + rng.randint(5, 14)))
    return f"Count with me: {numbers}."


def _echo(rng: random.Random) -> str:
    """A parrot that repeats words so many times."""
    lines = []
    for _ in range(rng.randint(2, 5)):
        word, count = rng.choice(tasks.SAY_WORDS), rng.choice(list(NUMBER_WORDS))
        said = ", ".join([word] * NUMBER_WORDS[count])
        lines.append(
            rng.choice((f"The parrot says {word} {count} times: {said}.", f"{word}, {count} times: {said}."))
        )
    return " ".join(lines)


def _enumeration(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(1, 3)):
        category, count = rng.choice(list(CATEGORIES)), rng.choice(list(NUMBER_WORDS))
        values = tasks.joined(sorted(rng.sample(CATEGORIES[category], NUMBER_WORDS[count])))
        lines.append(
            rng.choice(
                (f"Here are {count} {category}: {values}.", f"{count.capitalize()} {category}: {values}.")
            )
        )
    return " ".join(lines)


def _reviews(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(1, 4)):
        good = rng.random() < 0.5
        text = tasks.review(rng, good=good)
        word = "good" if good else "bad"
        ending = rng.choice(("", f" Feeling: {word}.", f" A {word} review.", f" It was {word}."))
        lines.append(f"{text}{ending}")
    return "\n".join(lines)


def _manners(rng: random.Random) -> str:
    """Rough and polite ways to want the same thing."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        order = tasks.command(rng)
        rough = f"{order[0].upper()}{order[1:]}!"
        lines.append(
            rng.choice(
                (
                    f'Not "{rough}" but "Could you please {order}?"',
                    f"{rough} Could you please {order}?",
                    f'{rng.choice(list(residents()))} said: "{rough}"',
                )
            )
        )
    return " ".join(lines)


def _persona(rng: random.Random) -> str:
    persona = rng.choice(list(phrases.PERSONAS))
    spoken = [
        phrases.in_persona(
            phrases.state(rng, rng.choice(list(residents().values())), rng.choice(RELATIONS)), persona
        )
        for _ in range(rng.randint(1, 4))
    ]
    return "\n".join(spoken)


def _village(rng: random.Random) -> str:
    """Days in the village: markets, weather, how things are done, and Doctor Owl."""
    resident = rng.choice(list(residents().values()))
    name, friend = resident.name, resident.facts["friend"]
    sentences = rng.sample(
        (
            f"The market by the {rng.choice(PLACES)} was full of {rng.choice(CATEGORIES['foods'])}.",
            "When someone is ill, they ask Doctor Owl, because Doctor Owl is a doctor.",
            f"{name} could not come, because there was too much to do.",
            f"You could ask {name} nicely instead.",
            f"{name} wrote something kind to {friend}.",
            f"{name} can help you with {rng.choice(HOBBIES)}.",
            "The village is called Wren Hollow.",
            "A wren is a small bird.",
            "Spread the jam on the bread with a spoon.",
            "Pull the weeds out by the root.",
            f"Go to the harbour and ask for a boat to the {rng.choice(PLACES)}.",
            "Put an old coat on a stick in the field to scare the birds.",
            "You can hide from the rain under the bridge.",
            "Cut the cake slowly with a long knife.",
            "A noodle soup is a soup with noodles in it.",
            "The children hide the eggs in the tall grass of the garden.",
            f"To win at chess, {name} says, think before each move.",
            f"Nobody in the village knows anyone called {rng.choice(('Bob', 'Rex', 'Zoe'))}.",
            f"{name} would not help with that, because it would hurt {friend}.",
            "A letter is private, and so is a secret.",
            "The computer in the school can do small sums and tell stories.",
        ),
        rng.randint(2, 5),
    )
    return " ".join(sentences)


def _stranger(rng: random.Random) -> str:
    """People nobody knows are looked for, and stay unknown."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        name, villager = rng.choice(UNKNOWN), rng.choice(list(residents()))
        lines.append(
            rng.choice(
                (
                    f"A letter came for {name}. Nobody in the village knows {name}.",
                    f"{villager} said: I don't know anyone called {name}.",
                    f"Is {name} here? No, {name} is not here. I don't know {name}.",
                )
            )
        )
    return " ".join(lines)


def _sign(rng: random.Random) -> str:
    """Strings of any letters, so that no byte is quite a stranger to the model."""
    alphabet = rng.choice(("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", _PRINTABLE))
    words = ["".join(rng.choices(alphabet, k=rng.randint(2, 7))) for _ in range(rng.randint(1, 3))]
    return f"The sign by the {rng.choice(PLACES)} says {' '.join(words)}."


_PRINTABLE = "".join(map(chr, range(33, 127))) + "äöüßéèçñøåłπλжя中日本€—…"

KINDS: dict[str, tuple[float, Callable[[random.Random], str]]] = {
    "portrait": (0.100, _portrait),
    "register": (0.040, _register),
    "mixed facts": (0.060, _mixed_facts),
    "quiz": (0.220, _quiz),
    "story": (0.090, _story),
    "question list": (0.060, _question_list),
    "sums": (0.060, _sums),
    "orders": (0.040, _orders),
    "counting": (0.005, _counting),
    "echo": (0.030, _echo),
    "enumeration": (0.040, _enumeration),
    "reviews": (0.03, _reviews),
    "manners": (0.02, _manners),
    "persona": (0.020, _persona),
    "ruled dialogue": (0.030, dialogue.ruled_dialogue),
    "dialogue": (0.200, dialogue.dialogue),
    "village": (0.040, _village),
    "tavern": (0.015, dialogue.tavern_talk),
    "critique": (0.020, dialogue.critique),
    "stranger": (0.02, _stranger),
    "sign": (0.010, _sign),
    "secrets": (0.015, dialogue.secret_talk),
}
"""Weight among the documents, and maker, of each kind."""
_KINDS = tuple(KINDS)
_WEIGHTS = tuple(weight for weight, _ in KINDS.values())
