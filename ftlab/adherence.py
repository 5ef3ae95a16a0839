"""How long a rule is kept: conversations that a model holds turn by turn, and a judge who reads each answer.

A rule before a conversation wears off as it goes on (Touvron et al. 2023, Table 30: kept by all answers at the
second turn, by 10 % at the fourth, by none at the sixth), and its tokens are read again at every turn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlab import prompting
from ftlab.answers import Answer, Message, Prompt, Sampling, ask, count_tokens
from ftlab.answers.asking import wanted
from ftlab.errors import DataError
from ftlab.interval import wilson

Judge = Callable[[list[Message], str], bool]
"""(the conversation so far, the answer) -> whether the answer keeps the rule."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class Turn:
    """An answer of a conversation; `turn` counts from 1.

    `tokens_since` are those between the rule's end and this answer; where no rule stands before, all of them.
    """

    dialogue: int
    turn: int
    kept: bool
    tokens_since: int
    answer: Answer


@dataclass(frozen=True)
class Share:
    """`hits` of `n` answers kept the rule; `first` to `last` are their turns, or their tokens since the rule."""

    first: int
    last: int
    hits: int
    n: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 90 % interval of the share."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True)
class Adherence:
    """What a model made of its rule, answer by answer."""

    model: str
    turns: list[Turn]

    def by_turn(self) -> list[Share]:
        """How many answers kept the rule at the first turn, the second, and so on."""
        last = max(turn.turn for turn in self.turns)
        return self._shares([(number, number) for number in range(1, last + 1)], lambda turn: turn.turn)

    def by_distance(self, width: int = 50) -> list[Share]:
        """The same by tokens since the rule, `width` of them a step; steps without an answer are left out."""
        farthest = max(turn.tokens_since for turn in self.turns)
        steps = [(start, start + width - 1) for start in range(0, farthest + 1, width)]
        return self._shares(steps, lambda turn: turn.tokens_since)

    def to_rows(self) -> list[dict[str, Any]]:
        """An answer a row, plain values, as tables and plots take them."""
        return [
            {
                "model": self.model,
                "dialogue": turn.dialogue,
                "turn": turn.turn,
                "tokens_since": turn.tokens_since,
                "kept": turn.kept,
                "text": turn.answer.text,
            }
            for turn in self.turns
        ]

    def _shares(self, steps: Sequence[tuple[int, int]], place: Callable[[Turn], int]) -> list[Share]:
        found = []
        for first, last in steps:
            kept = [turn.kept for turn in self.turns if first <= place(turn) <= last]
            if kept:
                found.append(Share(first, last, sum(kept), len(kept)))
        return found


@dataclass(frozen=True)
class Tax:
    """What a prompt costs: its own tokens are read again before every answer."""

    prompt_tokens: int
    turns: int
    read_tokens: int
    """All that is read before the answers of these turns, the prompt included."""

    @property
    def tokens(self) -> int:
        """Paid over all turns."""
        return self.prompt_tokens * self.turns

    @property
    def share(self) -> float:
        """Of all tokens that are read, 0 to 1."""
        return self.tokens / self.read_tokens


@dataclass(frozen=True)
class Looked:
    """A token of the rule, and how much the model looks back at it: the most of all layers and heads, 0 to 1."""

    text: str
    attention: float


def converse(
    reference: str,
    dialogues: Sequence[Sequence[str]],
    sampling: Sampling | None = None,
    *,
    remind: Mapping[int, str] | None = None,
    note: Note | None = None,
) -> list[list[Answer]]:
    """The model's answers, turn by turn, to conversations of which the user's lines are given.

    All conversations are held side by side, each over what the model itself said in it before; an answer's
    `prompt` is the conversation up to it. remind: a rule that is told (again), as a system message, before the
    line of a turn: {4: "Talk like a pirate."}. Raises DataError where there is no line, or a conversation grows
    longer than the model reads.
    """
    if not dialogues or any(isinstance(lines, str) or not lines for lines in dialogues):
        raise DataError("wanted conversations, each a list of at least one line of the user's")
    answers: list[list[Answer]] = [[] for _ in dialogues]
    for turn in range(max(map(len, dialogues))):
        talking = [place for place, lines in enumerate(dialogues) if turn < len(lines)]
        chats = [_so_far(dialogues[place], answers[place], remind or {}) for place in talking]
        for piece in ask(chats, reference, sampling, note=note):
            if isinstance(piece, tuple):
                answers[talking[piece[0]]].append(piece[1])
    return answers


def adherence(
    reference: str,
    dialogues: Sequence[Sequence[str]],
    judge: Judge,
    *,
    sampling: Sampling | None = None,
    remind: Mapping[int, str] | None = None,
    note: Note | None = None,
) -> Adherence:
    """Holds the conversations and has the judge read every answer; `sampling` None: the likeliest tokens.

    remind: as in `converse`.
    """
    greedy = Sampling(temperature=0.0)
    answers = converse(reference, dialogues, sampling or greedy, remind=remind, note=note)
    flat = [(place, turn, answer) for place, one in enumerate(answers) for turn, answer in enumerate(one, 1)]
    since = count_tokens([answer.prompt for _, _, answer in flat], _bare(reference), note=note)
    return Adherence(
        reference,
        [
            Turn(place, turn, bool(judge(answer.prompt, answer.text)), tokens, answer)
            for (place, turn, answer), tokens in zip(flat, since, strict=True)
        ],
    )


def contrary(dialogues: Sequence[Sequence[str]], request: str, turn: int) -> list[list[str]]:
    """The same conversations, in which the user asks against the rule: `request` opens the line of this turn.

    Raises DataError where a conversation has no such turn; turns count from 1.
    """
    for place, lines in enumerate(dialogues):
        if not 1 <= turn <= len(lines):
            raise DataError(f"conversation {place} has {len(lines)} turns; there is no turn {turn} to ask in")
    return [
        [f"{request} {line}" if number == turn else line for number, line in enumerate(lines, 1)]
        for lines in dialogues
    ]


def tax(found: Adherence, *, note: Note | None = None) -> Tax:
    """What the prompt cost in these conversations. Raises DataError where the model is behind none."""
    bare = _bare(found.model)
    if bare == found.model:
        raise DataError(f"{found.model} is behind no prompt; wanted a reference such as prompt:pirate")
    chats = [turn.answer.prompt for turn in found.turns]
    read = count_tokens(chats, found.model, note=note)
    own = count_tokens(chats[:1], bare, note=note)
    return Tax(read[0] - own[0], len(chats), sum(read))


def attention(
    reference: str, prompts: Prompt | Sequence[Prompt], *, note: Note | None = None
) -> list[list[Looked]]:
    """For each conversation, the tokens of the rule before it as the model sees them when it begins to answer.

    The rule is the prompt of a prompt: reference, else the system message. Raises DataError where there is none.
    """
    return [
        [Looked(text, share) for text, share in line["attention"]]
        for line in wanted("attention", prompts, reference, note)
    ]


def _so_far(lines: Sequence[str], answers: Sequence[Answer], remind: Mapping[int, str]) -> list[Message]:
    messages: list[Message] = []
    for turn, line in enumerate(lines[: len(answers) + 1], 1):
        if turn in remind:
            messages.append({"role": "system", "content": remind[turn]})
        messages.append({"role": "user", "content": line})
        if turn <= len(answers):
            messages.append({"role": "assistant", "content": answers[turn - 1].text})
    return messages


def _bare(reference: str) -> str:
    """The reference of the model without the prompt before it."""
    if not reference.startswith(prompting.PREFIX):
        return reference
    return prompting.read(reference.removeprefix(prompting.PREFIX)).model
