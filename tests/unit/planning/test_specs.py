"""What each job of a study is told, and what changes it."""

import json

import pytest

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.planning.specs import WITHOUT_EFFECT_ON_RESULTS, JobSpecs
from vlmscale.planning.trainings import estimate_answer_flops, estimate_features_gb, estimate_runs
from vlmscale.study.load import load_study
from vlmscale.study.schema import Exclude

SCRIPTS = ROOT / "workflow/scripts"


@pytest.fixture(scope="module")
def study_of():
    """study_of(config, **changes): a study of config/ with some keys replaced."""

    def read(name, **changes):
        return load_study(ROOT / f"config/{name}.yaml").model_copy(update=changes)

    return read


@pytest.fixture(scope="module")
def smoke(study_of):
    return JobSpecs(study_of("smoke"), SCRIPTS)


@pytest.fixture(scope="module")
def paper(study_of):
    return JobSpecs(study_of("paper"), SCRIPTS)


def test_specs_and_inputs_are_json(smoke):
    run, cell = next(iter(smoke.runs)), next(iter(smoke.cells))
    found = [
        *(smoke.stage_spec(stage, run) for stage in ("stage1", "stage2")),
        *(smoke.stage_inputs(stage, run) for stage in ("stage1", "stage2")),
        smoke.evaluation_spec(cell),
        smoke.evaluation_inputs(cell),
        smoke.latency_spec("d32"),
        smoke.method_settings(),
        smoke.result_fingerprints(),
    ]
    for spec in found:
        # A feature layer or a count that comes back as something else would rerun its job for ever.
        assert json.loads(json.dumps(spec, sort_keys=True)) == spec


def test_a_stage_is_told_its_setting_and_recipe_and_nothing_of_its_execution(smoke):
    spec = smoke.stage_spec("stage2", "d32__quecc__v4__s0")
    assert spec["kind"] == "stage2"
    assert spec["run"] == "d32__quecc__v4__s0"
    assert (spec["method"], spec["visual_tokens"], spec["seed"]) == ("quecc", 4, 0)
    assert spec["recipe"]["steps"] == smoke.study.stage2.steps
    assert "execution" not in spec["recipe"]


def test_budgets_share_stage_1_and_differ_in_the_recipe_of_stage_2(study_of):
    specs = JobSpecs(study_of("mini"), SCRIPTS)
    short = next(run for run in specs.runs.values() if run.budget == "short")
    assert short.run not in specs.trainings["stage1"]
    full = specs.stage_spec("stage2", short.stage1)
    assert full["recipe"] != specs.stage_spec("stage2", short.run)["recipe"]
    projector = f"results/mini/runs/{short.stage1}/stage1/projector.safetensors"
    for name in (short.run, short.stage1):
        assert specs.stage_inputs("stage2", name)["projector"] == projector
    assert "projector" not in specs.stage_inputs("stage1", short.stage1)


def test_seeds_have_samples_of_their_own_in_a_world_and_share_released_data(smoke, paper):
    smoke_run, paper_run = (next(iter(specs.runs)) for specs in (smoke, paper))
    assert smoke.stage_inputs("stage1", smoke_run)["data"] == "results/smoke/data/stage1_s0"
    assert paper.stage_inputs("stage1", paper_run)["data"] == "results/paper/data/stage1"


def test_features_are_read_where_they_are_stored(smoke, study_of):
    stored = smoke.study.vision_cache
    assert stored
    cell = next(cell for cell in smoke.cells.values() if cell.method == "mlp")
    assert smoke.evaluation_inputs(cell.cell)["features"] == "results/smoke/vision/test"
    without = JobSpecs(study_of("smoke", vision_cache=False), SCRIPTS)
    assert without.evaluation_inputs(cell.cell)["features"] == []


def test_released_benchmarks_are_read_as_pixels_though_trainings_read_stored_features(study_of):
    """Their images are in lmms-eval's own files: there is no split of samples to encode."""
    stage1 = study_of("paper").stage1.model_copy(update={"aspect": "pad"})
    study = study_of("paper", vision_cache=True, stage1=stage1)
    specs = JobSpecs(study, SCRIPTS)
    run = next(iter(specs.runs.values()))
    for stage, name in (("stage1", run.stage1), ("stage2", run.run)):
        assert specs.stage_inputs(stage, name)["features"] == f"results/paper/vision/{stage}"
    assert {tuple(specs.evaluation_inputs(name)["features"]) for name in specs.cells} == {()}
    # Costs agree: the tower runs in an evaluation and not in a training; no disk for benchmarks.
    plain = JobSpecs(study_of("paper"), SCRIPTS)
    cell = next(iter(specs.cells.values()))
    assert estimate_answer_flops(study, cell) == estimate_answer_flops(plain.study, cell)
    with_tower, without = (
        estimate_runs(one.study, one.study.count_questions())[0].training_flops
        for one in (plain, specs)
    )
    assert without < with_tower
    images = study.data.stage1.images + study.data.stage2.images
    assert estimate_features_gb(study) == pytest.approx(images * 577 * 4 * 1024 * 4 / 1e9)


