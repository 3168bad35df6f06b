"""Tables for people: the same numbers as Markdown and as LaTeX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.comparisons.table1 import gap_closed, wide
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.records.files import atomic_path


def write_readable(frame: pd.DataFrame, markdown: Path, latex: Path) -> None:
    """Write a table of strings to both files."""
    with atomic_path(markdown) as scratch:
        scratch.write_text(frame.to_markdown(index=False, disable_numparse=True) + "\n")
    with atomic_path(latex) as scratch:
        scratch.write_text(frame.rename(columns=_escape).map(_escape).to_latex(index=False))


def laws_for_people(laws: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Laws with 95 % intervals over resampled LLM sizes, or over points where there are just two sizes."""
    rows = []
    for law in laws.to_dict("records"):
        spread = main_intervals(intervals, law)
        row = {"law": law["series"], "family": law["family"], "N": law["size_axis"]}
        row["A"] = f"{law['amplitude']:.4f}"
        for name, symbol, digits in (("alpha", "α", 4), ("beta", "β", 4), ("ratio", "α/β", 2)):
            row[symbol] = _with_interval(law[name], spread.loc[name], digits)
        row["D"] = f"{law['floor']:.3g}" + _bound(law["floor_bound"])
        for quantity in spread.index[spread.index.str.startswith("tokens_at_")]:
            text = quantity.removeprefix("tokens_at_")
            found = spread.loc[quantity]
            best = optimal_tokens(
                law["ratio"], float(text), low=1, high=law["most_visual_tokens"]
            ).item()
            row[f"T*({text})"] = _with_interval(best, found, 1)
        row |= {
            "SSE": f"{law['sse']:.3e}",
            "RMSE": f"{law['rmse']:.4f}",
            "points": str(law["points"]),
        }
        rows.append({**row, "intervals over": spread["scheme"].iloc[0]})
    return pd.DataFrame(rows).fillna("")


def main_intervals(intervals: pd.DataFrame, law: Mapping[Any, Any]) -> pd.DataFrame:
    """The intervals that stand for a law, by quantity; `law`: its row of fit_laws."""
    mine = intervals[
        (intervals["series"] == law["series"]) & (intervals["family"] == law["family"])
    ]
    scheme = "sizes" if (mine["scheme"] == "sizes").any() else "cases"  # as main_scheme
    return mine[mine["scheme"] == scheme].set_index("quantity")


def forms_for_people(forms: pd.DataFrame) -> pd.DataFrame:
    """Forms beside each other, best AICc first in each law; errors of the largest size in percent."""
    best = forms.groupby(["series", "family"])["aicc"].transform("min")
    return pd.DataFrame(
        {
            "law": forms["series"],
            "family": forms["family"],
            "form": forms["form"],
            "parameters": forms["parameters"].astype(str),
            "SSE": forms["sse"].map("{:.3e}".format),
            "ΔAICc": (forms["aicc"] - best).map(_fixed(1)),
            "BIC": forms["bic"].map(_fixed(1)),
            "RMSE, point left out": forms["rmse_left_out_point"].map(_fixed(5)),
            "size left out": forms["rmse_left_out_size"].map(_fixed(5)),
            "count left out": forms["rmse_left_out_count"].map(_fixed(5)),
            "largest size, mean %": forms["mean_percent_largest_size"].map(_fixed(2)),
            "max %": forms["max_percent_largest_size"].map(_fixed(2)),
        }
    )


def variants_for_people(variants: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "law": variants["series"],
            "family": variants["family"],
            "variant": variants["variant"],
            "A": variants["amplitude"].map(_fixed(4)),
            "α": variants["alpha"].map(_fixed(4)),
            "β": variants["beta"].map(_fixed(4)),
            "α/β": variants["ratio"].map(_ratio),
            "D": _floors(variants),
            "SSE": variants["sse"].map("{:.3e}".format),
            "points": variants["points"].astype(str),
        }
    )


