"""Expected information: the formula, and what it foretells of refits."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime

from tests.support.laws import plant_law
from vlmscale.analysis.decisions.designs import World
from vlmscale.analysis.decisions.next_cells import expect_remaining, measure_width, start_from
from vlmscale.analysis.decisions.power import simulate_errors
from vlmscale.analysis.laws.hierarchical import draw_measurements, sample_laws
from vlmscale.analysis.laws.information import Aim, begin_information, center_laws
from vlmscale.errors import UserError

AIMS = [
    Aim("alpha"),
    Aim("beta"),
    Aim("difference"),
    Aim("ratio"),
    Aim("tokens"),
    Aim("error", llm="new", n_params_b=14.0, visual_tokens=16),
]
LLMS = ["0.5", "1.8", "4.0", "7.0", "new"]


def make_laws(count=5, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amplitude": rng.uniform(0.4, 0.9, count),
            "alpha": rng.uniform(0.02, 0.2, count),
            "beta": rng.uniform(0.01, 0.1, count),
            "floor": rng.choice([0.0, 0.1, 0.2], count),
            "noise": rng.uniform(0.002, 0.02, count),
            "offset": rng.uniform(0, 0.02, count),
            "slope": rng.uniform(0, 0.005, count),
            "center": 16.0,
            "center_b": 2.0,
        }
    )


def make_cells(count, seed=0):
    rng = np.random.default_rng(seed)
    n = rng.choice([0.5, 1.8, 4.0, 7.0], count)
    v = rng.choice([1, 4, 16, 64, 576], count)
    return pd.DataFrame({"llm": n.astype(str), "n_params_b": n, "visual_tokens": v})


def begin(laws=None, smallest=0.3):
    return begin_information(make_laws() if laws is None else laws, LLMS, smallest)


def test_covariance_is_that_of_generalised_least_squares():
    """By derivatives taken numerically and by the covariance of errors written out in full."""
    cells = make_cells(15)
    laws = make_laws()
    begun = begin(laws)
    found = begun.add(cells)
    n, v = (
        np.log(cells[c].to_numpy() / m) for c, m in (("n_params_b", 2.0), ("visual_tokens", 16.0))
    )
    for k, law in enumerate(laws.itertuples()):
        level = law.amplitude * 2.0**-law.alpha * 16.0**-law.beta

        def error(state):
            whole, fall_n, fall_v, bend = state
            a = 1 / bend
            return whole - a + a * np.exp(-(fall_n * n + fall_v * v) * bend)

        state = np.array([level + law.floor, level * law.alpha, level * law.beta, 1 / level])
        exact = law.amplitude * cells["n_params_b"] ** -law.alpha
        exact = exact * cells["visual_tokens"] ** -law.beta + law.floor
        assert error(state) == pytest.approx(exact.to_numpy())
        jacobian = approx_fprime(state, error, 1e-6)
        same = np.equal.outer(*[cells["llm"].to_numpy()] * 2)
        shared = same * (law.offset**2 + law.slope**2 * np.outer(v, v))
        inverse = np.linalg.inv(shared + law.noise**2 * np.eye(len(cells)))
        prior = np.linalg.inv(begun.covariance[k, :4, :4])
        expected = np.linalg.inv(prior + jacobian.T @ inverse @ jacobian)
        assert found.covariance[k, :4, :4] == pytest.approx(expected, rel=1e-2, abs=1e-12)


@pytest.mark.parametrize("aim", AIMS, ids=lambda aim: aim.quantity)
@pytest.mark.parametrize("seed", range(3))
def test_more_cells_never_widen(aim, seed):
    information = begin(make_laws(seed=seed))
    before = information.find_reach(aim)
    for row in range(12):
        information = information.add(make_cells(12, seed).iloc[[row]])
        after = information.find_reach(aim)
        assert (after <= before * (1 + 1e-9)).all()
        before = after


@pytest.mark.parametrize("aim", AIMS, ids=lambda aim: aim.quantity)
def test_order_does_not_matter_and_trying_is_adding(aim):
    cells = make_cells(9)
    together = begin().add(cells)
    turned = begin().add(cells.iloc[5:]).add(cells.iloc[:5])
    assert turned.covariance == pytest.approx(together.covariance, rel=1e-6, abs=1e-12)
    tried = begin().add(cells.iloc[:5]).find_reach(aim, cells.iloc[5:])
    assert tried == pytest.approx(together.find_reach(aim), rel=1e-6)


def test_an_llm_without_a_state_is_refused():
    with pytest.raises(UserError, match=r"LLM 3.0 is not among the known ones: 0.5, 1.8"):
        begin().add(make_cells(3).assign(llm="3.0"))


def test_an_llm_that_is_trained_is_predicted_better_than_a_new_one():
    cells = make_cells(12)
    known = Aim("error", llm="4.0", n_params_b=4.0, visual_tokens=16)
    new = Aim("error", llm="new", n_params_b=4.0, visual_tokens=16)
    information = begin(make_laws().assign(offset=0.02)).add(cells)
    assert (information.find_reach(known) < information.find_reach(new)).all()


def test_a_law_is_moved_with_its_level():
    laws = make_laws()
    cells = make_cells(10).assign(n_params_b=lambda table: table["n_params_b"] / 1e5)
    moved = center_laws(laws, cells)
    level = moved["amplitude"] * moved["center_b"] ** -moved["alpha"]
    level = level * moved["center"] ** -moved["beta"]
    before = laws["amplitude"] * 2.0 ** -laws["alpha"] * 16.0 ** -laws["beta"]
    assert level.to_numpy() == pytest.approx(before.to_numpy())


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["alpha", "difference", "ratio", "error"])
def test_refits_narrow_about_as_expected(studies, quantity):
    """The median over three studies, eight simulated results each: one more LLM, or seeds of the same."""
    aim = Aim(quantity, llm="new", n_params_b=14.0, visual_tokens=16)
    expected, found = {}, {}
    for name in ("LLM", "seeds"):
        shares = []
        for points, more, refits in studies[name]:
            start = start_from(points, points, pd.concat([points, more]), aim)
            shares.append(expect_remaining(start, more, aim))
            widths = [measure_width(laws, aim, shown) for laws, shown in refits]
            found.setdefault(name, []).append(np.median(widths) / start.width)
        expected[name], found[name] = np.median(shares), np.median(found[name])
        assert found[name] == pytest.approx(expected[name], abs=0.2)
    assert expected["LLM"] < expected["seeds"]
    assert found["LLM"] < found["seeds"]


@pytest.fixture(scope="module")
def studies():
    """Three studies of three LLMs, what may be trained, and refits with simulated results of that."""
    world = World(0.59, 0.07, 0.03, 0.0, 0.004, 0.003, 0.0005)
    law = (world.amplitude, world.alpha, world.beta, world.floor)
    cells = plant_law(*law, counts=(1, 8, 64, 576)).assign(seed=0)
    cells["llm"] = cells["n_params_b"].astype(str)
    trained = cells.query("n_params_b < 7")
    found = {"LLM": [], "seeds": []}
    for seed in (3, 4, 5):
        errors = simulate_errors(trained, world, np.random.default_rng(seed))
        points = trained.assign(error=errors)
        laws = sample_laws(points, draws=2000, seed=0)
        for name, more in (
            ("LLM", cells.query("n_params_b == 7")),
            ("seeds", trained.assign(seed=1)),
        ):
            refits = []
            for k in range(8):
                shown = draw_more(points, more, laws.iloc[k], np.random.default_rng(k))
                both = pd.concat([points, more.assign(error=shown)], ignore_index=True)
                refits.append((sample_laws(both, draws=1000, seed=0), both))
            found[name].append((points, more, refits))
    return found


def draw_more(points, more, law, rng):
    """Draw errors of further trainings of the LLMs of `points`, by the posterior of their offsets and slopes."""
    both = pd.concat([points, more], ignore_index=True)
    v = np.log(both["visual_tokens"].to_numpy(float) / law["center"])
    same = np.equal.outer(*[both["llm"].to_numpy()] * 2)
    covariance = same * (law["offset"] ** 2 + law["slope"] ** 2 * np.outer(v, v))
    covariance = covariance + law["noise"] ** 2 * np.eye(len(both))
    n = both["n_params_b"].to_numpy(float)
    exact = law["amplitude"] * n ** -law["alpha"] + 0 * v
    exact = exact * both["visual_tokens"].to_numpy(float) ** -law["beta"] + law["floor"]
    k = len(points)
    weights = np.linalg.solve(covariance[:k, :k], covariance[:k, k:]).T
    mean = exact[k:] + weights @ (points["error"].to_numpy() - exact[:k])
    left = covariance[k:, k:] - weights @ covariance[:k, k:]
    # By Cholesky: the signs of singular vectors, and so the draws, differ between processors.
    return rng.multivariate_normal(mean, left, method="cholesky")


def test_a_new_llms_error_is_as_uncertain_as_drawn():
    """To first order, the spread of draw_measurements around one law."""
    law = make_laws(1).assign(noise=0.01, offset=0.02, slope=0.003)
    shown = draw_measurements(
        pd.concat([law] * 20_000),
        pd.DataFrame({"n_params_b": [14.0], "visual_tokens": [64]}),
        seed=0,
    )
    aim = Aim("error", llm="new", n_params_b=14.0, visual_tokens=64)
    information = begin(law)
    known = information.covariance.copy()
    known[:, :4] = known[:, :, :4] = 0  # the law itself is certain
    found = type(information)(**{**vars(information), "covariance": known})
    assert found.find_reach(aim)[0] == pytest.approx(12.706 * shown.std(), rel=0.03)  # t, one LLM
