"""Hypotheses on a law: H1 to H4 and H8."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import (
    INTERVAL,
    Claim,
    Finding,
    has_sign,
    is_above_zero,
    is_at_most,
    is_surely_above_zero,
)
from vlmscale.analysis.checks.hypotheses.results import Results
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.bootstrap import Scheme, choose_scheme
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import list_suites, read_law, select_family_means
from vlmscale.errors import UserError
from vlmscale.study.selection import Selection, Series

TOLERATED = 0.10  # of the measured error: a law that misses by more cannot choose between cells


@dataclass(frozen=True)
class _Law:
    """One law with its refits and cells."""

    fit: Mapping[Any, Any]  # its row of tabulate_laws
    draws: pd.DataFrame  # of the main scheme
    scheme: Scheme
    points: pd.DataFrame  # family means that it was fitted on
    held_out: pd.DataFrame  # and those that it was not
    forms: pd.DataFrame  # by form
    text_tokens: Sequence[int]

    @property
    def resampled(self) -> str:
        """What its draws resample, in words."""
        return "resampled are " + ("whole LLM sizes" if self.scheme == "sizes" else "points")


def check_laws(
    results: Results, series: Series, text_tokens: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Check H1 to H4 and H8 on each law: H1 and H4 are about reasoning, H2 is about ocr."""
    errors = select_family_means(results.errors)
    for claim, only in _CLAIMS:
        for name, selection in series.items():
            for family in [only] if only else list_suites(errors):
                law = _gather(results, errors, name, selection, family, text_tokens)
                about = {"series": name, "budget": selection.budget, "family": family}
                if law is None:
                    yield claim.skip(f"the study has no cells for a law of {family}", **about)
                else:
                    yield claim.check(law, **about)


def _gather(
    results: Results,
    errors: pd.DataFrame,
    series: str,
    selection: Selection,
    family: str,
    text_tokens: Sequence[int],
) -> _Law | None:
    """Collect the tables of one law; return None where it has no fitted cells."""
    mine = (errors["budget"] == selection.budget) & (errors["family"] == family)
    cells = errors[mine & errors["method"].isin(selection.methods)]
    points = cells[cells["role"] == "fit"]
    if points.empty:
        return None
    laws, draws, forms = (
        table[(table["series"] == series) & (table["family"] == family)]
        for table in (results.laws, results.draws, results.forms)
    )
    scheme = choose_scheme(points)
    draws = draws[draws["scheme"] == scheme]
    if len(laws) != 1 or draws.empty or forms.empty:
        raise UserError(
            f"law {series}, {family}: there are {len(laws)} rows of it in table laws (needed: 1), "
            f"{len(draws)} by scheme {scheme} in draws and {len(forms)} in forms (needed: some); fit again"
        )
    return _Law(
        fit=laws.iloc[0].to_dict(),
        draws=draws,
        scheme=scheme,
        points=points,
        held_out=cells[cells["role"] == "holdout"],
        forms=forms.set_index("form"),
        text_tokens=text_tokens,
    )


def _exceeds(first: str, second: str) -> Callable[[_Law], Finding]:
    """Return a decision by exponent `first` less `second`."""

    def decide(law: _Law) -> Finding:
        low, high = np.quantile(law.draws[first] - law.draws[second], INTERVAL)
        bounds = [
            f"{name} is on its bound"
            for name in ("alpha", "beta")
            if law.fit[f"{name}_bound"] != "interior"
        ]
        note = "; ".join([law.resampled, *bounds])
        return Finding(law.fit[first] - law.fit[second], low, high, note=note)

    return decide


