"""Where one token stands: published scores with their sources, prices by mode, and fronts."""

import numpy as np
import pandas as pd
import pytest

from tests.support.paths import RESOURCES, ROOT
from vlmscale.analysis.comparisons.one_token import (
    KEPT,
    RECALLED,
    Priced,
    compare_published,
    compare_study,
    find_front,
)
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.costs.sharing import MODES, exact_answer_gflops
from vlmscale.methods import find_method, list_method_names

SHAPES = load_shapes()
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)
QWEN = find_shape(SHAPES, "Qwen1.5-4B", Decoder)
PUBLISHED = RESOURCES / "published"
SCORES = pd.read_csv(PUBLISHED / "one_token.csv")
COMPARED = compare_published(50)


def front_of(benchmark, mode):
    mine = COMPARED[(COMPARED["benchmark"] == benchmark) & (COMPARED["mode"] == mode)]
    front = mine[mine["on_front"]]
    return set(front[["method", "visual_tokens"]].itertuples(index=False, name=None))


def test_every_published_score_has_its_place_source_and_evidence():
    assert list(SCORES.columns) == [
        *("method", "priced_as", "llm", "tower", "visual_tokens", "benchmark", "score", "maximum"),
        *("source", "evidence"),
    ]
    assert SCORES.notna().all(axis=None)
    assert not SCORES.duplicated(["method", "llm", "visual_tokens", "benchmark"]).any()
    assert SCORES["visual_tokens"].between(1, 4).all()
    assert (SCORES["score"] < SCORES["maximum"]).all()
    assert (SCORES["score"] > 0).all()
    assert set(SCORES["maximum"]) == {1, 100, 2000}
    assert set(SCORES["evidence"]) == {
        *("evaluated by the authors", "paper of the method", "outside reproduction", RECALLED)
    }
    assert SCORES["source"].str.contains("arXiv|github|locuslab").all()
    assert set(SCORES["priced_as"]) <= {*list_method_names(), "voco"}
    for row in SCORES.itertuples():
        find_shape(SHAPES, row.llm, Decoder)
        if row.priced_as != "voco":
            assert row.visual_tokens in find_method(row.priced_as).list_counts(24)


def test_scores_that_stand_in_another_table_too_are_the_same():
    own = SCORES[SCORES["source"].str.contains("Table 1")]
    table = pd.read_csv(PUBLISHED / "table1.csv").query("visual_tokens <= 4")
    keys = ["method", "visual_tokens", "benchmark"]
    both = own.merge(table, on=keys, suffixes=("", "_there"))
    assert len(both) == len(own) == len(table)
    assert (both["score"] == both["score_there"]).all()
    assert (both["evidence"] == both["source_there"]).all()
    for suite in ("reasoning", "ocr"):
        released = pd.read_csv(PUBLISHED / f"{suite}_scores.csv").query("visual_tokens <= 4")
        mine = SCORES[SCORES["benchmark"] == f"{suite} mean"]
        assert sorted(mine["score"]) == sorted(released["score"])
        by_size = released.sort_values(["n_params_b", "visual_tokens"])["score"].tolist()
        order = mine["llm"].map(lambda llm: find_shape(SHAPES, llm, Decoder).nominal_b)
        assert mine.assign(n=order).sort_values(["n", "visual_tokens"])["score"].tolist() == by_size


@pytest.mark.parametrize("method", ["tokenpacker", "quecc", "fastv"])
def test_prices_are_those_of_an_answer_and_of_keys_and_values(method):
    priced = Priced(method, QWEN, CLIP).price(4, 50)
    assert list(priced) == [*MODES, KEPT]
    for mode, reuse in MODES.items():
        assert priced[mode] == exact_answer_gflops(
            QWEN, CLIP, 4, 50, 0, method=method, reuse=reuse, with_tower=True
        )
    positions = 576 if method == "fastv" else 4
    assert (
        priced[KEPT] * 1e6 == positions * 2 * 40 * 2560 * 2
    )  # keys and values, 40 layers, 16 bits


