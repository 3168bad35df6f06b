"""The real benchmarks through lmms-eval's own tasks: scores of given answers, worked out by hand."""

import csv
import json
from pathlib import Path

import lmms_eval.tasks
import pandas as pd
import pytest
from lmms_eval.api.model import lmms
from lmms_eval.utils import load_yaml_config

from vlmscale.analysis.collect import chance_levels, errors_table
from vlmscale.errors import UserError
from vlmscale.evaluation import fetch
from vlmscale.evaluation.run import ask, benchmark_files, evaluate
from vlmscale.evaluation.spec import EvaluationSpec, Setting, read_benchmarks
from vlmscale.evaluation.tasks import mathvista

from .benchmark_files import mme, people, picture, rotations, ten, write

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "resources/benchmarks.csv"
with TABLE.open(newline="") as file:
    REAL = [row["benchmark"] for row in csv.DictReader(file) if row["dataset"]]
BENCHMARKS = {asked.benchmark: asked for asked in read_benchmarks(TABLE, REAL)}
W = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."

# Of each benchmark: rows, the model's answers, the score of each, and what the metric makes of them.
GQA = {"imageId": "n1", "question": "What is it?", "answer": "dog"}
AI2D = {"question": "Which one?", "options": ["leaf", "stem", "root", "sun"], "answer": "1"}
MMMU = {"question": "Look at <image 1>.", "options": "['red', 'green', 'blue']", "answer": "B"}
MMMU["question_type"] = "multiple-choice"
OPEN = {"question": "How many in <image 1>?", "options": "[]", "question_type": "open"}
SQA = {"question": "Which?", "choices": ["cat", "dog"], "answer": 1, "hint": "", "solution": "x"}
ABOUT = {"split": "testmini", "skills": ["x"]}
CHOICE = {"question": "Which?", "question_type": "multi_choice", "answer_type": "text"}
CHOICE |= {"choices": ["3/11", "8/11", "6/11"], "answer": "8/11", "query": "q", "metadata": ABOUT}
FREE = {"question": "How much?", "question_type": "free_form", "query": "q", "metadata": ABOUT}
WHOLE = {**FREE, "answer_type": "integer", "answer": "14"}
REAL_NUMBER = {**FREE, "answer_type": "float", "precision": 1.0, "answer": "0.6"}
PAIR = {**FREE, "answer_type": "list", "answer": "[2007, 2008]"}
VQA = {"question": "Is it?", "multiple_choice_answer": "yes"}
WORDS = {"question": "What?", "multiple_choice_answer": "don't"}
TEXTVQA = {"question": "Which Brand?", "ocr_tokens": ["NOKIA", "3310"]}

