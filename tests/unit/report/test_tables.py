"""Formatted tables hold the numbers of the result tables."""

import numpy as np
import pandas as pd
import pytest

from tests.support.paths import RESOURCES
from vlmscale.analysis.laws import tables as fits
from vlmscale.analysis.laws.forms import compare_forms
from vlmscale.analysis.laws.variants import fit_variants
from vlmscale.analysis.published import load_published_errors
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_laws, format_methods, format_table, format_table1
from vlmscale.study.selection import Selection

SERIES = {"published": Selection(("tokenpacker",))}


@pytest.mark.slow
def test_laws_forms_and_variants_are_rounded_and_escaped(tmp_path):
    errors = load_published_errors()
    laws = fits.tabulate_laws(errors, SERIES)
    draws = fits.tabulate_draws(errors, None, SERIES, draws=100, seed=0)
    assert set(draws["scheme"]) == {"hierarchical", "cases", "residual", "wild", "sizes"}
    spread = fits.tabulate_intervals(errors, draws, SERIES, [0, 50])
    assert {"delta method", "jackknife"} <= set(spread["scheme"])
    text = format_laws(laws, spread).set_index("family")
    assert text.loc["reasoning", "α"].startswith("0.0709 [")
    assert text.loc["reasoning", "D"] == "0 (bound)"
    assert text.loc["reasoning", "V*(50)"].startswith("13.5 [")  # of the law, not of its refits
    low, high = text.loc["ocr", "V*(50)"].removeprefix("576.0 [").removesuffix("]").split(", ")
    assert float(low) < 100  # a ratio above 1 is possible
    assert high == "576.0"
    forms = fits.tabulate_each(errors, SERIES, lambda points, _: compare_forms(points))
    forms = format_table("forms", forms)
    best = forms[forms["ΔAICc"] == "0.0"]
    assert best["form"].tolist() == ["logit-linear", "logit-linear"]
    variants = fits.tabulate_each(errors, SERIES, lambda points, _: fit_variants(points))
    variants = format_table("variants", variants)
    assert "N: parameters without embeddings" in set(variants["variant"])
    for name, table in {"laws": text.reset_index(), "forms": forms, "variants": variants}.items():
        write_table(table, tmp_path / f"{name}.md", tmp_path / f"{name}.tex")
        assert (
            len((tmp_path / f"{name}.md").read_text().splitlines()) == len(table) + 4
        )  # with a signature
        latex = (tmp_path / f"{name}.tex").read_text()
        assert not set("αβΔ") & set(latex)
        assert "^" not in latex.replace(r"\^{}", "")
        assert latex.count(r"\\") == len(table) + 1


CHANCE = pd.DataFrame({"benchmark": ["mmmu", "pope", "chartqa"], "chance": [0.25, 0.65, 0.01]})


def test_chance_and_unread_answers_stand_beside_the_scores():
    """Two seeds; MMMU's answers cannot all be read, POPE's can, ChartQA has no such rule."""
    rows = [
        (seed, family, benchmark, score, unparsed)
        for seed, shift in ((0, 0.0), (1, 0.02))
        for family, benchmark, score, unparsed in (
            ("reasoning", "mmmu", 0.3 + shift, 0.11 + shift),
            ("reasoning", "pope", 0.7, 0.001),
            ("ocr", "chartqa", 0.4, np.nan),
            ("reasoning", "mean", 0.5 + shift / 2, np.nan),
            ("ocr", "mean", 0.4, np.nan),
        )
    ]
    errors = pd.DataFrame(rows, columns=["seed", "family", "benchmark", "score", "unparsed"])
    about = {"n_params_b": 7.0, "llm": "L", "visual_tokens": 4, "method": "mlp", "budget": "full"}
    first, second = format_methods(errors.assign(**about), CHANCE).to_dict("records")
    assert first == {
        **{"LLM": "", "method": "chance", "visual tokens": ""},
        **{"mmmu": "25.0", "pope": "65.0", "chartqa": "1.0"},
        **{"reasoning, mean": "45.0", "ocr, mean": "1.0"},
    }
    assert second["mmmu"] == "31.0 (12 % unread)"
    assert (second["pope"], second["chartqa"]) == ("70.0", "40.0")
    assert second["reasoning, mean"] == "50.5"


def test_scores_of_two_budgets_stand_in_rows_of_their_own():
    errors = load_published_errors().assign(unparsed=np.nan)
    one = format_methods(errors, CHANCE).iloc[1:].reset_index(drop=True)
    assert list(one) == ["LLM", "method", "visual tokens", "reasoning, mean", "ocr, mean"]
    worse = errors.assign(budget="short", score=errors["score"] / 2)
    both = format_methods(pd.concat([errors, worse]), CHANCE).iloc[1:]
    assert both["budget"].tolist() == ["full", "short"] * len(one)
    pd.testing.assert_frame_equal(
        both[both["budget"] == "full"].drop(columns="budget").reset_index(drop=True), one
    )


def test_table1_shows_the_gap_that_each_block_closes():
    table = pd.read_csv(RESOURCES / "published/table1.csv")
    text = format_table1(table, "QueCC")
    gaps = text[text["method"] == "gap QueCC closes, %"]
    assert gaps["MME"].tolist() == ["1.6", "-0.5", "26.2", "2.7"]
    assert gaps["MMB"].tolist()[2:] == ["21.4", "-2.1"]
    assert (text["method"] == "LLaVA-1.5").sum() == 1


def test_profile_reaches_from_below_zero_to_the_smallest_error():
    errors = load_published_errors()
    profile = fits.tabulate_each(errors, SERIES, lambda points, _: fits.profile_down(points))
    for family, rows in profile.groupby("family"):
        smallest = errors[errors["family"] == family]["error"].min()
        assert rows["floor"].min() == -1
        assert 0.97 * smallest < rows["floor"].max() < smallest
        assert rows["floor"].is_monotonic_increasing
