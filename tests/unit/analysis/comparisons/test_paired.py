"""Differences of methods: found where planted, nowhere else, and narrower for being paired."""

import time

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.comparisons.paired import adjust_by_holm, compare_methods
from vlmscale.errors import UserError


def tables(answers):
    """Errors and samples of cells, all at 16 tokens.

    answers: (method, llm, seed), and a budget other than the full one -> {benchmark: scores}.
    """
    errors, samples = [], []
    for (method, llm, seed, *budget), by_benchmark in answers.items():
        cell = {
            "cell": "-".join([llm, method, f"s{seed}", *budget]),
            "llm": llm,
            "method": method,
            "visual_tokens": 16,
            "seed": seed,
            "budget": budget[0] if budget else "full",
        }
        for benchmark, scores in {**by_benchmark, "mean": []}.items():
            about = {**cell, "family": "ocr", "benchmark": benchmark}
            errors.append({**about, "n": len(scores)})
            samples += [{**about, "id": i, "score": s} for i, s in enumerate(scores)]
    columns = ["cell", "family", "benchmark", "id", "score"]
    return pd.DataFrame(errors), pd.DataFrame(samples)[columns]


def compare(answers, draws=500, seed=0, baseline="old"):
    return compare_methods(*tables(answers), baseline, draws=draws, seed=seed)


def means(table):
    return table[table["benchmark"] == "mean"].reset_index(drop=True)


def simulated(difference, *, studies=200, questions=60, seed=0):
    """Two methods in many LLMs, each an experiment of its own, right on 50 % and 50 % + difference."""
    rng = np.random.default_rng(seed)
    answers = {}
    for i in range(studies):
        for benchmark in ("a", "b"):
            luck = rng.uniform(size=questions)  # the same questions are hard for both
            for method, gain in (("old", 0.0), ("new", difference)):
                hard = luck + rng.normal(0, 0.2, questions)
                mine = answers.setdefault((method, f"l{i}", 0), {})
                mine[benchmark] = (hard < 0.5 + gain).astype(float)
    return answers


def test_a_tiny_example_by_hand():
    """Differences per question: a 1, 0 and b 1, -1 with one LLM, a 0.5, 1 and b 0, 0 with the other."""
    answers = {
        ("old", "small", 0): {"a": [0, 1], "b": [0, 1]},
        ("new", "small", 0): {"a": [1, 1], "b": [1, 0]},
        ("old", "large", 0): {"a": [0, 0], "b": [0, 0]},
        ("new", "large", 0): {"a": [1, 1], "b": [0, 0]},
        ("old", "large", 1): {"a": [0, 0], "b": [0, 0]},
        ("new", "large", 1): {"a": [0, 1], "b": [0, 0]},
    }
    table = compare(answers, draws=20000).set_index(["llm", "benchmark"])
    assert list(table.index) == [
        (llm, name) for llm in ("small", "large", "all") for name in ("a", "b", "mean")
    ]
    assert table["difference"].tolist() == pytest.approx(
        [0.5, 0, 0.25, 0.75, 0, 0.375, 0.625, 0, 0.3125]
    )
    assert table.loc["small", "seeds"].tolist() == [1, 1, 1]
    assert table.loc["large", "seeds"].tolist() == [2, 2, 2]
    assert table.loc["all", "seeds"].tolist() == [3, 3, 3]
    assert table["llms"].tolist() == [1] * 6 + [2] * 3
    assert table["questions"].tolist() == [2, 2, 4] * 3
    # Over all signs: 1, 0 always sums to 1 or -1, as far out as it was. So does, by no less, 1, 0 beside
    # 1, -1, the data's 1: sums are 1 or -1 plus 2, 0, 0 or -2. 0.5, 1 reaches 1.5 in two of four.
    assert table.loc[("small", "a"), "p"] == 1
    assert table.loc[("large", "a"), "p"] == pytest.approx(0.5, abs=0.02)
    assert table.loc[("small", "mean"), "p"] == 1
    # Question 1 or 2 twice, or both: 1, 0, 0.5.
    assert tuple(table.loc[("small", "a"), ["low", "high"]]) == (0, 1)
    # Two of question 1 in seed 1 gives 0, in 1 of 16 draws.
    assert tuple(table.loc[("large", "a"), ["low", "high"]]) == (0, 1)


