"""Answers of several models to the same prompts, side by side: as a table, as rows, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from ftlab.answers.answer import Answer, Fingerprint, Message, Sampling, said
from ftlab.answers.words import word_diff
from ftlab.errors import DataError, ModelError

_JSON_FORMAT = "ftlab.comparison/1"


@dataclass(frozen=True)
class Comparison:
    """Answers of several models to the same prompts: `answers[place of the prompt][reference]`."""

    prompts: list[list[Message]]
    references: list[str]
    sampling: Sampling
    answers: list[dict[str, Answer]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """A row an answer, flat, for a table: prompt, reference, text, tokens, finish, seconds, hashes, seed."""
        return [
            {
                "index": index,
                "prompt": said(self.prompts[index]),
                "reference": name,
                "text": answer.text,
                "tokens": answer.tokens,
                "finish": answer.finish,
                "seconds": answer.seconds,
                "base": answer.fingerprint.base,
                "adapter": answer.fingerprint.adapter,
                "template": answer.fingerprint.template,
                "context": answer.fingerprint.context,
                "seed": answer.fingerprint.sampling.seed,
            }
            for index, answers in enumerate(self.answers)
            for name, answer in answers.items()
        ]

    def pairs(self, left: str, right: str, tags: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What `Ratings.add_pairs` takes: for each prompt that both answered, the two responses.

        Raises ModelError where a reference was not compared.
        """
        for name in (left, right):
            if name not in self.references:
                raise ModelError(f"{name!r} was not compared; there are: {', '.join(self.references)}")
        return [
            {
                "prompt": self.prompts[index],
                "responses": [_response(answers[name]) for name in (left, right)],
                "tags": list(tags),
            }
            for index, answers in enumerate(self.answers)
            if left in answers and right in answers
        ]

    def to_json(self) -> str:
        """All of it as one JSON object, for a file or another process."""
        return json.dumps(
            {
                "format": _JSON_FORMAT,
                "prompts": self.prompts,
                "references": self.references,
                "sampling": asdict(self.sampling),
                "answers": [
                    {name: answer.to_dict() for name, answer in answers.items()} for answers in self.answers
                ],
            },
            ensure_ascii=False,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The comparison that `to_json` wrote; raises DataError where the text is something else."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from error
        if not isinstance(values, dict) or values.get("format") != _JSON_FORMAT:
            raise DataError(f"no comparison; wanted an object whose format is {_JSON_FORMAT!r}")
        return cls(
            prompts=values["prompts"],
            references=values["references"],
            sampling=Sampling(**values["sampling"]),
            answers=[
                {name: Answer.from_dict(answer) for name, answer in answers.items()}
                for answers in values["answers"]
            ],
        )

    def html(self, *, differences: bool = True) -> str:
        """A static table, a column a model; all text escaped, readable on a light and on a dark page.

        With `differences`, words that the first model's answer does not have at that place are underlined.
        """
        head = "".join(_heading(name, self._fingerprint(name)) for name in self.references)
        body = "".join(self._row(index, differences=differences) for index in range(len(self.prompts)))
        note = f"<p>{escape(_settings(self.sampling))}</p>"
        return f'<table style="{_TABLE}"><thead><tr>{_PROMPT_HEAD}{head}</tr></thead><tbody>{body}</tbody></table>{note}'

    def _repr_html_(self) -> str:
        return self.html()

    def _fingerprint(self, name: str) -> Fingerprint | None:
        marks = (answers[name].fingerprint for answers in self.answers if name in answers)
        return next(marks, None)

    def _row(self, index: int, *, differences: bool) -> str:
        answers = self.answers[index] if index < len(self.answers) else {}
        first = answers.get(self.references[0])
        cells = [f'<td style="{_CELL}">{escape(said(self.prompts[index]))}</td>']
        for name in self.references:
            answer = answers.get(name)
            if answer is None:
                cells.append(f'<td style="{_CELL}"><em>no answer</em></td>')
                continue
            against = first.text if differences and first is not None and answer is not first else None
            ending = {"end": "", "length": " …", "cancelled": " (cancelled)"}[answer.finish]
            cells.append(f'<td style="{_CELL}">{_marked(answer.text, against)}{ending}</td>')
        return f"<tr>{''.join(cells)}</tr>"


_LINE = "1px solid #888888"  # JupyterLab's sanitizer keeps plain colours; mid grey shows on light and dark
_TABLE = "border-collapse: collapse; width: 100%;"
_CELL = f"border: {_LINE}; padding: 6px; text-align: left; vertical-align: top; white-space: pre-wrap;"
_PROMPT_HEAD = f'<th style="{_CELL}">prompt</th>'


def _heading(name: str, mark: Fingerprint | None) -> str:
    proof = "" if mark is None else f"<br><code>{escape(mark.heading)}</code>"
    return f'<th style="{_CELL}">{escape(name)}{proof}</th>'


def _marked(text: str, against: str | None) -> str:
    if against is None:
        return escape(text)
    return "".join(
        f"<u>{escape(word.text)}</u>" if word.change == "added" else escape(word.text)
        for word in word_diff(against, text)
        if word.change != "removed"
    )


def _settings(sampling: Sampling) -> str:
    drawn = f"temperature {sampling.temperature:g}, top p {sampling.top_p:g}, seed {sampling.seed}"
    how = "likeliest token each time" if sampling.temperature == 0 else drawn
    return f"{how}; at most {sampling.max_new_tokens} tokens (… marks an answer cut there)"


def _response(answer: Answer) -> dict[str, Any]:
    mark = answer.fingerprint
    generation = {
        **asdict(mark.sampling),
        "base": mark.base,
        "adapter": mark.adapter,
        "adapter_active": mark.adapter_active,
        "template": mark.template,
        "tokens": answer.tokens,
        "finish": answer.finish,
    }
    if mark.context is not None:  # left out where there is none, so that stored tasks keep their hashes
        generation["context"] = mark.context
    return {"model": answer.reference, "text": answer.text, "generation": generation}
