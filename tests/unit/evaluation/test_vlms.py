"""Released VLMs answer through lmms-eval's own adapters, and their visual tokens are counted.

The models are of the released architectures and image sizes, with tiny random weights. Their processors and
lmms-eval's adapters import torchvision and decord, which a CPU environment has not.
"""

import importlib
from importlib.util import find_spec
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from PIL import Image

from tests.support.vlms import FAMILIES, build_vlm
from vlmscale.costs.image_tokens import IMAGE_TOKENS
from vlmscale.errors import UserError
from vlmscale.evaluation import vlm_adapters
from vlmscale.evaluation.counted_vlm import CountedVlm
from vlmscale.evaluation.evaluate_vlm import evaluate_vlm, summarize_tokens
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.evaluation.vlm_adapters import open_adapter
from vlmscale.evaluation.vlm_spec import VlmEvaluationSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline")]
needs_adapters = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("decord", "torchvision", "qwen_vl_utils")),
    reason="lmms-eval's adapters import decord, torchvision and qwen_vl_utils",
)
SIZES = [(640, 480), (200, 200), (300, 900)]
BUDGETS = {
    "qwen2_5_vl": [16, 64],
    "qwen3_vl": [16, 64],
    "internvl3": [256, 1280],
    "llava_onevision": [1458, 2187],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """folders(family) -> the folder of its model."""
    made = {}

    def build(family):
        if family not in made:
            made[family] = build_vlm(family, tmp_path_factory.mktemp(family))
        return made[family]

    return build


def ask(model, sizes, task="task"):
    """Ask one question about an image of each size, in the form that the adapter takes."""
    images = [Image.new("RGB", size, (9, 90, 200)) for size in sizes]
    model.task_dict[task] = {"test": [{"image": image} for image in images]}
    settings = {"max_new_tokens": 2}
    requests = []
    for number in range(len(images)):
        if model.is_simple:
            arguments = ("what?", settings, lambda doc: [doc["image"]], number, task, "test")
        else:
            arguments = ("what?", put_question, settings, number, task, "test")
        requests.append(SimpleNamespace(args=arguments))
    return model.generate_until(requests)


def put_question(document):
    image = {"type": "image", "url": document["image"]}
    return [{"role": "user", "content": [image, {"type": "text", "text": "what?"}]}]


@needs_adapters
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_tokens_of_its_formula(folders, family):
    for budget in BUDGETS[family]:
        tokens = IMAGE_TOKENS[family]
        model = CountedVlm(open_adapter(family, folders(family), budget), tokens, budget)
        assert len(ask(model, SIZES)) == len(SIZES)
        shown = [model.shown["task", number] for number in range(len(SIZES))]
        assert [one.counted for one in shown] == [
            tokens.count_tokens(*size, budget) for size in SIZES
        ]
        assert all(one.counted == one.expected and one.images == 1 for one in shown)


@needs_adapters
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cell_is_evaluated_and_its_tokens_are_in_its_tables(folders, family, splits, tmp_path):
    budget = BUDGETS[family][0]
    spec = VlmEvaluationSpec(
        model=folders(family),
        data=splits["test"],
        benchmarks=read_benchmarks(["exist", "char"]),
        protocol="lmms",
        family=family,
        budget=budget,
        cell={"cell": "tiny"},
        fingerprint="f",
        samples=tmp_path / "samples.parquet",
        scores=tmp_path / "scores.parquet",
    )
    evaluate_vlm(spec)
    samples, scores = pd.read_parquet(spec.samples), pd.read_parquet(spec.scores)
    assert scores["benchmark"].tolist() == ["exist", "char"]
    assert scores["n"].tolist() == samples.groupby("benchmark", sort=False).size().tolist()
    for name, mine in samples.groupby("benchmark"):
        row = scores.set_index("benchmark").loc[name]
        assert row["visual_tokens"] == pytest.approx(mine["visual_tokens"].mean())
        assert row["visual_tokens"] == row["expected_tokens"]  # images of one size
        assert row["visual_tokens_p05"] <= row["visual_tokens"] <= row["visual_tokens_p95"]
        assert row["visual_tokens"] <= 1.1 * budget


@needs_adapters
def test_the_chat_adapter_of_qwen3_ignores_its_limits(folders):
    """Which is why it is not ours; should lmms-eval mend it, this test says so."""
    kind = importlib.import_module("lmms_eval.models.chat.qwen3_vl").Qwen3_VL
    given = IMAGE_TOKENS["qwen3_vl"].make_arguments(64)
    adapter = kind(pretrained=str(folders("qwen3_vl")), device="cpu", device_map="cpu", **given)
    model = CountedVlm(adapter, IMAGE_TOKENS["qwen3_vl"], 64)
    ask(model, [(640, 480)])
    assert (model.shown["task", 0].counted, model.shown["task", 0].expected) == (300, 54)


class Adapter:
    """An adapter as lmms-eval's are: it catches what the model raises, and answers nothing."""

    is_simple = False

    def __init__(self, generate, times=1):
        self.model = SimpleNamespace(generate=generate, config=SimpleNamespace(image_token_id=7))
        self.task_dict, self.times = {}, times

    def generate_until(self, requests):
        (request,) = requests
        try:
            for _ in range(self.times):
                self.model.generate(input_ids=torch.tensor([[1, 7, 7, 7, 2]]))
        except RuntimeError:
            return [""]
        return [f"answer {request.args[3]}"]


def test_answers_come_in_order_with_the_count_of_the_prompt():
    model = CountedVlm(Adapter(lambda **_: None), IMAGE_TOKENS["qwen3_vl"], 64)
    assert ask(model, SIZES) == ["answer 0", "answer 1", "answer 2"]
    assert [shown.counted for shown in model.shown.values()] == [3, 3, 3]
    assert [shown.expected for shown in model.shown.values()] == [54, 64, 52]


def test_a_failure_that_an_adapter_hides_is_raised():
    def fail(**inputs):
        raise RuntimeError("CUDA out of memory")

    model = CountedVlm(Adapter(fail), IMAGE_TOKENS["internvl3"], 256)
    with pytest.raises(UserError, match=r"task, question 0: the model failed .*out of memory"):
        ask(model, SIZES)


def test_an_adapter_that_generates_twice_cannot_be_counted():
    model = CountedVlm(Adapter(lambda **_: None, times=2), IMAGE_TOKENS["internvl3"], 256)
    with pytest.raises(UserError, match="Adapter generated 2 times"):
        ask(model, SIZES)


def test_what_the_adapters_import_is_asked_for_first(monkeypatch, tmp_path):
    monkeypatch.setattr(vlm_adapters, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="import decord, torchvision, qwen_vl_utils, which this"):
        open_adapter("qwen3_vl", tmp_path, 64)


def test_questions_without_an_image_do_not_count():
    counted = pd.DataFrame({"images": [1, 0, 1], "counted": [60, 0, 64], "expected": [60, 0, 62]})
    assert summarize_tokens("gqa", counted) == {
        "visual_tokens": 62.0,
        "visual_tokens_p05": pytest.approx(60.2),
        "visual_tokens_p95": pytest.approx(63.8),
        "expected_tokens": 61.0,
    }
    with pytest.raises(UserError, match="gqa: no question shows an image"):
        summarize_tokens("gqa", counted[counted["images"] == 0])
