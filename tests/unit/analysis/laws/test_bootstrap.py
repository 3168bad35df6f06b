"""Intervals agree with references found independently, and cover a planted truth."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.laws.bootstrap import (
    SAMPLE_SCHEMES,
    Resampling,
    bootstrap,
    bootstrap_samples,
)
from vlmscale.analysis.laws.intervals import summarize_draws
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.errors import UserError

REASONING, OCR = read_scores("reasoning_scores"), read_scores("ocr_scores")


def repeated(points):
    """Three training seeds of every cell, which differ a little."""
    noise = np.random.default_rng(5).normal(0, 0.003, (3, len(points)))
    return pd.concat(
        [points.assign(seed=s, error=points["error"] + noise[s]) for s in range(3)],
        ignore_index=True,
    )


def summary(points, scheme):
    law = fit_power_law(points, floor=0.0)
    draws = bootstrap(points, law, scheme, draws=2000, seed=0)
    return summarize_draws(draws, [0, 50], 576).set_index("quantity")


# Percentiles 2.5, 50, 97.5 of alpha, beta, ratio and V*(50), D = 0.
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
    found = summary(read_scores("reasoning_scores"), scheme)[["low", "median", "high"]]
    assert found.loc["alpha"].tolist() == pytest.approx(alpha, abs=5e-4)
    assert found.loc["beta"].tolist() == pytest.approx(beta, abs=3e-4)
    assert found.loc["ratio"].tolist() == pytest.approx(ratio, abs=0.08)
    assert found.loc["tokens_at_50"].tolist() == pytest.approx(tokens, abs=0.4)


@pytest.mark.parametrize(("scheme", "share"), [("residual", 0.002), ("sizes", 0.015)])
def test_released_ocr_scores(scheme, share):
    found = summary(read_scores("ocr_scores"), scheme)
    assert found.loc["share_ratio_above_1", "median"] == pytest.approx(share, abs=0.01)
    assert found.loc["tokens_at_50", "median"] == 576  # no finite optimum: all tokens


@pytest.mark.parametrize("scheme", get_args(Resampling))
def test_same_seed_same_draws(scheme):
    points = repeated(read_scores("reasoning_scores"))
    law = fit_power_law(points)
    one, same, other = (bootstrap(points, law, scheme, draws=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_intervals_cover_a_planted_ratio():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        points = plant_law(0.6, 0.08, 0.02, 0.0)
        points["error"] += rng.normal(0, 0.004, len(points))
        law = fit_power_law(points, floor=0.0)
        draws = bootstrap(points, law, "residual", draws=300, seed=0)
        low, high = (
            summarize_draws(draws, [], 576).set_index("quantity").loc["ratio", ["low", "high"]]
        )
        covered += low <= 4 <= high
    assert covered >= 34  # 95 % of 40 is 38


def test_a_draw_of_sizes_has_at_least_two():
    points = read_scores("reasoning_scores")
    points = points[points["n_params_b"].isin([0.5, 7])]
    draws = bootstrap(points, fit_power_law(points), "sizes", draws=200, seed=0)
    assert np.isfinite(draws[["alpha", "beta"]]).all().all()
    assert draws["alpha"].nunique() == 1  # with two sizes, every such draw is the data itself


def test_seeds_are_drawn_within_their_cell():
    """Every cell keeps its weight, so cells that do not differ between seeds give no spread."""
    points = pd.concat(
        [read_scores("reasoning_scores").assign(seed=s) for s in range(3)], ignore_index=True
    )
    law = fit_power_law(points)
    draws = bootstrap(points, law, "seeds", draws=100, seed=0)
    assert draws["ratio"].to_numpy() == pytest.approx(law.ratio, rel=1e-6)
    spread = bootstrap(repeated(read_scores("reasoning_scores")), law, "seeds", draws=200, seed=0)[
        "ratio"
    ]
    assert 0.01 < spread.std() < 0.5


def answered(points, benchmarks=3, questions=200, seed=0):
    """Cells with answers to questions, right with the probability that `points` gives, and easier benchmarks."""
    rng = np.random.default_rng(seed)
    cells = points.reset_index(drop=True).assign(cell=[f"c{i}" for i in range(len(points))])
    frames = []
    for b in range(benchmarks):
        luck = rng.uniform(size=questions)  # the same questions are hard for every cell
        for cell, error in zip(cells["cell"], cells["error"], strict=True):
            right = luck > error + 0.05 * (b - 1)
            frames.append(
                pd.DataFrame(
                    {
                        "cell": cell,
                        "benchmark": f"b{b}",
                        "id": np.arange(questions),
                        "score": right.astype(float),
                    }
                )
            )
    samples = pd.concat(frames, ignore_index=True)
    means = samples.groupby(["cell", "benchmark"])["score"].mean().groupby("cell").mean()
    return cells.assign(error=1 - cells["cell"].map(means)), samples


@pytest.mark.parametrize("scheme", SAMPLE_SCHEMES)
def test_resampled_answers_vary_about_the_law(scheme):
    points, samples = answered(plant_law(0.6, 0.3, 0.1, 0.0))
    law = fit_power_law(points)
    draws, same, other = (
        bootstrap_samples(points, samples, scheme, draws=300, seed=seed) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(draws, same)
    assert not draws.equals(other)
    low, high = draws["alpha"].quantile([0.025, 0.975])
    assert low < law.alpha < high


def test_the_questions_scheme_is_the_plain_computation():
    """One draw by hand: the same resample of each benchmark for every cell, averaged, refitted."""
    points, samples = answered(plant_law(0.6, 0.3, 0.1, 0.0), questions=50)
    rng = np.random.default_rng(3)
    means = []
    for _, answers in samples.groupby("benchmark"):
        counts = rng.multinomial(50, np.full(50, 1 / 50), size=1)[0]
        chosen = np.repeat(np.arange(50), counts)
        table = answers.pivot(index="id", columns="cell", values="score")[points["cell"]]
        means.append(table.loc[chosen].mean().to_numpy())
    law = fit_power_law(points.assign(error=1 - np.mean(means, axis=0)))
    drawn = bootstrap_samples(points, samples, "questions", draws=1, seed=3).iloc[0]
    assert (drawn["alpha"], drawn["beta"]) == pytest.approx((law.alpha, law.beta), rel=1e-5)


@pytest.mark.parametrize("scheme", SAMPLE_SCHEMES)
def test_draws_lie_around_errors_that_are_no_means_of_answers(scheme):
    """As those of a metric on another scale than the share of right answers."""
    points, samples = answered(plant_law(0.6, 0.3, 0.1, 0.0))
    moved = points.assign(error=points["error"] + 0.1)
    raised = samples.assign(score=samples["score"] - 0.1)
    expected, draws = (
        bootstrap_samples(moved, given, scheme, draws=50, seed=0) for given in (raised, samples)
    )
    pd.testing.assert_frame_equal(draws, expected, rtol=1e-6)


def test_more_questions_narrow_the_interval():
    widths = []
    for questions in (50, 2000):
        points, samples = answered(plant_law(0.6, 0.3, 0.1, 0.0), questions=questions)
        draws = bootstrap_samples(points, samples, "questions", draws=200, seed=0)
        widths.append(np.subtract(*draws["alpha"].quantile([0.975, 0.025])))
    assert widths[1] < widths[0] / 2


def test_a_cell_without_some_answers_is_named():
    points, samples = answered(plant_law(0.6, 0.3, 0.1, 0.0))
    missing = samples.drop(samples[(samples["cell"] == "c3") & (samples["id"] == 7)].index)
    with pytest.raises(UserError, match="samples of b0: cell c3 lacks questions"):
        bootstrap_samples(points, missing, "questions", draws=2, seed=0)


def test_the_floor_stays_at_zero_where_resampled_errors_fall_below():
    points = plant_law(0.012, 0.05, 0.02, 0.0)
    points["error"] += np.random.default_rng(0).normal(0, 0.002, len(points))
    points["error"] = points["error"].clip(1e-4)
    law = fit_power_law(points)
    for scheme in ("residual", "wild"):
        assert (bootstrap(points, law, scheme, draws=300, seed=0)["floor"] >= 0).all()


# Percentiles 2.5, 50, 97.5 of alpha, beta, ratio, D = 0.
@pytest.mark.parametrize(
    ("points", "scheme", "alpha", "beta", "ratio"),
    [
        (OCR, "cases", (0.0212, 0.0282, 0.0362), (0.0354, 0.0397, 0.0443), (0.540, 0.717, 0.873)),
        (
            OCR,
            "residual",
            (0.0217, 0.0283, 0.0347),
            (0.0359, 0.0394, 0.0427),
            (0.542, 0.717, 0.901),
        ),
        (OCR, "sizes", (0.0145, 0.0283, 0.0418), (0.0341, 0.0394, 0.0436), (0.333, 0.736, 0.991)),
        (
            OCR[OCR["visual_tokens"] >= 4],
            "cases",
            (0.0246, 0.0304, 0.0376),
            (0.0403, 0.0450, 0.0497),
            (0.529, 0.681, 0.811),
        ),
    ],
)
def test_intervals_of_ocr(points, scheme, alpha, beta, ratio):
    law = fit_power_law(points, floor=0.0)
    draws = bootstrap(points, law, scheme, draws=2000, seed=0)
    found = summarize_draws(draws, [], 576).set_index("quantity")[["low", "median", "high"]]
    assert found.loc["alpha"].tolist() == pytest.approx(alpha, abs=5e-4)
    assert found.loc["beta"].tolist() == pytest.approx(beta, abs=3e-4)
    assert found.loc["ratio"].tolist() == pytest.approx(ratio, abs=0.08)


@pytest.mark.parametrize(("scheme", "share"), [("cases", 0.10), ("sizes", 0.23)])
def test_share_of_refits_above_five(scheme, share):
    law = fit_power_law(REASONING, floor=0.0)
    draws = bootstrap(REASONING, law, scheme, draws=2000, seed=0)
    assert (draws["ratio"] > 5).mean() == pytest.approx(share, abs=0.03)
