"""Where a reference's weights are: a base, what is on top of it, and the prompt before it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ftlab.prompting import Prompted

Kind = Literal["wren", "smollm2", "folder", "hub", "run", "blend", "prompt"]


@dataclass(frozen=True)
class Rounding:
    """What was done to the base's weights before its adapter learned: four bits each, in blocks of one scale."""

    block: int
    double_quantization: bool

    @property
    def mark(self) -> str:
        """What follows the base's hash: "+nf4" for blocks of 64 with scales in 8 bits, as in QLoRA's paper."""
        if (self.block, self.double_quantization) == (64, True):
            return "+nf4"
        return f"+nf4/{self.block}{'' if self.double_quantization else '/single'}"


@dataclass(frozen=True)
class Part:
    """An adapter of a mixture: counted `weight` times, of it the first `rank` ranks; None: all of them."""

    source: "Source"
    weight: float
    rank: int | None

    @property
    def adapter(self) -> Path:
        """Its folder."""
        assert self.source.adapter is not None, "only adapters become parts"
        return self.source.adapter


@dataclass(frozen=True)
class Source:
    """Where a reference's weights are.

    `base` is a folder, or, as long as it is not on this disk, a hub id or "smollm2". `base_sha256` is what the
    adapter was trained on, where that was recorded, and `rounding` how that was rounded. A blend, or an adapter
    that is cut, has `parts` and no adapter. `prompt` stands before every conversation.
    """

    reference: str
    kind: Kind
    base: Path | str
    adapter: Path | None = None
    base_sha256: str | None = None
    rounding: Rounding | None = None
    parts: tuple[Part, ...] = ()
    prompt: Prompted | None = None

    @property
    def tokenizer(self) -> Path | str:
        """Where the tokenizer is: with the (first) adapter where it brought one, else with the base."""
        if self.parts:
            return replace(self.parts[0].source, base=self.base).tokenizer
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return self.adapter
        return self.base
