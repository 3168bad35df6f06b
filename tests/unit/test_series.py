"""A law is about the cells of its methods and its budget, and no others."""

import pandas as pd
import pytest

from vlmscale.analysis.collect import CELL_COLUMNS, errors_table
from vlmscale.analysis.fits import fit_laws, fitted_points
from vlmscale.analysis.frontier import frontier_table
from vlmscale.series import Selection

from .test_laws import design

LAWS = {"full": (0.5, 0.3, 0.05, 0.0), "short": (0.8, 0.1, 0.2, 0.0)}  # A, alpha, beta, D


def errors():
    about = {"method": "mlp", "seed": 0, "role": "fit", "family": "ocr", "size_axis": "total"}
    points = [design(*law).assign(budget=budget) for budget, law in LAWS.items()]
    points = pd.concat(points).assign(**about)
    return points.assign(llm=points["n_params_b"].map("{:g}b".format))


def test_each_budget_has_a_law_of_its_own():
    series = {"all": Selection(("mlp",)), "all_short": Selection(("mlp",), "short")}
    table = fit_laws(errors(), series).set_index("series")
    for name, selection in series.items():
        amplitude, alpha, beta, _ = LAWS[selection.budget]
        found = tuple(table.loc[name, ["amplitude", "alpha", "beta"]])
        assert found == pytest.approx((amplitude, alpha, beta), rel=1e-4)
    fronts = frontier_table(errors(), series, [0])
    lowest = errors().groupby("budget")["error"].min()
    assert fronts.groupby("series")["error"].min().tolist() == lowest.tolist()


def test_other_methods_families_roles_and_budgets_are_no_points():
    mine = errors()[lambda table: table["budget"] == "short"]
    others = [
        mine.assign(**{column: other})
        for column, other in (
            ("method", "m3"),
            ("family", "x"),
            ("role", "holdout"),
            ("budget", "y"),
        )
    ]
    found = fitted_points(pd.concat([*others, mine]), Selection(("mlp", "mqt"), "short"), "ocr")
    pd.testing.assert_frame_equal(found, mine)


def test_the_errors_table_names_the_budget_of_each_cell():
    rows = [
        (f"c__{budget}", "c", "small", "mlp", 4, 0, budget, "fit") for budget in ("full", "short")
    ]
    cells = pd.DataFrame(rows, columns=CELL_COLUMNS)
    score = {"benchmark": ["a"], "family": ["ocr"], "metric": ["m"], "score": [0.25], "n": [8]}
    scores = {cell: pd.DataFrame(score) for cell in cells["cell"]}
    table = errors_table(cells, scores, {"small": 10**9}, {"small": 10**8})
    assert table["budget"].tolist() == ["full", "full", "short", "short"]
    assert table["cell"].tolist() == [f"c__{budget}" for budget in table["budget"]]
