"""`python -m tests.gpu.train_by_zero SPEC.json`: train by DeepSpeed in one process.

vlmscale trains without DeepSpeed there. This is for machines with one GPU, to run its kernels at all.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    from vlmscale.training import loop
    from vlmscale.training.distributed import exit_without_cpp_teardown
    from vlmscale.training.spec import StageSpec
    from vlmscale.training.stages import train_stage

    spec = StageSpec.model_validate_json(Path(sys.argv[1]).read_text())
    make_arguments = loop.training_arguments

    def make_zero_arguments(*args: Any, **options: Any) -> Any:
        return make_arguments(*args, **{**options, "zero": spec.execution.zero, "width": 24})

    loop.training_arguments = make_zero_arguments
    train_stage(spec)
    exit_without_cpp_teardown()
