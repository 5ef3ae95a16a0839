"""IA3: a vector for keys, values and inner activations of each layer stretches or damps them."""

from typing import Literal

from pydantic import Field

from ftlab.section import Section


class IA3(Section):
    """One factor for each key, value and inner activation learns; the fewest numbers of all."""

    kind: Literal["ia3"] = "ia3"
    learning_rate: float = Field(1e-2, gt=0, le=1, description="Highest step size, per optimiser step.")