CASES = {
    # Existence (2 images): 200 and 0 points of 200; colour (1): one of two right, 50 and no bonus; code 200.
    "mme": (
        [
            *mme("existence", ("Yes", "No.", 1), ("maybe", "yes", 0)),
            *mme("color", ("yes, it is", "Yes", None)),
            *mme("code_reasoning", ("y", "n", 1)),
        ],
        (100 + 50 + 200) / 2800,
    ),
    "mme_perception": (
        [
            *mme("existence", ("Yes", "No.", 1), ("maybe", "yes", 0)),
            *mme("code_reasoning", ("y", "n", "other")),
        ],
        100 / 2000,
    ),
    "gqa": (
        [
            ({"id": "1", **GQA}, "Dog.", 1),
            ({"id": "2", **GQA, "imageId": "n2"}, "a dog", 0),
            ({"id": "3", **GQA, "answer": "yes"}, "no", 0),
        ],
        1 / 3,
    ),
    "ai2d": (
        [
            (AI2D, "B", 1),
            (AI2D, "(B)", 1),
            (AI2D, "B. stem", 1),
            (AI2D, "The answer is B", 0),
            ({**AI2D, "answer": "0"}, "leaf", 0),
        ],
        3 / 5,
    ),
    # Right only if all rotations are: the first question once in two, the second always.
    "mmbench": (
        list(
            zip(
                [
                    *rotations(7, "AB", ["a red cup", "a blue cup"]),
                    *rotations(8, "ABCD", ["one", "two", "three", "four"], hint="Count."),
                    *rotations(9, "A", ["tall", "short"]),
                ],
                ["A", "A", "A", "(B) one", "one", "The answer is D", "???"],
                [1, 0, 1, 1, 1, 1, 0],
                strict=True,
            )
        ),
        1 / 3,
    ),
    "mmmu": (
        [
            ({"id": "validation_Art_1", **MMMU}, "B", 1),
            ({"id": "validation_Art_2", **MMMU}, "(A) or (B)", 1),
            ({"id": "validation_Math_1", **MMMU}, "nonsense", 0),
            ({"id": "validation_Math_2", **OPEN, "answer": "1,200"}, "It is 1200.", 1),
            ({"id": "validation_Math_3", **OPEN, "answer": "seven"}, "eight", 0),
        ],
        3 / 5,
    ),
    "scienceqa": (
        [(SQA, "b", 1), (SQA, "B. dog", 1), (SQA, "(B)", 0), ({**SQA, "answer": 0}, "The answer is A", 0)],
        2 / 4,
    ),
    "mathvista": (
        [
            ({"pid": "1", **CHOICE}, "B", 1),
            ({"pid": "2", **CHOICE}, "(B) 8/11", 1),
            ({"pid": "3", **CHOICE}, "6/11", 0),
            ({"pid": "4", **CHOICE}, "8 of 11", 0),  # the nearest by letters is the right one
            ({"pid": "5", **WHOLE}, "The number is 14.", 1),
            ({"pid": "6", **WHOLE}, "fourteen", 0),
            ({"pid": "7", **REAL_NUMBER}, "0.62", 1),
            ({"pid": "8", **PAIR}, "Between [2007,2008].", 1),
        ],
        5 / 8,
    ),
    # Pooled and exact: 2 hits, 1 false alarm, 1 miss by "No." counting as neither.
    "pope": (
        [
            ({"id": "0", "question": "Cat?", "answer": "yes", "category": "random"}, "Yes", 1),
            ({"id": "1", "question": "Dog?", "answer": "no", "category": "random"}, "yes", 0),
            ({"id": "2", "question": "Cup?", "answer": "yes", "category": "popular"}, "yes", 1),
            ({"id": "3", "question": "Car?", "answer": "no", "category": "popular"}, "No.", 0),
            ({"id": "4", "question": "Bus?", "answer": "yes", "category": "popular"}, "no", 0),
        ],
        2 * (2 / 3) * (2 / 3) / (4 / 3),
    ),
    # LLaVA's reading: random has precision 1/2 and recall 1, popular precision 1 and recall 1/2.
    "pope_mean": (
        [
            ({"id": "0", "question": "Cat?", "answer": "yes", "category": "random"}, "It is.", 1),
            ({"id": "1", "question": "Dog?", "answer": "no", "category": "random"}, "yes", 0),
            ({"id": "2", "question": "Cup?", "answer": "yes", "category": "popular"}, "yes", 1),
            ({"id": "3", "question": "Car?", "answer": "no", "category": "popular"}, "No, it", 1),
            ({"id": "4", "question": "Bus?", "answer": "yes", "category": "popular"}, "not", 0),
        ],
        2 / 3,
    ),
    "chartqa": (
        [
            ({"type": "human_test", "question": "?", "answer": "100"}, "104", 1),
            ({"type": "human_test", "question": "?", "answer": "10"}, "10%", 0),
            ({"type": "augmented_test", "question": "?", "answer": "0"}, "0.0", 0),
            ({"type": "augmented_test", "question": "?", "answer": "Peru"}, "peru", 1),
        ],
        2 / 4,
    ),
    "docvqa": (
        [
            ({"questionId": "1", "question": "?", "answers": ["Acme", "ACME Inc"]}, "acme", 1),
            ({"questionId": "2", "question": "?", "answers": ["1985"]}, "1986", 3 / 4),
            ({"questionId": "3", "question": "?", "answers": ["1985"]}, "20", 0),
        ],
        1.75 / 3,
    ),
    # Of ten answers one is left out in turn; three of the rest make it right.
    "textvqa": (
        [
            ({**TEXTVQA, "question_id": 1, "answers": ten(*["nokia"] * 4)}, "Nokia", 1),
            (
                {**TEXTVQA, "question_id": 2, "answers": ten("2", "2")},
                "two",
                (8 * 2 / 3 + 2 * 1 / 3) / 10,
            ),
            ({**TEXTVQA, "question_id": 3, "answers": ten()}, "me", 0),
        ],
        (1 + 0.6) / 3,
    ),
    "vizwiz": (
        [
            (
                {"question_id": "a", "question": "What?", "answers": ten(*["unanswerable"] * 5)},
                "Unanswerable",
                1,
            ),
            ({"question_id": "b", "question": "What?", "answers": ten("can")}, "a can", 0.9 / 3),
        ],
        1.3 / 2,
    ),
    "vqav2": (
        [
            ({**VQA, "question_id": 1, "answers": people(*["yes"] * 10)}, "yes", 1),
            ({**WORDS, "question_id": 2, "answers": people("don't", "don't")}, "dont", 0.6),
        ],
        1.6 / 2,
    ),
}  # fmt: skip


