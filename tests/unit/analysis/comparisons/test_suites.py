"""Laws of smaller suites are direct fits; chance is 1 by hand."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law
from vlmscale.analysis.comparisons.suites import correct_for_chance, leave_one_out
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.tables import tabulate_laws
from vlmscale.errors import UserError
from vlmscale.study.selection import Selection

LAWS = {"easy": (0.3, 0.3, 0.05), "middle": (0.5, 0.2, 0.1), "hard": (0.8, 0.1, 0.2)}
OURS = Selection(("mlp",))


def with_means(rows):
    """Rows of single benchmarks, and those of the family means as the errors table has them."""
    cell = [column for column in rows if column not in ("benchmark", "error", "score")]
    rows = rows.assign(score=1 - rows["error"])
    means = rows.groupby(cell, as_index=False)[["error", "score"]].mean().assign(benchmark="mean")
    return pd.concat([rows, means], ignore_index=True)


def suite():
    frames = []
    for benchmark, law in LAWS.items():
        points = plant_law(*law, 0.0)
        frames.append(
            points.assign(cell=[f"c{i}" for i in range(len(points))], benchmark=benchmark)
        )
    about = {
        "llm": "l",
        "method": "mlp",
        "seed": 0,
        "budget": "full",
        "role": "fit",
        "family": "ocr",
        "size_axis": "total",
    }
    return with_means(pd.concat(frames).assign(**about))


def test_leaving_one_out_is_a_direct_fit():
    errors = suite()
    table = leave_one_out(errors, {"ours": OURS}).set_index("without")
    assert list(table.index) == ["", *LAWS]
    assert (table["note"] == "").all()
    for without in LAWS:
        kept = errors[~errors["benchmark"].isin(["mean", without])]
        points = kept.groupby(["n_params_b", "visual_tokens"], as_index=False)["error"].mean()
        law = fit_power_law(points)
        for column in ("alpha", "beta", "ratio", "floor", "sse"):
            assert table.loc[without, column] == pytest.approx(getattr(law, column), abs=1e-9)
        assert table.loc[without, "floor_bound"] == law.floor_bound
        assert table.loc[without, "points"] == law.points == 28
    # The hard benchmark needs tokens, the easy one a large LLM.
    assert table.loc["easy", "ratio"] < table.loc["", "ratio"] < table.loc["hard", "ratio"]


def test_the_full_suite_is_the_law_of_the_study():
    errors = suite()
    series = {"ours": OURS}
    full = leave_one_out(errors, series).iloc[0]
    law = tabulate_laws(errors[errors["benchmark"] == "mean"], series).iloc[0]
    for column in ("alpha", "beta", "floor"):
        assert full[column] == pytest.approx(law[column], abs=1e-9)


def test_only_cells_of_the_series_that_are_fitted_count():
    errors = suite()
    others = [
        errors.assign(cell=errors["cell"] + "-h", role="holdout", llm="m", error=0.5),
        errors.assign(cell=errors["cell"] + "-q", method="quecc"),
        errors.assign(cell=errors["cell"] + "-s", budget="short"),
    ]
    table = leave_one_out(
        pd.concat([errors, *others]), {"ours": OURS, "both": Selection(("mlp", "quecc"))}
    )
    assert table["series"].tolist() == ["ours"] * 4 + ["both"] * 4
    assert table["points"].tolist() == [28] * 4 + [56] * 4
    expected = leave_one_out(errors, {"ours": OURS})
    pd.testing.assert_frame_equal(table[table["series"] == "ours"], expected)


def test_a_suite_without_a_law_says_why():
    errors = suite()
    errors.loc[(errors["benchmark"] == "hard") & (errors["cell"] == "c0"), "error"] = 4.0
    other = errors[errors["benchmark"] == "easy"].assign(family="reasoning")
    lacking = errors[(errors["benchmark"] != "easy") | (errors["cell"] != "c5")]
    table = pd.concat(
        leave_one_out(errors, {name: OURS})
        for name, errors in (
            ("ours", pd.concat([errors, other])),
            ("lacking", lacking.assign(family="reasoning")),
        )
    )
    ours, incomplete = (table[table["series"] == name] for name in ("ours", "lacking"))
    notes = ours.set_index(["family", "without"])["note"]
    for without in ("", "easy", "middle"):
        assert "errors must lie in [0, 1]" in notes["ocr", without]
    assert notes["ocr", "hard"] == ""
    assert notes["reasoning", ""] == ""
    assert notes["reasoning", "easy"] == "no benchmark is left"
    incomplete = incomplete.set_index("without")["note"]
    assert incomplete["hard"] == "not every cell has benchmark easy"
    failed = table[table["note"] != ""]
    assert failed[["alpha", "beta", "ratio", "floor", "floor_bound", "sse"]].isna().all(axis=None)
    assert (failed["points"] == 28).all()
    assert table.loc[table["note"] == "", "floor_bound"].notna().all()


def test_chance_is_1_and_perfect_is_0():
    cell = {"cell": "c0", "family": "ocr", "metric": "exact_match"}
    rows = pd.DataFrame(
        [
            {**cell, "benchmark": "two", "error": 0.5},  # at chance
            {**cell, "benchmark": "four", "error": 0.0},
            {**cell, "cell": "c1", "benchmark": "two", "error": 0.6},  # below
            {**cell, "cell": "c1", "benchmark": "four", "error": 0.3},
        ]
    )
    chance = pd.DataFrame({"benchmark": ["two", "four", "unused"], "chance": [0.5, 0.25, 1.0]})
    errors = with_means(rows)
    found = correct_for_chance(errors, chance)
    assert found["error"].tolist() == pytest.approx([1, 0, 1.2, 0.4, 0.5, 0.8])
    assert found["score"].tolist() == pytest.approx((1 - found["error"]).tolist())
    rest = ["cell", "family", "benchmark", "metric"]
    pd.testing.assert_frame_equal(found[rest], errors[rest])
    pd.testing.assert_frame_equal(errors, with_means(rows))  # the table given is left as it was


def test_correcting_for_no_chance_changes_nothing():
    errors = suite()
    chance = pd.DataFrame({"benchmark": list(LAWS), "chance": 0.0})
    pd.testing.assert_frame_equal(correct_for_chance(errors, chance), errors)


@pytest.mark.parametrize(
    ("level", "message"),
    [(np.nan, "benchmark hard is unknown"), (1.0, "benchmark hard is 1, which leaves no error")],
)
def test_a_chance_that_corrects_nothing_is_refused(level, message):
    chance = pd.DataFrame({"benchmark": list(LAWS), "chance": [0.5, 0.5, level]})
    with pytest.raises(UserError, match=message):
        correct_for_chance(suite(), chance)
