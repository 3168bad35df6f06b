"""Numbers of the released scores, found independently of this code, that no other test holds."""

import numpy as np
import pytest

from tests.unit.analysis.laws.test_power_law import released
from vlmscale.analysis.laws.bootstrap import bootstrap, summarize_draws
from vlmscale.analysis.laws.forms import FORMS
from vlmscale.analysis.laws.frontier import pareto_front
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.costs.flops import prefill_gflops

COUNTS = np.array([1, 4, 16, 36, 64, 144, 576], float)
REASONING, OCR = released("reasoning"), released("ocr")


def fitted(name, points):
    (form,) = [form for form in FORMS if form.name == name]
    parameters = form.fit(*take_logs(points))
    return parameters, lambda n, t: form.predict(parameters, np.log(n), np.log(t))


def test_residuals_of_the_law():
    law = fit_power_law(REASONING)
    residual = REASONING["error"] - law.predict(
        REASONING["n_params_b"].to_numpy(), REASONING["visual_tokens"].to_numpy(float)
    )
    assert np.sqrt((residual**2).mean()) == pytest.approx(0.003681, rel=1e-3)
    assert np.abs(residual).max() == pytest.approx(0.0069, abs=1e-4)


def test_fitted_errors():
    law = fit_power_law(REASONING)
    cells = [(0.5, 1), (0.5, 576), (1.8, 16), (4, 16), (7, 1), (7, 16), (7, 576)]
    n, t = (np.array(axis, float) for axis in zip(*cells, strict=True))
    expected = [0.6205, 0.5638, 0.5434, 0.5135, 0.5146, 0.4935, 0.4675]
    assert law.predict(n, t).tolist() == pytest.approx(expected, abs=6e-5)
    expected = [0.4899, 0.4798, 0.4698, 0.4641, 0.4601, 0.4545, 0.4451]
    assert law.predict(14.0, COUNTS).tolist() == pytest.approx(expected, abs=6e-5)
    _, linear = fitted("log-linear", REASONING)
    expected = [0.4889, 0.4776, 0.4663, 0.4597, 0.4550, 0.4484, 0.4371]
    assert linear(14.0, COUNTS).tolist() == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("form", "points", "expected"),
    [
        ("log-linear", REASONING, (0.59017, 0.03839, 0.00814)),
        ("log-linear", OCR, (0.91342, 0.02303, 0.03179)),
        ("logit-linear", REASONING, (0.36452, 0.15523, 0.03292)),
        ("logit-linear", OCR, (2.15553, 0.14563, 0.20068)),
        ("product, logs", OCR, (0.9217, 0.02978, 0.04063)),
    ],
)
def test_parameters_of_other_forms(form, points, expected):
    assert fitted(form, points)[0].tolist() == pytest.approx(expected, rel=2e-3)


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
    draws = bootstrap(points, law, scheme, draws=2000, seed=0, floor=0.0)
    found = summarize_draws(draws, [], 576).set_index("quantity")[["low", "median", "high"]]
    assert found.loc["alpha"].tolist() == pytest.approx(alpha, abs=5e-4)
    assert found.loc["beta"].tolist() == pytest.approx(beta, abs=3e-4)
    assert found.loc["ratio"].tolist() == pytest.approx(ratio, abs=0.08)


@pytest.mark.parametrize(("scheme", "share"), [("cases", 0.10), ("sizes", 0.23)])
def test_share_of_refits_above_five(scheme, share):
    law = fit_power_law(REASONING, floor=0.0)
    draws = bootstrap(REASONING, law, scheme, draws=2000, seed=0, floor=0.0)
    assert (draws["ratio"] > 5).mean() == pytest.approx(share, abs=0.03)


def test_two_sizes_predict_the_two_larger_ones():
    small = REASONING[REASONING["n_params_b"] < 2]
    large = REASONING[REASONING["n_params_b"] > 2]
    law = fit_power_law(small)
    predicted = law.predict(large["n_params_b"].to_numpy(), large["visual_tokens"].to_numpy(float))
    off = np.abs(predicted / large["error"] - 1)
    assert 100 * off.max() == pytest.approx(2.17, abs=0.01)


def test_errors_along_the_front_of_cached_text():
    cost = prefill_gflops(REASONING["n_params_b"], REASONING["visual_tokens"], 0)
    front = REASONING["error"].to_numpy()[pareto_front(cost, REASONING["error"])]
    expected = [0.6145, 0.5667, 0.5370, 0.5190, 0.5029, 0.4950, 0.4859, 0.4828, 0.4762, 0.4646]
    assert front.tolist() == pytest.approx(expected, abs=1e-9)


def test_front_with_text():
    cost = prefill_gflops(REASONING["n_params_b"], REASONING["visual_tokens"], 50)
    front = REASONING.iloc[pareto_front(cost, REASONING["error"])]
    cells = [f"{n:g}/{v}" for n, v in zip(front["n_params_b"], front["visual_tokens"], strict=True)]
    small = ["0.5/1", "0.5/4", "0.5/16", "0.5/36", "0.5/64", "1.8/1", "1.8/4", "1.8/16", "1.8/36"]
    large = ["4/1", "4/4", "4/16", "4/36", "7/4", "4/64", "7/16", "7/36", "7/64", "7/144", "7/576"]
    assert cells == small + large


def test_slopes_by_size_and_exponents_by_count():
    log_t = np.log(COUNTS)
    slopes = [
        np.polyfit(log_t, row.sort_values("visual_tokens")["error"], 1)[0]
        for _, row in REASONING.groupby("n_params_b")
    ]
    assert slopes == pytest.approx([-0.00769, -0.00713, -0.00940, -0.00832], abs=1e-5)
    exponents = [
        -np.polyfit(np.log(column["n_params_b"]), np.log(column["error"]), 1)[0]
        for _, column in REASONING.groupby("visual_tokens")
    ]
    expected = [0.0643, 0.0694, 0.0684, 0.0712, 0.0749, 0.0732, 0.0776]
    assert exponents == pytest.approx(expected, abs=6e-5)
