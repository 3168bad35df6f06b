"""Images of any shape to the pixels that the tower reads."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from transformers.image_utils import SizeDict

from vlmscale.errors import UserError
from vlmscale.images import UnreadableImage, convert_to_rgb
from vlmscale.settings import Aspect

# i images, h x w pixels


def to_pixels(images: Sequence[Image.Image], image_processor: Any, aspect: Aspect) -> Tensor:
    """Convert images to pixels (i, 3, h, w).

    aspect: "pad" first puts an image on a square of its longer side; "crop" keeps its middle, by the image
    processor if that crops (CLIP's does, SigLIP's does not). Both treat square images alike. Raises
    UserError, naming the image, for what cannot be used.
    """
    images = [_to_rgb(image, number) for number, image in enumerate(images)]
    if aspect == "crop" and not getattr(image_processor, "do_center_crop", False):
        images = [_crop_to_square(image) for image in images]
    if aspect == "pad":
        # The processor normalises the mean colour to 0.
        colour = tuple(int(255 * mean) for mean in image_processor.image_mean)
        images = [_pad_to_square(image, colour) for image in images]
    return image_processor(images, return_tensors="pt")["pixel_values"]


def fit_image_processor(image_processor: Any, side: int) -> None:
    """Let `image_processor` make squares of `side` pixels that show whole square images.

    One that does so already stays as it is. DINOv2's resizes to 256 pixels and crops 224 of them.
    """
    square = {"height": side, "width": side}
    if getattr(image_processor, "do_center_crop", False):
        image_processor.crop_size = SizeDict(**square)
        if image_processor.size != square:
            image_processor.size = SizeDict(shortest_edge=side)
    else:
        image_processor.size = SizeDict(**square)


def _to_rgb(image: Any, number: int) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise UserError(
            f"images[{number}] is a {type(image).__name__}, whose range and order of channels are unknown. "
            "Pass a PIL image, such as PIL.Image.fromarray(array) of uint8 (h, w, 3)."
        )
    try:
        return convert_to_rgb(image)
    except UnreadableImage as reason:
        raise UserError(f"images[{number}] cannot be used: {reason}.") from None


def _crop_to_square(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _pad_to_square(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    width, height = image.size
    side = max(width, height)
    if width == height:
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
