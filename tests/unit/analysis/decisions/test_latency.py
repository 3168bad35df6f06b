"""Tables of latencies show what was measured, and choices follow them."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.pages import select_one_token

from vlmscale.analysis.decisions.latency import (
    PARTS,
    compare_cached_text,
    compare_token_counts,
    join_latency,
    select_latencies,
    summarize_times,
)
from vlmscale.errors import UserError
from vlmscale.report.figures.latency import draw


def test_a_row_has_medians_quartiles_and_ratios():
    times = [{"latency": t, "prefill": t / 2} for t in (4.0, 2.0, 3.0, 1.0, 10.0)]
    row = summarize_times(times, dict.fromkeys(PARTS, 6.0) | {"prefill": 0.0}, 1000.0)
    assert (row["latency_ms"], row["latency_iqr_ms"], row["repetitions"]) == (3.0, 2.0, 5)
    assert row["latency_ratio"] == 0.5  # 6 GFLOPs take 6 ms at 1000 GFLOP/s
    assert np.isnan(row["prefill_ratio"])
    assert np.isnan(row["tower_ms"])


COLUMNS = ["llm", "method", "visual_tokens", "text_tokens", "cached_text", "batch", "skipped"]


def table_of(*rows):
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "latency_ms", "prefill_ms", "prefill_gflops"])
    return frame.assign(tower_ms=6.0, decode_ms=2.0)


TABLE = table_of(
    ("a", "tokenpacker", 1, 0, True, 1, "", 10, 1.0, 1.0),
    ("a", "tokenpacker", 1, 50, False, 1, "", 15, 5.0, 50.0),
    ("a", "tokenpacker", 1, 50, True, 1, "", 12, 2.0, 1.0),
    ("a", "tokenpacker", 1, 50, True, 8, "", 80, 8.0, 8.0),
    ("a", "mlp", 16, 50, True, 1, "", 20, 9.0, 16.0),
    ("a", "mlp", 16, 50, False, 1, "does not fit", np.nan, np.nan, 66.0),
    ("a", "quecc", 1, 50, True, 1, "", 13, 2.0, 1.0),
)


def test_what_caching_the_text_saves():
    (row,) = compare_cached_text(TABLE).to_dict("records")
    assert (row["method"], row["batch"]) == ("tokenpacker", 1)  # what was measured both ways
    assert (row["time_saved"], row["flops_saved"]) == pytest.approx((0.6, 0.98))
    assert row["kept_ratio"] == pytest.approx(20)


def test_what_fewer_tokens_save():
    rows = compare_token_counts(TABLE, text_tokens=50).to_dict("records")
    assert [row["method"] for row in rows] == ["tokenpacker", "quecc"]
    found = rows[0]
    assert (found["most_tokens"], found["flops_fall"]) == (16, 16)
    falls = (found["prefill_fall"], found["latency_fall"], found["tower_share"])
    assert falls == pytest.approx((4.5, 20 / 12, 0.5))


def latencies(**question):
    asked = {"methods": (), "text_tokens": 50, "generated_tokens": 0, "cached_text": True}
    found = select_latencies(TABLE, **{**asked, **question})
    return dict(zip(zip(found["method"], found["visual_tokens"], strict=True), found["latency_ms"], strict=True))  # fmt: skip


def test_a_question_finds_its_rows():
    assert latencies(methods=("tokenpacker", "mlp")) == {("tokenpacker", 1): 12, ("mlp", 16): 20}
    assert latencies(methods=("tokenpacker",), cached_text=False) == {("tokenpacker", 1): 15}
    # without text it does not matter whether it is cached
    assert latencies(text_tokens=0, cached_text=False) == {("tokenpacker", 1): 10}
    assert latencies(methods=("mlp",), generated_tokens=5) == {("mlp", 16): 30}
    with pytest.raises(UserError, match=r"no row has text_tokens 20. There are: 0, 50"):
        latencies(text_tokens=20)
    with pytest.raises(UserError, match="no row has method m3"):
        latencies(methods=("m3",))


ERRORS = pd.DataFrame(
    [
        ("a", 2.0, "tokenpacker", 1, 0, 0.5),
        ("a", 2.0, "tokenpacker", 1, 1, 0.7),
        ("a", 2.0, "mlp", 16, 0, 0.4),
        ("b", 1.0, "mlp", 16, 0, 0.6),
    ],
    columns=["llm", "n_params_b", "method", "visual_tokens", "seed", "error"],
).assign(family="ocr")


def test_where_flops_mislead():
    found = join_latency(ERRORS, TABLE, text_tokens=50)
    assert found["llm"].tolist() == ["a", "a"]  # b was not measured
    one, all_patches = found.to_dict("records")
    assert (one["error"], one["latency_ms"], one["gflops"]) == pytest.approx((0.6, 12, 4))
    assert one["tower_share"] == pytest.approx(0.5)
    # FLOPs fall to a sixteenth, time to twelve twentieths
    assert one["surprise"] == pytest.approx(16 * 12 / 20)
    assert all_patches["surprise"] == 1


def test_the_figure_rings_what_misleads():
    errors = ERRORS.assign(benchmark="mean", budget="full")
    figure = draw(errors, TABLE, title="a study", text_tokens=50, budget="full")
    by_flops, by_time = figure.axes
    for ax, x in ((by_flops, 4.0), (by_time, 12.0)):
        (ring,) = [line for line in ax.get_lines() if line.get_markersize() == 10]
        assert ring.get_xydata().tolist() == [[x, pytest.approx(0.6)]]
    assert [text.get_text() for text in by_time.texts] == ["50%"]
    assert not by_flops.texts
    assert "50 text tokens, cached" in figure.get_suptitle()


def compare_saving(name):
    """Cached text at one visual token: what the clock saves over what FLOPs save, by LLM and batch."""
    saves = select_one_token(name).set_index(["llm", "batch"])
    return saves["time_saved"] / saves["flops_saved"]


def test_a_wide_llm_saves_what_the_cost_model_says_for_single_images():
    agree = compare_saving("latency_cpu_wide").round(2)
    assert agree[:, 1].to_dict() == {"w1024": 0.82, "w2048": 0.86}
    assert agree.between(0.8, 1.2).all()


def test_a_narrow_llm_saves_what_the_cost_model_says_from_eight_images_on():
    """Within 20 %, and less for single images."""
    agree = compare_saving("latency_cpu")
    assert agree.between(0, 1.2).all()
    assert {llm for llm, _ in agree.index} == {"w256", "w512", "w1024"}
    assert (agree[agree.index.get_level_values("batch") >= 8] >= 0.8).all()
    assert (agree[:, 1] < 0.8).all()
