"""`python -m vlmscale.latency SPEC.json`: measure the latencies of one LLM."""

from pydantic import TypeAdapter

from vlmscale.jobs.entry import exit_with_message, read_spec_from_argv
from vlmscale.latency.spec import LatencySpec

if __name__ == "__main__":
    with exit_with_message(is_job=True):
        spec = read_spec_from_argv(
            "vlmscale.latency", "measuring latency", TypeAdapter(LatencySpec)
        )
        # Imported late: --help and a bad spec need not wait for torch.
        from vlmscale.latency.measure import measure_backbones

        measure_backbones(spec)
