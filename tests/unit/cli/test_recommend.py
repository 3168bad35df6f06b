"""vlmscale recommend: reference choices for FLOPs and for measured latencies."""

from dataclasses import asdict

import pandas as pd
import pytest

from tests.support.cli import call, error_of, recommend, usage_error_of, write_csv
from vlmscale.costs.shapes import Tower
from vlmscale.records.parquet import write_parquet

# As the paper counts: no vision tower, and any number of tokens.
LLM_ALONE = ("--without-tower", "--token-counts", "any")


def test_recommend_by_the_reasoning_law():
    report = recommend("--gflops", 2000, "--text-tokens", 50, *LLM_ALONE)
    choice, second = report["choice"], report["runner_up"]
    assert (choice["llm"], choice["visual_tokens"]) == ("Qwen1.5-14B", 21)
    # 0.4678 belongs to the 21.43 tokens that the budget would pay for
    assert choice["error"] == pytest.approx(0.4679, abs=5e-5)
    assert (second["llm"], second["visual_tokens"]) == ("Qwen1.5-7B", 92)
    assert second["margin"] == second["error"] - choice["error"] > 0
    assert len(report["choices"]) == 5
    best = report["continuous"]
    found = (best["n_params_b"], best["visual_tokens"], best["error"])
    assert found == pytest.approx((15.74, 13.52, 0.4671), rel=4e-4)
    assert (best["flat_low"], best["flat_high"]) == pytest.approx((2.98, 43.9), abs=0.05)
    assert report["warnings"][0].startswith("Qwen1.5-14B is extrapolated: LLM 14B is beyond")


def test_prints_choice_runner_up_and_warnings():
    text = call("recommend", "--gflops", 2000, *LLM_ALONE)
    assert text.startswith("Qwen1.5-14B with 21 visual tokens: predicted error 0.4679, for 1988 of")
    assert "Runner-up: Qwen1.5-7B with 92 visual tokens" in text
    assert "warning: Qwen1.5-14B is extrapolated" in text
    assert "N is the nominal size in billions" in text


def test_choices_among_the_fitted_sizes_are_no_extrapolation():
    report = recommend(
        *("--gflops", 1000, "--sizes", "4, 7B", "--token-counts", "1,16,64", "--without-tower")
    )
    found = [(row["llm"], row["visual_tokens"]) for row in report["choices"]]
    assert found == [("7B", 16), ("4B", 64)]
    assert [row["extrapolates"] for row in report["choices"]] == ["", ""]


def test_ocr_keeps_all_tokens():
    text = call("recommend", "--gflops", 5500, "--family", "ocr")
    assert "with 576 visual tokens" in text.splitlines()[0]
    assert "more tokens beat a larger LLM at every budget" in text
    assert "V* = 576 tokens" in text


def test_an_impossible_budget_names_the_smallest():
    text = error_of("recommend", "--gflops", 20, "--without-tower")
    assert "a budget of 20 GFLOPs allows no answer at all" in text
    assert "51 GFLOPs: Qwen1.5-0.5B with 1 visual token." in text


def test_cached_text_leaves_the_budget_to_visual_tokens():
    new, cached = (
        recommend("--gflops", 2000, *LLM_ALONE, *flag)["choice"] for flag in ([], ["--cached-text"])
    )
    assert cached["visual_tokens"] == 71 == new["visual_tokens"] + 50
    best = recommend("--gflops", 100, "--cached-text", "--without-tower")["continuous"]
    assert (best["visual_tokens"], best["n_params_b"]) == (1, 50)


def test_generated_tokens_count_as_text():
    one = recommend("--gflops", 2000, "--text-tokens", 30, "--generated-tokens", 20)["choice"]
    assert one == recommend("--gflops", 2000)["choice"]


def test_exact_costs():
    arguments = ["--gflops", 2000, "--cost", "exact", "--sizes", "Qwen1.5-7B"]
    choice = recommend(*LLM_ALONE, *arguments)["choice"]
    # attention aside, 6.48 billion parameters do the work of the nominal 7
    assert choice["visual_tokens"] > 92
    assert choice["cost"] <= 2000
    assert recommend(*arguments)["continuous"] is None
    with_tower = recommend(*arguments)["choice"]
    assert with_tower["visual_tokens"] == 64  # one of tokenpacker's counts
    only_llm = recommend(*arguments, "--without-tower", "--token-counts", 64)["choice"]
    assert with_tower["cost"] - only_llm["cost"] == pytest.approx(382 + 17.5, abs=0.1)
    assert "no decoder is called '7B'" in error_of(*["recommend", *arguments[:-1], "7"])


