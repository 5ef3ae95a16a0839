"""Answers to the fixed prompts while a model trains: greedy, and without a trace in the training itself."""

import warnings
from typing import Any

import torch


def prompts_of(prompts: list[str]) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": prompt}] for prompt in prompts]


def sample(
    model: Any, tokenizer: Any, prompts: list[list[dict[str, str]]], max_new_tokens: int
) -> list[tuple[list[dict[str, str]], str]]:
    """(prompt, answer) for each prompt. The random state and the training mode are as before afterwards."""
    if not prompts:
        return []
    texts = [
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        if tokenizer.chat_template
        else prompt[0]["content"]
        for prompt in prompts
    ]
    special = not tokenizer.chat_template  # a template writes its own beginning of text
    encoded = tokenizer(texts, add_special_tokens=special)["input_ids"]
    answers = [""] * len(prompts)
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            for group in _groups(model, encoded):
                written = _generate(model, tokenizer, [encoded[i] for i in group], max_new_tokens)
                for index, answer in zip(group, written, strict=True):
                    answers[index] = answer.strip()
    finally:
        model.train(was_training)
    return list(zip(prompts, answers, strict=True))


def _groups(model: Any, encoded: list[list[int]]) -> list[list[int]]:
    """Places of the prompts that are answered together: all of them, or those of one length behind a soft prompt.

    PEFT puts a soft prompt before the padding, so that every padded row would be further from it than it has learned.
    """
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(encoded):
        by_length.setdefault(len(ids) if hasattr(model, "prompt_encoder") else 0, []).append(place)
    return list(by_length.values())


def _generate(model: Any, tokenizer: Any, encoded: list[list[int]], max_new_tokens: int) -> list[str]:
    batch = tokenizer.pad({"input_ids": encoded}, padding_side="left", return_tensors="pt")
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    with warnings.catch_warnings():
        # PEFT lets go of the positions, which are as they would be where nothing is padded
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        ids = model.generate(
            **inputs,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    texts: list[str] = tokenizer.batch_decode(
        ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return texts
