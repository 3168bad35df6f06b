"""Tables of studies made from laws that are known, and what the hypotheses are decided to be on them."""

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.hypotheses.decide import decide_hypotheses
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws
from vlmscale.analysis.laws.tables import describe_fit
from vlmscale.study.selection import Selection

SIZES, COUNTS = {"s": 0.5, "m": 1.8, "l": 4.0, "xl": 7.0}, (1, 4, 16, 64, 256)
SERIES = {"tokenpacker": Selection(("tokenpacker",))}
STEEP_IN_N, STEEP_IN_V = (0.6, 0.2, 0.04, 0.0), (0.9, 0.04, 0.2, 0.0)
PAIRED = [
    *("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
    *("llms", "seeds", "questions", "difference", "low", "high"),
]


def product(amplitude, alpha, beta, floor):
    return lambda n, v: amplitude * n**-alpha * v**-beta + floor


def cells(error, *, family="reasoning", budget="full", noise=0.0, sizes=SIZES, role="fit"):
    """Family means of the cells of tokenpacker, with the errors error(n, v)."""
    rng = np.random.default_rng(1)
    rows = []
    for llm, n in sizes.items():
        for v in COUNTS:
            name = f"{llm}-v{v}-{budget}"
            missed = error(n, v) + noise * rng.normal()
            rows.append(
                {
                    **{"cell": name, "run": name, "llm": llm, "method": "tokenpacker", "seed": 0},
                    **{"visual_tokens": v, "budget": budget, "role": role, "n_params_b": n},
                    **{"family": family, "benchmark": "mean", "error": missed, "score": 1 - missed},
                }
            )
    return pd.DataFrame(rows)


def results(*parts, names=("tokenpacker",), draws=300):
    """The tables of a study with these cells; names: of the laws, one for each budget."""
    errors = pd.concat(parts, ignore_index=True)
    tables = {"laws": [], "draws": []}
    fitted = errors[errors["role"] == "fit"].groupby(["budget", "family"], sort=False)
    budgets = dict(zip(errors["budget"].unique(), names, strict=True))
    for (budget, family), points in fitted:
        about = {"series": budgets[budget], "family": family}
        law, scheme = fit_power_law(points), choose_scheme(points)
        drawn = draw_laws(points, law, scheme, draws=draws, seed=0).assign(scheme=scheme)
        # Another scheme's draws must not count.
        other = drawn.assign(scheme="wild", alpha=0.5 - drawn["alpha"], ratio=1 / drawn["ratio"])
        tables["laws"].append(pd.DataFrame([{**about, **describe_fit(law, points)}]))
        tables["draws"] += [drawn.assign(**about), other.assign(**about)]
    return {
        "errors": errors,
        "samples": pd.DataFrame(columns=["cell", "family", "benchmark", "id", "score"]),
        "paired": pd.DataFrame(columns=PAIRED),
        **{name: pd.concat(frames, ignore_index=True) for name, frames in tables.items()},
    }


def ask(tables, series=SERIES, seed=0):
    return decide_hypotheses(tables, series, draws=500, seed=seed)


def only(table, hypothesis):
    (row,) = table[table["id"] == hypothesis].to_dict("records")
    return row


def comparison(method, *by_llm, error=0.002, **about):
    """Rows of one method beside the baseline: `by_llm` are differences, with a standard error of questions."""
    row = {"method": method, "baseline": "tokenpacker", "visual_tokens": 1, "budget": "full"}
    row |= {"family": "reasoning", "benchmark": "mean", "questions": 9}
    each = [
        {**row, "llm": f"l{i}", "llms": 1, "seeds": 1, "difference": d}
        for i, d in enumerate(by_llm)
    ]
    if len(by_llm) > 1:
        k, mean = len(by_llm), np.mean(by_llm)
        each.append({**row, "llm": "all", "llms": k, "seeds": k, "difference": mean})
    reach = 1.96 * error
    ends = [{"low": one["difference"] - reach, "high": one["difference"] + reach} for one in each]
    return [{**one, **end, **about} for one, end in zip(each, ends, strict=True)]


def with_paired(*comparisons):
    rows = [row for rows in comparisons for row in rows]
    return {**results(cells(LAW)), "paired": pd.DataFrame(rows, columns=PAIRED)}


LAW = product(*STEEP_IN_N)
