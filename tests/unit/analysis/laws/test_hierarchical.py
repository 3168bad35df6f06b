"""The hierarchical model, whose intervals are recomputed here in two other ways."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import simpson
from scipy.stats import cauchy

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.laws.hierarchical import draw_measurements, sample_laws
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.errors import UserError

REASONING, OCR = read_scores("reasoning_scores"), read_scores("ocr_scores")
ENDS = (0.025, 0.5, 0.975)


def draw(points, **options):
    return sample_laws(points, **{"draws": 2000, "seed": 0, **options})


def covary(points, offset, slope):
    """Return the covariance of offsets, slopes and noise, in units of the noise, written out in full."""
    same = np.equal.outer(*[points["n_params_b"].to_numpy()] * 2)
    v = np.log(points["visual_tokens"].to_numpy(float))
    z = (v - v.mean()) / (np.ptp(v) / 2)
    shared = offset[..., None, None] ** 2 + slope[..., None, None] ** 2 * np.outer(z, z)
    return np.eye(len(v)) + same * shared


@pytest.mark.slow
def test_quadrature_finds_the_same_exponent():
    """Integrate a, beta, s.d.(e) and the offsets' ratio numerically, with D = 0 and no slopes."""
    n, v = (np.log(REASONING[c].to_numpy(float)) for c in ("n_params_b", "visual_tokens"))
    n, v, y = n - n.mean(), v - v.mean(), REASONING["error"].to_numpy(float)
    alpha, beta = np.linspace(0.03, 0.12, 61), np.linspace(0.01, 0.021, 21)
    level = np.linspace(y.mean() - 0.05, y.mean() + 0.05, 61)[:, None]
    log_noise = np.linspace(np.log(0.002), np.log(0.009), 21)
    ratio = 40 * np.linspace(0, 1, 41) ** 2  # denser towards 0
    inverse = np.linalg.inv(covary(REASONING, ratio, 0 * ratio))
    log_det = np.linalg.slogdet(inverse)[1]
    x = np.exp(-alpha[:, None, None] * n - beta[:, None] * v)
    marginal = np.zeros((len(ratio), len(alpha)))
    for k, matrix in enumerate(inverse):
        xx = np.einsum("abi,ij,abj->ab", x, matrix, x)
        xy, yy = x @ matrix @ y, y @ matrix @ y
        squares = (
            yy - 2 * level[..., None] * xy + level[..., None] ** 2 * xx
        )  # (level, alpha, beta)
        squares = squares[..., None] / np.exp(2 * log_noise)
        p = np.exp(0.5 * log_det[k] - 0.5 * squares - len(y) * log_noise - 120)
        for axis in (log_noise, beta):
            p = simpson(p, x=axis, axis=-1)
        marginal[k] = simpson(p, x=level[:, 0], axis=0) * 2 * cauchy.pdf(ratio[k])
    p = simpson(marginal, x=ratio, axis=0)
    below = np.cumsum((p[1:] + p[:-1]) / 2) / ((p[1:] + p[:-1]) / 2).sum()
    expected = np.interp(ENDS, np.r_[0, below], alpha)
    found = draw(REASONING, draws=20_000, floor=0.0, own_slopes=False)["alpha"].quantile(ENDS)
    assert found.to_numpy() == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
def test_a_markov_chain_finds_the_same_law():
    """Run Metropolis chains on all parameters, D with its spike at 0 and own slopes included."""
    chain = walk(REASONING, steps=4000, chains=48)
    laws = draw(REASONING, draws=20_000)
    for name in ("alpha", "beta", "ratio"):
        found, expected = laws[name].quantile(ENDS), chain[name].quantile(ENDS)
        assert found.to_numpy() == pytest.approx(expected.to_numpy(), rel=0.06), name
    at_zero = (laws["floor"] == 0).mean()
    assert at_zero == pytest.approx((chain["floor"] == 0).mean(), abs=0.03)


def test_released_scores():
    """Numbers that the documentation quotes; recomputed above in two other ways."""
    laws = draw(REASONING, draws=20_000)
    ends = laws[["alpha", "beta", "ratio"]].quantile([0.025, 0.975])
    assert ends["alpha"].to_list() == pytest.approx([0.0667, 0.1388], rel=0.02)
    assert ends["beta"].to_list() == pytest.approx([0.012, 0.0295], rel=0.03)
    assert ends["ratio"].to_list() == pytest.approx([3.8, 6.25], rel=0.02)
    cell = pd.DataFrame({"n_params_b": [14.0], "visual_tokens": [16]})
    shown = np.quantile(draw_measurements(laws, cell, seed=0), [0.025, 0.975])
    assert shown == pytest.approx([0.4607, 0.4807], abs=5e-4)


