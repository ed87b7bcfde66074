"""The load of the machine: CPU, memory, GPU, disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pynvml

GB = 1e9


class SystemUse:
    """Sample the use of the machine; a figure that cannot be read is left out."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = psutil.Process()
        self._gpus = Gpus()
        psutil.cpu_percent()  # the first call only begins the interval

    def sample(self) -> dict[str, float]:
        """Return figures by the names of their curves; the CPU's is the mean since the last call."""
        memory = psutil.virtual_memory()
        result = {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_percent": memory.percent,
            "system/process_memory_gb": self._process.memory_info().rss / GB,
        }
        with contextlib.suppress(OSError):
            result["system/disk_free_gb"] = shutil.disk_usage(_existing(self._directory)).free / GB
        return {**result, **self._gpus.sample()}

    def close(self) -> None:
        """Release the GPU's library."""
        self._gpus.close()


class Gpus:
    """Sample NVIDIA's GPUs, where there are any."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return  # no library or no driver: a computer without an NVIDIA GPU
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def sample(self) -> dict[str, float]:
        """Return the figures of each GPU: system/gpu_…, system/gpu1_… and so on."""
        result: dict[str, float] = {}
        for number, handle in enumerate(self._handles):
            name = f"system/gpu{number or ''}"
            # Not every GPU has every figure (a MIG slice has no utilisation), so each is asked for by itself.
            readings: dict[str, Callable[[Any], float]] = {
                f"{name}_percent": lambda h: pynvml.nvmlDeviceGetUtilizationRates(h).gpu,
                f"{name}_memory_gb": lambda h: pynvml.nvmlDeviceGetMemoryInfo(h).used / GB,
                f"{name}_temperature_c": lambda h: pynvml.nvmlDeviceGetTemperature(
                    h, pynvml.NVML_TEMPERATURE_GPU
                ),
                f"{name}_power_w": lambda h: pynvml.nvmlDeviceGetPowerUsage(h) / 1000,
            }
            for key, read in readings.items():
                try:
                    result[key] = float(read(handle))
                except pynvml.NVMLError:
                    continue
        return result

    def close(self) -> None:
        """Release NVIDIA's library."""
        if self._handles:
            self._handles = []
            pynvml.nvmlShutdown()


def _existing(directory: Path) -> Path:
    """Return the directory, or its nearest ancestor that exists."""
    return next((path for path in (directory, *directory.absolute().parents) if path.exists()), directory)
