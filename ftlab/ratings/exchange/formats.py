"""What ratings look like to a trainer: the rows that the opinions on a task come to, in each kind of export."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ftlab.errors import RatingError
from ftlab.ratings import opinions
from ftlab.ratings import schema as t
from ftlab.ratings.opinions import Aggregate, Finding, Opinions, Vote

Kind = Literal["preference", "unpaired", "sft", "reward"]
Row = dict[str, Any]

_FIT: dict[Kind, tuple[str, ...]] = {
    "preference": ("pair", "dialogue", "rank", "edit"),
    "reward": ("pair", "dialogue", "rank", "edit"),
    "unpaired": ("pair", "dialogue", "single", "edit"),
    "sft": ("pair", "dialogue", "rank", "single", "edit"),
}
_WEAKEST: dict[Kind, int] = {"preference": 1, "reward": 0, "unpaired": 1, "sft": 2}
_EDITED = "a rater's own words"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an export is to hold; `Ratings.export` says what the fields mean."""

    kind: Kind = "preference"
    aggregate: Aggregate = "majority"
    min_strength: int | None = None
    kinds: tuple[str, ...] | None = None
    implicit_prompt: bool = False
    standard: bool = False

    def __post_init__(self) -> None:
        """RatingError where a field has a value of no meaning."""
        if self.kind not in _FIT:
            raise RatingError(f"'kind' is one of {', '.join(_FIT)} or raw, not {self.kind!r}")
        if self.aggregate not in get_args(Aggregate):
            raise RatingError(f"'aggregate' is {', '.join(get_args(Aggregate))}, not {self.aggregate!r}")
        if self.min_strength is not None and self.min_strength not in range(4):
            raise RatingError(f"'min_strength' is a whole number from 0 to 3, not {self.min_strength!r}")
        unknown = sorted(set(self.kinds or ()) - set(t.RATERS))
        if unknown:
            raise RatingError(f"kinds of raters are {', '.join(t.RATERS)}, not {unknown[0]!r}")
        if self.implicit_prompt and self.kind not in ("preference", "reward"):
            raise RatingError(f"{self.kind!r} has no implicit prompt: only preference and reward rows have")

    @property
    def weakest(self) -> int:
        """The least strength that counts: as asked, else 1; 0 for reward (it has margins), 2 for sft."""
        return _WEAKEST[self.kind] if self.min_strength is None else self.min_strength


def fits(mode: str, wanted: Wanted) -> bool:
    """Whether tasks of this mode can make rows of this kind."""
    return mode in _FIT[wanted.kind]


def counted(task: Opinions, wanted: Wanted, excluded: Counter[str]) -> tuple[Vote, ...]:
    """The ratings of a task that count; those that don't are counted by their reason, one by one."""
    for reason, count in task.aside.items():
        excluded[reason] += count
    votes, aside = task.of_kinds(wanted.kinds)
    if aside:
        excluded["other kind of rater"] += aside
    return votes


def rows(task: Opinions, votes: tuple[Vote, ...], wanted: Wanted, excluded: Counter[str]) -> Iterator[Row]:
    """The rows that the ratings of a task come to.

    A pair of answers, or a task, of which they make no row (tie, weak, split, ...) is counted by the reason.
    """
    if not fits(task.mode, wanted):
        excluded[f"mode {task.mode} says nothing of this kind"] += len(votes)
        return iter(())
    maker = _Maker(task, votes, wanted, excluded)
    reason = maker.unfit_prompt()
    if reason:
        excluded[reason] += 1
        return iter(())
    return _MAKERS[wanted.kind](maker)


