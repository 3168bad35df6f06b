"""Check that an image file decodes, and store the same pixels as PNG where training cannot use the file."""

from typing import NamedTuple

from vlmscale.images import compute_image_key, convert_to_rgb, encode_png, read_image

_FORMATS = ("JPEG", "MPO", "PNG")  # MPO is a JPEG with further ones behind it
_MODES = ("RGB", "L")


class RepairedImage(NamedTuple):
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
    image = read_image(content)
    rgb, repair = convert_to_rgb(image), ""
    if image.format not in _FORMATS:
        repair = f"{image.format} stored as PNG"
    elif image.mode not in _MODES:
        repair = f"mode {image.mode} stored as RGB"
    stored = encode_png(rgb) if repair else content
    return RepairedImage(stored, compute_image_key(rgb), *rgb.size, image.mode, repair)