def test_scores_of_the_users_own(tmp_path, scores):
    own = scores.assign(family="reasoning", score=scores["score"] / 2)
    path = write_csv(tmp_path, own)
    report = recommend("--gflops", 2000, "--scores", path)
    assert report["law"]["source"] == f"{path}, reasoning"
    assert report["choice"]["error"] > 0.7
    assert "no points of family 'ocr'" in error_of(
        "recommend", "--gflops", 2000, "--scores", path, "--family", "ocr"
    )


def test_llms_count_as_the_points_do(tmp_path, scores):
    """A law over all parameters is asked about all parameters, not about the size in a name."""
    own = scores.assign(n_params_b=1.1 * scores["n_params_b"], size_axis="total")
    asked = ("--gflops", 2000, "--sizes", "Qwen1.5-7B,Qwen1.5-14B")
    report = recommend(*asked, "--scores", write_csv(tmp_path, own))
    n = {row["llm"]: row["n_params_b"] for row in report["choices"]}
    assert n["Qwen1.5-14B"] == pytest.approx(14.167290880)
    assert any("LLMs count with their total size" in note for note in report["notes"])


def test_unknown_sizes_and_counts():
    for option, value, words in (
        ("--sizes", "GPT", "no decoder is called 'GPT', and the name states no size"),
        ("--sizes", "Mixtral-8x7B", "states no size"),
        ("--sizes", "-1", "give a size above 0"),
        ("--token-counts", "0", "give numbers above 0"),
        ("--token-counts", "1,x", "give numbers above 0"),
    ):
        assert words in error_of("recommend", "--gflops", 900, option, value)


def test_the_vision_tower_counts_by_default_and_is_named():
    text = call("recommend", "--gflops", 2000)
    assert text.startswith(
        "Qwen1.5-14B with 4 visual tokens: predicted error 0.4798, for 1894 of 2000 GFLOPs, 382 of them for "
        "the vision tower CLIP-ViT-L/14-336."
    )
    assert "382 GFLOPs of the vision tower CLIP-ViT-L/14-336" in text
    assert "no vision tower" in call("recommend", "--gflops", 2000, "--without-tower")
    text = error_of("recommend", "--gflops", 50, "--cached-text")
    assert "allows no answer at all: the vision tower alone, CLIP-ViT-L/14-336, takes 382" in text


@pytest.mark.parametrize(
    ("tower", "gflops"),
    [
        (Tower(2, 32, 64, image_size=24, patch_size=8), 0.0004),
        (
            Tower(12, 768, 3072, image_size=224, patch_size=16),
            35.1,
        ),  # published: 17.6 G multiply-adds
        (Tower(24, 1024, 4096, image_size=336, patch_size=14), 382),
    ],
)
def test_the_tower_of_a_study_is_the_one_that_counts(tmp_path, scores, tower, gflops):
    own = tmp_path / "errors.parquet"
    about = {"tower": {"name": "of mine", "shape": asdict(tower)}}
    write_parquet(own, scores.assign(n_params_b=scores["n_params_b"] / 1e3), about)
    asked = ["--gflops", gflops + 2, "--scores", own]
    report = recommend(*asked)
    assert report["question"]["tower"] == "of mine"
    assert report["question"]["tower_gflops"] == pytest.approx(gflops, rel=0.03, abs=0.001)
    assert (
        f"{report['question']['tower_gflops']:.3g} GFLOPs of the vision tower of mine"
        in " ".join(report["notes"])
    )
    alone = recommend("--gflops", 2, "--scores", own, "--without-tower")["choice"]
    assert report["choice"]["visual_tokens"] == alone["visual_tokens"]
    few = error_of("recommend", "--gflops", gflops / 2, "--scores", own)
    assert "the vision tower alone, of mine, takes" in few
    plain = own.with_name("plain.csv")
    pd.read_parquet(own).to_csv(plain, index=False)
    told = error_of("recommend", "--gflops", 5, "--scores", plain)
    assert "the vision tower alone, CLIP-ViT-L/14-336, takes 382" in told


def test_token_counts_are_those_that_the_method_can_give():
    def counts(*arguments):
        report = recommend("--gflops", 3000, "--without-tower", *arguments)
        return {row["visual_tokens"] for row in report["choices"]}

    assert counts() <= {1, 4, 9, 16, 36, 64, 144, 576}
    assert counts("--method", "mlp") == {576}
    assert counts("--token-counts", "any") - {1, 4, 9, 16, 36, 64, 144, 576}


