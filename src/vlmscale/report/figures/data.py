"""What the figures of a law are drawn from. N in billions of parameters, V visual, Q text tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.collect import require_one_protocol, select_cells
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.hierarchical import draw_measurements
from vlmscale.analysis.laws.intervals import find_intervals
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.analysis.laws.rivals import Rival, find_rival
from vlmscale.analysis.laws.schemes import find_main_scheme
from vlmscale.analysis.laws.tables import read_law, select_family_means
from vlmscale.study.selection import Selection

LEVELS = (0.025, 0.975)  # of every interval and band


@dataclass(frozen=True)
class LawData:
    """What the figures of one law are drawn from."""

    title: str
    # llm, n_params_b, method, visual_tokens, seed, role ("fit" or "holdout"), error; one row a cell
    points: pd.DataFrame
    law: PowerLaw  # fitted on role "fit"
    draws: pd.DataFrame  # scheme, amplitude, alpha, beta, floor, ratio: of tabulate_draws
    profile: pd.DataFrame  # floor, amplitude, alpha, beta, ratio, sse: the best law at each D
    text_tokens: Sequence[int]  # Q of the panels of Figures 1 and 2
    predicted: Mapping[str, float]  # LLMs to predict that were not measured: name -> n_params_b
    printed: tuple[float, float] | None  # alpha and beta as the paper prints them
    without_one: (
        PowerLaw | None
    )  # fitted without V = 1; None where fewer than three counts would be left
    size_axis: str  # what n_params_b counts: "nominal", "total", ...

    @property
    def means(self) -> pd.DataFrame:
        """Points averaged over seeds, small LLMs and few tokens first."""
        cell = ["n_params_b", "llm", "visual_tokens", "method", "role"]
        return self.points.groupby(cell)["error"].mean().reset_index()

    @property
    def fitted(self) -> pd.DataFrame:
        """Means of the cells that the law is fitted on."""
        return self.means.query("role == 'fit'")

    @property
    def held_out(self) -> pd.DataFrame:
        """Means of the cells of held-out LLMs."""
        return self.means.query("role == 'holdout'")

    @property
    def sizes(self) -> dict[str, float]:
        """N of every LLM, measured or not, smallest first."""
        rows = self.points.drop_duplicates("llm")
        measured = dict(zip(rows["llm"], rows["n_params_b"].astype(float), strict=True))
        return dict(sorted({**measured, **self.predicted}.items(), key=lambda size: size[1]))

    @property
    def counts(self) -> list[int]:
        """Every V measured, fewest first."""
        return sorted(self.points["visual_tokens"].unique().tolist())

    @cached_property
    def rival(self) -> Rival | None:
        """The form that fits clearly better than the law, if there is one."""
        return find_rival(self.points[self.points["role"] == "fit"])

    @property
    def scheme(self) -> str:
        """The scheme that stands for uncertainty."""
        return find_main_scheme(self.draws["scheme"])

    def draws_of(self, scheme: str) -> pd.DataFrame:
        """Return the draws of one scheme."""
        return self.draws[self.draws["scheme"] == scheme]

    def interval(self, quantity: str) -> tuple[float, float]:
        """Return the 95 % interval of alpha, beta, floor or ratio."""
        return find_intervals(self.draws_of(self.scheme))[quantity]

    def band(self, n_params_b: float, visual_tokens: Floats, *, new: bool = False) -> Floats:
        """Return the low and high end of the law's error at each token count, (2, counts).

        new: of what a training of an LLM outside the fit would show, with its own offset, slope and noise.
        """
        draws = self.draws_of(self.scheme)
        if not new:
            sizes = np.full(np.shape(visual_tokens), n_params_b)
            errors = predict_refits(draws, sizes, visual_tokens)
        else:  # with the same random numbers at each count, for a smooth band
            cells = [{"n_params_b": [n_params_b], "visual_tokens": [v]} for v in visual_tokens]
            shown = [draw_measurements(draws, pd.DataFrame(cell), seed=0) for cell in cells]
            errors = np.concatenate(shown, axis=1)
        return np.asarray(np.quantile(errors, LEVELS, axis=0))


def read_law_data(
    errors: pd.DataFrame,
    laws: pd.DataFrame,
    draws: pd.DataFrame,
    profile: pd.DataFrame,
    *,
    series: str,
    family: str,
    selection: Mapping[str, Any],
    **options: Any,
) -> LawData:
    """Return LawData of one series and family from a study's tables.

    selection: the fields of the series' Selection. options: of gather.
    """
    points = select_cells(select_family_means(errors), Selection(**selection))
    law, draws, profile = (
        table[(table["series"] == series) & (table["family"] == family)]
        for table in (laws, draws, profile)
    )
    return gather(
        points[points["family"] == family],
        read_law({str(name): value for name, value in law.iloc[0].items()}),
        draws,
        profile,
        **options,
    )


def gather(
    errors: pd.DataFrame,
    law: PowerLaw,
    draws: pd.DataFrame,
    profile: pd.DataFrame,
    *,
    title: str,
    text_tokens: Sequence[int],
    predicted: Mapping[str, float] | None = None,
    printed: Mapping[str, float] | None = None,
) -> LawData:
    """Return LawData from the rows of one series and family; errors: family means, with size_axis.

    Raises UserError where scores of two protocols meet.
    """
    require_one_protocol(errors)
    fitted = errors[errors["role"] == "fit"]
    counts = set(fitted["visual_tokens"])
    several = 1 in counts and len(counts) > 3
    return LawData(
        title=title,
        points=errors,
        law=law,
        draws=draws,
        profile=profile,
        text_tokens=text_tokens,
        predicted=dict(predicted or {}),
        printed=(printed["alpha"], printed["beta"]) if printed else None,
        without_one=fit_power_law(fitted[fitted["visual_tokens"] > 1]) if several else None,
        size_axis=str(errors["size_axis"].iloc[0]),
    )
