"""Write or find the explorer's page: of given scores, of a study, or of the paper's released scores."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vlmscale.analysis.published import load_published_errors
from vlmscale.cli.answer_cost import PAPER_METHOD
from vlmscale.cli.points import find_tower, name_sizes, read_points, size_axis
from vlmscale.costs.shapes import Decoder, load_shapes
from vlmscale.errors import UsageError, UserError
from vlmscale.records.tables import Source, name_source, read_table
from vlmscale.report.explorer import ExplorerLaw, explore_laws, explore_points, list_laws
from vlmscale.study.selection import FULL, Selection


def write_explorer_of_scores(
    page: Path, scores: Source | None = None, methods: Sequence[str] = ()
) -> None:
    """Write the page of a law for each family, method and training budget of a table of scores.

    scores: a table or file as for read_points, by default the paper's released scores. methods: those to
    keep, by default all. Raises UserError for points that cannot be fitted.
    """
    shapes = load_shapes()
    name = "the paper's released scores" if scores is None else name_source(scores)
    explore_laws(
        page,
        name,
        _released_laws(name) if scores is None else _laws_of_scores(scores, methods, name),
        shapes={llm: shape for llm, shape in shapes.items() if isinstance(shape, Decoder)},
        tower=find_tower(scores, counted=True)[1],
        method=PAPER_METHOD,
    )


def find_explorer(study: Path) -> Path:
    """Return the page that a finished study has. Raises UserError where it has none."""
    page = study / "explorer.html"
    if study.is_file():
        raise UsageError(f"{study} is a file; give a table of scores with --scores")
    if not page.is_file():
        raise UserError(
            f"{study} has no explorer.html, which a finished study with a law has. `make run` makes "
            "results/mini; for a table of scores use --scores FILE"
        )
    return page


def _released_laws(name: str) -> list[ExplorerLaw]:
    series = {"published": Selection((PAPER_METHOD,))}
    return list_laws(load_published_errors(), series, predicted={"Qwen1.5-14B": 14.0}, source=name)


def _laws_of_scores(scores: Source, methods: Sequence[str], name: str) -> list[ExplorerLaw]:
    table = read_table(scores)
    budgets = sorted(map(str, table["budget"].unique())) if "budget" in table else [FULL]
    laws = []
    for budget in sorted(budgets, key=lambda budget: budget != FULL):
        for family, points in read_points(scores, methods, budget).items():
            several = "method" in points and points["method"].nunique() > 1
            for method, mine in points.groupby("method") if several else [("", points)]:
                words = ": ".join(filter(None, (family, str(method)))) or "the task of these scores"
                laws.append(_law(mine, words, budget, f"{name}. {size_axis(points)}"))
    return laws


def _law(points: pd.DataFrame, name: str, budget: str, source: str) -> ExplorerLaw:
    sizes = name_sizes(points)
    names = {n: llm for llm, n in sizes.items()}
    named = points if "llm" in points else points.assign(llm=points["n_params_b"].map(names))
    return explore_points(
        named.assign(role="fit"), name=name, budget=budget, llms=sizes, source=source
    )
