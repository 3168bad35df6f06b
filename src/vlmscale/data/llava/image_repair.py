"""Is an image file one that training can use as it is? If not, the same picture as PNG."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from vlmscale.data.images import compute_image_key, encode_png
from vlmscale.data.llava.archives import UnreadableImage

_FORMATS = ("JPEG", "MPO", "PNG")  # MPO is a JPEG with further ones behind it
_MODES = ("RGB", "L")
_MOST_PIXELS = 100_000_000


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
    """Decode every pixel of an image file; keep its bytes where they are fine.

    A GIF gives its first frame; an image with a palette, with transparency, for print or of 16 bits a
    channel becomes RGB, losing nothing else. Raises UnreadableImage if it does not decode.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata; the size is checked here
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > _MOST_PIXELS:
                raise UnreadableImage(f"too large ({image.width} x {image.height} pixels)")
            mode, form = image.mode, image.format
            # Some libraries let half of a picture pass, for the whole process. It is none.
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            image.load()
            rgb = _rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"does not decode ({_reason(error)})") from None
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


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of 8 bits; Pillow's own conversion cuts 16 bits off at 255 instead of scaling them."""
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 2**16 - 1)
        image = Image.fromarray((values // 256).astype(np.uint8))
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    return str(error).partition(" <")[0] or type(error).__name__