def test_a_cell_is_told_its_own_setting_and_that_of_its_run(smoke):
    cell = smoke.cells["d32__repeat__v16__s0"]
    spec = smoke.evaluation_spec(cell.cell)
    assert spec["evaluated"]["method"] == "repeat"
    assert spec["trained"] == smoke.setting(smoke.runs[cell.run]) != spec["evaluated"]
    assert smoke.evaluation_inputs(cell.cell)["model"].endswith(f"{cell.run}/stage2/model")


def test_latency_times_each_setting_of_an_llm_once(paper):
    spec = paper.latency_spec("Qwen1.5-0.5B")
    timed = [(each["name"], each["visual_tokens"]) for each in spec["settings"]]
    mine = [cell for cell in paper.cells.values() if cell.llm == "Qwen1.5-0.5B"]
    assert len(timed) == len(set(timed)) == len(mine) / 3  # three seeds
    assert set(timed) == {(cell.method, cell.visual_tokens) for cell in mine}


def test_a_fingerprint_is_of_the_code_of_one_method(smoke):
    quecc, mlp = smoke.training_fingerprint("quecc"), smoke.training_fingerprint("mlp")
    assert quecc != mlp
    assert quecc == smoke.training_fingerprint("quecc")
    found = smoke.result_fingerprints()
    assert set(found) == {"evaluate_cell", "train_stage1", "train_stage2"}
    assert set(found["evaluate_cell"]) == set(smoke.cells)
    assert found["train_stage1"]["d32__quecc__v4__s0"] == quecc


def test_a_fingerprint_does_not_depend_on_where_the_scripts_lie(smoke, tmp_path):
    for script in SCRIPTS.glob("*.py"):
        (tmp_path / script.name).write_text(script.read_text())
    moved = JobSpecs(smoke.study, tmp_path)
    assert moved.result_fingerprints() == smoke.result_fingerprints()


def test_every_training_has_a_checkpoint_folder_of_its_own(smoke):
    records = smoke.checkpoint_records()
    trainings = sum(map(len, smoke.trainings.values()))
    assert len(records) == len(set(records.values())) == trainings + 1 + len(smoke.study.llms)
    folder = smoke.checkpoint_folder("stage2", "d32__quecc__v4__s0")
    assert folder.endswith(smoke.training_fingerprint("quecc"))
    assert records[folder] == "results/smoke/runs/d32__quecc__v4__s0/stage2/run.json"


def test_execution_has_what_the_config_chooses(study_of):
    specs = JobSpecs(study_of("table1"), SCRIPTS)
    chosen = specs.study.stage2.execution.model_dump(exclude_defaults=True)
    assert chosen.pop("activation_checkpointing") == "auto", "a request says what planning chose"
    assert specs.execution("stage2") == {name: int(value) for name, value in chosen.items()}
    assert all(type(value) is int for value in specs.execution("stage2").values())


def test_stored_features_have_the_precision_of_both_stages(study_of):
    paper = study_of("paper")
    assert JobSpecs(paper, SCRIPTS).encoding_precision() == {"precision": "bf16"}
    first = paper.stage1.model_copy(update={"precision": "fp32"})
    mixed = paper.model_copy(update={"stage1": first})
    assert JobSpecs(mixed, SCRIPTS).encoding_precision() == {}


def test_what_changes_no_result_is_left_out_of_a_dump(study_of):
    study = study_of("smoke")
    other = study.model_copy(
        update={"latency": not study.latency, "cluster": study_of("paper").cluster}
    )
    dumps = [s.model_dump(mode="json", exclude=WITHOUT_EFFECT_ON_RESULTS) for s in (study, other)]
    assert dumps[0] == dumps[1]
    assert "execution" not in dumps[0]["stage1"]


def test_a_grid_without_cells_is_refused(study_of):
    with pytest.raises(UserError, match="every cell is excluded"):
        JobSpecs(study_of("smoke", exclude=(Exclude(),)), SCRIPTS)


def test_jobs_are_told_the_size_of_a_towers_images_only_where_one_is_chosen(paper, study_of):
    """So a study that chooses none runs nothing again."""
    run = next(iter(paper.runs))
    size = study_of("paper").tower.model_copy(update={"image_size": 448})
    larger = JobSpecs(study_of("paper", tower=size), SCRIPTS)
    llm = next(iter(paper.study.llms))
    for specs, chosen in ((paper, None), (larger, 448)):
        told = (specs.tower_settings(), specs.stage_spec("stage2", run), specs.latency_spec(llm))
        assert [spec.get("image_size") for spec in told] == [chosen] * 3
        assert ("image_size" in told[1]) == (chosen is not None)


def test_jobs_are_told_the_layout_of_prompts_only_where_it_is_not_the_default(paper, study_of):
    run, cell = next(iter(paper.runs)), next(iter(paper.cells))
    text_first = JobSpecs(study_of("paper", prompt_layout="text_first"), SCRIPTS)
    for specs, chosen in ((paper, None), (text_first, "text_first")):
        told = (specs.stage_spec("stage1", run), specs.evaluation_spec(cell))
        assert [spec.get("prompt_layout") for spec in told] == [chosen] * 2
