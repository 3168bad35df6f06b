"""The evidence on claims: the released numbers, their laws, and the results of studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import pandas as pd

from vlmscale.analysis.checks.audit.study import DRAWS, PAPER_METHODS, SEED, Study, load_study
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws.grid_search import RELEASED, list_outcomes
from vlmscale.analysis.laws.intervals import Ends, find_ends, find_intervals
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.analysis.laws.schemes import Scheme, choose_scheme, draw_laws
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.analysis.published import load_published_errors, select_paper_decoders
from vlmscale.costs.shapes import Decoder, Tower, load_shapes
from vlmscale.errors import UserError
from vlmscale.study.selection import SizeAxis


@dataclass(frozen=True)
class Suite:
    """The points that one law is fitted on, its fit and refits."""

    points: pd.DataFrame

    @cached_property
    def law(self) -> PowerLaw:
        return fit_power_law(self.points)

    @cached_property
    def scheme(self) -> Scheme:
        return choose_scheme(self.points)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """Draws with D free, by the main scheme of the points."""
        return draw_laws(self.points, self.law, self.scheme, draws=DRAWS, seed=SEED)

    @cached_property
    def intervals(self) -> dict[str, Ends]:
        return find_intervals(self.draws)

    def has_law(self) -> bool:
        """Return whether there are enough points for a law."""
        try:
            return self.law is not None
        except UserError:
            return False

    def find_parameter(self, name: str, note: str) -> Finding:
        """Return a parameter of the law, or its ratio, with its interval."""
        return self.report(getattr(self.law, name), self.intervals[name], note)

    def summarize(self, value: float, draws: Floats, note: str) -> Finding:
        """Return a finding whose interval is that of `draws`, a number of each drawn law."""
        return self.report(value, find_ends(draws), note)

    def report(self, value: float, ends: Ends, note: str) -> Finding:
        """Return a finding with an interval from the draws."""
        return Finding(float(value), *ends, self.scheme, note)

    def score(self, n_params_b: float, visual_tokens: int) -> float:
        """Return the score of one cell."""
        at = self.points[["n_params_b", "visual_tokens"]] == [n_params_b, visual_tokens]
        return float(self.points.loc[at.all(axis=1), "score"].item())


@dataclass(frozen=True)
class Evidence:
    """Everything that the check of a claim may read."""

    claims: pd.DataFrame  # resources/published/claims.csv
    reasoning: Suite
    ocr: Suite
    earlier: pd.DataFrame
    unsplit: pd.DataFrame
    table1: pd.DataFrame
    form_excess: pd.DataFrame  # of benchmarks/decisions.py
    readings: Mapping[str, tuple[float, ...]]  # read off text and figures, by name
    architectures: Mapping[str, Decoder | Tower]
    studies: Mapping[str, Study]  # by name

    @cached_property
    def search_outcomes(self) -> pd.DataFrame:
        """Probability of each node that the released search may end at, on the reasoning scores."""
        return list_outcomes(self.reasoning.points, RELEASED, share=0.2)

    @property
    def decoders(self) -> dict[str, Decoder]:
        return select_paper_decoders(self.architectures)

    @cached_property
    def with_own_scores(self) -> "dict[str, Evidence | None]":
        """The evidence with each study's own suites in place of the released ones; None if cells lack."""
        return {name: self._with_scores_of(study) for name, study in self.studies.items()}

    def _with_scores_of(self, study: Study) -> "Evidence | None":
        means = select_family_means(study.errors)
        mine = means[(means["role"] == "fit") & means["method"].isin(PAPER_METHODS)]
        sizes = [f"{axis}_b" for axis in get_args(SizeAxis)]
        if not set(sizes) <= set(mine):
            return None
        points = mine.groupby(["family", "llm", *sizes, "visual_tokens"])[["score", "error"]].mean()
        points = points.reset_index().assign(n_params_b=lambda table: table["nominal_b"])
        cell = ["family", "n_params_b", "visual_tokens"]
        reasoning, ocr = (
            released.points[cell].merge(points, on=cell) for released in (self.reasoning, self.ocr)
        )
        if len(reasoning) < len(self.reasoning.points) or len(ocr) < len(self.ocr.points):
            return None
        return replace(self, reasoning=Suite(reasoning), ocr=Suite(ocr))


def load_evidence(resources: Path, studies: Sequence[Path] = ()) -> Evidence:
    """Read the folder of resources and the folders of studies (results/{study}).

    Raises UserError for a study that has not been collected.
    """
    published = resources / "published"
    architectures = load_shapes(resources / "backbones")
    errors = load_published_errors(resources)
    by_family = {str(family): Suite(table) for family, table in errors.groupby("family")}
    readings = pd.read_csv(published / "readings.csv", dtype=str)
    return Evidence(
        claims=pd.read_csv(published / "claims.csv", keep_default_na=True, dtype={"id": str}),
        reasoning=by_family["reasoning"],
        ocr=by_family["ocr"],
        earlier=pd.read_csv(published / "earlier_scores.csv"),
        unsplit=pd.read_csv(published / "ocr_unsplit_scores.csv"),
        table1=pd.read_csv(published / "table1.csv"),
        form_excess=pd.read_parquet(resources / "measured/form_excess.parquet"),
        readings={
            name: tuple(map(float, value.split()))
            for name, value in zip(readings["name"], readings["value"], strict=True)
        },
        architectures=architectures,
        studies={folder.name: load_study(folder) for folder in studies},
    )
