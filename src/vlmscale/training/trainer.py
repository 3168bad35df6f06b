"""Hugging Face's Trainer, as far as it is made to fit here: batches, checkpoints, weights, arguments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerState, TrainingArguments

from vlmscale.errors import UserError
from vlmscale.settings import Execution, Recipe
from vlmscale.training.batch_split import Share
from vlmscale.training.batches import Batches, Order, taken
from vlmscale.training.distributed import deepspeed_config, process
from vlmscale.training.sampler import GroupedSampler, ShuffledSampler

_WEIGHTS = "learned.safetensors"  # of a training checkpoint


class BatchTrainer(Trainer):
    """Deals out batches by `share`, counts tokens, stops at a loss that is not finite, gives the projector
    its own rate, and keeps in checkpoints what learns, not what is frozen.
    """

    def __init__(
        self,
        *args: Any,
        recipe: Recipe,
        share: Share,
        workers: int,
        projector: nn.Module | None,
        **kw: Any,
    ) -> None:
        self.optimizer: torch.optim.Optimizer | None
        super().__init__(*args, **kw)
        self.recipe, self.share, self.workers = recipe, share, workers
        self.projector = projector
        self.tokens = 0

    def get_train_dataloader(self) -> Batches:
        return Batches(
            self.train_dataset,
            self.data_collator,
            self.share,
            self._order(),
            process=process(),
            workers=self.workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _order(self) -> Order:
        samples, seed = self.train_dataset, self.args.data_seed
        if self.recipe.order == "shuffled":
            return ShuffledSampler(len(samples), seed=seed)
        # Alike for any number of passes: those of a process are cut from its share of a batch.
        own, parts = self.share.batch_size // self.share.processes, self.share.processes
        return GroupedSampler(samples.lengths, micro_batch=own, parts=parts, seed=seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        return super().get_batch_samples(map(taken, epoch_iterator), num_batches, device)

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

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted here: Trainer's own way goes through all parameters in every step."""
        return 0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            projector = set(self.projector.parameters()) if self.projector is not None else set()
            trained = list(self.learned().values())
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

    def learned(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        # DeepSpeed has files of its own.
        if self.args.should_save and not self.is_deepspeed_enabled:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {n: p.detach().contiguous() for n, p in self.learned().items()}, folder / _WEIGHTS
            )

    def _load_from_checkpoint(self, checkpoint: str, model: nn.Module | None = None) -> None:
        found = load_file(Path(checkpoint) / _WEIGHTS)
        with torch.no_grad():
            for name, parameter in self.learned().items():
                parameter.copy_(found[name])

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
        # Trainer's own way insists on the frozen weights, too.
        prepared = super()._prepare_for_training(max_steps, batches, None)
        self.model_wrapped.load_checkpoint(checkpoint, load_module_strict=False)
        self._load_optimizer_and_scheduler(checkpoint)
        return prepared

    def load_finished(self, checkpoint: Path, state: TrainerState) -> None:
        """Take over the weights of a training that ended; resumed, Trainer would add a step."""
        if self.is_deepspeed_enabled:
            batches = self.get_train_dataloader()
            self._prepare_for_training(state.max_steps, batches, str(checkpoint))
        else:
            self._load_from_checkpoint(str(checkpoint))
        self.state = state

    def weights(self) -> dict[str, Tensor]:
        """All weights of the model, put together in the first process."""
        if self.is_deepspeed_enabled and self.model_wrapped.zero_optimization_partition_weights():
            return self.accelerator.get_state_dict(self.model_wrapped) or {}
        if self.recipe.precision == "bf16":
            self.model.to(torch.bfloat16)
        return self.model.state_dict()


def training_arguments(
    recipe: Recipe,
    execution: Execution,
    share: Share,
    *,
    zero: int,
    width: int,
    seed: int,
    work: Path,
) -> TrainingArguments:
    """What Trainer is told. `zero` is what of ZeRO these processes do, `width` the LLM's."""
    bf16 = recipe.precision == "bf16"
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=share.samples,
        gradient_accumulation_steps=share.passes,
        max_steps=recipe.steps or -1,
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
        bf16=bf16,
        deepspeed=deepspeed_config(zero, share, bf16=bf16, width=width) if zero else None,
        activation_checkpointing=execution.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        # A filler takes the place of what a part of a batch lacks, so every pass uses all that learns.
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else a single process would use all that it sees
    return arguments


def set_precision(model: nn.Module, dtype: torch.dtype, *, whole: bool) -> None:
    """Give frozen weights the type that is computed in, all weights if `whole`: DeepSpeed has copies in
    32 bits of what learns.
    """
    for parameter in model.parameters():
        kept = torch.float32 if parameter.requires_grad and not whole else dtype
        parameter.data = parameter.data.to(kept)
