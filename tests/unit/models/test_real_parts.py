"""A real LLM behind a real tower on real photographs: what small random models cannot tell apart."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, Dinov2Model

from tests.support import real
from tests.support.trainings import stage_spec
from vlmscale.data.photographs.prepare import CAPTIONS, prepare_photo_benchmark, prepare_photographs
from vlmscale.data.photographs.questions import BENCHMARKS, is_held_out
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble
from vlmscale.models.supervised_forward import compute_supervised_states
from vlmscale.records.files import read_json
from vlmscale.training.stages import train_stage

pytestmark = pytest.mark.slow
LLM = "SmolLM2-135M"
CAPITAL = "What is the capital of France?"
QUESTIONS = ["What is this?", "Is there a bird in the image? Answer yes or no."]
GREEDY = {"max_new_tokens": 12, "do_sample": False}
# Read from the output of the last norm by onnxruntime 1.32, for pixels[0, c, y, x] = sin(c + y / 10 + x / 7).
ONNX_STATES = {
    (0, 0): 0.80940,
    (0, 200): 0.13707,
    (1, 5): -1.59280,
    (17, 100): 2.19981,
    (128, 383): -0.81069,
    (256, 250): 1.52580,
}


@pytest.fixture(scope="module")
def folders():
    return {"llm": real.find_backbone(LLM), "tower": real.find_backbone("tower")}


@pytest.fixture(scope="module")
def build(folders):
    """build(method, V) -> a model of the real parts with an untrained projector, and its processor."""

    def make(method, tokens):
        model, processor = assemble(
            *folders.values(),
            find_method(method).make_setting(tokens),
            feature_layers=list(real.STUDY.tower.feature_layers),
            template=real.STUDY.template,
            seed=0,
            image_size=real.STUDY.tower.image_size,
        )
        return model.eval(), processor

    return make


@pytest.fixture(scope="module")
def plain(folders):
    """The LLM as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folders["llm"]).eval()


@pytest.fixture(scope="module")
def photographs():
    """Two of different shape."""
    shown = {p.name: p for p in real.find_photographs()}
    names = ("animals/birds/owl", "vehicles/flight/planes/747")
    return [Image.open(io.BytesIO(shown[name].image)) for name in names]


def test_the_capital_of_france_is_paris(build):
    model, processor = build("avgpool", 4)
    inputs = processor.ask(None, CAPITAL)
    (answer,) = processor.decode_answers(inputs, model.generate(**inputs, **GREEDY))
    assert answer == "The capital of France is Paris."


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_without_an_image_are_the_llms_own_to_the_bit(build, folders, dtype):
    model, processor = build("avgpool", 4)
    plain = AutoModelForCausalLM.from_pretrained(folders["llm"], dtype=dtype).eval()
    inputs = processor.ask(None, CAPITAL)
    with torch.no_grad():
        for (
            parameter
        ) in model.parameters():  # and not the frequencies of positions, as transformers
            parameter.data = parameter.to(dtype)
        logits = model(**inputs).logits
        expected = plain(**inputs).logits
    assert logits.shape[-1] == expected.shape[-1] + 1  # the mark of an image
    assert torch.equal(logits[..., :-1], expected)


@pytest.mark.parametrize(("method", "tokens"), [("tokenpacker", 4), ("quecc", 1), ("mlp", 64)])
def test_a_batch_equals_single_photographs_and_a_cache_changes_nothing(
    build, photographs, method, tokens
):
    model, processor = build(method, tokens)
    batch = processor.ask(photographs, QUESTIONS)
    with torch.no_grad():
        logits = model(**batch).logits[:, -1]
        single = [
            model(**processor.ask([i], [q])).logits[:, -1]
            for i, q in zip(photographs, QUESTIONS, strict=True)
        ]
        swapped = model(**processor.ask(photographs[::-1], QUESTIONS)).logits[:, -1]
    torch.testing.assert_close(logits, torch.cat(single), atol=1e-3, rtol=1e-4)
    assert not torch.allclose(logits, swapped, atol=1e-2)  # the comparison has power
    cached, uncached = (model.generate(**batch, **GREEDY, use_cache=use) for use in (True, False))
    assert torch.equal(cached, uncached)


def test_gradients_of_supervised_positions_are_those_of_the_whole_pass(plain):
    llm = plain.model
    embeds = llm.embed_tokens(torch.arange(40).reshape(2, 20) * 37).detach().requires_grad_()
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 15:] = 0
    which = torch.zeros(2, 20, dtype=torch.bool)
    which[0, 12:] = which[1, 9:14] = True
    weights = torch.linspace(-1, 1, int(which.sum()) * 576).view(-1, 576)
    found = []
    for whole in (True, False):
        llm.zero_grad()
        embeds.grad = None
        if whole:
            states = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[which]
        else:
            states = compute_supervised_states(llm, embeds, which, mask)
        (states * weights).sum().backward()
        kept = [p.grad.clone() for p in llm.parameters() if p.grad is not None]
        found.append([states.detach(), embeds.grad, *kept])
    assert len(found[0]) == len(found[1]) > 250
    for expected, mine in zip(*found, strict=True):
        assert (mine - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_tower_gives_what_its_onnx_file_gives(folders):
    """In every position, as noted from onnxruntime, which is no dependency."""
    tower = Dinov2Model.from_pretrained(folders["tower"]).eval()
    c, y, x = torch.meshgrid(*map(torch.arange, (3, 224, 224)), indexing="ij")
    with torch.no_grad():
        states = tower(torch.sin(c + y / 10 + x / 7)[None]).last_hidden_state[0]
    assert states.shape == (257, 384)
    for (position, channel), expected in ONNX_STATES.items():
        assert states[position, channel].item() == pytest.approx(expected, abs=2e-4)


def test_the_loss_falls_on_captions_of_photographs(folders, tmp_path):
    """Stage 1: the projector alone learns to name what it shows to the LLM."""
    real.find_photographs()
    prepare_photographs(CAPTIONS, raw=real.CACHE, output=tmp_path / CAPTIONS)
    recipe = {"steps": 12, "batch_size": 8, "learning_rate": 2e-3, "adam_beta2": 0.98}
    spec = stage_spec(
        folders,
        {"stage2": tmp_path / CAPTIONS},
        tmp_path / "run",
        kind="stage1",
        method="avgpool",
        template=real.STUDY.template,
        feature_layers=real.STUDY.tower.feature_layers,
        image_size=real.STUDY.tower.image_size,
        recipe=recipe,
    )
    train_stage(spec.model_copy(update={"output": tmp_path / "projector.safetensors"}))
    losses = [loss for _, loss in json.loads(spec.record.read_text())["losses"]]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])  # 5.4 after 6.6


def test_splits_and_benchmarks_have_the_sizes_that_are_planned_with(tmp_path):
    shown = real.find_photographs()
    held_out = sum(map(is_held_out, shown))
    stages = real.STUDY.data.stage1.samples, real.STUDY.data.stage2.samples
    assert stages == (len(shown) - held_out, 4 * (len(shown) - held_out))
    for benchmark in read_benchmarks(BENCHMARKS):
        prepare_photo_benchmark(benchmark.benchmark, raw=real.CACHE, folder=tmp_path / "x")
        assert read_json(tmp_path / "x/manifest.json")["rows"] == benchmark.questions
