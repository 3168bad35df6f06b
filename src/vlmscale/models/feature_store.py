"""The tower's features of a split, computed once and memory-mapped.

The tower is frozen: its features are the same for every cell of a study.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoImageProcessor, CLIPVisionModel

from vlmscale.errors import UserError
from vlmscale.models.checkpoint import check_folder
from vlmscale.models.pixels import to_pixels
from vlmscale.models.tower import compute_tower_features
from vlmscale.records.files import atomic_path, read_json, write_json

# i images, p patches (and the CLS position), l selected layers, d tower width

_BATCH = 64  # images the tower encodes at once


class FeatureStore:
    """Features by image key (vlmscale.data.images.image_key)."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise UserError(f"{folder} has no index.json. Delete the folder and run again.")
        self.folder = folder
        self.rows: dict[str, int] = read_json(index)["rows"]
        # Copy on write, because torch refuses read-only arrays.
        self.features = np.load(folder / "features.npy", mmap_mode="c")

    def get(self, key: str) -> Tensor:
        """Return the features of one image, (1 + p, l d), float32, read from disk when they are used."""
        if key not in self.rows:
            raise UserError(
                f"{self.folder} has no features of image {key}: it was made from other data. "
                "Delete the folder and run again."
            )
        return torch.from_numpy(self.features[self.rows[key]])


def write_store(
    tower: Path,
    images: Iterable[tuple[str, Any]],
    total: int,
    folder: Path,
    *,
    feature_layers: Sequence[int],
) -> None:
    """Run the tower over `images`, pairs of a key and a PIL image, and write their features.

    `total` is the number of images. Features are float32, so that training from them and from pixels
    agrees.
    """
    check_folder(tower, "preprocessor_config.json")
    model = CLIPVisionModel.from_pretrained(tower).eval()
    processor = AutoImageProcessor.from_pretrained(tower, backend="pil")
    config = model.config
    patches = (config.image_size // config.patch_size) ** 2
    shape = (total, 1 + patches, len(feature_layers) * config.hidden_size)
    rows: dict[str, int] = {}
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        store = np.lib.format.open_memmap(
            scratch / "features.npy", mode="w+", dtype=np.float32, shape=shape
        )
        with tqdm(total=total, desc="tower", unit="image") as bar:
            for batch in _split_batches(images, _BATCH):
                pixels = to_pixels([image for _, image in batch], processor, "pad")
                features = compute_tower_features(model, pixels, list(feature_layers))
                store[len(rows) : len(rows) + len(batch)] = features.numpy()
                rows.update({key: len(rows) + i for i, (key, _) in enumerate(batch)})
                bar.update(len(batch))
        write_json(scratch / "index.json", {"feature_layers": list(feature_layers), "rows": rows})


def _split_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
