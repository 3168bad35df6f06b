"""What a user passes to a processor: images, texts and conversations, checked."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.images import UnreadableImage, convert_to_rgb, read_image


def pair_images(images: Any, questions: str | Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return as many images (or None) as questions, paths opened. Raises UserError."""
    several = isinstance(images, list | tuple)
    texts = list_texts(questions, "questions")
    if isinstance(questions, str):
        texts *= len(images) if several else 1
    images = list(images) if several else [images] * len(texts)
    if len(images) != len(texts) or not texts:
        raise UserError(
            f"{len(images)} images and {len(texts)} questions: pass one image, or None, for each."
        )
    return [open_image(image) for image in images], texts


def list_texts(given: Any, name: str) -> list[str]:
    """Return one or several texts as a list. Raises UserError for what is no text."""
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise UserError(f"{name} is a {type(given).__name__}, neither a text nor a list of texts.")
    texts = [given] if isinstance(given, str) else list(given)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{name}[{number}] is a {type(text).__name__}, not a text.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(
                f"{name}[{number}] holds half of a surrogate pair, which is no character: {text!a:.60}"
            )
    return texts


def open_image(image: Any) -> Any:
    """Open an image if it is a path."""
    if not isinstance(image, str | os.PathLike):
        return image
    shown = f"{os.fspath(image)!s:.80}"
    try:
        return convert_to_rgb(read_image(Path(image).read_bytes()))
    except UnreadableImage as reason:
        raise UserError(f"{shown}: the image cannot be used: {reason}.") from None
    except PermissionError:
        raise UserError(f"{shown} cannot be read: its permissions do not let you.") from None
    except (OSError, ValueError):  # longer than names are, or with a zero byte: an image as text
        raise UserError(f"there is no image file {shown}. Pass a path or a PIL image.") from None


def check_conversation(conversation: Any) -> None:
    """Raise UserError unless it is messages of texts and images, or a list of such conversations."""
    if not isinstance(conversation, list | tuple) or not conversation:
        raise UserError("apply_chat_template: pass a list of messages, one at least.")
    if not isinstance(conversation[0], Mapping):
        for one in conversation:
            check_conversation(getattr(one, "messages", one))
        return
    for number, message in enumerate(conversation):
        content = message.get("content")
        for part in content if isinstance(content, list | tuple) else []:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            if kind not in ("text", "image", "image_url"):
                raise UserError(
                    f"messages[{number}] holds a part of type {kind!r}; the model reads 'text' and 'image'."
                )
            if kind == "text" and not isinstance(part.get("text"), str):
                raise UserError(f"messages[{number}] holds a part of type 'text' without a 'text'.")
        if not isinstance(content, str | list | tuple):
            raise UserError(f"messages[{number}] has no 'content': a text, or a list of parts.")


def flatten_images(images: Any) -> list[Any]:
    """Return the images of lists within lists, as `apply_chat_template` gives them, in one."""
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        return [images]
    return [image for each in images for image in flatten_images(each)]
