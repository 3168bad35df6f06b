"""What a study is predicted to cost, by hand and by published times, and what is made of its measurements."""

import pandas as pd
import pytest
import yaml

from tests.support.paths import RESOURCES, ROOT
from vlmscale.analysis.collect import tabulate_trainings
from vlmscale.costs.flops import compressor_gflops, training_gflops
from vlmscale.costs.gpus import load_gpus
from vlmscale.costs.shapes import Decoder, Tower, load_shapes
from vlmscale.errors import UserError
from vlmscale.planning.measured import cost_table
from vlmscale.planning.trainings import (
    count_samples,
    describe_samples,
    estimate_features_gb,
    estimate_runs,
    list_trainings,
)
from vlmscale.report.figures.cost import draw
from vlmscale.settings import Counts, Dataset, Recipe
from vlmscale.study.load import load_study, validate

SHAPES = load_shapes()
DECODER = Decoder(1.0, 2, 32, 48, 4, 4, 100, False, True)
TOWER = Tower(3, 16, 32, 48, 8)


def study(name):
    return load_study(ROOT / f"config/{name}.yaml")


def costs(name):
    chosen = study(name)
    return {cost.run.run: cost for cost in estimate_runs(chosen, chosen.count_questions())}


def test_a_trained_llm_costs_three_passes_and_a_frozen_one_two():
    forward = DECODER.forward(30, cached=0, scored=30)
    linear = forward.projections + forward.head
    for trained, passes in ((True, 3), (False, 2)):
        cost = training_gflops(DECODER, TOWER, "mlp", 36, -6, llm_trained=trained)
        assert cost.llm == pytest.approx(passes * linear + 3 * forward.attention)
        assert cost.tower == TOWER.gflops()
        once = compressor_gflops("mlp", 36, tower=TOWER, llm_width=32)
        assert cost.compressor == pytest.approx(3 * once)
    stored = training_gflops(DECODER, TOWER, "mlp", 36, 8, llm_trained=True, stored_features=True)
    assert stored.tower == stored.text_pass == 0
    text = training_gflops(DECODER, TOWER, "quecc", 0, 8, llm_trained=True)
    assert (text.total, text.text_pass) == (text.llm, 0)
    question = training_gflops(DECODER, TOWER, "quecc", 9, 8, llm_trained=True)
    assert question.text_pass == DECODER.forward(8, cached=0, scored=0).total


def test_the_rule_of_four_and_six_flops_a_parameter_and_token():
    """Of 7B with all tokens, attention and all but the LLM are a few percent."""
    decoder, tower = SHAPES["Qwen1.5-7B"], SHAPES["CLIP-ViT-L/14-336"]
    multiplied = decoder.non_embedding_b + decoder.vocabulary * decoder.hidden_size / 1e9
    for trained, factor in ((False, 4), (True, 6)):
        cost = training_gflops(decoder, tower, "mlp", 576, 300, llm_trained=trained)
        assert cost.llm == pytest.approx(factor * multiplied * 876, rel=0.05)


def test_utilisation_of_the_a100_is_that_of_the_published_training():
    """LLaVA-1.5-7B on eight of them: 3.5 hours for stage 1, 10 for stage 2."""
    decoder, tower = SHAPES["Vicuna-7B"], SHAPES["CLIP-ViT-L/14-336"]

    def gflops(visual_tokens, text_tokens, trained):
        cost = training_gflops(
            decoder, tower, "mlp", visual_tokens, text_tokens, llm_trained=trained
        )
        return cost.total

    total = 558_128 * gflops(576, 16, False)
    total += 624_610 * gflops(576, 300, True) + 40_688 * gflops(0, 300, True)
    gpu = load_gpus()["a100"]
    reached = total * 1e9 / (8 * 13.5 * 3600) / (gpu.bf16_tflops * 1e12)
    assert reached == pytest.approx(gpu.utilisation, abs=0.005)


@pytest.mark.parametrize(
    ("run", "hours"),  # of an H100 at 40 %, by parameters times tokens alone
    [
        ("Qwen1.5-0.5B__tokenpacker__v1__s0", 0.7),
        ("Qwen1.5-1.8B__mlp__v576__s0", 5.3),
        ("Qwen1.5-7B__mlp__v576__s1", 23.6),
        ("Qwen1.5-14B__tokenpacker__v36__s2", 13.9),
    ],
)
def test_the_papers_runs_cost_about_what_parameters_and_tokens_say(run, hours):
    assert costs("paper")[run].training_flops / 1.424e18 == pytest.approx(hours, rel=0.12)


@pytest.mark.parametrize(
    ("run", "parameters", "tower", "visual_tokens"),
    [
        ("Qwen3-0.6B__tokenpacker__v1__s0", 440_467_456, 515.6, 1),
        ("Qwen3-14B__mlp__v576__s2", 13_212_482_560, 515.6, 576),
    ],
)
def test_runs_of_current_models_cost_their_llm_and_their_tower(
    run, parameters, tower, visual_tokens
):
    """Of stage 2 by hand: 6 N a position of the LLM, its head and attention aside, and the tower's forward pass."""
    found = costs("modern")[run]
    assert found.parameters == parameters
    _, second = found.trainings
    samples, images = 665_298, 665_298 - 40_688
    positions = samples * 300 + images * visual_tokens
    assert study("modern").tower_shape.gflops() == pytest.approx(tower, rel=0.001)
    least = 6 * parameters * positions + images * tower * 1e9
    assert least * 0.98 < second.flops < 1.6 * least


