"""Images of any shape to the pixels that the tower reads."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from vlmscale.settings import Aspect

# i images, h x w pixels


def to_pixels(images: Sequence[Image.Image], image_processor: Any, aspect: Aspect) -> Tensor:
    """Convert images to pixels (i, 3, h, w).

    aspect: "pad" first puts an image on a square of its longer side; "crop" leaves it to the image
    processor, which for CLIP crops the middle. Both treat square images alike.
    """
    if aspect == "pad":
        # The processor normalises the mean colour to 0.
        colour = tuple(int(255 * mean) for mean in image_processor.image_mean)
        images = [_pad_to_square(image, colour) for image in images]
    pixel_values: Tensor = image_processor(list(images), return_tensors="pt")["pixel_values"]
    return pixel_values


def _pad_to_square(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    width, height = image.size
    side = max(width, height)
    if width == height:
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image.convert("RGB"), ((side - width) // 2, (side - height) // 2))
    return square
