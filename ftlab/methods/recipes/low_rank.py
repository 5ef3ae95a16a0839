"""LoRA and its kin: what learns is a product of two thin matrices beside each weight."""

from ftlab.methods.lora import LoRA
from ftlab.methods.recipes.recipe import OnLoRA


class LoRARecipe(OnLoRA):
    """The method is the adapter."""

    @property
    def low_rank(self) -> LoRA | None:
        assert isinstance(self.config.method, LoRA)
        return self.config.method
