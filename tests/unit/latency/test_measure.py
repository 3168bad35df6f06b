"""The passes that are timed are those whose costs are counted, and every case has a row."""

import pandas as pd
import pytest
import torch
from benchmarks import latency as benchmark
from common import build_with_random_weights
from steps import time_training_steps
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlmscale.analysis.decisions.latency import PARTS
from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.shapes import read_decoder, read_tower
from vlmscale.errors import UserError
from vlmscale.latency.measure import measure
from vlmscale.latency.spec import NamedSetting, PromptCase, prompt_cases
from vlmscale.methods import find_method
from vlmscale.models.prompt_cache import cache_tokens


def setting(name, tokens, **options):
    return NamedSetting(name=name, **find_method(name).make_setting(tokens, **options).model_dump())


CHOSEN = [
    setting("tokenpacker", 1),
    setting("quecc", 4),
    setting("mlp", 36),
    setting("fastv", 9),
    setting("downsample", 4),
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
    decoder, tower = (
        read_decoder(model.config.text_config.to_dict()),
        read_tower(model.config.vision_config.to_dict(), 3),
    )
    for row in table.to_dict("records"):
        cost = answer_gflops(
            decoder,
            tower,
            row["method"],
            row["visual_tokens"],
            row["text_tokens"],
            text="cached" if row["cached_text"] else "new",
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

    decoder = read_decoder(model.config.text_config.to_dict())
    new = gflops(input_ids=torch.cat([image, text], dim=1))
    cached = gflops(input_ids=image, past_key_values=prompt.build_cache(1))
    foreseen = decoder.prefill(1, 50, text_cached=True).total / decoder.prefill(1, 50).total
    assert cached / new == pytest.approx(foreseen, rel=0.2)
    assert cached / new < 0.1


def test_a_step_of_training_is_timed_at_both_stages(build):
    model, _ = build("mlp", 36)
    chosen = [setting("quecc", 4), setting("mlp", 36)]
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


def test_the_benchmark_knows_every_published_llm_and_small_ones():
    for name in ("Qwen1.5-0.5B", "Qwen1.5-14B", "vicuna-7b-v1.5", "w128"):
        config = benchmark.build_config(name)
        assert config.grid_side == (12 if name == "w128" else 24)
    assert read_decoder(config.text_config.to_dict()).hidden_size == 128
    with pytest.raises(UserError, match=r"Qwen1\.5-3B"):
        benchmark.build_config("Qwen1.5-3B")


def test_the_benchmark_takes_each_count_once():
    chosen = benchmark.list_settings(["tokenpacker", "mlp"], [1, 16, 50, 576], 24)
    assert [(c.name, c.visual_tokens) for c in chosen] == [
        ("tokenpacker", 1),
        ("tokenpacker", 16),
        ("mlp", 576),
    ]
    alone = benchmark.list_settings(["tokenpacker"], [1, 576], 24)
    assert [c.visual_tokens for c in alone] == [1, 576]
