"""`python -m vlmscale.evaluation SPEC.json`: evaluate one cell."""

from pydantic import TypeAdapter

from vlmscale.evaluation.spec import EvaluationSpec
from vlmscale.jobs.entry import exit_with_message, read_spec_from_argv

if __name__ == "__main__":
    with exit_with_message(is_job=True):
        spec = read_spec_from_argv("vlmscale.evaluation", "evaluation", TypeAdapter(EvaluationSpec))
        # Imported late: --help and a bad spec need not wait for torch.
        from vlmscale.evaluation.run import evaluate

        evaluate(spec)
