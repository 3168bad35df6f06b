"""Wrong on purpose: one clear message, no wall of traceback, no partial output."""

import pytest

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
    assert not new
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
    assert not (out / f"runs/{RUN}/stage2/model").exists()


@pytest.mark.smoke
def test_checkpoint_without_a_file(copy):
    out = copy.path / "results/smoke"
    (out / f"cells/{RUN}/scores.parquet").unlink()
    (out / f"runs/{RUN}/stage2/model/model.safetensors").unlink()
    fails(copy, says="stage2/model is not a complete checkpoint: model.safetensors is missing")
    assert not (out / f"cells/{RUN}/samples.parquet").exists()
