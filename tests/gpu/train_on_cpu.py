"""`python -m tests.gpu.train_on_cpu SPECS.json`: train every spec of a list, in one process without CUDA."""

import json
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

if __name__ == "__main__":
    from vlmscale.training.spec import StageSpec
    from vlmscale.training.stages import train_stage

    for spec in json.loads(Path(sys.argv[1]).read_text()):
        train_stage(StageSpec.model_validate(spec))
