"""`python -m vlmscale.evaluation SPEC.json`: one evaluation process, as the workflow starts it."""

from pydantic import TypeAdapter

from vlmscale.evaluation.spec import EvaluationSpec
from vlmscale.jobs.entry import clear_errors, told


def main() -> None:
    spec = told("vlmscale.evaluation", "evaluation", TypeAdapter(EvaluationSpec))
    # Imported late: --help and a bad spec answer without waiting for torch.
    from vlmscale.evaluation.run import evaluate

    evaluate(spec)


if __name__ == "__main__":
    with clear_errors():
        main()
