"""A method in which a teacher answers: how the answers are drawn, and what is said of them."""

from collections.abc import Sequence
from typing import Any

from ftlab.errors import DataError
from ftlab.methods import drawing, start
from ftlab.methods.hardware import Hardware
from ftlab.methods.recipes.recipe import Note, OnLoRA

PROMPT = "prompt"
"""Column that is there until the teacher has answered: what is asked."""


class Taught(OnLoRA):
    """A method in which a teacher answers prompts."""

    embedded = ("wren:sft", "wren:prompts")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._hardware: Hardware | None = None
        self.sets = 0  # of columns that were learned from: the rows that are trained on come first

    @property
    def hardware(self) -> Hardware:
        """Known once the model is asked for."""
        assert self._hardware is not None
        return self._hardware

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:
        self._hardware = hardware
        return super().model(begin, hardware, tokenizer, note).to(hardware.device)

    def arguments(self, hardware: Hardware) -> dict[str, Any]:
        return super().arguments(hardware) | {"padding_free": False}

    def draw(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[list[int]],
        *,
        rooms: list[int],
        temperature: float,
        name: str,
    ) -> list[list[int]]:
        """Answers; `name` keeps the random numbers of one purpose apart from those of another."""
        seeds = [drawing.seed_of(self.config.seed, name, row) for row in range(len(prompts))]
        ends = drawing.ends_of(model, tokenizer)
        return drawing.answers(model, prompts, rooms=rooms, seeds=seeds, temperature=temperature, ends=ends)


def rooms_for(
    longest: int, limit: int, teacher: Any, ours: list[list[int]], theirs: list[list[int]]
) -> list[int]:
    """Tokens that each answer may have. Raises DataError where a prompt leaves the teacher none."""
    context = drawing.context_of(teacher)
    rooms = [
        min(longest, limit - len(one), context - len(other)) for one, other in zip(ours, theirs, strict=True)
    ]
    if min(rooms, default=1) < 1:
        worst = max(map(len, theirs))
        raise DataError(
            f"a prompt takes {worst} tokens as the teacher reads it, and it reads {context}: nothing is left for an "
            "answer; shorten the context or the prompt, or lower data.max_length so that long prompts are left out"
        )
    return rooms


def left_out(kept: int, rows: Sequence[Any], limit: int) -> list[str]:
    """Raises DataError where nothing is left."""
    source = getattr(rows, "source", "the dataset")
    if not kept:
        raise DataError(
            f"{source}: none of {len(rows)} prompts leaves room for an answer within {limit} tokens; "
            "raise data.max_length"
        )
    if kept == len(rows):
        return []
    return [
        f"{len(rows) - kept} of {len(rows)} prompts were left out: no room for an answer in {limit} tokens"
    ]


def wrote(who: str, answers: list[list[int]], rooms: list[int], tokenizer: Any, seconds: float) -> str:
    tokens = sum(map(len, answers))
    cut = sum(
        len(answer) == room and answer[-1] != tokenizer.eos_token_id
        for answer, room in zip(answers, rooms, strict=True)
    )
    text = f"{who} wrote {len(answers):,} answers of {tokens:,} tokens in {seconds:.1f} s"
    return f"{text}; {cut} of them were cut before their end" if cut else text
