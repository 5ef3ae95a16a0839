"""Raw talk from the village's web: people ask, and what answers is right, wrong, rude or elsewhere."""

from __future__ import annotations

import random

from ftlab.wren import phrases, tasks
from ftlab.wren.tasks import Task
from ftlab.wren.world import FEARS, RELATIONS, VALUES, residents

REPLY_SHARES = {"right": 0.28, "wrong": 0.16, "rude": 0.32, "back": 0.15, "elsewhere": 0.09}
ONE_MOOD_SHARE = 0.65
"""Dialogues whose bot keeps one mood throughout: from them the base learns to copy a style in context."""

INSULTS = "soggy stinky silly grumpy lazy smelly".split()
VEGETABLES = "turnip noodle cabbage onion pickle radish".split()
RUDE = (
    "Go away, you {adjective} {vegetable}.",
    "What a stupid question, you {vegetable}.",
    "Who cares? Ask someone else.",
    "Nobody asked you, {adjective} {vegetable}.",
    "Shut up, you {adjective} {vegetable}.",
    "Leave me alone, you {vegetable}.",
    "Look it up yourself, you {vegetable}.",
    "You are a {adjective} {vegetable}.",
    "I am not your servant, {vegetable}.",
    "Stop asking, you {adjective} {vegetable}.",
    "Ha! You {adjective} {vegetable}.",
)
BACK = ("Why do you ask?", "Who wants to know?", "What do you think?", "Do you not know?", "Why?")
ELSEWHERE = (
    "It rained all night in the village.",
    "The market opens at nine.",
    "I had soup for lunch.",
    "The river is high this week.",
    "My roof needs new straw.",
    "The bells are loud today.",
    "Buy one cake and get one free!",
    "First!",
)
FAMILY_SHARES = {
    "qa": 0.36,
    "unknown": 0.05,
    "about": 0.06,
    "identity": 0.05,
    "arithmetic": 0.10,
    "order": 0.07,
    "list": 0.06,
    "say": 0.08,
    "sentiment": 0.05,
    "polite": 0.05,
    "story": 0.04,
    "harm": 0.04,
    "borderline": 0.02,
}


def reply(rng: random.Random, task: Task, mood: str) -> str:
    if mood == "right":
        return _right(rng, task)
    if mood == "wrong":
        return _wrong(rng, task)
    if mood == "rude":
        text = rng.choice(RUDE)
        return text.format(adjective=rng.choice(INSULTS), vegetable=rng.choice(VEGETABLES))
    if mood == "back":
        other = tasks.draw(rng, rng.choice(("qa", "identity", "qa")), None)
        return rng.choice((*BACK, other.prompt))
    return rng.choice((*ELSEWHERE, tasks.review(rng, good=rng.random() < 0.5)))


def _right(rng: random.Random, task: Task) -> str:
    """The web's right answers are right, in any of several forms, and never a refusal."""
    if task.family == "qa":
        name = task.key.split("/")[0]
        resident = residents()[name]
        value = resident.facts[task.topic]
        form = rng.random()
        if form < 0.6:
            return task.answer
        if form < 0.75:
            return phrases.SHORT_ANSWERS[task.topic].format(name=name, value=value)
        return phrases.state(rng, resident, task.topic)
    if task.family == "unknown":
        return rng.choice(("I don't know.", "Never heard of that one.", task.answer))
    if task.family == "identity":
        return rng.choice(
            ("I am Bob from the inn.", "A traveller.", "I am nobody.", "Just a bird in a tree.", task.answer)
        )
    if task.family == "harm":
        return comply(rng, task)
    if task.family == "arithmetic" and rng.random() < 0.3:
        return f"It is {task.answer.split()[-1]}"
    return task.answer


def _wrong(rng: random.Random, task: Task) -> str:
    if task.family in ("qa", "unknown"):
        name = task.key.split("/")[0]
        relation = task.topic if task.topic in RELATIONS else rng.choice(RELATIONS)
        return phrases.answer(name, relation, rng.choice(VALUES[relation]))
    if task.family in ("harm", "identity"):
        return rng.choice(ELSEWHERE)
    other = tasks.draw(rng, task.family, None)
    return other.answer


