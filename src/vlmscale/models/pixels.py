"""Images to the pixels that the tower sees, whatever their shape."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from vlmscale.settings import Aspect

# i images, all h by w once they are pixels


def to_pixels(images: Sequence[Image.Image], image_processor: Any, aspect: Aspect) -> Tensor:
    """Pixels (i, 3, h, w) of images.

    aspect: "pad" puts an image on a square of its longer side first; with "crop" the processor's own
    rule applies, which for CLIP is to cut the middle out. Square images are the same with both.
    """
    if aspect == "pad":
        # The mean colour becomes 0 when the processor has normalised it.
        colour = tuple(int(255 * mean) for mean in image_processor.image_mean)
        images = [_letterbox(image, colour) for image in images]
    found: Tensor = image_processor(list(images), return_tensors="pt")["pixel_values"]
    return found


def _letterbox(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    width, height = image.size
    side = max(width, height)
    if width == height:
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image.convert("RGB"), ((side - width) // 2, (side - height) // 2))
    return square
