"""Claims on exponents, forms and predictions (sections 3.1 to 3.3, appendix A.2)."""

from typing import Any

import numpy as np

from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import hint, released
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws import grid_search
from vlmscale.analysis.laws.forms import FORMS, compare_forms
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law, profile_floor
from vlmscale.analysis.laws.standard_errors import count_determined
from vlmscale.analysis.laws.variants import fit_variants


@released("C01", again=True)
def fit_reasoning_alpha(evidence: Evidence) -> Finding:
    suite, drawn = evidence.reasoning, evidence.readings["drawn_law"]
    rank, sse = grid_search.rank_node(suite.points, grid_search.RELEASED, drawn)
    excess = 100 * (sse / suite.law.sse - 1)
    return _find_exponent(
        suite,
        "alpha",
        f"The curve drawn in Fig 1a has alpha {drawn[1]:.5f} and D {drawn[3]:.4f}: node {rank} of the "
        f"released grid, its sum of squares {excess:.1f} % above the least.",
    )


@released("C02", again=True)
def fit_reasoning_beta(evidence: Evidence) -> Finding:
    drawn = evidence.readings["drawn_law"][2]
    return _find_exponent(evidence.reasoning, "beta", f"The curve drawn in Fig 1a has {drawn:.5f}.")


@released("C25", again=True, name="alpha")
@released("C26", again=True, name="beta")
def fit_ocr_exponent(evidence: Evidence, name: str) -> Finding:
    without = getattr(_fit_without_one(evidence.ocr), name)
    return _find_exponent(evidence.ocr, name, f"Without V = 1, as in Fig 3b: {without:.5f}.")


def _find_exponent(suite: Suite, name: str, more: str) -> Finding:
    at_zero = getattr(fit_power_law(suite.points, floor=0.0), name)
    on_bound = "" if suite.law.floor_bound == "interior" else ", on its bound"
    note = (
        f"Least squares with 0 <= D: D = {suite.law.floor:.3g}{on_bound}. The interval lets D move; with "
        f"D fixed at 0 the estimate is {at_zero:.5f}. {more}"
    )
    return suite.find_parameter(name, note)


def _fit_without_one(suite: Suite) -> PowerLaw:
    """Fit the law as in Fig 3b, which has no point at V = 1."""
    return fit_power_law(suite.points[suite.points["visual_tokens"] > 1])


