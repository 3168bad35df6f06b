"""lmms-eval's own tasks score given answers as worked out by hand."""

import json
from pathlib import Path

import lmms_eval.tasks
import pandas as pd
import pytest
from lmms_eval.utils import load_yaml_config

from tests.support.benchmark_cases import AI2D, CASES, CHOICE, MMMU, SQA
from tests.support.benchmark_files import mme, picture, rotations
from tests.support.scripted import BENCHMARKS, REAL, run
from vlmscale.evaluation.tasks import mathvista

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline")]
W = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
UNREAD = {
    "mmbench": {"???"},
    "mmmu": {"nonsense"},
    "mathvista": {"8 of 11", "many"},
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
        ("The answer is 8/11.", "text", "(B)"),
        ("1,234 of them", "integer", "1234"),
        ("3/4", "float", "0.75"),
        ("so [0.5, 1].", "list", "[0.5, 1]"),
    ],
)
def test_rules_read_answers_to_mathvista(answer, kind, extracted):
    assert mathvista.extract(answer, kind, ["3/11", "8/11", "6/11"]) == extracted
    assert mathvista.extract("", kind, ["3/11", "8/11", "6/11"]) is None


LETTERS = ["B", "b", "B.", "(B)", "B. {text}", "{text}", "**B**", "Answer: B", "The answer is B"]
YES = ["yes", "Yes", "Yes.", "**Yes**", "Yes, it is.", "The answer is yes"]
# A question whose answer is `text`, option B, and which forms of it count as right. But for MathVista, whose
# rules are ours, these are the rules that published scores were made with: they stay as they are.
FORMS = {
    "ai2d": ({**AI2D}, "stem", {"B", "b", "B.", "(B)", "B. {text}", "**B**"}),
    "scienceqa": ({**SQA}, "dog", {"B", "b", "B.", "B. {text}"}),
    "mmbench": ({}, "a blue cup", {*LETTERS} - {"b"}),
    "mmmu": ({**MMMU}, "green", {*LETTERS} - {"b", "{text}", "**B**"}),
    "mathvista": ({**CHOICE}, "8/11", {*LETTERS}),
    "pope": ({"question": "Cat?", "answer": "yes", "category": "random"}, "", {"yes", "Yes"}),
    "pope_mean": ({"question": "Cat?", "answer": "yes", "category": "random"}, "", {*YES}),
    "mme_perception": ({}, "", {"yes", "Yes", "Yes.", "Yes, it is."}),
}


@pytest.mark.parametrize("name", FORMS)
def test_these_forms_of_an_answer_are_read(name, tmp_path):
    question, text, read = FORMS[name]
    forms = LETTERS if text else YES
    answers = [form.format(text=text) for form in forms]
    ids = dict.fromkeys(("id", "pid"), "")
    rows = [{**question, **dict.fromkeys(ids, f"validation_Art_{i}")} for i in range(len(forms))]
    if name == "mmbench":
        rows = [rotations(i, "B", ["a red cup", text])[0] for i in range(len(forms))]
    if name == "mme_perception":
        rows = [row for row, _, _ in mme("color", *[("Yes", "No", None)] * len(forms))]
        answers = [answer for each in answers for answer in (each, "no")]
    scores = run(name, tmp_path, rows, answers)[0]["score"].tolist()[:: len(rows) // len(forms)]
    assert {form for form, score in zip(forms, scores, strict=True) if score} == read


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
