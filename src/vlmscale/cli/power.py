"""Say what designs of a study will show, by simulation, and which of them is best within a budget."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from vlmscale.analysis.decisions.designs import (
    Design,
    Price,
    World,
    estimate_world,
    propose_designs,
)
from vlmscale.analysis.decisions.power import simulate_power, summarize_decisions, summarize_widths
from vlmscale.analysis.laws.columns import parse_size
from vlmscale.analysis.laws.hierarchical import LEAST_POINTS
from vlmscale.analysis.laws.information import Aim
from vlmscale.cli.fit_output import write_formula
from vlmscale.cli.next_cells import QUANTITIES
from vlmscale.cli.output import Columns, Report, number, print_table, progress
from vlmscale.cli.points import read_points
from vlmscale.cli.study_grid import read_grid
from vlmscale.errors import UsageError, UserError, refuse_infinite
from vlmscale.records.tables import Source, name_source
from vlmscale.resources import find_resource

_MOST_SIMULATIONS = 100_000
_HEADS = {"difference": "alpha - beta", "ratio": "alpha / beta", "tokens": "V*", "error": "new LLM"}


def compare_designs(
    *,
    sizes: str | Sequence[str | float] = "0.5,1.8,4,7",
    token_counts: Sequence[int] = (1, 4, 16, 64, 576),
    seeds: int = 1,
    config: str | Path | None = None,
    trainings: int | None = None,
    gpu_hours: float | None = None,
    designs: int = 4,
    narrow: str = "alpha-beta",
    scores: Source | None = None,
    family: str = "reasoning",
    methods: Sequence[str] = (),
    world: dict[str, float] | None = None,
    text_tokens: int = 50,
    new_llm: float = 14.0,
    new_tokens: int = 16,
    simulations: int = 100,
    seed: int = 0,
    draws: int = 1000,
) -> Report:
    """Simulate a design, or with a budget the most promising ones within sizes, token counts and seeds.

    config: a study, whose LLMs, token counts and GPU hours are used. trainings or gpu_hours: the budget.
    narrow: the quantity whose interval decides which design is best. scores, family, methods: the table
    whose law and noise are the truth, by default the released scores; world: numbers instead of those that
    it gives (amplitude, alpha, beta, floor, noise, offset, slope). The other arguments are the options of
    `vlmscale power`. Returns tables `designs`, `widths` and `decisions` and what they are of.
    """
    refuse_infinite({"gpu_hours": gpu_hours, "new_llm": new_llm, "world": world})
    if narrow not in QUANTITIES:
        raise UsageError(f"--narrow {narrow}: choose from {', '.join(QUANTITIES)}")
    if trainings is not None and gpu_hours is not None:
        raise UsageError("give one budget: --trainings or --gpu-hours")
    if gpu_hours is not None and config is None:
        raise UsageError("--gpu-hours needs --config, the study whose trainings take them")
    if not 1 <= simulations <= _MOST_SIMULATIONS:
        raise UsageError(f"--simulations {simulations}: give 1 to {_MOST_SIMULATIONS:,}")
    points, source = _read_scores(scores, family, methods)
    truth = World(**{**vars(estimate_world(points)), **(world or {})})
    if config is None:
        largest = Design(_read_sizes(sizes), tuple(sorted(set(token_counts))), seeds)
        hours: Price | None = None
    else:
        largest, hours = _read_config(Path(config), family, seeds)
    _check_design(largest)
    aim = Aim(
        QUANTITIES[narrow],
        text_tokens=text_tokens,
        llm="new",
        n_params_b=new_llm,
        visual_tokens=new_tokens,
        most=max(largest.token_counts),
    )
    if (budget := trainings if trainings is not None else gpu_hours) is None:
        chosen = [largest]
    else:
        price = hours if gpu_hours is not None and hours is not None else lambda llm, v: 1.0
        chosen = propose_designs(largest, budget, price, truth, aim, most=designs)
    rows: list[dict[str, Any]] = []
    widths, decisions = [], []
    with progress(f"simulating {simulations} studies", simulations * len(chosen)) as advance:
        for name, design in enumerate(chosen, 1):
            found = _simulate(
                design,
                truth,
                aim,
                simulations=simulations,
                seed=seed,
                draws=draws,
                new_cell=(new_llm, new_tokens),
                advance=advance,
            )
            about = {"design": name, **design.describe()}
            rows.append({**about, "gpu_hours": design.find_cost(hours) if hours else None})
            widths.append(found[0].assign(design=name))
            decisions.append(found[1].assign(design=name))
    table = pd.concat(widths, ignore_index=True)
    ranked = table[table["quantity"] == aim.quantity].sort_values("width", kind="stable")
    best = ranked.iloc[0]
    # Designs whose widths Monte-Carlo error does not tell from the best one's.
    level = ranked[
        (ranked["width_low"] <= best["width_high"]) & (ranked["design"] != best["design"])
    ]
    return {
        "source": source,
        "world": vars(truth),
        "budget": {"trainings": trainings, "gpu_hours": gpu_hours},
        "narrow": narrow,
        "text_tokens": text_tokens,
        "new_llm": new_llm,
        "new_tokens": new_tokens,
        "simulations": simulations,
        "seed": seed,
        "designs": pd.DataFrame(rows),
        "widths": table[["design", *table.columns.drop("design")]],
        "decisions": pd.concat(decisions, ignore_index=True)[
            ["design", *decisions[0].columns.drop("design")]
        ],
        "best": int(best["design"]) if budget is not None else None,
        "as_good": [int(design) for design in level["design"]] if budget is not None else [],
    }


def _simulate(
    design: Design,
    truth: World,
    aim: Aim,
    *,
    simulations: int,
    seed: int,
    draws: int,
    new_cell: tuple[float, int],
    advance: Callable[[], None],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return widths and decisions of a design; studies of all designs have the same seeds."""
    simulated = simulate_power(
        design,
        truth,
        simulations=simulations,
        seed=seed,
        draws=draws,
        text_tokens=aim.text_tokens,
        new_cell=new_cell,
        most=aim.most,
        advance=advance,
    )
    return summarize_widths(simulated), summarize_decisions(simulated, aim.most)


