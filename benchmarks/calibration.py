"""Measure how often 95 % intervals hold the truth, on scores simulated from known laws.

    OMP_NUM_THREADS=1 nice python benchmarks/calibration.py --work /tmp/calibration \
        --parquet src/vlmscale/resources/measured/calibration.parquet

Every row of WORLDS is a design (sizes and counts), a law as the truth and a kind of noise. Each data set of
it is fitted with every scheme; `coverage` is the share of data sets whose interval holds the truth. Parts
lie in --work, one a world and scheme, and are not computed again. The defaults take about an hour of one
core; --sets 20 takes minutes.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.stats import binom

from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.bootstrap import Resampling, bootstrap
from vlmscale.analysis.laws.hierarchical import draw_measurements, sample_laws
from vlmscale.analysis.laws.intervals import find_ends, find_intervals, find_token_ends
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.standard_errors import delta_method, jackknife
from vlmscale.records.files import atomic_path
from vlmscale.records.parquet import write_parquet
from vlmscale.report.figures.style import GREY, new_figure

NEW_LLM, TOKENS, TEXT = 14.0, 16.0, 50  # the cell to predict, and the Q of V*
MOST = 576
DRAWS = 2000  # of a posterior, for which more cost little
Ends = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Truth:
    """A law that scores are simulated from, and the s.d. of the noise around it in the released scores."""

    law: tuple[float, float, float, float] | None  # A, alpha, beta, D; None: logit-linear
    noise: float
    logit: tuple[float, float, float] = (0.36452, 0.15523, 0.03292)

    def predict(self, n: Floats, v: Floats) -> Floats:
        """Return the error at each (N, V)."""
        if self.law is None:
            a, b, c = self.logit
            return np.asarray(1 / (1 + np.exp(-(a - b * np.log(n) - c * np.log(v)))))
        a, alpha, beta, d = self.law
        return np.asarray(a * n**-alpha * v**-beta + d)

    def values(self) -> dict[str, float]:
        """Return the true quantities; a logit-linear law has no alpha and beta, but a ratio."""
        if self.law is None:
            ratio = self.logit[1] / self.logit[2]
            found = {}
        else:
            _, alpha, beta, _ = self.law
            ratio = alpha / beta
            found = {"alpha": alpha, "beta": beta, "alpha - beta": alpha - beta}
        tokens = float(optimal_tokens(ratio, TEXT, low=1, high=MOST))
        error = float(self.predict(np.array(NEW_LLM), np.array(TOKENS)))
        return {**found, "ratio": ratio, "tokens": tokens, "law": error}


@dataclass(frozen=True)
class Noise:
    """What is added to the law, in standard deviations of the truth's own noise."""

    each: float = 1.0  # of every training
    offset: float = 0.0  # of every LLM
    slope: float = 0.0  # of every LLM, at one standard deviation of ln V
    uneven: bool = False  # twice as much at the fewest tokens as at the most

    def draw(
        self, n: Floats, v: Floats, spread: tuple[float, float], rng: np.random.Generator
    ) -> Floats:
        """Draw the deviations of points, in units of the truth's noise; spread: mean, s.d. of ln V."""
        z = (np.log(v) - spread[0]) / spread[1]
        llms, which = np.unique(n, return_inverse=True)
        own = rng.standard_normal((2, len(llms)))
        each = self.each * (np.interp(z, [z.min(), z.max()], [4 / 3, 2 / 3]) if self.uneven else 1)
        shared = self.offset * own[0, which] + self.slope * own[1, which] * z
        return np.asarray(shared + each * rng.standard_normal(len(n)))


