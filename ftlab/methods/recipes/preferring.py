"""Learning from preferences: the better answer gains (DPO), or a judge learns to tell it (reward models)."""

from typing import Any

from ftlab import data
from ftlab.errors import ConfigError
from ftlab.methods import documents, start
from ftlab.methods.dpo import DPO
from ftlab.methods.hardware import Hardware
from ftlab.methods.recipes.recipe import Note, OnLoRA
from ftlab.methods.reward import Reward


class DPORecipe(OnLoRA):
    embedded = ("wren:preferences",)
    own_fields = (*OnLoRA.own_fields, "mean_logits")

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        return data.render_preferences(rows, tokenizer, self.config.data.max_length)

    def arguments(self, hardware: Hardware) -> dict[str, Any]:  # noqa: ARG002
        method = self.config.method
        assert isinstance(method, DPO)
        return {
            "beta": method.beta,
            "loss_type": [method.loss],
            "label_smoothing": method.label_smoothing,
            # The reference is scored before the first step: no second copy of the model in memory, and no chance
            # for TRL to read it anew from the folder of another model.
            "precompute_ref_log_probs": True,
        }

    def config_class(self) -> Any:
        from trl.trainer.dpo_config import DPOConfig

        return DPOConfig

    def trainer_class(self) -> Any:
        from trl.trainer.dpo_trainer import DPOTrainer

        return DPOTrainer


class RewardRecipe(OnLoRA):
    embedded = ("wren:comparisons",)
    gives_scores = True
    own_fields = documents.SCORE

    @property
    def method(self) -> Reward:
        assert isinstance(self.config.method, Reward)
        return self.config.method

    def check(self, begin: start.Start) -> None:
        """Raises ConfigError where a reward model is asked for what it has not, or what could not be loaded again."""
        if self.config.evaluate.prompts:
            raise ConfigError("evaluate.prompts: a reward model writes no answers; leave them out")
        if self.method.adapter is not None and (begin.adapter is not None or begin.gives_scores):
            raise ConfigError(
                f"method.adapter: {begin.reference} is no bare base, and an adapter can stand on one only; "
                f"leave method.adapter out, or start from {begin.base_reference}"
            )

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        return data.render_comparisons(rows, tokenizer, self.config.data.max_length, self.method.margin)

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:
        model = super().model(begin, hardware, tokenizer, note)
        return model if begin.gives_scores else start.with_score_head(model, tokenizer, begin)

    def arguments(self, hardware: Hardware) -> dict[str, Any]:  # noqa: ARG002
        return {"center_rewards_coefficient": self.method.center or None}

    def config_class(self) -> Any:
        from trl.trainer.reward_config import RewardConfig

        return RewardConfig

    def trainer_class(self) -> Any:
        from trl.trainer.reward_trainer import RewardTrainer

        return RewardTrainer
