"""The form that a figure shows beside the law."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from vlmscale.analysis.laws.rivals import CLEARLY, find_rival
from vlmscale.analysis.published import load_published_errors


def make_points(error):
    """Return five sizes at six counts, with 0.2 % of noise."""
    n, v = (axis.ravel() for axis in np.meshgrid([0.5, 1, 2, 4, 8], [1, 4, 16, 36, 144, 576]))
    noise = 1 + 0.002 * np.random.default_rng(3).standard_normal(len(n))
    return pd.DataFrame({"n_params_b": n, "visual_tokens": v, "error": error(n, v) * noise})


def test_finds_the_form_that_made_the_points():
    def error(n, v):
        return expit(0.9 - 0.5 * np.log(n) - 0.3 * np.log(v))

    rival = find_rival(make_points(error))
    assert rival is not None
    assert rival.form.name == "logit-linear"
    assert rival.gain > CLEARLY
    assert rival.parameters == pytest.approx([0.9, 0.5, 0.3], rel=0.05)
    assert rival.predict(3.0, np.array([2.0, 50.0])) == pytest.approx(
        error(3.0, np.array([2.0, 50.0])), rel=0.02
    )


def test_the_law_itself_has_no_rival():
    points = make_points(lambda n, v: 0.6 * n**-0.2 * v**-0.1 + 0.1)
    assert find_rival(points) is None
    assert find_rival(points.head(5)) is None  # AICc needs more points than parameters


def test_the_released_scores_have_one():
    for family, points in load_published_errors().query("benchmark == 'mean'").groupby("family"):
        rival = find_rival(points)
        assert rival is not None, family
        assert rival.form.name == "logit-linear"
