"""Claims on exponents, forms and the search for them (sections 3.1 to 3.3, appendix A.2, code)."""

from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.special import fdtrc

from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.audit.study import SEED
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws import grid_search
from vlmscale.analysis.laws.forms import FORMS, compare_forms
from vlmscale.analysis.laws.least_squares import solve_linear_part
from vlmscale.analysis.laws.points import Floats, take_logs
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law, profile_floor
from vlmscale.analysis.laws.standard_errors import count_determined
from vlmscale.analysis.laws.variants import fit_variants


@released("C01", again=True)
def fit_reasoning_alpha(evidence: Evidence) -> Finding:
    suite, drawn = evidence.reasoning, evidence.readings["drawn_law"]
    rank, sse = grid_search.rank_node(suite.points, grid_search.RELEASED, drawn)
    excess = 100 * (sse / suite.law.sse - 1)
    return _find_exponent(
        evidence,
        suite,
        "alpha",
        f"The curve drawn in Fig 1a has alpha {drawn[1]:.5f} and D {drawn[3]:.4f}: node {rank} of the "
        f"released grid, its sum of squares {excess:.1f} % above the least.",
    )


@released("C02", again=True)
def fit_reasoning_beta(evidence: Evidence) -> Finding:
    drawn = evidence.readings["drawn_law"][2]
    note = f"The curve drawn in Fig 1a has {drawn:.5f}."
    return _find_exponent(evidence, evidence.reasoning, "beta", note)


@released("C25", again=True, name="alpha")
@released("C26", again=True, name="beta")
def fit_ocr_exponent(evidence: Evidence, name: str) -> Finding:
    without = getattr(_fit_without_one(evidence.ocr), name)
    note = f"Without V = 1, as in Fig 3b: {without:.5f}."
    return _find_exponent(evidence, evidence.ocr, name, note)


def _find_exponent(evidence: Evidence, suite: Suite, name: str, more: str) -> Finding:
    at_zero = getattr(fit_power_law(suite.points, floor=0.0), name)
    on_bound = "" if suite.law.floor_bound == "interior" else ", on its bound"
    note = (
        f"Least squares with 0 <= D: D = {suite.law.floor:.3g}{on_bound}. The interval lets D move; with "
        f"D fixed at 0 the estimate is {at_zero:.5f}. {more} {_test_printed(evidence, suite)}"
    )
    return suite.find_parameter(name, note)


def _test_printed(evidence: Evidence, suite: Suite) -> str:
    """Say how well the printed exponents fit, with the best A and D for them."""
    family = "ocr" if suite is evidence.ocr else "reasoning"
    alpha, beta = (evidence.readings[f"{family}_{name}_printed"][0] for name in ("alpha", "beta"))
    log_n, log_v, y = take_logs(suite.points)
    x = np.exp(-alpha * log_n - beta * log_v)[None]
    bounds = np.zeros((1, 1)), np.full((1, 1), y.min())
    _, floor, sse = solve_linear_part(x, y[None], np.ones_like(x), *bounds)
    df = len(y) - 4
    f = (sse.item() / suite.law.sse - 1) * df / 2
    return (
        f"The printed pair, {alpha:g} and {beta:g}, fits best with D = {floor.item():.3f}: F(2, {df}) "
        f"{f:.2f}, p {fdtrc(2, df, f):.2g}."
    )


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
        f"Above 5 in {100 * above:.0f} % of the draws. {floors.min():.3f} to {floors.max():.3f} for D "
        f"fixed from 0 to 0.3; {table['N: all parameters']:.2f} with all parameters as N, "
        f"{table['N: parameters without embeddings']:.2f} without embeddings; {drawn[1] / drawn[2]:.2f} "
        "for the drawn curve.",
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
        f"Sum of squares by D: {steps}. D is on its bound 0 in {100 * at_zero:.0f} % of the draws, and "
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


