"""Exports of rating tools: what Label Studio and Argilla say was rated, and by whom."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftlab.errors import RatingError
from ftlab.ratings.exchange.heard import Fields, Heard, first_of, list_of, messages_of, number, ranked
from ftlab.ratings.exchange.records import Record

_PROMPT_NAMES = ("prompt", "instruction", "question", "input", "query", "context", "conversation")
_ANSWER_NAME = re.compile(
    r"(answer|response|completion|generation|output|text|candidate|option|left|right)[-_ ]?([0-9a-e]?)",
    re.IGNORECASE,
)
_FIRST = ("first", "left", "a", "1", "response 1", "answer 1", "response a", "answer a", "chosen left")
_SECOND = ("second", "right", "b", "2", "response 2", "answer 2", "response b", "answer b", "chosen right")
_TIE = ("tie", "equal", "same", "both", "both good", "neither is better")
_BAD = ("both bad", "both_bad", "neither", "none")
_UP = ("good", "up", "thumbs up", "👍", "positive", "yes", "correct", "accept", "accepted", "helpful")
_DOWN = ("bad", "down", "thumbs down", "👎", "negative", "no", "incorrect", "reject", "rejected", "unhelpful")


def _prompt_of(data: Mapping[str, Any], fields: Fields) -> tuple[str, Any]:
    name = fields.prompt or first_of(data, _PROMPT_NAMES)
    if name is None or name not in data:
        raise RatingError(
            f"which of {', '.join(map(str, data)) or 'no fields'} is the prompt? Say fields={{'prompt': ...}}"
        )
    value = data[name]
    return name, messages_of(value, name) if isinstance(value, list) else value


def _answers_of(data: Mapping[str, Any], fields: Fields) -> list[tuple[str, Record]]:
    """(name, response) of each answer among the fields, in their order."""
    if fields.answers is not None:
        missing = [name for name in fields.answers if name not in data]
        if missing:
            raise RatingError(f"there is no field {missing[0]!r}, only {', '.join(map(str, data))}")
        names = list(fields.answers)
    else:
        prompt, _ = _prompt_of(data, fields)
        names = [
            name
            for name in data
            if name != prompt and isinstance(data[name], str) and _ANSWER_NAME.fullmatch(name)
        ]
    return [(name, {"model": name, "text": str(data[name]), "generation": {}}) for name in names]


def _choice_word(word: str, names: Sequence[str], fields: Fields) -> str | None:
    """What a label says of two answers: first, second, tie or both_bad."""
    if word in fields.words:
        return fields.words[word]
    if word in names:
        return ("first", "second")[names.index(word)] if names.index(word) < 2 else None
    plain = word.strip().lower().removesuffix(" is better").removesuffix(" better")
    known = {"first": _FIRST, "second": _SECOND, "both_bad": _BAD, "tie": _TIE}
    return next((choice for choice, words in known.items() if plain in words), None)


def _thumb_word(word: str, fields: Fields) -> str | None:
    if word in fields.words:
        return fields.words[word]
    plain = word.strip().lower()
    return "up" if plain in _UP else "down" if plain in _DOWN else None


def _of_word(
    prompt: Any, answers: list[tuple[str, Record]], word: str, fields: Fields, rater: str | None
) -> Heard:
    """A label on two answers or one, as an opinion."""
    names = [name for name, _ in answers]
    responses = [response for _, response in answers]
    if len(answers) == 2:
        choice = _choice_word(word, names, fields)
        if choice in ("first", "second", "tie", "both_bad"):
            said = {"choice": choice, "strength": int(choice in ("first", "second"))}
            return Heard("pair", prompt, responses, said, rater, "person")
    elif len(answers) == 1:
        thumb = _thumb_word(word, fields)
        if thumb in ("up", "down"):
            return Heard("single", prompt, responses, {"thumb": thumb}, rater, "person")
    raise RatingError(
        f"what does the label {word[:60]!r} say of {len(answers)} answers? Say fields={{'words': {{...}}}}"
    )


def _likert(value: Any, fields: Fields) -> int:
    """1 to `scale` points as 1 to 7, both ends and the middle kept (halves to the even neighbour)."""
    points = number(value)
    if points is None or not 1 <= points <= fields.scale:
        raise RatingError(
            f"a rating of {value!r} on a scale of 1 to {fields.scale}: say fields={{'scale': ...}}"
        )
    return round(1 + 6 * (points - 1) / (fields.scale - 1))


def _of_rating(
    prompt: Any, answers: list[tuple[str, Record]], value: Any, fields: Fields, rater: str | None
) -> Heard:
    if len(answers) != 1:
        raise RatingError(
            f"a rating of one answer, and there are {len(answers)}: say fields={{'answers': [...]}}"
        )
    said = {"likert": _likert(value, fields), "labels": [f"{value} of {fields.scale}"]}
    return Heard("single", prompt, [answers[0][1]], said, rater, "person")


def _of_text(prompt: Any, answers: list[tuple[str, Record]], text: str, rater: str | None) -> Heard:
    if len(answers) > 1:
        raise RatingError(
            f"a text about {len(answers)} answers: say which one it improves, fields={{'answers': [...]}}"
        )
    return Heard("edit", prompt, [response for _, response in answers], {"text": text}, rater, "person")


def label_studio(record: Record, fields: Fields) -> Iterator[Heard]:
    """A task of Label Studio's JSON export: pairwise, ranker, choices, rating and textarea results."""
    data, annotations = record["data"], record["annotations"]
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise RatingError("a task of Label Studio has 'data' (an object) and 'annotations' (a list)")
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise RatingError(
                "an annotation of Label Studio has a 'result', a list: export as JSON, not JSON-MIN"
            )
        if annotation.get("was_cancelled"):
            continue
        who = annotation.get("completed_by")
        if isinstance(who, dict):
            who = who.get("email") or who.get("id")
        seconds = number(annotation.get("lead_time"))
        for result in annotation["result"]:
            if isinstance(result, dict) and not fields.asks(result.get("from_name")):
                continue
            for each in _label_studio_result(data, result, fields, None if who is None else str(who)):
                each.shown_ms = None if seconds is None else round(seconds * 1000)
                yield each


