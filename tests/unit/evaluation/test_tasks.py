"""lmms-eval's own tasks score given answers as worked out by hand."""

import csv
import json
from pathlib import Path

import lmms_eval.tasks
import pandas as pd
import pytest
from lmms_eval.api.model import lmms
from lmms_eval.utils import load_yaml_config

from tests.support.benchmark_cases import CASES, MMMU
from tests.support.benchmark_files import mme, picture, rotations, write
from tests.support.paths import ROOT
from vlmscale.analysis.collect import tabulate_chance, tabulate_errors
from vlmscale.errors import UserError
from vlmscale.evaluation.run import evaluate, find_question_files, score_benchmark
from vlmscale.evaluation.spec import EvaluationSpec, read_benchmarks
from vlmscale.evaluation.tasks import mathvista

pytestmark = pytest.mark.slow
TABLE = ROOT / "src/vlmscale/resources/benchmarks.csv"
with TABLE.open(newline="") as file:
    REAL = [row["benchmark"] for row in csv.DictReader(file) if row["dataset"]]
BENCHMARKS = {benchmark.benchmark: benchmark for benchmark in read_benchmarks(TABLE, REAL)}
W = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."

UNREAD = {
    "mmbench": {"???"},
    "mmmu": {"nonsense"},
    "mathvista": {"8 of 11", "fourteen"},
    "pope": {"No."},
    "pope_mean": {"It is.", "No, it", "not"},
}
# lmms-eval's prompt of the first question.
PROMPTS = {
    "mme": f"Is it Yes?{W}",
    "gqa": f"What is it?{W}",
    "ai2d": f"Which one?\nA. leaf\nB. stem\nC. root\nD. sun{LETTER}",
    "mmbench": "question 7? There are several options:\nA. a red cup\nB. a blue cup\n" + LETTER,
    "mmmu": f"Look at <image 1>.\nA. red\nB. green\nC. blue\n{LETTER}",
    "scienceqa": f"Which?\nA. cat\nB. dog{LETTER}",
    "mathvista": f"Which?\nA. 3/11\nB. 8/11\nC. 6/11{LETTER}",
    "pope": f"Cat?{W}",
    "chartqa": "?\nAnswer the question with a single word.",
    "docvqa": f"?{W}",
    "textvqa": f"Which brand?{W}",  # lmms-eval's capitals
    "vizwiz": "What?\nWhen the provided information is insufficient, respond with "
    f"'Unanswerable'.{W}",
    "vqav2": f"Is it?{W}",
}


