"""docs/adding-a-projector.md, followed word by word: the new cells are trained, and nothing else is."""

import re

import pandas as pd
import pytest

from tests.support.paths import ROOT
from tests.support.trees import JOINT

pytestmark = pytest.mark.smoke


def test_the_page_adds_a_projector(copy):
    page = (ROOT / "docs/adding-a-projector.md").read_text()
    file = re.search(r"`(src/\S+/projectors/\w+\.py)`", page)[1]
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    line = re.search(r"```yaml\n(.*?)```", page, re.S)[1]
    (copy.path / file).write_text(code)
    config = copy.path / "config/smoke.yaml"
    config.write_text(config.read_text().replace("\ngrid:\n", f"\ngrid:\n{line}", 1))
    cell = "d32__striped__v4__s0"
    planned = copy.planned()
    assert {
        rule: jobs for rule, jobs in planned.items() if rule not in JOINT | {"write_cells"}
    } == {
        "train_stage1": [f"run={cell}"],
        "train_stage2": [f"run={cell}"],
        "evaluate_cell": [f"cell={cell}"],
        "measure_latency": ["llm=d32"],
        "latency": [""],
    }
    done = copy.snakemake()
    assert done.returncode == 0, done.stdout[-3000:]
    errors = pd.read_parquet(copy.path / "results/smoke/errors.parquet")
    mine = errors[errors["cell"] == cell]
    assert len(mine) == 12  # ten benchmarks, two families
    assert copy.planned() == {}
