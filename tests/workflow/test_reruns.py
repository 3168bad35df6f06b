"""What runs again after a change: what the change can touch, and nothing else."""

import os

import pandas as pd
import pytest

from tests.support.trees import JOINT

pytestmark = pytest.mark.smoke

# What times the answers of LLMs: again when one of their compressors is new, or another.
TIMED = {"measure_latency", "latency"}
PROJECTORS = "src/vlmscale/models/projectors"


def edit(tree, file, old, new):
    path = tree.path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_one_cell_deleted_is_redone_with_the_same_bytes(copy):
    run, out = "d32__quecc__v4__s0", copy.path / "results/smoke"
    kept = [out / f"runs/{run}/stage1/projector.safetensors"]
    kept += [out / f"runs/{run}/stage2/model/model.safetensors"]
    kept += [out / f"cells/{run}/{table}.parquet" for table in ("samples", "scores")]
    joint = [
        out / "errors.parquet",
        out / "laws.parquet",
        out / "tables/laws.md",
        out / "figures/quecc_ocr/fig1.png",
        out / "audit.md",
    ]
    kept += joint
    before = {file: file.read_bytes() for file in kept}
    kept[0].unlink()
    (out / f"cells/{run}/scores.parquet").unlink()
    planned = copy.planned()
    expected = {
        "train_stage1": [f"run={run}"],
        "train_stage2": [f"run={run}"],
        "evaluate_cell": [f"cell={run}"],
    }
    assert {rule: jobs for rule, jobs in planned.items() if rule not in JOINT} == expected
    # By name: what was deleted is missed by nobody whose own files are there.
    targets = [kept[0], *joint]
    done = copy.snakemake(*(str(file.relative_to(copy.path)) for file in targets))
    assert done.returncode == 0, done.stdout
    assert {
        file: file.read_bytes() == content for file, content in before.items()
    } == dict.fromkeys(kept, True)


def test_an_edited_method_reruns_its_cells_and_no_others(copy):
    edit(copy, f"{PROJECTORS}/quecc.py", "groups=d)", "groups=d, bias=True)")
    planned = copy.planned()
    assert set(planned) == {"train_stage1", "train_stage2", "evaluate_cell"} | TIMED | JOINT
    for rule in ("train_stage1", "train_stage2", "evaluate_cell"):
        assert len(planned[rule]) == 6
        assert all("quecc" in job for job in planned[rule])


def test_a_comment_a_docstring_a_touch_and_a_stranger_rerun_nothing(copy):
    edit(copy, f"{PROJECTORS}/quecc.py", "import Tensor, nn\n", "import Tensor, nn  # a comment\n")
    edit(copy, f"{PROJECTORS}/quecc.py", "QueCC: region attention", "QueCC: attention in regions")
    (copy.path / PROJECTORS / "stranger.py").write_text("raise ImportError")  # not in this study
    for file in (copy.path / "src").rglob("*.py"):
        os.utime(file)
    for file in (copy.path / "workflow/scripts").glob("*.py"):
        os.utime(file)
    assert copy.planned() == {}


def test_a_recipe_changed_reruns_its_stage_only(copy):
    edit(copy, "config/smoke.yaml", "stage2: {steps: 300", "stage2: {steps: 301")
    planned = copy.planned()
    assert set(planned) == {"train_stage2", "evaluate_cell"} | JOINT
    runs = pd.read_csv(copy.path / "results/smoke/cells.csv")["run"].unique()
    assert sorted(planned["train_stage2"]) == sorted(f"run={run}" for run in runs)


def test_how_a_stage_is_carried_out_reruns_nothing(copy):
    edit(copy, "config/smoke.yaml", "\nstage1: {", "\nstage1: {execution: {micro_batch_size: 8}, ")
    assert copy.planned() == {}


def test_without_latencies_nothing_else_changes(copy):
    edit(copy, "config/smoke.yaml", "latency: true", "latency: false")
    assert copy.planned() == {
        "explorer": [""],
        "all": [""],
    }  # which offers a budget in milliseconds


def test_a_new_method_adds_its_cells(copy):
    edit(
        copy,
        "config/smoke.yaml",
        "methods: [tokenpacker, quecc]",
        "methods: [tokenpacker, quecc, smooth]",
    )
    edit(
        copy,
        "config/smoke.yaml",
        "methods:\n  prumerge",
        "methods:\n  smooth: {method: tokenpacker, query_resize: antialias}\n  prumerge",
    )
    planned = copy.planned()
    for rule in ("train_stage1", "train_stage2", "evaluate_cell"):
        assert len(planned[rule]) == 6
        assert all("smooth" in job for job in planned[rule])
    made = {"train_stage1", "train_stage2", "evaluate_cell", "write_cells"}
    assert set(planned) == made | TIMED | JOINT


def test_collect_refuses_results_of_other_code(copy):
    """A source edited while jobs were running: the result carries the old fingerprint."""
    edit(copy, f"{PROJECTORS}/quecc.py", "groups=d)", "groups=d, bias=True)")
    (copy.path / "results/smoke/errors.parquet").unlink()
    done = copy.snakemake("collect", "--rerun-triggers", "mtime")
    assert done.returncode != 0
    assert (
        "train_stage1 were made by other code than the present: d32__quecc__v1__s0" in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert not (copy.path / "results/smoke/errors.parquet").exists()
