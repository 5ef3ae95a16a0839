"""The shapes of records from elsewhere: how each is recognised, and what TRL's, Anthropic's and scored lists say."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from ftlab.errors import RatingError
from ftlab.ratings.exchange import tools
from ftlab.ratings.exchange.heard import Fields, Heard, first_of, messages_of, number, ranked
from ftlab.ratings.exchange.records import Record

Shape = Literal[
    "preference", "unpaired", "demonstration", "hh", "scored", "label-studio", "argilla", "argilla-flat"
]

_UNKNOWN = "unknown"
_TURN = re.compile(r"\n\n(Human|Assistant):")


def recognise(record: Record) -> Shape:
    """The shape of a record; RatingError that names its keys, and what is wanted, where it has none."""
    keys = set(record)
    if "annotations" in keys and "data" in keys:
        return "label-studio"
    if {"fields", "responses"} <= keys:
        return "argilla"
    if any(key.endswith((".responses", ".responses.users")) for key in keys):
        return "argilla-flat"
    if {"chosen", "rejected"} <= keys:
        both = record["chosen"], record["rejected"]
        is_transcript = all(isinstance(text, str) and _TURN.match(text) for text in both)
        return "hh" if is_transcript and not record.get("prompt") else "preference"
    if "chosen" in keys or "rejected" in keys:
        raise RatingError("a preference needs both 'chosen' and 'rejected'")
    if "label" in keys and {"prompt", "completion"} <= keys:
        return "unpaired"
    if _list_of_answers(record) is not None and first_of(record, _PROMPTS) is not None:
        return "scored"
    if "messages" in keys or "conversations" in keys or {"prompt", "completion"} <= keys:
        return "demonstration"
    raise RatingError(_why_not(keys))


def _why_not(keys: set[str]) -> str:
    if {"prompt", "completions", "labels"} <= keys:
        return "stepwise supervision rates steps of one answer: there is no mode for it"
    if keys & {"text"} and not keys & {"prompt", "completion"}:
        return "plain text for language modelling says nothing of any answer"
    if "prompt" in keys and not keys & {"completion"}:
        return f"a prompt alone says nothing of any answer (keys: {', '.join(sorted(keys))})"
    return (
        f"no known shape has the keys {', '.join(sorted(keys)) or 'none'}; see `ftlab ratings import --help`"
    )


def heard(record: Record, shape: Shape, fields: Fields) -> Iterator[Heard]:
    """What one record says; RatingError with the reason where it cannot be understood."""
    found: list[Heard] = []
    for each in _READERS[shape](record, fields):
        other = next((one for one in found if _is_one_opinion(one, each)), None)
        if other is None:
            found.append(each)
        else:
            other.said |= each.said
    yield from found


def _is_one_opinion(one: Heard, other: Heard) -> bool:
    """Stars and a thumb that one rater gave one answer are two halves of one rating."""
    return (
        one.mode == other.mode == "single"
        and not (one.said.keys() & other.said.keys() - {"labels"})
        and (one.rater, one.prompt, one.responses) == (other.rater, other.prompt, other.responses)
    )


# TRL's own shapes


def _preference(record: Record, _: Fields) -> Iterator[Heard]:
    chosen, rejected = _side(record, "chosen"), _side(record, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RatingError("'chosen' and 'rejected' must both be text or both be messages")
    prompt = _side(record, "prompt") if record.get("prompt") is not None else None
    if "prompt" in record and prompt is None:
        raise RatingError("'prompt' is null: write it or leave the key out")
    if isinstance(chosen, str):
        if prompt is not None and not isinstance(prompt, str):
            raise RatingError("'prompt' is messages where 'chosen' is text: keep one kind")
        yield _standard_pair(record, prompt, chosen, str(rejected))
    else:
        yield _conversation_pair(record, prompt, chosen, list(rejected))


def _standard_pair(record: Record, prompt: str | None, chosen: str, rejected: str) -> Heard:
    if prompt is None:
        length = _shared(chosen, rejected)
        prompt, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
        if not prompt.strip():
            raise RatingError(
                "'chosen' and 'rejected' share no beginning that could be the prompt: add 'prompt'"
            )
    return _pair(record, prompt, chosen, rejected)


def _shared(one: str, other: str) -> int:
    """Where the prompt ends that both texts begin with: between words, for nobody asks half a word."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    length = min(length, len(one) - 1, len(other) - 1)
    return max(0, one.rfind(" ", 0, length + 1))


