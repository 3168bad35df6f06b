"""Variants of the law agree with references found independently."""

import pytest

from tests.support.laws import read_scores
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.variants import fit_variants

POINTS = read_scores("reasoning_scores")
LAW = fit_power_law(POINTS)


def test_variants_of_the_released_scores():
    sizes = {0.5: (0.4640, 0.3084), 1.8: (1.8368, 1.2145), 4: (3.9504, 3.1725), 7: (7.7213, 6.4767)}
    points = POINTS.assign(
        total_b=[sizes[n][0] for n in POINTS["n_params_b"]],
        non_embedding_b=[sizes[n][1] for n in POINTS["n_params_b"]],
    )
    table = fit_variants(points).set_index("variant")
    columns = ["alpha", "ratio", "sse"]
    found = table.loc["N: parameters without embeddings", columns].tolist()
    assert found == pytest.approx((0.06191, 4.100, 3.943e-4), rel=5e-4)
    found = table.loc["N: all parameters", columns].tolist()
    assert found == pytest.approx((0.06726, 4.453, 4.486e-4), rel=5e-4)
    logarithms = table.loc["least squares on ln(error), D = 0", ["amplitude", *columns]].tolist()
    assert logarithms == pytest.approx((0.5915, 0.07128, 4.633, 3.829e-4), rel=5e-4)
    assert table.loc["without V = 1", "points"] == 24
    assert table.loc["without 7B", "points"] == 21


def test_variants_of_a_small_study_leave_out_what_cannot_be_fitted():
    points = POINTS[POINTS["n_params_b"].isin([0.5, 7]) & POINTS["visual_tokens"].isin([1, 16])]
    names = set(fit_variants(points)["variant"])
    assert "least squares" in names
    assert not names & {"without 7B", "without V = 1"}
