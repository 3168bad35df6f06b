"""Claims on what was fitted, drawn, tabulated and released (section 4, figures, Table 1, code history)."""

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.checks import Measure, over_sizes, released
from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.comparisons.table1 import count_wins, measure_gaps
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.power_law import fit_power_law


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


def _closed(evidence: Evidence, group: int, benchmark: str) -> Measure:
    table = measure_gaps(evidence.table1, method="QueCC")
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
    table = measure_gaps(evidence.table1, method="QueCC")
    extreme = table[table["group"].isin([1, 4])]
    first = extreme["rank"] == 1
    narrow = (extreme["score"] - extreme["rival_score"]).round(6)[first] <= 0.1
    return Measure(
        float(first.mean()),
        how=f"{first.sum()} of {len(first)}, {narrow.sum()} of them by 0.1 or less, without repeats.",
    )


@released("C47")
def strong(evidence: Evidence) -> Measure:
    table = measure_gaps(evidence.table1, method="QueCC")
    named = table[table["benchmark"].isin(["GQA", "MME", "SQA", "VQAv2"])]
    return Measure(
        float((named["rank"] <= 2).mean()),
        how=f"First in {(named['rank'] == 1).sum()} of {len(named)}.",
    )


@released("C48")
def token_packer(evidence: Evidence) -> Measure:
    wins = count_wins(evidence.table1, "TokenPacker").groupby("rival").sum(numeric_only=True)
    wins = wins.drop(index=["QueCC", "LLaVA-1.5"], errors="ignore")
    listed = ", ".join(
        f"{rival} {row['wins']:.0f} of {row['comparisons']:.0f} ({row['ties']:.0f} ties)"
        for rival, row in wins.iterrows()
    )
    beaten = wins["wins"] > wins["comparisons"] / 2
    return Measure(int(np.sum(beaten)), how=f"Wins against {listed}.")


@released("C58")
def earlier_average(evidence: Evidence) -> Measure:
    found = {}
    for name, scores in evidence.earlier.groupby("list"):
        suite = Suite(scores.assign(error=1 - scores["score"]))
        found[name] = suite, f"{name}: {suite.law.ratio:.2f} ({len(scores)} scores)"
    suite = found["hA_28"][0]
    listed = "; ".join(text for _, text in found.values())
    return over_sizes(
        suite.law.ratio,
        suite.draws["ratio"].to_numpy(),
        f"alpha / beta of the lists: {listed}; of the released scores {evidence.reasoning.law.ratio:.2f}. "
        "Which benchmarks a list averages is not recorded; the ratio belongs to the suite.",
    )


@released("C57")
def same_list(evidence: Evidence) -> Measure:
    earlier = evidence.earlier[evidence.earlier["list"] == "hB_27"]
    axes = ["n_params_b", "visual_tokens"]
    both = earlier.merge(evidence.reasoning.points, on=axes, suffixes=("_earlier", ""))
    changed = both[(both["score_earlier"] - both["score"]).abs() > 1e-9]
    listed = "; ".join(
        f"{n:g}B/{v} {old:.4f} there, {new:.4f} here"
        for n, v, old, new in changed[[*axes, "score_earlier", "score"]].itertuples(index=False)
    )
    law = fit_power_law(earlier.assign(error=1 - earlier["score"]))
    return Measure(
        len(changed),
        how=f"Of {len(both)} cells. {listed}. The law of the list: ratio {law.ratio:.3f}, T*(50) = "
        f"{optimal_tokens(law.ratio, 50, low=1, high=576).item():.2f}.",
    )
