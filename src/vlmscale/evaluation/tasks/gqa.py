"""Replace lmms-eval's functions for questions of GQA (see gqa.yaml)."""

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from vlmscale.data.shards import list_shards
from vlmscale.images import decode_image

# Beside the questions; the working directory of a task has this link to its dataset.
IMAGES = Path("dataset/testdev_balanced_images")


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    return [decode_image(_images()[doc["imageId"]], f"{IMAGES}, image {doc['imageId']}")]


@cache
def _images() -> dict[str, bytes]:
    """Read the file content of every image. lmms-eval imports this module anew for every evaluation."""
    found = {}
    for file in list_shards(IMAGES):
        table = pq.read_table(file, columns=["id", "image"])
        for key, image in zip(table["id"], table["image"], strict=True):
            found[key.as_py()] = image["bytes"].as_py()
    return found
