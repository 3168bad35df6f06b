"""What lmms-eval hands to a model is answered, or refused by name."""

import io
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tests.support.upstream import image
from vlmscale.errors import UserError
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.images import decode_image
from vlmscale.training.stages import save_checkpoint


@pytest.fixture(scope="module")
def folder(build, tmp_path_factory):
    """The folder of an untrained model."""
    made = tmp_path_factory.mktemp("model")
    save_checkpoint(*build("tokenpacker", 4), made)
    return made


@pytest.fixture
def adapter(folder):
    return VlmScale(folder, device="cpu")


def ask(adapter, content, *, doc_to_visual=lambda doc: [doc["image"]], **settings):
    """The answer to one question about an image file, which `datasets` decodes."""
    rows = {"image": [{"bytes": content, "path": None}]}
    features = datasets.Features({"image": datasets.Image()})
    adapter.task_dict = {"task": {"test": datasets.Dataset.from_dict(rows, features=features)}}
    settings = {"max_new_tokens": 3, **settings}
    arguments = ("how many ?", settings, doc_to_visual, 0, "task", "test")
    return adapter.generate_until([SimpleNamespace(args=arguments)])


def eps():
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "EPS")
    return content.getvalue()


@pytest.mark.parametrize("content", [b"", b"<html>", image()[:-200], image(form="PNG")[:50], eps()])
def test_an_image_that_does_not_decode_names_the_question(adapter, content):
    with pytest.raises(UserError, match="task, question 0: its image cannot be read"):
        ask(adapter, content)


def test_no_other_program_is_started_for_an_image(adapter, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: pytest.fail("ran"))
    with pytest.raises(UserError, match="cannot be read"):
        ask(adapter, eps())


@pytest.mark.parametrize("mode", ["I;16", "L", "RGB", "RGBA"])
def test_sixteen_bits_are_scaled_before_a_task_converts_them(adapter, monkeypatch, mode):
    content, shown = image(mode=mode, form="PNG"), []
    monkeypatch.setattr(adapter, "_encode", lambda images: shown.extend(images) or encode(images))
    encode = type(adapter)._encode.__get__(adapter)
    ask(adapter, content, doc_to_visual=lambda doc: [doc["image"].convert("RGB")])
    assert (np.asarray(shown[0]) == np.asarray(decode_image(content, "here"))).all()


@pytest.mark.parametrize(
    ("visuals", "words"),
    [([1, 2], "2 images, but the model reads one"), (["a.mp4"], "shows a str")],
)
def test_other_inputs_than_one_image_are_refused(adapter, visuals, words):
    with pytest.raises(UserError, match=f"task, question 0: {words}"):
        ask(adapter, image(), doc_to_visual=lambda doc: visuals)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(
    ("key", "words"), [("num_beams", "beams"), ("num_return_sequences", "answers")]
)
def test_what_multiplies_answers_is_refused(adapter, key, words, count):
    with pytest.raises(UserError, match=f"task: the task searches with several {words}"):
        ask(adapter, image(), **{key: count})


@pytest.mark.parametrize("beams", [None, 1])
def test_one_beam_is_how_models_answer(adapter, beams):
    assert ask(adapter, image(), num_beams=beams) == ask(adapter, image())


@pytest.mark.parametrize("size", ["auto", "auto:4", "", "0", 0, -1, "2.5", None])
def test_a_batch_size_that_is_no_number_is_refused(folder, size):
    with pytest.raises(UserError, match="must be a number from 1"):
        VlmScale(folder, batch_size=size, device="cpu")
