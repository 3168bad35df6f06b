"""A cell is evaluated on every benchmark, and what cannot be scored is named."""

import pandas as pd
import pytest

from tests.support.benchmark_cases import CASES
from tests.support.benchmark_files import write
from tests.support.scripted import BENCHMARKS, REAL, Scripted
from vlmscale.analysis.collect import tabulate_chance, tabulate_errors
from vlmscale.errors import UserError
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import evaluate, score_benchmark
from vlmscale.evaluation.spec import EvaluationSpec, read_benchmarks
from vlmscale.methods import find_method
from vlmscale.training.stages import train_stage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline")]


@pytest.fixture
def evaluated(build, tmp_path):
    """evaluated(benchmarks, data) -> samples and scores of an untrained model."""

    def evaluate_tiny(benchmarks, data):
        model, processor = build("quecc", 4)
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        spec = EvaluationSpec(
            model=tmp_path / "model",
            data=data,
            features=None,
            benchmarks=benchmarks,
            protocol="llava15",
            batch_size=8,
            cell={"cell": "tiny"},
            trained=model.config.setting,
            evaluated=model.config.setting,
            fingerprint="f",
            samples=tmp_path / "samples.parquet",
            scores=tmp_path / "scores.parquet",
        )
        evaluate(spec)
        return pd.read_parquet(spec.samples), pd.read_parquet(spec.scores)

    return evaluate_tiny


def test_scores_generated_questions_the_same_way(evaluated, splits):
    names = ["exist", "char"]
    samples, scores = evaluated(read_benchmarks(names), splits["test"])
    benchmark = [pd.read_parquet(splits["test"] / f"{name}.parquet") for name in names]
    for column, theirs in (("id", "id"), ("question", "question"), ("target", "answer")):
        assert samples[column].tolist() == pd.concat(benchmark)[theirs].tolist()
    means = samples.groupby("benchmark", sort=False)["score"].mean()
    assert scores.set_index("benchmark")["score"].to_dict() == means.to_dict()
    assert scores[["chance", "unparsed"]].isna().all(axis=None)
    share = benchmark[0]["answer"].value_counts(normalize=True).iloc[0]
    assert tabulate_chance(samples, scores).set_index("benchmark")["chance"]["exist"] == share


@pytest.mark.filterwarnings("ignore:prompts .* have words that the model's tokenizer")
def test_a_tiny_model_answers_all_of_them(evaluated, tmp_path):
    names = [name for name in REAL if name not in ("mme_perception", "pope_mean")]
    benchmarks = read_benchmarks(names)
    for benchmark in benchmarks:
        write(benchmark, [row for row, _, _ in CASES[benchmark.benchmark][0]], tmp_path / "data")
    samples, scores = evaluated(benchmarks, tmp_path / "data")
    assert scores["benchmark"].tolist() == names
    assert scores["score"].between(0, 1).all()
    assert samples["score"].between(0, 1).all()
    counts = samples["benchmark"].value_counts()
    assert counts.to_dict() == {name: len(CASES[name][0]) for name in names}
    assert not samples.duplicated(["benchmark", "id"]).any()
    ruled = {"mmbench", "mmmu", "mathvista", "pope"}
    assert set(scores.loc[scores["unparsed"].notna(), "benchmark"]) == ruled
    # Every number of the tables downstream is there, and chance stands beside every score.
    chance = tabulate_chance(samples, scores).set_index("benchmark")["chance"]
    assert chance.between(0, 1, inclusive="left").all()
    assert chance[["mme", "pope"]].tolist() == [0.375, 0.6667]
    assert chance["vizwiz"] == 0.5  # one of two: "unanswerable"
    columns = {"run": "r", "llm": "tiny", "method": "quecc", "visual_tokens": 4, "seed": 0}
    cells = pd.DataFrame([{"cell": "tiny", **columns, "budget": "full", "role": "fit"}])
    errors = tabulate_errors(
        cells, {"tiny": scores}, {"total": {"tiny": 1}}, axis="total", protocols={"tiny": "lmms"}
    )
    assert errors["error"].between(0, 1).all()
    assert set(errors.loc[errors["unparsed"].notna(), "benchmark"]) == ruled
    assert len(errors) == len(names) + 3


def test_names_missing_files_metrics_ids_and_tasks(tmp_path):
    benchmark = BENCHMARKS["chartqa"]
    rows = [row for row, _, _ in CASES["chartqa"][0]]
    with pytest.raises(UserError, match=r"ChartQA/data has no manifest"):
        find_question_files([benchmark], tmp_path)
    write(benchmark, rows, tmp_path)
    with pytest.raises(UserError, match=r"ChartQA/data has no val-.*There are: test-00000"):
        find_question_files([benchmark.model_copy(update={"split": "val"})], tmp_path)
    files = find_question_files([benchmark], tmp_path)["chartqa"]
    with pytest.raises(UserError, match=r"reports no accuracy, only relaxed_.*column metric"):
        score_benchmark(
            Scripted(["1"] * 4),
            benchmark.model_copy(update={"metric": "relaxed_overall+accuracy"}),
            files,
            "lmms",
            4,
        )
    with pytest.raises(UserError, match="column type is not unique"):
        score_benchmark(
            Scripted(["1"] * 4), benchmark.model_copy(update={"id": "type"}), files, "lmms", 4
        )
    with pytest.raises(UserError, match=r"neither lmms-eval nor .* has a task chartqb"):
        score_benchmark(
            Scripted([]), benchmark.model_copy(update={"task": "chartqb"}), files, "lmms", 4
        )


def test_an_evaluation_refuses_a_model_of_another_layout(spec, splits, tmp_path):
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-2}
    run = spec("text_first", method="quecc", recipe=recipe)
    train_stage(run.model_copy(update={"prompt_layout": "text_first"}))
    setting = find_method("quecc").make_setting(4)
    values = {
        "model": run.output,
        "data": splits["test"],
        "features": None,
        "benchmarks": read_benchmarks(["exist"]),
        "protocol": "lmms",
        "batch_size": 8,
        "cell": {"cell": "tiny"},
        "trained": setting,
        "evaluated": setting,
        "fingerprint": "f",
        "samples": tmp_path / "samples.parquet",
        "scores": tmp_path / "scores.parquet",
    }
    with pytest.raises(UserError, match="trained with prompt_layout text_first, not image_first"):
        evaluate(EvaluationSpec(**values))
    evaluate(EvaluationSpec(**values, prompt_layout="text_first"))
    assert (tmp_path / "scores.parquet").exists()
