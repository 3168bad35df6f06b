"""What a design will show, by simulation: widths of the main scheme's intervals, and decisions by them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri

from vlmscale.analysis.decisions.designs import Design, World, check_world
from vlmscale.analysis.laws.hierarchical import draw_measurements
from vlmscale.analysis.laws.intervals import find_ends, find_intervals, find_token_ends
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws

Booleans = NDArray[np.bool_]
QUANTITIES = ("alpha", "beta", "difference", "ratio", "tokens", "error")
# Decision -> what an interval (quantity, low, high) must be for it.
DECISIONS: dict[str, tuple[str, Callable[[Floats, Floats, float], Booleans]]] = {
    "alpha > beta": ("difference", lambda low, high, most: low > 0),
    "alpha < beta": ("difference", lambda low, high, most: high < 0),
    "alpha > 0": ("alpha", lambda low, high, most: low > 0),
    "beta > 0": ("beta", lambda low, high, most: low > 0),
    "V* between 1 and all": ("tokens", lambda low, high, most: (low > 1) & (high < most)),
    "V* within a factor of 3": ("tokens", lambda low, high, most: high <= 3 * low),
}
_LEVEL = 0.95


def simulate_errors(cells: pd.DataFrame, world: World, rng: np.random.Generator) -> Floats:
    """Draw the error of each training, (cells,), with an offset and a slope of its LLM, within [0, 1].

    cells: columns llm, n_params_b, visual_tokens. Slopes are about the mean of ln V of all cells.
    """
    v = np.log(cells["visual_tokens"].to_numpy(float))
    llm, names = pd.factorize(cells["llm"])
    own = rng.standard_normal((2, len(names)))[:, llm]
    moved = world.offset * own[0] + world.slope * own[1] * (v - v.mean())
    error = world.predict(cells) + moved + world.noise * rng.standard_normal(len(cells))
    return np.asarray(error.clip(0, 1))


def simulate_power(
    design: Design,
    world: World,
    *,
    simulations: int,
    seed: int,
    draws: int = 1000,
    text_tokens: int = 50,
    new_cell: tuple[float, int] = (14.0, 16),
    most: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Simulate studies of a design and fit each by the main scheme.

    new_cell: (N, V) of an LLM outside the design, for the quantity `error`: what a training of it would
    show. most: largest V*, by default the design's largest V. advance: called after each study. Returns
    columns simulation, quantity (QUANTITIES), low, high, value (the truth; for `error` what was measured).
    Raises UserError for a design that determines no law, or a law that leaves [0, 1].
    """
    cells = design.list_cells()
    outside = pd.DataFrame({"llm": [""], "n_params_b": new_cell[0], "visual_tokens": new_cell[1]})
    everything = pd.concat([cells, outside], ignore_index=True)
    check_world(world, everything)
    largest = max(design.token_counts) if most is None else most
    ratio = world.alpha / world.beta if world.beta > 0 else np.inf
    truth = {
        **{"alpha": world.alpha, "beta": world.beta, "difference": world.alpha - world.beta},
        "ratio": ratio,
        "tokens": float(optimal_tokens(ratio, text_tokens, low=1, high=largest)),
    }
    rows = []
    for number in range(simulations):
        error = simulate_errors(everything, world, np.random.default_rng([seed, number]))
        points = cells.assign(error=error[:-1])
        scheme = choose_scheme(points)
        laws = draw_laws(points, fit_power_law(points), scheme, draws=draws, seed=number)
        found = find_intervals(laws)
        shown = draw_measurements(laws, outside, seed=number)[:, 0]
        ends = {
            **{name: found[name] for name in QUANTITIES[:4]},
            "tokens": find_token_ends(found["ratio"], text_tokens, largest),
            "error": find_ends(shown),
        }
        rows += [
            (number, name, *ends[name], value)
            for name, value in {**truth, "error": float(error[-1])}.items()
        ]
        advance()
    return pd.DataFrame(rows, columns=["simulation", "quantity", "low", "high", "value"])


def summarize_widths(simulated: pd.DataFrame) -> pd.DataFrame:
    """Return the median width of each quantity's interval and how often it holds the truth.

    simulated: of simulate_power. Columns quantity, value (the truth's median), width, width_low,
    width_high, covered, covered_low, covered_high; _low and _high: 95 % intervals of what more simulations
    would give.
    """
    rows = []
    for name, mine in simulated.groupby("quantity", sort=False):
        width = np.sort((mine["high"] - mine["low"]).to_numpy(float))
        first, last = _median_ranks(len(width))
        value = mine["value"].to_numpy(float)
        # V* and rounded errors are known to so much.
        inside = (mine["low"] <= value + 1e-9) & (mine["high"] >= value - 1e-9)
        rows.append(
            {
                "quantity": name,
                "value": float(np.median(value)),
                "width": float(np.quantile(width, 0.5, method="closest_observation")),
                "width_low": float(width[first]),
                "width_high": float(width[last]),
                **_share("covered", inside.to_numpy(bool)),
            }
        )
    return pd.DataFrame(rows)


def summarize_decisions(simulated: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the probability of each of DECISIONS with its 95 % interval of Monte-Carlo error.

    most: the largest V*. Columns decision, probability, probability_low, probability_high.
    """
    by_name = dict(iter(simulated.groupby("quantity")))
    return pd.DataFrame(
        [
            {
                "decision": decision,
                **_share(
                    "probability",
                    reached(
                        by_name[quantity]["low"].to_numpy(float),
                        by_name[quantity]["high"].to_numpy(float),
                        float(most),
                    ),
                ),
            }
            for decision, (quantity, reached) in DECISIONS.items()
        ]
    )


def _share(name: str, held: Booleans) -> dict[str, float]:
    """Return a share with Wilson's interval."""
    n, share, z = len(held), float(held.mean()), float(ndtri((1 + _LEVEL) / 2))
    middle = share + z**2 / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + side * reach) / (1 + z**2 / n) for side in (-1, 1))
    return {name: share, f"{name}_low": max(low, 0.0), f"{name}_high": min(high, 1.0)}


def _median_ranks(count: int) -> tuple[int, int]:
    """Return places of the sorted values between which their population's median lies, in 95 %."""
    # The number of widths below it is binomial.
    below = bdtr(np.arange(count + 1, dtype=float), count, 0.5)
    first = int(np.searchsorted(below, (1 - _LEVEL) / 2))
    return max(first - 1, 0), min(count - first, count - 1)
