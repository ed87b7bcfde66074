"""Determinism: seeds of the libraries' own generators, threads, and the class of machine that results hold for."""

from __future__ import annotations

import os
import platform
import random
from pathlib import Path

import numba
import numpy as np
import torch

from .errors import ConfigurationError

NVIDIA_DEVICE = "/dev/nvidia0"
CPU = torch.device("cpu")


def seed_everything(seed: int) -> None:
    """Seed the generators that libraries may use behind our back; ours have streams of their own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a library may use it
    torch.manual_seed(seed)


def set_threads(torch_threads: int) -> None:
    """Fix the number of threads: another count adds floats in another order."""
    torch.set_num_threads(torch_threads)


def machine_class() -> dict[str, str]:
    """Return what bit-equality depends on: the same class computes the same bits, another may not."""
    return {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "numba_cpu": os.environ.get("NUMBA_CPU_NAME") or numba.core.config.CPU_NAME or _cpu_model(),
        "torch_threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def choose_device(wanted: str, *, nvidia_device: str = NVIDIA_DEVICE) -> torch.device:
    """Return the device that the setting `device` means.

    Raises ConfigurationError if CUDA is asked for and missing, or if `auto` finds an NVIDIA device that CUDA cannot
    use: it makes no sense to train on the CPU of a machine that is paid for its GPU.
    """
    working = torch.cuda.is_available()
    if wanted == "cpu" or (wanted == "auto" and not working and not Path(nvidia_device).exists()):
        return CPU
    if working:
        # Room for cuBLAS that each stream has for itself: without, two streams may add up in another order from one
        # time to the next (NVIDIA, cuBLAS, "Results Reproducibility"). Read when the library is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        return torch.device("cuda")
    build = torch.version.cuda or "none: this torch is a CPU build"
    seen = f"{nvidia_device} is there" if Path(nvidia_device).exists() else f"{nvidia_device} is missing"
    msg = f"training.device = {wanted}, but CUDA does not work here ({seen}; CUDA of torch: {build})"
    raise ConfigurationError(
        msg,
        next_step="Check `nvidia-smi`, install a CUDA build of torch, or add --set training.device=cpu",
    )


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(
                (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown"
            )
    except OSError:
        return platform.processor() or "unknown"
