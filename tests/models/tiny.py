"""The small world of these tests: a Llama of a few thousand numbers, a byte-level tokenizer, adapters."""

from pathlib import Path

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIALS = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token a byte, and five special ones: every multi-byte character is split."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*SPECIALS, *alphabet]
    core = Tokenizer(tokenizer_models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIALS[2:]),
    )
    fast.chat_template = template
    return fast


def save_model(folder: Path, *, seed: int = 0, width: int = 32, template: str | None = TEMPLATE) -> Path:
    """A random model whose answers differ with every token that it reads."""
    torch.manual_seed(seed)
    fast = tokenizer(template)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, *, seed: int = 1, **settings: object) -> Path:
    """A LoRA adapter that visibly changes the answers of the model in `base`, which it names as its base."""
    torch.manual_seed(seed)
    config = LoraConfig(
        **{
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "init_lora_weights": False,
            "task_type": "CAUSAL_LM",
            **settings,
        }
    )
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


def save_soft(
    folder: Path,
    base: Path,
    *,
    kind: str,
    tokens: int = 4,
    seed: int = 1,
    vectors: torch.Tensor | None = None,
) -> Path:
    """A prompt, p, prefix or ia3 adapter that visibly changes the answers; `vectors`: a prompt of just these."""
    torch.manual_seed(seed)
    tokens = tokens if vectors is None else len(vectors)
    shared = {"task_type": "CAUSAL_LM"}
    config = {
        "prompt": lambda: PromptTuningConfig(num_virtual_tokens=tokens, **shared),
        "p": lambda: PromptEncoderConfig(num_virtual_tokens=tokens, encoder_hidden_size=16, **shared),
        "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=tokens, **shared),
        "ia3": lambda: IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **shared
        ),
    }[kind]()
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "ia3" in name:
                weight.uniform_(0.3, 1.7)
            elif "prompt_encoder" in name and kind != "p":
                weight.normal_(std=0.5)
        if vectors is not None:
            model.prompt_encoder["default"].embedding.weight.copy_(vectors)
    model.save_pretrained(folder)
    return folder
