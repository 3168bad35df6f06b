"""Several processes: their ranks, the values they exchange, and their DeepSpeed configuration."""

import atexit
import os
import sys
import warnings
from typing import Any

import torch
from torch import distributed

from vlmscale.training.batch_split import BatchSplit


def world_size() -> int:
    """Return the number of processes that train together, as torchrun sets it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's rank. Rank 0 logs and writes the results."""
    return int(os.environ.get("RANK", "0"))


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, on every rank, when all have called it."""
    if world_size() == 1:
        return [value]
    box = [None] * world_size()
    distributed.all_gather_object(box, value)
    return box


def sum_over_ranks(value: float, device: torch.device) -> float:
    """Return the sum over all ranks. Also a barrier: no rank returns before all have called it."""
    if world_size() == 1:
        return value
    summed = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(summed)
    return summed.item()


def exit_without_cpp_teardown() -> None:
    """End this process with status 0 if it is one of several; run Python's exit handlers, not C++'s.

    Connection threads may abort a finished process ("terminate called without an active exception").
    """
    if distributed.is_initialized():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def deepspeed_config(zero: int, split: BatchSplit, *, bf16: bool, width: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration for ZeRO stage `zero`.

    Buffer sizes, in numbers, follow the LLM's `width` by the rules behind Hugging Face's "auto" values.
    """
    # DeepSpeed calls torch functions by deprecated names in every step.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.", FutureWarning)
    if not torch.cuda.is_available():
        _disable_kernels()
    return {
        "train_micro_batch_size_per_gpu": split.micro_batch_size,
        "gradient_accumulation_steps": split.passes,
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


def _disable_kernels() -> None:
    """Keep DeepSpeed on CPUs from compiling communication kernels; torch has its own."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
