"""Claims on what was searched, fitted, drawn and tabulated (appendix A.2, figures, Table 1)."""

import numpy as np
import pandas as pd

from vlmscale.analysis import grid_search
from vlmscale.analysis.audit.checks import Measure, released
from vlmscale.analysis.audit.evidence import Evidence
from vlmscale.analysis.table1 import gap_closed, pairwise_wins


@released("C31")
def ocr_legend(evidence: Evidence) -> Measure:
    drawn = set(evidence.readings["fig3b_tokens"])
    missing = sorted(set(evidence.ocr.points["visual_tokens"]) - drawn)
    left_out = evidence.ocr.points[evidence.ocr.points["visual_tokens"].isin(missing)]["error"]
    top = evidence.readings["fig3b_vertical_ticks"][1]
    return Measure(
        len(drawn),
        how=f"Left out: V = {', '.join(map(str, missing))}, with errors up to {left_out.max():.3f}; the "
        f"axis ends at {top:.2f}.",
    )


@released("C32")
def own_values(evidence: Evidence) -> Measure:
    both = pd.concat([evidence.reasoning.points, evidence.ocr.points])
    repeated = both[both.duplicated(["family", "score"])]
    listed = ", ".join(
        f"{family} {llm}/{v}"
        for family, llm, v in repeated[["family", "llm", "visual_tokens"]].itertuples(index=False)
    )
    axes = ["n_params_b", "visual_tokens"]
    lists = evidence.ocr.points.merge(evidence.unsplit, on=axes, suffixes=("", "_unsplit"))
    differing = int(((lists["score"] - lists["score_unsplit"]).abs() > 1e-9).sum())
    return Measure(
        len(both) - len(repeated),
        how=f"Equal to another cell of its suite to all digits: {listed}. {differing} OCR cell differs "
        f"from the unsplit list. Fig 3b uses {4 * len(evidence.readings['fig3b_tokens'])} cells.",
    )


@released("C33")
def ranges(evidence: Evidence) -> Measure:
    exponents = evidence.readings["appendix_exponent_bounds"]
    others = evidence.readings["appendix_amplitude_bounds"]
    printed = {"amplitude": others, "alpha": exponents, "beta": exponents, "floor": others}
    code = {
        name: tuple(evidence.readings[f"code_{name}_grid"][:2])
        for name in ("amplitude", "alpha", "beta", "floor")
    }
    same = sum(code[name] == bounds for name, bounds in printed.items())
    listed = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in code.items())
    found = grid_search.grid_search(evidence.ocr.points, grid_search.RELEASED)
    edges = [name for name, edge in found.edges.items() if edge != "interior"]
    excess = 100 * (found.sse / evidence.ocr.law.sse - 1)
    return Measure(
        same,
        how=f"The code searches {listed}. In these ranges the best node for OCR lies on the edge of "
        f"{', '.join(edges)}, its sum of squares {excess:.0f} % above the least.",
    )


def _closed(evidence: Evidence, group: int, benchmark: str) -> Measure:
    table = gap_closed(evidence.table1, method="QueCC")
    (row,) = table[(table["group"] == group) & (table["benchmark"] == benchmark)].to_dict("records")
    return Measure(
        row["gap_closed_percent"],
        how=f"QueCC {row['score']:g}, next best {row['rival']} {row['rival_score']:g}, LLaVA-1.5 "
        f"{row['reference_score']:g}.",
    )


@released("C42")
def mme_one(evidence: Evidence) -> Measure:
    return _closed(evidence, 1, "MME")


@released("C43")
def mmb_one(evidence: Evidence) -> Measure:
    measure = _closed(evidence, 1, "MMB")
    cells = evidence.table1[
        (evidence.table1["group"] == 1) & (evidence.table1["benchmark"] == "MMB")
    ]
    score = cells.set_index("method")["score"]
    top = evidence.table1.query("method == 'LLaVA-1.5' and benchmark == 'MMB'")["score"].item()
    packer = 100 * (score["QueCC"] - score["TokenPacker"]) / (top - score["TokenPacker"])
    return Measure(measure.value, how=f"{measure.how} Against TokenPacker {packer:.1f} %.")


@released("C44")
def mme_four(evidence: Evidence) -> Measure:
    return _closed(evidence, 4, "MME")


@released("C45")
def mmb_four(evidence: Evidence) -> Measure:
    return _closed(evidence, 4, "MMB")


@released("C46")
def firsts(evidence: Evidence) -> Measure:
    table = gap_closed(evidence.table1, method="QueCC")
    extreme = table[table["group"].isin([1, 4])]
    first = extreme["rank"] == 1
    narrow = (extreme["score"] - extreme["rival_score"]).round(6)[first] <= 0.1
    return Measure(
        float(first.mean()),
        how=f"{first.sum()} of {len(first)}, {narrow.sum()} of them by 0.1 or less, without repeats.",
    )


@released("C47")
def strong(evidence: Evidence) -> Measure:
    table = gap_closed(evidence.table1, method="QueCC")
    named = table[table["benchmark"].isin(["GQA", "MME", "SQA", "VQAv2"])]
    return Measure(
        float((named["rank"] <= 2).mean()),
        how=f"First in {(named['rank'] == 1).sum()} of {len(named)}.",
    )


@released("C48")
def token_packer(evidence: Evidence) -> Measure:
    wins = pairwise_wins(evidence.table1, "TokenPacker").groupby("rival").sum(numeric_only=True)
    wins = wins.drop(index=["QueCC", "LLaVA-1.5"], errors="ignore")
    listed = ", ".join(
        f"{rival} {row['wins']:.0f} of {row['comparisons']:.0f} ({row['ties']:.0f} ties)"
        for rival, row in wins.iterrows()
    )
    beaten = wins["wins"] > wins["comparisons"] / 2
    return Measure(int(np.sum(beaten)), how=f"Wins against {listed}.")