def test_options_reach_the_price():
    plain, convolution = (
        Priced("quecc", QWEN, CLIP, {"downsampling": how}).price(1, 50)
        for how in ("bilinear", "convolution")
    )
    assert plain["neither cached"] != convolution["neither cached"]


def test_a_front_is_what_no_other_beats():
    cost, error = np.array([1, 2, 3, 2, 1]), np.array([0.5, 0.4, 0.4, 0.3, 0.5])
    assert find_front(cost, error).tolist() == [True, False, False, True, True]
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost, error = rng.integers(1, 5, (2, 7))
        expected = [
            not any(
                cost[j] <= cost[i]
                and error[j] <= error[i]
                and (cost[j], error[j]) != (cost[i], error[i])
                for j in range(7)
            )
            for i in range(7)
        ]
        assert find_front(cost, error).tolist() == expected


def test_the_mode_decides_who_is_on_the_front_of_one_token():
    """QueCC reads the question by a pass of its own: with cached text that is free, else it costs double."""
    one = {("TokenPacker", 1), ("QueCC", 1)}
    assert front_of("GQA", "neither cached") & one == {("TokenPacker", 1)}
    assert front_of("GQA", "text cached") & one == one
    assert front_of("GQA", KEPT) & one == {("QueCC", 1)}


def test_recalled_scores_are_priced_but_on_no_front():
    recalled = COMPARED[COMPARED["evidence"] == RECALLED]
    assert len(recalled) == 2 * (len(MODES) + 1)
    assert not recalled["on_front"].any()
    without = compare_published(50, SCORES[SCORES["evidence"] != RECALLED].reset_index(drop=True))
    kept = COMPARED[COMPARED["evidence"] != RECALLED].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, without)


def test_a_study_is_compared_by_family_and_budget_over_its_seeds():
    rows = [
        (llm, method, v, seed, budget, family, benchmark, error)
        for llm, gain in (("small", 0.0), ("large", 0.1))
        for method, v in (("plain", 1), ("plain", 9), ("last", 4))
        for seed in (0, 1)
        for budget in ("full", "short")
        for family in ("ocr", "reasoning")
        for benchmark, error in (("mean", 0.6 - gain - 0.01 * v + 0.02 * seed), ("char", 0.9))
    ]
    names = ["llm", "method", "visual_tokens", "seed", "budget", "family", "benchmark", "error"]
    decoders = {"small": QWEN, "large": find_shape(SHAPES, "Qwen1.5-7B", Decoder)}
    methods = {
        "plain": {"method": "avgpool", "options": {}},
        "last": {"method": "quecc", "options": {"query_turn": "last"}},
    }
    table = compare_study(
        pd.DataFrame(rows, columns=names), decoders, CLIP, methods, text_tokens=20
    )
    assert set(table["visual_tokens"]) == {1, 4}
    assert len(table) == 2 * 2 * 2 * 2 * (len(MODES) + 1)
    point = table.query("llm == 'small' and method == 'plain' and budget == 'full'")
    assert point["error"].to_numpy() == pytest.approx(0.6)
    expected = Priced("avgpool", QWEN, CLIP).price(1, 20)
    mine = point[point["benchmark"] == "ocr"]
    assert dict(zip(mine["mode"], mine["cost"], strict=True)) == expected
    assert mine["on_front"].all()  # the cheapest of all


def test_the_page_shows_these_numbers():
    table = COMPARED[COMPARED["benchmark"] == "GQA"].sort_values(["visual_tokens", "method"])
    page = (ROOT / "docs/one-token.md").read_text()
    for (v, method, error), mine in table.groupby(["visual_tokens", "method", "error"]):
        recalled = " (recalled)" if (mine["evidence"] == RECALLED).any() else ""
        costs = " | ".join(
            f"{row.cost:.4g}" + (" \\*" if row.on_front else "") for row in mine.itertuples()
        )
        assert f"| {method}{recalled} | {v} | {error:.3f} | {costs} |" in page
