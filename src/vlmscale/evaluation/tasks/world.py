"""Functions that lmms-eval calls for questions of the generated world (see world.yaml)."""

import io
from typing import Any

import datasets
from PIL import Image


def process_docs(docs: datasets.Dataset) -> datasets.Dataset:
    """Leave images encoded: lmms-eval reads every question several times, but its image is used once."""
    return docs.cast_column("image", datasets.Image(decode=False))


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(doc["image"]["bytes"])).convert("RGB")]


def doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    return str(doc["question"])
