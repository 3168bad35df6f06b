"""What the tower sees of images that are not square."""

import datasets
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import CLIPImageProcessorPil

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.images import compute_image_key, decode_image
from vlmscale.models.checkpoint import load
from vlmscale.models.pixels import to_pixels
from vlmscale.study.load import validate
from vlmscale.training.stages import train_stage

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])
COLOUR = (122, 116, 104)


@pytest.fixture(scope="module")
def clip():
    """The image processor of CLIP ViT-L/14-336: shortest edge, bicubic, then the centre."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )


def photograph(width, height):
    """Another colour at every pixel, coarse enough to survive interpolation."""
    generator = np.random.default_rng(width * 1000 + height)
    coarse = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def normalised(image):
    """A 336 x 336 image as CLIP wants it, (3, 336, 336)."""
    assert image.size == (336, 336)
    return torch.from_numpy(((np.asarray(image) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(672, 400), (400, 672), (640, 333)])
def test_pad_keeps_the_whole_image_between_two_bars(clip, size):
    image = photograph(*size)
    side = max(size)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = COLOUR
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = np.asarray(image)
    expected = Image.fromarray(square).resize((336, 336), Image.Resampling.BICUBIC)
    (found,) = to_pixels([image], clip, "pad")
    torch.testing.assert_close(found.double(), normalised(expected), atol=1e-5, rtol=0)
    # A bar is the mean colour: nothing, up to its rounding to a byte.
    corner = found[:, :4, :4]
    assert corner.abs().max() < 0.02


@pytest.mark.parametrize("size", [(672, 400), (400, 672), (640, 333)])
def test_crop_loses_both_ends_of_the_longer_side(clip, size):
    image = photograph(*size)
    scale = 336 / min(size)
    small = image.resize(
        (max(336, int(size[0] * scale)), max(336, int(size[1] * scale))), Image.Resampling.BICUBIC
    )
    left, top = (small.width - 336) // 2, (small.height - 336) // 2
    expected = small.crop((left, top, left + 336, top + 336))
    (found,) = to_pixels([image], clip, "crop")
    torch.testing.assert_close(found.double(), normalised(expected), atol=1e-5, rtol=0)


def test_square_images_are_the_same_with_both(clip):
    images = [photograph(400, 400), photograph(336, 336)]
    assert torch.equal(to_pixels(images, clip, "pad"), to_pixels(images, clip, "crop"))
    raw = clip(images, return_tensors="pt")["pixel_values"]
    assert torch.equal(to_pixels(images, clip, "pad"), raw)


def test_an_image_without_three_channels_is_padded_too(clip):
    grey = photograph(672, 400).convert("L")
    assert torch.equal(
        to_pixels([grey], clip, "pad"), to_pixels([grey.convert("RGB")], clip, "pad")
    )


@pytest.mark.slow
def test_a_checkpoint_is_asked_about_images_as_its_stage_2_saw_them(spec):
    recipe = {"steps": 1, "batch_size": 2, "learning_rate": 1e-3}
    for aspect in ("pad", "crop"):
        run = spec(aspect, recipe={**recipe, "aspect": aspect})
        train_stage(run)
        _, processor = load(run.output)
        assert processor.aspect == aspect
        image = photograph(96, 48)
        asked = processor.ask([image], ["how many ?"])["pixel_values"]
        assert torch.equal(asked, to_pixels([image], processor.image_processor, aspect))


def test_stored_features_are_of_padded_images():
    raw = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    raw["vision_cache"] = True
    raw["stage1"]["aspect"] = "crop"
    with pytest.raises(UserError, match="vision_cache: must be false for aspect: crop"):
        validate(raw, "x.yaml")
    validate({**raw, "vision_cache": False}, "x.yaml")


FILES = {
    "16 bits": (np.random.default_rng(0).integers(0, 2**16, (48, 64), dtype=np.uint16), "PNG", {}),
    "palette": (photograph(64, 48).quantize(64), "PNG", {"transparency": 3}),
    "inks": (photograph(64, 48).convert("CMYK"), "JPEG", {}),
    "turned": (
        photograph(64, 48),
        "JPEG",
        {
            "exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
        },
    ),
    "clear": (photograph(64, 48).convert("RGBA"), "PNG", {}),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_way_in_sees_the_same_pixels(build, tmp_path, kind):
    """Training decodes bytes, a user asks with a file or an image, an evaluation with what datasets opened."""
    made, form, options = FILES[kind]
    made = made if isinstance(made, Image.Image) else Image.fromarray(made)
    made.save(tmp_path / "image", form, **options)
    _, processor = build("tokenpacker", 4)
    trained = processor.to_pixels([decode_image((tmp_path / "image").read_bytes(), "here")])
    opened = datasets.Image().decode_example({"path": str(tmp_path / "image"), "bytes": None})
    for image in (tmp_path / "image", Image.open(tmp_path / "image"), opened):
        assert torch.equal(processor.ask(image, "how many ?")["pixel_values"], trained)
    assert compute_image_key(opened) == compute_image_key(Image.open(tmp_path / "image"))
