"""Intervals agree with references found independently, and cover a planted truth."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.bootstrap import SCHEMES, bootstrap, intervals
from vlmscale.analysis.laws import fit_power_law

from .test_laws import design, released


def summary(points, scheme):
    law = fit_power_law(points, floor=0.0)
    draws = bootstrap(points, law, scheme, draws=2000, seed=0, floor=0.0)
    return intervals(draws, [0, 50], 576).set_index("quantity")


# Percentiles 2.5, 50, 97.5 of alpha, beta, ratio and T*(50), D = 0.
@pytest.mark.parametrize(
    ("scheme", "alpha", "beta", "ratio", "tokens"),
    [
        (
            "cases",
            (0.0686, 0.0710, 0.0735),
            (0.0137, 0.0152, 0.0168),
            (4.23, 4.68, 5.18),
            (11.95, 13.57, 15.47),
        ),
        (
            "residual",
            (0.0682, 0.0710, 0.0735),
            (0.0137, 0.0151, 0.0165),
            (4.29, 4.69, 5.19),
            (11.93, 13.56, 15.22),
        ),
        (
            "wild",
            (0.0688, 0.0709, 0.0733),
            (0.0136, 0.0151, 0.0165),
            (4.29, 4.70, 5.19),
            (11.92, 13.50, 15.20),
        ),
        (
            "sizes",
            (0.0682, 0.0709, 0.0761),
            (0.0131, 0.0151, 0.0177),
            (3.88, 4.74, 5.23),
            (11.81, 13.38, 17.34),
        ),
    ],
)
def test_released_reasoning_scores(scheme, alpha, beta, ratio, tokens):
    found = summary(released("reasoning"), scheme)[["low", "median", "high"]]
    assert found.loc["alpha"].tolist() == pytest.approx(alpha, abs=5e-4)
    assert found.loc["beta"].tolist() == pytest.approx(beta, abs=3e-4)
    assert found.loc["ratio"].tolist() == pytest.approx(ratio, abs=0.08)
    assert found.loc["tokens_at_50"].tolist() == pytest.approx(tokens, abs=0.4)


@pytest.mark.parametrize(("scheme", "share"), [("residual", 0.002), ("sizes", 0.015)])
def test_released_ocr_scores(scheme, share):
    found = summary(released("ocr"), scheme)
    assert found.loc["share_ratio_above_1", "median"] == pytest.approx(share, abs=0.01)
    assert found.loc["tokens_at_50", "median"] == 576  # no finite optimum: all tokens


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_seed_same_draws(scheme):
    points = released("reasoning")
    law = fit_power_law(points)
    one, same, other = (bootstrap(points, law, scheme, draws=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_intervals_cover_a_planted_ratio():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        points = design(0.6, 0.08, 0.02, 0.0)
        points["error"] += rng.normal(0, 0.004, len(points))
        law = fit_power_law(points, floor=0.0)
        draws = bootstrap(points, law, "residual", draws=300, seed=0, floor=0.0)
        low, high = intervals(draws, [], 576).set_index("quantity").loc["ratio", ["low", "high"]]
        covered += low <= 4 <= high
    assert covered >= 34  # 95 % of 40 is 38


def test_a_draw_of_sizes_has_at_least_two():
    points = released("reasoning")
    points = points[points["n_params_b"].isin([0.5, 7])]
    draws = bootstrap(points, fit_power_law(points), "sizes", draws=200, seed=0)
    assert np.isfinite(draws[["alpha", "beta"]]).all().all()
    assert draws["alpha"].nunique() == 1  # with two sizes, every such draw is the data itself
