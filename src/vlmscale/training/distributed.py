"""Several processes: who is who, what they tell each other, and what they share by DeepSpeed."""

import atexit
import os
import sys
import warnings
from typing import Any

import torch
from torch import distributed

from vlmscale.training.batch_split import Share


def processes() -> int:
    """How many train together; torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process() -> int:
    """Which of them this one is. The first, 0, keeps the books and writes the results."""
    return int(os.environ.get("RANK", "0"))


def from_first(value: Any) -> Any:
    """The first process's value, in every process."""
    if processes() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def total(value: float, device: torch.device) -> float:
    """The sum over all processes, none of which goes on before all have come here."""
    if processes() == 1:
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    return summed.item()


def part() -> None:
    """End this process well, if it is one of several, as soon as its own work is done.

    Python's part of an exit is done, but C++ libraries are not taken down: the threads behind connections
    may abort a process that has nothing left to do ("terminate called without an active exception").
    """
    if distributed.is_initialized():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def deepspeed_config(zero: int, share: Share, *, bf16: bool, width: int) -> dict[str, Any]:
    """What DeepSpeed is told. `width` of the LLM sets the sizes of its buffers, in numbers, as is usual."""
    # Of torch's own names for messages, in every step, from DeepSpeed: no news for a log.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.", FutureWarning)
    if not torch.cuda.is_available():
        _without_kernels()
    return {
        "train_micro_batch_size_per_gpu": share.samples,
        "gradient_accumulation_steps": share.passes,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": bf16},
        "zero_optimization": {
            "stage": zero,
            "overlap_comm": torch.cuda.is_available(),
            "contiguous_gradients": True,
            "reduce_bucket_size": width**2,
            "stage3_prefetch_bucket_size": int(0.9 * width**2),
            "stage3_param_persistence_threshold": 10 * width,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }


def _without_kernels() -> None:
    """Keep DeepSpeed, on CPUs, from compiling kernels for messages between processes: torch has some."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
