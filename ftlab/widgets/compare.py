"""References side by side on the same prompts and seed, each answer with the proof of which weights gave it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from html import escape
from itertools import combinations
from time import monotonic
from typing import TYPE_CHECKING, Any

import traitlets

from ftlab.answers import (
    Answer,
    Comparison,
    Delta,
    Fingerprint,
    Message,
    Sampling,
    as_messages,
    ask,
    said,
    word_diff,
)
from ftlab.errors import ConfigError, DataError, RatingError
from ftlab.widgets.presence import Presence
from ftlab.widgets.widget import LabWidget, is_live

if TYPE_CHECKING:
    from ftlab.ratings import Ratings

FLUSH_SECONDS = 1 / 15  # a message for every token would use up JupyterLab's allowance of 1000 a second
Messages = list[Message]
Judge = Callable[[Messages, str], tuple[float, str]]


class Compare(LabWidget):
    """`Compare(["wren", "run:tour-sft"], "Where does Tom live?")`: one column a reference, streamed.

    prompts: one text, or several texts or message lists to step through; None: an empty box to type into.
    system: a rule put in front of every prompt that is given as text.
    judge: called with a prompt's messages and an answer's text; gives a score (above 0 is good) and a word or
    two for it, which are shown beneath the answer.
    ratings: where "Rate these" puts pairs of answers; None: the lab's own file. batch: their name there.

    Prompts that are given are answered as soon as a page shows them; where nobody can click, at once, and what
    a model raises is raised.
    """

    stem = "compare"

    models = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """References, one column each."""
    prompts: traitlets.List[Messages] = traitlets.List().tag(sync=True)
    """A list of messages for each prompt; the last message is the question."""
    settings = traitlets.Dict().tag(sync=True)
    """The fields of `Sampling`, the same for every column."""
    answers: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """For each prompt {reference: {text, tokens, finish, seconds, heading, weights, details, verdict}}."""
    partial = traitlets.Dict().tag(sync=True)
    """What is being written: {place of the prompt, as text: {reference: text so far}}."""
    state = traitlets.Unicode("idle").tag(sync=True)
    """idle, running or cancelling."""
    note = traitlets.Unicode("").tag(sync=True)
    """What takes its time before the first word, such as a model being fetched."""
    progress = traitlets.Dict().tag(sync=True)
    """{done, total}: answers of the present or latest call."""

    batch = traitlets.Unicode("default").tag(sync=True)
    """The name under which "Rate these" stores pairs."""

    _ask = staticmethod(ask)  # the one seam: whoever answers

    def __init__(
        self,
        models: Sequence[str] = ("wren",),
        prompts: str | Sequence[str | Messages] | None = None,
        *,
        sampling: Sampling | None = None,
        system: str = "",
        judge: Judge | None = None,
        ratings: "Ratings | None" = None,
        batch: str = "default",
    ) -> None:
        given = _prompts(prompts, system)
        super().__init__(
            models=_references(models),
            prompts=given or [_question("", system)],
            settings=asdict(sampling or Sampling()),
            answers=[{} for _ in range(len(given) or 1)],
            batch=batch,
        )
        self._judge = judge
        self._ratings = ratings
        self._is_store_given = ratings is not None
        self._rows: list[dict[str, dict[str, Any]]] = [{} for _ in self.prompts]
        self._found: dict[tuple[int, str], Answer] = {}
        self._texts: dict[tuple[int, str], str] = {}
        self._cancel = threading.Event()
        self._presence = Presence()
        self._failure: Exception | None = None
        self._is_fresh = bool(given)  # nobody has asked for answers to the given prompts yet
        if given and not is_live():
            self.run()  # here and not when it is shown: an error then would leave the cell green

    def run(self) -> Comparison:
        """Answers every prompt that lacks an answer, and waits for it. Raises what the models raise."""
        asked = self._askable(range(len(self.prompts)))
        missing = [i for i in asked if any((i, model) not in self._found for model in self.models)]
        if missing:
            self._answer(missing, self._begin(missing))
        if self._failure is not None:
            self.error = str(self._failure)
            raise self._failure
        return self.comparison

    @property
    def comparison(self) -> Comparison:
        """The prompts that every column has answered. Raises ConfigError where there is none."""
        whole = [i for i in range(len(self.prompts)) if all((i, m) in self._found for m in self.models)]
        if not whole:
            raise ConfigError("nothing to compare yet: no prompt has an answer from every model; call run()")
        return Comparison(
            [self.prompts[i] for i in whole],
            list(self.models),
            _sampling(self.settings),
            [{model: self._found[i, model] for model in self.models} for i in whole],
        )

    # What the page asks for

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A page is there; the first one starts the answers to the prompts that were given."""
        was_absent = not self._presence.is_here
        self._presence.hear()
        if self._is_fresh:
            self._start(range(len(self.prompts)))
        elif was_absent:
            self._show()
        return super()._do_hello(message)

    def _do_run(self, message: dict[str, Any]) -> None:
        """Answers `indexes`, with `settings`, after `edits` {place: messages} of the prompts."""
        if self.state != "idle":
            raise ConfigError("answers are still being written: cancel them first, or wait")
        settings = _sampling({**self.settings, **message.get("settings", {})})
        prompts = list(self.prompts)
        for place, messages in message.get("edits", {}).items():
            prompts[int(place) : int(place) + 1] = [_checked(messages, int(place))]
        with self._together():
            while len(self._rows) < len(prompts):
                self._rows.append({})
            self.settings, self.prompts = asdict(settings), prompts
            self._start(message.get("indexes", range(len(prompts))))

    def _do_cancel(self, _message: dict[str, Any]) -> None:
        """Ends the answers where they are."""
        if self.state == "running":
            self.state = "cancelling"
            self._cancel.set()

    def _do_rate(self, message: dict[str, Any]) -> dict[str, Any]:
        """Stores each pair of answers to the prompts at `indexes` for rating; tells how many went in."""
        pairs, unfit = self._pairs(message.get("indexes", range(len(self.prompts))))
        if not pairs:
            raise RatingError("nothing to rate: no prompt has two finished answers; run the prompts first")
        added = self._store().add_pairs(pairs, batch=self.batch)
        return {
            "added": int(added),
            "known": added.known,
            "refused": [item.reason for item in added.refused],
            "unfit": unfit,
            "batch": self.batch,
            "call": f"Rate({'ratings' if self._is_store_given else 'Ratings()'}, batch={self.batch!r})",
        }

    # How the answers come

    def _askable(self, indexes: Sequence[int]) -> list[int]:
        """Those places whose question holds a text. Raises ConfigError where none does."""
        asked = [i for i in indexes if self.prompts[i][-1]["content"].strip()]
        if not asked:
            raise ConfigError("there is no prompt: type one into the box, or give prompts=[…]")
        return asked

    def _start(self, indexes: Sequence[int]) -> None:
        asked = self._askable(indexes)
        cancel = self._begin(asked)
        threading.Thread(target=self._answer_apart, args=(asked, cancel), name="compare", daemon=True).start()

    def _begin(self, indexes: Sequence[int]) -> threading.Event:
        """Clears what will be asked again; gives the event that ends this call."""
        self._cancel, self._is_fresh, self._failure = threading.Event(), False, None
        for index in indexes:
            self._rows[index] = {}
            for model in self.models:
                self._found.pop((index, model), None)
        with self._together():
            self.state, self.error, self.note = "running", "", ""
            self.progress = {"done": 0, "total": len(indexes) * len(self.models)}
            self._show()
        return self._cancel

    def _answer_apart(self, indexes: Sequence[int], cancel: threading.Event) -> None:
        """In a thread, where nobody sees what is thrown."""
        self._answer(indexes, cancel)
        if self._failure is not None:
            self._report(self._failure)

    def _answer(self, indexes: Sequence[int], cancel: threading.Event) -> None:
        """Takes the answers in as they come, and shows them about 15 times a second while a page is there."""
        try:
            shown = monotonic()
            prompts = [self.prompts[i] for i in indexes]
            sampling = _sampling(self.settings)
            for piece in self._ask(prompts, list(self.models), sampling, cancel=cancel, note=self._tell):
                self._take(piece, indexes)
                if monotonic() - shown >= FLUSH_SECONDS and self._presence.is_here:
                    self._show()
                    shown = monotonic()
        except Exception as error:  # noqa: BLE001 - raised again by run(), told to the page by _answer_apart()
            self._failure = error
        finally:
            with self._together():
                self._keep_unfinished("cancelled" if cancel.is_set() else "broken off")
                self._show()
                self.state, self.note = "idle", ""

    def _tell(self, note: str) -> None:
        self.note = note

    def _take(self, piece: Delta | tuple[int, Answer], indexes: Sequence[int]) -> None:
        if isinstance(piece, Delta):
            key = (indexes[piece.index], piece.reference)
            self._texts[key] = self._texts.get(key, "") + piece.text
            self.note = ""
            return
        place, answer = piece
        index = indexes[place]
        row = _row(answer) | {"verdict": self._verdict(answer)}
        with self._lock:
            self._texts.pop((index, answer.reference), None)
            self._found[index, answer.reference] = answer
            self._rows[index] = {**self._rows[index], answer.reference: row}

    def _keep_unfinished(self, finish: str) -> None:
        """Leaves half an answer readable, marked as what it is: it has no proof and cannot be rated."""
        for (index, reference), text in self._texts.items():
            row = {
                "text": text,
                "tokens": None,
                "finish": finish,
                "seconds": None,
                "heading": "",
                "weights": "",
            }
            self._rows[index] = {**self._rows[index], reference: row | {"details": {}, "verdict": None}}
        self._texts.clear()

    def _show(self) -> None:
        with self._together():
            partial: dict[str, dict[str, str]] = {}
            for (index, reference), text in list(self._texts.items()):
                partial.setdefault(str(index), {})[reference] = text
            self.partial = partial
            self.answers = list(self._rows)
            done = sum(len(row) for row in self._rows)
            self.progress = {**self.progress, "done": min(done, self.progress.get("total", done))}

    def _verdict(self, answer: Answer) -> dict[str, Any] | None:
        if self._judge is None:
            return None
        score, label = self._judge(answer.prompt, answer.text)
        return {"score": float(score), "label": str(label)}

    # What is left for others

    def _store(self) -> "Ratings":
        if self._ratings is None:
            from ftlab.ratings import (
                Ratings,
            )  # with it comes SQLAlchemy, which a comparison alone can do without

            self._ratings = Ratings()
        return self._ratings

    def _pairs(self, indexes: Sequence[int]) -> tuple[list[dict[str, Any]], int]:
        """Rows for `Ratings.add_pairs`, and how many pairs lacked a finished answer."""
        rows: list[dict[str, Any]] = []
        couples = list(combinations(self.models, 2))
        for index in indexes:
            whole = {
                m: a for m in self.models if (a := self._found.get((index, m))) and a.finish != "cancelled"
            }
            alone = Comparison([self.prompts[index]], list(self.models), _sampling(self.settings), [whole])
            for left, right in couples:
                rows += alone.pairs(left, right)
        return rows, len(indexes) * len(couples) - len(rows)

    def _summary(self) -> str:
        return f"Compare {', '.join(self.models)} on {len(self.prompts)} prompts"

    def _twin(self) -> str:
        head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in ("prompt", *self.models))
        rows = "".join(
            f'<tr><td style="{_CELL}">{escape(said(prompt))}</td>'
            + "".join(
                f'<td style="{_CELL}">{_cell(row.get(m), row.get(self.models[0]))}</td>' for m in self.models
            )
            + "</tr>"
            for prompt, row in zip(self.prompts, self._rows, strict=False)
        )
        chosen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.settings.items())
        return (
            f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
            f"<p><small>{escape(chosen)}; the same seed in every column. "
            f"Underlined: words that {escape(self.models[0])} does not have there.</small></p>"
        )


