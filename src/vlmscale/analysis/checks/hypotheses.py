"""What a study says of hypotheses laid down before it ran, by rules laid down with them.

H1 to H4 and H8 are asked of every law, H5 to H7 of every training budget, where methods meet. What a
study has no cells for is a row, too: "not tested", and why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from vlmscale.analysis.comparisons.paired import POOLED
from vlmscale.analysis.decisions.recommend import predict_refits
from vlmscale.analysis.laws.answers import resample_means
from vlmscale.analysis.laws.bootstrap import Scheme, choose_scheme
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import list_suites, read_law, select_family_means
from vlmscale.errors import UserError
from vlmscale.study.selection import Series

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]

TOLERATED = 0.10  # of the measured error: a law that misses by more cannot choose between cells
SURE = 0.95  # of draws, as in every interval
EQUIVALENT = 0.02  # of score, two points of a hundred: for less nobody pays for more tokens
REPEATED = 4  # the tokens of TokenPacker that "repeat" repeats
BASELINE = "tokenpacker"  # what H5 to H7 compare with
COLUMNS = [
    *("id", "hypothesis", "series", "budget", "family"),
    *("value", "low", "high", "rule", "verdict", "note"),
]
_LEVELS = (0.025, 0.975)


_NEEDED = {
    "errors": ("cell", "run", "llm", "method", "visual_tokens", "budget", "role", "family"),
    "samples": ("cell", "family", "benchmark", "id", "score"),
    "laws": ("series", "family", "alpha", "beta", "most_visual_tokens"),
    "draws": ("series", "family", "scheme", "alpha", "beta", "ratio"),
    "forms": ("series", "family", "form", "rmse_left_out_size"),
    "paired": ("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
}


def _none_of(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(_NEEDED[name]))


@dataclass(frozen=True)
class Results:
    """The tables of a study; all but `laws`, `draws` and `forms` have a column budget or cell.

    Those three are empty for a study without a law.
    """

    errors: pd.DataFrame
    samples: pd.DataFrame
    paired: pd.DataFrame
    laws: pd.DataFrame = field(default_factory=lambda: _none_of("laws"))
    draws: pd.DataFrame = field(default_factory=lambda: _none_of("draws"))
    forms: pd.DataFrame = field(default_factory=lambda: _none_of("forms"))


def decide_hypotheses(
    results: Results,
    series: Series,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """One row for each hypothesis and law (or budget) and family; columns COLUMNS.

    series: by law, its cells. text_tokens: Q of the study, for H4. draws, seed: of the questions that H6
    resamples. `series` is "" where all methods of a budget are meant. low, high: 95 % intervals. Raises
    UserError for tables that lack a column or the draws of a law.
    """
    for name, columns in _NEEDED.items():
        lacking = [column for column in columns if column not in getattr(results, name)]
        if lacking:
            raise UserError(f"table {name}: column {lacking[0]!r} is missing; make it again")
    rng = np.random.default_rng(seed)
    rows = [*_of_laws(results, series, text_tokens), *_of_budgets(results, draws, rng)]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("id", kind="stable", ignore_index=True)


@dataclass(frozen=True)
class _Finding:
    verdict: Verdict
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    note: str = ""


def _untested(why: str) -> _Finding:
    return _Finding("not tested", note=why)


def _by_sign(low: float, high: float) -> Verdict:
    """Is a quantity above 0, by its interval?"""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


# Hypotheses on a law


@dataclass(frozen=True)
class _Evidence:
    """All that is known of one law."""

    fit: Mapping[Any, Any]  # its row of tabulate_laws
    draws: pd.DataFrame  # of the main scheme
    scheme: Scheme
    points: pd.DataFrame  # family means that it was fitted on
    held_out: pd.DataFrame  # and those that it was not
    forms: pd.DataFrame  # by form
    text_tokens: Sequence[int]


@dataclass(frozen=True)
class _OfLaw:
    id: str
    hypothesis: str
    rule: str
    family: str | None  # None: every one
    decide: Callable[[_Evidence], _Finding]


def _of_laws(
    results: Results, series: Series, text_tokens: Sequence[int]
) -> Iterator[dict[str, Any]]:
    errors = select_family_means(results.errors)
    for asked in _OF_LAWS:
        for name, chosen in series.items():
            mine = errors[errors["budget"] == chosen.budget]
            for family in [asked.family] if asked.family else list_suites(errors):
                cells = mine[mine["method"].isin(chosen.methods) & (mine["family"] == family)]
                points = cells[cells["role"] == "fit"]
                if points.empty:
                    found = _untested(f"the study has no cells for a law of {family}")
                else:
                    held_out = cells[cells["role"] == "holdout"]
                    found = asked.decide(
                        _gather(results, name, family, points, held_out, text_tokens)
                    )
                about = {"series": name, "budget": chosen.budget, "family": family}
                yield _row(asked.id, asked.hypothesis, asked.rule, about, found)


def _gather(
    results: Results,
    series: str,
    family: str,
    points: pd.DataFrame,
    held_out: pd.DataFrame,
    text_tokens: Sequence[int],
) -> _Evidence:
    def of_law(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["series"] == series) & (table["family"] == family)]

    laws, drawn, forms = (of_law(table) for table in (results.laws, results.draws, results.forms))
    scheme = choose_scheme(points)
    drawn = drawn[drawn["scheme"] == scheme]
    if len(laws) != 1 or drawn.empty or forms.empty:
        raise UserError(
            f"law {series}, {family}: of it there must be one row in table laws (there are {len(laws)}), "
            f"some by scheme {scheme} in draws ({len(drawn)}) and some in forms ({len(forms)}); fit again"
        )
    return _Evidence(
        fit=laws.iloc[0].to_dict(),
        draws=drawn,
        scheme=scheme,
        points=points,
        held_out=held_out,
        forms=forms.set_index("form"),
        text_tokens=text_tokens,
    )


def _row(
    id: str, hypothesis: str, rule: str, about: Mapping[str, str], found: _Finding
) -> dict[str, Any]:
    return {"id": id, "hypothesis": hypothesis, "rule": rule, **about, **vars(found)}


def _larger(first: str, second: str) -> Callable[[_Evidence], _Finding]:
    """Is exponent `first` above `second`?"""

    def decide(law: _Evidence) -> _Finding:
        low, high = np.quantile(law.draws[first] - law.draws[second], _LEVELS)
        bounds = [f"{name} is on its bound" for name in ("alpha", "beta") if _bounded(law, name)]
        note = "; ".join([_resampled(law), *bounds])
        return _Finding(_by_sign(low, high), law.fit[first] - law.fit[second], low, high, note)

    return decide


def _bounded(law: _Evidence, exponent: str) -> bool:
    return bool(law.fit[f"{exponent}_bound"] != "interior")


def _resampled(law: _Evidence) -> str:
    return "resampled are " + ("whole LLM sizes" if law.scheme == "sizes" else "points")


def _predicts(law: _Evidence) -> _Finding:
    """The error of LLMs that were held out, against the law's prediction."""
    cells = law.held_out
    if cells.empty:
        return _untested("the study holds out no LLM of this law")
    measured = cells["error"].to_numpy(float)
    if (measured == 0).any():
        return _untested("a held-out cell has error 0, of which no prediction is a share")
    sizes, tokens = (cells[axis].to_numpy(float) for axis in ("n_params_b", "visual_tokens"))

    def missed(predicted: Floats) -> Floats:
        """The relative error of each cell, along the last axis."""
        return np.asarray(np.abs(predicted - measured) / measured)

    off = missed(read_law(law.fit).predict(sizes, tokens))
    value = float(off.mean())
    low, high = np.quantile(missed(predict_refits(law.draws, sizes, tokens)).mean(-1), _LEVELS)
    verdict: Verdict = "undecided"
    if value <= TOLERATED:
        verdict = "supported"
    elif low > TOLERATED:
        verdict = "contradicted"
    note = f"{', '.join(cells['llm'].unique())}, {len(cells)} cells, {off.max():.3f} at most; "
    return _Finding(verdict, value, low, high, note + f"{_naive(law)}; {_resampled(law)}")


