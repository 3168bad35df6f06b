"""`python -m vlmscale.training SPEC.json`: one process that trains, or makes what trainings start from."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from vlmscale.jobs.entry import clear_errors, told
from vlmscale.training.graceful_stop import heeded
from vlmscale.training.spec import FeaturesSpec, LlmSpec, Spec, StageSpec, TokenizerSpec


def main() -> None:
    kinds: TypeAdapter[Spec | TokenizerSpec | FeaturesSpec] = TypeAdapter(
        Annotated[Spec | TokenizerSpec | FeaturesSpec, Field(discriminator="kind")]
    )
    spec = told("vlmscale.training", "training", kinds)
    # Imported late, here and below: --help and a bad spec answer without waiting for torch.
    if isinstance(spec, TokenizerSpec):
        from vlmscale.training.backbones import train_tokenizer

        train_tokenizer(spec)
    elif isinstance(spec, FeaturesSpec):
        from vlmscale.training.features import encode_images

        encode_images(spec)
    else:
        with heeded(spec.paths.work):
            _train(spec)


def _train(spec: Spec) -> None:
    if isinstance(spec, StageSpec):
        from vlmscale.training.distributed import part
        from vlmscale.training.stages import train_stage

        train_stage(spec)
        part()
    elif isinstance(spec, LlmSpec):
        from vlmscale.training.backbones import train_llm

        train_llm(spec)
    else:
        from vlmscale.training.backbones import train_tower

        train_tower(spec)


if __name__ == "__main__":
    with clear_errors():
        main()