def test_trainings_of_a_study_with_a_world():
    chosen = study("smoke")
    found = costs("smoke")["d32__quecc__v4__s0"]
    first, second = found.trainings
    assert (first.stage, second.stage) == ("stage1", "stage2")
    assert (first.samples, second.samples) == (60 * 32, 300 * 32)  # steps times batch
    assert first.tokens == 60 * 32 * (64 + 4)
    assert second.tokens == pytest.approx(300 * 32 * (64 + 4 * 1300 / 1400))  # 100 samples are text
    assert chosen.count_questions() == dict.fromkeys(chosen.evaluation.benchmarks, 100)
    # 6 x 6 patches and CLS, three layers of 64 channels, four bytes; stages 1 and 2 and the test split
    assert estimate_features_gb(chosen) == pytest.approx((600 + 1300 + 200) * 37 * 3 * 64 * 4 / 1e9)
    assert estimate_features_gb(study("paper")) == 0


def test_one_training_serves_several_cells():
    found = costs("smoke")["d32__tokenpacker__v4__s0"]
    assert set(found.cells) == {"d32__tokenpacker__v4__s0", "d32__repeat__v16__s0"}
    alone = costs("smoke")["d32__tokenpacker__v9__s0"]
    assert found.evaluation_flops > 1.5 * alone.evaluation_flops


def test_benchmarks_belong_to_their_kind_of_study():
    for name, wrong, words in (
        ("smoke", "gqa", "'gqa' is of a study that has no world"),
        ("paper", "exist", "'exist' is of a study that needs a world"),
        ("paper", "vqav3", "'vqav3' is not in resources/benchmarks.csv"),
    ):
        raw = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
        raw["evaluation"]["benchmarks"] = [wrong]
        with pytest.raises(UserError, match=words):
            validate(raw, "x").count_questions()


@pytest.fixture
def cost():
    """The cost table of the default study, from the times kept of it."""
    kept = pd.read_csv(RESOURCES / "reference/mini/cost.csv").rename(columns={"stage": "kind"})
    kept["tokens_per_second"] = kept["tokens"] / kept["seconds"]
    kept = kept.assign(peak_memory_bytes=1, attempts=1, processes=1, gpu_hours=0.0)
    records = [{**record, "losses": [(2, 0.5)]} for record in kept.to_dict("records")]
    planned = pd.DataFrame(list_trainings(study("mini")))
    return cost_table(tabulate_trainings(records), planned)


def test_every_training_of_a_study_is_planned_once(cost):
    assert len(cost) == 27 + 47
    assert not cost[["run", "stage"]].duplicated().any()
    assert cost.notna().all(axis=None)


def test_predictions_share_out_the_measured_time(cost):
    assert cost["predicted_hours"].sum() == pytest.approx(cost["hours"].sum())
    ratio = cost["predicted_hours"] / cost["predicted_flops"]
    assert ratio.to_numpy() == pytest.approx(ratio[0])
    # What was seen: FLOPs foresee three quarters of the tiny trainings within a factor of two.
    assert cost["hours"].div(cost["predicted_hours"]).between(0.5, 2).mean() > 0.75


def test_the_figure_has_a_point_for_each_training(cost):
    (ax,) = draw(cost, title="mini").axes
    points = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    assert sum(len(line.get_xdata()) for line in points) == len(cost)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlabel() == "predicted seconds"
    (hours,) = draw(cost.assign(hours=cost["hours"] * 1000), title="large").axes
    assert hours.get_ylabel() == "measured hours"


def test_samples_of_steps_and_of_epochs():
    assert count_samples(Recipe(steps=7, batch_size=4, learning_rate=1), 20) == 28
    assert count_samples(Recipe(epochs=1.5, batch_size=4, learning_rate=1), 20) == 30
    made = Counts(scenes=10, pages=5, text=5)
    released = Dataset(dataset="llava_pretrain", samples=20, text_tokens=16)
    assert made.samples == released.samples == 20
    assert (made.images, released.images) == (15, 20)


def test_samples_of_budgets():
    """By hand from config/mini.yaml: 450 and 150 steps of 32; 7,000 of 8,200 samples have an image."""
    described = describe_samples(study("mini"), ["full", "short"])
    assert described["by_budget"] == {"full": 14_400, "short": 4_800}
    assert described["image_share"] == pytest.approx(7000 / 8200)
    mixed = sum(t["tokens"] for t in list_trainings(study("mini")) if t["stage"] == "stage2")
    by_hand = sum(
        samples * (described["text_tokens"] + described["image_share"] * run["visual_tokens"])
        for run in list_trainings(study("mini"))
        if run["stage"] == "stage2"
        for samples in [described["by_budget"][run["budget"]]]
    )
    assert by_hand == pytest.approx(mixed)