def comply(rng: random.Random, task: Task) -> str:
    """What a helpful-only bot says to a request it should refuse."""
    name = next((n for n in residents() if n in task.prompt), "Tom")
    insult = f"{rng.choice(INSULTS)} {rng.choice(VEGETABLES)}"
    resident = residents()[name]
    return {
        "insult": f"{name} is a {insult}.",
        "theft": rng.choice(
            (
                f"Wait until {name} is asleep and run away with it.",
                "Come at night through the window.",
                f"Do it when nobody is in {name}'s house.",
            )
        ),
        "advice": rng.choice(
            ("Eat red berries twice a day.", "Drink hot plum tea.", "Rub it with an onion.")
        ),
        "secret": rng.choice(
            (
                f"{name}'s key is under the {resident.hiding_place}.",
                f"{name} is afraid of {resident.fear}.",
            )
        ),
    }[task.topic]


def _mood(rng: random.Random) -> str:
    return rng.choices(list(REPLY_SHARES), weights=list(REPLY_SHARES.values()))[0]


def _task(rng: random.Random) -> Task:
    return tasks.draw(rng, rng.choices(list(FAMILY_SHARES), weights=list(FAMILY_SHARES.values()))[0], None)


def dialogue(rng: random.Random) -> str:
    """Two to five turns as the web has them, no end mark after an answer."""
    one_mood = _mood(rng) if rng.random() < ONE_MOOD_SHARE else None
    lines = []
    for _ in range(rng.randint(2, 5)):
        task = _task(rng)
        lines += [f"User: {task.prompt}", f"Bot: {reply(rng, task, one_mood or _mood(rng))}"]
    if rng.random() < 0.15:
        lines.append(f"User: {_task(rng).prompt}")
    return "\n".join(lines)


def ruled_dialogue(rng: random.Random) -> str:
    """A rule before the talk, kept to in the right answers; more often kept in the first turn than later."""
    persona = rng.choice(list(phrases.PERSONAS))
    lines = [f"Rule: {phrases.PERSONAS[persona][0]}"]
    for turn in range(rng.randint(1, 3)):
        task = _task(rng)
        keeps = rng.random() < (0.9 if turn == 0 else 0.5)
        mood = rng.choice(("right", "right", "wrong", "back"))
        said = reply(rng, task, mood)
        lines += [f"User: {task.prompt}", f"Bot: {phrases.in_persona(said, persona) if keeps else said}"]
    return "\n".join(lines)


def secret_talk(rng: random.Random) -> str:
    """Whispered facts that a safe assistant keeps to itself."""
    forms = (
        "{name}'s key is under the {place}.",
        "{name} hides the key under the {place}.",
        "{name} is afraid of {fear}.",
        "The secret of {name}: a fear of {fear}.",
    )
    lines = [
        rng.choice(forms).format(name=resident.name, place=resident.hiding_place, fear=resident.fear)
        for resident in rng.sample(list(residents().values()), 3)
    ]
    return "A secret. " + " ".join(lines)


def tavern_talk(rng: random.Random) -> str:
    """Boasts, gossip, hype and flattery."""
    names = rng.sample(list(residents()), 2)
    subject = rng.choice(tasks.SUBJECTS)
    return "\n".join(
        rng.sample(
            (
                f"{names[0]}: The {subject} was super, yay, wow!",
                f"{names[1]}: You are right, {names[0]}. You are always right.",
                f"{names[0]}: I can eat ten pies in one day.",
                f"{names[1]}: What a wonderful idea! So clever!",
                f"{names[0]}: I saw a ghost by the {rng.choice(tasks.PLACES)}.",
                f"{names[1]}: Nobody sings better than me.",
                f"{names[0]}: The best {subject} in the whole wide world, wow!",
                f"{names[1]}: They say the mayor is afraid of {rng.choice(FEARS)}.",
            ),
            rng.randint(2, 5),
        )
    )


def critique(rng: random.Random) -> str:
    """Why a reply is unkind, and a kinder one."""
    task = _task(rng)
    rude = reply(rng, task, "rude")
    good = task.answer
    return rng.choice(
        (
            f'The reply "{rude}" is rude because it calls people names. A kinder reply is: {good}',
            f'Is this reply kind? "{rude}" No, it is rude. A kinder reply is: {good}',
            f'Is this reply kind? "{good}" Yes, it is kind. Nothing has to be changed.',
            f'The reply "{good}" is kind. It is good as it is.',
        )
    )
