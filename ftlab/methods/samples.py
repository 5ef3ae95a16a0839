"""Answers to the fixed prompts while a model trains: greedy, and without a trace in the training itself."""

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
    batch = tokenizer(
        texts, padding=True, padding_side="left", add_special_tokens=special, return_tensors="pt"
    )
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
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
    finally:
        model.train(was_training)
    answers = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return list(zip(prompts, (answer.strip() for answer in answers), strict=True))
