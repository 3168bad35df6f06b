"""vlmscale recommend: reference choices for FLOPs and for measured latencies."""

import pytest

from tests.support.cli import call, error_of, recommend, write_csv


def test_recommend_by_the_reasoning_law():
    report = recommend("--gflops", 2000, "--text-tokens", 50)
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
    text = call("recommend", "--gflops", 2000)
    assert text.startswith("Qwen1.5-14B with 21 visual tokens: predicted error 0.4679, for 1988 of")
    assert "Runner-up: Qwen1.5-7B with 92 visual tokens" in text
    assert "warning: Qwen1.5-14B is extrapolated" in text
    assert "N is the nominal size in billions" in text


def test_choices_among_the_fitted_sizes_are_no_extrapolation():
    report = recommend("--gflops", 1000, "--sizes", "4, 7B", "--token-counts", "1,16,64")
    found = [(row["llm"], row["visual_tokens"]) for row in report["choices"]]
    assert found == [("7B", 16), ("4B", 64)]
    assert [row["extrapolates"] for row in report["choices"]] == ["", ""]


def test_ocr_keeps_all_tokens():
    text = call("recommend", "--gflops", 5100, "--family", "ocr")
    assert "with 576 visual tokens" in text.splitlines()[0]
    assert "more tokens beat a larger LLM at every budget" in text
    assert "V* = 576 tokens" in text


def test_an_impossible_budget_names_the_smallest():
    text = error_of("recommend", "--gflops", 20)
    assert "a budget of 20 GFLOPs allows no answer at all" in text
    assert "51 GFLOPs: Qwen1.5-0.5B with 1 visual token." in text


def test_cached_text_leaves_the_budget_to_visual_tokens():
    new, cached = (recommend("--gflops", 2000, *flag)["choice"] for flag in ([], ["--cached-text"]))
    assert cached["visual_tokens"] == 71 == new["visual_tokens"] + 50
    assert recommend("--gflops", 2000, "--cached-text")["continuous"]["visual_tokens"] == 1


def test_generated_tokens_count_as_text():
    one = recommend("--gflops", 2000, "--text-tokens", 30, "--generated-tokens", 20)["choice"]
    assert one == recommend("--gflops", 2000)["choice"]


def test_exact_costs():
    arguments = ["--gflops", 2000, "--cost", "exact", "--sizes", "Qwen1.5-7B"]
    choice = recommend(*arguments)["choice"]
    # attention aside, 6.48 billion parameters do the work of the nominal 7
    assert choice["visual_tokens"] > 92
    assert choice["cost"] <= 2000
    assert recommend(*arguments)["continuous"] is None
    with_tower = recommend(*arguments, "--with-tower")["choice"]
    assert with_tower["visual_tokens"] == 64  # one of tokenpacker's counts
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
    report = recommend("--gflops", 2000, "--scores", write_csv(tmp_path, own))
    n = {row["llm"]: row["n_params_b"] for row in report["choices"]}
    assert n["Qwen1.5-14B"] == pytest.approx(14.167290880)
    assert "LLMs count with their total size" in report["notes"][0]


def test_unknown_sizes_and_counts():
    assert "no decoder is called 'GPT'" in error_of("recommend", "--gflops", 9, "--sizes", "GPT")
    assert "give a size above 0" in error_of("recommend", "--gflops", 9, "--sizes", "-1")
    assert "give numbers above 0" in error_of("recommend", "--gflops", 9, "--token-counts", "0")
