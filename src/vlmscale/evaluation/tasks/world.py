"""Functions that lmms-eval calls for questions of the generated world (see world.yaml)."""

from typing import Any

import datasets
from PIL import Image

from vlmscale.images import decode_image


def process_docs(docs: datasets.Dataset) -> datasets.Dataset:
    """Leave images encoded: lmms-eval reads every question several times, but its image is used once."""
    return docs.cast_column("image", datasets.Image(decode=False))


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    return [decode_image(doc["image"]["bytes"], f"test split, question {doc['id']}")]


def doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    return str(doc["question"])
