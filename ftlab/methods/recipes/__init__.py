"""How each method is carried out: what it renders, puts on the model, hands to which trainer, and saves.

recipe.py      learning from examples, of which the others say what they do otherwise
low_rank.py    LoRA, QLoRA, DyLoRA
soft.py        prompt tuning, prefix tuning, P-tuning, IA3
distilling.py  context distillation, knowledge distillation
preferring.py  DPO, reward models
"""

from importlib import import_module

from ftlab.config import RunConfig
from ftlab.methods.recipes.recipe import Recipe

_HOMES = {
    "sft": "recipe:Recipe",
    "lora": "low_rank:LoRARecipe",
    "qlora": "low_rank:QLoRARecipe",
    "dylora": "low_rank:DyLoRARecipe",
    "prompt_tuning": "soft:PromptTuningRecipe",
    "prefix_tuning": "soft:PrefixTuningRecipe",
    "p_tuning": "soft:PTuningRecipe",
    "ia3": "soft:IA3Recipe",
    "context_distillation": "distilling:ContextDistillationRecipe",
    "distillation": "distilling:DistillationRecipe",
    "dpo": "preferring:DPORecipe",
    "reward": "preferring:RewardRecipe",
}


def recipe_of(config: RunConfig) -> Recipe:
    """The recipe for the configuration's method."""
    module, name = _HOMES[config.method.kind].split(":")
    made: Recipe = getattr(import_module(f"ftlab.methods.recipes.{module}"), name)(config)
    return made


__all__ = ["Recipe", "recipe_of"]
