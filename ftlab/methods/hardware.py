"""What is chosen for the machine at hand, and why; every choice is printed and `trainer:` overrides it."""

import contextlib
import ctypes
import importlib.util
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ftlab.errors import ConfigError
from ftlab.methods import ranks

BF16_FROM = 30_000_000  # parameters; below, the products are too small for shorter numbers to pay
ONE_THREAD_BELOW = 500_000  # parameters; below, a second thread waits more than it works
CHECKPOINTING_FROM = 1_000_000_000  # parameters; on a GPU, below this the activations fit
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Hardware:
    """Settings of one process. `as_dict` goes into the run's Started event."""

    device: Literal["cpu", "cuda"]
    device_name: str
    threads: int
    weights: Literal["float32", "bfloat16"]
    """Number format of the frozen or trained weights in memory."""
    autocast: bool
    """Products in 16 bits while the weights stay in 32."""
    gradient_checkpointing: bool
    attention: str
    padding: Literal["none", "rows"]
    """none: rows laid end to end, each attending to itself; rows: padded to the longest of a batch."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose(device: str, threads: int | None, parameters: int, *, frozen: bool) -> Hardware:
    """Settings for a model of `parameters` numbers, most of them `frozen` (LoRA) or all trained.

    Raises ConfigError where a GPU is asked for and there is none.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError("device: 'cuda' is not here (torch finds no GPU); use 'cpu' or 'auto'")
    if has_cuda and device != "cpu":
        return _cuda(threads, parameters, frozen=frozen)
    short = parameters >= BF16_FROM and cpu_multiplies_bf16()
    return Hardware(
        device="cpu",
        device_name=cpu_name(),
        threads=threads or (1 if parameters < ONE_THREAD_BELOW else max(1, cores() // ranks.here())),
        weights="bfloat16" if short and frozen else "float32",
        autocast=short and not frozen,
        gradient_checkpointing=False,
        attention="sdpa",
        padding="none",
    )


def _cuda(threads: int | None, parameters: int, *, frozen: bool) -> Hardware:
    import torch

    short = torch.cuda.is_bf16_supported(including_emulation=False)
    flash = short and importlib.util.find_spec("flash_attn") is not None
    return Hardware(
        device="cuda",
        device_name=torch.cuda.get_device_name(),
        threads=threads or min(cores(), 8),
        weights="bfloat16" if short and frozen else "float32",
        autocast=short,
        gradient_checkpointing=parameters >= CHECKPOINTING_FROM,
        attention="flash_attention_2" if flash else "sdpa",
        padding="none" if flash else "rows",
    )


def apply(hardware: Hardware) -> None:
    """Sets the process up: threads, and on a CPU a malloc that keeps its pages.

    By default glibc maps and unmaps every large tensor, and the kernel zeroes its pages each time.
    """
    import torch

    torch.set_num_threads(hardware.threads)
    if ranks.count() > 1:  # else accelerate chooses one thread a process, and warns
        os.environ.setdefault("OMP_NUM_THREADS", str(hardware.threads))
    if hardware.device == "cpu":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl and macOS don't
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def cores() -> int:
    """Cores this process may use: its affinity, cut to the container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2, or no quota ("max")
    return count


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for it (avx512_bf16 or amx_bf16); emulated, it is slower than 32 bits."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def memory_mib(device: str) -> float:
    """The most memory that this process held so far, or that was in use on the GPU; MiB."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return _own_status("VmHWM")


def resident_mib() -> float:
    """Memory that this process holds now, shared pages included; MiB."""
    return _own_status("VmRSS")


def forget_peak() -> None:
    """Has `memory_mib` count from now on; without effect where the system does not let a process do so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def available_mib(device: str) -> float:
    """What a new process may still take: free memory of the machine or its container, or of the GPU; MiB."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0] / 2**20
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    free = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")) / 2**20
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii")) / 2**20
        held = Path("/sys/fs/cgroup/memory.stat").read_text("ascii").split()
        used -= (
            int(held[held.index("inactive_file") + 1]) / 2**20
        )  # files that are let go of when memory is wanted
    except (OSError, ValueError):
        return free  # no cgroup v2, or no limit ("max")
    return min(free, limit - used)


def _own_status(field: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))