def _naive(law: _Evidence) -> str:
    """How far off the largest fitted LLM's error at the same token count would have been."""
    largest = law.points[law.points["n_params_b"] == law.points["n_params_b"].max()]
    guess = law.held_out["visual_tokens"].map(largest.groupby("visual_tokens")["error"].mean())
    missed = ((guess - law.held_out["error"]).abs() / law.held_out["error"]).dropna()
    if missed.empty:
        return "the largest fitted LLM was measured at none of their token counts"
    where = "" if len(missed) == len(guess) else f" at {len(missed)} of them"
    return (
        f"taking the largest fitted LLM's error at the same V misses by {missed.mean():.3f}{where}"
    )


def _rises_with_text(law: _Evidence) -> _Finding:
    longest = max(law.text_tokens, default=0)
    if longest == 0:
        return _untested("the study has no text tokens above 0")

    def rise(ratio: Any) -> Floats:
        most = law.fit["most_visual_tokens"]
        with_text, without = (optimal_tokens(ratio, q, low=1, high=most) for q in (longest, 0))
        return np.asarray(with_text - without)

    drawn = rise(law.draws["ratio"])
    low, high = np.quantile(drawn, _LEVELS)
    share = float((drawn > 0).mean())
    verdict: Verdict = "undecided"
    if share >= SURE:
        verdict = "supported"
    elif share <= 1 - SURE:
        verdict = "contradicted"
    note = f"Q = {longest} against 0; above 0 in {100 * share:.1f} % of draws; {_resampled(law)}"
    return _Finding(verdict, float(rise(law.fit["ratio"])), low, high, note)


