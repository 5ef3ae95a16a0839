"""Soft prompts: vectors before every row, or keys and values before every layer, learn; the model stays as it is.

PEFT makes them; what it leaves to chance is decided here: the first values (Lester et al. 2021, section 3), going on
from an earlier prompt, and the network that writes a prompt, without which a checkpoint could not be gone on with.
"""

from collections import Counter
from typing import Any

from ftlab import data
from ftlab.errors import ConfigError
from ftlab.methods import start, wrapped
from ftlab.methods.hardware import Hardware
from ftlab.methods.ia3 import IA3
from ftlab.methods.prompt_tuning import PrefixTuning, PromptTuning, PTuning
from ftlab.methods.recipes.recipe import Note, Recipe

COMMON = 5000  # tokens that first values are drawn from, as in the paper


class OnTop(Recipe):
    """Puts something of PEFT's on a whole model and trains nothing else."""

    freezes = True
    goes_on_from: tuple[str, ...] = ()
    """PEFT's names for what an earlier run may have left that this method can train on."""

    def check(self, begin: start.Start) -> None:
        """Raises ConfigError where the start brings an adapter that this method cannot go on with."""
        if begin.adapter is None or wrapped.kind_of(begin.adapter) in self.goes_on_from:
            return
        kind = wrapped.kind_of(begin.adapter).lower().replace("_", " ")
        raise ConfigError(
            f"model: {begin.reference} is {kind} on {begin.base_reference}, and {self.config.method.kind} cannot go on "
            f"with that; start from {begin.base_reference}{self._way_out(begin)}"
        )

    def _way_out(self, begin: start.Start) -> str:  # noqa: ARG002
        return ""

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:
        model = start.load(begin, hardware.weights, hardware.attention)
        if begin.adapter is None:
            return self.put_on(model, tokenizer, note)
        note(f"goes on from {begin.reference}; the base stays {begin.base_reference}")
        return self.continued(model, begin)

    def put_on(self, model: Any, tokenizer: Any, note: Note) -> Any:  # noqa: ARG002
        """The model with what learns on it, at its first values."""
        from peft import get_peft_model

        return get_peft_model(model, self.peft_config(model))

    def peft_config(self, model: Any) -> Any:
        """PEFT's settings of what learns."""
        raise NotImplementedError

    def continued(self, model: Any, begin: start.Start) -> Any:
        """The base with what an earlier run has learned, to be trained on."""
        assert begin.adapter is not None
        return wrapped.continued(model, begin.adapter)


class IA3Recipe(OnTop):
    goes_on_from = ("IA3",)

    def peft_config(self, model: Any) -> Any:
        from peft import IA3Config
        from peft.utils.constants import (
            TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as INNER,
        )
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as STRETCHED

        assert isinstance(self.config.method, IA3)
        names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
        targets, inner = ["k_proj", "v_proj", "down_proj"], ["down_proj"]
        if not names.issuperset(targets):
            kind = model.config.model_type
            if kind not in STRETCHED:
                raise ConfigError(
                    f"method: it is not known where the keys, values and inner activations of a {kind} are; use lora"
                )
            targets, inner = STRETCHED[kind], INNER[kind]
        return IA3Config(target_modules=targets, feedforward_modules=inner, task_type="CAUSAL_LM")


