"""Say which LLM costs least over its life: its training, and then k answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from vlmscale.analysis.decisions.lifetime import Sampled, tabulate_lifetimes
from vlmscale.analysis.laws.budget_law import SAMPLES
from vlmscale.analysis.laws.budget_posterior import explain_no_draws
from vlmscale.analysis.laws.budget_tables import ALL, describe_budgets
from vlmscale.analysis.laws.points import to_numbers
from vlmscale.cli.output import Columns, Report, interval, number, print_table, status
from vlmscale.cli.points import read_points
from vlmscale.errors import UsageError, UserError, refuse_infinite
from vlmscale.records.parquet import read_provenance
from vlmscale.records.tables import Source, name_source, read_table

_DRAWS = 2000
_ASSUMED = 64.0  # text tokens of a training sample


def compare_lifetimes(
    scores: Source,
    *,
    error: float | None = None,
    answers: Sequence[float] = (),
    text_tokens: int = 50,
    training_text_tokens: float | None = None,
    budgets: Mapping[str, float] | None = None,
    methods: Sequence[str] = (),
    family: str | None = None,
) -> Report:
    """Fit one law of N, V and training budget to `scores` and rank LLMs by lifetime cost.

    scores: as for vlmscale fit, of several training budgets: with a column samples (of stage 2), or a
    column budget whose samples `budgets` gives; for a study's errors.parquet they are those that its
    budget_law.parquet records. error: to reach, by default the best of each LLM. answers: numbers of
    answers to name the cheapest LLM for. training_text_tokens: of a sample, by default as recorded, else
    64. Returns the report that `vlmscale lifetime` prints. Raises UserError for scores of one budget.
    """
    given = {"error": error, "answers": answers, "training_text_tokens": training_text_tokens}
    refuse_infinite({**given, "budgets": budgets})
    recorded = _read_recorded(scores)
    known = budgets or (recorded.by_budget if recorded else {})
    table = _add_samples(read_table(scores), known, scores)
    families = read_points(table, methods, None)
    points = _choose_family(families, family, name_source(scores))
    found = sorted(map(str, points["method"].unique())) if "method" in points else []
    if len(found) > 1 and not methods:
        raise UserError(
            f"{name_source(scores)} has scores of several methods, which have different laws: "
            f"{', '.join(found)}. Choose with --methods."
        )
    text = training_text_tokens
    if text is None:
        text = recorded.text_tokens if recorded else _ASSUMED
    by_budget = points.groupby("budget", sort=False)[SAMPLES].first().sort_values().astype(float)
    sampled = Sampled(dict(by_budget), text, recorded.image_share if recorded else 1.0)
    chosen = {"draws": _DRAWS, "seed": 0}
    if "llm" not in points:
        points = points.assign(llm=points["n_params_b"].map("{:g}B".format))
    targets = {"--error": error} if error is not None else None
    with status("drawing laws"):
        laws = describe_budgets(points, [text_tokens], **chosen)
        lives = tabulate_lifetimes(points, sampled, [text_tokens], targets=targets, **chosen)
    if lives.empty:
        raise UserError(_explain_empty(error, points))
    return {
        "scores": name_source(scores),
        "points": len(points),
        "sampled": vars(sampled),
        "text_tokens": text_tokens,
        "laws": laws,
        "choices": lives,
        "answers": [
            {"answers": k, **row}
            for k in answers
            for row in find_choices(lives, k).to_dict("records")
        ],
    }


def find_choices(lives: pd.DataFrame, answers: float) -> pd.DataFrame:
    """Return the row of each target that holds for a number of answers. lives: of tabulate_lifetimes."""
    return lives[(lives["answers_from"] <= answers) & (answers < lives["answers_to"])]


def _read_recorded(scores: Source) -> Sampled | None:
    """Return what a study recorded of its trainings beside `scores`; None where it did not."""
    if not isinstance(scores, str | Path) or Path(scores).name != "errors.parquet":
        return None
    beside = Path(scores).parent / "budget_law.parquet"
    recorded = read_provenance(beside).get("sampled") if beside.is_file() else None
    return Sampled(**recorded) if recorded else None


def _add_samples(
    table: pd.DataFrame, by_budget: Mapping[str, float], scores: Source
) -> pd.DataFrame:
    """Return the table with columns samples and budget, each made from the other where it lacks."""
    name = name_source(scores)
    if SAMPLES in table:
        samples = to_numbers(table[SAMPLES], name)
        return table.assign(samples=samples, budget=samples.map("{:g}".format))
    if "budget" not in table:
        raise UserError(
            f"{name}: neither a column 'samples', the samples that stage 2 trained on, nor a column "
            "'budget' is there; add one"
        )
    unknown = sorted({*map(str, table["budget"])} - {*by_budget})
    if unknown:
        raise UserError(
            f"{name}: the samples of budget {', '.join(unknown)} are not known; give them, such as "
            f"--budgets {unknown[0]}=4800"
        )
    return table.assign(samples=table["budget"].astype(str).map(by_budget).astype(float))


def _choose_family(
    families: Mapping[str, pd.DataFrame], family: str | None, name: str
) -> pd.DataFrame:
    if family is None and len(families) == 1:
        return next(iter(families.values()))
    wanted = (family or "reasoning").lower()
    found = {each.lower(): points for each, points in families.items()}
    if wanted not in found:
        there = ", ".join(filter(None, families)) or "none, as it has no column family"
        raise UserError(f"{name}: no points of family {wanted!r}. There are: {there}.")
    return found[wanted]


def _explain_empty(error: float | None, points: pd.DataFrame) -> str:
    if why := explain_no_draws(points):
        return why
    return (
        f"by this law no LLM of the table reaches an error of {error}, at its token counts and up to ten "
        f"times its largest budget. The smallest error measured is {points['error'].min():.3g}."
    )


def parse_budgets(text: str) -> dict[str, float]:
    """Read "short=4800,full=14400". Raises UsageError for what is no such list."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    try:
        found = {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise UsageError(f"--budgets {text}: write NAME=SAMPLES, separated by commas") from None
    if not all(np.isfinite(value) and value > 0 for value in found.values()):
        raise UsageError(f"--budgets {text}: samples must be positive numbers")
    return found


def show(console: Console, report: Report) -> None:
    """Print the law and its rivals, V* by budget, and the cheapest LLMs."""
    laws, q = report["laws"], report["text_tokens"]
    (law,) = laws[(laws["budget"] == ALL) & (laws["form"] == "product")].to_dict("records")
    console.print("error = A N^-alpha V^-beta S^-gamma + D, S in samples of stage 2", style="bold")
    console.print(
        f"{law['fitted']}: least squares on {report['points']} points of {report['scores']}."
    )
    ends = {name: interval(law[f"{name}_low"], law[f"{name}_high"]) for name in _NAMED}
    console.print("95 %: " + ", ".join(f"{_NAMED[name]} {text}" for name, text in ends.items()))
    if law["bounds"]:
        console.print(f"At a bound: {law['bounds']}.")
    forms = laws[laws["budget"] == ALL]
    least = forms["aicc"].min()
    behind = [0.0 if aicc == least else aicc - least for aicc in forms["aicc"]]
    forms = forms.assign(behind=behind)
    columns: Columns = {"form": "form", "AICc above the best": "behind", "fitted": "fitted"}
    print_table(console, "Forms", forms, columns, words=["form", "fitted"])
    alone = laws[laws["budget"] != ALL]
    columns = {
        **{"budget": "budget", "S": "samples", "law": "form", "alpha / beta": "ratio"},
        f"V*({q})": f"tokens_at_{q}",
        "95 %": lambda row: interval(row[f"tokens_at_{q}_low"], row[f"tokens_at_{q}_high"]),
    }
    if q:
        print_table(console, "Best V by budget", alone, columns, words=["budget", "law"])
    columns = {
        "error": lambda row: f"{row['target_error']:.4f}",
        "training": lambda row: "as measured" if row["beyond"] == 1 else "up to 10 times",
        "from": lambda row: number(row["answers_from"], 3),
        "to": lambda row: number(row["answers_to"], 3),
        **{"LLM": "llm", "V": "visual_tokens", "S": "samples"},
        "training GFLOPs": "training_gflops",
        "answer GFLOPs": "answer_gflops",
        "agreement": lambda row: f"{row['share_best']:.0%}",
    }
    title = "Least lifetime cost by the number of answers"
    print_table(console, title, report["choices"], columns, words=["LLM", "training"])
    for row in report["answers"]:
        within = "as measured" if row["beyond"] == 1 else "up to 10 times as much"
        console.print(
            f"{row['answers']:g} answers at error {row['target_error']:.4f}, training {within}: "
            f"{row['llm']} with V = {row['visual_tokens']} after {number(row['samples'], 3)} samples."
        )


_NAMED = {"alpha": "alpha", "beta": "beta", "gamma": "gamma", "ratio": "alpha / beta", "floor": "D"}