def test_a_draw_is_the_plain_computation():
    """Seeds, then questions: one draw of one benchmark, counted out."""
    scores = np.random.default_rng(7).integers(0, 2, (2, 3, 20)).astype(float)
    answers = {
        (method, "l", s): {"a": scores[m, s]}
        for m, method in enumerate(("old", "new"))
        for s in range(3)
    }
    found = compare(answers, draws=1, seed=5).iloc[0]
    rng = np.random.default_rng(5)
    seeds = np.repeat(np.arange(3), rng.multinomial(3, np.full(3, 1 / 3), size=1)[0])
    questions = np.repeat(np.arange(20), rng.multinomial(20, np.full(20, 1 / 20), size=1)[0])
    expected = np.mean([scores[1, s, q] - scores[0, s, q] for s in seeds for q in questions])
    assert found["low"] == found["high"] == pytest.approx(expected)


def test_a_planted_difference_is_found_and_covered():
    table = means(compare(simulated(0.1), draws=1000))
    single, pooled = table[table["llm"] != "all"], table[table["llm"] == "all"].iloc[0]
    # Scores of luck plus noise are not uniform: the truth comes from many questions.
    truth = means(compare(simulated(0.1, studies=1, questions=100_000, seed=1), draws=2))
    truth = truth["difference"][0]
    assert 0.08 < truth < 0.11
    covered = (single["low"] <= truth) & (truth <= single["high"])
    assert 180 <= covered.sum() <= 198  # 95 % of 200 is 190
    assert pooled["low"] < truth < pooled["high"]
    assert pooled["low"] > 0.08
    assert pooled["p"] == pytest.approx(1 / 1001)


def test_the_sign_is_that_of_the_method_minus_the_baseline():
    answers = simulated(0.2, studies=1, questions=300)
    gain, loss = compare(answers), compare(answers, baseline="new")
    assert gain["method"].unique() == ["new"]
    assert loss["method"].unique() == ["old"]
    assert (gain["low"] > 0).all()
    assert loss["difference"].tolist() == pytest.approx((-gain["difference"]).tolist())
    assert (gain["p"] < 0.01).all()


def test_without_a_difference_p_is_uniform():
    rng = np.random.default_rng(9)
    right_or_wrong = simulated(0.0)
    graded = {  # so that p takes many values
        key: {name: scores * rng.uniform(0.5, 1, len(scores)) for name, scores in mine.items()}
        for key, mine in right_or_wrong.items()
    }
    p = means(compare(graded, draws=999))["p"][:200]
    for level, low, high in ((0.05, 1, 19), (0.25, 32, 68), (0.5, 79, 121)):  # 3 sd of counts
        assert low <= (p <= level).sum() <= high
    p = means(compare(right_or_wrong, draws=999))["p"][:200]
    for level, high in ((0.05, 19), (0.25, 68), (0.5, 121)):  # ties only make it careful
        assert (p <= level).sum() <= high


def test_pairing_narrows_the_interval():
    answers = simulated(0.05, studies=1, questions=500)
    rng = np.random.default_rng(0)
    shuffled = {
        key: {
            name: rng.permutation(scores) if key[0] == "new" else scores
            for name, scores in mine.items()
        }
        for key, mine in answers.items()
    }
    paired, unpaired = means(compare(answers)).iloc[0], means(compare(shuffled)).iloc[0]
    assert paired["difference"] == pytest.approx(unpaired["difference"])
    assert paired["high"] - paired["low"] < 0.8 * (unpaired["high"] - unpaired["low"])
    assert paired["p"] < unpaired["p"]


def test_trainings_that_differ_widen_the_interval():
    """Of three seeds, as against one that answers with their mean."""
    rng = np.random.default_rng(0)
    right = {"old": (0.5, 0.5, 0.5), "new": (0.4, 0.6, 0.8)}
    answers = {
        (method, "l", s): {"a": (rng.uniform(size=800) < share).astype(float)}
        for method, shares in right.items()
        for s, share in enumerate(shares)
    }
    averaged = {
        (method, "l", 0): {"a": np.mean([answers[method, "l", s]["a"] for s in range(3)], axis=0)}
        for method in right
    }
    several, one = compare(answers).iloc[0], compare(averaged).iloc[0]
    assert several["difference"] == pytest.approx(one["difference"])
    assert several["p"] == one["p"]  # about these models, whose answers are the same
    assert several["high"] - several["low"] > 3 * (one["high"] - one["low"])