def _predicts_held_out(law: _Law) -> Finding:
    cells = law.held_out
    if cells.empty:
        return Finding(note="the study holds out no LLM of this law")
    measured = cells["error"].to_numpy(float)
    if (measured == 0).any():
        return Finding(note="a held-out cell has error 0, of which no prediction is a share")
    sizes, tokens = (cells[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))

    def missed(predicted: Floats) -> Floats:
        """Return the relative error of each cell, along the last axis."""
        return np.asarray(np.abs(predicted - measured) / measured)

    off = missed(read_law(law.fit).predict(sizes, tokens))
    low, high = np.quantile(missed(predict_refits(law.draws, sizes, tokens)).mean(-1), INTERVAL)
    note = f"{', '.join(cells['llm'].unique())}, {len(cells)} cells, {off.max():.3f} at most; "
    return Finding(float(off.mean()), low, high, note=f"{note}{_naive(law)}; {law.resampled}")


def _naive(law: _Law) -> str:
    """Say how far off the largest fitted LLM's error at the same V would have been."""
    largest = law.points[law.points["n_params_b"] == law.points["n_params_b"].max()]
    guess = law.held_out["visual_tokens"].map(largest.groupby("visual_tokens")["error"].mean())
    missed = ((guess - law.held_out["error"]).abs() / law.held_out["error"]).dropna()
    if missed.empty:
        return "the largest fitted LLM was measured at none of their token counts"
    where = "" if len(missed) == len(guess) else f" at {len(missed)} of them"
    return (
        f"taking the largest fitted LLM's error at the same V misses by {missed.mean():.3f}{where}"
    )


def _optimum_rises(law: _Law) -> Finding:
    longest = max(law.text_tokens, default=0)
    if longest == 0:
        return Finding(note="the study has no text tokens above 0")

    def rise(ratio: Any) -> Floats:
        most = law.fit["most_visual_tokens"]
        with_text, without = (optimal_tokens(ratio, q, low=1, high=most) for q in (longest, 0))
        return np.asarray(with_text - without)

    drawn = rise(law.draws["ratio"])
    low, high = np.quantile(drawn, INTERVAL)
    share = float((drawn > 0).mean())
    note = f"Q = {longest} against 0; above 0 in {100 * share:.1f} % of draws; {law.resampled}"
    return Finding(float(rise(law.fit["ratio"])), low, high, note=note, share=share)


def _linear_predicts_better(law: _Law) -> Finding:
    missed = law.forms["rmse_left_out_size"]
    value = float(missed["product"] - missed["log-linear"])
    if np.isnan(value):
        return Finding(note="leaving an LLM out needs three of them, and five points in the rest")
    others = f"RMSE {missed['log-linear']:.4f} log-linear, {missed['product']:.4f} product, "
    return Finding(value, note=f"{others}{missed['product, D']:.4f} product with D")


# With the one family that a claim is about, if it is about one.
_CLAIMS: tuple[tuple[Claim[_Law], str | None], ...] = tuple(
    (Claim(name, text, rule, decide), family)
    for name, family, text, rule, decide in (
        (
            "H1",
            "reasoning",
            "reasoning: error falls faster with the LLM's size than with visual tokens",
            is_above_zero("alpha - beta"),
            _exceeds("alpha", "beta"),
        ),
        (
            "H2",
            "ocr",
            "ocr: error falls faster with visual tokens than with the LLM's size",
            is_above_zero("beta - alpha"),
            _exceeds("beta", "alpha"),
        ),
        (
            "H3",
            None,
            "the law predicts the error of LLMs that it was not fitted on",
            is_at_most(TOLERATED, "mean distance to the measured error, as a share of it"),
            _predicts_held_out,
        ),
        (
            "H4",
            "reasoning",
            "reasoning: the best number of visual tokens rises with the text",
            is_surely_above_zero("V* with the longest text less V* without"),
            _optimum_rises,
        ),
        (
            "H8",
            None,
            "a form linear in ln N and ln V predicts a left-out LLM better than the product form",
            has_sign(
                "RMSE of the product form less that of the log-linear one, each LLM left out in turn"
            ),
            _linear_predicts_better,
        ),
    )
)
