"""Hypotheses on a law: H1 to H3 and H8."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import INTERVAL
from vlmscale.analysis.checks.hypotheses.estimates import (
    Estimate,
    estimate_from_draws,
    estimate_from_units,
    join,
    reverse,
    variance_of_mean,
)
from vlmscale.analysis.collect import select_cells
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.forms import FORMS, predict_left_out
from vlmscale.analysis.laws.hierarchical import draw_measurements
from vlmscale.analysis.laws.intervals import POSSIBLE, find_intervals
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.schemes import Scheme, find_main_scheme
from vlmscale.analysis.laws.tables import list_suites, read_law, select_family_means
from vlmscale.errors import UserError
from vlmscale.study.selection import Series

TOLERATED = 0.10  # of the measured error: a law that misses by more cannot choose between cells


@dataclass(frozen=True)
class _Law:
    """One law with its draws and cells."""

    fit: Mapping[Any, Any]  # its row of tabulate_laws
    draws: pd.DataFrame  # of the main scheme
    scheme: Scheme
    points: pd.DataFrame  # family means that it was fitted on
    held_out: pd.DataFrame  # and those that it was not

    @property
    def drawn(self) -> str:
        """Where its draws are from, in words."""
        if self.scheme == "hierarchical":
            share = (self.draws["floor"] == 0).mean()
            return f"laws of the hierarchical model, D = 0 in {share:.0%} (prior: half)"
        return "resampled are " + ("whole LLM sizes" if self.scheme == "sizes" else "points")


class _Hypothesis(NamedTuple):
    id: str
    family: str | None  # the one that it is about; None: any
    text: str
    rule: str
    find: Callable[[_Law], Estimate]


def check_laws(tables: Mapping[str, pd.DataFrame], series: Series) -> Iterator[dict[str, Any]]:
    """Find what H1 to H3 and H8 say of each law: H1 is about reasoning, H2 about ocr."""
    errors = select_family_means(tables["errors"])
    for hypothesis in _HYPOTHESES:
        for name, selection in series.items():
            cells = select_cells(errors, selection)
            for family in [hypothesis.family] if hypothesis.family else list_suites(errors):
                law = _gather(tables, cells[cells["family"] == family], name, family)
                if law is None:
                    found = Estimate(note=f"the study has no cells for a law of {family}")
                else:
                    found = hypothesis.find(law)
                yield {
                    **{"id": hypothesis.id, "hypothesis": hypothesis.text, "rule": hypothesis.rule},
                    **{"series": name, "budget": selection.budget, "family": family},
                    **vars(found),
                }


def _gather(
    tables: Mapping[str, pd.DataFrame], cells: pd.DataFrame, series: str, family: str
) -> _Law | None:
    """Collect the tables of one law; return None where it has no fitted cells."""
    points = cells[cells["role"] == "fit"]
    if points.empty:
        return None
    laws, draws = (
        table[(table["series"] == series) & (table["family"] == family)]
        for table in (tables["laws"], tables["draws"])
    )
    scheme = find_main_scheme(draws["scheme"])
    draws = draws[draws["scheme"] == scheme]
    if len(laws) != 1 or draws.empty:
        raise UserError(
            f"law {series}, {family}: there are {len(laws)} rows of it in table laws (needed: 1) and "
            f"{len(draws)} by scheme {scheme} in draws (needed: some); fit again"
        )
    return _Law(laws.iloc[0].to_dict(), draws, scheme, points, cells[cells["role"] == "holdout"])


def _exceeds(first: str, second: str) -> Callable[[_Law], Estimate]:
    """Return a decision by exponent `first` less `second`."""

    def find(law: _Law) -> Estimate:
        value, drawn = law.fit[first] - law.fit[second], law.draws[first] - law.draws[second]
        found = estimate_from_draws(value, drawn.to_numpy())
        at_zero = law.draws["floor"] == 0
        if law.scheme == "hierarchical" and at_zero.mean() >= POSSIBLE:
            # As for every interval (intervals.py): what is sure must be so with D = 0, too.
            found = join(found, estimate_from_draws(value, drawn[at_zero].to_numpy()))
        ends = np.array(find_intervals(law.draws)["difference"])
        low, high = np.sort(ends if first == "alpha" else -ends).tolist()
        note = "; ".join(filter(None, [law.drawn, law.fit["bounds"]]))
        return replace(found, low=low, high=high, note=note)

    return find


def _predicts_held_out(law: _Law) -> Estimate:
    cells = law.held_out
    if cells.empty:
        return Estimate(note="the study holds out no LLM of this law")
    measured = cells["error"].to_numpy(float)
    if (measured == 0).any():
        return Estimate(note="a held-out cell has error 0, of which no prediction is a share")
    sizes, tokens = (cells[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))

    def missed(predicted: Floats) -> Floats:
        """Return the relative error of each cell, along the last axis."""
        return np.asarray(np.abs(predicted - measured) / measured)

    off = missed(read_law(law.fit).predict(sizes, tokens))
    predicted = draw_measurements(law.draws, cells, seed=0)
    drawn, ends = missed(predicted), np.quantile(predicted, INTERVAL, axis=0)
    of_law = missed(predict_refits(law.draws, sizes, tokens))
    inside = int(((ends[0] <= measured) & (measured <= ends[1])).sum())
    found = reverse(estimate_from_draws(float(off.mean()), drawn.mean(-1), above=TOLERATED))
    note = f"{', '.join(cells['llm'].unique())}, {len(cells)} cells, {off.max():.3f} at most"
    note += f"; {inside} measured within the 95 % interval of the prediction"
    return found.explain(f"{note}; {_gain_over_guess(law, off, of_law)}; {law.drawn}")


def _gain_over_guess(law: _Law, off: Floats, drawn: Floats) -> str:
    """Say how much farther off the largest fitted LLM's error at the same V would have been.

    off (cells,), drawn (draws, cells): how far off the law is.
    """
    largest = law.points[law.points["n_params_b"] == law.points["n_params_b"].max()]
    guess = law.held_out["visual_tokens"].map(largest.groupby("visual_tokens")["error"].mean())
    missed = ((guess - law.held_out["error"]).abs() / law.held_out["error"]).to_numpy(float)
    known = ~np.isnan(missed)
    if not known.any():
        return "the largest fitted LLM was measured at none of their token counts"
    mean = missed[known].mean()
    gain = estimate_from_draws(mean - off[known].mean(), mean - drawn[:, known].mean(-1))
    where = "" if known.all() else f" at {known.sum()} of them"
    return (
        f"taking the largest fitted LLM's error at the same V misses by {mean:.3f}{where}, "
        f"{gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}] more than the law"
    )


def _linear_predicts_better(law: _Law) -> Estimate:
    forms = {form.name: form for form in FORMS}
    size = law.points["n_params_b"].to_numpy(float)
    names = ("product", "log-linear", "product, D")
    squares = {name: predict_left_out(forms[name], law.points, size) ** 2 for name in names}
    by_llm = pd.DataFrame(squares).groupby(size).mean()
    gains = by_llm["product"] ** 0.5 - by_llm["log-linear"] ** 0.5
    if gains.isna().any():
        return Estimate(note="leaving an LLM out needs three of them, and five points in the rest")
    rmse = by_llm.mean() ** 0.5
    found = estimate_from_units(float(gains.mean()), variance_of_mean(gains), len(gains))
    return found.explain(
        f"{len(gains)} LLMs; RMSE {rmse['log-linear']:.4f} log-linear, {rmse['product']:.4f} product, "
        f"{rmse['product, D']:.4f} product with D"
    )


_HYPOTHESES = (
    _Hypothesis(
        "H1",
        "reasoning",
        "reasoning: error falls faster with the LLM's size than with visual tokens",
        "alpha - beta: supported if surely above 0, contradicted if below",
        _exceeds("alpha", "beta"),
    ),
    _Hypothesis(
        "H2",
        "ocr",
        "ocr: error falls faster with visual tokens than with the LLM's size",
        "beta - alpha: supported if surely above 0, contradicted if below",
        _exceeds("beta", "alpha"),
    ),
    _Hypothesis(
        "H3",
        None,
        "the law predicts the error of LLMs that it was not fitted on",
        "mean distance to the measured error, as a share of it: supported if surely below "
        f"{TOLERATED:g}, contradicted if above",
        _predicts_held_out,
    ),
    _Hypothesis(
        "H8",
        None,
        "a form linear in ln N and ln V predicts a left-out LLM better than the product form",
        "RMSE of the product form less that of the log-linear one, mean over the LLMs left out in turn: "
        "supported if surely above 0 (Student's t over LLMs), contradicted if below",
        _linear_predicts_better,
    ),
)