def test_memory_excludes_what_does_not_fit():
    everything = recommend("--gflops", 2000)["choices"]
    fitting = recommend("--gflops", 2000, "--memory-gb", 16)["choices"]
    assert {row["llm"] for row in everything} - {row["llm"] for row in fitting} == {
        *("Qwen1.5-14B", "Qwen1.5-7B")
    }
    small = {row["llm"]: row["memory_gb"] for row in fitting}
    # two bytes for each parameter of the LLM and the tower, a tenth more, and a little
    weights = 2 * (3.95 + 0.304 + 0.037) / 0.9
    assert weights < small["Qwen1.5-4B"] < 1.15 * weights
    stored = recommend("--gflops", 2000, "--memory-gb", 16, "--without-tower")["choices"]
    assert stored[0]["memory_gb"] < small["Qwen1.5-4B"]
    unknown = recommend("--gflops", 2000, "--memory-gb", 9, "--sizes", "Mamba-3B")["choice"]
    assert 2 * 3 / 0.9 < unknown["memory_gb"] < 9
    assert "no LLM fits into 1 GB. The smallest need is" in error_of(
        "recommend", "--gflops", 2000, "--memory-gb", 1
    )


@pytest.mark.parametrize("family", ["OCR", "Ocr", "ocr"])
def test_a_family_in_any_case(family):
    assert "released ocr scores" in call("recommend", "--gflops", 900, "--family", family)


def test_a_table_answers_with_its_own_llms_and_counts(tmp_path, scores):
    scores["llm"] = scores["n_params_b"].map("mine-{:g}".format)
    path = write_csv(tmp_path, scores[scores["visual_tokens"] != 576].assign(family="maths"))
    report = recommend("--gflops", 2000, "--scores", path)
    assert {row["llm"] for row in report["choices"]} == {
        *("mine-0.5", "mine-1.8", "mine-4", "mine-7")
    }
    assert {row["visual_tokens"] for row in report["choices"]} <= {1, 4, 16, 36, 64, 144}
    assert report["law"]["source"].endswith("maths")
    assert "There are: maths" in error_of(
        "recommend", "--gflops", 2000, "--scores", path, "--family", "ocr"
    )


def test_methods_with_different_laws_are_not_pooled_silently(tmp_path, scores):
    both = pd.concat([scores.assign(method="a"), scores.assign(method="b")])
    asked = ["--gflops", 2000, "--scores", write_csv(tmp_path, both)]
    assert "scores of several methods, which have different laws: a, b" in error_of(
        "recommend", *asked
    )
    one = recommend(*asked, "--methods", "a")
    assert not any("together" in note for note in one["notes"])
    pooled = recommend(*asked, "--methods", "a,b")
    assert "One law for a, b together, as --methods says." in pooled["notes"]


def test_far_extrapolation_is_refused(tmp_path, scores):
    small = scores.assign(n_params_b=scores["n_params_b"] / 1e4)
    asked = ["--gflops", 500, "--scores", write_csv(tmp_path, small)]
    for options, words in (
        (("--sizes", "Qwen1.5-14B"), "LLM Qwen1.5-14B is 2e+04 times beyond the law"),
        (("--sizes", "1e-7"), "times beyond the law"),
        (("--token-counts", "9000"), "token count 9000 is 15.6 times beyond the law"),
    ):
        assert words in error_of("recommend", *asked, *options)
    report = recommend(*asked)
    assert report["continuous"] is None
    assert "of which the law says nothing" in report["notes"][-1]


def test_active_bounds_stand_beside_the_law():
    assert "+ 0 (D at its lower bound, 0), alpha / beta" in call("recommend", "--gflops", 2000)