SEVEN, FIVE, SIX = (1, 4, 16, 36, 64, 144, 576), (1, 4, 16, 64, 576), (1, 4, 16, 64, 144, 576)
DESIGNS = {
    "4 x 7": ((0.5, 1.8, 4, 7), SEVEN),
    "4 x 5": ((0.5, 1.8, 4, 7), FIVE),
    "6 x 5": ((0.5, 0.9, 1.8, 2.8, 4, 7), FIVE),
    "8 x 6": ((0.5, 0.7, 1, 1.4, 1.8, 2.8, 4, 7), SIX),
}
TRUTHS = {
    "reasoning, D = 0": Truth((0.5908, 0.0709, 0.0151, 0.0), 0.0039),
    "reasoning, D = 0.2": Truth((0.3923, 0.1124, 0.0239, 0.2), 0.0039),
    "reasoning, D = 0.3": Truth((0.2945, 0.1588, 0.0336, 0.3), 0.0039),
    "OCR, D = 0": Truth((0.9172, 0.0282, 0.0394, 0.0), 0.0143),
    "logit-linear": Truth(None, 0.0039),
    "miniature": Truth((0.5908, 0.0709, 0.0151, 0.0), 0.02),  # as noisy as trainings of tiny LLMs
}
NOISES = {
    "independent": Noise(),
    "offsets, half": Noise(offset=0.5),
    "offsets, equal": Noise(offset=1.0),
    "offsets, twice": Noise(offset=2.0),
    "offsets and slopes": Noise(offset=1.0, slope=1.0),
    "uneven": Noise(uneven=True),
}
_FIRST = "reasoning, D = 0"
WORLDS = [
    *(("4 x 7", truth, noise) for truth in [*TRUTHS][:5] for noise in [*NOISES][:3:2]),
    *(("4 x 7", _FIRST, noise) for noise in ("offsets, half", *[*NOISES][3:])),
    *(("4 x 7", truth, "offsets and slopes") for truth in ("reasoning, D = 0.2", "OCR, D = 0")),
    *((design, _FIRST, noise) for design in [*DESIGNS][1:] for noise in [*NOISES][:3:2]),
    ("8 x 6", _FIRST, "offsets and slopes"),
    ("4 x 5", "miniature", "offsets, equal"),
]


def simulate(
    world: tuple[str, str, str], sets: int, seed: int
) -> Iterator[tuple[pd.DataFrame, float]]:
    """Yield data sets of a world, each with what a training of the new LLM would show."""
    design, truth, noise = DESIGNS[world[0]], TRUTHS[world[1]], NOISES[world[2]]
    n, v = (axis.ravel() for axis in np.meshgrid(*map(np.array, design), indexing="ij"))
    n, v = np.r_[n, NEW_LLM].astype(float), np.r_[v, TOKENS].astype(float)
    spread = float(np.log(v[:-1]).mean()), float(np.log(v[:-1]).std())
    exact = truth.predict(n, v)
    for number in range(sets):
        rng = np.random.default_rng([seed, WORLDS.index(world), number])
        error = (exact + truth.noise * noise.draw(n, v, spread, rng)).clip(0, 1)
        table = pd.DataFrame({"n_params_b": n, "visual_tokens": v, "error": error})
        yield table[:-1], float(error[-1])


def by_refits(scheme: Resampling) -> Callable[[pd.DataFrame, int, int], Ends]:
    """Return percentiles of a bootstrap."""

    def find(points: pd.DataFrame, draws: int, seed: int) -> Ends:
        table = bootstrap(points, fit_power_law(points), scheme, draws=draws, seed=seed)
        values = _quantities(table)
        return {name: find_ends(drawn) for name, drawn in values.items()}

    return find


def by_posterior(own_slopes: bool) -> Callable[[pd.DataFrame, int, int], Ends]:
    """Return intervals of the hierarchical model."""

    def find(points: pd.DataFrame, draws: int, seed: int) -> Ends:
        table = sample_laws(points, draws=DRAWS, seed=seed, own_slopes=own_slopes)
        cell = pd.DataFrame({"n_params_b": [NEW_LLM], "visual_tokens": [TOKENS]})
        found = find_intervals(table)
        return {
            **{name: found[name] for name in ("alpha", "beta", "ratio")},
            "alpha - beta": found["difference"],
            "tokens": find_token_ends(found["ratio"], TEXT, MOST),
            "law": find_ends(_quantities(table)["law"]),
            "measurement": find_ends(draw_measurements(table, cell, seed=seed)),
        }

    return find


def by_errors(method: Callable[..., pd.DataFrame]) -> Callable[[pd.DataFrame, int, int], Ends]:
    """Return intervals from standard errors; none where an exponent is on its bound."""

    def find(points: pd.DataFrame, draws: int, seed: int) -> Ends:
        law = fit_power_law(points)
        if law.exponent_bounds != ("interior", "interior"):
            return {}
        table = method(points, law).set_index("quantity")
        found = {
            name: (float(table.loc[name, "low"]), float(table.loc[name, "high"]))
            for name in ("alpha", "beta", "ratio")
        }
        return {**found, "tokens": find_token_ends(found["ratio"], TEXT, MOST)}

    return find


def _quantities(laws: pd.DataFrame) -> dict[str, Floats]:
    error = predict_refits(laws, np.array([NEW_LLM]), np.array([TOKENS]))[:, 0]
    return {
        **{name: laws[name].to_numpy(float) for name in ("alpha", "beta", "ratio")},
        "alpha - beta": (laws["alpha"] - laws["beta"]).to_numpy(float),
        "tokens": optimal_tokens(laws["ratio"], TEXT, low=1, high=MOST),
        "law": error,
        "measurement": error,  # the law alone, where a scheme has no LLMs
    }


