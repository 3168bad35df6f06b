"""Learning checks hold where models learned, and name what did not."""

import pandas as pd
import pytest

from vlmscale.analysis.checks.learning import COLUMNS, check_learning, summarize_losses
from vlmscale.errors import UserError
from vlmscale.report.tables import format_table

METHODS = ["tokenpacker", "mlp"]
CHANCE = pd.DataFrame({"benchmark": ["attr", "char"], "chance": [0.5, 0.2]})
FAMILIES = {"attr": "reasoning", "char": "ocr"}
SIZES = {"d24": 0.1, "d48": 0.2, "d96": 0.3}


def score_of(llm, v, budget):
    """What a model that learned scores: more of everything is better."""
    return 0.5 + SIZES[llm] / 10 + v / 100 + (0.05 if budget == "full" else 0.0)


def study(score=score_of, blind=0.5, budgets=("full", "short")):
    rows = []

    def add(llm, method, v, budget, benchmark, score):
        run = f"{llm}-{method}-{v}-{budget}"
        about = {"cell": run, "run": run, "llm": llm, "method": method, "visual_tokens": v}
        about |= {"seed": 0, "budget": budget, "n_params_b": SIZES[llm], "n": 400}
        about |= {"family": FAMILIES[benchmark], "benchmark": benchmark, "score": score}
        rows.extend([about, {**about, "benchmark": "mean", "score": -9.0}])

    for llm in SIZES:
        for budget in budgets:
            for benchmark in FAMILIES:
                for method, v in (("tokenpacker", 1), ("tokenpacker", 4), ("mlp", 36)):
                    add(llm, method, v, budget, benchmark, score(llm, v, budget))
                # belongs to no law that is checked
                add(llm, "quecc", 36, budget, benchmark, 0.0 if llm == "d96" else 1.0)
                add(llm, "blind", 1, budget, benchmark, {"attr": blind, "char": 0.2}[benchmark])
    return pd.DataFrame(rows)


def runs(*ends):
    rows = [(f"r{i}", "stage2", first, last) for i, (first, last) in enumerate(ends)]
    return pd.DataFrame(rows, columns=["run", "stage", "first", "last"])


def check(errors, trained=None):
    return check_learning(errors, CHANCE, runs() if trained is None else trained, METHODS)


def failed(table):
    return set(
        table[~table["holds"]][["check", "budget", "subject"]].itertuples(index=False, name=None)
    )


def test_models_that_learned_fail_nothing():
    table = check(study(), runs((2.0, 1.0)))
    assert list(table.columns) == COLUMNS
    assert table["holds"].all()
    assert table.groupby("check")["subject"].size().to_dict() == {
        "training loss falls": 1,
        "a larger budget scores higher": 2,
        "blind is at chance": 4,
        "the largest LLM scores higher": 2,
        "more tokens score higher": 2,
    }
    assert set(format_table("sanity", table)["holds"]) == {"yes"}


def test_the_numbers_by_hand():
    table = check(study()).set_index(["check", "budget", "subject"])
    larger = table.loc[("the largest LLM scores higher", "short", "attr")]
    mean = (1 + 4 + 36) / 3 / 100
    assert (larger["value"], larger["reference"]) == pytest.approx((0.53 + mean, 0.51 + mean))
    assert larger["note"] == "d96, d24"
    more = table.loc[("more tokens score higher", "full", "char")]
    assert (more["value"], more["reference"]) == pytest.approx((0.57 + 0.36, 0.57 + 0.01))
    budget = table.loc[("a larger budget scores higher", "full", "attr")]
    assert budget["value"] - budget["reference"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda llm, v, budget: score_of(llm, v, "full" if budget == "short" else "short"),
            {("a larger budget scores higher", "full", b) for b in FAMILIES},
        ),
        (
            lambda llm, v, budget: score_of(llm, v, budget) - SIZES[llm],
            {("the largest LLM scores higher", b, "attr") for b in ("full", "short")},
        ),
        (
            lambda llm, v, budget: 0.5,  # no better is not better
            {
                *(("a larger budget scores higher", "full", b) for b in FAMILIES),
                *(("the largest LLM scores higher", b, "attr") for b in ("full", "short")),
                *(("more tokens score higher", b, "char") for b in ("full", "short")),
            },
        ),
        (
            lambda llm, v, budget: score_of(llm, v, budget) - (v / 50 if budget == "full" else 0),
            {
                ("more tokens score higher", "full", "char"),
                *(("a larger budget scores higher", "full", b) for b in FAMILIES),
            },
        ),
    ],
)
def test_models_that_did_not_learn(change, expected):
    assert failed(check(study(change))) == expected


@pytest.mark.parametrize(
    ("score", "questions", "holds"),
    [
        (0.54, 10_000, True),
        (0.56, 10_000, False),
        (0.44, 10_000, True),  # below chance is no leak
        (0.56, 400, True),  # three standard errors are 0.075
        (0.58, 400, False),
    ],
)
def test_blind_and_chance(score, questions, holds):
    errors = study(blind=score, budgets=["full"]).assign(n=questions)
    table = check(errors)
    row = table[(table["check"] == "blind is at chance") & (table["subject"] == "attr")].iloc[0]
    assert row["holds"] == holds
    assert (row["value"], row["reference"]) == (pytest.approx(score), 0.5)
    assert row["note"].startswith(f"{score - 0.5:+.3f} from chance")


def test_losses():
    falling = [(step, 20.0 - step) for step in range(20)]
    records = [
        {"run": "d24-mlp-36-short", "stage": "stage1", "losses": falling},
        {"run": "r1", "stage": "stage2", "losses": falling[::-1]},
        {"run": "r2", "stage": "stage2", "losses": [(1, 3.0)]},
        {"run": "r3", "stage": "stage2", "losses": []},
    ]
    losses = summarize_losses(pd.DataFrame(records))
    assert losses["first"].tolist()[:3] == [18.5, 2.5, 3.0]
    assert losses["last"].tolist()[:3] == [2.5, 18.5, 3.0]
    table = check(study(), losses).query("check == 'training loss falls'")
    assert table["holds"].tolist() == [True, False, False, False]
    assert table["subject"].tolist()[0] == "d24-mlp-36-short, stage1"
    assert table["budget"].tolist()[:2] == ["short", ""]
    assert table["note"].tolist() == ["", "", "", "a loss is missing or not a number"]


def test_a_small_study_has_fewer_checks():
    errors = study(budgets=["full"])
    alone = errors[(errors["llm"] == "d24") & (errors["visual_tokens"] > 1)]
    assert check(alone).empty
    assert check(errors[errors["method"] == "quecc"]).empty


def test_tables_that_cannot_be_checked():
    with pytest.raises(UserError, match="table errors: column 'budget' is missing"):
        check(study().drop(columns="budget"))
    with pytest.raises(UserError, match="chance: that of benchmark attr is unknown"):
        check_learning(study(), CHANCE.iloc[1:], runs(), METHODS)