# JupyterLab's sanitizer keeps plain values only; mid grey shows on light and on dark.
_CELL = "border:1px solid #888888;padding:6px;text-align:left;vertical-align:top;white-space:pre-wrap"


def _references(models: Sequence[str]) -> list[str]:
    names = [models] if isinstance(models, str) else [str(model) for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        told = f"{', '.join(map(repr, twice))} twice" if twice else "no model"
        raise ConfigError(f'Compare was given {told}; name each column once, such as ["wren", "run:NAME"]')
    return names


def _question(text: str, system: str) -> Messages:
    rule = [{"role": "system", "content": system}] if system.strip() else []
    return [*rule, {"role": "user", "content": text}]


def _prompts(prompts: str | Sequence[str | Messages] | None, system: str) -> list[Messages]:
    given: list[str | Messages] = [prompts] if isinstance(prompts, str) else list(prompts or [])
    return [
        _question(one, system) if isinstance(one, str) else _checked(one, place)
        for place, one in enumerate(given)
    ]


def _checked(messages: Any, place: int) -> Messages:
    """Messages as the models take them. Raises DataError that says which prompt is none."""
    try:
        return as_messages(messages)
    except (DataError, TypeError) as error:
        raise DataError(f"prompt {place + 1} is neither a text nor a list of messages: {error}") from error


def _sampling(settings: dict[str, Any]) -> Sampling:
    """The settings of the page as they are checked by `Sampling`; unknown names are left out."""
    known = {field.name for field in fields(Sampling)}
    return Sampling(**{name: value for name, value in settings.items() if name in known})


def _weights(fingerprint: Fingerprint) -> str:
    """Equal for two answers exactly where the same weights gave them."""
    return f"{fingerprint.base}+{fingerprint.adapter if fingerprint.adapter_active else ''}"


def _proof(fingerprint: Fingerprint) -> str:
    """A pane's heading; it says of an adapter in any case whether one spoke."""
    if fingerprint.adapter is None:
        return f"{fingerprint.heading}, no adapter"
    return (
        f"{fingerprint.heading} active"
        if fingerprint.adapter_active
        else f"{fingerprint.heading}, adapter off"
    )


def _row(answer: Answer) -> dict[str, Any]:
    """An answer as the page draws it."""
    print_ = answer.fingerprint
    adapter = (
        f"{print_.adapter} ({'active' if print_.adapter_active else 'off'})" if print_.adapter else "none"
    )
    chosen = {name.replace("_", " "): str(value) for name, value in asdict(print_.sampling).items()}
    return {
        "text": answer.text,
        "tokens": answer.tokens,
        "finish": answer.finish,
        "seconds": answer.seconds,
        "heading": _proof(print_),
        "weights": _weights(print_),
        "details": {
            "base": print_.base,
            "adapter": adapter,
            **({} if print_.context is None else {"prompt": print_.context}),
            "template": print_.template,
            **chosen,
        },
    }


def _cell(row: dict[str, Any] | None, first: dict[str, Any] | None) -> str:
    """One answer of the twin: proof, text and figures, all of it escaped."""
    if row is None:
        return "no answer"
    marked = escape(row["text"])
    if first is not None and first is not row:
        words = [word for word in word_diff(first["text"], row["text"]) if word.change != "removed"]
        marked = "".join(f"<u>{escape(w.text)}</u>" if w.change == "added" else escape(w.text) for w in words)
    verdict = row["verdict"]
    marks = [f"{row['tokens']} tokens" if row["tokens"] is not None else "", row["finish"]]
    marks += [f"judge: {verdict['label']} ({verdict['score']:.3g})" if verdict else ""]
    below = escape(", ".join(mark for mark in marks if mark))
    return f"<small>{escape(row['heading'])}</small><br>{marked}<br><small>{below}</small>"
