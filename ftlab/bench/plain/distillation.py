"""Word-level distillation as TRL's page shows it: `distillation.py MODEL TEACHER ROWS RATE OUT STEPS BATCH`.

`lmbda=0`: on the data's own answers; `beta=0`: the divergence of Kim and Rush (2016), KL from the teacher.
"""

import sys

from datasets import load_dataset
from transformers import AutoTokenizer
from trl.experimental.gkd import GKDConfig, GKDTrainer

model, teacher, rows, rate, out, steps, batch = sys.argv[1:]
dataset = load_dataset("json", data_files=rows, split="train").map(
    lambda row: {"messages": row["prompt"] + row["completion"]}, remove_columns=["prompt", "completion"]
)
GKDTrainer(
    model,
    teacher,
    args=GKDConfig(
        out,
        lmbda=0,
        beta=0,
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
    train_dataset=dataset,
    processing_class=AutoTokenizer.from_pretrained(model),
).train()
