"""Cells to train next: what the greedy order promises, and that refits agree with its first choice."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.decisions.next_cells import (
    choose_cells,
    determines_law,
    expect_remaining,
    measure_width,
    start_from,
)
from vlmscale.analysis.laws.hierarchical import sample_laws
from vlmscale.analysis.laws.information import Aim
from vlmscale.errors import UserError

REASONING = read_scores("reasoning_scores").assign(llm=lambda t: t["n_params_b"].astype(str))
RATIO = Aim("ratio")


def list_candidates(query="visual_tokens > 0", seeds=1, hours=1.0):
    cells = REASONING.query(query)[["llm", "n_params_b", "visual_tokens"]]
    parts = [cells.assign(seed=seed) for seed in range(seeds)]
    cells = pd.concat(parts, ignore_index=True)
    names = (
        cells["llm"] + " " + cells["visual_tokens"].astype(str) + " " + cells["seed"].astype(str)
    )
    return cells.assign(run=names, hours=hours)


def begin(points=REASONING.iloc[:0], aim=RATIO):
    return start_from(points, REASONING, list_candidates(), aim)


@pytest.fixture(scope="module")
def nothing():
    return begin()


def test_hours_are_kept_and_widths_fall(nothing):
    candidates = list_candidates(seeds=2, hours=np.tile(np.linspace(1, 3, 28), 2))
    found = choose_cells(nothing, candidates, RATIO, hours=40)
    assert found["hours"].sum() == pytest.approx(found["hours_total"].iloc[-1])
    left = candidates[~candidates["run"].isin(found["run"])]["hours"].min()
    assert 40 - left < found["hours_total"].iloc[-1] <= 40
    assert (found["remaining"].diff().dropna() <= 1e-12).all()
    assert found["run"].is_unique
    shown = candidates.set_index("run").loc[found["run"]].reset_index()
    assert found["remaining"].iloc[-1] == pytest.approx(expect_remaining(nothing, shown, RATIO))


def test_widths_are_given_once_cells_determine_a_law(nothing):
    found = choose_cells(nothing, list_candidates(), RATIO, hours=28)
    assert nothing.from_prior
    assert nothing.width is None
    for step in range(1, len(found) + 1):
        cells = found.iloc[:step]
        cells = cells.assign(visual_tokens=cells["visual_tokens"].astype(int))
        assert np.isfinite(found["width"].iloc[step - 1]) == determines_law(cells)
    assert found["width"].notna().sum() >= 20


def test_seeds_of_a_cell_tell_the_same(nothing):
    candidates = list_candidates(seeds=2)
    cells = [candidates[candidates["run"] == f"4.0 16 {seed}"] for seed in (0, 1)]
    one, other = (expect_remaining(nothing, cell, RATIO) for cell in cells)
    assert one == other
    turned = candidates.assign(seed=1 - candidates["seed"])
    first, second = (
        choose_cells(nothing, table, RATIO, hours=12)[["llm", "visual_tokens", "remaining"]]
        for table in (candidates, turned)
    )
    pd.testing.assert_frame_equal(first, second)


def test_each_choice_is_the_best_for_its_hours(nothing):
    """By trying all others of the chosen at every step."""
    rng = np.random.default_rng(0)
    candidates = list_candidates(hours=rng.uniform(1, 5, 28))
    found = choose_cells(nothing, candidates, RATIO, hours=12)
    chosen = candidates[candidates["run"].isin(found["run"])]
    trained = candidates.iloc[:0]
    for run in found["run"]:
        before = expect_remaining(nothing, trained, RATIO)
        rates = {
            name: (before - expect_remaining(nothing, pd.concat([trained, cell]), RATIO))
            / cell["hours"].iloc[0]
            for name, cell in chosen.drop(trained.index).groupby("run")
        }
        assert rates[run] == pytest.approx(max(rates.values()))
        trained = pd.concat([trained, candidates[candidates["run"] == run]])


def test_no_set_of_few_cells_is_far_better(nothing):
    """By trying all sets of nine candidates within the hours: the search is within a fifth of the best."""
    rng = np.random.default_rng(2)
    for aim in (RATIO, Aim("difference"), Aim("alpha")):
        candidates = list_candidates(hours=rng.uniform(1, 5, 28)).iloc[::3].iloc[:9]
        found = choose_cells(nothing, candidates, aim, hours=9)
        best = min(
            expect_remaining(nothing, candidates.iloc[list(chosen)], aim)
            for count in range(1, 10)
            for chosen in combinations(range(9), count)
            if candidates["hours"].iloc[list(chosen)].sum() <= 9
        )
        assert best * (1 - 1e-9) <= found["remaining"].iloc[-1] <= 1.2 * best


def test_no_exchange_is_better(nothing):
    """Of the chosen cells none can be replaced by one other for a narrower interval."""
    rng = np.random.default_rng(1)
    candidates = list_candidates(hours=rng.uniform(1, 5, 28))
    candidates.index = candidates["run"].to_list()
    found = choose_cells(nothing, candidates, RATIO, hours=20)
    kept, whole = found["run"].tolist(), found["remaining"].iloc[-1]
    for out in kept:
        for new in candidates.index.difference(kept):
            runs = [new if run == out else run for run in kept]
            if candidates.loc[runs, "hours"].sum() <= 20:
                after = expect_remaining(nothing, candidates.loc[runs], RATIO)
                assert after > whole * (1 - 2e-4), (out, new)


def test_trained_runs_come_first_and_cells_of_a_run_together(nothing):
    candidates = list_candidates()
    candidates.loc[candidates["run"] == "7.0 64 0", "hours"] = 0.0
    shared = candidates["run"].isin(["0.5 1 0", "0.5 4 0"])
    candidates.loc[shared, "run"] = "elastic"
    found = choose_cells(nothing, candidates, RATIO, hours=28)
    assert found["run"].iloc[0] == "7.0 64 0"
    mine = found.set_index("run").loc["elastic"]
    assert (mine["visual_tokens"], mine["cells"], mine["hours"]) == ("1, 4", 2, 1.0)
    assert found["cells"].sum() == len(candidates)


def test_a_study_of_far_smaller_llms_begins_with_the_same_cells(nothing):
    smaller = list_candidates().assign(n_params_b=lambda table: table["n_params_b"] / 1e5)
    start = start_from(REASONING.iloc[:0], REASONING, smaller, RATIO)
    found, here = (
        choose_cells(begun, table, RATIO, hours=8)
        for begun, table in ((start, smaller), (nothing, list_candidates()))
    )
    assert found["run"].tolist() == here["run"].tolist()
    assert found["width"].to_numpy() == pytest.approx(here["width"].to_numpy(), nan_ok=True)


def test_errors_of_an_llm_take_large_llms():
    """The nearest sizes are told most about; each LLM's offset is met once at least."""
    aim = Aim("error", llm="14", n_params_b=14.0, visual_tokens=16)
    found = choose_cells(begin(aim=aim), list_candidates(), aim, hours=10)
    assert found["n_params_b"].nunique() == 4
    assert found["n_params_b"].ge(4).mean() >= 0.5


