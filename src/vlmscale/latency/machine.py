"""What latencies are measured on, and how fast it is."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, once the device has done what it was given.

    Of a processor's single thread the time that it ran is taken: what else the machine does changes that
    little, and with nothing else to do it is the wall clock's.
    """
    if device.type == "cuda":

        def when_done() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return when_done
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a table of measurements says of the machine."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "clock": "of the thread" if clock(device) is time.thread_time else "wall",
        "dtype": str(dtype).removeprefix("torch."),
    }


def processor() -> str:
    """The name of this machine's processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def matmul_gflops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """What the device reaches on a product of square matrices, the best of several: its practical peak."""
    side, repeats = (8192, 20) if device.type == "cuda" else (1024, 10)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    least, now = float("inf"), clock(device)
    for _ in range(repeats):
        started = now()
        a @ b
        least = min(least, now() - started)
    return 2 * side**3 / least / 1e9
