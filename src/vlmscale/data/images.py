"""Images as bytes: decoding, encoding, and the key under which features are cached."""

import hashlib
import io

from PIL import Image, UnidentifiedImageError

from vlmscale.errors import UserError


def decode_image(content: bytes, where: str) -> Image.Image:
    """Return the RGB image in `content`. Raises UserError, naming `where` it came from."""
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{where}: the image does not decode ({error}). Repair or remove that sample, "
            "then delete the split's folder and run again."
        ) from None


def compute_image_key(image: Image.Image) -> str:
    """Return a hash of the pixels, equal for equal images in whatever file format."""
    rgb = image.convert("RGB")
    return hashlib.sha256(repr(rgb.size).encode() + rgb.tobytes()).hexdigest()[:32]


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