def test_an_error_of_zero_is_refused():
    points = REASONING.assign(error=REASONING["error"].where(REASONING.index > 0, 0.0))
    with pytest.raises(UserError, match="an error of 0"):
        begin(points)


@pytest.mark.slow
def test_the_first_choice_is_that_of_brute_force_over_refits():
    """Of three cells, one narrows the ratio's refitted interval most; 24 results of each are simulated."""
    points = REASONING.query("n_params_b < 5 and visual_tokens in (1, 16, 576)")
    runs = ["0.5 36 0", "1.8 16 1", "7.0 1 0"]
    candidates = list_candidates(seeds=2)
    candidates = candidates[candidates["run"].isin(runs)].reset_index(drop=True)
    start = start_from(points, REASONING, candidates, RATIO)
    chosen = choose_cells(start, candidates, RATIO, hours=1)["run"].iloc[0]
    laws = sample_laws(points, draws=2000, seed=0)
    narrowed = {}
    for run, cell in candidates.groupby("run"):
        widths = []
        for k in range(24):
            law = laws.iloc[k]
            error = plant_law(
                *(law[name] for name in ("amplitude", "alpha", "beta", "floor")),
                counts=cell["visual_tokens"],
                sizes=cell["n_params_b"],
            )["error"].iloc[0]
            rng = np.random.default_rng(k)
            error += np.hypot(law["noise"], law["offset"]) * rng.standard_normal()
            shown = pd.concat([points.assign(seed=0), cell.assign(error=error, seed=1)])
            width = measure_width(sample_laws(shown, draws=500, seed=0), RATIO, shown)
            widths.append(np.inf if width is None else width)
        narrowed[run] = np.median(widths)
    assert chosen == min(narrowed, key=narrowed.get) == "7.0 1 0"
