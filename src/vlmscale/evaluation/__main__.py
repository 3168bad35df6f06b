"""`python -m vlmscale.evaluation SPEC.json`: one evaluation process, as the workflow starts it."""

import sys
from pathlib import Path

from pydantic import ValidationError

from vlmscale.errors import UserError
from vlmscale.evaluation.spec import EvaluationSpec
from vlmscale.jobs import clear_errors


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(
            "usage: python -m vlmscale.evaluation SPEC.json   (see vlmscale/evaluation/spec.py)"
        )
    path = Path(sys.argv[1])
    try:
        spec = EvaluationSpec.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is not an evaluation spec: {error}") from None
    # Imported late: --help and a bad spec answer without waiting for torch.
    from vlmscale.evaluation.run import evaluate

    evaluate(spec)


if __name__ == "__main__":
    with clear_errors():
        main()
