"""vlmscale recommend by measured latencies."""

from decimal import Decimal

import pandas as pd
import pytest

from tests.support.cli import error_of, recommend, write_csv


def test_latencies(tmp_path):
    rows = [("Qwen1.5-7B", 1, 20), ("Qwen1.5-7B", 101, 40), ("4", 1, 12), ("4", 101, 22)]
    table = pd.DataFrame(rows, columns=["llm", "visual_tokens", "latency_ms"])
    path = write_csv(tmp_path, table)
    report = recommend("--latency-ms", 30, "--latencies", path, "--token-counts", "any")
    found = {row["llm"]: row["visual_tokens"] for row in report["choices"]}
    # never beyond what was measured
    assert found == {"Qwen1.5-7B": 51, "4B": 101}
    assert report["unit"] == "ms"
    assert "The smallest possible one is 12 ms" in error_of(
        "recommend", "--latency-ms", 5, "--latencies", path
    )
    assert "column 'latency_ms' is missing" in error_of(
        "recommend",
        "--latency-ms",
        5,
        "--latencies",
        write_csv(tmp_path, table.drop(columns="latency_ms"), "bad.csv"),
    )


def test_a_studys_latencies_answer_for_its_own_law(tmp_path):
    """As latency.parquet has them: rows by method, text and caching, and the sizes of the study's LLMs."""
    sizes = {"d8": 1e-5, "d16": 4e-5, "d32": 1.6e-4}
    points = [(llm, n, v) for llm, n in sizes.items() for v in (1, 4, 16)]
    scores = pd.DataFrame(points, columns=["llm", "n_params_b", "visual_tokens"])
    scores["error"] = 0.3 * scores["n_params_b"] ** -0.08 * scores["visual_tokens"] ** -0.02
    law = write_csv(tmp_path, scores.assign(method="tokenpacker"), "errors.csv")
    rows = [
        (
            llm,
            n,
            method,
            v,
            q,
            cached,
            100 * 1e4 * n + v + (0 if cached else q) + (method == "quecc"),
        )
        for llm, n in sizes.items()
        for method in ("tokenpacker", "quecc")
        for v in (1, 16)
        for q, cached in ((0, True), (10, False), (10, True))
    ]
    columns = ["llm", "n_params_b", "method", "visual_tokens", "text_tokens", "cached_text"]
    table = pd.DataFrame(rows, columns=[*columns, "latency_ms"])
    table = table.assign(batch=1, skipped="", decode_ms=2.0)
    path = write_csv(tmp_path, table, "latency.csv")
    asked = ["--latency-ms", 60, "--latencies", path, "--scores", law, "--text-tokens", 10]
    asked += ["--token-counts", "any", "--methods", "tokenpacker"]
    report = recommend(*asked, "--cached-text")
    # d16 takes 40 ms and one for each visual token, d32 never less than 161
    found = {row["llm"]: (row["visual_tokens"], row["cost"]) for row in report["choices"]}
    assert found == {"d8": (16, 26), "d16": (16, 56)}
    assert report["choice"]["n_params_b"] == 4e-5
    assert (
        "Latencies are those measured with 10 cached text tokens, linear between counts."
    ) in report["notes"]
    new = {row["llm"]: row["visual_tokens"] for row in recommend(*asked)["choices"]}
    assert new == {"d8": 16, "d16": 10}  # ten for the text
    slow = recommend(*asked, "--cached-text", "--generated-tokens", 5)["choices"]
    assert {row["llm"]: row["visual_tokens"] for row in slow} == {"d8": 16, "d16": 10}
    refused = ["recommend", *asked[:-2], "--cached-text"]
    assert "choose with --methods" in error_of(*refused)
    assert "no decoder is called 'd64'" in error_of("recommend", *asked, "--sizes", "d64")
    other = ["recommend", *asked, "--text-tokens", 30]
    assert "no row has text_tokens 30. There are: 0, 10" in error_of(*other)


def test_latencies_of_any_llm(tmp_path):
    """Sizes are those of the law's table, of the shapes, or as the names state."""
    names = ["Llama-3.2-1B", "vicuna-7b-v1.5", "500M", "gemma-2b-it", "Qwen1.5-4B"]
    rows = [(name, v, 10.0 + v) for name in names for v in (1, 576)]
    table = pd.DataFrame(rows, columns=["LLM", "Visual Tokens", "latency_ms"])
    report = recommend("--latency-ms", 100, "--latencies", write_csv(tmp_path, table))
    sizes = {row["llm"]: row["n_params_b"] for row in report["choices"]}
    assert sizes == dict(zip(names, [1, 7, 0.5, 2, 4], strict=True))
    unknown = write_csv(tmp_path, table.replace("gemma-2b-it", "phi-3-mini"), "other.csv")
    text = error_of("recommend", "--latency-ms", 100, "--latencies", unknown)
    assert "no decoder is called 'phi-3-mini', and the name states no size" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(llm=["7B", None]), "column 'llm' has missing values"),
        (lambda t: t.assign(method=["mlp", None]), "column 'method' has missing values"),
        (lambda t: t.assign(method=["mlp", "quecc"]), "latencies of several methods, mlp, quecc"),
        (lambda t: t.assign(visual_tokens=[1, 1.024]), "1.024 of row 2 is no whole number"),
        (lambda t: t.assign(latency_ms="fast"), "must hold numbers; row 1 has 'fast'"),
        (lambda t: t.assign(latency_ms=0.0), "'latency_ms' must hold positive numbers"),
        (lambda t: t.assign(cached_text="maybe"), "'cached_text' must hold true or false"),
        (lambda t: t.assign(text_tokens="2024-01-01"), "'text_tokens' must hold numbers"),
        (
            lambda t: t.rename(columns={"latency_ms": "seconds"}),
            "The table has: llm, visual_tokens, s",
        ),
        (lambda t: t.assign(llm="\x1b[31m7B"), "holds control characters"),
    ],
)
def test_latencies_that_cannot_be_read(tmp_path, change, words):
    table = pd.DataFrame({"llm": ["7B", "7B"], "visual_tokens": [1, 9], "latency_ms": [10.0, 20.0]})
    path = write_csv(tmp_path, change(table))
    assert words in error_of("recommend", "--latency-ms", 100, "--latencies", path)


def test_numbers_as_text_and_decimals_are_numbers(tmp_path):
    table = pd.DataFrame({"llm": ["7B", "7B"], "visual_tokens": [1, 9], "latency_ms": [10.0, 20.0]})
    table["text_tokens"] = 50
    asked = ["--latency-ms", 15, "--token-counts", "any", "--latencies"]
    plain = recommend(*asked, write_csv(tmp_path, table))["choice"]
    decimal = table.map(lambda value: value if isinstance(value, str) else Decimal(str(value)))
    for name, changed in (("text", table.astype(str)), ("decimal", decimal)):
        path = tmp_path / f"{name}.parquet"
        changed.to_parquet(path)
        assert recommend(*asked, path)["choice"] == plain
