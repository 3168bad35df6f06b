"""Train any model of a study with Hugging Face's Trainer, resumable and recorded."""

import ctypes
import os
import resource
import shutil
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.integrations import TensorBoardCallback, WandbCallback

from vlmscale.errors import Stopped, UserError
from vlmscale.records.files import read_json, write_json
from vlmscale.settings import Execution, Recipe
from vlmscale.training.batch_split import split_batch
from vlmscale.training.batches import Collate
from vlmscale.training.checkpoint_folder import lock_folder
from vlmscale.training.distributed import broadcast_from_first, rank, sum_over_ranks, world_size
from vlmscale.training.graceful_stop import stop_file
from vlmscale.training.trainer import BatchTrainer, set_precision, training_arguments

# Marks a checkpoint whose files are all on disk, and holds its layout (see `_check_layout`).
_COMPLETE = "complete"
# Option numbers of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Outcome:
    """The record of a finished training; times are summed over interrupted attempts."""

    steps: int
    losses: list[tuple[int, float]]  # (step, mean loss since the previous entry)
    seconds: float
    tokens: int  # over all ranks
    tokens_per_second: float
    peak_memory_bytes: int  # of rank 0
    attempts: int
    device: str
    processes: int
    gpu_hours: float  # seconds times GPUs, in hours; 0 on CPUs


class _Bookkeeping(TrainerCallback):
    """Mark complete checkpoints, record time and tokens of every attempt, and stop at a stop file."""

    def __init__(self, work: Path, layout: dict[str, int]) -> None:
        self.work, self.layout = work, layout
        self.file = work / "attempts.json"
        self.earlier = read_json(self.file)["attempts"] if self.file.exists() else []
        self.start = time.monotonic()
        self.trainer: BatchTrainer | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # One rank may see the file before another does, but all have to stop at the same step.
        requested = sum_over_ranks(stop_file(self.work).exists(), args.device)
        if requested and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.write()  # and wait for the other ranks, which write parts of the checkpoint
        if rank() == 0:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            write_json(folder / _COMPLETE, self.layout)

    def write(self) -> list[dict[str, float]]:
        """Write and return seconds, tokens and GPUs of every attempt so far."""
        assert self.trainer is not None
        device = self.trainer.args.device
        now = {
            "seconds": time.monotonic() - self.start,
            "tokens": sum_over_ranks(self.trainer.tokens, device),
            "gpus": world_size() if device.type == "cuda" else 0,
        }
        attempts = [*self.earlier, now]
        if rank() == 0:
            write_json(self.file, {"attempts": attempts})
        return attempts


def optimise(
    model: nn.Module,
    dataset: Dataset[Any],
    collate: Collate,
    recipe: Recipe,
    *,
    seed: int,
    work: Path,
    tensorboard: Path,
    projector: nn.Module | None = None,
    execution: Execution | None = None,
) -> tuple[Outcome, dict[str, Tensor]]:
    """Train the parameters of `model` that require a gradient; resume from the newest checkpoint in `work`.

    Returns all weights on rank 0; other ranks get what they hold, if anything. Rank 0's caller discards
    `work` once its result is written. A resumed training ends with the weights of an uninterrupted one
    (bit for bit on CPU, with one process or two). Losses go to `tensorboard`, and to Weights & Biases if
    WANDB_PROJECT is set. Raises UserError for a loss that is not finite and for a checkpoint that these
    processes cannot resume from; Stopped, after saving, when a stop file requests it.
    """
    execution = execution or Execution()
    keep_freed_memory()
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # No operation here reads uninitialised memory, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    set_seed(seed)
    zero = execution.zero if world_size() > 1 else 0  # ZeRO shares state between ranks
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    set_precision(model, dtype, include_trainable=bool(zero))
    split = split_batch(recipe.batch_size, world_size(), execution.micro_batch_size)
    config: Any = model.config if zero else None
    width = config.text_config.hidden_size if zero else 0
    arguments = training_arguments(
        recipe, execution, split, zero=zero, width=width, seed=seed, work=work
    )
    layout = {"zero": zero, "processes": world_size()}
    with lock_folder(work) if rank() == 0 else nullcontext():
        checkpoint = broadcast_from_first(find_checkpoint(work) if rank() == 0 else None)
        bookkeeping = _Bookkeeping(work, layout)
        trainer = BatchTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=collate,
            callbacks=[bookkeeping],
            recipe=recipe,
            split=split,
            workers=execution.workers,
            projector=projector,
        )
        bookkeeping.trainer = trainer
        if rank() == 0:
            trainer.add_callback(TensorBoardCallback(SummaryWriter(str(tensorboard))))
            if "WANDB_PROJECT" in os.environ:
                arguments.run_name = "/".join(tensorboard.parts[-2:])
                trainer.add_callback(WandbCallback())
        if checkpoint is not None:
            _check_layout(checkpoint, layout)
        if checkpoint is not None and (state := _read_final_state(checkpoint)):
            trainer.load_finished(
                checkpoint, state
            )  # killed after its last step, before its result
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        step, steps = trainer.state.global_step, trainer.state.max_steps
        if step < steps:
            stop_file(work).unlink(missing_ok=True)
            raise Stopped(
                f"training stopped on request after step {step} of {steps}. Run again to resume."
            )
        attempts = bookkeeping.write()
        weights = trainer.gather_weights()
    seconds = sum(attempt["seconds"] for attempt in attempts)
    tokens = int(sum(attempt["tokens"] for attempt in attempts))
    outcome = Outcome(
        steps=step,
        losses=[(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e],
        seconds=seconds,
        tokens=tokens,
        tokens_per_second=tokens / seconds,
        peak_memory_bytes=_peak_memory(),
        attempts=len(attempts),
        device=str(trainer.args.device),
        processes=world_size(),
        gpu_hours=sum(attempt["seconds"] * attempt["gpus"] for attempt in attempts) / 3600,
    )
    return outcome, weights


def keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte of freed memory for the next step.

    The system would clear returned pages again in every step.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 32 << 20)  # its largest value; larger blocks are returned
        set_option(_TRIM_THRESHOLD, 1 << 30)


def _check_layout(checkpoint: Path, layout: dict[str, int]) -> None:
    """Raise UserError unless ranks of this `layout` can resume from the checkpoint.

    With DeepSpeed each rank has written its own part; without it any number of ranks can resume.
    """
    written = read_json(checkpoint / _COMPLETE)
    if written != layout and (written["zero"] or layout["zero"]):
        was, now = (
            f"{of['processes']} process{'es' if of['processes'] > 1 else ''} with zero: {of['zero']}"
            for of in (written, layout)
        )
        raise UserError(
            f"{checkpoint} was written by {was}; {now} cannot resume from it. Request the former, or "
            f"delete {checkpoint.parent} to start again."
        )


def find_checkpoint(work: Path) -> Path | None:
    """Return the newest complete checkpoint, and remove incomplete ones, which a kill leaves."""
    complete = []
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            complete.append((int(folder.name.removeprefix("checkpoint-")), folder))
        else:
            shutil.rmtree(folder)
    return max(complete)[1] if complete else None


def _read_final_state(checkpoint: Path) -> TrainerState | None:
    """Return the state of a checkpoint after the last step, None for an earlier one."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state if state.global_step >= state.max_steps else None


def freeze(model: nn.Module, *, trainable: Iterable[nn.Module]) -> tuple[int, int]:
    """Freeze all but `trainable`, and return the numbers of (trainable, all) parameters."""
    model.requires_grad_(False)
    for module in trainable:
        module.requires_grad_(True)
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
