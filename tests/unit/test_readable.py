"""Tables for people hold the numbers of the tables for machines."""

from pathlib import Path

import pandas as pd

from vlmscale.analysis import fits
from vlmscale.analysis.published import paper_decoders, published_errors
from vlmscale.architectures import load_architectures
from vlmscale.readable import (
    forms_for_people,
    laws_for_people,
    methods_for_people,
    table1_for_people,
    variants_for_people,
    write_readable,
)
from vlmscale.series import Selection

RESOURCES = Path(__file__).parents[2] / "resources"
SERIES = {"published": Selection(("tokenpacker",))}


def released_errors():
    decoders = paper_decoders(load_architectures(RESOURCES / "architectures.csv"))
    scores = {
        family: pd.read_csv(RESOURCES / f"published/{family}_scores.csv")
        for family in ("reasoning", "ocr")
    }
    return published_errors(scores, decoders)


def test_tables_of_laws(tmp_path):
    errors = released_errors()
    laws = fits.fit_laws(errors, SERIES)
    draws = fits.draws_table(errors, SERIES, draws=100, seed=0)
    assert set(draws["scheme"]) == {"cases", "residual", "wild", "sizes"}
    spread = fits.interval_table(errors, draws, SERIES, [0, 50])
    assert {"delta method", "jackknife"} <= set(spread["scheme"])
    people = laws_for_people(laws, spread).set_index("family")
    assert people.loc["reasoning", "α"].startswith("0.0709 [")
    assert people.loc["reasoning", "D"] == "0 (bound)"
    assert people.loc["reasoning", "T*(50)"].startswith("13.5 [")  # of the law, not of its refits
    assert people.loc["ocr", "T*(50)"] == "576.0 [576.0, 576.0]"
    forms = forms_for_people(fits.forms_table(errors, SERIES))
    best = forms[forms["ΔAICc"] == "0.0"]
    assert best["form"].tolist() == ["logit-linear", "logit-linear"]
    variants = variants_for_people(fits.variants_table(errors, SERIES))
    assert "N: parameters without embeddings" in set(variants["variant"])
    for name, table in {"laws": people.reset_index(), "forms": forms, "variants": variants}.items():
        write_readable(table, tmp_path / f"{name}.md", tmp_path / f"{name}.tex")
        assert len((tmp_path / f"{name}.md").read_text().splitlines()) == len(table) + 2
        latex = (tmp_path / f"{name}.tex").read_text()
        assert not set("αβΔ") & set(latex)
        assert "^" not in latex.replace(r"\^{}", "")
        assert latex.count(r"\\") == len(table) + 1


def test_scores_of_two_budgets_stand_in_rows_of_their_own():
    errors = released_errors()
    one = methods_for_people(errors)
    assert list(one) == ["LLM", "method", "visual tokens", "reasoning, mean", "ocr, mean"]
    worse = errors.assign(budget="short", score=errors["score"] / 2)
    both = methods_for_people(pd.concat([errors, worse]))
    assert both["budget"].tolist() == ["full", "short"] * len(one)
    pd.testing.assert_frame_equal(
        both[both["budget"] == "full"].drop(columns="budget").reset_index(drop=True), one
    )


def test_table1_with_closed_gaps():
    table = pd.read_csv(RESOURCES / "published/table1.csv")
    people = table1_for_people(table, "QueCC")
    gaps = people[people["method"] == "gap QueCC closes, %"]
    assert gaps["MME"].tolist() == ["1.6", "-0.5", "26.2", "2.7"]
    assert gaps["MMB"].tolist()[2:] == ["21.4", "-2.1"]
    assert (people["method"] == "LLaVA-1.5").sum() == 1


def test_profile_reaches_from_below_zero_to_the_smallest_error():
    errors = released_errors()
    profile = fits.profile_table(errors, SERIES)
    for family, rows in profile.groupby("family"):
        smallest = errors[errors["family"] == family]["error"].min()
        assert rows["floor"].min() == -1
        assert 0.97 * smallest < rows["floor"].max() < smallest
        assert rows["floor"].is_monotonic_increasing