class _Maker:
    """One task on its way to rows."""

    __slots__ = ("excluded", "prompt", "task", "votes", "wanted")

    def __init__(
        self, task: Opinions, votes: tuple[Vote, ...], wanted: Wanted, excluded: Counter[str]
    ) -> None:
        self.task, self.votes, self.wanted, self.excluded = task, votes, wanted, excluded
        self.prompt = task.prompt

    def unfit_prompt(self) -> str:
        messages = self.prompt
        if not any(message["content"].strip() for message in messages):
            return "empty prompt"
        if self.wanted.standard and (len(messages) > 1 or messages[0]["role"] != "user"):
            return "a conversation, not plain text"
        return ""

    def findings(self, votes: Sequence[Vote]) -> list[Finding]:
        return opinions.findings(votes, self.wanted.aggregate, self.wanted.weakest)

    def contests(self) -> Iterator[tuple[int, int, Finding]]:
        """(slot, slot, what the ratings of these two come to), the unsafe and the empty ones left out."""
        if self.task.mode == "rank":
            pairs = opinions.ranked_pairs(self.task, self.votes)
        else:
            pairs = iter([(0, 1, list(self.votes))])
        for one, two, votes in pairs:
            for finding in self.findings(votes):
                teaches = finding.reason == "both_bad" and self.wanted.kind == "unpaired"
                reason = ("" if teaches else finding.reason) or self._unfit(one, two, finding)
                if reason:
                    self.excluded[reason] += 1
                else:
                    yield one, two, finding

    def _unfit(self, one: int, two: int, finding: Finding) -> str:
        """Empty answers would teach to say nothing, and like ones nothing (a ranking may hold some); a chosen one
        less safe than the other is left out too.

        The last is Llama 2's rule (Touvron et al. 2023, section 3.2.1); as a demonstration, or
        as a good answer by itself, an unsafe one is left out whatever the other was.
        """
        if not (self.task.texts[one].strip() and self.task.texts[two].strip()):
            return "empty answer"
        if self.task.texts[one].strip() == self.task.texts[two].strip():
            return "both answers are the same text"
        if self.task.mode in opinions.PAIRS and finding.winner is not None:
            safe = opinions.safety(self.votes)
            if safe is not None and not safe[finding.winner]:
                if safe[1 - finding.winner]:
                    return "chosen is unsafe, the other safe"
                if self.wanted.kind in ("sft", "unpaired"):
                    return "chosen is unsafe"
        return ""

    def edits(self) -> Iterator[tuple[str, Vote]]:
        """Each rater's text, never brought together: two demonstrations are two demonstrations."""
        for vote in self.votes:
            text = vote.scores.get("text") or ""
            if text.strip():
                yield text, vote
            else:
                self.excluded["empty answer"] += 1

    def answer(self, text: str) -> Any:
        return text if self.wanted.standard else [{"role": "assistant", "content": text}]

    def asked(self) -> Any:
        return self.prompt[0]["content"] if self.wanted.standard else self.prompt

    def about(self, finding: Finding) -> Row:
        return {
            "margin": finding.margin,
            "agreement": finding.agreement,
            "n_raters": len({vote.rater for vote in finding.votes}),
            "rater_kind": finding.votes[0].rater_kind,
            "event_ids": [vote.event_id for vote in finding.votes],
            "batch": self.task.batch,
            "mode": self.task.mode,
            "task_id": self.task.task_id,
        }


def _preference(maker: _Maker) -> Iterator[Row]:
    task = maker.task
    if task.mode == "edit":
        yield from _improvements(maker)
        return
    safe = opinions.safety(maker.votes) if task.mode in opinions.PAIRS else None
    for one, two, finding in maker.contests():
        winner = one if finding.winner == one else two
        loser = two if winner == one else one
        row = _two_answers(maker, task.texts[winner], task.texts[loser]) | maker.about(finding)
        row["chosen_model"], row["rejected_model"] = task.models[winner], task.models[loser]
        row["chosen_safe"] = None if safe is None else safe[winner]
        row["rejected_safe"] = None if safe is None else safe[loser]
        yield row


def _improvements(maker: _Maker) -> Iterator[Row]:
    """An improved answer is preferred to the one that was there."""
    if not maker.task.texts:
        maker.excluded["a demonstration has nothing to be preferred to"] += len(maker.votes)
        return
    original = maker.task.texts[0]
    for text, vote in maker.edits():
        if text.strip() == original.strip():
            maker.excluded["unchanged"] += 1
        elif not original.strip():
            maker.excluded["empty answer"] += 1
        else:
            row = _two_answers(maker, text, original) | maker.about(Finding(0, "", (vote,), 1.0, 1.0))
            row |= {"chosen_model": _EDITED, "rejected_model": maker.task.models[0]}
            yield row | {"chosen_safe": None, "rejected_safe": None}


def _two_answers(maker: _Maker, chosen: str, rejected: str) -> Row:
    if not maker.wanted.implicit_prompt:
        return {"prompt": maker.asked(), "chosen": maker.answer(chosen), "rejected": maker.answer(rejected)}
    asked = maker.asked()
    return {"chosen": asked + maker.answer(chosen), "rejected": asked + maker.answer(rejected)}


