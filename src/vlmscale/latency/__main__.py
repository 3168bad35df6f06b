"""`python -m vlmscale.latency SPEC.json`: one measuring process, as the workflow starts it."""

from pydantic import TypeAdapter

from vlmscale.jobs.entry import clear_errors, told
from vlmscale.latency.spec import LatencySpec


def main() -> None:
    spec = told("vlmscale.latency", "measuring latency", TypeAdapter(LatencySpec))
    # Imported late: --help and a bad spec answer without waiting for torch.
    from vlmscale.latency.measure import measure_backbones

    measure_backbones(spec)


if __name__ == "__main__":
    with clear_errors():
        main()