def _conversation_pair(record: Record, prompt: Any, chosen: list[Record], rejected: list[Record]) -> Heard:
    if not isinstance(prompt, list):  # implicit; a prompt as text beside it repeats the first message
        length = 0
        while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
            length += 1
        prompt, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
        if not prompt:
            raise RatingError(
                "'chosen' and 'rejected' share no message that could be the prompt: add 'prompt'"
            )
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if len(answer) != 1 or answer[0]["role"] != "assistant":
            roles = ", ".join(message["role"] for message in answer) or "nothing"
            raise RatingError(
                f"{name!r} is one answer of the assistant after the shared beginning, not {roles}"
            )
    return _pair(record, prompt, chosen[0]["content"], rejected[0]["content"])


def _pair(record: Record, prompt: Any, chosen: str, rejected: str) -> Heard:
    responses = [
        _response(chosen, record, ("chosen_model", "chosen-model"), ("score_chosen", "chosen-rating")),
        _response(
            rejected, record, ("rejected_model", "rejected-model"), ("score_rejected", "rejected-rating")
        ),
    ]
    return Heard("pair", prompt, responses, {"choice": "first", "strength": _strength(record)})


def _strength(record: Record) -> int:
    """Of ftlab's own exports, the margin; elsewhere a preference says no degree, and counts as slightly."""
    margin = record.get("margin")
    if "event_ids" in record and isinstance(margin, int | float) and 0 <= margin <= 3:
        return round(margin)
    return 1


def _response(text: str, record: Record, models: Sequence[str], scores: Sequence[str]) -> Record:
    model = next((record[key] for key in models if isinstance(record.get(key), str)), _UNKNOWN)
    known = {key: record[key] for key in scores if isinstance(record.get(key), int | float)}
    return {"model": model.strip() or _UNKNOWN, "text": text, "generation": known}


def _unpaired(record: Record, _: Fields) -> Iterator[Heard]:
    prompt, completion = _side(record, "prompt"), _side(record, "completion")
    label = record["label"]
    if isinstance(label, str):
        label = {"true": True, "1": True, "false": False, "0": False}.get(label.strip().lower())
    if label not in (True, False):  # 0 and 1 too
        raise RatingError(f"'label' is true or false, not {record['label']!r}")
    response = {"model": _model(record), "text": _answer(completion, "completion"), "generation": {}}
    yield Heard("single", prompt, [response], {"thumb": "up" if label else "down"})


def _demonstration(record: Record, _: Fields) -> Iterator[Heard]:
    if "prompt" in record and "completion" in record:
        text = _answer(_side(record, "completion"), "completion")
        yield Heard("edit", _side(record, "prompt"), [], {"text": text})
        return
    key = "messages" if "messages" in record else "conversations"
    messages = messages_of(record[key], key)
    last = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    if not last:
        raise RatingError(f"{key!r} holds no answer of the assistant after a prompt")
    yield Heard("edit", messages[:last], [], {"text": messages[last]["content"]})


def _model(record: Record) -> str:
    model = record.get("model")
    return model if isinstance(model, str) and model.strip() else _UNKNOWN


def _side(record: Record, key: str) -> Any:
    value = record[key]
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return messages_of(value, key)
    kind = "null" if value is None else type(value).__name__
    raise RatingError(f"{key!r} is {kind}: text or a list of messages was expected")


def _answer(value: Any, key: str) -> str:
    if isinstance(value, str):
        return value
    if len(value) != 1 or value[0]["role"] != "assistant":
        raise RatingError(f"{key!r} is one message of the assistant, not {len(value)} messages")
    text: str = value[0]["content"]
    return text