def test_bytes_that_an_image_may_keep_bound_the_tokens():
    """A hundred questions want every token; twenty megabytes hold few; one question wants fewer."""
    free = recommend("--gflops", 2000, "--questions-per-image", 100)
    bound = recommend("--gflops", 2000, "--questions-per-image", 100, "--kv-mb", 20)
    one = recommend("--gflops", 2000, "--kv-mb", 20)
    chosen = [
        (report["choice"]["llm"], report["choice"]["visual_tokens"])
        for report in (free, bound, one)
    ]
    assert chosen == [("Qwen1.5-14B", 576), ("Qwen1.5-14B", 16), ("Qwen1.5-14B", 4)]
    assert bound["choice"]["kv_mb"] == pytest.approx(16 * 0.8192)
    assert bound["sharing"].endswith("the choice would be Qwen1.5-14B with 4 visual tokens.")
    assert all(row["kv_mb"] <= 20 for row in bound["choices"])
    # What prunes by the question keeps all patches.
    pruning = ("--gflops", 2000, "--method", "fastv", "--sizes", "Qwen1.5-0.5B")
    kept = recommend(*pruning, "--kv-mb", 60)["choice"]["kv_mb"]
    assert kept == pytest.approx(576 * 0.098304)
    assert (
        "no LLM fits into 50 MB of keys and values an image keeps. The smallest need is"
        in error_of("recommend", *pruning, "--kv-mb", 50)
    )
    assert "MB kept" in call("recommend", "--gflops", 2000, "--kv-mb", 20)


def test_a_hundred_questions_an_image_want_more_tokens_and_it_says_why():
    one = recommend("--gflops", 2000)
    assert one["sharing"] == ""
    hundred = recommend("--gflops", 2000, "--questions-per-image", 100)
    assert (one["choice"]["visual_tokens"], hundred["choice"]["visual_tokens"]) == (4, 576)
    assert hundred["choice"]["cost"] == pytest.approx(2 * 14 * (50 + 5.76) + 3.819, abs=5e-3)
    assert "which keeps its keys and values" in hundred["sharing"]
    assert hundred["sharing"].endswith("the choice would be Qwen1.5-14B with 4 visual tokens.")
    # V* grows as an answer pays less for V; N is what the rest of the budget buys.
    best = hundred["continuous"]
    ratio = hundred["law"]["ratio"]
    assert best["visual_tokens"] == min(576, 100 * 50 / (ratio - 1))
    assert best["n_params_b"] == pytest.approx(
        (2000 - 3.819) / (2 * (50 + best["visual_tokens"] / 100)), rel=1e-4
    )


def test_without_a_prompt_cache_only_the_encoder_is_shared():
    asked = ("--gflops", 2000, "--questions-per-image", 100)
    kept, recomputed = (recommend(*asked, *flag) for flag in ([], ["--no-prompt-cache"]))
    assert kept["choice"]["visual_tokens"] > recomputed["choice"]["visual_tokens"]
    assert "the LLM has no prompt cache" in recomputed["sharing"]
    assert recomputed["continuous"]["visual_tokens"] == pytest.approx(13.52, abs=0.01)
    text_first = recommend(*asked, "--cached-text")
    assert "the text comes before the image" in text_first["sharing"]


def test_a_cached_image_costs_nothing_and_an_answer_may_be_free():
    free = recommend("--gflops", 2000, "--cached-image", "--text-tokens", 0)
    assert free["choice"]["cost"] == 0
    assert free["continuous"] is None
    alone = recommend("--gflops", 300, "--cached-image")
    assert alone["sharing"].endswith("the budget would allow no answer at all.")
    assert "choice would be the same" in call(
        "recommend", "--gflops", 2000, "--questions-per-image", 2, "--sizes", "Qwen1.5-14B",
        "--token-counts", 4,
    )  # fmt: skip


def test_sharing_is_refused_where_it_says_nothing(tmp_path):
    path = write_csv(
        tmp_path, pd.DataFrame({"llm": ["7B"], "visual_tokens": [16], "latency_ms": [9.0]})
    )
    measured = ("--latency-ms", 20, "--latencies", path)
    assert "latencies are taken as measured" in usage_error_of(
        "recommend", *measured, "--cached-image"
    )
    assert "training_budget chooses" in usage_error_of(
        "recommend", "--gflops", 900, "--training-budget", "short"
    )
    assert "greater than or equal to 1" in usage_error_of(
        "recommend", "--gflops", 900, "--questions-per-image", 0
    )


def test_training_budgets_have_laws_of_their_own(tmp_path, scores):
    worse = scores.assign(score=0.9 * scores["score"], budget="short")
    path = write_csv(tmp_path, pd.concat([scores.assign(budget="full"), worse]))
    asked = ("--gflops", 2000, "--scores", path)
    full, short = (
        recommend(*asked, *which)["choice"]["error"]
        for which in ([], ["--training-budget", "short"])
    )
    assert short > full
    assert "no row has budget 'long'" in error_of("recommend", *asked, "--training-budget", "long")
