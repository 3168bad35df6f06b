"""A law is about the cells of its methods and its budget, and no others."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.frontier import tabulate_frontiers
from vlmscale.analysis.laws.tables import list_schemes, select_fitted, tabulate_each, tabulate_laws
from vlmscale.analysis.laws.variants import fit_variants
from vlmscale.errors import UserError
from vlmscale.study.selection import Selection

LAWS = {"full": (0.5, 0.3, 0.05, 0.0), "short": (0.8, 0.1, 0.2, 0.0)}  # A, alpha, beta, D


def errors():
    about = {"method": "mlp", "seed": 0, "role": "fit", "family": "ocr", "size_axis": "total"}
    points = [plant_law(*law).assign(budget=budget) for budget, law in LAWS.items()]
    points = pd.concat(points).assign(**about)
    return points.assign(llm=points["n_params_b"].map("{:g}b".format))


def test_each_budget_has_a_law_of_its_own():
    series = {"all": Selection(("mlp",)), "all_short": Selection(("mlp",), "short")}
    table = tabulate_laws(errors(), series).set_index("series")
    for name, selection in series.items():
        amplitude, alpha, beta, _ = LAWS[selection.budget]
        found = tuple(table.loc[name, ["amplitude", "alpha", "beta"]])
        assert found == pytest.approx((amplitude, alpha, beta), rel=1e-4)
    fronts = tabulate_frontiers(errors(), series, [0])
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
    found = select_fitted(pd.concat([*others, mine]), Selection(("mlp", "mqt"), "short"), "ocr")
    pd.testing.assert_frame_equal(found, mine)


def test_scores_of_two_protocols_have_no_law_together():
    mixed = errors().assign(budget="full", protocol=np.resize(["lmms", "llava15"], len(errors())))
    with pytest.raises(UserError, match="lmms and llava15 meet"):
        tabulate_laws(mixed, {"all": Selection(("mlp",))})
    one = errors().assign(protocol="llava15")
    assert set(tabulate_laws(one, {"all": Selection(("mlp",))})["protocol"]) == {"llava15"}
    assert require_one_protocol(errors()) is None  # a table of the user's own


def test_benchmarks_of_no_suite_have_no_law():
    """VizWiz and VQAv2 count to neither."""
    both = pd.concat([errors(), errors().assign(family="other")])
    assert set(tabulate_laws(both, {"all": Selection(("mlp",))})["family"]) == {"ocr"}


def test_the_law_of_ocr_is_fitted_with_one_token_as_the_released_scores_are():
    """And the other choice, that of Fig 3b, stands beside it."""
    series = {"all": Selection(("mlp",))}
    points = select_fitted(errors(), series["all"], "ocr")
    assert 1 in set(points["visual_tokens"])
    assert tabulate_laws(errors(), series)["points"].tolist() == [len(points)]
    without = (
        tabulate_each(errors(), series, lambda points, _: fit_variants(points))
        .set_index("variant")
        .loc["without V = 1"]
    )
    assert without["points"] == (points["visual_tokens"] > 1).sum()


def test_four_points_leave_no_residuals():
    points = read_scores("reasoning_scores")
    points = points[points["n_params_b"].isin([0.5, 7]) & points["visual_tokens"].isin([1, 16])]
    assert list_schemes(points) == ["cases"]
