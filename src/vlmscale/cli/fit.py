"""Fit the law to a user's table, with everything that belongs beside its exponents."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.forms import compare_forms
from vlmscale.analysis.laws.grid_search import APPENDIX, RELEASED, GridFit, grid_search
from vlmscale.analysis.laws.intervals import describe_bounds, describe_outside, summarize_draws
from vlmscale.analysis.laws.optimum import flat_range, optimal_tokens
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law, fit_relative
from vlmscale.analysis.laws.robust import fit_robust
from vlmscale.analysis.laws.schemes import draw_laws, find_main_scheme, list_schemes
from vlmscale.analysis.laws.standard_errors import count_determined, delta_method
from vlmscale.analysis.laws.tables import describe_fit
from vlmscale.cli.output import Report, status
from vlmscale.cli.points import read_points, size_axis
from vlmscale.errors import UsageError, UserError, refuse_infinite

FLAT = 0.01  # of the error: what counts as about as good as the best token count
SYMBOLS = {"amplitude": "A", "floor": "D", "ratio": "alpha / beta"}
_MOST_OF_FORMS = (
    200  # points: each form is refitted without each of them, which takes half a minute
)
_EXPONENTS = {"alpha_bound": "alpha", "beta_bound": "beta"}


@dataclass(frozen=True)
class Choices:
    """How to fit; the command's defaults are the paper's law by least squares."""

    floor: float | None
    loss: Literal["squares", "huber", "absolute"]
    delta: float
    weights: Literal["equal", "relative"]
    search: Literal["least-squares", "released-grid", "appendix-grid"]
    share: float
    seed: int
    draws: int

    def __post_init__(self) -> None:
        refuse_infinite(vars(self))
        if self.delta != 1e-3 and self.loss != "huber":
            raise UsageError("--delta is for --loss huber")
        if self.share != 1 and self.search == "least-squares":
            raise UsageError("--share is for --search on a grid")
        if self.loss != "squares" and self.weights != "equal":
            raise UsageError("--weights relative is for --loss squares; other losses are relative")
        changed = self.floor is not None or (self.loss, self.weights) != ("squares", "equal")
        if self.search != "least-squares" and changed:
            raise UsageError(
                "--search on a grid has its own D and unweighted squares; leave out --floor, --loss "
                "and --weights"
            )

    @property
    def is_plain(self) -> bool:
        """Whether this is unweighted least squares, as in refits and standard errors."""
        return (self.search, self.loss, self.weights) == ("least-squares", "squares", "equal")


def fit_file(
    path: Path, choices: Choices, *, methods: Sequence[str], text_tokens: Sequence[int]
) -> Report:
    """Fit one law for each family of read_points."""
    fits = []
    for family, points in read_points(path, methods).items():
        if choices.floor is not None and choices.floor > points["error"].min():
            raise UserError(
                f"{path}: --floor {choices.floor:g} is above the smallest error, "
                f"{points['error'].min():g}; give a floor D that no error is below"
            )
        fit = {"family": family or None, **_fit(points, choices, text_tokens)}
        if not methods and "method" in points and points["method"].nunique() > 1:
            together = ", ".join(sorted(points["method"].astype(str).unique()))
            fit["notes"].append(f"One law for {together} together; choose with --methods.")
        fits.append(fit)
    return {"file": str(path), "choices": asdict(choices), "fits": fits}


def _fit(points: pd.DataFrame, choices: Choices, text_tokens: Sequence[int]) -> Report:
    report: Report = {
        "points": len(points),
        "sizes": sorted(points["n_params_b"].unique()),
        "token_counts": sorted(points["visual_tokens"].unique()),
        "size_axis": size_axis(points),
        "notes": [],
    }
    notes: list[str] = report["notes"]
    if choices.search != "least-squares":
        ranges = RELEASED if choices.search == "released-grid" else APPENDIX
        with status("searching the grid"):
            found = grid_search(points, ranges, share=choices.share, seed=choices.seed)
        law = {**asdict(found), "ratio": found.alpha / found.beta if found.beta > 0 else np.inf}
        notes += _grid_notes(found, fit_power_law(points))
    else:
        fitted = _law(points, choices)
        law = describe_fit(fitted, points)
        notes += _bound_notes({**law, "smallest_error": points["error"].min()})
        if count_determined(points, fitted) < 4:
            notes.append("These points do not determine A, alpha, beta and D separately.")
    report["law"] = law
    report["standard_errors"] = None
    spread: dict[str, pd.DataFrame] = {}  # intervals by scheme
    most = int(points["visual_tokens"].max())
    if len(points) == 4:
        notes.append("Four points leave no residuals: no uncertainty of the four parameters.")
    elif choices.is_plain:
        report["standard_errors"] = _standard_errors(points, fitted)
        for scheme in list_schemes(points) if choices.draws else ():
            with status(f"drawing {choices.draws} laws: {scheme}"):
                laws = draw_laws(points, fitted, scheme, draws=choices.draws, seed=choices.seed)
            spread[scheme] = summarize_draws(laws, text_tokens, most)
    else:
        notes.append("Standard errors and intervals are given for unweighted least squares only.")
    report["intervals"] = [
        {"scheme": scheme, **row} for scheme in spread for row in spread[scheme].to_dict("records")
    ]
    if "hierarchical" in spread:
        notes += describe_bounds(spread["hierarchical"])
        estimates = {name: law[name] for name in ("alpha", "beta", "ratio", "floor")}
        if outside := describe_outside(estimates, spread["hierarchical"]):
            notes.append(f"{outside[0].upper()}{outside[1:]}: trust the interval.")
    report["optimal_tokens"] = [_optimum(law, q, most, spread) for q in text_tokens]
    report["forms"] = None
    if len(points) <= _MOST_OF_FORMS:
        with status("comparing forms"):
            report["forms"] = compare_forms(points)
    else:
        notes.append(f"Rival forms are compared for up to {_MOST_OF_FORMS} points.")
    return report


def _law(points: pd.DataFrame, choices: Choices) -> PowerLaw:
    if choices.loss != "squares":
        return fit_robust(points, loss=choices.loss, delta=choices.delta, floor=choices.floor)
    fit = fit_relative if choices.weights == "relative" else fit_power_law
    return fit(points, floor=choices.floor)


def _standard_errors(points: pd.DataFrame, law: PowerLaw) -> pd.DataFrame | None:
    """Apply the delta method; None where an exponent is at a bound or two act as one."""
    if law.exponent_bounds != ("interior", "interior"):
        return None
    try:
        return delta_method(points, law)
    except np.linalg.LinAlgError:
        return None


def _optimum(law: Report, text_tokens: int, most: int, spread: dict[str, pd.DataFrame]) -> Report:
    """Return V* with its interval by the main scheme."""
    scheme = find_main_scheme(spread) if spread else None
    low = high = None
    if scheme is not None and text_tokens > 0:
        row = spread[scheme].set_index("quantity").loc[f"tokens_at_{text_tokens}"]
        low, high = row["low"], row["high"]
    best = optimal_tokens(law["ratio"], text_tokens, low=1, high=most).item()
    flat = flat_range(law["alpha"], law["beta"], text_tokens, FLAT, low=1, high=most)
    return {
        "text_tokens": text_tokens,
        "tokens": best,
        "low": low,
        "high": high,
        "interval_scheme": scheme,
        "flat_low": flat[0],
        "flat_high": flat[1],
    }


def _bound_notes(law: Report) -> list[str]:
    where = {
        "interior": f"D = {law['floor']:.4g} lies within its bounds.",
        "lower": "D lies at its lower bound, 0.",
        "upper": f"D lies at its upper bound, the smallest error, {law['floor']:.4g}.",
        "fixed": f"D was fixed at {law['floor']:g}.",
    }
    notes = [where[law["floor_bound"]]]
    notes[0] += " alpha and beta hold for this D only, their ratio hardly depends on it."
    notes += [
        f"{name} lies at its {law[key]} bound, {law[name]:g}."
        for key, name in _EXPONENTS.items()
        if law[key] != "interior"
    ]
    if law["smallest_error"] == 0 and law["floor_bound"] != "fixed":
        notes.append("The smallest error is exactly 0, so that D can be nothing but 0.")
    if not law["converged"]:
        notes.append("The fit has not converged: do not use its numbers.")
    return notes


def _grid_notes(found: GridFit, least_squares: PowerLaw) -> list[str]:
    notes = [f"The best of {found.nodes:,} nodes of the grid."]
    if least_squares.sse > 0:
        excess = found.sse / least_squares.sse - 1
        notes[0] += f" Its sum of squares is {excess:.1%} above that of least squares."
    notes += [
        f"{SYMBOLS.get(name, name)} lies on the {edge} edge of the grid."
        for name, edge in found.edges.items()
        if edge != "interior"
    ]
    return notes
