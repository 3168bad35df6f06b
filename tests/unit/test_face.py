"""`import vlmscale as vs`: the numbers of the command line, without torch."""

import subprocess
import sys

import pandas as pd
import pytest

import vlmscale as vs
from tests.support.cli import REASONING, call, call_json, read_scores
from tests.support.paths import ROOT
from vlmscale.jobs.fingerprint import find_imported_modules
from vlmscale.resources import find_resource


def test_importing_it_imports_nothing_and_torch_is_not_needed():
    code = (
        "import sys, vlmscale as vs\n"
        "assert 'pandas' not in sys.modules and set(vs.__all__) <= set(dir(vs))\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None  # as if not installed\n"
        "for name in vs.__all__: getattr(vs, name)\n"
        "try: vs.load_model('folder')\n"
        "except vs.UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'vlmscale[train]'" in done.stdout
    # every module that a job runs has this package as its parent
    assert find_imported_modules(["vlmscale"]) == {"vlmscale"}


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(vs, "fit_law")


def test_recommends_what_the_command_recommends():
    found = vs.recommend(gflops=2000, text_tokens=20, sizes=["Qwen1.5-4B", 7], token_counts=[4, 16])
    arguments = ("recommend", "--gflops", 2000, "--text-tokens", 20)
    arguments += ("--sizes", "Qwen1.5-4B,7", "--token-counts", "4,16")
    report = call_json(*arguments)
    assert dict(found.choice) == report["choice"]
    assert found.choices.to_dict("records") == report["choices"]
    assert found.continuous == report["continuous"]
    assert (repr(found), found.warnings) == (call(*arguments), report["warnings"])


def test_recommends_by_tables_in_memory_as_by_files(tmp_path):
    scores = read_scores()
    scores.to_csv(tmp_path / "scores.csv")
    times = pd.DataFrame({"llm": ["4", "4", "7"], "visual_tokens": [1, 101, 1]})
    times["latency_ms"] = [12, 22, 40]
    times.to_parquet(tmp_path / "times.parquet")
    by_table = vs.recommend(latency_ms=30, latencies=times, scores=scores)
    by_file = vs.recommend(
        latency_ms=30, latencies=tmp_path / "times.parquet", scores=str(tmp_path / "scores.csv")
    )
    assert by_table.choices.equals(by_file.choices)
    assert by_table.law["source"] == "the table"
    with pytest.raises(vs.UserError, match="the table: column 'score' or 'error' is missing"):
        vs.recommend(gflops=9, scores=scores.drop(columns="score"))


def test_arguments_that_exclude_each_other():
    with pytest.raises(vs.UserError, match="give one of gflops and latency_ms"):
        vs.recommend()
    with pytest.raises(vs.UserError, match="'maths': released scores are of reasoning and ocr"):
        vs.recommend(gflops=10, family="maths")
    with pytest.raises(ValueError, match="cost exact counts GFLOPs"):
        vs.recommend(latency_ms=10, latencies=pd.DataFrame(), cost="exact")


def test_fits_what_the_command_fits():
    scores = read_scores()
    law = vs.fit_power_law(scores.assign(error=1 - scores["score"]))
    (fit,) = call_json("fit", REASONING, "--draws", 0)["fits"]
    assert (law.alpha, law.beta, law.floor) == tuple(
        fit["law"][name] for name in ("alpha", "beta", "floor")
    )


@pytest.mark.slow
def test_audits_what_the_command_audits():
    one = vs.audit(claim="c13")
    assert one["id"].tolist() == ["C13"]
    assert call_json("audit", "--claim", "C13")["claims"][0]["verdict"] == one["verdict"].iloc[0]


def test_loads_a_study():
    assert vs.load_study(str(ROOT / "config/smoke.yaml")).study == "smoke"


def test_resources_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_resource("published/reasoning_scores.csv") == REASONING