def test_same_seed_same_laws():
    one, same, other = (draw(REASONING, draws=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_units_of_size_change_nothing():
    """The priors are of what the data show: N in millions gives the same exponents."""
    laws, again = (
        draw(REASONING.assign(n_params_b=unit * REASONING["n_params_b"])) for unit in (1, 1000)
    )
    for name in ("alpha", "beta", "floor", "noise", "offset", "slope"):
        assert again[name].to_numpy() == pytest.approx(laws[name].to_numpy(), rel=1e-6)


def test_llms_are_told_apart_by_name():
    """Two LLMs of one size have two offsets."""
    rng = np.random.default_rng(0)
    twice = pd.concat([REASONING.assign(llm=f"{k}", seed=k) for k in range(2)], ignore_index=True)
    twice["llm"] += twice["n_params_b"].astype(str)
    shift = twice["llm"].map({name: rng.normal(0, 0.02) for name in twice["llm"].unique()})
    moved = twice.assign(error=twice["error"] + shift)
    apart, together = draw(moved), draw(moved.assign(llm=moved["n_params_b"].astype(str)))
    assert apart["offset"].median() > 2 * apart["noise"].median()
    assert together["noise"].median() > 2 * apart["noise"].median()


def test_offsets_widen_the_law_and_more_noise_the_measurement():
    rng = np.random.default_rng(0)
    truth = plant_law(0.6, 0.08, 0.02, 0.0)
    shift = truth["n_params_b"].map({n: rng.normal(0, 0.02) for n in truth["n_params_b"].unique()})
    noise = rng.normal(0, 0.003, len(truth))
    plain, moved = (draw(truth.assign(error=truth["error"] + e)) for e in (noise, noise + shift))
    width = [np.subtract(*laws["ratio"].quantile([0.975, 0.025])) for laws in (plain, moved)]
    assert width[1] > 2 * width[0]
    cell = pd.DataFrame({"n_params_b": [14.0], "visual_tokens": [16]})
    law, shown = (
        np.std(draw_measurements(laws, cell, seed=0))
        for laws in (moved[["amplitude", "alpha", "beta", "floor"]], moved)
    )
    assert shown > 1.2 * law


def test_cells_of_an_llm_share_its_offset():
    laws = draw(REASONING).assign(noise=0.0, slope=0.0, offset=0.1)
    cells = pd.DataFrame({"n_params_b": 14.0, "visual_tokens": [1, 16, 1], "llm": ["a", "a", "b"]})
    error = draw_measurements(laws, cells, seed=0)
    plain = draw_measurements(laws.assign(offset=0.0), cells, seed=0)
    own = error - plain
    assert own[:, 0] == pytest.approx(own[:, 1])
    assert abs(np.corrcoef(own[:, 0], own[:, 2])[0, 1]) < 0.1


def test_exact_laws_are_found():
    points = plant_law(0.6, 0.08, 0.02, 0.0)
    laws = draw(points)
    assert laws["alpha"].median() == pytest.approx(0.08, rel=1e-3)
    assert (laws["floor"] == 0).mean() > 0.99


def test_a_fixed_floor_stays():
    laws = draw(REASONING, floor=0.2)
    assert (laws["floor"] == 0.2).all()
    assert laws["alpha"].median() == pytest.approx(
        fit_power_law(REASONING, floor=0.2).alpha, rel=0.05
    )


def test_error_that_no_token_lowers_has_exponents_next_to_zero():
    rng = np.random.default_rng(0)
    points = plant_law(0.6, 0.08, 0.0, 0.0)
    laws = draw(points.assign(error=points["error"] + rng.normal(0, 0.01, len(points))))
    assert laws["beta"].min() < 1e-3
    assert (laws["beta"] >= 0).all()


def test_few_points_are_refused():
    with pytest.raises(UserError, match="5 points are too few"):
        draw(REASONING.groupby("n_params_b").head(2).head(5))


def walk(points, steps, chains):
    """Return the second half of Metropolis chains, whose steps have the spread of a first run."""
    rng = np.random.default_rng(0)
    log_n, log_v = (np.log(points[c].to_numpy(float)) for c in ("n_params_b", "visual_tokens"))
    n, v, y = log_n - log_n.mean(), log_v - log_v.mean(), points["error"].to_numpy(float)
    top = y.min()

    def parameters(state):
        """Level, and the slopes at it, hardly depend on D: steps in them are accepted."""
        level, fall_n, fall_v, d = state[:, :4].T
        floor = d.clip(0)  # below 0: D is 0
        return level - floor, fall_n / (level - floor), fall_v / (level - floor), floor

    def log_density(state):
        a, alpha, beta, floor = parameters(state)
        log_noise, u, s = state[:, 4:].T
        inside = (a > 0) & (np.abs(state[:, 3]) < top) & (u > 0) & (u < 1) & (s > 0) & (s < 1)
        inside &= (alpha >= 0) & (alpha <= 1) & (beta >= 0) & (beta <= 1)
        # Uniform u and s make half-Cauchy ratios.
        ratios = (np.tan(np.pi / 2 * part.clip(1e-6, 1 - 1e-6)) for part in (u, s))
        x = np.exp(-alpha.clip(0, 1)[:, None] * n - beta.clip(0, 1)[:, None] * v)
        residual = (y - a[:, None] * x - floor[:, None]) / np.exp(log_noise)[:, None]
        root = np.linalg.cholesky(covary(points, *ratios))
        white = np.linalg.solve(root, residual[:, :, None])[:, :, 0]
        log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        likelihood = -0.5 * (white**2).sum(1) - log_det - len(y) * log_noise
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(inside, likelihood - 2 * np.log(a), -np.inf)

    start = np.array([y.mean(), 0.035, 0.008, 0.0, np.log(0.004), 0.3, 0.3])
    spread = np.diag([0.002, 0.001, 0.0005, 0.15, 0.15, 0.2, 0.2]) ** 2
    state = start + rng.normal(0, 0.01, (chains, 7)) * start.clip(0.1)
    current, kept = log_density(state), []
    for step in range(steps):
        if step == steps // 4:
            spread = np.cov(np.concatenate(kept[step // 2 :]).T)
        trial = (
            state + rng.multivariate_normal(np.zeros(7), spread, chains, method="cholesky") * 0.8
        )
        proposed = log_density(trial)
        accepted = np.log(rng.random(chains)) < proposed - current
        state = np.where(accepted[:, None], trial, state)
        current = np.where(accepted, proposed, current)
        kept.append(state)
    _, alpha, beta, floor = parameters(np.concatenate(kept[steps // 2 :]))
    return pd.DataFrame({"alpha": alpha, "beta": beta, "ratio": alpha / beta, "floor": floor})
