"""`python -m vlmscale.latency SPEC.json`: one measuring process, as the workflow starts it."""

import sys
from pathlib import Path

from pydantic import ValidationError

from vlmscale.errors import UserError
from vlmscale.jobs import clear_errors
from vlmscale.latency.spec import LatencySpec


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit("usage: python -m vlmscale.latency SPEC.json   (see vlmscale/latency/spec.py)")
    path = Path(sys.argv[1])
    try:
        spec = LatencySpec.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is not a latency spec: {error}") from None
    # Imported late: --help and a bad spec answer without waiting for torch.
    from vlmscale.latency.measure import measure_backbones

    measure_backbones(spec)


if __name__ == "__main__":
    with clear_errors():
        main()