UNREAD = {
    "mmbench": {"???"},
    "mmmu": {"nonsense"},
    "mathvista": {"8 of 11", "fourteen"},
    "pope": {"No."},
    "pope_mean": {"It is.", "No, it", "not"},
}
# How lmms-eval puts the first of them.
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
    """Gives the answers that it is told, in the order of the questions; `asked` is what it was asked."""

    rank, world_size, device = 0, 1, "cpu"

    def __init__(self, answers):
        super().__init__()
        self.answers, self.asked, self.sizes = answers, {}, {}

    def generate_until(self, requests):
        said = []
        for request in requests:
            context, _, doc_to_visual, doc_id, task, split = request.args
            self.asked[doc_id] = context
            self.sizes[doc_id] = [
                i.size for i in doc_to_visual(self.task_dict[task][split][doc_id])
            ]
            said.append(self.answers[doc_id])
        return said

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Whoever looks for the network or a judge fails at once; keys there are none."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for key in ("OPENAI_API_KEY", "API_TYPE", "HF_TOKEN"):
        monkeypatch.delenv(key, raising=False)


def run(name, folder, rows, answers, protocol="lmms"):
    """Samples, row of scores, and the model that was asked."""
    asked, model = BENCHMARKS[name], Scripted(answers)
    write(asked, rows, folder)
    files = benchmark_files([asked], folder)[name]
    return *ask(model, asked, files, protocol, 4), model


@pytest.mark.parametrize("name", REAL)
def test_given_answers_have_the_scores_worked_out_by_hand(name, tmp_path):
    cases, expected = CASES[name]
    rows, answers, scores = zip(*cases, strict=True)
    samples, row, model = run(name, tmp_path, list(rows), list(answers))
    assert model.asked[0] == PROMPTS[name.partition("_")[0]]
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
    families = pd.Series({name: asked.family for name, asked in BENCHMARKS.items()})
    once = families.drop(["mme_perception", "pope_mean"])
    assert once.value_counts().to_dict() == {"reasoning": 9, "ocr": 2, "other": 2}


