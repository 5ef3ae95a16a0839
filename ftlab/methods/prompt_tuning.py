"""Soft prompts: the model stays as it is, and vectors that no word has are put before every row."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ftlab.section import Section


class PromptTuning(Section):
    """A few made-up words before the prompt learn; the model itself stays as it is."""

    kind: Literal["prompt_tuning"] = "prompt_tuning"
    tokens: int = Field(20, gt=0, le=1024, description="Length of the soft prompt, in tokens.")
    start: Literal["random", "vocabulary", "text"] = Field(
        "vocabulary",
        description="First values: uniform from -0.5 to 0.5, embeddings of common tokens, or those of a text.",
    )
    text: str = Field(
        "", max_length=4000, description='The text whose embeddings are the first values; with start "text".'
    )
    learning_rate: float = Field(
        3e-2,
        gt=0,
        le=1,
        description="Highest step size, per optimiser step; 0.3 with Adafactor in the paper.",
    )

    @model_validator(mode="after")
    def _text_where_it_is_used(self) -> Self:
        if self.start == "text" and not self.text.strip():
            raise ValueError('start "text" needs a text, as in text="Talk like a pirate."')
        return self


class PrefixTuning(Section):
    """Keys and values before the prompt learn, in every layer; the model itself stays as it is."""

    kind: Literal["prefix_tuning"] = "prefix_tuning"
    tokens: int = Field(20, gt=0, le=1024, description="Length of the prefix, in tokens.")
    projection: bool = Field(
        False, description="Learn the prefix through a small network, which is thrown away at the end."
    )
    learning_rate: float = Field(1e-2, gt=0, le=1, description="Highest step size, per optimiser step.")


class PTuning(Section):
    """A soft prompt learns through a small network, which is thrown away at the end."""

    kind: Literal["p_tuning"] = "p_tuning"
    tokens: int = Field(20, gt=0, le=1024, description="Length of the soft prompt, in tokens.")
    encoder: Literal["mlp", "lstm"] = Field("mlp", description="The network that writes the prompt.")
    width: int = Field(128, gt=0, le=8192, description="Hidden width of that network.")
    learning_rate: float = Field(1e-2, gt=0, le=1, description="Highest step size, per optimiser step.")
