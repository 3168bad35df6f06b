"""What the claims are checked against: the released numbers, their laws, and studies of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from vlmscale.analysis.bootstrap import bootstrap
from vlmscale.analysis.grid_search import RELEASED, outcome_distribution
from vlmscale.analysis.laws import PowerLaw, fit_power_law
from vlmscale.analysis.published import paper_decoders, published_errors
from vlmscale.architectures import Decoder, Tower, load_architectures
from vlmscale.errors import UserError
from vlmscale.series import FULL

DRAWS = 2000
SEED = 0


@dataclass(frozen=True)
class Suite:
    """One of the two released averages."""

    points: pd.DataFrame

    @cached_property
    def law(self) -> PowerLaw:
        return fit_power_law(self.points)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """Refits with whole LLM sizes resampled, D free: the widest of the schemes."""
        return bootstrap(self.points, self.law, "sizes", draws=DRAWS, seed=SEED)

    def score(self, n_params_b: float, visual_tokens: int) -> float:
        at = self.points[["n_params_b", "visual_tokens"]] == [n_params_b, visual_tokens]
        return float(self.points.loc[at.all(axis=1), "score"].item())


@dataclass(frozen=True)
class Evidence:
    """All that a claim's check may look at."""

    claims: pd.DataFrame  # resources/published/claims.csv
    reasoning: Suite
    ocr: Suite
    earlier: pd.DataFrame
    unsplit: pd.DataFrame
    table1: pd.DataFrame
    readings: Mapping[str, tuple[float, ...]]  # read off text and figures, by name
    architectures: Mapping[str, Decoder | Tower]
    studies: Mapping[str, pd.DataFrame]  # errors of own studies at the full budget, by name

    @cached_property
    def search_outcomes(self) -> pd.DataFrame:
        """Where the released search ends on the reasoning scores, with what probability."""
        return outcome_distribution(self.reasoning.points, RELEASED, share=0.2)

    @property
    def decoders(self) -> dict[str, Decoder]:
        return paper_decoders(self.architectures)


def load_evidence(resources: Path, studies: Sequence[Path] = ()) -> Evidence:
    """Read the folder of resources and the folders of studies (results/{study}).

    Raises UserError for a study that has not been collected.
    """
    published = resources / "published"
    architectures = load_architectures(resources / "architectures.csv")
    scores = {f: pd.read_csv(published / f"{f}_scores.csv") for f in ("reasoning", "ocr")}
    errors = published_errors(scores, paper_decoders(architectures))
    by_family = {str(family): Suite(table) for family, table in errors.groupby("family")}
    readings = pd.read_csv(published / "readings.csv", dtype=str)
    return Evidence(
        claims=pd.read_csv(published / "claims.csv", keep_default_na=True, dtype={"id": str}),
        reasoning=by_family["reasoning"],
        ocr=by_family["ocr"],
        earlier=pd.read_csv(published / "earlier_scores.csv"),
        unsplit=pd.read_csv(published / "ocr_unsplit_scores.csv"),
        table1=pd.read_csv(published / "table1.csv"),
        readings={
            name: tuple(map(float, value.split()))
            for name, value in zip(readings["name"], readings["value"], strict=True)
        },
        architectures=architectures,
        studies={folder.name: _study(folder) for folder in studies},
    )


def _study(folder: Path) -> pd.DataFrame:
    file = folder / "errors.parquet"
    if not file.is_file():
        raise UserError(
            f"{folder} has no errors.parquet. Give the results folder of a study that was run, such as "
            "results/mini."
        )
    errors = pd.read_parquet(file)
    return errors[errors["budget"] == FULL]
