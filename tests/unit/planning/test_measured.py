"""The share of its peak that a GPU was measured to reach, from a table of benchmarks/gpu.py."""

import pandas as pd
import pytest

from tests.support.cli import call, call_json
from tests.support.paths import ROOT
from vlmscale.cli.cells import choose_gpu
from vlmscale.errors import UserError
from vlmscale.planning import measured
from vlmscale.planning.measured import find_measured_utilisation
from vlmscale.records.parquet import write_parquet
from vlmscale.study.load import load_study

COLUMNS = ["model", "visual_tokens", "gflops", "step_ms", "mfu", "skipped"]
# Peak 100 GFLOP/s. Ours: 90 GFLOPs in 2 seconds, 10 in 0.5.
STEPS = [
    ["plain LLaVA", 576, 90.0, 9000.0, 0.1, ""],
    ["ours", 576, 90.0, 2000.0, 0.45, ""],
    ["ours", 1, 10.0, 500.0, 0.2, ""],
    ["ours", 4, 10.0, None, None, "does not fit into the GPU's memory"],
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that the package takes for its own, without tables."""
    monkeypatch.setattr(measured, "find_resource", lambda name: tmp_path)
    return tmp_path


def write(folder, gpu, rows):
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_parquet(folder / f"training_{gpu}_gpu.parquet", table, {"gpu": gpu})


def test_all_our_steps_count_by_their_time(folder):
    write(folder, "l40s", STEPS)
    assert find_measured_utilisation("l40s") == pytest.approx((90 + 10) / (2 + 0.5) / 100)
    assert find_measured_utilisation("h100") is None


def test_a_table_without_steps_says_nothing(folder):
    write(folder, "l40s", [STEPS[0], STEPS[3]])
    assert find_measured_utilisation("l40s") is None


def test_a_changed_table_is_refused(folder):
    write(folder, "l40s", STEPS)
    file = folder / "training_l40s_gpu.parquet"
    file.write_bytes(file.read_bytes().replace(b"ours", b"hers"))
    with pytest.raises(UserError, match=r"benchmarks/gpu\.py"):
        find_measured_utilisation("l40s")


def test_cells_estimates_hours_with_what_was_measured(folder):
    study = load_study(ROOT / "config/paper.yaml")
    write(folder, "l40s", STEPS)
    changed, gpu = choose_gpu(study, "l40s", None)
    assert changed.cluster.utilisation == gpu.utilisation == pytest.approx(0.4)
    assert gpu.source.endswith("measured by benchmarks/gpu.py")
    chosen, _ = choose_gpu(study, "l40s", 0.3)
    assert chosen.cluster.utilisation == 0.3, "the user's own goes first"
    assumed, _ = choose_gpu(study, "h100", None)
    assert assumed.cluster.utilisation == study.cluster.utilisation
    own, _ = choose_gpu(study, None, None)
    assert own.cluster.utilisation == study.cluster.utilisation


def test_the_command_says_so(folder):
    asked = ("cells", "--config", ROOT / "config/paper.yaml", "--gpu", "l40s")
    before = call_json(*asked)
    write(folder, "l40s", STEPS)
    after = call_json(*asked)
    ratio = before["totals"]["gpu_hours"] / after["totals"]["gpu_hours"]
    assert ratio == pytest.approx(0.4 / 0.26)
    printed = call(*asked)
    assert "at 40% (measured)" in " ".join(printed.split())