def _read_scores(
    scores: Source | None, family: str, methods: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """Return the points that law and noise are from, and their source in words."""
    if scores is None:
        if family not in ("reasoning", "ocr"):
            raise UsageError(f"--family {family}: released scores are of reasoning and ocr")
        path = find_resource(f"published/{family}_scores.csv")
        return read_points(path)[""], f"the released {family} scores"
    families, name = read_points(scores, methods), name_source(scores)
    if family not in families and len(families) > 1:
        there = ", ".join(families)
        raise UserError(f"{name}: no points of family {family!r}. There are: {there}.")
    return families.get(family, next(iter(families.values()))), name


def _read_sizes(sizes: str | Sequence[str | float]) -> tuple[tuple[str, float], ...]:
    """Return LLM and N in billions of each size, smallest first."""
    names = sizes.split(",") if isinstance(sizes, str) else [str(size) for size in sizes]
    found = {}
    for name in filter(None, map(str.strip, names)):
        size = parse_size(name)
        if size is None or not 0 < size < np.inf:
            raise UsageError(f"--sizes {name}: give billions of parameters, such as 0.5,1.8,4,7")
        found[name] = size
    return tuple(sorted(found.items(), key=lambda item: item[1]))


def _read_config(config: Path, family: str, seeds: int) -> tuple[Design, Price]:
    """Return the largest design of a study's first law, and the GPU hours of its trainings."""
    grid = read_grid(
        config, Path("results"), series=None, family=family, gpu=None, utilisation=None
    )
    cells = grid.cells
    sizes = cells.groupby("llm", sort=False)["n_params_b"].first().sort_values()
    counts = sorted(cells["visual_tokens"].unique().tolist())

    def price(llm: str, v: int) -> float:
        return grid.hours.get((llm, v), np.inf)

    named = tuple((str(llm), float(n)) for llm, n in sizes.items())
    return Design(named, tuple(counts), seeds), price


def _check_design(design: Design) -> None:
    """Raise UserError for what no design may be."""
    if min(design.token_counts) < 1 or design.seeds < 1:
        raise UserError("token counts and seeds start at 1")
    if len({n for _, n in design.sizes_b}) < 2 or len(design.token_counts) < 2:
        raise UserError(
            "a design needs at least two LLM sizes and two token counts, else no law is determined"
        )
    if design.trainings < LEAST_POINTS:
        raise UserError(
            f"{design.trainings} trainings are too few for the hierarchical model, which needs "
            f"{LEAST_POINTS}; add sizes, token counts or seeds"
        )


def show(console: Console, report: Report) -> None:
    """Print widths and probabilities of each design, a row a design, and the best."""
    world = report["world"]
    console.print(
        f"Truth: {write_formula(world)}, from {report['source']}; s.d. of a training {world['noise']:.2g}, "
        f"of LLMs' offsets {world['offset']:.2g}, of their slopes {world['slope']:.2g} a unit of ln V."
    )
    designs = {row["design"]: row for row in report["designs"].to_dict("records")}
    several = len(designs) > 1
    columns: Columns = {
        "design": "design",
        "LLMs": lambda row: ", ".join(f"{n:.3g}" for n in row["sizes_b"]),
        "V": lambda row: ", ".join(map(str, row["token_counts"])),
        "seeds": "seeds",
        "trainings": "trainings",
    }
    if report["designs"]["gpu_hours"].notna().any():
        columns["GPU hours"] = lambda row: number(row["gpu_hours"], 4)
    print_table(console, "Designs", designs.values(), columns, words=["LLMs", "V"])
    _show_quantities(console, report, several)
    for_each = {"design": "design"} if several else {}
    print_table(
        console,
        "Probability that the 95 % interval decides so",
        report["decisions"],
        {
            **for_each,
            "decision": "decision",
            "probability": lambda row: _with_error(row, "probability"),
        },
        words=["decision"],
    )
    if report["best"] is not None:
        ties = ", ".join(map(str, report["as_good"]))
        console.print(
            f"Best for {report['narrow']}: design {report['best']}."
            + (f" Simulations do not tell it from design {ties}; take more." if ties else "")
        )
    console.print(
        f"{report['simulations']} simulated studies a design, seed {report['seed']}, fitted as the "
        "workflow fits; in brackets the 95 % interval of Monte-Carlo error."
    )


def _show_quantities(console: Console, report: Report, several: bool) -> None:
    heads = {
        **_HEADS,
        "tokens": f"V*({report['text_tokens']})",
        "error": f"error of a {report['new_llm']:g}B at V = {report['new_tokens']}",
    }
    columns: Columns = {
        **({"design": "design"} if several else {}),
        "quantity": lambda row: heads.get(row["quantity"], row["quantity"]),
        "truth": lambda row: number(row["value"], 3),
        "width": lambda row: _with_error(row, "width"),
        "holds the truth": lambda row: _with_error(row, "covered"),
    }
    title = "Median width of 95 % intervals, and how often they hold the truth"
    print_table(console, title, report["widths"], columns, words=["quantity"])


def _with_error(row: Any, name: str) -> str:
    low, high = number(row[f"{name}_low"], 3), number(row[f"{name}_high"], 3)
    return f"{number(row[name], 3)} [{low}, {high}]"
