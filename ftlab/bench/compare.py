"""Bench `compare`: answers from four adapters of smollm2 on one base, against four separate loads.

Each measurement is a process of its own that loads the libraries, takes its memory as the zero, loads the models
and answers the same prompts. "Separate" is what the plain libraries offer: for each adapter a base of its own
from the same file, PEFT on top, and `generate` over the same batch of prompts. Both draw greedily and as many
tokens; the texts of both are compared.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ADAPTERS = 4
TOKENS = 32
PROMPTS = ("What is the capital of France?", "Name three fruits that grow on trees.")
MIB = 1 << 20


def measure(times: int = 3) -> dict[str, float]:
    """Medians over `times` pairs of processes, alternating; memory in MiB beyond the loaded libraries."""
    from ftlab.models import base_folder

    base, _ = base_folder("smollm2")
    found: dict[str, list[dict[str, Any]]] = {"shared": [], "separate": []}
    with tempfile.TemporaryDirectory() as folder:
        _in_process("make", str(base), folder)
        for turn in range(times):
            for how in ("shared", "separate") if turn % 2 == 0 else ("separate", "shared"):
                found[how].append(_in_process(how, str(base), folder))
    shared, separate = ({key: _median(rows, key) for key in _FIGURES} for rows in found.values())
    texts = [
        (one["texts"], other["texts"]) for one, other in zip(found["shared"], found["separate"], strict=True)
    ]
    same = [a == b for one, other in texts for a, b in zip(one, other, strict=True)]
    return {
        "memory_ratio": round(shared["uss_mib"] / separate["uss_mib"], 3),
        "time_ratio": round(shared["seconds"] / separate["seconds"], 3),
        "answer_time_ratio": round(shared["answer_seconds"] / separate["answer_seconds"], 3),
        "pss_ratio": round(shared["pss_mib"] / separate["pss_mib"], 3),
        "same_texts": round(sum(same) / len(same), 3),
        **{f"shared_{key}": value for key, value in shared.items()},
        **{f"separate_{key}": value for key, value in separate.items()},
    }


_FIGURES = ("uss_mib", "pss_mib", "seconds", "load_seconds", "answer_seconds")


def _median(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(row[key] for row in rows), 3)


def _in_process(how: str, base: str, folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ftlab.bench.compare", how, base, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    if done.returncode:
        raise RuntimeError(f"bench compare, {how}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _make(base: str, folder: Path) -> dict[str, Any]:
    """Adapters with all matrices random, so that each answers in its own way."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number in range(ADAPTERS):
        torch.manual_seed(number)
        settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), settings)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01)
        model.save_pretrained(folder / str(number))
    return {}


def _shared(folders: list[str]) -> tuple[float, list[str], Any]:
    """(moment at which all was loaded, texts, what must stay in memory until it is measured)."""
    import time

    from ftlab.answers import Sampling
    from ftlab.models import load, stream

    models = [load(folder) for folder in folders]
    loaded = time.perf_counter()
    sampling = Sampling(max_new_tokens=TOKENS, temperature=0)
    texts = {
        (p[1].reference, p[0]): p[1].text for p in stream(models, PROMPTS, sampling) if isinstance(p, tuple)
    }
    return loaded, [texts[folder, index] for folder in folders for index in range(len(PROMPTS))], models


def _separate(base: str, folders: list[str]) -> tuple[float, list[str], Any]:
    import time

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models = []
    for folder in folders:
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        models.append((PeftModel.from_pretrained(plain, folder).eval(), tokenizer))
    loaded = time.perf_counter()
    texts = []
    for model, tokenizer in models:
        chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
        batch = tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            ids = model.generate(**batch, max_new_tokens=TOKENS, do_sample=False)
        texts += tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return loaded, texts, models


def _main(how: str, base: str, folder: str) -> dict[str, Any]:
    if how == "make":
        return _make(base, Path(folder))
    import time

    import peft  # noqa: F401 -- the libraries belong to the zero
    import psutil
    import torch
    from transformers.models.llama import modeling_llama  # noqa: F401

    import ftlab.models.serving  # noqa: F401

    torch.ones(64, 64) @ torch.ones(64, 64)  # the thread pool and its buffers belong to the zero as well
    process = psutil.Process()
    zero, began = process.memory_full_info(), time.perf_counter()
    folders = [str(Path(folder) / str(number)) for number in range(ADAPTERS)]
    loaded, texts, kept = _shared(folders) if how == "shared" else _separate(base, folders)
    ended, memory = time.perf_counter(), process.memory_full_info()
    del kept
    return {
        "uss_mib": (memory.uss - zero.uss) / MIB,
        "pss_mib": (memory.pss - zero.pss) / MIB,
        "seconds": ended - began,
        "load_seconds": loaded - began,
        "answer_seconds": ended - loaded,
        "texts": texts,
    }


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))  # noqa: T201 -- the answer to the process that asked
