"""Prompt tuning as PEFT's and TRL's pages show it: `prompt_tuning.py MODEL ROWS TEXT TOKENS RATE OUT STEPS BATCH`."""

import sys

from datasets import load_dataset
from peft import PromptTuningConfig
from trl import SFTConfig, SFTTrainer

model, rows, text, tokens, rate, out, steps, batch = sys.argv[1:]
SFTTrainer(
    model,
    args=SFTConfig(
        out,
        use_cpu=True,
        per_device_train_batch_size=int(batch),
        learning_rate=float(rate),
        lr_scheduler_type="constant",
        max_steps=int(steps),
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
    ),
    train_dataset=load_dataset("json", data_files=rows, split="train"),
    peft_config=PromptTuningConfig(
        task_type="CAUSAL_LM",
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text=text,
        num_virtual_tokens=int(tokens),
        tokenizer_name_or_path=model,
    ),
).train()
