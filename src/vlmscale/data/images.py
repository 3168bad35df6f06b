"""Images as bytes: decoding with a clear error, and the key under which features are cached."""

import hashlib
import io

from PIL import Image, UnidentifiedImageError

from vlmscale.errors import UserError


def decode_image(content: bytes, where: str) -> Image.Image:
    """The RGB image in `content`. Raises UserError, naming `where` it came from, if it is none."""
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{where}: the image does not decode ({error}). Repair or remove that sample, "
            "then delete the split's folder and run again."
        ) from None


def compute_image_key(image: Image.Image) -> str:
    """A hash of the pixels: equal images have equal keys whatever file format held them."""
    rgb = image.convert("RGB")
    return hashlib.sha256(repr(rgb.size).encode() + rgb.tobytes()).hexdigest()[:32]


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
