"""Knowledge distillation: a student learns from what a teacher holds likely, not only from what is right."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ftlab.methods.lora import LoRA
from ftlab.section import Section


class Hinton(Section):
    """Labels and the teacher's softened odds together (Hinton, Vinyals and Dean 2015)."""

    kind: Literal["hinton"] = "hinton"
    temperature: float = Field(
        2.0, gt=0, le=100, description="Both models' odds are softened by it; 1: as they are."
    )
    alpha: float = Field(
        0.5, ge=0, le=1, description="Share of the labels in the loss; the teacher has the rest."
    )


class WordLevel(Section):
    """The teacher's odds of every next token of the data's answers (Kim and Rush 2016)."""

    kind: Literal["word"] = "word"


class SequenceLevel(Section):
    """The teacher's own answers, as examples (Kim and Rush 2016, with the likeliest tokens for their beam)."""

    kind: Literal["sequence"] = "sequence"
    temperature: float = Field(
        0.0, ge=0, le=5, description="Of the teacher's answers; 0: the likeliest token each time."
    )


class GKD(Section):
    """The student's own answers, corrected by the teacher word by word (Agarwal et al. 2023)."""

    kind: Literal["gkd"] = "gkd"
    on_policy: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of steps on the student's own answers (lambda); the rest: the data's.",
    )
    beta: float = Field(
        0.5,
        ge=0,
        le=1,
        description="0: forward KL, covering all the teacher does; 1: reverse KL, its likeliest alone.",
    )
    temperature: float = Field(0.9, gt=0, le=5, description="Of the student's answers.")


class MiniLLM(Section):
    """Reverse KL over the student's own whole answers, by policy gradient (Gu et al. 2023).

    With the paper's exact term for the next token, its returns by length and its teacher-mixed draws with their
    weights. Each answer is learned from once, so nothing has to be clipped; and the paper's loss on its pretraining
    texts is left out, for a run has no second set of rows: gkd with on_policy below 1 holds on to the data's answers.
    """

    kind: Literal["minillm"] = "minillm"
    teacher_mixing: float = Field(
        0.2, ge=0, lt=1, description="Share of the teacher in the odds that answers are drawn from."
    )
    temperature: float = Field(1.0, gt=0, le=5, description="Of the drawn answers.")


Objective = Annotated[
    Hinton | WordLevel | SequenceLevel | GKD | MiniLLM,
    Field(discriminator="kind"),
    BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value),
]


class Distillation(Section):
    """A small model learns from a larger one."""

    kind: Literal["distillation"] = "distillation"
    teacher: str = Field(
        min_length=1,
        description='Whom it learns from: a model like the start, such as "run:big"; never changed.',
    )
    objective: Objective = Field(
        Hinton(), description="What of the teacher is learned, and on whose answers."
    )
    max_new_tokens: int = Field(64, gt=0, le=4096, description="Longest drawn answer, in tokens.")
    adapter: LoRA | None = Field(None, description="Train a low-rank adapter instead of every weight.")
    learning_rate: float = Field(
        5e-4, gt=0, le=1, description="Highest step size, per optimiser step; 1e-5 for models over 1 G."
    )