def test_the_table_agrees_with_the_tasks_of_lmms_eval():
    tasks = Path(lmms_eval.tasks.__file__).parent
    for asked in BENCHMARKS.values():
        name = "mathvista_testmini_format" if asked.benchmark == "mathvista" else asked.task
        (file,) = tasks.glob(f"*/{name}.yaml")
        theirs = load_yaml_config(yaml_path=str(file), mode="simple")
        mine = (asked.dataset, asked.config, asked.split)
        assert mine == (theirs["dataset_path"], theirs.get("dataset_name"), theirs["test_split"])


@pytest.fixture
def evaluated(build, tmp_path):
    """evaluated(benchmarks, data) -> samples and scores of an untrained model."""

    def evaluate_tiny(benchmarks, data):
        model, processor = build("quecc", 4)
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        setting = Setting(
            method="quecc", visual_tokens=4, options=dict(model.config.method_options)
        )
        spec = EvaluationSpec(
            model=tmp_path / "model",
            data=data,
            features=None,
            benchmarks=benchmarks,
            protocol="llava15",
            batch_size=8,
            cell={"cell": "tiny"},
            trained=setting,
            evaluated=setting,
            fingerprint="f",
            samples=tmp_path / "samples.parquet",
            scores=tmp_path / "scores.parquet",
        )
        evaluate(spec)
        return pd.read_parquet(spec.samples), pd.read_parquet(spec.scores)

    return evaluate_tiny


def test_generated_questions_go_the_same_way(evaluated, splits):
    names = ["exist", "char"]
    samples, scores = evaluated(read_benchmarks(TABLE, names), splits["test"])
    asked = [pd.read_parquet(splits["test"] / f"{name}.parquet") for name in names]
    for column, theirs in (("id", "id"), ("question", "question"), ("target", "answer")):
        assert samples[column].tolist() == pd.concat(asked)[theirs].tolist()
    means = samples.groupby("benchmark", sort=False)["score"].mean()
    assert scores.set_index("benchmark")["score"].to_dict() == means.to_dict()
    assert scores[["chance", "unparsed"]].isna().all(axis=None)
    share = asked[0]["answer"].value_counts(normalize=True).iloc[0]
    assert chance_levels(samples, scores).set_index("benchmark")["chance"]["exist"] == share


def test_a_tiny_model_answers_all_of_them(evaluated, tmp_path):
    names = [name for name in REAL if name not in ("mme_perception", "pope_mean")]
    benchmarks = read_benchmarks(TABLE, names)
    for asked in benchmarks:
        write(asked, [row for row, _, _ in CASES[asked.benchmark][0]], tmp_path / "data")
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
    chance = chance_levels(samples, scores).set_index("benchmark")["chance"]
    assert chance.between(0, 1, inclusive="left").all()
    assert chance[["mme", "pope"]].tolist() == [0.375, 0.6667]
    assert chance["vizwiz"] == 0.5  # one of two: "unanswerable"
    columns = {"run": "r", "llm": "tiny", "method": "quecc", "visual_tokens": 4, "seed": 0}
    cells = pd.DataFrame([{"cell": "tiny", **columns, "budget": "full", "role": "fit"}])
    errors = errors_table(cells, {"tiny": scores}, {"tiny": 1}, {"tiny": 1})
    assert errors["error"].between(0, 1).all()
    assert len(errors) == len(names) + 3


