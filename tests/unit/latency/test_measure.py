"""Latencies: what is timed is what is said, tables tell what was measured, and choices follow them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlmscale.analysis.decisions.latency import (
    PARTS,
    compare_cached_text,
    compare_token_counts,
    join_latency,
    select_latencies,
    summarize_times,
)
from vlmscale.costs.flops import answer_gflops
from vlmscale.errors import UserError
from vlmscale.latency.measure import measure
from vlmscale.latency.spec import NamedSetting, PromptCase, prompt_cases
from vlmscale.latency.steps import time_training_steps
from vlmscale.methods import find_method
from vlmscale.models.meta import build_with_random_weights, read_decoder_shape, read_tower_shape
from vlmscale.models.prompt_cache import cache_tokens
from vlmscale.report.figures.latency import draw_table
from vlmscale.report.tables import format_cached_text, format_fewer_tokens

ROOT = Path(__file__).parents[3]


def compressor(name, tokens, **options):
    return NamedSetting(name=name, **find_method(name).make_setting(tokens, **options).model_dump())


CHOSEN = [
    compressor("tokenpacker", 1),
    compressor("quecc", 4),
    compressor("mlp", 36),
    compressor("fastv", 9),
    compressor("downsample", 4),
]


@pytest.fixture(scope="module")
def measured(build):
    """A tiny model with all of CHOSEN; passes of its LLM: (new tokens, tokens before them)."""
    model, _ = build("mlp", 36)
    passes = []

    def note(module, args, kwargs):
        given = next(kwargs[k] for k in ("inputs_embeds", "input_ids") if kwargs.get(k) is not None)
        cache = kwargs.get("past_key_values")
        passes.append((*given.shape[:2], 0 if cache is None else cache.get_seq_length()))

    hook = model.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
    questions = prompt_cases([0, 10], [1, 3])
    table = measure(model, CHOSEN, questions, llm="tiny", repetitions=2, positions=100)
    hook.remove()
    return table, passes, model


def test_every_case_has_a_row(measured):
    table, _, model = measured
    assert len(table) == len(CHOSEN) * 6
    left_out = table[table["skipped"] != ""]
    reasons = left_out.groupby("method")["skipped"].agg(set).to_dict()
    assert reasons == {
        "fastv": {
            "prunes inside the LLM, by a pass over the whole prompt",
            "more than 100 positions in a pass",
        },
        "mlp": {"more than 100 positions in a pass"},
    }
    assert left_out[[f"{part}_ms" for part in PARTS]].isna().all(axis=None)
    timed = table[table["skipped"] == ""]
    assert (timed["repetitions"] == 2).all()
    always = ["latency", "tower", "prefill", "decode"]
    assert (timed[[f"{part}_ms" for part in always]] > 0).all(axis=None)
    # A new question is read by QueCC alone; the method that has the tower look again has no other part.
    reads = (timed["method"] == "quecc") & ~timed["cached_text"]
    assert (timed["text_ms"].notna() == reads).all()
    assert (timed["compressor_ms"].isna() == (timed["method"] == "downsample")).all()
    llm = [*model.model.language_model.parameters()]  # the head is the embedding
    assert (table["n_params_b"] == sum(p.numel() for p in llm) / 1e9).all()


def test_the_passes_are_those_that_the_costs_are_of(measured):
    """At 10 text tokens: new text passes with the image, cached text stands before it."""
    _, passes, _ = measured
    assert (1, 11, 0) in passes  # tokenpacker, one visual token and the text
    assert (1, 1, 10) in passes
    assert (3, 4, 10) in passes
    assert (3, 14, 0) in passes
    assert (1, 36, 10) in passes
    assert (1, 1, 11) in passes  # decoding after either
    assert (1, 10, 0) in passes  # the text itself, once
    assert not [p for p in passes if p[1] * p[0] > 100]


def test_gflops_are_those_of_the_cost_model(measured):
    table, _, model = measured
    decoder, tower = read_decoder_shape(model.config), read_tower_shape(model.config)
    for row in table.to_dict("records"):
        cost = answer_gflops(
            decoder,
            tower,
            row["method"],
            row["visual_tokens"],
            row["text_tokens"],
            text="cached" if row["cached_text"] else "new",
            feature_layers=3,
        )
        assert row["latency_gflops"] == pytest.approx(row["batch"] * cost.total)
        assert row["prefill_gflops"] == pytest.approx(row["batch"] * cost.prefill.total)
        parts = ("tower", "compressor", "text", "prefill")
        whole = sum(row[f"{part}_gflops"] for part in parts)
        assert row["latency_gflops"] == pytest.approx(whole)


def test_torch_counts_as_few_flops_with_cached_text_as_the_cost_model(build):
    model, _ = build("tokenpacker", 1)
    image = torch.tensor([[model.config.image_token_index]])
    text = torch.full((1, 50), 5)
    visual = torch.zeros(1, model.config.text_config.hidden_size)
    prompt = cache_tokens(model, text, image, None)

    def gflops(**inputs):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
            model(visual_embeds=visual, use_cache=True, logits_to_keep=1, **inputs)
        return count.get_total_flops() / 1e9

    decoder = read_decoder_shape(model.config)
    new = gflops(input_ids=torch.cat([image, text], dim=1))
    cached = gflops(input_ids=image, past_key_values=prompt.build_cache(1))
    foreseen = decoder.prefill(1, 50, text_cached=True).total / decoder.prefill(1, 50).total
    assert cached / new == pytest.approx(foreseen, rel=0.2)
    assert cached / new < 0.1


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
    found = join_latency(ERRORS, TABLE, text_tokens=50)
    figure = draw_table(found, title="a study", text_tokens=50)
    by_flops, by_time = figure.axes
    for ax, x in ((by_flops, 4.0), (by_time, 12.0)):
        (ring,) = [line for line in ax.get_lines() if line.get_markersize() == 10]
        assert ring.get_xydata().tolist() == [[x, pytest.approx(0.6)]]
    assert [text.get_text() for text in by_time.texts] == ["50%"]
    assert not by_flops.texts
    assert "50 text tokens, cached" in figure.get_suptitle()


def test_a_step_of_training_is_timed_at_both_stages(build):
    model, _ = build("mlp", 36)
    chosen = [compressor("quecc", 4), compressor("mlp", 36)]
    rows = time_training_steps(
        model.config,
        chosen,
        llm="tiny",
        device=torch.device("cpu"),
        dtype=torch.float32,
        batch=2,
        peak=50.0,
    )
    table = pd.DataFrame(rows)
    assert table[["stage", "method"]].to_numpy().tolist() == [
        ["stage1", "quecc"],
        ["stage1", "mlp"],
        ["stage2", "quecc"],
        ["stage2", "mlp"],
    ]
    rate = table["gflops"] / (table["step_ms"] / 1e3)
    assert (rate > 0).all()
    assert table["utilisation"].tolist() == pytest.approx((rate / 50.0).tolist())


def test_random_weights_have_the_type_and_shapes_asked_for(build):
    model, _ = build("quecc", 4)
    made = build_with_random_weights(model.config, torch.device("cpu"), torch.bfloat16)
    shapes = {name: value.shape for name, value in made.state_dict().items()}
    assert shapes == {name: value.shape for name, value in model.state_dict().items()}
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
    assert all(torch.isfinite(p).all() for p in made.parameters())
    # No buffer of the tower or of the rotary positions was left without values.
    buffers = dict(model.named_buffers())
    for name, value in made.named_buffers():
        torch.testing.assert_close(value.float(), buffers[name].float(), atol=1e-2, rtol=1e-2)


def test_without_text_there_is_nothing_new():
    assert prompt_cases([0, 7], [2]) == (
        PromptCase(text_tokens=0, cached_text=True, batch=2),
        PromptCase(text_tokens=7, cached_text=False, batch=2),
        PromptCase(text_tokens=7, cached_text=True, batch=2),
    )


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/latency.py as a module."""
    spec = importlib.util.spec_from_file_location("latency", ROOT / "benchmarks/latency.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_knows_every_published_llm_and_small_ones(benchmark):
    for name in ("Qwen1.5-0.5B", "Qwen1.5-14B", "vicuna-7b-v1.5", "w128"):
        config = benchmark.config_of(name)
        assert config.grid_side == (12 if name == "w128" else 24)
    assert read_decoder_shape(config).hidden_size == 128
    with pytest.raises(UserError, match=r"Qwen1\.5-3B"):
        benchmark.config_of("Qwen1.5-3B")


def test_the_benchmark_takes_each_count_once(benchmark):
    chosen = benchmark.compressors(["tokenpacker", "mlp"], [1, 16, 50, 576], 24)
    assert [(c.name, c.visual_tokens) for c in chosen] == [
        ("tokenpacker", 1),
        ("tokenpacker", 16),
        ("mlp", 576),
    ]
    alone = benchmark.compressors(["tokenpacker"], [1, 576], 24)
    assert [c.visual_tokens for c in alone] == [1, 576]


@pytest.fixture(scope="module")
def committed():
    return pd.read_parquet(ROOT / "src/vlmscale/resources/measured/latency_cpu.parquet")


@pytest.fixture(scope="module")
def wide():
    return pd.read_parquet(ROOT / "src/vlmscale/resources/measured/latency_cpu_wide.parquet")


def at_one_token(table):
    saves = compare_cached_text(table)
    return saves[saves["visual_tokens"] == 1]


def test_the_page_tells_what_was_measured(committed, wide):
    page = (ROOT / "docs/latency.md").read_text()
    tables = (
        format_cached_text(at_one_token(committed)),
        format_cached_text(at_one_token(wide)),
        format_fewer_tokens(compare_token_counts(committed, text_tokens=50)),
    )
    for table in tables:
        assert table.to_markdown(index=False, disable_numparse=True) in page


def test_a_wide_llm_saves_what_the_cost_model_says_for_single_images(wide):
    saves = at_one_token(wide).set_index(["llm", "batch"])
    agree = (saves["time_saved"] / saves["flops_saved"]).round(2)
    assert agree[:, 1].to_dict() == {"w1024": 0.82, "w2048": 0.86}
    assert agree.between(0.8, 1.2).all()


def test_from_where_on_time_falls_as_the_cost_model_says(committed):
    """Within 20 %, as the page tells: from so many images at once on, and not for one of a narrow LLM."""
    saves = at_one_token(committed)
    agree = saves["time_saved"] / saves["flops_saved"]
    assert agree.between(0, 1.2).all()
    begins = saves[agree >= 0.8].groupby("llm")["batch"].min().to_dict()
    assert begins == {"w256": 8, "w512": 8, "w1024": 8}
    for llm, rows in saves.assign(agree=agree).groupby("llm"):
        assert (rows.loc[rows["batch"] >= begins[llm], "agree"] >= 0.8).all(), llm