def _linear_predicts_better(law: _Evidence) -> _Finding:
    missed = law.forms["rmse_left_out_size"]
    value = float(missed["product"] - missed["log-linear"])
    if np.isnan(value):
        return _untested("leaving an LLM out needs three of them, and five points in the rest")
    verdict: Verdict = "undecided"
    if value != 0:
        verdict = "supported" if value > 0 else "contradicted"
    others = f"RMSE {missed['log-linear']:.4f} log-linear, {missed['product']:.4f} product, "
    return _Finding(verdict, value, note=f"{others}{missed['product, D']:.4f} product with D")


_SIGN = "supported if the 95 % interval is above 0, contradicted if it is below 0"

_OF_LAWS = (
    _OfLaw(
        "H1",
        "reasoning: error falls faster with the LLM's size than with visual tokens",
        f"alpha - beta: {_SIGN}",
        "reasoning",
        _larger("alpha", "beta"),
    ),
    _OfLaw(
        "H2",
        "ocr: error falls faster with visual tokens than with the LLM's size",
        f"beta - alpha: {_SIGN}",
        "ocr",
        _larger("beta", "alpha"),
    ),
    _OfLaw(
        "H3",
        "the law predicts the error of LLMs that it was not fitted on",
        f"mean distance to the measured error, as a share of it: supported if at most {TOLERATED:g}, "
        "contradicted if the lower end of the 95 % interval is above",
        None,
        _predicts,
    ),
    _OfLaw(
        "H4",
        "reasoning: the best number of visual tokens rises with the text",
        "T* with the longest text less T* without: supported if above 0 in at least "
        f"{100 * SURE:.0f} % of draws, contradicted if in at most {100 * (1 - SURE):.0f} %",
        "reasoning",
        _rises_with_text,
    ),
    _OfLaw(
        "H8",
        "a form linear in ln N and ln V predicts a left-out LLM better than the product form",
        "RMSE of the product form less that of the log-linear one, each LLM left out in turn: supported "
        "if above 0, contradicted if below",
        None,
        _linear_predicts_better,
    ),
)


# Hypotheses on methods side by side