@pytest.mark.parametrize("name", ["textvqa", "mmbench", "gqa"])
def test_the_protocol_of_llava_differs_where_its_scripts_do(name, tmp_path):
    row = CASES[name][0][0][0]
    if name == "mmbench":
        row = {**row, "hint": "Look."}
    model = run(name, tmp_path, [row], ["A"], protocol="llava15")[2]
    assert (
        model.asked[0]
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
def test_what_the_rules_read_in_an_answer_to_mathvista(answer, kind, extracted):
    assert mathvista.extract(answer, kind, ["3/11", "8/11", "6/11"]) == extracted


def test_lmms_eval_would_refuse_the_decimals_of_mathvista():
    """Why we make an integer of them: when this fails, lmms-eval does so, too."""
    answer = ("0.62", None, "free_form", "float")
    normalise = mathvista._upstream().normalize_extracted_answer
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


def test_answering_always_the_same_has_the_chance_of_the_table(tmp_path):
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


def test_what_is_missing_or_of_another_kind_is_named(tmp_path):
    asked = BENCHMARKS["chartqa"]
    rows = [row for row, _, _ in CASES["chartqa"][0]]
    with pytest.raises(UserError, match=r"ChartQA/data holds no manifest"):
        benchmark_files([asked], tmp_path)
    write(asked, rows, tmp_path)
    with pytest.raises(UserError, match=r"ChartQA/data has no val-.*There are: test-00000"):
        benchmark_files([asked.model_copy(update={"split": "val"})], tmp_path)
    files = benchmark_files([asked], tmp_path)["chartqa"]
    with pytest.raises(UserError, match=r"reports no accuracy, only relaxed_.*column metric"):
        ask(
            Scripted(["1"] * 4),
            asked.model_copy(update={"metric": "relaxed_overall+accuracy"}),
            files,
            "lmms",
            4,
        )
    with pytest.raises(UserError, match="column type does not tell"):
        ask(Scripted(["1"] * 4), asked.model_copy(update={"id": "type"}), files, "lmms", 4)
    with pytest.raises(UserError, match=r"neither lmms-eval nor .* has a task chartqb"):
        ask(Scripted([]), asked.model_copy(update={"task": "chartqb"}), files, "lmms", 4)


class Hub:
    """Stands for the hub: `files` that it has, and what it was asked."""

    def __init__(self, files, monkeypatch):
        self.files, self.asked = files, []
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.download)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: self)

    def dataset_info(self, dataset):
        self.sha = "c0ffee"
        return self

    def download(self, dataset, *, repo_type, revision, local_dir, allow_patterns):
        self.asked.append((dataset, revision, allow_patterns))
        for name, content in self.files.items():
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_bytes(content)


def test_a_download_is_whole_recorded_and_not_repeated(tmp_path, monkeypatch):
    asked = BENCHMARKS["gqa"].model_copy(update={"questions": 3})
    rows = [row for row, _, _ in CASES["gqa"][0]]
    write(asked, rows, tmp_path / "hub")
    root = tmp_path / "hub" / asked.dataset
    files = {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*.parquet")}
    hub = Hub(files, monkeypatch)
    data = tmp_path / "data"
    fetch.fetch(asked, data)
    fetch.fetch(asked, data)
    folders = ["testdev_balanced_instructions", "testdev_balanced_images"]
    patterns = [f"{folder}/testdev-*.parquet" for folder in folders]
    assert hub.asked == [(asked.dataset, "c0ffee", patterns)]
    for folder in folders:
        manifest = json.loads((data / asked.dataset / folder / "manifest.json").read_text())
        assert manifest["revision"] == "c0ffee"
    assert len(benchmark_files([asked], data)["gqa"]) == 2
    # A pinned revision is what is asked for, and half a split is no split.
    hub.files = dict(list(files.items())[:1])
    with pytest.raises(UserError, match="at abc has no whole"):
        fetch.fetch(asked.model_copy(update={"revision": "abc"}), tmp_path / "half")


def test_files_that_were_copied_are_counted_and_not_fetched(tmp_path, monkeypatch):
    asked = BENCHMARKS["chartqa"]
    write(asked, [row for row, _, _ in CASES["chartqa"][0]], tmp_path)
    manifest = asked.folder(tmp_path) / "manifest.json"
    manifest.unlink()
    hub = Hub({}, monkeypatch)
    with pytest.raises(UserError, match="has 4 questions, not the 2500 of chartqa"):
        fetch.fetch(asked, tmp_path)
    assert not manifest.exists()
    fetch.fetch(asked.model_copy(update={"questions": 4}), tmp_path)
    assert json.loads(manifest.read_text())["revision"] is None
    assert hub.asked == []
