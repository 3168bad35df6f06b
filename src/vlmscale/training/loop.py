"""Train any model of a study with Hugging Face's Trainer, resumable and recorded."""

import ctypes
import importlib.util
import os
import resource
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback, WandbCallback

from vlmscale.errors import Stopped, UserError
from vlmscale.records.files import list_versions, modification_time, read_json, write_json
from vlmscale.settings import Execution, Recipe
from vlmscale.training.batch_split import split_batch
from vlmscale.training.batches import Collate, name_lost_workers
from vlmscale.training.checkpoint_folder import discard, lock_folder
from vlmscale.training.checkpoints import (
    check_layout,
    find_checkpoint,
    mark_complete,
    read_final_state,
)
from vlmscale.training.distributed import rank, sum_over_ranks, world_size
from vlmscale.training.graceful_stop import stop_file
from vlmscale.training.spec import INPUTS, OUTPUTS, Paths, Spec
from vlmscale.training.trainer import BatchTrainer, set_precision, training_arguments

# Imported here, where jobs share it (jobs/import_server.py).
_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None
if _TENSORBOARD:
    from torch.utils.tensorboard import SummaryWriter

# Option numbers of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Outcome:
    """The record of a finished training; times are summed over interrupted attempts."""

    steps: int
    losses: list[tuple[int, float]]  # (step, mean loss since the previous entry)
    seconds: float
    tokens: int  # over all ranks
    steps_without_loss: int  # none of their samples has an answer within max_length
    tokens_per_second: float
    peak_memory_bytes: int  # of rank 0
    attempts: int
    device: str
    deterministic: bool  # whether torch's deterministic algorithms were on, in the last attempt
    processes: int
    gpu_hours: float  # seconds times GPUs, in hours; 0 on CPUs


class _Bookkeeping(TrainerCallback):
    """Mark complete checkpoints, record time and tokens of every attempt, and stop at a stop file."""

    def __init__(self, trainer: BatchTrainer, work: Path, layout: dict[str, int]) -> None:
        self.trainer, self.work, self.layout = trainer, work, layout
        self.file = work / "attempts.json"
        self.earlier = _read_attempts(self.file)
        self.start = time.monotonic()

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
        self.write()
        mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", self.layout)

    def write(self) -> list[dict[str, float]]:
        """Write and return seconds, tokens and GPUs of every attempt so far."""
        device = self.trainer.args.device
        now = {
            "seconds": time.monotonic() - self.start,
            "tokens": sum_over_ranks(self.trainer.tokens, device),
            "gpus": world_size() if device.type == "cuda" else 0,
            "steps_without_loss": self.trainer.steps_without_loss,
        }
        attempts = [*self.earlier, now]
        if rank() == 0:
            write_json(self.file, {"attempts": attempts})
        return attempts


def _read_attempts(file: Path) -> list[dict[str, float]]:
    """Return the records of earlier attempts. A damaged file costs their times, not their steps."""
    try:
        return list(read_json(file)["attempts"]) if file.exists() else []
    except (UserError, KeyError) as error:
        print(f"{error} The times of earlier attempts are lost.", flush=True)
        return []


def optimise(
    model: nn.Module,
    dataset: Dataset[Any],
    collate: Collate,
    recipe: Recipe,
    *,
    seed: int,
    paths: Paths,
    projector: nn.Module | None = None,
    execution: Execution | None = None,
) -> tuple[Outcome, dict[str, Tensor]]:
    """Train the parameters of `model` that require a gradient; resume from the newest checkpoint.

    Returns all weights on rank 0; other ranks get what they hold, if anything. Rank 0's caller then writes
    its result and `write_record`. A resumed training ends with the weights of an uninterrupted one (bit for
    bit on CPU, with one process or two). Losses go to TensorBoard where it is installed, and to Weights &
    Biases if WANDB_PROJECT is set. Raises UserError for a loss that is not finite and for a checkpoint that
    these processes cannot resume from; Stopped, after saving, when a stop file requests it.
    """
    execution, work = execution or Execution(), paths.work
    keep_freed_memory()
    deterministic = choose_deterministic(execution)
    # CUDA has some operations in no deterministic form: torch warns of them.
    torch.use_deterministic_algorithms(deterministic, warn_only=torch.cuda.is_available())
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
        checkpoint = find_checkpoint(work)
        trainer = BatchTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=collate,
            recipe=recipe,
            split=split,
            workers=execution.workers,
            projector=projector,
        )
        bookkeeping = _Bookkeeping(trainer, work, layout)
        trainer.add_callback(bookkeeping)
        if rank() == 0:
            if _TENSORBOARD:
                trainer.add_callback(TensorBoardCallback(SummaryWriter(str(paths.tensorboard))))
            else:
                print("tensorboard is not installed: losses go to run.json alone.", flush=True)
            if "WANDB_PROJECT" in os.environ:
                arguments.run_name = "/".join(paths.tensorboard.parts[-2:])
                trainer.add_callback(WandbCallback())
        if checkpoint is not None:
            check_layout(checkpoint, layout)
        if checkpoint is not None and (state := read_final_state(checkpoint)):
            trainer.load_finished(checkpoint, state)  # killed before its result was written
        else:
            with name_lost_workers():
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        step, steps = trainer.state.global_step, trainer.state.max_steps
        if step < steps:
            stop_file(work).unlink(missing_ok=True)
            raise Stopped(
                f"training stopped on request after step {step} of {steps}. Run again to resume."
            )
        attempts = bookkeeping.write()
        weights = trainer.gather_weights()
    seconds, tokens, empty = (
        sum(attempt[key] for attempt in attempts)
        for key in ("seconds", "tokens", "steps_without_loss")
    )
    outcome = Outcome(
        steps=step,
        losses=[(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e],
        seconds=seconds,
        tokens=int(tokens),
        steps_without_loss=int(empty),
        tokens_per_second=tokens / seconds,
        peak_memory_bytes=_peak_memory(),
        attempts=len(attempts),
        device=str(trainer.args.device),
        deterministic=deterministic,
        processes=world_size(),
        gpu_hours=sum(attempt["seconds"] * attempt["gpus"] for attempt in attempts) / 3600,
    )
    return outcome, weights


def write_record(spec: Spec, outcome: Outcome, **counts: int) -> None:
    """Write `spec.record`, whose presence means that the result is complete, and discard checkpoints.

    It holds `spec` without its files, the outcome, `counts` and the versions of packages. Checkpoints stay
    where an input is newer than the result: snakemake would delete that.
    """
    fields = spec.model_dump(mode="json", exclude={*INPUTS, *OUTPUTS})
    versions = {"versions": list_versions()}
    write_json(spec.record, {**fields, **asdict(outcome), **counts, **versions})
    sources = [source for name in INPUTS if (source := getattr(spec, name, None)) is not None]
    if max(map(modification_time, sources)) <= modification_time(spec.record):
        discard(spec.paths.work)


def keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte of freed memory for the next step.

    The system would clear returned pages again in every step.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 32 << 20)  # its largest value; larger blocks are returned
        set_option(_TRIM_THRESHOLD, 1 << 30)


def freeze(model: nn.Module, *, trainable: Iterable[nn.Module]) -> tuple[int, int]:
    """Freeze all but `trainable`, and return the numbers of (trainable, all) parameters."""
    model.requires_grad_(False)
    for module in trainable:
        module.requires_grad_(True)
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def choose_deterministic(execution: Execution) -> bool:
    """Return whether to use deterministic algorithms: as chosen, else on CPUs only."""
    if execution.deterministic is None:
        return not torch.cuda.is_available()
    return execution.deterministic


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
