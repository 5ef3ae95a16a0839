"""The data doctor: everything that is wrong with a dataset at once, each with its rows and how to mend it."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ftlab.data.columns import Mask
from ftlab.data.files import Row
from ftlab.data.formats import Example, Format
from ftlab.data.loose import Loose, read_loosely
from ftlab.data.measuring import measure
from ftlab.data.overlap import NEAR, SHINGLE, Texts, doubles, leaked, texts_of
from ftlab.data.pairs import check_pairs
from ftlab.data.renaming import has_foreign_turns, own_turns, renaming, shape_of
from ftlab.data.report import Level, Report
from ftlab.data.row_checks import MARKS, check_row, check_text
from ftlab.data.symptoms import Symptoms
from ftlab.data.tokenizer import Tokenizer, load_tokenizer

PREFERRING = ("dpo", "reward")
"""Methods that learn from preferences; all others learn from examples."""
_FORMS = "give prompt and completion, messages, text, or chosen and rejected; ftlab.data.FORMATS shows them"
FAR_OUT = 20
"""How many times the median length makes a text an outlier worth naming."""


def examine(
    source: str | Path | Sequence[Row],
    *,
    tokenizer: "str | Tokenizer | None" = None,
    evaluation: str | Path | Sequence[Row] | None = None,
    max_length: int = 512,
    mask: Mask = "assistant",
    method: str | None = None,
) -> Report:
    """What is wrong with a dataset, and how much of it would be trained on.

    source: a .jsonl, .json or .parquet file, rows of the embedded world ("wren:sft"), or rows. tokenizer: a model's
    reference; with it tokens are counted, and what `max_length` cuts or drops. evaluation: rows that must not have been
    trained on. method: of RunConfig ("sft", "dpo", …); None: whatever the rows are made for.
    Nothing is guessed on the quiet: rows with other columns are looked at as if they were renamed, and it is said.
    Raises DataError where there is no such file, ModelError where there is no such tokenizer.
    """
    symptoms = Symptoms()
    loose = read_loosely(source, symptoms)
    patient = _Patient(loose, symptoms)
    tokens = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
    special = _pattern(tokens)
    patient.look(special)
    patient.compare()
    if method is not None and patient.format != "none":
        _check_method(patient, method, symptoms)
    lost = {"broken": loose.broken + patient.unreadable, "not a choice": len(patient.same)}
    measured = None
    if tokens is not None and patient.format != "none":
        measured, cut, dropped = measure(
            patient.readable,
            patient.format,
            tokens,
            mask=mask,
            max_length=max_length,
            method=method,
            symptoms=symptoms,
        )
        lost |= {"dropped": dropped, "cut": cut}
    if evaluation is not None:
        _check_leaks(patient, evaluation, symptoms)
    _check_outliers(patient, symptoms)
    whole = len(loose.rows) + loose.broken
    if not loose.rows:
        symptoms.add("error", "there are no rows", None, mend=_FORMS)
    return Report(
        source=loose.source,
        format=patient.format,
        rows=whole,
        usable=whole - lost["broken"] - lost["not a choice"] - lost.get("dropped", 0),
        findings=symptoms.findings(),
        tokens=measured,
        place="line" if loose.has_lines else "row",
        lost={reason: count for reason, count in lost.items() if count},
        _mend=patient.mended,
    )


class _Patient:
    """The rows under examination: as they came, as they would be after renaming, and as examples."""

    def __init__(self, loose: Loose, symptoms: Symptoms) -> None:
        self.loose = loose
        self.places = loose.places
        self.symptoms = symptoms
        self.rows: list[Row] = []
        self.renamed: Counter[str] = Counter()
        shapes = [self._own(row, place) for row, place in zip(loose.rows, self.places, strict=True)]
        known = Counter(shape for shape in shapes if shape is not None)
        self.format: Any = known.most_common(1)[0][0] if known else "none"
        self.shapes = shapes
        self.examples: list[Example | None] = []
        self.texts: list[Texts | None] = []
        self.same: list[int] = []
        self.doubles: list[int] = []

    @property
    def unreadable(self) -> int:
        return sum(example is None for example in self.examples)

    @property
    def readable(self) -> list[tuple[int, Row, Example]]:
        """(place, row, example) of every row that a method can read and learn from."""
        same = set(self.same)
        return [
            (place, row, example)
            for index, (place, row, example) in enumerate(
                zip(self.places, self.rows, self.examples, strict=True)
            )
            if example is not None and index not in same
        ]

    def _own(self, row: Row, place: int) -> Format | None:
        """Notes the row in our own columns, and gives its format."""
        shape = shape_of(row)
        if shape is None:
            found = renaming(frozenset(row))
            if found is None:
                self.rows.append(row)
                keys = ", ".join(sorted(row)[:8]) or "no keys"
                self.symptoms.add(
                    "error", f"no format has these columns: {keys}", place, example=str(row), mend=_FORMS
                )
                return None
            foreign = ", ".join(key for key in row if key not in found.apply(row))
            row, shape = found.apply(row), found.format
            self.renamed[found.told] += 1
            self.symptoms.add(
                "error", f"columns by other names: {foreign}", place, mend=f"{found.told}; `mended` does it"
            )
        if has_foreign_turns(row):
            row = own_turns(row)
            told = "write messages as role and content"
            self.renamed[told] += 1
            self.symptoms.add(
                "error",
                "messages in another form",
                place,
                mend='write {"role": …, "content": …}; `mended` does it',
            )
        self.rows.append(row)
        return shape

    def look(self, special: "re.Pattern[str] | None") -> None:
        """Every row by itself."""
        kinds: Counter[bool] = Counter()
        for row, shape, place in zip(self.rows, self.shapes, self.places, strict=True):
            if shape is None or shape != self.format:
                self.examples.append(None)
                if shape is not None:
                    self.symptoms.add(
                        "error",
                        f"a {shape} row among {self.format} rows",
                        place,
                        example=str(row),
                        mend="keep one format in a file",
                    )
                continue
            example = check_row(row, shape, place, self.symptoms)
            check_text(row, shape, place, special, self.symptoms)
            if example is not None:
                kinds[example.is_conversation] += 1
            self.examples.append(example)
        if len(kinds) == 2:
            self._one_kind(kinds.most_common(1)[0][0])
        self.texts = [texts_of(example) for example in self.examples]

    def _one_kind(self, conversational: bool) -> None:
        """Text and conversations in one file: a run takes one of them."""
        for index, example in enumerate(self.examples):
            if example is not None and example.is_conversation != conversational:
                self.examples[index] = None
                what = "text among conversations" if conversational else "a conversation among text"
                self.symptoms.add("error", what, self.places[index], mend="keep one of them in a file")

    def compare(self) -> None:
        """The rows with each other."""
        if self.format == "preference":
            self.same = check_pairs(self.rows, self.texts, self.places, self.symptoms)
        found = doubles(self.texts)
        self.doubles = found.exact
        told: list[tuple[list[int], Level, str, str]] = [
            (found.exact, "warning", "there already", "take it out: it counts twice"),
            (
                found.near,
                "warning",
                "there already but for case or punctuation",
                "take it out unless it is meant",
            ),
            (
                found.opposed,
                "warning",
                "chosen and rejected as in an earlier row, the other way round",
                "decide which is better",
            ),
            (found.other_answers, "note", "the prompt comes again with another answer", ""),
        ]
        for indexes, level, what, mend in told:
            for index in indexes:
                self.symptoms.add(
                    level, what, self.places[index], example=_shown(self.texts[index]), mend=mend
                )
        self._labels()

    def _labels(self) -> None:
        labels = Counter(row["label"] for row in self.rows if isinstance(row.get("label"), bool))
        if not labels or self.format != "prompt-completion":
            return
        good = labels[True] / labels.total()
        lopsided = min(good, 1 - good) < 0.1
        self.symptoms.add(
            "warning" if labels[False] else "note",
            f"{good:.0%} of {labels.total():,} labels are true{', a lopsided balance' if lopsided else ''}",
            None,
            column="label",
            mend="examples are learned whatever their label says: keep the true ones"
            if labels[False]
            else "",
        )

    def mended(self) -> tuple[list[Row], list[str]]:
        """The rows with everything put right that needs no judgement, and what was done."""
        left_out = Counter[str]()
        again, same = set(self.doubles), set(self.same)
        rows: list[Row] = []
        stripped = 0
        for index, (row, example) in enumerate(zip(self.rows, self.examples, strict=True)):
            reason = (
                "broken or empty" if example is None
                else "there already" if index in again
                else "no choice" if index in same
                else ""
            )  # fmt: skip
            if reason:
                left_out[reason] += 1
                continue
            clean = _stripped(row)
            stripped += clean != row
            rows.append(clean)
        if self.loose.broken:
            left_out["no JSON object"] += self.loose.broken
        done = [f"{told}: {_rows(count)}" for told, count in self.renamed.items()]
        done += [f"left out, {reason}: {_rows(count)}" for reason, count in left_out.items()]
        done += [f"white space around messages taken off: {_rows(stripped)}"] if stripped else []
        return rows, done


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _stripped(row: Row) -> Row:
    """White space around contents of messages taken off: templates write their own."""
    return {
        key: [{**one, "content": one["content"].strip()} for one in value]
        if isinstance(value, list)
        and value
        and all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in value)
        else value
        for key, value in row.items()
    }


def _shown(texts: Texts | None) -> str:
    return "" if texts is None else texts.question


def _pattern(tokenizer: Tokenizer | None) -> "re.Pattern[str] | None":
    """The tokenizer's own special tokens, and those of well-known families."""
    specials = tokenizer.all_special_tokens if tokenizer is not None else []
    return re.compile("|".join([*map(re.escape, specials), MARKS.pattern])) if specials else None


