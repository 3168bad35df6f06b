"""Designs of a study, which are sizes of LLMs, token counts and seeds, and the worlds they may meet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.hierarchical import LEAST_POINTS, sample_laws
from vlmscale.analysis.laws.information import Aim, begin_information
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.errors import UserError

# (LLM, V) -> what one training of it costs, in the unit of the budget
Price = Callable[[str, int], float]
Value = TypeVar("Value")
_DRAWS = 2000


@dataclass(frozen=True)
class World:
    """A law as the truth, and what scores have besides; standard deviations are of errors."""

    amplitude: float
    alpha: float
    beta: float
    floor: float
    noise: float  # of a training from its LLM: seeds and all that is peculiar to a cell
    offset: float = 0.0  # of an LLM from the law
    slope: float = 0.0  # of an LLM, per unit of ln V

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "floor", "noise", "offset", "slope"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name):g}: give a number from 0 to 1")
        if not 0 < self.amplitude < np.inf:
            raise UserError(f"amplitude {self.amplitude:g}: give a positive number")
        if self.noise == 0:
            raise UserError("noise 0: trainings always differ; give the s.d. between seeds")

    def predict(self, cells: pd.DataFrame) -> Floats:
        """Return the law's error of each cell (n_params_b, visual_tokens)."""
        n, v = (cells[name].to_numpy(float) for name in ("n_params_b", "visual_tokens"))
        return np.asarray(self.amplitude * n**-self.alpha * v**-self.beta + self.floor)


@dataclass(frozen=True)
class Design:
    """The full product of LLMs, token counts and seeds."""

    sizes_b: tuple[tuple[str, float], ...]  # LLM and N in billions
    token_counts: tuple[int, ...]
    seeds: int = 1

    @property
    def trainings(self) -> int:
        return len(self.sizes_b) * len(self.token_counts) * self.seeds

    def list_cells(self) -> pd.DataFrame:
        """Return a row for each training: llm, n_params_b, visual_tokens, seed."""
        rows = [
            (llm, n, v, seed)
            for (llm, n), v, seed in product(self.sizes_b, self.token_counts, range(self.seeds))
        ]
        return pd.DataFrame(rows, columns=["llm", "n_params_b", "visual_tokens", "seed"])

    def find_cost(self, price: Price) -> float:
        """Return what all its trainings cost."""
        return self.seeds * sum(
            price(llm, v) for (llm, _), v in product(self.sizes_b, self.token_counts)
        )

    def contains(self, other: "Design") -> bool:
        """Return whether every training of another design is one of this."""
        return (
            set(self.sizes_b) >= set(other.sizes_b)
            and set(self.token_counts) >= set(other.token_counts)
            and self.seeds >= other.seeds
        )

    def describe(self) -> dict[str, object]:
        """Return what tables say of it."""
        return {
            "llms": len(self.sizes_b),
            "sizes_b": [n for _, n in self.sizes_b],
            "token_counts": list(self.token_counts),
            "seeds": self.seeds,
            "trainings": self.trainings,
        }


def estimate_world(points: pd.DataFrame) -> World:
    """Return the law of a study's scores, with the noise, offsets and slopes that they show.

    The law is least squares, the standard deviations are medians of the hierarchical posterior. Raises
    UserError for points that determine no such model.
    """
    law = fit_power_law(points)
    drawn = sample_laws(points, draws=_DRAWS, seed=0)
    spread = {name: float(drawn[name].median()) for name in ("noise", "offset", "slope")}
    return World(law.amplitude, law.alpha, law.beta, law.floor, **spread)


def check_world(world: World, cells: pd.DataFrame) -> None:
    """Raise UserError where a law leaves [0, 1] on cells, as no error does."""
    errors = world.predict(cells)
    worst = int(np.abs(errors - 0.5).argmax())
    if not 0 <= errors[worst] <= 1:
        n, v = cells.iloc[worst][["n_params_b", "visual_tokens"]]
        raise UserError(
            f"the law's error at N = {n:g}, V = {v:g} is {errors[worst]:.3g}; errors lie in [0, 1]. Give "
            "another law, or sizes and token counts for which it holds"
        )


def propose_designs(
    largest: Design, budget: float, price: Price, world: World, aim: Aim, *, most: int
) -> list[Design]:
    """Return the designs within `largest` and the budget that promise the narrowest interval of an aim.

    LLMs and token counts are spread evenly from the smallest of `largest` to any other. Up to `most`
    designs, none of which contains another, narrowest first. Raises UserError when the budget allows no
    design that determines a law.
    """
    possible = [one for one in _list_subsets(largest) if one.trainings >= LEAST_POINTS]
    within = [one for one in possible if one.find_cost(price) <= budget]
    if not within:
        smallest = (
            f"The smallest takes {min(one.find_cost(price) for one in possible):.4g}."
            if possible
            else "Nor do the sizes, token counts and seeds given; give more of them."
        )
        raise UserError(
            f"a budget of {budget:g} allows no design of {LEAST_POINTS} trainings, two LLMs and two token "
            f"counts. {smallest}"
        )
    within.sort(key=lambda one: (expect_width(one, world, aim), -one.trainings))
    chosen: list[Design] = []
    for one in within:
        if len(chosen) < most and not any(other.contains(one) for other in chosen):
            chosen.append(one)
    return chosen


def expect_width(design: Design, world: World, aim: Aim) -> float:
    """Return the expected width of an aim's interval after a design, to first order."""
    cells = design.list_cells()
    center_b, center = (
        float(np.exp(np.log(cells[name]).mean())) for name in ("n_params_b", "visual_tokens")
    )
    law = pd.DataFrame([{**vars(world), "center_b": center_b, "center": center}])
    llms = [*cells["llm"], *([aim.llm] if aim.quantity == "error" else [])]
    smallest = float(world.predict(cells).min())
    return begin_information(law, llms, smallest).add(cells).expect_width(aim)


def _list_subsets(largest: Design) -> Iterator[Design]:
    for sizes, counts, seeds in product(
        _list_spreads(largest.sizes_b),
        _list_spreads(largest.token_counts),
        range(1, largest.seeds + 1),
    ):
        yield Design(sizes, counts, seeds)


def _list_spreads(values: Sequence[Value]) -> list[tuple[Value, ...]]:
    """Return every even spread of two or more values from the first to any other, each once."""
    spreads = {}
    for last in range(1, len(values)):
        for count in range(2, last + 2):
            places = np.round(np.linspace(0, last, count)).astype(int)
            spreads[tuple(places.tolist())] = tuple(values[place] for place in places)
    return list(spreads.values())
