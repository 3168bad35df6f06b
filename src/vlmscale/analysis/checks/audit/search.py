"""Claims on the paper's own search for the law (appendix A.2 and the released code)."""

import numpy as np
from scipy.optimize import least_squares

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.audit.study import SEED
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws import grid_search
from vlmscale.analysis.laws.points import Floats, take_logs


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

    def residual(theta: Floats) -> Floats:
        return np.asarray(theta[0] * np.exp(-theta[1] * log_n - theta[2] * log_v) + theta[3] - y)

    def jacobian(theta: Floats) -> Floats:
        x = np.exp(-theta[1] * log_n - theta[2] * log_v)
        slopes = [x, -theta[0] * x * log_n, -theta[0] * x * log_v, np.ones_like(x)]
        return np.stack(slopes, axis=1)

    rng = np.random.default_rng(SEED)
    high = np.array([2.0, 1.0, 1.0, y.min()])
    box = np.zeros(4), high
    found = [
        least_squares(residual, rng.uniform(0, high), jacobian, bounds=box, x_scale="jac").x[1]
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