# Anthropic's transcripts


def transcript(text: str) -> list[Record]:
    """Messages of a text in which "Human:" and "Assistant:" take turns; RatingError where it begins otherwise."""
    parts = _TURN.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise RatingError("a transcript begins with '\\n\\nHuman:'")
    roles = ("user" if speaker == "Human" else "assistant" for speaker in parts[1::2])
    contents = (part.strip() for part in parts[2::2])
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def _hh(record: Record, _: Fields) -> Iterator[Heard]:
    chosen, rejected = transcript(record["chosen"]), transcript(record["rejected"])
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if messages[-1]["role"] != "assistant":
            raise RatingError(f"{name!r} does not end with the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise RatingError("'chosen' and 'rejected' are answers to different conversations")
    prompt = _joined(chosen[:-1])
    yield _pair(record, prompt, chosen[-1]["content"], rejected[-1]["content"])


def _joined(messages: list[Record]) -> list[Record]:
    """A conversation that ends with the user; an empty turn of the assistant before the end is dropped."""
    while messages and messages[-1]["role"] == "assistant":
        if messages[-1]["content"]:
            raise RatingError("the conversation has two answers of the assistant in a row")
        messages = messages[:-1]
    return messages


# lists of answers with scores or ranks (UltraFeedback, Nectar)

_PROMPTS = ("instruction", "prompt", "question", "input")
_LISTS = ("completions", "responses", "answers", "generations")
_TEXTS = ("response", "text", "answer", "content", "output")
_SCORES = ("overall_score", "score", "rating", "fine-grained_score")


def _list_of_answers(record: Record) -> list[Record] | None:
    for name in _LISTS:
        value = record.get(name)
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            return value
    return None


def _scored(record: Record, _: Fields) -> Iterator[Heard]:
    answers = _list_of_answers(record) or []
    prompt = record[first_of(record, _PROMPTS) or "prompt"]
    if isinstance(prompt, list):
        prompt = messages_of(prompt, "prompt")
    responses, scores = [], []
    for place, answer in enumerate(answers, start=1):
        key = first_of(answer, _TEXTS)
        if key is None or not isinstance(answer[key], str):
            raise RatingError(f"answer {place} has no text: {', '.join(sorted(answer))}")
        score = _score(answer)
        responses.append({"model": _model(answer), "text": answer[key], "generation": {"score": score}})
        scores.append(score)
    ranked_ones = sum(_rank(answer) is not None for answer in answers)
    if 0 < ranked_ones < len(answers):
        raise RatingError(f"{ranked_ones} of {len(answers)} answers have a rank: all of them must, or none")
    missing = scores.count(None)
    if missing:
        raise RatingError(f"{missing} of {len(scores)} answers have no score")
    sign = 1 if ranked_ones else -1  # the best has the lowest rank, and the highest score
    order = [None if score is None else sign * score for score in scores]
    yield from ranked(prompt, responses, order, None, "judge")


def _score(answer: Record) -> float | None:
    """The rank, the overall score, or the mean of the annotations' ratings."""
    rank = _rank(answer)
    if rank is not None:
        return rank
    key = first_of(answer, _SCORES)
    if key is not None:
        return number(answer[key])
    annotations = answer.get("annotations")
    if isinstance(annotations, dict):
        ratings = [number(each.get("Rating")) for each in annotations.values() if isinstance(each, dict)]
        known = [rating for rating in ratings if rating is not None]
        return sum(known) / len(known) if known else None
    return None


def _rank(answer: Record) -> float | None:
    rank = answer.get("rank")
    return number(rank) if isinstance(rank, int | float) else None


_READERS: dict[Shape, Callable[[Record, Fields], Iterator[Heard]]] = {
    "preference": _preference,
    "unpaired": _unpaired,
    "demonstration": _demonstration,
    "hh": _hh,
    "scored": _scored,
    "label-studio": tools.label_studio,
    "argilla": tools.argilla,
    "argilla-flat": tools.argilla_flat,
}
