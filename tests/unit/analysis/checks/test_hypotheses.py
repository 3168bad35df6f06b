"""Hypotheses are decided as their rules say, on studies made from laws that are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.checks.hypotheses.decide import COLUMNS, decide_hypotheses
from vlmscale.analysis.checks.hypotheses.results import Results
from vlmscale.analysis.laws.bootstrap import bootstrap, choose_scheme
from vlmscale.analysis.laws.forms import compare_forms
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.tables import describe_fit
from vlmscale.errors import UserError
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_verdicts
from vlmscale.study.selection import Selection

pytestmark = pytest.mark.slow

SIZES, COUNTS = {"s": 0.5, "m": 1.8, "l": 4.0, "xl": 7.0}, (1, 4, 16, 64, 256)
SERIES = {"tokenpacker": Selection(("tokenpacker",))}
STEEP_IN_N, STEEP_IN_V = (0.6, 0.2, 0.04, 0.0), (0.9, 0.04, 0.2, 0.0)
LEVEL = (0.8, 0.1, 0.1, 0.0)
PAIRED = [
    *("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
    *("llms", "seeds", "questions", "difference", "low", "high"),
]


def product(amplitude, alpha, beta, floor):
    return lambda n, v: amplitude * n**-alpha * v**-beta + floor


def cells(error, *, family="reasoning", budget="full", noise=0.0, sizes=SIZES, role="fit"):
    """Family means of the cells of tokenpacker, with the errors error(n, v)."""
    rng = np.random.default_rng(1)
    rows = []
    for llm, n in sizes.items():
        for v in COUNTS:
            name = f"{llm}-v{v}-{budget}"
            missed = error(n, v) + noise * rng.normal()
            rows.append(
                {
                    **{"cell": name, "run": name, "llm": llm, "method": "tokenpacker", "seed": 0},
                    **{"visual_tokens": v, "budget": budget, "role": role, "n_params_b": n},
                    **{"family": family, "benchmark": "mean", "error": missed, "score": 1 - missed},
                }
            )
    return pd.DataFrame(rows)


def results(*parts, names=("tokenpacker",), draws=300):
    """The tables of a study with these cells; names: of the laws, one for each budget."""
    errors = pd.concat(parts, ignore_index=True)
    tables = {"laws": [], "draws": [], "forms": []}
    fitted = errors[errors["role"] == "fit"].groupby(["budget", "family"], sort=False)
    budgets = dict(zip(errors["budget"].unique(), names, strict=True))
    for (budget, family), points in fitted:
        about = {"series": budgets[budget], "family": family}
        law, scheme = fit_power_law(points), choose_scheme(points)
        drawn = bootstrap(points, law, scheme, draws=draws, seed=0).assign(scheme=scheme)
        # Another scheme's draws must not count.
        other = drawn.assign(scheme="wild", alpha=0.5 - drawn["alpha"], ratio=1 / drawn["ratio"])
        tables["laws"].append(pd.DataFrame([{**about, **describe_fit(law, points)}]))
        tables["draws"] += [drawn.assign(**about), other.assign(**about)]
        tables["forms"].append(compare_forms(points).assign(**about))
    return Results(
        errors=errors,
        samples=pd.DataFrame(columns=["cell", "family", "benchmark", "id", "score"]),
        paired=pd.DataFrame(columns=PAIRED),
        **{name: pd.concat(frames, ignore_index=True) for name, frames in tables.items()},
    )


def ask(tables, series=SERIES, text_tokens=(0, 50), seed=0):
    return decide_hypotheses(tables, series, text_tokens, draws=500, seed=seed)


def only(table, hypothesis):
    (row,) = table[table["id"] == hypothesis].to_dict("records")
    return row


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
    fit = tables.laws.set_index("family").loc["reasoning"]
    drawn = tables.draws.query("family == 'reasoning' and scheme == 'sizes'")
    low, high = np.quantile(drawn["alpha"] - drawn["beta"], [0.025, 0.975])
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
        assert f"misses by {naive:.3f};" in row["note"]
        # all cells are as far off as their mean
        assert f"10 cells, {factor - 1:.3f} at most;" in row["note"]
    else:
        assert row["low"] <= 0.1 < row["value"]
    assert row["note"].startswith("xxl, xxxl, 10 cells, ")


def test_the_naive_guess_needs_the_same_count():
    law = product(*STEEP_IN_N)
    unseen = cells(law, sizes={"xxl": 14.0}, role="holdout")
    seen = cells(law)
    some = seen[~((seen["llm"] == "xl") & (seen["visual_tokens"] == 4))]
    assert " at 4 of them;" in only(ask(results(some, unseen)), "H3")["note"]
    none = only(ask(results(seen, unseen.assign(visual_tokens=3))), "H3")
    assert "was measured at none of their token counts" in none["note"]


@pytest.mark.parametrize(
    ("above_one", "verdict"),
    [
        (100, "supported"),
        (95, "supported"),
        (94, "undecided"),
        (6, "undecided"),
        (5, "contradicted"),
        (0, "contradicted"),
    ],
)
def test_best_tokens_rise_with_text(above_one, verdict):
    """A ratio of 3 takes 25 tokens with 50 of text and 1 without, one below 1 takes all 256 always."""
    tables = results(cells(product(0.6, 0.3, 0.1, 0.0)), draws=100)
    ratio = np.where(np.arange(100) < above_one, 3.0, 0.5)
    tables = replace(tables, draws=tables.draws.assign(ratio=np.tile(ratio, 2)))
    row = only(ask(tables, text_tokens=(20, 50, 0)), "H4")
    assert row["verdict"] == verdict
    assert row["value"] == pytest.approx(24, abs=1e-3)
    assert f"above 0 in {above_one:.1f} %" in row["note"]
    assert only(ask(tables, text_tokens=(0,)), "H4")["verdict"] == "not tested"


def comparison(method, low, high, **about):
    row = {"method": method, "baseline": "tokenpacker", "visual_tokens": 1, "budget": "full"}
    row |= {"llm": "all", "family": "reasoning", "benchmark": "mean", "llms": 2, "seeds": 2}
    return {
        **row,
        "questions": 9,
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        **about,
    }


def with_paired(*rows):
    return replace(results(cells(LAW)), paired=pd.DataFrame(rows, columns=PAIRED))


LAW = product(*STEEP_IN_N)
INTERVALS = [(0.01, 0.05), (-0.05, -0.01), (-0.01, 0.05)]


@pytest.mark.parametrize(
    ("interval", "better", "no_better"),
    zip(
        INTERVALS,
        ["supported", "contradicted", "undecided"],
        ["contradicted", "supported", "undecided"],
        strict=True,
    ),
)
def test_methods_side_by_side(interval, better, no_better):
    misleading = interval[::-1]
    noise = [
        comparison("quecc", *interval, llm="s", difference=9),
        comparison("quecc", *misleading, visual_tokens=4),
        comparison("quecc", *misleading, benchmark="attr"),
        comparison("quecc", *misleading, baseline="mlp"),
        comparison("quecc", *misleading, budget="short"),
        comparison("quecc", *misleading, family="ocr"),
    ]
    found = ask(
        with_paired(*noise, *(comparison(m, *interval) for m in ("quecc", "avgpool", "random")))
    )
    row = only(found, "H5")
    assert row["verdict"] == better
    assert (row["value"], row["low"], row["high"]) == (sum(interval) / 2, *interval)
    seventh = found[found["id"] == "H7"]
    assert seventh["verdict"].tolist() == [no_better] * 2
    assert seventh["hypothesis"].tolist() == [
        f"{method} answers no better than tokenpacker at V = 1" for method in ("avgpool", "random")
    ]
    assert seventh["value"].tolist() == [sum(interval) / 2] * 2


def test_a_row_for_each_count_and_for_each_llm_that_is_not_pooled():
    rows = [
        comparison("random", 0.01, 0.02, visual_tokens=16, llm="s"),
        comparison("random", -0.02, -0.01, visual_tokens=4),
        comparison("random", 0.5, 0.6, visual_tokens=4, llm="s"),
    ]
    found = ask(with_paired(*rows)).query("id == 'H7'")
    assert found["verdict"].tolist() == ["not tested", "supported", "contradicted"]
    assert found["note"].tolist()[1:] == [
        "mean of 2 LLMs, 9 questions; resampled are questions",
        "LLM s, 9 questions; resampled are questions",
    ]


def with_repeat(gains):
    """gains: by benchmark the difference of each question; the cell at 16 tokens must not matter."""
    tables = results(cells(LAW, sizes={"s": 0.5, "m": 1.8}))
    made = []
    for llm in ("s", "m"):
        run = f"{llm}-v4-full"
        for v in (8, 16):
            row = {"cell": f"{llm}-repeat-v{v}", "run": run, "method": "repeat", "visual_tokens": v}
            made.append({**tables.errors[tables.errors["cell"] == run].iloc[0], **row})
    errors = pd.concat([tables.errors, pd.DataFrame(made)], ignore_index=True)
    samples = []
    for benchmark, each in gains.items():
        for cell, method, v in errors[["cell", "method", "visual_tokens"]].itertuples(index=False):
            scores = 0.5 + np.asarray(each) * (method == "repeat")
            if method == "tokenpacker" and v != 4:
                scores = scores * 0
            about = {"cell": cell, "family": "reasoning", "benchmark": benchmark}
            samples += [{**about, "id": i, "score": s} for i, s in enumerate(scores)]
    return replace(tables, errors=errors, samples=pd.DataFrame(samples))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"a": [0.0] * 5, "b": [0.01] * 9}, "supported"),
        ({"a": [0.03] * 5, "b": [0.008] * 9}, "supported"),
        ({"a": [0.04] * 5, "b": [0.002] * 9}, "contradicted"),
        ({"a": [-0.1] * 5, "b": [0.0] * 9}, "contradicted"),
        ({"a": [0.4, -0.4, 0.4, -0.4], "b": [0.0] * 9}, "undecided"),
    ],
)
def test_repetition(gains, verdict):
    tables = with_repeat(gains)
    row = only(ask(tables), "H6")
    assert row["verdict"] == verdict
    assert row["value"] == pytest.approx(np.mean([np.mean(g) for g in gains.values()]))
    assert row["low"] <= row["value"] <= row["high"]
    assert row["note"].startswith("4 cells")
    assert only(ask(tables, seed=0), "H6") == row
    if verdict == "undecided":
        # four coins of 0.4, halved: the mean of a benchmark of four, over two benchmarks
        assert (row["low"], row["high"]) == (-0.2, 0.2)


def test_repetition_with_a_run_of_its_own_is_another_question():
    tables = with_repeat({"a": [0.0] * 5})
    repeat = tables.errors["method"] == "repeat"
    errors = tables.errors.assign(run=tables.errors["run"].mask(repeat, tables.errors["cell"]))
    assert only(ask(replace(tables, errors=errors)), "H6")["verdict"] == "not tested"
    lacking = tables.samples.drop(tables.samples.query("cell == 's-repeat-v8' and id == 2").index)
    with pytest.raises(UserError, match="samples of a: a cell of repeat or tokenpacker lacks"):
        ask(replace(tables, samples=lacking))


def linear(n, v):
    return 0.6 - 0.08 * np.log(n) - 0.03 * np.log(v)


@pytest.mark.parametrize(
    ("truth", "verdict"),
    [(linear, "supported"), (LAW, "contradicted"), (product(0.3, 0.9, 0.5, 0.3), "contradicted")],
)
def test_which_form_predicts(truth, verdict):
    tables = results(cells(truth))
    row = only(ask(tables), "H8")
    forms = tables.forms.set_index("form")["rmse_left_out_size"]
    assert row["verdict"] == verdict
    assert row["value"] == pytest.approx(forms["product"] - forms["log-linear"])
    assert abs(row["value"]) > 1e-3


def test_what_a_study_cannot_test_says_why():
    table = ask(results(cells(LAW, sizes={"s": 0.5, "m": 1.8})), text_tokens=())
    assert list(table.columns) == COLUMNS
    untested = table[table["verdict"] == "not tested"]
    assert untested["id"].tolist() == ["H2", "H3", "H4", "H5", "H6", "H7", "H7", "H8"]
    assert untested[["value", "low", "high"]].isna().all(axis=None)
    notes = untested.drop_duplicates("id").set_index("id")["note"]
    for name, words in {
        "H2": "no cells for a law of ocr",
        "H3": "holds out no LLM",
        "H4": "no text tokens above 0",
        "H5": "not compared at 1 visual token",
        "H6": "no cell of repeat shares its run",
        "H7": "avgpool and tokenpacker were compared at no number",
        "H8": "leaving an LLM out needs three",
    }.items():
        assert words in notes[name]


def test_a_study_without_a_law_is_asked_about_methods_alone():
    tables = results(cells(LAW))
    found = ask(Results(tables.errors, tables.samples, tables.paired), series={})
    assert list(found.columns) == COLUMNS
    assert found["id"].tolist() == ["H5", "H6", "H7", "H7"]


def test_tables_that_do_not_belong_together():
    tables = results(cells(LAW))
    with pytest.raises(UserError, match="table errors: column 'budget' is missing"):
        ask(replace(tables, errors=tables.errors.drop(columns="budget")))
    for name in ("laws", "draws", "forms"):
        with pytest.raises(UserError, match=r"law tokenpacker, reasoning: .*fit again"):
            ask(replace(tables, **{name: getattr(tables, name).iloc[:0]}))


def test_verdicts_for_people(tmp_path):
    table = ask(results(cells(LAW)))
    people = format_verdicts(table)
    value = people.set_index("id").loc["H1", "value"]
    assert value.startswith("0.160 [")
    write_table(people, tmp_path / "v.md", tmp_path / "v.tex")
    assert len((tmp_path / "v.md").read_text().splitlines()) == len(table) + 2
    assert (tmp_path / "v.tex").read_text().count(r"\\") == len(table) + 1
