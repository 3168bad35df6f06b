"""`python -m vlmscale.training SPEC.json`: one training process, as the workflow starts it."""

import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vlmscale.errors import UserError
from vlmscale.jobs import clear_errors
from vlmscale.training.spec import LlmSpec, Spec, StageSpec
from vlmscale.training.stop import heeded


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit("usage: python -m vlmscale.training SPEC.json   (see vlmscale/training/spec.py)")
    path = Path(sys.argv[1])
    try:
        spec: Spec = TypeAdapter(Spec).validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is not a training spec: {error}") from None
    with heeded(spec.paths.work):
        _train(spec)


def _train(spec: Spec) -> None:
    # Imported late: --help and a bad spec answer without waiting for torch.
    if isinstance(spec, StageSpec):
        from vlmscale.training.parallel import part
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
