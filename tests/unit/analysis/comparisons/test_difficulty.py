"""Planted questions: their parts, the fewest tokens they need and their laws are known beforehand."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.comparisons.difficulty import BY_SMALL, PARTS, Fold, fit_parts
from vlmscale.analysis.comparisons.fewest_tokens import NEVER, count_fewest_tokens
from vlmscale.report.difficulty import format_difficulty, format_fewest_tokens
from vlmscale.study.selection import Selection

SIZES = {"small": 1.0, "middle": 3.0, "large": 9.0}
SERIES = {"ours": Selection(("ours",))}
QUESTIONS = 400


def plan(*, counts=(1, 4, 9, 16), seeds=(0, 1, 2), blind=True, others=()):
    """Rows of an errors table: a grid of `ours`, cells without an image, and others (method, LLM, budget)."""
    rows = [("ours", llm, v, s, "full", "fit") for llm in SIZES for v in counts for s in seeds]
    rows += [("blind", "small", 1, s, "full", "fit") for s in seeds if blind]
    rows += [(method, llm, 1, 0, budget, "fit") for method, llm, budget in others]
    columns = ["method", "llm", "visual_tokens", "seed", "budget", "role"]
    table = pd.DataFrame(rows, columns=columns).assign(
        family="ocr", benchmark="mean", size_axis="total", protocol="lmms"
    )
    table["n_params_b"] = table["llm"].map(SIZES)
    table["cell"] = [f"c{i}" for i in range(len(table))]
    return table.assign(run="r-" + table["cell"])


def answer(cells, chance, *, questions=QUESTIONS, seed=0):
    """Draw right and wrong answers; chance(cell) is the probability of each question."""
    rng = np.random.default_rng(seed)
    frames = []
    for cell in cells.to_dict("records"):
        right = rng.random(questions) < chance(cell)
        about = {"cell": cell["cell"], "family": "ocr", "benchmark": "field"}
        frames.append(pd.DataFrame({**about, "id": range(questions), "score": 1.0 * right}))
    samples = pd.concat(frames, ignore_index=True)
    error = 1 - samples.groupby("cell")["score"].mean()
    return cells.assign(error=cells["cell"].map(error)), samples


def fit(cells, samples, series=SERIES, draws=200):
    table = fit_parts(cells, samples, series, [0, 10], draws=draws, seed=0)
    parts = [p for p in PARTS if p not in BY_SMALL or (cells["method"] == "downsample").any()]
    assert table["part"].tolist() == parts * len(series)
    return table.set_index("part")


def half_need_nine(cell):
    """The first quarter is answered by all, the second from one token, the rest from nine."""
    needs = np.repeat([0, 1, 9, 9], QUESTIONS // 4)
    tokens = 0 if cell["method"] == "blind" else cell["visual_tokens"]
    return 1.0 * (tokens >= needs)


def test_half_of_the_questions_need_nine_tokens():
    cells, samples = answer(plan(), half_need_nine)
    counted = count_fewest_tokens(cells, samples, SERIES).set_index("visual_tokens")
    expected = {0: 0.25, 1: 0.25, 4: 0, 9: 0.5, 16: 0, NEVER: 0}
    assert counted["share"].to_dict() == expected
    assert set(counted["chosen_by"]) == {"other seeds"}
    assert counted.loc[9, ["score", "score_fewer"]].tolist() == [1, 0]
    assert counted.loc[[0, 4, 16, NEVER], "score_fewer"].isna().all()
    (text,) = format_fewest_tokens(counted.reset_index()).to_dict("records")
    assert text["9"] == "50 (+100)"
    assert text["0"] == "25"
    assert text["not at 16"] == "0"


def answer_from_small_images(cell):
    """The first quarter needs no image, the second any, the third a large one, the last nine tokens of one."""
    if cell["method"] == "blind":
        return np.repeat([1.0, 0, 0, 0], QUESTIONS // 4)
    if cell["method"] == "downsample":
        return np.repeat([1.0, 1, 0, 0], QUESTIONS // 4)
    return np.repeat([1.0, 1, 1, cell["visual_tokens"] >= 9], QUESTIONS // 4)


def shrink(cells, tokens, run):
    """Add the cell of a smaller image, of `tokens` visual tokens."""
    about = {"method": "downsample", "visual_tokens": tokens, "cell": f"d{tokens}", "run": run}
    return pd.concat([cells, cells.iloc[[0]].assign(**about)], ignore_index=True)


def test_small_images_choose_questions():
    cells, samples = answer(shrink(plan(), 4, "d4"), answer_from_small_images)
    table = fit(cells, samples)
    shares = {"blind": 0.25, "image": 0.75, "small image": 0.25, "large image": 0.5}
    assert table.loc[[*shares], "share"].to_dict() == shares
    assert (table.loc[[*BY_SMALL], "chosen_by"] == "smaller images").all()
    assert table.loc["small image", "mean_error"] == 0
    # Of the large image's questions half need nine of the counts 1, 4, 9 and 16.
    assert table.loc["large image", "mean_error"] == pytest.approx(0.25)
    assert table.loc["large image", "beta"] > 0


def test_of_small_images_the_smallest_choose():
    def large_ones_answer(cell):
        if cell["method"] == "downsample" and cell["visual_tokens"] == 9:
            return np.ones(QUESTIONS)
        return answer_from_small_images(cell)

    cells, samples = answer(shrink(shrink(plan(), 9, "d9"), 4, "d4"), large_ones_answer)
    assert fit(cells, samples).loc["small image", "share"] == 0.25


def test_small_images_of_a_law_choose_nothing():
    """Their answers are those that are measured; likewise another name of a training of the law."""
    for run, methods in (("d4", ("ours", "downsample")), ("r-c0", ("ours",))):
        cells, samples = answer(shrink(plan(), 4, run), answer_from_small_images)
        table = fit_parts(cells, samples, {"ours": Selection(methods)}, [10], draws=50, seed=0)
        assert not table["part"].isin(BY_SMALL).any()


def test_an_estimate_outside_its_interval_is_said():
    """No power law falls in one step: slopes of LLMs explain it as well, so that beta may be 0."""
    cells, samples = answer(plan(), half_need_nine)
    row = fit(cells, samples).loc["all"]
    assert (row["beta_low"], row["beta_high"] < row["beta"]) == (0, True)
    assert row["note"] == "least squares lies outside the interval of beta"
    text = format_difficulty(fit(cells, samples).reset_index()).set_index("questions")
    assert " outside [0.0000, " in text.loc["all", "β"]


def test_a_question_that_is_lost_again_is_not_yet_answered():
    def lost_at_nine(cell):
        return np.full(QUESTIONS, float(cell["visual_tokens"] != 9))

    cells, samples = answer(plan(blind=False), lost_at_nine)
    counted = count_fewest_tokens(cells, samples, SERIES).set_index("visual_tokens")
    assert counted.loc[16, "share"] == 1


def test_parts_have_the_questions_that_were_planted():
    cells, samples = answer(plan(), half_need_nine)
    table = fit(cells, samples)
    assert table["share"].to_dict() == {
        "all": 1,
        "blind": 0.25,
        "image": 0.75,
        "one token": 0.25,
        "more tokens": 0.5,
    }
    assert table.loc["more tokens", "questions"] == QUESTIONS / 2
    assert table.loc["more tokens", "mean_error"] == pytest.approx(0.5)  # 1 at V = 1, 4; else 0
    for part in ("blind", "one token"):
        assert "every cell has the error 0" in table.loc[part, "note"]
        assert table.loc[part, ["alpha", "beta", "tokens_at_10"]].isna().all()
    assert (table.loc[["all", "image", "more tokens"], "beta"] > 0).all()
    text = format_difficulty(table.reset_index()).set_index("questions")
    assert text.loc["blind", "α"] == ""
    assert text.loc["more tokens", "share, %"] == "50"


def test_the_law_of_hard_questions_is_the_planted_one():
    alpha, beta, level = 0.1, 0.4, 0.8
    hard = np.arange(4000) >= 2000

    def chance(cell):
        v, n = cell["visual_tokens"], cell["n_params_b"]
        return np.where(hard, 1 - level * n**-alpha * v**-beta, 1)

    # Without an image half of the questions are answered for certain, none of the others.
    cells, samples = answer(
        plan(), lambda c: 1.0 * ~hard if c["method"] == "blind" else chance(c), questions=4000
    )
    law = fit(cells, samples).loc["image"]
    assert law["share"] == 0.5
    assert law["alpha_low"] < alpha < law["alpha_high"]
    assert law["beta_low"] < beta < law["beta_high"]
    assert law["ratio_low"] < alpha / beta < law["ratio_high"]


@pytest.mark.parametrize("others", [(), (("theirs", "small", "full"),)])
def test_the_choice_makes_no_effect_of_tokens(others):
    """Coins answer: tokens help nowhere. Choosing by the measured answers would find that they do."""
    seeds = (0,) if others else (0, 1, 2)
    coins = plan(blind=False, seeds=seeds, others=others)
    cells, samples = answer(coins, lambda cell: np.full(4000, 0.5), questions=4000)
    table = fit(cells, samples)
    right = samples.pivot(index="cell", columns="id", values="score")
    one = cells.loc[(cells["visual_tokens"] == 1) & (cells["method"] == "ours"), "cell"]
    missed = right.loc[one].mean() < 0.5
    naive = 1 - right.loc[one, missed].to_numpy().mean()
    assert naive > 0.6
    for part in ("one token", "more tokens"):
        assert table.loc[part, "mean_error"] == pytest.approx(0.5, abs=0.01)
        assert table.loc[part, "beta"] < 0.02
    assert set(table["chosen_by"][3:]) == {"cells outside the law" if others else "other seeds"}


def test_what_cannot_be_chosen_says_so():
    cells, samples = answer(plan(seeds=(0,), blind=False), half_need_nine)
    table = fit(cells, samples)
    assert table.loc["all", "note"] == ""
    assert "no cell without an image" in table.loc["image", "note"]
    assert "no cell at one visual token is left" in table.loc["more tokens", "note"]
    assert table.loc[["blind", "image", "one token", "more tokens"], "alpha"].isna().all()
    counted = count_fewest_tokens(cells, samples, SERIES)
    assert set(counted["chosen_by"]) == {"other LLMs"}


def test_small_benchmarks_are_left_out_and_named():
    cells, samples = answer(plan(), half_need_nine, questions=QUESTIONS)
    few = samples[samples["id"] >= QUESTIONS - 10].assign(benchmark="rare")
    table = fit(cells, pd.concat([samples, few]))
    assert table.loc["all", "note"].endswith("; without rare: fewer than 20 questions")
    assert table.loc["all", "questions"] == QUESTIONS


def test_cells_of_a_measured_training_or_another_budget_choose_last():
    others = (("theirs", "small", "full"), ("ours", "small", "short"))
    cells = plan(seeds=(0,), others=others)
    shared = cells.loc[cells["method"] == "ours", "run"].iloc[0]
    cells.loc[cells["method"] == "theirs", "run"] = shared  # a method without a training of its own
    table = fit(*answer(cells, half_need_nine))
    assert set(table["chosen_by"][3:]) == {"other budgets"}


def test_no_cell_chooses_its_own_questions():
    with pytest.raises(ValueError, match="b would choose questions and be measured"):
        Fold(("a", "b"), ("b", "c"))
