"""Check that an image file decodes, and store the same pixels as PNG where training cannot use the file."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from vlmscale.data.images import compute_image_key, encode_png
from vlmscale.data.llava.archives import UnreadableImage

_FORMATS = ("JPEG", "MPO", "PNG")  # MPO is a JPEG with further ones behind it
_MODES = ("RGB", "L")
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class RepairedImage:
    """An image ready to be stored. `repair` says why `content` is not the original; "" if it is."""

    content: bytes
    key: str
    width: int
    height: int
    mode: str  # of the original
    repair: str


def repair_image(content: bytes) -> RepairedImage:
    """Decode every pixel of an image file, and keep its bytes if training can use them.

    Of a GIF the first frame is kept; a palette, transparency, print colours and 16 bits per channel become
    RGB of 8 bits. Raises UnreadableImage if the file does not decode.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata; the size is checked here
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > _MAX_PIXELS:
                raise UnreadableImage(f"too large ({image.width} x {image.height} pixels)")
            mode, form = image.mode, image.format
            # Some libraries set this for the process, and then truncated images decode.
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            image.load()
            rgb = _convert_to_rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).partition(" <")[0] or type(error).__name__
        raise UnreadableImage(f"does not decode ({reason})") from None
    repair = ""
    if form not in _FORMATS:
        repair = f"{form} stored as PNG"
    elif mode not in _MODES:
        repair = f"mode {mode} stored as RGB"
    return RepairedImage(
        content=encode_png(rgb) if repair else content,
        key=compute_image_key(rgb),
        width=image.width,
        height=image.height,
        mode=mode,
        repair=repair,
    )


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(
        "I"
    ):  # Pillow's own conversion clips 16 bits at 255 instead of scaling them
        values = np.clip(np.asarray(image), 0, 2**16 - 1)
        image = Image.fromarray((values // 256).astype(np.uint8))
    return image.convert("RGB")