class Scripted(lmms):
    """Gives these answers, in the order of the questions; `prompts` and `sizes` are what it was shown."""

    rank, world_size, device = 0, 1, "cpu"

    def __init__(self, answers):
        super().__init__()
        self.answers, self.prompts, self.sizes = answers, {}, {}

    def generate_until(self, requests):
        given = []
        for request in requests:
            context, _, doc_to_visual, doc_id, task, split = request.args
            self.prompts[doc_id] = context
            self.sizes[doc_id] = [
                i.size for i in doc_to_visual(self.task_dict[task][split][doc_id])
            ]
            given.append(self.answers[doc_id])
        return given

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Connections fail at once, and there are no keys for a judge."""

    def refuse(*args, **kwargs):
        raise AssertionError("no network in this test")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for key in ("OPENAI_API_KEY", "API_TYPE", "HF_TOKEN"):
        monkeypatch.delenv(key, raising=False)


def run(name, folder, rows, answers, protocol="lmms"):
    """Samples, row of scores, and the model that answered."""
    benchmark, model = BENCHMARKS[name], Scripted(answers)
    write(benchmark, rows, folder)
    files = find_question_files([benchmark], folder)[name]
    return *score_benchmark(model, benchmark, files, protocol, 4), model


@pytest.mark.parametrize("name", REAL)
def test_scores_given_answers_as_by_hand(name, tmp_path):
    cases, expected = CASES[name]
    rows, answers, scores = zip(*cases, strict=True)
    samples, row, model = run(name, tmp_path, list(rows), list(answers))
    assert model.prompts[0] == PROMPTS[name.partition("_")[0]]
    if name == "mme":  # a pair's score is in points; what each answer is worth is right or wrong
        scores = [1, 1, 0, 0, 1, 0, 1, 1]
    elif name == "mme_perception":
        scores = [1, 1, 0, 0]
    assert samples["score"].tolist() == pytest.approx(scores)
    assert row["score"] == pytest.approx(expected, abs=1e-5)  # MMMU is rounded by its authors
    assert row["n"] == len(samples) == len(scores)
    assert samples["answer"].tolist() == list(answers)[: len(scores)]
    assert samples["question"].tolist() == [r["question"] for r in rows][: len(scores)]
    assert samples["id"].is_unique
    # The share of answers that no rule reads, where there are rules.
    if name in UNREAD:
        assert set(samples.loc[~samples["parsed"], "answer"]) == UNREAD[name]
        assert row["unparsed"] == pytest.approx(len(UNREAD[name]) / len(rows))
    else:
        assert row["unparsed"] is None


def test_every_benchmark_of_the_table_has_a_case():
    assert set(CASES) == set(REAL)
    families = pd.Series({name: benchmark.family for name, benchmark in BENCHMARKS.items()})
    once = families.drop(["mme_perception", "pope_mean"])
    assert once.value_counts().to_dict() == {"reasoning": 9, "ocr": 2, "other": 2}


def test_the_table_agrees_with_the_tasks_of_lmms_eval():
    tasks = Path(lmms_eval.tasks.__file__).parent
    for benchmark in BENCHMARKS.values():
        name = "mathvista_testmini_format" if benchmark.benchmark == "mathvista" else benchmark.task
        (file,) = tasks.glob(f"*/{name}.yaml")
        theirs = load_yaml_config(yaml_path=str(file), mode="simple")
        mine = (benchmark.dataset, benchmark.config, benchmark.split)
        assert mine == (theirs["dataset_path"], theirs.get("dataset_name"), theirs["test_split"])


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
    samples, scores = evaluated(read_benchmarks(TABLE, names), splits["test"])
    benchmark = [pd.read_parquet(splits["test"] / f"{name}.parquet") for name in names]
    for column, theirs in (("id", "id"), ("question", "question"), ("target", "answer")):
        assert samples[column].tolist() == pd.concat(benchmark)[theirs].tolist()
    means = samples.groupby("benchmark", sort=False)["score"].mean()
    assert scores.set_index("benchmark")["score"].to_dict() == means.to_dict()
    assert scores[["chance", "unparsed"]].isna().all(axis=None)
    share = benchmark[0]["answer"].value_counts(normalize=True).iloc[0]
    assert tabulate_chance(samples, scores).set_index("benchmark")["chance"]["exist"] == share


def test_a_tiny_model_answers_all_of_them(evaluated, tmp_path):
    names = [name for name in REAL if name not in ("mme_perception", "pope_mean")]
    benchmarks = read_benchmarks(TABLE, names)
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


@pytest.mark.parametrize("name", ["textvqa", "mmbench", "gqa"])
def test_the_protocol_of_llava_differs_where_its_scripts_do(name, tmp_path):
    row = CASES[name][0][0][0]
    if name == "mmbench":
        row = {**row, "hint": "Look."}
    model = run(name, tmp_path, [row], ["A"], protocol="llava15")[2]
    assert (
        model.prompts[0]
        == {
            "textvqa": f"Which brand?\nReference OCR token: NOKIA, 3310{W}",
            "mmbench": f"Look.\nquestion 7?\nA. a red cup\nB. a blue cup{LETTER}",
            "gqa": PROMPTS["gqa"],
        }[name]
    )


@pytest.mark.parametrize(
    ("answer", "kind", "extracted"),
    [
        ("8/11", "text", "(B)"),
        ("b.", "text", "(B)"),
        ("(C) 6/11", "text", "(C)"),
        ("The answer is B", "text", "(B)"),
        ("Option B", "text", "(B)"),
        ("(A) or (B)", "text", None),
        ("A man", "text", None),  # an article
        ("E", "text", None),  # there is no such option
        ("", "text", None),
        ("1,234 of them", "integer", "1234"),
        ("between 2-3", "integer", "3"),
        ("-5", "integer", "-5"),
        ("none", "integer", None),
        ("so [0.5, 1].", "list", "[0.5, 1]"),
        ("[1, 2", "list", None),
    ],
)
def test_rules_read_answers_to_mathvista(answer, kind, extracted):
    assert mathvista.extract(answer, kind, ["3/11", "8/11", "6/11"]) == extracted


def test_lmms_eval_would_refuse_the_decimals_of_mathvista():
    """Why we make an integer of them: when this fails, lmms-eval does so, too."""
    answer = ("0.62", None, "free_form", "float")
    normalise = mathvista.load_evaluator().normalize_extracted_answer
    assert normalise(*answer, 1.0) is None
    assert normalise(*answer, 1) == "0.6"


def test_no_answer_is_guessed(tmp_path):
    """Nonsense scores nothing, whereas a random option in its place would be right one time in three."""
    rows = [{**MMMU, "id": f"validation_Art_{i}"} for i in range(30)]
    samples, row, _ = run("mmmu", tmp_path, rows, ["hm"] * 30)
    assert row["score"] == samples["score"].sum() == 0
    assert row["unparsed"] == 1


def test_several_images_of_a_question_are_joined(tmp_path):
    rows = [
        {**MMMU, "id": "validation_Art_1"},
        {**MMMU, "id": "validation_Art_2", "question": "<image 1> or <image 2>?"},
    ]
    rows[1]["image_2"] = picture(200)
    model = run("mmmu", tmp_path, rows, ["A", "A"])[2]
    assert model.sizes == {0: [(24, 24)], 1: [(48, 24)]}


def test_a_whole_pair_of_mme_is_needed(tmp_path):
    rows = [row for row, _, _ in mme("color", ("yes", "no", 1))]
    with pytest.raises(AssertionError, match="pairwise"):
        run("mme", tmp_path, rows[:1], ["yes"])


def test_constant_answers_score_the_chance_of_the_table(tmp_path):
    rows = [row for row, _, _ in CASES["mme"][0]]
    details = json.loads(run("mme", tmp_path / "mme", rows, ["yes"] * 8)[1]["details"])
    # 50 points of 200 in each category; guessing has 75, which is the table's.
    assert details == {"mme_perception_score": 100, "mme_cognition_score": 50}
    row = {"question": "Cat?", "category": "random"}
    pairs = [{**row, "id": str(i), "answer": a} for i, a in enumerate(["yes", "no"] * 3)]
    for name in ("pope", "pope_mean"):
        score = run(name, tmp_path / name, pairs, ["yes"] * 6)[1]["score"]
        assert score == pytest.approx(BENCHMARKS[name].chance, abs=1e-4)
    turned = rotations(1, "AB", ["x", "y"]) + rotations(2, "ABC", ["x", "y", "z"])
    assert run("mmbench", tmp_path / "mmbench", turned, ["A"] * 5)[1]["score"] == 0


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