class SoftRecipe(OnTop):
    """What the three kinds of soft prompts share."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._common: list[int] = []

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        columns = super().render(rows, tokenizer)
        if not self._common:  # the training rows come first
            counts = Counter(token for row in columns.data["input_ids"] for token in row)
            words = set(counts) - set(tokenizer.all_special_ids)
            self._common = sorted(words, key=lambda token: (-counts[token], token))[:COMMON]
        return columns

    def continued(self, model: Any, begin: start.Start) -> Any:
        """The prompt keeps the length that it has.

        PEFT refuses to load a soft prompt for training, so an untrained one is made and gets the saved values.
        """
        from peft import PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

        assert begin.adapter is not None
        saved: Any = PeftConfig.from_pretrained(str(begin.adapter))
        config = self.peft_config(model)
        config.num_virtual_tokens = saved.num_virtual_tokens
        whole = get_peft_model(model, config)
        set_peft_model_state_dict(whole, load_peft_weights(str(begin.adapter), device="cpu"))
        return whole


class PromptTuningRecipe(SoftRecipe):
    goes_on_from = ("PROMPT_TUNING", "P_TUNING")

    @property
    def method(self) -> PromptTuning:
        assert isinstance(self.config.method, PromptTuning)
        return self.config.method

    def peft_config(self, model: Any) -> Any:  # noqa: ARG002
        from peft import PromptTuningConfig

        return PromptTuningConfig(num_virtual_tokens=self.method.tokens, task_type="CAUSAL_LM")

    def put_on(self, model: Any, tokenizer: Any, note: Note) -> Any:
        import torch

        whole = super().put_on(model, tokenizer, note)
        prompt = whole.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            if self.method.start == "random":
                prompt.uniform_(-0.5, 0.5)  # PEFT would draw from a normal distribution of width 1
            else:
                ids = self._first_tokens(tokenizer, note)
                prompt.copy_(model.get_input_embeddings().weight[torch.tensor(ids)])
        return whole

    def _first_tokens(self, tokenizer: Any, note: Note) -> list[int]:
        """Ids of the tokens that the prompt starts as."""
        import torch

        size, text = self.method.tokens, self.method.text
        named = tokenizer(text, add_special_tokens=False)["input_ids"] if self.method.start == "text" else []
        if len(named) > size:
            kept = tokenizer.decode(named[:size])
            note(f"the first {size} of the text's {len(named)} tokens are the first values: {kept!r}")
        short = max(0, size - len(named))
        if not short:
            return list(named[:size])
        if not self._common:
            raise ConfigError('method.start: the rows hold no token to start from; use start "random"')
        # Each once while there are enough of them
        order = torch.randperm(len(self._common)).repeat(-(-short // len(self._common)))[:short]
        drawn = [self._common[place] for place in order.tolist()]
        what = f"{short} first vectors are" if not named else f"the last {short} of {size} first vectors are"
        note(f"{what} drawn from the {len(self._common)} most common tokens of the rows")
        return [*named, *drawn]


class PTuningRecipe(SoftRecipe):
    def _way_out(self, begin: start.Start) -> str:
        assert begin.adapter is not None
        if wrapped.kind_of(begin.adapter) in PromptTuningRecipe.goes_on_from:
            return ', or use method "prompt_tuning", which can: the network that wrote this prompt is gone'
        return ""

    def peft_config(self, model: Any) -> Any:  # noqa: ARG002
        from peft import PromptEncoderConfig

        method = self.config.method
        assert isinstance(method, PTuning)
        return PromptEncoderConfig(
            num_virtual_tokens=method.tokens,
            encoder_reparameterization_type=method.encoder.upper(),
            encoder_hidden_size=method.width,
            task_type="CAUSAL_LM",
        )


class PrefixTuningRecipe(SoftRecipe):
    @property
    def method(self) -> PrefixTuning:
        assert isinstance(self.config.method, PrefixTuning)
        return self.config.method

    @property
    def goes_on_from(self) -> tuple[str, ...]:  # type: ignore[override]
        """A projected prefix is saved without its network, so that none can be gone on with through one."""
        return () if self.method.projection else ("PREFIX_TUNING",)

    def _way_out(self, begin: start.Start) -> str:
        assert begin.adapter is not None
        is_prefix = wrapped.kind_of(begin.adapter) == "PREFIX_TUNING"
        return ", or set method.projection to false" if is_prefix else ""

    def check(self, begin: start.Start) -> None:
        super().check(begin)
        if self.config.trainer.get("gradient_checkpointing"):
            raise ConfigError(
                "trainer.gradient_checkpointing: a prefix stands in the keys and values that this would forget; "
                "leave it out, or use prompt_tuning"
            )

    def arguments(self, hardware: Hardware) -> dict[str, Any]:
        return super().arguments(hardware) | {"gradient_checkpointing": False}

    def peft_config(self, model: Any) -> Any:  # noqa: ARG002
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(
            num_virtual_tokens=self.method.tokens,
            prefix_projection=self.method.projection,
            task_type="CAUSAL_LM",
        )
