"""What the measurements in resources/measured show, and that the pages about them are up to date."""

import pandas as pd
import pytest
from benchmarks.pages import PAGES, read_measured, write_tables

from tests.support.paths import ROOT
from vlmscale.planning.trainings import list_trainings
from vlmscale.records.parquet import read_provenance
from vlmscale.study.load import load_study


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_up_to_date(page):
    assert write_tables(page.read_text()) == page.read_text(), "run python benchmarks/pages.py"


def test_whole_studies_are_half_as_fast_again():
    table = read_measured("speed_studies")
    new = table[table["checkout"] == "new"]
    assert set(new["target"]) == {"run", "smoke"}
    assert (new["times_seconds"] >= 1.5).all()


def test_training_steps_are_faster_than_plain_llava_and_near_the_ideal():
    table = read_measured("speed_training")
    ours = table[table["model"] != "plain LLaVA"]
    assert (ours.loc[ours["visual_tokens"] == 576, "ratio"] >= 1).all()
    assert (ours.loc[ours["visual_tokens"] <= 36, "of_ideal"] >= 0.8).all()


def test_loading_takes_less_than_a_tenth_of_a_step():
    assert (read_measured("speed_loading")[["first_share", "again_share"]] < 0.1).all(axis=None)


def test_one_worker_loads_fewer_photographs_than_a_gpu_takes():
    trainings = pd.DataFrame(list_trainings(load_study(ROOT / "config/paper.yaml")))
    one = trainings.query(
        "llm == 'Qwen1.5-0.5B' and method == 'tokenpacker' and visual_tokens == 1"
    )
    one = one.drop_duplicates("stage").set_index("stage")
    taken = 0.4 * 312e12 / (one["flops"] / one["samples"])
    assert taken.round(-1).to_dict() == {"stage1": 270, "stage2": 100}
    loaded = read_measured("speed_photographs").set_index("workers")["samples_per_second"]
    assert loaded[1] < taken.min()


def test_questions_get_the_same_answers_in_half_the_time():
    table = read_measured("speed_evaluation")
    assert (table["same_answers"] == 1).all()
    assert table["ratio"].max() >= 2


def test_projectors_are_within_one_percent_of_the_released_code():
    assert (read_measured("speed_compressors")["ratio"] > 0.985).all()


def test_removing_tokens_is_faster_than_hiding_them_and_answers_alike():
    table = read_measured("speed_pruning")
    assert table["removed"].min() == 64
    assert (table["ratio"] > 1).all()
    assert (table.loc[table["removed"] >= 128, "ratio_low"] > 1).all()
    assert (table["same_answers"] == 1).all()
    assert table["bytes_share"].max() < 0.9


def test_measurements_say_on_what_they_were_made():
    for file in sorted((ROOT / "src/vlmscale/resources/measured").glob("*.parquet")):
        about = read_provenance(file, required=False)
        assert about["versions"], file
        assert about.get("device") or about.get("processor"), file
