"""The clock, description and peak speed of the device that latencies are measured on."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def choose_clock(device: torch.device) -> Callable[[], float]:
    """Return a clock, in seconds, that waits for the device to finish.

    For a single CPU thread it counts the time that the thread ran, which other load hardly changes; on an
    idle machine that equals wall time.
    """
    if device.type == "cuda":

        def wait_and_read() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return wait_and_read
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def describe_machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return what a table of measurements records about the machine."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else processor_name(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "clock": "of the thread" if choose_clock(device) is time.thread_time else "wall",
        "dtype": str(dtype).removeprefix("torch."),
    }


def processor_name() -> str:
    """Return the model name of this machine's processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure_matmul_gflops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Return the device's practical peak: its best rate in several products of square matrices."""
    side, repeats = (8192, 20) if device.type == "cuda" else (1024, 10)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    least, now = float("inf"), choose_clock(device)
    for _ in range(repeats):
        started = now()
        a @ b
        least = min(least, now() - started)
    return 2 * side**3 / least / 1e9
