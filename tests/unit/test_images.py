"""Image files are decoded, or refused with one reason; no other program runs for one."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, ExifTags, Image, ImageCms, ImageFile

from tests.support.upstream import image
from vlmscale.errors import UserError
from vlmscale.images import (
    FORMATS,
    UnreadableImage,
    compute_image_key,
    convert_to_rgb,
    decode_image,
    read_image,
)


def save(made, form, **options):
    content = io.BytesIO()
    made.save(content, form, **options)
    return content.getvalue()


def test_an_image_that_does_not_decode_is_named():
    with pytest.raises(UserError, match="sample s9: the image cannot be used: does not decode"):
        decode_image(b"\x89PNG not really", "data/stage2, sample s9")


@pytest.mark.parametrize("form", [*FORMATS, "MPO"])
def test_formats_of_photographs_are_read(form):
    assert read_image(image(form=form)).size == (32, 24)


@pytest.mark.parametrize("form", ["EPS", "AVIF", "ICO", "PPM", "TGA", "PCX", "PDF", "JPEG2000"])
def test_other_formats_are_refused_without_their_decoders(form, monkeypatch):
    """EPS, for example, would be handed to Ghostscript, whatever the file is called."""
    content = image(form=form, size=(32, 32))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: pytest.fail("ran"))
    with pytest.raises(UnreadableImage, match="does not decode"):
        read_image(content)


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_decodes_or_gives_one_reason(form):
    rng, content = random.Random(form), image(form=form)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        damaged = damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]
        try:
            outcomes.add(convert_to_rgb(read_image(bytes(damaged))).mode)
        except UnreadableImage as reason:
            outcomes.add(str(reason).partition(" (")[0])
    assert "does not decode" in outcomes <= {"RGB", "does not decode", "too large"}


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, struct.error, MemoryError])
def test_whatever_a_decoder_raises_is_one_reason(error, monkeypatch):
    def fail(*args):
        raise error("odd")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UnreadableImage, match=r"does not decode \(odd\)"):
        read_image(image())


@pytest.mark.parametrize("size", [(12_000, 9_000), (60_000, 60_000)])
def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded(size):
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4sIIBBBBBI", 13, b"IHDR", *size, 1, 0, 0, 0, 0, 0
    )
    content = bytearray(save(Image.new("1", (8, 8)), "PNG"))
    content[:29] = header[:29]
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    with pytest.raises(UnreadableImage, match=r"too large|exceeds limit"):
        read_image(bytes(content))


@pytest.mark.parametrize(
    ("form", "kind"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32)]
)
def test_sixteen_bits_are_scaled(form, kind):
    deep = np.linspace(0, 65535, 96, dtype=kind).reshape(8, 12)
    made = convert_to_rgb(read_image(save(Image.fromarray(deep), form)))
    assert (np.asarray(made)[..., 0] == deep // 256).all()


def test_pixels_that_are_fractions_are_refused():
    content = save(Image.new("F", (8, 8), 0.5), "TIFF")
    with pytest.raises(UserError, match="fractions of unknown range"):
        decode_image(content, "here")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_equal_pixels_have_one_key_in_every_mode(mode):
    made = Image.new("L", (8, 8), 255).convert(mode)
    assert compute_image_key(made) == compute_image_key(Image.new("RGB", (8, 8), (255,) * 3))


COLOURS = Image.fromarray(
    np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1))).astype(
        "uint8"
    )
)


def to_lab(image):
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(image, rgb, lab, outputMode="LAB")


# How to make each mode, and what it loses of the colours at most.
MODES = {
    "RGBA": (lambda image: image.convert("RGBA"), 0),
    "RGBa": (lambda image: image.convert("RGBA").convert("RGBa"), 0),
    "RGBX": (lambda image: image.convert("RGBX"), 0),
    "P": (lambda image: image.quantize(256), 0),
    "PA": (lambda image: image.quantize(256).convert("PA"), 0),
    "CMYK": (lambda image: image.convert("CMYK"), 0),
    "YCbCr": (lambda image: image.convert("YCbCr"), 3),
    "HSV": (lambda image: image.convert("HSV"), 6),
    "LAB": (to_lab, 30),  # colours outside its range
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_colours_becomes_the_same_rgb(mode):
    make, loss = MODES[mode]
    image = make(COLOURS)
    assert image.mode == mode
    found = np.asarray(convert_to_rgb(image)).astype(int)
    assert np.abs(found - np.asarray(COLOURS)).max() <= loss


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I;16", "I;16B", "I"])
def test_every_mode_of_greys_becomes_the_same_rgb(mode):
    grey = COLOURS.convert("L")
    if mode.startswith("I"):
        deep = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
        image = (
            deep
            if mode == "I"
            else Image.frombytes(
                mode,
                grey.size,
                np.asarray(deep).astype(">u2" if mode == "I;16B" else "<u2").tobytes(),
            )
        )
    else:
        image = grey.convert("LA") if mode != "L" else grey
        image = image.convert("La") if mode == "La" else image
    assert image.mode == mode
    assert np.array_equal(np.asarray(convert_to_rgb(image)), np.asarray(grey.convert("RGB")))


def test_transparency_is_dropped_in_every_mode_that_has_it():
    clear = COLOURS.convert("RGBA")
    clear.putalpha(0)
    palette = COLOURS.quantize(256)
    palette.info["transparency"] = 0
    for each in (clear, read_image(save(palette, "PNG", transparency=0)), palette):
        assert np.array_equal(np.asarray(convert_to_rgb(each)), np.asarray(COLOURS))


def test_the_inverted_inks_of_adobes_jpeg_are_read():
    """Pillow writes CMYK as Adobe does: inverted, with a marker that says so."""
    content = save(COLOURS.convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in content
    found = np.asarray(decode_image(content, "here")).astype(int)
    assert np.abs(found - np.asarray(COLOURS)).max() < 12


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_was(form, orientation):
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = COLOURS.transpose(turned[orientation]) if orientation > 1 else COLOURS
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    content = save(stored, form, exif=exif, **lossless.get(form, {}))
    from_bytes, from_image = (
        decode_image(content, "here"),
        convert_to_rgb(Image.open(io.BytesIO(content))),
    )
    for found in (from_bytes, from_image, convert_to_rgb(from_bytes)):
        assert found.size == COLOURS.size
        assert np.abs(np.asarray(found).astype(int) - np.asarray(COLOURS)).max() < 8


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several_is_read(form):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    content = save(frames[0], form, save_all=True, append_images=frames[1:])
    found = np.asarray(decode_image(content, "here")).astype(int)
    assert np.abs(found - np.asarray(frames[0])).max() <= 1


@pytest.mark.parametrize("size", [(10, 20_001), (20_001, 10), (11_000, 10_000), (0, 5)])
def test_sizes_that_cannot_be_padded_are_refused_for_images_in_memory(size):
    with pytest.raises(UnreadableImage, match=r"too large|no pixels"):
        convert_to_rgb(Image.new("L", size))


@pytest.mark.parametrize(
    ("values", "reason"),
    [((0, 2**16), "over 16 bits"), ((-1, 9), "over 16"), ((0, 255), "of 8 or of 16")],
)
def test_32_bits_of_unknown_range_are_refused(values, reason):
    with pytest.raises(UnreadableImage, match=reason):
        convert_to_rgb(Image.fromarray(np.array([values], dtype=np.int32)))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("most", "is_read"),
    [(0, True), (1, False), (255, False), (1023, False), (4095, False), (4096, True)],
)
def test_up_to_twelve_bits_in_a_type_of_sixteen_are_refused_and_black_is_black(form, most, is_read):
    values = np.full((4, 6), most, dtype=np.uint16)
    image = read_image(save(Image.fromarray(values), form))
    if is_read:
        assert np.asarray(convert_to_rgb(image)).max() == most // 256
        return
    with pytest.raises(
        UnreadableImage, match=r"its 16-bit pixels may be of (8|10|12) or of 16 bits"
    ):
        convert_to_rgb(image)