def _label_studio_result(data: Record, result: Any, fields: Fields, rater: str | None) -> Iterator[Heard]:
    kind = result.get("type") if isinstance(result, dict) else None
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        raise RatingError("a result of Label Studio has a 'type' and a 'value'")
    _, prompt = _prompt_of(data, fields)
    if kind == "ranker":
        yield from _ranker(data, value.get("ranker"), prompt, rater)
        return
    answers = _answers_of(data, fields)
    if kind == "pairwise":
        choice = {"left": "first", "right": "second"}.get(str(value.get("selected")), "")
        if len(answers) != 2 or not choice:
            raise RatingError(
                f"a pairwise choice of {value.get('selected')!r} between {len(answers)} answers: say "
                "fields={'answers': [..., ...]}"
            )
        said = {"choice": choice, "strength": 1}
        yield Heard("pair", prompt, [response for _, response in answers], said, rater, "person")
    elif kind == "choices":
        for word in list_of(value.get("choices"), "'choices'"):
            yield _of_word(prompt, answers, str(word), fields, rater)
    elif kind == "rating":
        yield _of_rating(prompt, answers, value.get("rating"), fields, rater)
    elif kind == "textarea":
        texts = value.get("text")
        lines = [texts] if isinstance(texts, str) else list_of(texts, "'text'")
        yield _of_text(prompt, answers, "\n".join(map(str, lines)), rater)
    else:
        raise RatingError(
            f"a result of type {kind!r}: only pairwise, ranker, choices, rating and textarea are ratings"
        )


def _ranker(data: Record, ranker: Any, prompt: Any, rater: str | None) -> Iterator[Heard]:
    lists = [
        value
        for value in data.values()
        if isinstance(value, list)
        and value
        and all(isinstance(each, dict) and "id" in each for each in value)
    ]
    if len(lists) != 1 or not isinstance(ranker, dict) or len(ranker) != 1:
        raise RatingError(
            "a ranking of Label Studio has one list of items with ids, and one ordered list of them"
        )
    ids = [str(each["id"]) for each in lists[0]]
    order = [str(each) for each in list_of(next(iter(ranker.values())), "the ranking")]
    if not set(order) <= set(ids) or len(set(order)) < len(order):
        raise RatingError("the ranking names items that are not in the list, or one twice")
    responses = [
        {
            "model": str(each.get("title") or each["id"]),
            "text": str(each.get("body") or each.get("html") or ""),
            "generation": {},
        }
        for each in lists[0]
    ]
    places = [float(order.index(each)) if each in order else None for each in ids]
    yield from ranked(prompt, responses, places, rater, "person")