def test_holm():
    assert adjust_by_holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert adjust_by_holm([0.6, 0.9]).tolist() == [1, 1]
    p = np.random.default_rng(0).uniform(size=50)
    adjusted = adjust_by_holm(p)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_family_means_are_adjusted_and_pooled_ones_apart():
    table = compare(simulated(0.1, studies=5))
    assert table.loc[table["benchmark"] != "mean", "p_holm"].isna().all()
    found = means(table)
    pooled = found["llm"] == "all"
    assert found.loc[~pooled, "p_holm"].tolist() == pytest.approx(
        adjust_by_holm(found.loc[~pooled, "p"])
    )
    assert found.loc[pooled, "p_holm"].tolist() == found.loc[pooled, "p"].tolist()


def test_a_pair_that_lacks_a_side_is_left_out():
    answers = simulated(0.1, studies=2)
    more = simulated(0.1, studies=1, seed=4)
    more = {(method, llm, 1): mine for (method, llm, _), mine in more.items()}
    one_sided = {key: mine for key, mine in (answers | more).items() if key != ("old", "l1", 0)}
    del one_sided["new", "l0", 1]
    table = compare(one_sided)
    assert set(table["llm"]) == {"l0"}  # and nothing to pool
    alone = compare({key: mine for key, mine in answers.items() if key[1] == "l0"})
    pd.testing.assert_frame_equal(table, alone)


def test_budgets_are_compared_apart():
    full, short = simulated(0.1, studies=2), simulated(0.2, studies=2, seed=4)
    shorter = {(*key, "short"): mine for key, mine in short.items()}
    one_sided = {("new", "l0", 0, "long"): full["new", "l0", 0]}
    table = compare(full | shorter | one_sided).set_index("budget")
    assert set(table.index) == {"full", "short"}
    for budget, answers in (("full", full), ("short", short)):
        alone = compare(answers)
        for column in ("method", "llm", "benchmark", "llms", "seeds", "questions", "difference"):
            assert table.loc[budget, column].tolist() == alone[column].tolist()
    assert set(table.loc["full", "llm"]) == {"l0", "l1", "all"}
    found = means(table.reset_index())
    single = found[found["llm"] != "all"]
    assert single["p_holm"].tolist() == pytest.approx(
        adjust_by_holm(single["p"])
    )  # of all that stand together


def test_no_pair_is_an_empty_table():
    answers = {("old", "l", 0): {"a": [1.0]}, ("new", "l", 1): {"a": [1.0]}}
    table = compare(answers)
    assert table.empty
    assert list(table) == list(compare(simulated(0.1, studies=1)))


def test_missing_questions_are_named():
    errors, samples = tables(simulated(0.1, studies=2))
    mine = (samples["cell"] == "l1-new-s0") & (samples["benchmark"] == "b")
    everyone = samples["id"] == 3
    for lost in (mine & everyone, mine, mine & (samples["id"] != 3)):
        with pytest.raises(UserError, match="samples of b: cell l1-new-s0 lacks questions"):
            compare_methods(errors, samples[~lost], "old", draws=2, seed=0)
    with pytest.raises(UserError, match="samples of a: cell l0-new-s0 lacks"):
        compare_methods(errors, samples[~everyone], "old", draws=2, seed=0)
    with pytest.raises(UserError, match="samples of a: cell l0-new-s0 lacks"):
        compare_methods(errors, samples[samples["benchmark"] == "b"], "old", draws=2, seed=0)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no cell has method older; compare with one of old, new"):
        compare(simulated(0.1, studies=1), baseline="older")


def test_same_seed_same_table():
    answers = simulated(0.1, studies=2)
    pd.testing.assert_frame_equal(compare(answers, seed=1), compare(answers, seed=1))
    assert not compare(answers, seed=1).equals(compare(answers, seed=2))


def test_a_large_study_takes_seconds():
    errors, samples = tables(simulated(0.1, studies=30, questions=1000))
    start = time.process_time()
    compare_methods(errors, samples, "old", draws=2000, seed=0)
    assert time.process_time() - start < 20