def _of_budgets(results: Results, draws: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for budget in results.errors["budget"].unique():
        for family in results.errors["family"].unique():
            about = {"series": "", "budget": budget, "family": family}
            yield from _question_aware(results.paired, about)
            found = _repetition(results, budget, family, draws, rng)
            yield _row("H6", _H6, _H6_RULE, about, found)
            for method in ("avgpool", "random"):
                yield from _no_better(results.paired, method, about)


_H5 = "quecc answers better than tokenpacker at 1 visual token"
_H5_RULE = f"difference of scores: {_SIGN}"
_H6 = f"repeating tokenpacker's {REPEATED} tokens brings nothing"
_H6_RULE = (
    f"difference of scores: supported if the 95 % interval lies within -{EQUIVALENT:g} and "
    f"{EQUIVALENT:g}, contradicted if it lies wholly outside"
)
_H7_RULE = (
    "difference of scores: supported if the 95 % interval is below 0, contradicted if it is above 0"
)


def _question_aware(paired: pd.DataFrame, about: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    rows = _comparisons(paired, "quecc", about)
    rows = [row for row in rows if row["visual_tokens"] == 1]
    for row in rows:
        low, high = row["low"], row["high"]
        found = _Finding(_by_sign(low, high), row["difference"], low, high, _compared(row))
        yield _row("H5", _H5, _H5_RULE, about, found)
    if not rows:
        found = _untested(f"quecc and {BASELINE} were not compared at 1 visual token")
        yield _row("H5", _H5, _H5_RULE, about, found)


def _no_better(
    paired: pd.DataFrame, method: str, about: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    hypothesis = f"{method} answers no better than {BASELINE}"
    rows = _comparisons(paired, method, about)
    for row in rows:
        low, high = row["low"], row["high"]
        verdict = _by_sign(-high, -low)  # worse, not better, is what was expected
        found = _Finding(verdict, row["difference"], low, high, _compared(row))
        yield _row("H7", f"{hypothesis} at V = {row['visual_tokens']}", _H7_RULE, about, found)
    if not rows:
        found = _untested(f"{method} and {BASELINE} were compared at no number of visual tokens")
        yield _row("H7", hypothesis, _H7_RULE, about, found)


def _comparisons(
    paired: pd.DataFrame, method: str, about: Mapping[str, str]
) -> list[dict[Any, Any]]:
    """The family means of `method` beside the baseline: LLMs pooled, or each where none are."""
    mine = select_family_means(paired)
    mine = mine[
        (mine["method"] == method)
        & (mine["baseline"] == BASELINE)
        & (mine["budget"] == about["budget"])
        & (mine["family"] == about["family"])
    ]
    pooled = mine["llm"] == POOLED
    has_pooled = pooled.groupby(mine["visual_tokens"]).transform("any")
    return mine[pooled | ~has_pooled].sort_values("visual_tokens").to_dict("records")


def _compared(row: Mapping[Any, Any]) -> str:
    llms = f"mean of {row['llms']} LLMs" if row["llm"] == POOLED else f"LLM {row['llm']}"
    return f"{llms}, {row['questions']} questions; resampled are questions" + (
        " and seeds" if row["seeds"] > row["llms"] else ""
    )


def _repetition(
    results: Results, budget: str, family: str, draws: int, rng: np.random.Generator
) -> _Finding:
    """Score of each cell of `repeat` less that of the cell with whose run it was made."""
    cells = results.errors.drop_duplicates("cell")[["cell", "run", "method", "budget"]]
    cells = cells[cells["budget"] == budget]
    repeat, once = (cells[cells["method"] == name] for name in ("repeat", BASELINE))
    pairs = repeat.merge(once, on="run", suffixes=("", "_once"))
    if pairs.empty:
        return _untested(f"no cell of repeat shares its run with {BASELINE} at {REPEATED} tokens")
    mine = results.samples[results.samples["family"] == family]
    means, drawn = [], []
    for benchmark, answers in mine.groupby("benchmark"):
        table = answers.pivot(index="cell", columns="id", values="score")
        scores, baseline = (
            table.reindex(pairs[column]).to_numpy(float) for column in ("cell", "cell_once")
        )
        gains = (scores - baseline).mean(0)  # by question
        if np.isnan(gains).any():
            raise UserError(
                f"samples of {benchmark}: a cell of repeat or {BASELINE} lacks questions that others "
                "have; evaluate it again"
            )
        means.append(gains.mean())
        drawn.append(resample_means(gains[None], draws, rng)[:, 0])
    if not means:
        return _untested(f"the study has no questions of {family}")
    value, (low, high) = float(np.mean(means)), np.quantile(np.mean(drawn, axis=0), _LEVELS)
    verdict: Verdict = "undecided"
    if low >= -EQUIVALENT and high <= EQUIVALENT:
        verdict = "supported"
    elif low > EQUIVALENT or high < -EQUIVALENT:
        verdict = "contradicted"
    return _Finding(verdict, value, low, high, f"{len(pairs)} cells; resampled are questions")
