"""What latencies are measured on, and how fast it is."""

import platform
import time
from pathlib import Path
from typing import Any

import torch


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a table of measurements says of the machine."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
    }


def _processor() -> str:
    """The name of this machine's processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def matmul_gflops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """What the device reaches on a product of square matrices, the best of several: its practical peak."""
    side, repeats = (8192, 20) if device.type == "cuda" else (1024, 10)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    least = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        least = min(least, time.perf_counter() - started)
    return 2 * side**3 / least / 1e9
