"""Rival forms: the references of the released scores, and recovery of planted ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import V, plant_law, read_scores
from vlmscale.analysis.laws.forms import FORMS, compare_forms
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.variants import fit_variants

# SSE, AICc, leave-one-out RMSE and hold-out (7B) RMSE, found independently of this code.
REASONING = {
    "logit-linear": (2.765e-4, -313.0, 0.00345, 0.00315),
    "log-linear": (2.805e-4, -312.6, 0.00348, 0.00283),
    "log-linear, interaction": (2.570e-4, -312.0, 0.00339, 0.00325),
    "product, interaction": (2.618e-4, -311.5, 0.00338, 0.00184),
    "additive": (3.168e-4, -306.2, 0.00372, 0.00204),
    "product": (3.794e-4, -304.1, 0.00415, 0.00266),
    "product, logs": (3.829e-4, -304.36, 0.00417, 0.00243),
    "additive, D": (3.168e-4, -302.9, 0.00372, 0.00204),
    "product, D": (3.794e-4, -301.1, 0.00415, 0.00266),
}


OCR = {
    "logit-linear": (1.208e-3, -271.7, 0.00760, 0.01060),
    "log-linear": (3.345e-3, -243.2, 0.01268, 0.01055),
    "log-linear, interaction": (2.410e-3, -249.4, 0.01146, 0.01375),
    "product, interaction": (3.596e-3, -238.2, 0.01418, 0.01481),
    "additive": (4.785e-3, -230.2, 0.01522, 0.01206),
    "product": (5.137e-3, -231.2, 0.01585, 0.01324),
    "product, logs": (5.287e-3, -230.4, 0.01614, 0.01348),
    "additive, D": (4.785e-3, -226.9, 0.01522, 0.01206),
    "product, D": (5.137e-3, -228.2, 0.01585, 0.01324),
}


@pytest.mark.parametrize(("family", "reference"), [("reasoning", REASONING), ("ocr", OCR)])
def test_released_scores(family, reference):
    table = compare_forms(read_scores(f"{family}_scores")).set_index("form")
    assert set(table.index) == set(reference)
    assert table["aicc"].is_monotonic_increasing
    for form, (sse, aicc, point, largest) in reference.items():
        row = table.loc[form]
        assert row["sse"] == pytest.approx(sse, rel=1e-3), form
        assert row["aicc"] == pytest.approx(aicc, abs=0.06), form
        assert row["rmse_left_out_point"] == pytest.approx(point, abs=1.1e-5), form
        assert row["rmse_largest_size"] == pytest.approx(largest, abs=1.1e-5), form


def fit_form(name, family):
    (form,) = [form for form in FORMS if form.name == name]
    return form, form.fit(*take_logs(read_scores(f"{family}_scores")))


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("log-linear", "reasoning", (0.59017, 0.03839, 0.00814)),
        ("log-linear", "ocr", (0.91342, 0.02303, 0.03179)),
        ("logit-linear", "reasoning", (0.36452, 0.15523, 0.03292)),
        ("logit-linear", "ocr", (2.15553, 0.14563, 0.20068)),
        ("product, logs", "ocr", (0.9217, 0.02978, 0.04063)),
        ("additive", "reasoning", (0.40128, 0.10106, 0.18851, 0.05007)),
        ("additive", "ocr", (0.11606, 0.21957, 0.79794, 0.04512)),
    ],
)
def test_parameters_of_other_forms(name, family, expected):
    assert fit_form(name, family)[1].tolist() == pytest.approx(expected, rel=1e-3)


def test_a_form_predicts_sizes_that_were_not_fitted():
    form, parameters = fit_form("log-linear", "reasoning")
    expected = [0.4889, 0.4776, 0.4663, 0.4597, 0.4550, 0.4484, 0.4371]
    found = form.predict(parameters, np.log(14.0), np.log(V))
    assert found.tolist() == pytest.approx(expected, abs=6e-5)


PLANTED = {
    "product": (0.5, 0.1, 0.03),
    "product, D": (0.4, 0.2, 0.05, 0.1),
    "product, logs": (0.5, 0.1, 0.03),
    "product, interaction": (0.5, 0.1, 0.03, 0.01),
    "log-linear": (0.6, 0.05, 0.02),
    "log-linear, interaction": (0.6, 0.05, 0.02, 0.003),
    "logit-linear": (0.4, 0.2, 0.1),
    "additive": (0.3, 0.2, 0.3, 0.1),
    "additive, D": (0.2, 0.5, 0.2, 0.3, 0.1),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_planted_form_is_recovered(form):
    planted = np.array(PLANTED[form.name])
    assert len(planted) == len(form.parameters.split())
    log_n, log_t, _ = take_logs(plant_law(0.5, 0.1, 0.1, 0.0))
    y = form.predict(planted, log_n, log_t)
    assert form.fit(log_n, log_t, y) == pytest.approx(planted, rel=2e-3)


# Of each parameter a range in which the form stays within (0, 1) on the design, and is identified.
RANGES = {
    "A": (0.3, 0.45),
    "B": (0.2, 0.4),
    "alpha": (0.05, 0.4),
    "beta": (0.03, 0.3),
    "gamma": (0.0, 0.02),
    "D": (0.0, 0.1),
    "c": (0.5, 0.7),
    "a": (0.01, 0.06),
    "b": (0.005, 0.03),
    "g": (0.0, 0.004),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@settings(max_examples=15)
@given(data=st.data())
def test_any_planted_form_is_recovered(form, data):
    """By its predictions: parameters of additive forms can be soft where the law they draw is not."""
    planted = np.array(
        [data.draw(st.floats(*RANGES[name]), name) for name in form.parameters.split()]
    )
    log_n, log_t, _ = take_logs(plant_law(0.5, 0.1, 0.1, 0.0))
    y = form.predict(planted, log_n, log_t)
    found = form.predict(form.fit(log_n, log_t, y), log_n, log_t)
    assert found == pytest.approx(y, abs=2e-5)


def test_left_out_errors_of_the_reference():
    table = compare_forms(read_scores("reasoning_scores")).set_index("form")
    # leave-one-size-out and leave-one-count-out of the product law, averaged over what is left out
    by_size = np.array([0.00541, 0.00506, 0.00522, 0.00266])
    by_count = np.array([0.00455, 0.00475, 0.00273, 0.00211, 0.00465, 0.00367, 0.00465])
    row = table.loc["product"]
    assert row["rmse_left_out_size"] == pytest.approx(np.sqrt((by_size**2).mean()), rel=5e-3)
    assert row["rmse_left_out_count"] == pytest.approx(np.sqrt((by_count**2).mean()), rel=5e-3)
    percent = row[["mean_percent_largest_size", "max_percent_largest_size"]].tolist()
    assert percent == pytest.approx([0.450, 0.972], abs=1e-3)


def test_a_form_without_a_miss_comes_first():
    table = compare_forms(plant_law(0.5, 0.1, 0.03, 0.0))
    assert table["form"][0].startswith("product")
    assert not table["aicc"].isna().any()


def test_a_small_grid_leaves_predictions_missing():
    points = read_scores("reasoning_scores")
    points = points[points["n_params_b"].isin([0.5, 7])]
    table = compare_forms(points)
    assert table["rmse_largest_size"].isna().all()
    assert table["rmse_left_out_size"].isna().all()
    assert table["rmse_left_out_count"].notna().all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("zeros", [[27], [0], [5, 20, 27]])
def test_an_error_of_zero_leaves_out_what_needs_its_logarithm(zeros):
    points = plant_law(0.6, 0.08, 0.02, 0.0)
    points["error"] += 0.002 * np.cos(np.arange(len(points)))
    points.loc[zeros, "error"] = 0.0
    table = compare_forms(points).set_index("form")
    assert table.index[-1] == "product, logs"
    assert table.loc["product, logs", ["sse", "aicc", "bic"]].isna().all()
    others = table.drop(index="product, logs")
    assert np.isfinite(others[["sse", "aicc", "rmse_left_out_size"]]).all(axis=None)
    # The percentages are of the largest LLM's errors.
    assert others["max_percent_largest_size"].isna().all() == (max(zeros) > 20)
    variants = fit_variants(points)["variant"]
    assert not variants.str.contains("ln|relative").any()
    assert "least squares" in set(variants)


def test_a_form_is_judged_by_the_likelihood_that_it_maximises():
    """Moving the parameters of the fit on ln(error) makes its criterion worse, whichever way."""
    points = read_scores("ocr_scores")
    log_n, log_v, y = take_logs(points)
    (form,) = (form for form in FORMS if form.name == "product, logs")
    best = form.fit(log_n, log_v, y)
    n = len(y)

    def aicc(parameters):
        missed = np.log(form.predict(parameters, log_n, log_v) / y)
        likelihood = -0.5 * n * np.log(np.mean(missed**2)) - np.log(y).sum()
        return -2 * likelihood + 2 * 4 + 2 * 4 * 5 / (n - 5)

    found = compare_forms(points).set_index("form").loc["product, logs", "aicc"]
    assert found == pytest.approx(aicc(best))
    for i in range(3):
        for step in (0.99, 1.01):
            moved = best.copy()
            moved[i] *= step
            assert aicc(moved) > found