def methods_for_people(errors: pd.DataFrame, chance: pd.DataFrame) -> pd.DataFrame:
    """Scores in percent as in the paper's Table 1: a row an LLM, method, count and budget; mean of seeds.

    errors: of errors_table, with single benchmarks and family means. chance: of chance_levels. The first
    row is chance, a score that needs no image: near it, errors tell little of LLM and tokens, and bend a
    law. A share of answers that no rule could read, which count as wrong, follows the score.
    """
    means = errors["benchmark"] == "mean"
    named = errors.assign(column=errors["benchmark"].where(~means, errors["family"] + ", mean"))
    order = [
        *dict.fromkeys(named.loc[~means, "column"]),
        *dict.fromkeys(named.loc[means, "column"]),
    ]
    rows = ["n_params_b", "llm", "visual_tokens", "method", "budget"]
    scores, unread = (
        100 * named.groupby([*rows, "column"])[value].mean().unstack("column")[order]
        for value in ("score", "unparsed")
    )
    shown = scores.map(_fixed(1)) + unread.map(_unread)
    ranks = ["n_params_b", "visual_tokens", "method", "budget"]
    table = shown.reset_index().sort_values(
        ranks, ascending=[True, False, True, True], ignore_index=True
    )
    about = {
        "LLM": table["llm"],
        "method": table["method"],
        "visual tokens": table["visual_tokens"].astype(str),
        **_budgets(table),
    }
    body = pd.DataFrame({**about, **table[order]})
    floors = {column: _fixed(1)(100 * level) for column, level in _floors_of(named, chance).items()}
    first = pd.DataFrame([{"method": "chance", **floors}])
    return pd.concat([first, body], ignore_index=True)[body.columns].fillna("")


def _floors_of(named: pd.DataFrame, chance: pd.DataFrame) -> dict[str, float]:
    """Chance by column of the table of methods: of each benchmark, and the mean of each family's."""
    single = named[named["benchmark"] != "mean"].drop_duplicates("benchmark")
    levels = single["benchmark"].map(chance.set_index("benchmark")["chance"]).astype(float)
    means = levels.groupby(single["family"]).mean()
    return {
        **dict(zip(single["column"], levels, strict=True)),
        **{f"{family}, mean": level for family, level in means.items()},
    }


def _unread(percent: float) -> str:
    return f" ({percent:.0f} % unread)" if percent >= 0.5 else ""  # not where it is missing


def paired_for_people(paired: pd.DataFrame) -> pd.DataFrame:
    """Differences of scores in percent points with 95 % intervals; family means only."""
    means = paired[paired["benchmark"] == "mean"]
    spans = [
        f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        for row in means.to_dict("records")
    ]
    return pd.DataFrame(
        {
            "method": means["method"],
            "minus": means["baseline"],
            "LLM": means["llm"],
            "visual tokens": means["visual_tokens"].astype(str),
            **_budgets(means),
            "family": means["family"],
            "difference": spans,
            "p (Holm)": means["p_holm"].map(_fixed(4)),
            "questions": means["questions"].astype(str),
            "pairs of runs": means["seeds"].astype(str),
        }
    )


def suites_for_people(suites: pd.DataFrame) -> pd.DataFrame:
    """How the law moves when a benchmark leaves its family's average."""
    return pd.DataFrame(
        {
            "law": suites["series"],
            "family": suites["family"],
            "without": suites["without"],
            "α": suites["alpha"].map(_fixed(4)),
            "β": suites["beta"].map(_fixed(4)),
            "α/β": suites["ratio"].map(_fixed(2)),
            "D": _floors(suites),
            "points": suites["points"].astype(str),
            "note": suites["note"],
        }
    )