@released("C03", again=True)
@released("C04", again=True)
def find_ratio(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    table = fit_variants(suite.points).set_index("variant")["ratio"]
    floors = profile_floor(suite.points, np.linspace(0, 0.3, 13))["ratio"]
    drawn = evidence.readings["drawn_law"]
    above = (suite.draws["ratio"] > 5).mean()
    return suite.find_parameter(
        "ratio",
        f"Above 5 in {100 * above:.0f} % of the refits. {floors.min():.3f} to {floors.max():.3f} for D "
        f"fixed from 0 to 0.3; {table['N: all parameters']:.2f} with all parameters as N, "
        f"{table['N: parameters without embeddings']:.2f} without embeddings; {drawn[1] / drawn[2]:.2f} "
        "for the drawn curve.",
    )


@released("C05", again=True)
def rank_forms(evidence: Evidence) -> Finding:
    listed, excess = [], []
    for name, suite in (("reasoning", evidence.reasoning), ("OCR", evidence.ocr)):
        table = compare_forms(suite.points)
        aicc = table.set_index("form")["aicc"]
        excess.append(float(aicc["product, D"] - aicc.min()))
        listed.append(f"{name}: best is {table['form'][0]}, by {excess[-1]:.1f}")
    return Finding(
        excess[0],
        note=f"{len(FORMS)} forms (forms.parquet). {'; '.join(listed)}. A difference up to 2 would leave "
        "the forms undecided.",
    )


@released("C06", again=True)
def fit_floor(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    profile = profile_floor(suite.points, np.array([0, 1 / 30, 0.1, 0.2, 0.3]))
    steps = ", ".join(
        f"{d:.3g}: {sse:.3e}" for d, sse in profile[["floor", "sse"]].itertuples(index=False)
    )
    at_zero = (suite.draws["floor"] < 1e-6).mean()
    return suite.find_parameter(
        "floor",
        f"Sum of squares by D: {steps}. D is on its bound 0 in {100 * at_zero:.0f} % of the refits, and "
        "without the bound there is no finite optimum.",
    )


@released("C07")
def count_constants(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    return Finding(
        count_determined(suite.points, suite.law),
        note="Only the product of A and B enters, whatever the points; "
        f"it is {suite.law.amplitude:.4f}.",
    )


@released("C08", again=True)
def correlate_with_log_tokens(evidence: Evidence) -> Finding:
    points = evidence.reasoning.points
    found: dict[Any, list[float]] = {
        n: [
            np.corrcoef(np.log(row["visual_tokens"]), y)[0, 1] ** 2
            for y in (row["error"], np.log(row["error"]))
        ]
        for n, row in points.groupby("n_params_b")
    }
    listed, powers = (", ".join(f"{n:g}B {r2[i]:.3f}" for n, r2 in found.items()) for i in (0, 1))
    return Finding(
        float(found[points["n_params_b"].max()][0]),
        note=f"R2 of a straight line in ln V: {listed}. Of ln(error), that is of a power law: {powers}; a "
        "single row cannot tell the two apart.",
    )


@released("C09", again=True)
def count_drops(evidence: Evidence) -> Finding:
    points = evidence.reasoning.points
    row = points[points["n_params_b"] == 7].sort_values("visual_tokens")
    score = row["score"].to_numpy()
    drops = 100 * (score / score[-1] - 1)
    listed = ", ".join(f"{v}: {d:.1f} %" for v, d in zip(row["visual_tokens"], drops, strict=True))
    return Finding(
        float((np.diff(score) > 0).mean()), note=f"Change of score from 576 tokens: {listed}."
    )


@hint("C10")
def predict_14b(evidence: Evidence) -> str:
    suite = evidence.reasoning
    table = compare_forms(suite.points).set_index("form").loc["product, D"]
    counts = np.sort(suite.points["visual_tokens"].unique()).astype(float)
    listed = ", ".join(f"{error:.4f}" for error in suite.law.predict(14.0, counts))
    return (
        f"No 14B score was released. Predicted errors for V = 1 to 576: {listed}. Instead: 7B predicted "
        f"from the smaller sizes is off by {table['mean_percent_largest_size']:.2f} % on average, "
        f"{table['max_percent_largest_size']:.2f} % at most."
    )


@released("C27", again=True)
def find_ocr_ratio(evidence: Evidence) -> Finding:
    suite = evidence.ocr
    printed = evidence.readings["ocr_beta_printed"][0] / evidence.readings["ocr_alpha_printed"][0]
    without = _fit_without_one(suite)
    return suite.summarize(
        suite.law.beta / suite.law.alpha,
        (suite.draws["beta"] / suite.draws["alpha"]).to_numpy(),
        f"The printed pair gives {printed:.2f}; without V = 1: {without.beta / without.alpha:.2f}.",
    )


@released("C28", again=True)
def compare_exponents(evidence: Evidence) -> Finding:
    suite = evidence.ocr
    share = {}
    for name, points in (("OCR", suite.points), ("reasoning", evidence.reasoning.points)):
        table = points.pivot(index="n_params_b", columns="visual_tokens", values="error")
        mean = table.to_numpy().mean()
        total = ((table - mean) ** 2).to_numpy().sum()
        by_tokens = len(table) * ((table.mean() - mean) ** 2).sum()
        by_size = table.shape[1] * ((table.mean(axis=1) - mean) ** 2).sum()
        share[name] = f"{name}: tokens {by_tokens / total:.3f}, size {by_size / total:.3f}"
    below = (suite.draws["ratio"] < 1).mean()
    return suite.find_parameter(
        "ratio",
        f"Below 1 in {100 * below:.1f} % of the refits. Shares of the variance: "
        f"{'; '.join(share.values())}.",
    )


@released("C29", again=True)
def find_ocr_gain(evidence: Evidence) -> Finding:
    suite = evidence.ocr
    means = suite.points.groupby("n_params_b")["score"].mean()
    at_one = 100 * (suite.score(7, 1) / suite.score(0.5, 1) - 1)
    at_all = 100 * (suite.score(4, 576) / suite.score(0.5, 576) - 1)
    return suite.find_parameter(
        "alpha",
        f"Mean score over the token counts from {means[0.5]:.3f} at 0.5B to {means[7.0]:.3f} at 7B; at "
        f"one token {at_one:+.1f} %; from 0.5B to 4B at 576 tokens {at_all:+.1f} % (7B/576 repeats the "
        "4B value).",
    )
