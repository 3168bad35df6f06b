"""Wrong on purpose: one clear message, no wall of traceback, no partial output."""

import re
import shlex
import shutil
import sys

import pytest

from tests.support.paths import ROOT

RUN = "d32__tokenpacker__v1__s0"


def files(tree):
    return {p.relative_to(tree.path) for p in (tree.path / "results").rglob("*") if p.is_file()}


def fails(tree, *arguments, says, config="config/smoke.yaml"):
    before = files(tree)
    done = tree.snakemake(*arguments, config=config)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert done.stdout.count(says) >= 1, done.stdout
    new = {file for file in files(tree) - before if file.parts[2] not in ("logs", "benchmarks")}
    # A damaged result is kept under another name.
    assert not [file for file in new if not any(part.endswith(".damaged") for part in file.parts)]
    return done.stdout


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("vision_cache:", "vision_cash: true\nvision_cache:", "vision_cash: unknown key"),
        ("visual_tokens: [1, 4, 9]", "visual_tokens: [1, 5]", "cannot give 5 visual tokens"),
    ],
)
def test_config(copy, old, new, says):
    path = copy.path / "config/smoke.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    output = fails(copy, says=says)
    assert "config/smoke.yaml is not a valid study" in output
    assert len(output.splitlines()) < 12


@pytest.mark.smoke
def test_truncated_shard(copy):
    out = copy.path / "results/smoke"
    (out / f"runs/{RUN}/stage2/run.json").unlink()
    shard = out / "data/stage2_s0/shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1000])
    fails(copy, says="shard-00000.parquet is damaged")
    assert (out / "data/stage2_s0.damaged/shard-00000.parquet").exists()
    assert not (out / f"runs/{RUN}/stage2/model").exists()


@pytest.mark.smoke
def test_checkpoint_without_a_file(copy):
    out = copy.path / "results/smoke"
    (out / f"cells/{RUN}/scores.parquet").unlink()
    (out / f"runs/{RUN}/stage2/model/model.safetensors").unlink()
    fails(copy, says="stage2/model is not a complete model folder: model.safetensors is missing")
    assert (out / f"runs/{RUN}/stage2/model.damaged/config.json").exists()
    assert not (out / f"cells/{RUN}/samples.parquet").exists()


@pytest.mark.parametrize("logger", [[], ["--logger", "vlmscale"]])
def test_the_end_of_a_failed_run_is_enough_to_go_on(empty, logger):
    """It names each failed job, shows its log, and its command runs that job."""
    table = empty.path / "src/vlmscale/resources/published/ocr_scores.csv"
    (empty.path / "src").unlink()
    shutil.copytree(ROOT / "src", empty.path / "src")
    whole = table.read_text()
    table.write_text("no table\n")
    arguments = ["published", "--keep-going"]
    done = empty.snakemake(*arguments, *logger, config=None)
    assert done.returncode != 0
    end = done.stdout[done.stdout.index("Failed: published_") :]
    assert "Failed: published_errors, results/published/errors.parquet\n" in end
    assert end.count("KeyError") == done.stdout.count("KeyError") > 0
    assert "Fix the cause and run the same command again" in end
    alone = re.search(r"This job alone: (.* -- results/published/errors.parquet)", end)
    program, *command = shlex.split(alone[1].replace(" -m snakemake ", " "))
    assert program == sys.executable
    table.write_text(whole)
    done = empty.snakemake(*command, config=None)
    assert done.returncode == 0, done.stdout
    assert "rule published_errors" in done.stdout
    assert "rule published_fit" not in done.stdout
