"""Hugging Face's Trainer with our batches, checkpoints and weights.

docs/upstream.md lists every method of Trainer that is replaced here, and the version it was written for.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DistributedSampler
from transformers import Trainer, TrainerState, TrainingArguments

from vlmscale.errors import UserError
from vlmscale.settings import Execution, Recipe
from vlmscale.training.batch_split import BatchSplit
from vlmscale.training.batches import Batches, raise_errors
from vlmscale.training.distributed import deepspeed_config, rank
from vlmscale.training.sampler import GroupedSampler

_SHARED_MEMORY = Path("/dev/shm")
_WEIGHTS = "trainable.safetensors"  # in a checkpoint


class BatchTrainer(Trainer):
    """Split batches by `split`, count tokens, stop at a loss that is not finite, give the projector its
    own learning rate, and write only trainable weights to checkpoints.
    """

    def __init__(
        self,
        *args: Any,
        recipe: Recipe,
        split: BatchSplit,
        workers: int,
        projector: nn.Module | None,
        **kw: Any,
    ) -> None:
        self.optimizer: torch.optim.Optimizer | None
        super().__init__(*args, **kw)
        self.recipe, self.split, self.workers = recipe, split, workers
        self.projector = projector
        self.tokens = self.steps_without_loss = 0

    def get_train_dataloader(self) -> Batches:
        batches = Batches(
            self.train_dataset,
            self.data_collator,
            self.split,
            self._order(),
            rank=rank(),
            workers=self.workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        if _SHARED_MEMORY.exists():
            batches.check_shared_memory(shutil.disk_usage(_SHARED_MEMORY).free)
        return batches

    def _order(self) -> DistributedSampler[int]:
        samples, seed = self.train_dataset, self.args.data_seed
        if self.recipe.order == "shuffled":
            return DistributedSampler(samples, 1, 0, seed=seed)  # `split` serves the ranks
        # Independent of the number of passes: a rank's passes are cut from its part of a batch.
        own, parts = self.split.batch_size // self.split.world_size, self.split.world_size
        return GroupedSampler(samples.lengths, micro_batch=own, parts=parts, seed=seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        # Counted where the labels are: on the GPU the host would wait for the count.
        where = device if self.args.world_size > 1 else torch.device("cpu")
        samples, supervised = super().get_batch_samples(
            raise_errors(epoch_iterator), num_batches, where
        )
        if supervised is not None and not supervised.any():
            # The mean over no tokens would be NaN. The loss is 0, and so are all gradients.
            self.steps_without_loss += 1
            supervised = torch.ones_like(supervised)
        if supervised is not None:
            supervised = supervised.to(device, non_blocking=True)
        return samples, supervised

    def _prepare_input(self, data: Any) -> Any:
        if isinstance(data, Tensor):  # of pinned memory: the host need not wait
            data = data.to(self.args.device, non_blocking=data.is_pinned())
        return super()._prepare_input(data)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        ids, tokens = inputs.pop("sample_ids"), inputs.pop("tokens")
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            raise UserError(
                f"the loss is {value.item()} at step {self.state.global_step}, samples "
                f"{', '.join(ids)}. Lower the learning rate, or check these samples."
            )
        self.tokens += tokens
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: Trainer's own count visits all parameters in every step."""
        return 0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            projector = set(self.projector.parameters()) if self.projector is not None else set()
            trained = list(self.trainable_parameters().values())
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
                fused=True,  # one pass over the weights, on CPUs, too
            )
        return self.optimizer

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are not frozen, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        # DeepSpeed writes its own files (_save_optimizer_and_scheduler).
        if self.args.should_save and not self.is_deepspeed_enabled:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {n: p.detach().contiguous() for n, p in self.trainable_parameters().items()},
                folder / _WEIGHTS,
            )

    def _load_from_checkpoint(self, checkpoint: str, model: nn.Module | None = None) -> None:
        stored = load_file(Path(checkpoint) / _WEIGHTS)
        with torch.no_grad():
            for name, parameter in self.trainable_parameters().items():
                parameter.copy_(stored[name])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_deepspeed_enabled:
            return super()._save_optimizer_and_scheduler(output_dir)
        self.model_wrapped.save_checkpoint(output_dir, exclude_frozen_parameters=True)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _prepare_for_training(
        self, max_steps: int, batches: Any, checkpoint: str | None
    ) -> tuple[nn.Module, Any]:
        if not self.is_deepspeed_enabled or checkpoint is None:
            return super()._prepare_for_training(max_steps, batches, checkpoint)
        # Trainer's own loading requires the frozen weights, too.
        prepared = super()._prepare_for_training(max_steps, batches, None)
        self.model_wrapped.load_checkpoint(checkpoint, load_module_strict=False)
        self._load_optimizer_and_scheduler(checkpoint)
        return prepared

    def load_finished(self, checkpoint: Path, state: TrainerState) -> None:
        """Load the weights of a training after its last step. Trainer would resume with one step more."""
        if self.is_deepspeed_enabled:
            batches = self.get_train_dataloader()
            self._prepare_for_training(state.max_steps, batches, str(checkpoint))
        else:
            self._load_from_checkpoint(str(checkpoint))
        self.state = state

    def gather_weights(self) -> dict[str, Tensor]:
        """Return all weights of the model on rank 0; other ranks get what they hold, if anything."""
        if self.is_deepspeed_enabled and self.model_wrapped.zero_optimization_partition_weights():
            return self.accelerator.get_state_dict(self.model_wrapped) or {}
        if self.recipe.precision == "bf16":
            self.model.to(torch.bfloat16)
        return self.model.state_dict()


def training_arguments(
    recipe: Recipe,
    execution: Execution,
    split: BatchSplit,
    *,
    zero: int,
    width: int,
    seed: int,
    work: Path,
) -> TrainingArguments:
    """Return Trainer's arguments. zero: ZeRO stage, 0 for none. width: the LLM's hidden size."""
    bf16 = recipe.precision == "bf16"
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=split.micro_batch_size,
        gradient_accumulation_steps=split.passes,
        max_steps=recipe.steps or -1,
        num_train_epochs=recipe.epochs or 1.0,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_grad_norm=1.0,
        logging_steps=0.02,
        # compute_loss stops at such a loss. Trainer's own check would wait for every backward pass.
        logging_nan_inf_filter=False,
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
        bf16=bf16,
        deepspeed=deepspeed_config(zero, split, bf16=bf16, width=width) if zero else None,
        # Planning replaces "auto"; a training that was not planned is taken to fit.
        activation_checkpointing=execution.activation_checkpointing is True,
        activation_checkpointing_kwargs={"use_reentrant": False},
        # A filler sample replaces a missing image (Collate), so every pass uses all trainable weights.
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else one process would use all visible GPUs
    return arguments


def set_precision(model: nn.Module, dtype: torch.dtype, *, include_trainable: bool) -> None:
    """Convert frozen weights to `dtype`; trainable ones, too, if DeepSpeed keeps 32-bit copies of them."""
    for parameter in model.parameters():
        in_32_bits = parameter.requires_grad and not include_trainable
        parameter.data = parameter.data.to(torch.float32 if in_32_bits else dtype)
