"""Sound images keep their bytes; others become PNG with the same pixels or are refused."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.upstream import image
from vlmscale.data.llava.image_repair import repair_image
from vlmscale.images import UnreadableImage, compute_image_key, decode_image


@pytest.mark.parametrize(("mode", "form"), [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG")])
def test_sound_images_keep_their_bytes(mode, form):
    content = image(mode=mode, form=form)
    made = repair_image(content)
    assert (made.content, made.repair, made.mode) == (content, "", mode)
    assert made.key == compute_image_key(decode_image(content, "here"))


@pytest.mark.parametrize(
    ("mode", "form", "words"),
    [
        ("P", "GIF", "GIF stored as PNG"),
        ("RGB", "WEBP", "WEBP stored as PNG"),
        ("RGB", "BMP", "BMP stored as PNG"),
        ("P", "PNG", "mode P stored as RGB"),
        ("RGBA", "PNG", "mode RGBA stored as RGB"),
        ("1", "PNG", "mode 1 stored as RGB"),
        ("CMYK", "JPEG", "mode CMYK stored as RGB"),
    ],
)
def test_odd_images_become_png_with_the_same_pixels(mode, form, words):
    content = image(mode=mode, form=form)
    made = repair_image(content)
    assert made.repair == words
    stored = Image.open(io.BytesIO(made.content))
    assert (stored.format, stored.mode) == ("PNG", "RGB")
    assert compute_image_key(stored) == compute_image_key(decode_image(content, "here")) == made.key
    assert (made.width, made.height, made.mode) == (32, 24, mode)


def test_sixteen_bits_are_scaled_not_cut_off():
    content = image(mode="I;16", form="PNG")
    deep = np.asarray(Image.open(io.BytesIO(content)))
    shallow = np.asarray(Image.open(io.BytesIO(repair_image(content).content)))
    assert (shallow == (deep // 256)[..., None]).all()
    assert 0 < shallow.min() + 1 < shallow.max() <= 255


def test_a_moving_gif_gives_its_first_frame():
    frames = [Image.new("P", (8, 8), colour) for colour in (3, 9)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content.getvalue())) as first:
        assert repair_image(content.getvalue()).key == compute_image_key(first.convert("RGB"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not decode"),
        (b"<html>gone</html>", "does not decode"),
        (image()[:-200], "truncated"),
        (image(form="PNG")[:-400], "does not decode"),
    ],
)
def test_files_that_do_not_decode_are_refused(content, words, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries leave it
    with pytest.raises(UnreadableImage, match=words):
        repair_image(content)


def test_an_image_that_would_fill_the_memory_is_refused():
    content = io.BytesIO()
    Image.new("1", (12_000, 9_000)).save(content, "PNG")
    with pytest.raises(UnreadableImage, match="too large"):
        repair_image(content.getvalue())
