"""Images as bytes: decoding, conversion to RGB, encoding, and the key under which features are cached."""

import hashlib
import io
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from vlmscale.errors import UserError

# Pillow hands some others, such as EPS, to external programs. JPEG includes MPO.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
MAX_SIDE = 20_000  # pixels; an image is padded to the square of its longer side


def refuse_other_formats() -> None:
    """Make Pillow open FORMATS alone in this process, also for libraries that open images themselves."""
    Image.init()
    Image.ID[:] = FORMATS


class UnreadableImage(UserError):
    """An image cannot be used; the message says why."""


def read_image(content: bytes) -> Image.Image:
    """Return the decoded first frame of an image file, in its own mode. Raises UnreadableImage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata; the size is checked here
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            _refuse_size(image)
            # Some libraries set this for the process, and then truncated images decode.
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            image.load()
    except UnreadableImage:
        raise
    except Exception as error:  # the decoders of damaged files raise whatever they meet
        raise UnreadableImage(f"does not decode ({_give_reason(error)})") from None
    return image


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Return the image upright and in RGB, 8 bits per channel. Raises UnreadableImage.

    Every image passes here, in training, evaluation and when a model is asked. A camera's orientation is
    applied, 16 bits are scaled, and transparency is dropped, as in LLaVA's own training.
    """
    _refuse_size(image)
    if image.mode == "F":
        raise UnreadableImage(
            "its pixels are fractions of unknown range; store it with 8 or 16 bits"
        )
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image) or image
        if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits at 255
            image = _scale_16_bits(image)
        elif image.mode == "LAB":
            lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB") or image
        elif image.mode in ("La", "RGBa"):  # colours multiplied by their opacity
            image = image.convert(image.mode.upper())
        return image.convert("RGB")
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage(f"does not convert to RGB ({_give_reason(error)})") from None


def _refuse_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise UnreadableImage(f"too large ({image.width} x {image.height} pixels)")
    if 0 in image.size:
        raise UnreadableImage(f"it has no pixels ({image.width} x {image.height})")


def _scale_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 2**16:
        raise UnreadableImage("its pixels have over 16 bits; store it with 8 or 16 bits")
    if 0 < values.max() < 2**12:  # 16 bits, all but black, or more likely 8 to 12 in a wider type
        bits = 32 if image.mode == "I" else 16
        used = max(8, int(values.max()).bit_length())
        raise UnreadableImage(
            f"its {bits}-bit pixels may be of {used} or of 16 bits; scale them to 8 or 16"
        )
    return Image.fromarray((values // 256).astype(np.uint8))


def decode_image(content: bytes, where: str) -> Image.Image:
    """Return the RGB image in `content`. Raises UserError, naming `where` it came from."""
    try:
        return convert_to_rgb(read_image(content))
    except UnreadableImage as reason:
        raise UserError(
            f"{where}: the image cannot be used: {reason}. Repair or remove that sample, "
            "then delete the split's folder and run again."
        ) from None


def compute_image_key(image: Image.Image) -> str:
    """Return a hash of the pixels, equal for equal images in whatever file format."""
    rgb = convert_to_rgb(image)
    return hashlib.sha256(repr(rgb.size).encode() + rgb.tobytes()).hexdigest()[:32]


def encode_png(image: Image.Image) -> bytes:
    """Return the image as the content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _give_reason(error: Exception) -> str:
    return str(error).partition(" <")[0] or type(error).__name__
