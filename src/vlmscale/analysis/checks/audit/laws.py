"""Claims on exponents, forms and predictions (sections 3.1 to 3.3, appendix A.2)."""

import numpy as np

from vlmscale.analysis.checks.audit.checks import Measure, over_sizes, proxy, released
from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.laws import grid_search
from vlmscale.analysis.laws.forms import FORMS, compare_forms
from vlmscale.analysis.laws.power_law import fit_power_law, profile_floor
from vlmscale.analysis.laws.standard_errors import count_determined
from vlmscale.analysis.laws.variants import fit_variants


@released("C01", again=True)
def reasoning_alpha(evidence: Evidence) -> Measure:
    rank, sse = grid_search.rank_node(
        evidence.reasoning.points, grid_search.RELEASED, evidence.readings["drawn_law"]
    )
    excess = 100 * (sse / evidence.reasoning.law.sse - 1)
    drawn = evidence.readings["drawn_law"]
    return _exponent(
        evidence.reasoning,
        "alpha",
        f" The curve drawn in Fig 1a has alpha {drawn[1]:.5f} and D {drawn[3]:.4f}: node "
        f"{rank} of the released grid, its sum of squares {excess:.1f} % above the least.",
    )


@released("C02", again=True)
def reasoning_beta(evidence: Evidence) -> Measure:
    drawn = evidence.readings["drawn_law"][2]
    return _exponent(evidence.reasoning, "beta", f" The curve drawn in Fig 1a has {drawn:.5f}.")


@released("C25", again=True)
def ocr_alpha(evidence: Evidence) -> Measure:
    return _exponent(evidence.ocr, "alpha", _without_one(evidence.ocr, "alpha"))


@released("C26", again=True)
def ocr_beta(evidence: Evidence) -> Measure:
    return _exponent(evidence.ocr, "beta", _without_one(evidence.ocr, "beta"))


def _exponent(suite: Suite, name: str, more: str) -> Measure:
    law = suite.law
    at_zero = fit_power_law(suite.points, floor=0.0)
    on_bound = "" if law.floor_bound == "interior" else ", on its bound"
    how = (
        f"Least squares with 0 <= D: D = {law.floor:.3g}{on_bound}. The interval lets D move; "
        f"with D fixed at 0 the estimate is {getattr(at_zero, name):.5f}."
    )
    return over_sizes(getattr(law, name), suite.draws[name].to_numpy(), how + more)


def _without_one(suite: Suite, name: str) -> str:
    law = fit_power_law(suite.points[suite.points["visual_tokens"] > 1])
    return f" Without V = 1, as in Fig 3b: {getattr(law, name):.5f}."


