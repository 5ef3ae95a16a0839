"""LoRA and its kin: what learns is a product of two thin matrices beside each weight."""

import importlib.util
import json
from typing import Any

from ftlab.errors import ConfigError
from ftlab.methods import nested, nf4, start, wrapped
from ftlab.methods.dylora import DyLoRA
from ftlab.methods.hardware import Hardware
from ftlab.methods.lora import Adapter, LoRA
from ftlab.methods.qlora import QLoRA
from ftlab.methods.recipes.recipe import Note, OnLoRA


class LoRARecipe(OnLoRA):
    """The method is the adapter."""

    @property
    def low_rank(self) -> LoRA | None:
        assert isinstance(self.config.method, LoRA)
        return self.config.method


class Plain(OnLoRA):
    """The method has an adapter's fields, and the adapter is a plain one."""

    @property
    def low_rank(self) -> LoRA:
        method = self.config.method
        assert isinstance(method, Adapter)
        return LoRA(**{name: getattr(method, name) for name in Adapter.model_fields})


class QLoRARecipe(Plain):
    @property
    def method(self) -> QLoRA:
        assert isinstance(self.config.method, QLoRA)
        return self.config.method

    def check(self, begin: start.Start) -> None:
        super().check(begin)
        if self.method.backend == "bitsandbytes" and importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigError(
                'method.backend: bitsandbytes is not installed; `pip install bitsandbytes`, or use "torch"'
            )

    def model(self, begin: start.Start, hardware: Hardware, tokenizer: Any, note: Note) -> Any:  # noqa: ARG002
        """The base, layer by layer in four bits; an adapter that the start brings is trained on."""
        model = start.as_stored(begin, hardware.attention)
        chosen = self._quantization(begin)
        backend = self.method.backend
        if backend == "auto":
            fits = hardware.device == "cuda" and nf4.unfit_for_bitsandbytes(model, chosen["block"]) is None
            backend = "bitsandbytes" if fits else "torch"
        names = nf4.quantize_model(
            model, chosen["block"], double_quantization=chosen["double_quantization"], backend=backend
        )
        model = start.in_format(model, hardware.weights)
        note(
            f"{len(names)} layers are kept in four bits by {backend}: "
            f"{8 * nf4.bytes_per_weight(model):.2f} bits a weight, its share of the scales included"
        )
        if begin.adapter is None:
            return model
        note(
            f"the adapter of {begin.reference} is trained on, with the rank, alpha and targets it has, "
            f"in blocks of {chosen['block']}"
        )
        return wrapped.continued(model, begin.adapter)

    def facts(self, begin: start.Start, model: Any) -> dict[str, Any]:  # noqa: ARG002
        return {"quantization": self._quantization(begin)}

    def _quantization(self, begin: start.Start) -> dict[str, Any]:
        """How the base is rounded: as the method says, or as the adapter that is trained on has known it."""
        return begin.quantization or {
            "kind": "nf4",
            "block": self.method.block,
            "double_quantization": self.method.double_quantization,
        }


class DyLoRARecipe(Plain):
    @property
    def method(self) -> DyLoRA:
        assert isinstance(self.config.method, DyLoRA)
        return self.config.method

    def check(self, begin: start.Start) -> None:
        """Raises ConfigError where the start's adapter cannot be cut, or has too few ranks."""
        super().check(begin)
        if begin.adapter is None or wrapped.kind_of(begin.adapter) != "LORA":
            return
        settings = json.loads((begin.adapter / "adapter_config.json").read_text("utf-8"))
        if settings.get("use_dora") or settings.get("use_rslora"):
            raise ConfigError(
                f"model: the adapter of {begin.reference} is counted otherwise than alpha / rank times, and cannot be cut; "
                f"start from {begin.base_reference}"
            )
        if settings["r"] < self.method.min_rank:
            raise ConfigError(
                f"method.min_rank: is {self.method.min_rank}, and the adapter of {begin.reference} has rank "
                f"{settings['r']}; use at most that"
            )

    def dressed(self, model: Any, tokenizer: Any) -> Any:
        """With an adapter of which every rank learns by itself."""
        from peft import get_peft_model

        whole = model
        if not wrapped.is_wrapped(model):
            whole = get_peft_model(model, self.adapter(model, tokenizer))
        method = self.method
        self.draw = nested.Draw(
            whole.peft_config["default"].r,
            method.min_rank,
            kind=method.draw,
            update=method.update,
            seed=self.config.seed,
        )
        nested.split(whole, self.draw)
        return whole

    def trainer_class(self) -> Any:
        kind = super().trainer_class()
        return type(f"Drawing{kind.__name__}", (nested.Drawing, kind), {"draw": self.draw})
