"""Designs within a budget, and worlds read from scores."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law
from vlmscale.analysis.decisions.designs import (
    Design,
    World,
    check_world,
    estimate_world,
    expect_width,
    propose_designs,
)
from vlmscale.analysis.decisions.power import simulate_errors
from vlmscale.analysis.laws.information import Aim
from vlmscale.errors import UserError

SIZES = (("a", 0.5), ("b", 1.0), ("c", 2.0), ("d", 4.0), ("e", 8.0))
WORLD = World(0.6, 0.08, 0.02, 0.0, 0.004, 0.004, 0.001)
LARGEST = Design(SIZES, (1, 4, 16, 64, 576), 3)
AIM = Aim("difference")


def one_each(llm, v):
    return 1.0


@pytest.mark.parametrize("budget", [6, 20, 31, 75])
def test_proposed_designs_are_within_the_budget_and_none_contains_another(budget):
    found = propose_designs(LARGEST, budget, one_each, WORLD, AIM, most=20)
    assert found
    assert all(6 <= design.trainings <= budget for design in found)
    for one, other in combinations(found, 2):
        assert not one.contains(other)
        assert not other.contains(one)
    for design in found:
        assert design.sizes_b[0] == SIZES[0]
        assert design.token_counts[0] == 1
    widths = [expect_width(design, WORLD, AIM) for design in found]
    assert widths == sorted(widths)


def test_the_whole_is_proposed_where_it_fits():
    assert propose_designs(LARGEST, 75, one_each, WORLD, AIM, most=5) == [LARGEST]


def test_a_small_budget_leaves_out_what_is_dear():
    """Of LLMs that cost as much as they are large, the largest ones are too dear."""
    sizes = dict(SIZES)
    (best, *_) = propose_designs(LARGEST, 7, lambda llm, v: sizes[llm], WORLD, AIM, most=3)
    assert best.find_cost(lambda llm, v: sizes[llm]) <= 7
    assert best.sizes_b[-1] != SIZES[-1]


def test_costs_count_every_training():
    design = Design(SIZES[:2], (1, 4), 3)
    cost = design.find_cost(lambda llm, v: {"a": 1.0, "b": 10.0}[llm] * v)
    assert cost == 3 * (1 + 10) * (1 + 4)
    assert len(design.list_cells()) == design.trainings == 12


def test_a_budget_without_a_design_names_the_smallest():
    with pytest.raises(UserError, match=r"a budget of 5 allows no design.*The smallest takes 6"):
        propose_designs(LARGEST, 5, one_each, WORLD, AIM, most=3)
    with pytest.raises(UserError, match="give more of them"):
        propose_designs(Design(SIZES[:2], (1, 4), 1), 9, one_each, WORLD, AIM, most=3)


def test_offsets_call_for_more_llms():
    """At equal trainings, although two LLMs at the ends have the longest lever."""
    many, seeds = Design(SIZES, (1, 16, 576), 1), Design(SIZES[::4], (1, 16, 576), 3)
    differ = World(0.6, 0.08, 0.02, 0.0, 0.002, 0.02)
    assert expect_width(many, differ, AIM) < expect_width(seeds, differ, AIM)


def test_a_world_is_read_from_scores():
    truth = World(0.6, 0.08, 0.02, 0.0, 0.004, 0.02)
    sizes = np.geomspace(0.5, 8, 12)
    points = plant_law(0.6, 0.08, 0.02, 0.0, sizes=sizes, counts=(1, 4, 16, 64, 144, 576))
    points["llm"] = points["n_params_b"].astype(str)
    points["error"] = simulate_errors(points, truth, np.random.default_rng(0))
    found = estimate_world(points)
    assert found.noise == pytest.approx(0.004, rel=0.2)
    assert found.offset == pytest.approx(0.02, rel=0.5)
    assert found.slope < 0.002


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"alpha": 1.5}, "alpha 1.5: give a number from 0 to 1"),
        ({"offset": -0.1}, "offset -0.1: give a number"),
        ({"beta": np.nan}, "beta nan: give a number"),
        ({"amplitude": 0.0}, "amplitude 0: give a positive"),
        ({"noise": 0.0}, "noise 0: trainings always differ"),
    ],
)
def test_impossible_worlds_are_refused(changed, says):
    with pytest.raises(UserError, match=says):
        World(**{**vars(WORLD), **changed})


def test_a_law_that_leaves_the_unit_interval_is_refused():
    cells = pd.DataFrame({"n_params_b": [1e-5], "visual_tokens": [1]})
    with pytest.raises(UserError, match=r"error at N = 1e-05, V = 1 is 1.5"):
        check_world(WORLD, cells)