@released("C03", again=True)
@released("C04", again=True)
def ratio(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    table = fit_variants(suite.points).set_index("variant")["ratio"]
    floors = profile_floor(suite.points, np.linspace(0, 0.3, 13))["ratio"]
    drawn = evidence.readings["drawn_law"]
    above = (suite.draws["ratio"] > 5).mean()
    return over_sizes(
        suite.law.ratio,
        suite.draws["ratio"].to_numpy(),
        f"Above 5 in {100 * above:.0f} % of the refits. {floors.min():.3f} to {floors.max():.3f} for D "
        f"fixed from 0 to 0.3; {table['N: all parameters']:.2f} with all parameters as N, "
        f"{table['N: parameters without embeddings']:.2f} without embeddings; {drawn[1] / drawn[2]:.2f} "
        "for the drawn curve.",
    )


@released("C05", again=True)
def form(evidence: Evidence) -> Measure:
    parts = []
    for name, suite in (("reasoning", evidence.reasoning), ("OCR", evidence.ocr)):
        table = compare_forms(suite.points)
        aicc = table.set_index("form")["aicc"]
        parts.append((aicc["product, D"] - aicc.min(), f"{name}: best is {table['form'][0]}"))
    (excess, best), (ocr_excess, ocr_best) = parts
    return Measure(
        float(excess),
        how=f"{len(FORMS)} forms (forms.parquet). {best}, by {excess:.1f}; {ocr_best}, by "
        f"{ocr_excess:.1f}. A difference up to 2 would leave the forms undecided.",
    )


@released("C06", again=True)
def floor(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    profile = profile_floor(suite.points, np.array([0, 1 / 30, 0.1, 0.2, 0.3]))
    steps = ", ".join(
        f"{d:.3g}: {sse:.3e}" for d, sse in profile[["floor", "sse"]].itertuples(index=False)
    )
    at_zero = (suite.draws["floor"] < 1e-6).mean()
    return over_sizes(
        suite.law.floor,
        suite.draws["floor"].to_numpy(),
        f"Sum of squares by D: {steps}. D is on its bound 0 in {100 * at_zero:.0f} % of the refits, and "
        "without the bound there is no finite optimum.",
    )


@released("C07")
def amplitudes(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    return Measure(
        count_determined(suite.points, suite.law),
        how="Only the product of A and B enters, whatever the points; "
        f"it is {suite.law.amplitude:.4f}.",
    )


@released("C08", again=True)
def linear_in_log_tokens(evidence: Evidence) -> Measure:
    points = evidence.reasoning.points
    found = {}
    for n, row in points.groupby("n_params_b"):
        log_v = np.log(row["visual_tokens"])
        found[n] = (
            np.corrcoef(log_v, row["error"])[0, 1] ** 2,
            np.corrcoef(log_v, np.log(row["error"]))[0, 1] ** 2,
        )
    listed = ", ".join(f"{n:g}B {linear:.3f}" for n, (linear, _) in found.items())
    powers = ", ".join(f"{n:g}B {power:.3f}" for n, (_, power) in found.items())
    return Measure(
        float(found[points["n_params_b"].max()][0]),
        how=f"R2 of a straight line in ln V: {listed}. Of ln(error), that is of a power law: {powers}; a "
        "single row cannot tell the two apart.",
    )


@released("C09", again=True)
def compression_costs(evidence: Evidence) -> Measure:
    points = evidence.reasoning.points
    row = points[points["n_params_b"] == 7].sort_values("visual_tokens")
    score = row["score"].to_numpy()
    drops = 100 * (score / score[-1] - 1)
    listed = ", ".join(f"{v}: {d:.1f} %" for v, d in zip(row["visual_tokens"], drops, strict=True))
    return Measure(
        float((np.diff(score) > 0).mean()), how=f"Change of score from 576 tokens: {listed}."
    )


@proxy("C10")
def held_out_7b(evidence: Evidence) -> str:
    suite = evidence.reasoning
    table = compare_forms(suite.points).set_index("form").loc["product, D"]
    counts = np.sort(suite.points["visual_tokens"].unique()).astype(float)
    predicted = suite.law.predict(14.0, counts)
    listed = ", ".join(f"{p:.4f}" for p in predicted)
    return (
        f"No 14B score was released. Predicted errors for V = 1 to 576: {listed}. Stand-in: 7B predicted "
        f"from the smaller sizes is off by {table['mean_percent_largest_size']:.2f} % on average, "
        f"{table['max_percent_largest_size']:.2f} % at most."
    )


@released("C27", again=True)
def ocr_ratio(evidence: Evidence) -> Measure:
    suite = evidence.ocr
    inverse = suite.draws["beta"] / suite.draws["alpha"]
    printed = evidence.readings["ocr_beta_printed"][0] / evidence.readings["ocr_alpha_printed"][0]
    without = fit_power_law(suite.points[suite.points["visual_tokens"] > 1])
    return over_sizes(
        suite.law.beta / suite.law.alpha,
        inverse.to_numpy(),
        f"The printed pair gives {printed:.2f}; without V = 1: {without.beta / without.alpha:.2f}.",
    )


@released("C28", again=True)
def tokens_over_size(evidence: Evidence) -> Measure:
    suite = evidence.ocr
    share = {}
    for name, points in (("OCR", suite.points), ("reasoning", evidence.reasoning.points)):
        table = points.pivot(index="n_params_b", columns="visual_tokens", values="error")
        total = ((table - table.to_numpy().mean()) ** 2).to_numpy().sum()
        by_tokens = len(table) * ((table.mean() - table.to_numpy().mean()) ** 2).sum()
        by_size = table.shape[1] * ((table.mean(axis=1) - table.to_numpy().mean()) ** 2).sum()
        share[name] = f"{name}: tokens {by_tokens / total:.3f}, size {by_size / total:.3f}"
    below = (suite.draws["ratio"] < 1).mean()
    return over_sizes(
        suite.law.ratio,
        suite.draws["ratio"].to_numpy(),
        f"Below 1 in {100 * below:.1f} % of the refits. Shares of the variance: "
        f"{'; '.join(share.values())}.",
    )


@released("C29", again=True)
def ocr_gain_of_size(evidence: Evidence) -> Measure:
    suite = evidence.ocr
    means = suite.points.groupby("n_params_b")["score"].mean()
    at_one = 100 * (suite.score(7, 1) / suite.score(0.5, 1) - 1)
    at_all = 100 * (suite.score(4, 576) / suite.score(0.5, 576) - 1)
    return over_sizes(
        suite.law.alpha,
        suite.draws["alpha"].to_numpy(),
        f"Mean score over the token counts from {means[0.5]:.3f} at 0.5B to {means[7.0]:.3f} at 7B; at "
        f"one token {at_one:+.1f} %; from 0.5B to 4B at 576 tokens {at_all:+.1f} % (7B/576 repeats the "
        "4B value).",
    )
