"""Simulated studies: their noise, what is decided by them, and their Monte-Carlo error."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from vlmscale.analysis.decisions.designs import Design, World
from vlmscale.analysis.decisions.power import (
    DECISIONS,
    QUANTITIES,
    simulate_errors,
    simulate_power,
    summarize_decisions,
    summarize_widths,
)
from vlmscale.errors import UserError

SIZES = (("a", 0.5), ("b", 1.8), ("c", 4.0), ("d", 7.0))
DESIGN = Design(SIZES, (1, 16, 576), 1)


def simulate(world, design=DESIGN, simulations=4, seed=0):
    return simulate_power(design, world, simulations=simulations, seed=seed, draws=400)


@pytest.fixture(scope="module")
def clear():
    """A law whose alpha is far above its beta, hardly any noise."""
    return simulate(World(0.6, 0.12, 0.02, 0.0, 0.0005))


def test_a_clear_difference_is_found(clear):
    found = summarize_decisions(clear, 576).set_index("decision")["probability"]
    assert set(found.index) == set(DECISIONS)
    assert (found["alpha > beta"], found["alpha < beta"]) == (1, 0)
    assert found["V* between 1 and all"] == 1


def test_intervals_hold_the_truth_and_have_its_values(clear):
    found = summarize_widths(clear).set_index("quantity")
    assert list(found.index) == list(QUANTITIES)
    assert found["value"]["ratio"] == pytest.approx(6)
    assert found["value"]["tokens"] == pytest.approx(10)
    assert found["value"]["error"] == pytest.approx(0.6 * 14**-0.12 * 16**-0.02, abs=0.002)
    assert found["covered"].min() >= 0.75


def test_more_noise_widens(clear):
    noisy = simulate(World(0.6, 0.12, 0.02, 0.0, 0.01, 0.01))
    widths = [summarize_widths(table).set_index("quantity")["width"] for table in (clear, noisy)]
    assert (widths[1] > 2 * widths[0]).all()


def test_equal_exponents_are_seldom_told_apart():
    found = simulate(World(0.6, 0.05, 0.05, 0.0, 0.005, 0.003), simulations=6)
    decided = summarize_decisions(found, 576).set_index("decision")["probability"]
    assert decided["alpha > beta"] + decided["alpha < beta"] <= 2 / 6


def test_same_seed_same_studies(clear):
    world = World(0.6, 0.12, 0.02, 0.0, 0.0005)
    pd.testing.assert_frame_equal(simulate(world, simulations=2), clear.query("simulation < 2"))
    assert not simulate(world, simulations=1, seed=1).equals(clear.query("simulation < 1"))


def test_each_study_advances():
    calls = []
    simulate_power(
        *(DESIGN, World(0.6, 0.12, 0.02, 0.0, 0.002)),
        **{"simulations": 2, "seed": 0, "draws": 50, "advance": lambda: calls.append(1)},
    )
    assert len(calls) == 2


def test_errors_have_the_noise_that_a_world_names():
    cells = Design(SIZES, (1, 4, 16, 64, 576), 2).list_cells()
    world = World(0.6, 0.07, 0.02, 0.0, 0.004, 0.01, 0.003)
    moved = np.stack(
        [
            simulate_errors(cells, world, np.random.default_rng(k)) - world.predict(cells)
            for k in range(400)
        ]
    ).reshape(400, 4, 5, 2)
    seeds = moved[..., 0] - moved[..., 1]
    assert seeds.std() == pytest.approx(0.004 * np.sqrt(2), rel=0.03)
    by_llm = moved.mean((2, 3))
    assert by_llm.std() == pytest.approx(np.hypot(0.01, 0.004 / np.sqrt(10)), rel=0.06)
    v = np.log([1, 4, 16, 64, 576])
    v -= v.mean()
    slopes = moved.mean(3) @ v / (v @ v)
    assert slopes.std() == pytest.approx(np.sqrt(0.003**2 + 0.004**2 / 2 / (v @ v)), rel=0.06)


def test_monte_carlo_intervals_hold():
    """Of medians and shares of numbers whose own are known, in 95 of 100 cases or so."""
    rng = np.random.default_rng(0)
    held = {"width": 0, "covered": 0}
    for _ in range(400):
        width = rng.exponential(1, 40)
        value = np.where(rng.random(40) < 0.8, 0.0, -1.0)
        table = pd.DataFrame({"quantity": "alpha", "low": 0.0, "high": width, "value": value})
        row = summarize_widths(table).iloc[0]
        held["width"] += row["width_low"] <= np.log(2) <= row["width_high"]
        held["covered"] += row["covered_low"] <= 0.8 <= row["covered_high"]
    assert all(0.92 <= count / 400 <= 0.99 for count in held.values())


@pytest.mark.parametrize(("held", "count"), [(0, 5), (3, 7), (40, 40), (1, 100)])
def test_shares_have_wilsons_interval(held, count):
    value = np.where(np.arange(count) < held, 0.5, 2.0)
    table = pd.DataFrame({"quantity": "alpha", "low": 0.0, "high": 1.0, "value": value})
    row = summarize_widths(table).iloc[0]
    ends = binomtest(held, count).proportion_ci(0.95, method="wilson")
    assert row[["covered_low", "covered_high"]].to_list() == pytest.approx([*ends])


def test_infinite_intervals_have_infinite_widths():
    table = pd.DataFrame({"quantity": "ratio", "low": 1.0, "high": [np.inf] * 3, "value": 2.0})
    assert summarize_widths(table)["width"].iloc[0] == np.inf


def test_a_law_beyond_errors_is_refused():
    with pytest.raises(UserError, match=r"error at N = 0.5, V = 1 is 1.5"):
        simulate(World(1.4, 0.12, 0.02, 0.0, 0.01))
