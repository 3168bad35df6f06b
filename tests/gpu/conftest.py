"""The tests that the first GPU runs: `make test-gpu`, and with VLMSCALE_DEVICE=cpu a rehearsal on the CPU.

They need torch, transformers, accelerate, safetensors, pydantic, numpy, pandas, pyarrow, pillow, einops and
pytest, not the rest of the lock.
"""

import os
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("torch", "transformers", "accelerate", "safetensors", "pydantic", "numpy", "pandas")
NEEDED += ("pyarrow", "pillow", "einops")
REASON = "no CUDA device; VLMSCALE_DEVICE=cpu rehearses on the CPU"
HERE = Path(__file__).parent


def pytest_configure(config):
    chosen = os.environ.get("VLMSCALE_DEVICE", "cuda")
    if chosen not in ("cpu", "cuda"):
        raise pytest.UsageError(f"VLMSCALE_DEVICE={chosen}: choose cpu or cuda, the default.")
    if chosen == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported, here and in children
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are too small for several
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), before]))
    for difference in list_version_differences():
        config.issue_config_time_warning(pytest.PytestWarning(difference), stacklevel=1)


def list_version_differences():
    """A sentence for each needed package whose version is not the lock's."""
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    locked = dict(re.findall(r"([\w.-]+)==([^\s,]+)", lock))
    found = {name: metadata.version(name).partition("+")[0] for name in NEEDED}
    return [
        f"{name} is {found[name]}, and requirements/lock.txt has {locked[name]}"
        for name in NEEDED
        if found[name] != locked[name]
    ]


def pytest_collection_modifyitems(items):
    import torch

    rehearsal = os.environ.get("VLMSCALE_DEVICE") == "cpu"
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.gpu)
        if not (rehearsal or torch.cuda.is_available()):
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def device():
    import torch

    # TensorFloat-32 would round fp32 products to 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """Folders of an untrained LLM, a tower, and a split for each stage."""
    from tests.gpu.tiny import write_parts

    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def build(parts):
    """build(method, visual_tokens, **options) -> an untrained model on the CPU, in eval mode, and its processor."""
    from vlmscale.methods import find_method
    from vlmscale.models.checkpoint import assemble

    def assemble_tiny(name, visual_tokens, **options):
        model, processor = assemble(
            parts["llm"],
            parts["tower"],
            find_method(name).make_setting(visual_tokens, **options),
            feature_layers=[1, 2, 3],
            template="qa",
            seed=0,
        )
        return model.eval(), processor

    return assemble_tiny
