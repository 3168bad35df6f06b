"""One optimisation, for every model the study trains: Hugging Face's Trainer, resumable and recorded."""

import fcntl
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, Sampler
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.integrations import TensorBoardCallback

from vlmscale.errors import UserError
from vlmscale.provenance import read_json, write_json
from vlmscale.settings import Recipe
from vlmscale.training.sampler import GroupedSampler

# Written into a Trainer checkpoint when all of it is on disk; one without is never resumed from.
_COMPLETE = "complete"


@dataclass(frozen=True)
class Outcome:
    """What a finished optimisation has to tell; times are summed over interrupted attempts."""

    steps: int
    losses: list[tuple[int, float]]  # (step, mean loss since the entry before)
    seconds: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    attempts: int
    device: str


class _Trainer(Trainer):
    """Counts tokens, stops at a loss that is not finite, and gives the projector its own rate."""

    def __init__(self, *args: Any, recipe: Recipe, projector: nn.Module | None, **kw: Any) -> None:
        self.optimizer: torch.optim.Optimizer | None
        super().__init__(*args, **kw)
        self.recipe, self.projector = recipe, projector
        self.tokens = 0

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        ids, tokens = inputs.pop("sample_ids"), inputs.pop("tokens")
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            raise UserError(
                f"the loss is {value.item()} at step {self.state.global_step}, samples "
                f"{', '.join(ids)}. Lower the learning rate, or look at these samples."
            )
        self.tokens += tokens
        return loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int] | None:
        if self.recipe.order == "shuffled":
            return super()._get_train_sampler(*args, **kwargs)
        parts = self.args.world_size * self.args.gradient_accumulation_steps
        return GroupedSampler(
            self.train_dataset.lengths,
            micro_batch=self.args.train_batch_size,
            parts=parts,
            seed=self.args.data_seed,
        )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            projector = set(self.projector.parameters()) if self.projector is not None else set()
            trained = [p for p in self.model.parameters() if p.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [p for p in trained if p not in projector]},
                {
                    "params": [p for p in trained if p in projector],
                    "lr": self.recipe.projector_learning_rate or self.recipe.learning_rate,
                },
            ]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]],
                lr=self.recipe.learning_rate,
                betas=(0.9, self.recipe.adam_beta2),
                weight_decay=self.recipe.weight_decay,
            )
        return self.optimizer


class _Bookkeeping(TrainerCallback):
    """Marks complete checkpoints and keeps the time and tokens of every attempt beside them."""

    def __init__(self, work: Path) -> None:
        self.file = work / "attempts.json"
        self.earlier = read_json(self.file)["attempts"] if self.file.exists() else []
        self.start = time.monotonic()
        self.trainer: _Trainer | None = None

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        (folder / _COMPLETE).touch()
        self.write()

    def write(self) -> list[dict[str, float]]:
        assert self.trainer is not None
        now = {"seconds": time.monotonic() - self.start, "tokens": self.trainer.tokens}
        attempts = [*self.earlier, now]
        write_json(self.file, {"attempts": attempts})
        return attempts


def optimise(
    model: nn.Module,
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    recipe: Recipe,
    *,
    seed: int,
    work: Path,
    tensorboard: Path,
    projector: nn.Module | None = None,
) -> Outcome:
    """Train what requires a gradient in `model`, going on from the last complete checkpoint in `work`.

    A resumed optimisation ends with the same weights as an uninterrupted one (bit for bit on CPU).
    The caller discards `work` when the result is safe. Raises UserError for a loss that is not finite.
    """
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    set_seed(seed)
    bookkeeping = _Bookkeeping(work)
    steps = recipe.steps or -1
    trainer = _Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(work),
            per_device_train_batch_size=recipe.batch_size,
            max_steps=steps,
            num_train_epochs=recipe.epochs or 1.0,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=recipe.warmup_ratio,
            weight_decay=recipe.weight_decay,
            max_grad_norm=1.0,
            logging_steps=0.02,
            save_steps=recipe.checkpoint_every,
            # Two: the older one is removed before the newer one is marked complete.
            save_total_limit=2,
            seed=seed,
            data_seed=seed,
            report_to=[],
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_pin_memory=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=dataset,
        data_collator=collate,
        callbacks=[bookkeeping, TensorBoardCallback(SummaryWriter(str(tensorboard)))],
        recipe=recipe,
        projector=projector,
    )
    bookkeeping.trainer = trainer
    with locked(work):
        checkpoint = last_checkpoint(work)
        if checkpoint is not None and (state := _finished(checkpoint)):
            trainer._load_from_checkpoint(str(checkpoint))  # killed between its end and its result
            trainer.state = state
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    attempts = bookkeeping.write()
    seconds = sum(attempt["seconds"] for attempt in attempts)
    tokens = int(sum(attempt["tokens"] for attempt in attempts))
    return Outcome(
        steps=trainer.state.global_step,
        losses=[(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e],
        seconds=seconds,
        tokens=tokens,
        tokens_per_second=tokens / seconds,
        peak_memory_bytes=_peak_memory(),
        attempts=len(attempts),
        device=str(trainer.args.device),
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
    """The state of a checkpoint written after the last step. Resumed, Trainer would add a step."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state if state.global_step >= state.max_steps else None


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Keep other processes from training in `work`; ends with this one, however it ends."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is training in {work}, left by an earlier attempt. End it first."
            ) from None
        yield


def discard(work: Path) -> None:
    """Remove the checkpoints of a finished optimisation; a kill leaves no half of one behind."""
    done = work.with_name(f"{work.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    work.rename(done)
    shutil.rmtree(done)


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