RESAMPLED: tuple[Resampling, ...] = ("sizes", "cases", "residual", "wild")
SCHEMES: dict[str, Callable[[pd.DataFrame, int, int], Ends]] = {
    "hierarchical": by_posterior(True),
    "hierarchical, offsets only": by_posterior(False),
    "jackknife": by_errors(jackknife),
    "delta method": by_errors(delta_method),
    **{name: by_refits(name) for name in RESAMPLED},
}


def measure(
    world: tuple[str, str, str], scheme: str, *, sets: int, draws: int, seed: int
) -> pd.DataFrame:
    """Return coverage and width of a scheme in a world, one row a quantity."""
    rows = []
    exact = TRUTHS[world[1]].values()
    for number, (points, shown) in enumerate(simulate(world, sets, seed)):
        ends = SCHEMES[scheme](points, draws, seed + number)
        for name, value in {**exact, "measurement": shown}.items():
            # A scheme without an interval for a quantity that it has elsewhere has missed it.
            low, high = ends.get(name, (np.nan, np.nan))
            rows.append((name, value, low, high))
    table = pd.DataFrame(rows, columns=["quantity", "value", "low", "high"])
    # V* is known to hundredths.
    table["covered"] = (table["low"] <= table["value"] + 1e-9) & (
        table["high"] >= table["value"] - 1e-9
    )
    table["above"] = table["low"] > table["value"] + 1e-9
    table["width"] = table["high"] - table["low"]
    grouped = table.groupby("quantity", sort=False)
    found = grouped.agg(
        coverage=("covered", "mean"), above=("above", "mean"), width=("width", "median")
    )
    found = found[grouped["low"].count() > 0].reset_index()
    about = dict(zip(("design", "truth", "noise"), world, strict=True))
    return found.assign(**about, scheme=scheme, sets=sets)[[*about, "scheme", *found, "sets"]]


def draw(table: pd.DataFrame, png: Path) -> None:
    """Draw the coverage of three schemes, one point a world, with the range of chance around 95 %."""
    schemes = {"hierarchical": "hierarchical", "sizes": "LLM sizes", "cases": "points"}
    heads = {"alpha": "α", "beta": "β", "ratio": "α / β", "tokens": "V*(50)", "law": "law, 14B"}
    heads["measurement"] = "training, 14B"
    figure, axes = new_figure(1, len(heads), (1.45 * len(heads) + 1, 3.2), sharey=True)
    sets = int(table["sets"].iloc[0])
    low, high = (100 * binom.ppf(level, sets, 0.95) / sets for level in (0.025, 0.975))
    for ax, (quantity, head) in zip(axes[0], heads.items(), strict=True):
        ax.axhspan(low, high, color=GREY, alpha=0.3, lw=0)
        for place, scheme in enumerate(schemes):
            mine = table[(table["scheme"] == scheme) & (table["quantity"] == quantity)]
            spots = place + np.linspace(-0.3, 0.3, len(mine))
            ax.plot(spots, 100 * mine["coverage"], "o", ms=3, color=f"C{place}")
        ax.set_title(head)
        ax.set_xticks(range(len(schemes)), [*schemes.values()], rotation=90)
    axes[0][0].set_ylabel("coverage of 95 % intervals, %")
    with atomic_path(png) as scratch:
        figure.savefig(scratch, dpi=150, metadata={"Software": None})


def main(
    parquet: Annotated[Path, typer.Option(help="the table")],
    work: Annotated[Path, typer.Option(help="folder of parts")],
    sets: Annotated[int, typer.Option(help="data sets of a world", min=1)] = 100,
    draws: Annotated[int, typer.Option(help="refits for an interval of a bootstrap", min=1)] = 200,
    seed: Annotated[int, typer.Option()] = 0,
    schemes: Annotated[str, typer.Option(help="separated by ;")] = ";".join(SCHEMES),
    figure: Annotated[Path | None, typer.Option(help="draw the table here")] = None,
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for scheme in schemes.split(";"):
        name = f"{draws} refits" if scheme in RESAMPLED else ""
        for world in WORLDS:
            part = work / f"{', '.join([*world, scheme, name])} {sets} {seed}.csv"
            if not part.exists():
                table = measure(world, scheme, sets=sets, draws=draws, seed=seed)
                table.to_csv(part.with_suffix(".tmp"), index=False)
                part.with_suffix(".tmp").rename(part)
            parts.append(pd.read_csv(part))
    merged = pd.concat(parts, ignore_index=True)
    about = {"sets": sets, "draws": draws, "seed": seed}
    if figure is not None:
        draw(merged, figure)
    write_parquet(
        parquet, merged, {**about, "posterior draws": DRAWS, "processor": platform.machine()}
    )


if __name__ == "__main__":
    typer.run(main)
