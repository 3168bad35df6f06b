"""benchmarks/gpu.py runs whole at tiny shapes, and cuts published ones to a GPU's memory."""

import pandas as pd
import pytest
from latency import build_config

import gpu
from vlmscale.errors import UserError
from vlmscale.planning.measured import find_measured_utilisation
from vlmscale.records.parquet import read_parquet, read_provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    gpu.main(
        gpu="h100",
        llms="w64",
        visual_tokens="144,36,1",
        text_tokens="0,5",
        batch=2,
        batches="1,2",
        repetitions=2,
        minutes=9.0,
        folder=folder,
    )
    return folder


def test_the_machine_is_recorded(folder):
    for kind in ("training", "latency", "evaluation"):
        about = read_provenance(folder / f"{kind}_h100_gpu.parquet")
        assert about["gpu"] == "h100"
        assert about["peak_gflops_per_s"] == 989_000
        assert {"device", "driver", "cuda", "versions"} <= set(about)


def test_steps_stand_beside_plain_llava(folder):
    table = read_parquet(folder / "training_h100_gpu.parquet")
    assert table["model"].tolist() == ["plain LLaVA", "ours", "ours", "ours"]
    assert table["visual_tokens"].tolist() == [144, 144, 36, 1]
    assert (table["skipped"] == "").all()
    assert table["ratio"][0] == table["of_ideal"][0] == 1
    assert table["gflops"][0] == table["gflops"][1]
    assert table["gflops"][2] > table["gflops"][3]
    rate = table["gflops"] / table["step_ms"] * 1e3
    assert (table["mfu"] * 989_000).to_list() == pytest.approx(rate.to_list())
    tokens = 2 * (table["visual_tokens"] + table["text_tokens"])
    rate = (1e3 * tokens / table["step_ms"]).to_list()
    assert table["tokens_per_second"].to_list() == pytest.approx(rate)


def test_planning_reads_the_table(folder):
    table = read_parquet(folder / "training_h100_gpu.parquet")
    ours = table[table["model"] == "ours"]
    found = find_measured_utilisation("h100", folder)
    assert ours["mfu"].min() < found < ours["mfu"].max()


def test_answers_have_new_and_cached_text_and_cached_images(folder):
    table = read_parquet(folder / "latency_h100_gpu.parquet")
    assert (table["skipped"] == "").all()
    kinds = table[["text_tokens", "cached_text", "cached_image"]].drop_duplicates()
    assert sorted(map(tuple, kinds.to_numpy().tolist())) == [
        (0, True, False),
        (5, False, False),
        (5, False, True),
        (5, True, False),
    ]
    assert (table[["prefill_ms", "decode_ms", "prefill_gflops"]] > 0).all(axis=None)
    case = ["method", "visual_tokens", "batch"]
    new = table[(table["text_tokens"] == 5) & ~table["cached_text"]]
    both = new[~new["cached_image"]].merge(new[new["cached_image"]], on=case)
    assert len(both) == 6
    less = both[both["visual_tokens"] > 1]
    assert (less["prefill_gflops_x"] > 2 * less["prefill_gflops_y"]).all()


def test_evaluation_counts_questions(folder):
    table = read_parquet(folder / "evaluation_h100_gpu.parquet")
    assert len(table) == 6
    rate = (1e3 * table["batch"] / table["batch_ms"]).to_list()
    assert table["questions_per_second"].to_list() == pytest.approx(rate)


@pytest.mark.parametrize(("llm", "whole"), [("Qwen1.5-0.5B", True), ("Qwen1.5-7B", False)])
def test_an_llm_keeps_the_layers_that_fit(llm, whole):
    config = build_config(llm)
    of = config.text_config.num_hidden_layers
    layers = gpu.cut_to_memory(config, 16, 576, 80e9)
    assert config.text_config.num_hidden_layers == layers
    assert (layers == of) == whole
    assert layers > 3
    assert gpu.cut_to_memory(build_config(llm), 16, 576, 120e9) > layers - whole


def test_too_small_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"one layer of width 4096 needs \d+ GB .* Lower --batch"):
        gpu.cut_to_memory(build_config("Qwen1.5-7B"), 16, 576, 8e9)


def test_no_step_begins_after_its_time():
    settings = gpu.list_settings(["mlp", "tokenpacker"], [144, 1], 12)
    rows = gpu.measure_training("w64", settings, 2, 2, until=0.0)
    assert {row["skipped"] for row in rows} == {"no time was left: raise --minutes"}
    assert "step_ms" not in pd.DataFrame(rows)


def test_an_unknown_gpu_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--gpu abacus: not in"):
        gpu.main(gpu="abacus", folder=tmp_path)
