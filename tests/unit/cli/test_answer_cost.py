"""vlmscale recommend by measured latencies."""

import pandas as pd

from tests.support.cli import error_of, recommend, write_csv


def test_latencies(tmp_path):
    rows = [("Qwen1.5-7B", 1, 20), ("Qwen1.5-7B", 101, 40), ("4", 1, 12), ("4", 101, 22)]
    table = pd.DataFrame(rows, columns=["llm", "visual_tokens", "latency_ms"])
    path = write_csv(tmp_path, table)
    report = recommend("--latency-ms", 30, "--latencies", path)
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
    asked += ["--methods", "tokenpacker"]
    report = recommend(*asked, "--cached-text")
    # d16 takes 40 ms and one for each visual token, d32 never less than 161
    found = {row["llm"]: (row["visual_tokens"], row["cost"]) for row in report["choices"]}
    assert found == {"d8": (16, 26), "d16": (16, 56)}
    assert report["choice"]["n_params_b"] == 4e-5
    assert report["notes"][-1] == (
        "Latencies are those measured with 10 text tokens, cached, and a straight line between token counts."
    )
    new = {row["llm"]: row["visual_tokens"] for row in recommend(*asked)["choices"]}
    assert new == {"d8": 16, "d16": 10}  # ten for the text
    slow = recommend(*asked, "--cached-text", "--generated-tokens", 5)["choices"]
    assert {row["llm"]: row["visual_tokens"] for row in slow} == {"d8": 16, "d16": 10}
    refused = ["recommend", *asked[:-2], "--cached-text"]
    assert "choose with --methods" in error_of(*refused)
    assert "no decoder is called 'd64'" in error_of("recommend", *asked, "--sizes", "d64")
    other = ["recommend", *asked, "--text-tokens", 30]
    assert "no row has text_tokens 30. There are: 0, 10" in error_of(*other)