def verdicts_for_people(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Each hypothesis with its number, its rule, its verdict and what else to know."""
    values = [
        ""
        if np.isnan(value)
        else f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")
        for value, low, high in verdicts[["value", "low", "high"]].itertuples(index=False)
    ]
    return pd.DataFrame(
        {
            "id": verdicts["id"],
            "hypothesis": verdicts["hypothesis"],
            "law": verdicts["series"],
            "budget": verdicts["budget"],
            "family": verdicts["family"],
            "value": values,
            "rule": verdicts["rule"],
            "verdict": verdicts["verdict"],
            "note": verdicts["note"],
        }
    )


def sanity_for_people(sanity: pd.DataFrame) -> pd.DataFrame:
    """What models should have learned, and whether they did."""
    return pd.DataFrame(
        {
            "check": sanity["check"],
            "budget": sanity["budget"],
            "subject": sanity["subject"],
            "value": sanity["value"].map(_fixed(4)),
            "reference": sanity["reference"].map(_fixed(4)),
            "holds": sanity["holds"].map({True: "yes", False: "NO"}),
            "note": sanity["note"],
        }
    )


def table1_for_people(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The paper's Table 1, each block followed by the gap to LLaVA-1.5 that `method` closes in it."""
    scores = wide(table)
    benchmarks = list(scores.columns[3:-2])
    gaps = gap_closed(table, method=method)
    closed = {
        (group, benchmark): float(percent)
        for group, benchmark, percent in gaps[
            ["group", "benchmark", "gap_closed_percent"]
        ].itertuples(index=False)
    }
    rows = []
    for group, block in scores.groupby("group", sort=False):
        for row in block.to_dict("records"):
            shown = {b: _fixed(1)(row[b]) for b in benchmarks}
            relative = _fixed(1)(row["relative_percent"])
            rows.append(
                {
                    "method": row["method"],
                    "visual tokens": str(row["visual_tokens"]),
                    **shown,
                    "mean gap, %": relative,
                    "over": str(row["benchmarks_compared"]),
                }
            )
        shown = {b: _fixed(1)(closed[group, b]) for b in benchmarks if (group, b) in closed}
        if shown:
            rows.append({"method": f"gap {method} closes, %", **shown})
    return pd.DataFrame(rows).fillna("")


def cached_text_for_people(saves: pd.DataFrame) -> pd.DataFrame:
    """What caching the text takes off a prefill; saves: of cached_text_saves."""
    return pd.DataFrame(
        {
            "LLM": saves["llm"],
            "V": saves["visual_tokens"].astype(str),
            "Q": saves["text_tokens"].astype(str),
            "images at once": saves["batch"].astype(str),
            "FLOPs saved": saves["flops_saved"].map("{:.1%}".format),
            "time saved": saves["time_saved"].map("{:.1%}".format),
            "time left over FLOPs left": saves["kept_ratio"].map(_fixed(2)),
        }
    )


def fewer_tokens_for_people(falls: pd.DataFrame) -> pd.DataFrame:
    """From all visual tokens to one; falls: of fewer_tokens_save."""
    return pd.DataFrame(
        {
            "LLM": falls["llm"],
            "method": falls["method"],
            "2NV falls by": falls["flops_fall"].map(_fixed(0)),
            "prefill falls by": falls["prefill_fall"].map(_fixed(1)),
            "latency falls by": falls["latency_fall"].map(_fixed(2)),
            "tower's share of it": falls["tower_share"].map("{:.0%}".format),
        }
    )


def _budgets(table: pd.DataFrame) -> "dict[str, pd.Series[str]]":
    """The column of training budgets, where there is a difference to tell."""
    return {"budget": table["budget"]} if table["budget"].nunique() > 1 else {}


def _with_interval(value: float, found: "pd.Series[Any] | pd.DataFrame", digits: int) -> str:
    return f"{value:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def _fixed(digits: int) -> Callable[[float], str]:
    return lambda value: "" if np.isnan(value) else f"{value:.{digits}f}"


def _ratio(value: float) -> str:
    """Where β is nearly 0 the ratio's digits say nothing."""
    return "> 10000" if 1e4 < value < np.inf else _fixed(2)(value)


def _floors(laws: pd.DataFrame) -> list[str]:
    return [
        "" if np.isnan(floor) else f"{floor:.3g}" + _bound(bound)
        for floor, bound in zip(laws["floor"], laws["floor_bound"], strict=True)
    ]


def _bound(bound: str) -> str:
    return {"interior": "", "fixed": " (fixed)"}.get(bound, " (bound)")


_LATEX = {
    **{character: "\\" + character for character in "%_&#$"},
    "^": r"\^{}",
    "~": r"\textasciitilde{}",
    **{"α": r"$\alpha$", "β": r"$\beta$", "Δ": r"$\Delta$"},
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
