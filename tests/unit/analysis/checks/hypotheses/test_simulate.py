"""Simulated studies have no effect where they say so, and the rules err on them as seldom as promised."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.checks.hypotheses.simulate import WORLDS, make_study, simulate_verdicts
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.records.parquet import read_provenance
from vlmscale.resources import find_resource

pytestmark = pytest.mark.slow
RATES = find_resource("measured") / "verdict_rates.parquet"
EXACT = replace(WORLDS["LLMs alike"], noise=0.0)


@pytest.fixture(scope="module")
def exact():
    return make_study(EXACT, np.random.default_rng(0))


def family_means(study, family):
    errors = study["errors"]
    return errors[(errors["benchmark"] == "mean") & (errors["family"] == family)]


@pytest.mark.parametrize(("family", "off"), [("reasoning", 1.15), ("ocr", 1.05)])
def test_errors_follow_a_law_with_equal_exponents(exact, family, off):
    means = family_means(exact, family)
    law = fit_power_law(means[(means["method"] == "tokenpacker") & (means["role"] == "fit")])
    assert (law.alpha, law.beta) == pytest.approx((0.05, 0.05), rel=1e-4)
    unseen = means[means["role"] == "holdout"]
    assert (unseen["error"] / law.predict_points(unseen)).tolist() == pytest.approx([off] * 5)


@pytest.mark.parametrize(("family", "gain"), [("reasoning", 0.0), ("ocr", 0.025)])
def test_methods_are_as_good_as_the_baseline(exact, family, gain):
    means = family_means(exact, family).set_index(["llm", "method", "visual_tokens"])["score"]
    for llm in "s", "m", "l", "xl":
        for method, v in (("quecc", 1), ("avgpool", 4), ("random", 4)):
            assert means[llm, method, v] == pytest.approx(means[llm, "tokenpacker", v])
        assert means[llm, "repeat", 16] - means[llm, "tokenpacker", 4] == pytest.approx(gain)


def test_a_repeat_shares_the_run_that_it_repeats(exact):
    runs = exact["errors"].drop_duplicates("cell").set_index("cell")["run"]
    assert runs["s repeat 16 0"] == runs["s tokenpacker 4 0"]
    assert runs["s quecc 1 0"] != runs["s tokenpacker 1 0"]


def test_llms_differ_where_the_world_says_so():
    world = replace(EXACT, offset=0.05)
    means = family_means(make_study(world, np.random.default_rng(0)), "reasoning")
    fitted = means[(means["method"] == "tokenpacker") & (means["role"] == "fit")]
    product = fitted["n_params_b"] * fitted["visual_tokens"]
    left = (fitted["error"] - 0.6 * product**-0.05).groupby(fitted["llm"])
    assert left.std().max() < 1e-12
    assert left.mean().std() > 0.01


def test_the_same_seed_gives_the_same_rates():
    first, again = (simulate_verdicts(WORLDS["LLMs differ"], 2, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["hypothesis"].tolist() == [
        "H1",
        "H2",
        "H3",
        "H3",
        "H5",
        "H6",
        "H6",
        "H7",
        "H8",
        "any",
    ]
    assert (first["corrected"] <= first["alone"]).all()


def test_a_difference_that_is_there_is_counted():
    """The counting can see errors: repeats that gain nothing are taken for gains of 0.5."""
    from vlmscale.analysis.checks.hypotheses import simulate

    study = make_study(WORLDS["LLMs alike"], np.random.default_rng(1))
    worse = study["samples"]["cell"].str.contains("repeat")
    broken = study["samples"].assign(score=study["samples"]["score"].mask(worse, 0.0))
    wrong = {("H6", "reasoning"): "contradicted"}
    table = simulate.count_wrong({**study, "samples": broken}, wrong)
    assert table.tolist() == [[1.0, 1.0]]
    assert simulate.count_wrong(study, wrong).tolist() == [[0.0, 0.0]]


def test_the_rules_err_in_at_most_one_study_of_twenty():
    """The kept rates; two standard deviations of a rate of 0.05 are allowed."""
    rates, config = pd.read_parquet(RATES), read_provenance(RATES)
    assert config["worlds"] == {name: asdict(world) for name, world in WORLDS.items()}
    allowed = 0.05 + 2 * np.sqrt(0.05 * 0.95 / rates["studies"])
    single = rates["hypothesis"] != "any"
    assert (rates["alone"] <= allowed)[single].all()
    assert (rates["corrected"] <= allowed).all()
