"""One optimisation, for every model the study trains: Hugging Face's Trainer, resumable and recorded."""

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
from vlmscale.training.batch_split import share
from vlmscale.training.batches import Collate
from vlmscale.training.checkpoint_folder import lock_folder
from vlmscale.training.distributed import from_first, process, processes, total
from vlmscale.training.graceful_stop import note
from vlmscale.training.trainer import BatchTrainer, set_precision, training_arguments

# Written into a Trainer checkpoint when all of it is on disk, with who wrote it; one without is never
# resumed from.
_COMPLETE = "complete"
# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Outcome:
    """What a finished optimisation has to tell; times are summed over interrupted attempts."""

    steps: int
    losses: list[tuple[int, float]]  # (step, mean loss since the entry before)
    seconds: float
    tokens: int  # of all processes
    tokens_per_second: float
    peak_memory_bytes: int  # of the first process
    attempts: int
    device: str
    processes: int
    gpu_hours: float  # seconds times GPUs, in hours; 0 without any


class _Bookkeeping(TrainerCallback):
    """Marks complete checkpoints, keeps the time and tokens of every attempt beside them, and ends the
    training when there is a note that asks for it.
    """

    def __init__(self, work: Path, layout: dict[str, int]) -> None:
        self.work, self.layout = work, layout
        self.file = work / "attempts.json"
        self.earlier = read_json(self.file)["attempts"] if self.file.exists() else []
        self.start = time.monotonic()
        self.trainer: BatchTrainer | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # One process may see the note before another does, but all have to end at the same step.
        if total(note(self.work).exists(), args.device) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.write()  # and wait for the others, who write parts of the checkpoint
        if process() == 0:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            write_json(folder / _COMPLETE, self.layout)

    def write(self) -> list[dict[str, float]]:
        assert self.trainer is not None
        device = self.trainer.args.device
        now = {
            "seconds": time.monotonic() - self.start,
            "tokens": total(self.trainer.tokens, device),
            "gpus": processes() if device.type == "cuda" else 0,
        }
        attempts = [*self.earlier, now]
        if process() == 0:
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
    """Train what requires a gradient in `model`, going on from the last complete checkpoint in `work`.

    Gives the weights, whole, to the first process; the others get what they have, if anything. The first
    one's caller discards `work` when the result is safe. A resumed optimisation ends with the same
    weights as an uninterrupted one (bit for bit on CPU, with one process or two). Raises UserError for a
    loss that is not finite and for a checkpoint that these processes cannot go on from; Stopped, the
    checkpoint written, when a note asks for it. Losses go to `tensorboard`, and to Weights & Biases where
    its variable WANDB_PROJECT is set.
    """
    execution = execution or Execution()
    keep_freed_memory()
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Nothing here reads memory before it has been written to; filling all of it first only takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    set_seed(seed)
    zero = execution.zero if processes() > 1 else 0  # one process has nothing to share
    computed = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    set_precision(model, computed, whole=bool(zero))
    mine = share(recipe.batch_size, processes(), execution.micro_batch_size)
    config: Any = model.config if zero else None
    width = config.text_config.hidden_size if zero else 0
    arguments = training_arguments(
        recipe, execution, mine, zero=zero, width=width, seed=seed, work=work
    )
    layout = {"zero": zero, "processes": processes()}
    with lock_folder(work) if process() == 0 else nullcontext():
        found = from_first(last_checkpoint(work) if process() == 0 else None)
        bookkeeping = _Bookkeeping(work, layout)
        trainer = BatchTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=collate,
            callbacks=[bookkeeping],
            recipe=recipe,
            share=mine,
            workers=execution.workers,
            projector=projector,
        )
        bookkeeping.trainer = trainer
        if process() == 0:
            trainer.add_callback(TensorBoardCallback(SummaryWriter(str(tensorboard))))
            if "WANDB_PROJECT" in os.environ:
                arguments.run_name = "/".join(tensorboard.parts[-2:])
                trainer.add_callback(WandbCallback())
        if found is not None:
            _check_layout(found, layout)
        if found is not None and (state := _finished(found)):
            trainer.load_finished(found, state)  # killed between its end and its result
        else:
            trainer.train(resume_from_checkpoint=str(found) if found else None)
        step, steps = trainer.state.global_step, trainer.state.max_steps
        if step < steps:
            note(work).unlink(missing_ok=True)
            raise Stopped(f"stopped after step {step} of {steps}, as asked. Run again to go on.")
        attempts = bookkeeping.write()
        weights = trainer.weights()
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
        processes=processes(),
        gpu_hours=sum(attempt["seconds"] * attempt["gpus"] for attempt in attempts) / 3600,
    )
    return outcome, weights


def keep_freed_memory() -> None:
    """Let the C library (glibc) keep up to a gigabyte of what a step frees, for the next one. Given back to
    the system, its pages would be cleared again each time.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes; larger blocks go back
        set_option(_TRIM_THRESHOLD, 1 << 30)


def _check_layout(checkpoint: Path, layout: dict[str, int]) -> None:
    """Raise UserError unless processes of this `layout` can go on from the checkpoint.

    With DeepSpeed each process has written its own share; without it any number can.
    """
    begun = read_json(checkpoint / _COMPLETE)
    if begun != layout and (begun["zero"] or layout["zero"]):
        was, now = (
            f"{of['processes']} process{'es' if of['processes'] > 1 else ''} with zero: {of['zero']}"
            for of in (begun, layout)
        )
        raise UserError(
            f"{checkpoint} was written by {was} and cannot be gone on from by {now}. Ask for what it was "
            f"begun with, or delete {checkpoint.parent} to begin again."
        )


def last_checkpoint(work: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones, left by a kill, are removed."""
    found = []
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            found.append((int(folder.name.removeprefix("checkpoint-")), folder))
        else:
            shutil.rmtree(folder)
    return max(found)[1] if found else None


def _finished(checkpoint: Path) -> TrainerState | None:
    """The state of a checkpoint written after the last step."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state if state.global_step >= state.max_steps else None


def freeze(model: nn.Module, *, trainable: Iterable[nn.Module]) -> tuple[int, int]:
    """Let only `trainable` learn; (trainable, all) parameters."""
    model.requires_grad_(False)
    for module in trainable:
        module.requires_grad_(True)
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
