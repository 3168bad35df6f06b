"""The tables of a study that its hypotheses are decided from."""

from dataclasses import dataclass, field

import pandas as pd

from vlmscale.analysis.checks.engine import require_columns

_NEEDED = {
    "errors": ("cell", "run", "llm", "method", "visual_tokens", "budget", "role", "family"),
    "samples": ("cell", "family", "benchmark", "id", "score"),
    "laws": ("series", "family", "alpha", "beta", "most_visual_tokens"),
    "draws": ("series", "family", "scheme", "alpha", "beta", "ratio"),
    "forms": ("series", "family", "form", "rmse_left_out_size"),
    "paired": ("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
}


def _none_of(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(_NEEDED[name]))


@dataclass(frozen=True)
class Results:
    """The tables of a study; `laws`, `draws` and `forms` are empty for a study without a law.

    Raises UserError for a table that lacks a column.
    """

    errors: pd.DataFrame
    samples: pd.DataFrame
    paired: pd.DataFrame
    laws: pd.DataFrame = field(default_factory=lambda: _none_of("laws"))
    draws: pd.DataFrame = field(default_factory=lambda: _none_of("draws"))
    forms: pd.DataFrame = field(default_factory=lambda: _none_of("forms"))

    def __post_init__(self) -> None:
        for name, columns in _NEEDED.items():
            require_columns(name, getattr(self, name), columns)