def _check_method(patient: _Patient, method: str, symptoms: Symptoms) -> None:
    wants_pairs = method in PREFERRING
    if (patient.format == "preference") == wants_pairs:
        return
    need = (
        "preferences, 'chosen' and 'rejected'"
        if wants_pairs
        else "examples: 'messages', 'text' or 'prompt' and 'completion'"
    )
    symptoms.add("error", f"{patient.format} rows, and {method} learns from {need}", None,
                 mend="choose another method, or rows of that form")  # fmt: skip


def _check_leaks(patient: _Patient, evaluation: str | Path | Sequence[Row], symptoms: Symptoms) -> None:
    apart = Symptoms()  # what is wrong with the evaluation rows themselves is not asked here
    other = _Patient(read_loosely(evaluation, apart), apart)
    other.look(None)
    found = leaked(patient.texts, other.texts)
    total = sum(texts is not None for texts in other.texts)
    for seen in found:
        what = "the question of an evaluation row" if seen.share == 1.0 else "nearly an evaluation row"
        symptoms.add("warning", what, patient.places[seen.row], example=_shown(other.texts[seen.evaluation]),
                     mend="take it out, or the evaluation shows memory instead of skill")  # fmt: skip
    words = f"{len({seen.evaluation for seen in found}):,} of {total:,} evaluation rows are given away by training rows"
    symptoms.add("note", f"{words} (the same question, or {NEAR:.0%} of its runs of {SHINGLE} words)", None)


def _check_outliers(patient: _Patient, symptoms: Symptoms) -> None:
    sizes = [(len(one.prompt) + len(one.answer), i) for i, one in enumerate(patient.texts) if one is not None]
    if len(sizes) < 20:
        return
    middle = median(size for size, _ in sizes)
    for size, index in sizes:
        if size > FAR_OUT * middle:
            symptoms.add("note", f"over {FAR_OUT} times as long as the median of {middle:,.0f} characters", patient.places[index],
                         example=f"{size:,} characters", mend="look whether a whole file slipped in")  # fmt: skip
