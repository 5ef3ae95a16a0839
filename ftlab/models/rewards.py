"""Reward models in memory: a prompt and an answer in, one number out."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ftlab.answers import Prompt, as_messages
from ftlab.data import finished_ids
from ftlab.errors import DataError, ModelError
from ftlab.models.chat import load_tokenizer
from ftlab.models.fingerprints import adapter_sha256, base_sha256
from ftlab.models.model import IN_USE
from ftlab.models.references import Note, fetch, is_reward_model, refuse_composed, resolve
from ftlab.models.source import Source
from ftlab.models.weights import fitting_threads

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEPT = 2  # in memory; a third lets the longest unused go
_TOKENS = 16_384  # padded ones in a batch
_loaded: "OrderedDict[tuple[str, ...], RewardModel]" = OrderedDict()


@dataclass(frozen=True)
class RewardModel:
    """One reference, loaded; the model's head has one output, read at the last token that is no padding."""

    reference: str
    model: Any
    tokenizer: "PreTrainedTokenizerBase"

    def scores(
        self, pairs: Sequence[tuple[Prompt, str]], cancelled: threading.Event | None = None
    ) -> list[float]:
        """A score for each (prompt, answer), in their order; higher is better, only differences mean anything.

        Fewer where `cancelled` is set before the end. Raises DataError where one is longer than the model reads.
        """
        chats = [[*as_messages(prompt), {"role": "assistant", "content": text}] for prompt, text in pairs]
        rows = finished_ids(chats, self.tokenizer)
        limit = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 20)
        longest = max(map(len, rows), default=0)
        if longest > limit:
            raise DataError(
                f"{self.reference}: a prompt and its answer take {longest} tokens and the model reads {limit}; "
                "shorten them"
            )
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        scores = [0.0] * len(rows)
        while order:
            if cancelled is not None and cancelled.is_set():
                return []
            size = max(1, _TOKENS // len(rows[order[min(len(order), 64) - 1]]))
            batch, order = order[: min(size, 64)], order[min(size, 64) :]
            for place, value in zip(batch, self._forward([rows[place] for place in batch]), strict=True):
                scores[place] = value
        return scores

    def _forward(self, rows: list[list[int]]) -> list[float]:
        longest = max(map(len, rows))
        pad = self.model.config.pad_token_id
        ids_BT = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=self.model.device)
        mask_BT = torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self.model.device
        )
        with IN_USE, torch.inference_mode(), fitting_threads(self.model):
            logits_B1 = self.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits
        values: list[float] = logits_B1[:, 0].float().tolist()
        return values


def load_reward(reference: str, note: Note | None = None) -> RewardModel:
    """The reward model behind a reference, read where it is not in memory yet.

    Raises ModelError where the reference names nothing usable, or a model that answers instead of scoring.
    """
    with IN_USE:
        source = fetch(refuse_composed(resolve(reference)), note)
        if not is_reward_model(source):
            raise ModelError(
                f"{reference} is no reward model: it writes answers and gives no score for them; train one with "
                'RunConfig(method="reward") and name it as "run:NAME"'
            )
        key = (
            base_sha256(source.base),
            "" if source.adapter is None else adapter_sha256(source.adapter),
            str(source.tokenizer),
        )
        if key not in _loaded:
            while len(_loaded) >= _KEPT:
                _loaded.popitem(last=False)
            _loaded[key] = _read(source)
        _loaded.move_to_end(key)
        return _loaded[key]


def _read(source: Source) -> RewardModel:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    tokenizer = load_tokenizer(Path(source.tokenizer), source.reference)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # an adapter's head is not in its base, which is told as a warning
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            source.base,
            num_labels=1,
            dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        if source.adapter is not None:
            model = PeftModel.from_pretrained(
                model, str(source.adapter), autocast_adapter_dtype=False
            ).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{source.reference}: no reward model can be read in {source.adapter or source.base}: {error}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    if model.config.pad_token_id is None:
        pad = tokenizer.pad_token_id
        model.config.pad_token_id = tokenizer.eos_token_id if pad is None else pad  # as in its training
    return RewardModel(source.reference, model.to(device).eval().requires_grad_(False), tokenizer)