def _unpaired(maker: _Maker) -> Iterator[Row]:
    """Both answers of a decided pair; twice False where both are bad; a single answer by its grade."""
    task = maker.task
    if task.mode == "edit":
        for text, vote in maker.edits():
            yield _completion(maker, text, _EDITED, Finding(0, "", (vote,), 1.0, 1.0), label=True)
    elif task.mode == "single":
        for finding in maker.findings([opinions.graded(vote) for vote in maker.votes]):
            reason = finding.reason or ("" if task.texts[0].strip() else "empty answer")
            if reason:
                maker.excluded[reason] += 1
                continue
            good = finding.winner == 0
            yield _completion(maker, task.texts[0], task.models[0], finding, label=good)
    else:
        for one, two, finding in maker.contests():
            for slot in (one, two):
                good = finding.winner == slot
                yield _completion(maker, task.texts[slot], task.models[slot], finding, label=good)


def _demonstrations(maker: _Maker) -> Iterator[Row]:
    """What raters wrote, and answers that they liked by at least the wanted strength."""
    task = maker.task
    if task.mode == "edit":
        for text, vote in maker.edits():
            yield _completion(maker, text, _EDITED, Finding(0, "", (vote,), 1.0, 1.0))
    elif task.mode == "single":
        for finding in maker.findings([opinions.graded(vote) for vote in maker.votes]):
            bad = "" if finding.winner == 0 else "a bad answer"
            reason = finding.reason or bad or ("" if task.texts[0].strip() else "empty answer")
            if reason:
                maker.excluded[reason] += 1
                continue
            yield _completion(maker, task.texts[0], task.models[0], finding)
    elif task.mode == "rank":
        yield from _best_ranked(maker)
    else:
        for _, _, finding in maker.contests():
            winner = finding.winner or 0
            yield _completion(maker, task.texts[winner], task.models[winner], finding)


def _best_ranked(maker: _Maker) -> Iterator[Row]:
    """The answer that beats every other one; one of all raters, or under "all" one of each."""
    task, aggregate = maker.task, maker.wanted.aggregate
    for votes in [(vote,) for vote in maker.votes] if aggregate == "all" else [maker.votes]:
        found = [
            finding
            for _, _, each in opinions.ranked_pairs(task, votes)
            for finding in opinions.findings(each, aggregate, maker.wanted.weakest)
        ]
        wins = Counter(finding.winner for finding in found)
        best = next((slot for slot in range(len(task.texts)) if wins[slot] == len(task.texts) - 1), None)
        if best is None:
            maker.excluded["no best answer" if maker.wanted.weakest < 2 else "weak"] += 1
        elif not task.texts[best].strip():
            maker.excluded["empty answer"] += 1
        else:
            finding = next(each for each in found if each.winner == best)
            yield _completion(maker, task.texts[best], task.models[best], finding)


def _completion(maker: _Maker, text: str, model: str, finding: Finding, *, label: bool | None = None) -> Row:
    row = {"prompt": maker.asked(), "completion": maker.answer(text)}
    if label is not None:
        row["label"] = label
    return row | maker.about(finding) | {"model": model}


_MAKERS: dict[Kind, Callable[[_Maker], Iterator[Row]]] = {
    "preference": _preference,
    "reward": _preference,
    "unpaired": _unpaired,
    "sft": _demonstrations,
}


def columns(wanted: Wanted) -> dict[str, str]:
    """The columns of a kind of row, in their order, with a word for their type."""
    text = "text" if wanted.standard else "messages"
    if wanted.kind in ("preference", "reward"):
        first = {"chosen": text, "rejected": text}
        if not wanted.implicit_prompt:
            first = {"prompt": text, **first}
        last = {
            "chosen_model": "text",
            "rejected_model": "text",
            "chosen_safe": "bool",
            "rejected_safe": "bool",
        }
    else:
        first = {"prompt": text, "completion": text}
        if wanted.kind == "unpaired":
            first["label"] = "bool"
        last = {"model": "text"}
    return first | _ABOUT | last


_ABOUT = {
    "margin": "number",
    "agreement": "number",
    "n_raters": "count",
    "rater_kind": "text",
    "event_ids": "texts",
    "batch": "text",
    "mode": "text",
    "task_id": "text",
}
