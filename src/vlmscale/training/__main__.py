"""`python -m vlmscale.training SPEC.json`: train, or make a tokenizer or features that trainings need."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from vlmscale.jobs.entry import exit_with_message, read_spec_from_argv
from vlmscale.training.graceful_stop import request_stop_on_sigterm
from vlmscale.training.spec import FeaturesSpec, LlmSpec, Spec, StageSpec, TokenizerSpec


def main() -> None:
    """Run the spec named on the command line."""
    kinds: TypeAdapter[Spec | TokenizerSpec | FeaturesSpec] = TypeAdapter(
        Annotated[Spec | TokenizerSpec | FeaturesSpec, Field(discriminator="kind")]
    )
    spec = read_spec_from_argv("vlmscale.training", "training", kinds)
    # Imported late, here and below: --help and a bad spec need not wait for torch.
    if isinstance(spec, FeaturesSpec):
        from vlmscale.training.features import encode_images

        return encode_images(spec)
    if isinstance(spec, TokenizerSpec):
        from vlmscale.training.backbones import train_tokenizer

        return train_tokenizer(spec)
    with request_stop_on_sigterm(spec.paths.work):
        from vlmscale.training.backbones import train_llm, train_tower
        from vlmscale.training.distributed import exit_without_cpp_teardown
        from vlmscale.training.stages import train_stage

        if isinstance(spec, StageSpec):
            train_stage(spec)
            exit_without_cpp_teardown()
        elif isinstance(spec, LlmSpec):
            train_llm(spec)
        else:
            train_tower(spec)


if __name__ == "__main__":
    with exit_with_message(is_job=True):
        main()