def hint_at_14b(evidence: Evidence) -> str:
    """Say what the released numbers suggest about C10, which needs a study."""
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
    low, high = suite.intervals["ratio"]
    return suite.report(
        suite.law.beta / suite.law.alpha,
        (1 / high, 1 / low if low > 0 else np.inf),
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
        f"Below 1 in {100 * below:.1f} % of the draws. Shares of the variance: "
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


@released("C33")
def compare_ranges(evidence: Evidence) -> Finding:
    exponents = evidence.readings["appendix_exponent_bounds"]
    others = evidence.readings["appendix_amplitude_bounds"]
    printed = {"amplitude": others, "alpha": exponents, "beta": exponents, "floor": others}
    code = {
        name: tuple(evidence.readings[f"code_{name}_grid"][:2])
        for name in ("amplitude", "alpha", "beta", "floor")
    }
    same = sum(code[name] == bounds for name, bounds in printed.items())
    listed = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in code.items())
    found = grid_search.grid_search(evidence.ocr.points, grid_search.RELEASED)
    edges = [name for name, edge in found.edges.items() if edge != "interior"]
    excess = 100 * (found.sse / evidence.ocr.law.sse - 1)
    return Finding(
        same,
        note=f"The code searches {listed}. In these ranges the best node for OCR lies on the edge of "
        f"{', '.join(edges)}, its sum of squares {excess:.0f} % above the least.",
    )


@released("C34")
def restart_solver(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    log_n, log_v, y = take_logs(suite.points)

    (form,) = (form for form in FORMS if form.name == "product, D")

    def jacobian(theta: Floats) -> Floats:
        x = np.exp(-theta[1] * log_n - theta[2] * log_v)
        slopes = [x, -theta[0] * x * log_n, -theta[0] * x * log_v, np.ones_like(x)]
        return np.stack(slopes, axis=1)

    rng = np.random.default_rng(SEED)
    high = np.array([2.0, 1.0, 1.0, y.min()])
    box = np.zeros(4), high
    found = [
        least_squares(
            lambda theta: form.predict(theta, log_n, log_v) - y,
            rng.uniform(0, high),
            jacobian,
            bounds=box,
            x_scale="jac",
        ).x[1]
        for _ in range(200)
    ]
    solver = _find_spread(np.array(found), np.full(len(found), 1 / len(found)))
    outcomes = evidence.search_outcomes
    searched = _find_spread(outcomes["alpha"].to_numpy(), outcomes["probability"].to_numpy())
    return Finding(
        solver[1] - solver[0],
        note=f"SciPy's bounded least squares: {solver[0]:.6f} to {solver[1]:.6f}. The released search, "
        f"which visits a random fifth of its grid: {searched[0]:.4f} to {searched[1]:.4f} over seeds. "
        "Without bounds D has no finite optimum.",
    )


def _find_spread(values: Floats, probability: Floats) -> tuple[float, float]:
    """Return the 5 % and the 95 % quantile."""
    order = np.argsort(values)
    reached = np.cumsum(probability[order]) / probability.sum()
    low, high = (values[order][np.searchsorted(reached, level)] for level in (0.05, 0.95))
    return float(low), float(high)


@released("C35")
def rank_drawn_node(evidence: Evidence) -> Finding:
    points, ranges = evidence.reasoning.points, grid_search.RELEASED
    rank, sse = grid_search.rank_node(points, ranges, evidence.readings["drawn_law"])
    best = grid_search.grid_search(points, ranges)
    probability = evidence.search_outcomes["probability"]
    reached = probability.iloc[rank - 1] if rank <= len(probability) else 0.0
    return Finding(
        rank,
        note=f"Sum of squares {sse:.3e}; the best of {best.nodes:,} nodes has {best.sse:.3e} at alpha "
        f"{best.alpha:.5f}, beta {best.beta:.5f}. A random fifth of the grid ends at the drawn node with "
        f"probability {reached:.2f}.",
    )
