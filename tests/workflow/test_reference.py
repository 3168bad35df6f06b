"""The default study gives today what is kept of it: one cell from nothing, against its reference."""

import pandas as pd
import pytest

from tests.support.paths import ROOT

REFERENCE = ROOT / "src/vlmscale/resources/reference/mini"
CELL = "d20__tokenpacker__v1__s0__short"
# Three standard deviations of what another seed changes in a family's mean (see the README there). The same kind
# of processor gives the same bytes; another one rounds differently, which is as another seed.
NOISE = {"reasoning": 0.10, "ocr": 0.20}


def test_the_reference_is_of_the_whole_default_study(empty):
    done = empty.snakemake("results/mini/cells.csv", config=None)
    assert done.returncode == 0, done.stdout
    cells = pd.read_csv(empty.path / "results/mini/cells.csv")
    scores = pd.read_csv(REFERENCE / "scores.csv")
    assert set(scores["cell"]) == set(cells["cell"])
    assert set(pd.read_csv(REFERENCE / "cost.csv")["run"]) >= set(cells["run"])


def test_another_seed_is_within_the_intervals_that_decide():
    intervals = pd.read_csv(REFERENCE / "intervals.csv").query("scheme == 'hierarchical'")
    laws = pd.read_csv(REFERENCE / "seed1/laws.csv").melt(
        ["series", "family"], ["alpha", "beta"], "quantity"
    )
    both = laws.merge(intervals, on=["series", "family", "quantity"])
    assert len(both) == 8
    assert both["value"].between(both["low"], both["high"]).all(), both


def test_scores_of_seeds_differ_as_the_reference_says():
    first, second = (
        pd.read_csv(folder / "scores.csv")
        .groupby(["llm", "method", "visual_tokens", "budget", "family"])["score"]
        .mean()
        for folder in (REFERENCE, REFERENCE / "seed1")
    )
    difference = (first - second).dropna()
    assert len(difference) == len(first) == len(second)
    deviation = difference.groupby("family").std()
    assert deviation.round(3).to_dict() == {"ocr": 0.055, "reasoning": 0.033}


@pytest.mark.smoke
def test_a_cell_scores_as_its_reference(empty):
    file = f"results/mini/cells/{CELL}/scores.parquet"
    done = empty.snakemake(file, config=None, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:]
    found = pd.read_parquet(empty.path / file)
    kept = pd.read_csv(REFERENCE / "scores.csv")
    kept = kept[kept["cell"] == CELL]
    assert set(found["benchmark"]) == set(kept["benchmark"])
    means = pd.DataFrame(
        {n: t.groupby("family")["score"].mean() for n, t in (("found", found), ("kept", kept))}
    )
    missed = (means["found"] - means["kept"]).abs()
    assert all(missed[family] <= noise for family, noise in NOISE.items()), means
