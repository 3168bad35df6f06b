"""Claims on what was fitted, drawn, tabulated and released (section 4, figures, Table 1, code history)."""

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.comparisons.table1 import count_wins, measure_gaps
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.power_law import fit_power_law


@released("C31")
def count_drawn_tokens(evidence: Evidence) -> Finding:
    drawn = set(evidence.readings["fig3b_tokens"])
    missing = sorted(set(evidence.ocr.points["visual_tokens"]) - drawn)
    left_out = evidence.ocr.points[evidence.ocr.points["visual_tokens"].isin(missing)]["error"]
    top = evidence.readings["fig3b_vertical_ticks"][1]
    return Finding(
        len(drawn),
        note=f"Left out: V = {', '.join(map(str, missing))}, with errors up to {left_out.max():.3f}; the "
        f"axis ends at {top:.2f}.",
    )


@released("C32")
def count_own_values(evidence: Evidence) -> Finding:
    both = pd.concat([evidence.reasoning.points, evidence.ocr.points])
    repeated = both[both.duplicated(["family", "score"])]
    listed = ", ".join(
        f"{family} {llm}/{v}"
        for family, llm, v in repeated[["family", "llm", "visual_tokens"]].itertuples(index=False)
    )
    axes = ["n_params_b", "visual_tokens"]
    lists = evidence.ocr.points.merge(evidence.unsplit, on=axes, suffixes=("", "_unsplit"))
    differing = int(((lists["score"] - lists["score_unsplit"]).abs() > 1e-9).sum())
    return Finding(
        len(both) - len(repeated),
        note=f"Equal to another cell of its suite to all digits: {listed}. {differing} OCR cell differs "
        f"from the unsplit list. Fig 3b uses {4 * len(evidence.readings['fig3b_tokens'])} cells.",
    )


@released("C42", group=1, benchmark="MME")
@released("C43", group=1, benchmark="MMB")
@released("C44", group=4, benchmark="MME")
@released("C45", group=4, benchmark="MMB")
def measure_gap(evidence: Evidence, group: int, benchmark: str) -> Finding:
    table = measure_gaps(evidence.table1, method="QueCC")
    (row,) = table[(table["group"] == group) & (table["benchmark"] == benchmark)].to_dict("records")
    score, reference = row["score"], row["reference_score"]
    note = f"QueCC {score:g}, next best {row['rival']} {row['rival_score']:g}, LLaVA-1.5 {reference:g}."
    if row["rival"] != "TokenPacker":
        cells = evidence.table1.set_index(["method", "group", "benchmark"])["score"]
        packer = cells["TokenPacker", group, benchmark]
        closed = 100 * (score - packer) / (reference - packer)
        note += f" Against TokenPacker {closed:.1f} %."
    return Finding(row["gap_closed_percent"], note=note)


@released("C46")
def count_firsts(evidence: Evidence) -> Finding:
    table = measure_gaps(evidence.table1, method="QueCC")
    extreme = table[table["group"].isin([1, 4])]
    first = extreme["rank"] == 1
    narrow = (extreme["score"] - extreme["rival_score"]).round(6)[first] <= 0.1
    return Finding(
        float(first.mean()),
        note=f"{first.sum()} of {len(first)}, {narrow.sum()} of them by 0.1 or less, without repeats.",
    )


@released("C47")
def count_top_two(evidence: Evidence) -> Finding:
    table = measure_gaps(evidence.table1, method="QueCC")
    named = table[table["benchmark"].isin(["GQA", "MME", "SQA", "VQAv2"])]
    return Finding(
        float((named["rank"] <= 2).mean()),
        note=f"First in {(named['rank'] == 1).sum()} of {len(named)}.",
    )


@released("C48")
def count_beaten(evidence: Evidence) -> Finding:
    wins = count_wins(evidence.table1, "TokenPacker").groupby("rival").sum(numeric_only=True)
    wins = wins.drop(index=["QueCC", "LLaVA-1.5"], errors="ignore")
    listed = ", ".join(
        f"{rival} {row['wins']:.0f} of {row['comparisons']:.0f} ({row['ties']:.0f} ties)"
        for rival, row in wins.iterrows()
    )
    beaten = wins["wins"] > wins["comparisons"] / 2
    return Finding(int(np.sum(beaten)), note=f"Wins against {listed}.")


@released("C58")
def fit_earlier_list(evidence: Evidence) -> Finding:
    earlier = evidence.earlier.assign(error=1 - evidence.earlier["score"])
    suites = {str(name): Suite(points) for name, points in earlier.groupby("list")}
    listed = "; ".join(
        f"{name}: {suite.law.ratio:.2f} ({len(suite.points)} scores)"
        for name, suite in suites.items()
    )
    return suites["hA_28"].find_parameter(
        "ratio",
        f"alpha / beta of the lists: {listed}; of the released scores {evidence.reasoning.law.ratio:.2f}. "
        "No record says which benchmarks a list averages; the ratio depends on the suite.",
    )


@released("C57")
def count_changed(evidence: Evidence) -> Finding:
    earlier = evidence.earlier[evidence.earlier["list"] == "hB_27"]
    axes = ["n_params_b", "visual_tokens"]
    both = earlier.merge(evidence.reasoning.points, on=axes, suffixes=("_earlier", ""))
    changed = both[(both["score_earlier"] - both["score"]).abs() > 1e-9]
    listed = "; ".join(
        f"{n:g}B/{v} {old:.4f} there, {new:.4f} here"
        for n, v, old, new in changed[[*axes, "score_earlier", "score"]].itertuples(index=False)
    )
    law = fit_power_law(earlier.assign(error=1 - earlier["score"]))
    return Finding(
        len(changed),
        note=f"Of {len(both)} cells. {listed}. The law of the list: ratio {law.ratio:.3f}, V*(50) = "
        f"{optimal_tokens(law.ratio, 50, low=1, high=576).item():.2f}.",
    )
