"""Hypotheses on a law are decided as their rules say, on studies made from laws that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.support.hypotheses import (
    LAW,
    SERIES,
    STEEP_IN_N,
    STEEP_IN_V,
    ask,
    cells,
    only,
    product,
    results,
)
from vlmscale.analysis.laws.forms import FORMS, predict_left_out
from vlmscale.analysis.laws.intervals import find_intervals
from vlmscale.study.selection import Selection

pytestmark = pytest.mark.slow
MANY = {str(n): n for n in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)}
LEVEL = (0.8, 0.1, 0.1, 0.0)


@pytest.mark.parametrize(
    ("law", "noise", "size", "tokens"),
    [
        (STEEP_IN_N, 0.003, "supported", "contradicted"),
        (STEEP_IN_V, 0.003, "contradicted", "supported"),
        (LEVEL, 0.01, "undecided", "undecided"),
    ],
)
def test_which_exponent_is_larger(law, noise, size, tokens):
    parts = [cells(product(*law), family=f, noise=noise) for f in ("reasoning", "ocr")]
    tables = results(*parts)
    table = ask(tables)
    first, second = only(table, "H1"), only(table, "H2")
    assert (first["verdict"], second["verdict"]) == (size, tokens)
    assert (first["family"], second["family"]) == ("reasoning", "ocr")
    fit = tables["laws"].set_index("family").loc["reasoning"]
    drawn = tables["draws"].query("family == 'reasoning' and scheme == 'hierarchical'")
    low, high = find_intervals(drawn)["difference"]
    found = (first["value"], first["low"], first["high"])
    assert found == pytest.approx((fit["alpha"] - fit["beta"], low, high))
    assert (second["low"], second["high"]) == pytest.approx((-high, -low))


def test_each_budget_has_its_own_law_and_verdict():
    long, short = cells(product(*STEEP_IN_N)), cells(product(*STEEP_IN_V), budget="short")
    series = {**SERIES, "tokenpacker_short": Selection(("tokenpacker",), "short")}
    table = ask(results(long, short, names=series), series)
    first = table[table["id"] == "H1"].set_index("series")
    assert first["verdict"].to_dict() == {
        "tokenpacker": "supported",
        "tokenpacker_short": "contradicted",
    }
    assert first["budget"].tolist() == ["full", "short"]
    assert table[table["id"] == "H5"]["budget"].tolist() == ["full", "short"]


def test_cells_of_another_budget_do_not_count():
    law = product(*STEEP_IN_N)
    unseen = cells(law, sizes={"xxl": 14.0}, role="holdout", budget="short")
    series = {**SERIES, "tokenpacker_short": Selection(("tokenpacker",), "short")}
    found = ask(results(cells(law), cells(law, budget="short"), unseen, names=series), series)
    third = found[found["id"] == "H3"].set_index("budget")["verdict"]
    assert third.to_dict() == {"full": "not tested", "short": "supported"}


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [
        (1.0, 0.0, "supported"),
        (1.09, 0.0, "supported"),
        (1.105, 0.0, "contradicted"),
        (1.14, 0.03, "undecided"),
    ],
)
def test_an_llm_that_was_held_out(factor, noise, verdict):
    law = product(*STEEP_IN_N)
    unseen = cells(
        lambda n, v: law(n, v) / factor, sizes={"xxl": 14.0, "xxxl": 20.0}, role="holdout"
    )
    row = only(ask(results(cells(law, noise=noise), unseen)), "H3")
    assert row["verdict"] == verdict
    if noise == 0:
        assert row["value"] == pytest.approx(factor - 1, abs=1e-6)
        # 7 instead of 14 or 20 billion
        naive = factor * np.mean([2**0.2, (20 / 7) ** 0.2]) - 1
        assert f"misses by {naive:.3f}, {naive - factor + 1:.3f} [" in row["note"]
        # all cells are as far off as their mean
        assert f"10 cells, {factor - 1:.3f} at most;" in row["note"]
        assert row["p_holm"] < 0.05
    else:
        assert row["low"] <= 0.1 < row["value"]
    assert row["note"].startswith("xxl, xxxl, 10 cells, ")


def test_the_naive_guess_needs_the_same_count():
    law = product(*STEEP_IN_N)
    unseen = cells(law, sizes={"xxl": 14.0}, role="holdout")
    seen = cells(law)
    some = seen[~((seen["llm"] == "xl") & (seen["visual_tokens"] == 4))]
    assert " at 4 of them, " in only(ask(results(some, unseen)), "H3")["note"]
    none = only(ask(results(seen, unseen.assign(visual_tokens=3))), "H3")
    assert "was measured at none of their token counts" in none["note"]


def linear(n, v):
    return 0.6 - 0.08 * np.log(n) - 0.03 * np.log(v)


@pytest.mark.parametrize(
    ("truth", "verdict"),
    [(linear, "supported"), (LAW, "contradicted"), (product(0.3, 0.9, 0.5, 0.3), "undecided")],
)
def test_which_form_predicts(truth, verdict):
    """With little noise; errors of the LLM left out, which extrapolates at both ends."""
    tables = results(cells(truth, sizes=MANY))
    row = only(ask(tables), "H8")
    assert row["verdict"] == verdict
    points = tables["errors"]
    sizes = points["n_params_b"].to_numpy()
    missed = {
        form.name: pd.Series(predict_left_out(form, points, sizes) ** 2).groupby(sizes).mean()
        ** 0.5
        for form in FORMS
        if form.name in ("product", "log-linear")
    }
    gains = missed["product"] - missed["log-linear"]
    assert row["value"] == pytest.approx(gains.mean())
    reach = stats.t.ppf(0.975, len(MANY) - 1) * gains.std() / np.sqrt(len(MANY))
    assert row["high"] - row["value"] == pytest.approx(reach)


def test_forms_that_the_llms_cannot_tell_apart_stay_undecided():
    tables = results(cells(product(0.6, 0.05, 0.02, 0.0), noise=0.004))
    assert only(ask(tables), "H8")["verdict"] == "undecided"
