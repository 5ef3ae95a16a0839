"""`python -m ftlab.warm FD SOCKET IDLE_SECONDS`: loads the libraries, then serves the socket handed over as FD."""

import gc
import importlib
import os
import socket
import sys
import time
from pathlib import Path

LIBRARIES = (
    "torch",
    "transformers",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "datasets",
    "peft",
    "peft.utils.save_and_load",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "trl.trainer.reward_trainer",
    "torch.profiler",  # wanted by Trainer.train
    "ftlab.methods.training",
    "ftlab.models.serving",
)


def load() -> None:
    """Imports, and fills the caches that every child would otherwise fill for itself; computes nothing with torch."""
    for name in LIBRARIES:
        importlib.import_module(name)
    from transformers import conversion_mapping

    # Compiles a thousand patterns, half a second, for the first model that is loaded. Not a public name of
    # transformers: without it, each child does this itself.
    if hasattr(conversion_mapping, "get_checkpoint_conversion_mapping"):
        conversion_mapping.get_checkpoint_conversion_mapping("llama")


def main() -> None:
    began = time.monotonic()
    load()
    gc.collect()
    gc.freeze()  # a collection in a child would otherwise write to, and so copy, every page that it shares
    threads = len(list(Path("/proc/self/task").iterdir()))
    print(
        f"loaded in {time.monotonic() - began:.1f} s, {threads} thread(s), process {os.getpid()}", flush=True
    )

    from ftlab.warm.server import Server

    listener = socket.socket(fileno=int(sys.argv[1]))
    Server(listener, Path(sys.argv[2]), float(sys.argv[3])).run()


if __name__ == "__main__":
    main()