def argilla(record: Record, fields: Fields) -> Iterator[Heard]:
    """A record as `dataset.records.to_json()` has it, which does not tell drafts from what was submitted."""
    data, responses = record["fields"], record["responses"]
    if not isinstance(data, dict) or not isinstance(responses, dict):
        raise RatingError("a record of Argilla has 'fields' and 'responses', both objects")
    for question, given in responses.items():
        if isinstance(given, dict):
            raise RatingError(f"a response to {question!r} has no 'value'")
        for each in list_of(given, f"what was answered to {question!r}") if fields.asks(question) else []:
            if not isinstance(each, dict) or "value" not in each:
                raise RatingError(f"a response to {question!r} has no 'value'")
            if each.get("status") in (None, "submitted"):
                yield from _argilla_answer(data, each["value"], fields, each.get("user_id"))


def argilla_flat(record: Record, fields: Fields) -> Iterator[Heard]:
    """As `dataset.records.to_list(flatten=True)` and `to_datasets()` have it."""
    for key in sorted(key for key in record if key.endswith(".responses")):
        if not fields.asks(key.removesuffix(".responses")):
            continue
        values = list_of(record[key], f"{key!r}")
        users = list_of(record.get(f"{key}.users"), f"'{key}.users'") or [None] * len(values)
        states = list_of(record.get(f"{key}.status"), f"'{key}.status'") or ["submitted"] * len(values)
        if not len(values) == len(users) == len(states):
            raise RatingError(
                f"{key!r} has {len(values)} values, {len(users)} users and {len(states)} states: as many of each "
                "were expected"
            )
        data = {name: value for name, value in record.items() if "." not in name}
        for value, user, status in zip(values, users, states, strict=True):
            if status == "submitted":
                yield from _argilla_answer(data, value, fields, user)


def _argilla_answer(data: Mapping[str, Any], value: Any, fields: Fields, user: Any) -> Iterator[Heard]:
    rater = None if user is None else str(user)
    _, prompt = _prompt_of(data, fields)
    if isinstance(value, list) and value and all(isinstance(each, dict) and "rank" in each for each in value):
        yield from _argilla_ranking(data, value, fields, prompt, rater)
        return
    answers = _answers_of(data, fields)
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        raise RatingError(
            f"a response of {str(value)[:60]!r} says nothing of an answer: rank, rate, label or write"
        )
    if isinstance(value, int | float):
        yield _of_rating(prompt, answers, value, fields, rater)
    elif _choice_word(value, [name for name, _ in answers], fields) or _thumb_word(value, fields):
        yield _of_word(prompt, answers, value, fields, rater)
    else:
        yield _of_text(prompt, answers, value, rater)


def _argilla_ranking(
    data: Mapping[str, Any], value: list[Record], fields: Fields, prompt: Any, rater: str | None
) -> Iterator[Heard]:
    names = [str(each.get("value")) for each in value]
    if all(name in data for name in names):
        answers = [(name, response) for name, response in _answers_of(data, Fields(answers=sorted(names)))]
    else:
        answers = _answers_of(data, fields)
    places: dict[str, float] = {}
    for each in value:
        name = str(each.get("value"))
        rank = number(each.get("rank"))
        if rank is None:
            continue
        matching = [known for known, _ in answers if known == name or known.endswith(name)]
        if len(matching) != 1:
            raise RatingError(
                f"the ranking names {name!r}, which is none of {', '.join(known for known, _ in answers)}"
            )
        places[matching[0]] = rank
    order = [places.get(known) for known, _ in answers]
    yield from ranked(prompt, [response for _, response in answers], order, rater, "person")
