"""How often the rules decide wrongly: on studies made so that a verdict is known to be wrong.

A study has four LLMs, five counts and one LLM held out. Errors are those of a law with alpha = beta, with
an offset for each LLM and noise for each training. Answers to questions differ by LLM and by training,
and no method is better on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from vlmscale.analysis.checks.engine import Verdict
from vlmscale.analysis.checks.hypotheses.decide import find_hypotheses
from vlmscale.analysis.checks.hypotheses.estimates import SURE
from vlmscale.analysis.comparisons.paired import compare_methods
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws
from vlmscale.analysis.laws.tables import Key, tabulate_each, tabulate_laws
from vlmscale.study.selection import FULL, Selection

DRAWS = 200
_SIZES = {"s": 0.5, "m": 1.8, "l": 4.0, "xl": 7.0, "xxl": 14.0}  # the last is held out
_COUNTS = (1, 4, 16, 64, 256)
_QUESTIONS = 300
_SERIES = {"tokenpacker": Selection(("tokenpacker",))}
# The V at which methods meet TokenPacker.
_BESIDE = {"quecc": 1, "avgpool": 4, "random": 4, "repeat": 16}
# By hypothesis and family the verdict that is wrong; "decided" stands for both.
_DECIDED = "decided"
_WRONG = {
    ("H1", "reasoning"): _DECIDED,
    ("H2", "ocr"): _DECIDED,
    ("H3", "reasoning"): Verdict.HOLDS.on_hypothesis,
    ("H3", "ocr"): Verdict.FAILS.on_hypothesis,
    ("H5", "reasoning"): _DECIDED,
    ("H6", "reasoning"): Verdict.FAILS.on_hypothesis,
    ("H6", "ocr"): Verdict.HOLDS.on_hypothesis,
    ("H7", "reasoning"): _DECIDED,
    ("H8", "reasoning"): Verdict.HOLDS.on_hypothesis,
}
_OFF = {"reasoning": 1.15, "ocr": 1.05}  # error of the held-out LLM over the law's
_REPEATED_GAIN = {"reasoning": 0.0, "ocr": 0.025}


@dataclass(frozen=True)
class World:
    """What studies of a kind have in common; standard deviations are of scores."""

    offset: float = 0.0  # of an LLM from the law
    noise: float = 0.004  # of a training from its LLM
    interaction: float = 0.0  # of a method with an LLM
    seeds: int = 1
    linear: bool = False  # errors are linear in ln N and ln V, so H8 holds; the others are left out


WORLDS = {
    "LLMs alike": World(),
    "LLMs differ": World(offset=0.01, noise=0.01, interaction=0.02),
    "LLMs differ, three seeds": World(offset=0.01, noise=0.01, interaction=0.02, seeds=3),
    "log-linear, LLMs differ": World(offset=0.01, noise=0.01, linear=True),
}


def simulate_verdicts(world: World, studies: int, seed: int) -> pd.DataFrame:
    """Return how often each hypothesis is decided wrongly, and any of a study.

    Columns hypothesis, family, wrong (the verdict), studies, alone (share with p at most 0.05), corrected
    (share after Holm's correction within a study). The last row is about whole studies.
    """
    wrong = {("H8", "reasoning"): Verdict.FAILS.on_hypothesis} if world.linear else _WRONG
    parents = np.random.SeedSequence(seed).spawn(studies)
    counts = [count_wrong(make_study(world, np.random.default_rng(s)), wrong) for s in parents]
    stacked = np.stack(counts).astype(float)  # (studies, hypotheses, alone and corrected)
    rows = [
        {"hypothesis": name, "family": family, "wrong": verdict}
        for (name, family), verdict in wrong.items()
    ]
    table = pd.DataFrame([*rows, {"hypothesis": "any", "family": "", "wrong": "any of these"}])
    shares = np.vstack([stacked.mean(0), stacked.max(1).mean(0)])
    return table.assign(studies=studies, alone=shares[:, 0], corrected=shares[:, 1])


def count_wrong(tables: Mapping[str, pd.DataFrame], wrong: Mapping[tuple[str, str], str]) -> Floats:
    """Return for each hypothesis whether a row of it is wrong, alone and corrected, (hypotheses, 2)."""
    table = find_hypotheses(tables, _SERIES, draws=DRAWS, seed=0)
    counts = np.zeros((len(wrong), 2))
    for i, ((name, family), verdict) in enumerate(wrong.items()):
        mine = table[(table["id"] == name) & (table["family"] == family)]
        sides = {_DECIDED: "p", Verdict.HOLDS.on_hypothesis: "p_for"}
        sure = mine[sides.get(verdict, "p_against")] <= SURE
        counts[i] = sure.any(), (sure & (mine["p_holm"] <= SURE)).any()
    return counts


def make_study(world: World, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Make the tables of one study that decide_hypotheses reads."""
    cells = _list_cells(world.seeds)
    errors, samples = [], []
    for family in _OFF:
        scores = _draw_scores(cells, family, world, rng)
        benchmark = f"{family} questions"
        frame = cells.assign(family=family, score=scores, error=1 - scores, n=_QUESTIONS)
        errors += [frame.assign(benchmark=benchmark), frame.assign(benchmark="mean")]
        # A question is hard for all cells alike, and each cell has luck of its own with it.
        hard, own = rng.standard_normal(_QUESTIONS), rng.standard_normal((len(cells), _QUESTIONS))
        right = ndtr((hard + own) / np.sqrt(2)) < scores[:, None]
        samples.append(
            pd.DataFrame(
                {
                    "cell": np.repeat(cells["cell"].to_numpy(), _QUESTIONS),
                    "family": family,
                    "benchmark": benchmark,
                    "id": np.tile(np.arange(_QUESTIONS), len(cells)),
                    "score": right.astype(float).ravel(),
                }
            )
        )
    table = pd.concat(errors, ignore_index=True)
    known = pd.concat(samples, ignore_index=True)
    means = table[table["benchmark"] == "mean"]

    def draw(points: pd.DataFrame, _: Key) -> pd.DataFrame:
        scheme = choose_scheme(points)
        drawn = draw_laws(points, fit_power_law(points), scheme, draws=DRAWS, seed=0)
        return drawn.assign(scheme=scheme)

    return {
        "errors": table,
        "samples": known,
        "laws": tabulate_laws(means, _SERIES),
        "draws": tabulate_each(means, _SERIES, draw),
        "paired": compare_methods(table, known, "tokenpacker", draws=DRAWS, seed=0),
    }


def _list_cells(seeds: int) -> pd.DataFrame:
    """List the cells of a study: TokenPacker's grid, and other methods where they meet it."""
    rows = []
    for llm, n in _SIZES.items():
        held_out = llm == list(_SIZES)[-1]
        grid = [("tokenpacker", v) for v in _COUNTS]
        for method, v in grid if held_out else [*grid, *_BESIDE.items()]:
            # Repeated tokens are those of TokenPacker's run at 4.
            run = f"{llm} tokenpacker 4" if method == "repeat" else f"{llm} {method} {v}"
            about = {"llm": llm, "n_params_b": n, "method": method, "visual_tokens": v}
            about["role"] = "holdout" if held_out else "fit"
            rows += [
                {
                    **about,
                    "cell": f"{llm} {method} {v} {seed}",
                    "run": f"{run} {seed}",
                    "seed": seed,
                }
                for seed in range(seeds)
            ]
    return pd.DataFrame(rows).assign(budget=FULL, size_axis="nominal")


def _draw_scores(
    cells: pd.DataFrame, family: str, world: World, rng: np.random.Generator
) -> Floats:
    """Draw the score of each cell, (cells,)."""
    llm, way = (pd.factorize(cells[name])[0] for name in ("llm", "method"))
    is_beside = cells["method"].isin(_BESIDE).to_numpy()
    repeats = (cells["method"] == "repeat").to_numpy()
    # What TokenPacker has where this cell is compared with it.
    v = cells["visual_tokens"].where(~repeats, 4).to_numpy(float)
    product = cells["n_params_b"].to_numpy() * v
    error = 0.55 - 0.03 * np.log(product) if world.linear else 0.6 * product**-0.05
    error *= np.where(cells["role"] == "holdout", _OFF[family], 1.0)
    error += world.offset * rng.standard_normal(len(_SIZES))[llm]
    _, run = np.unique(cells["run"], return_inverse=True)  # a repeat has the noise of its run
    error += world.noise * rng.standard_normal(run.max() + 1)[run]
    taste = rng.standard_normal((len(_SIZES), way.max() + 1))[llm, way]
    gain = world.interaction * taste * is_beside + _REPEATED_GAIN[family] * repeats
    return np.asarray((1 - error + gain).clip(0.01, 0.99))
