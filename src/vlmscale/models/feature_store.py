"""The tower's features of a split, computed once and memory-mapped.

The tower is frozen: its features are the same for every cell of a study.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vlmscale.errors import Damaged
from vlmscale.models.checkpoint import load_tower
from vlmscale.models.pixels import to_pixels
from vlmscale.models.tower import compute_tower_features, count_special_positions, find_grid_side
from vlmscale.records.files import atomic_folder, check_folder_content, read_json, write_json
from vlmscale.settings import Precision

# i images, s special positions of the tower, p patches, l selected layers, d tower width

_BATCH = 64  # images the tower encodes at once


_REMEDY = "Delete the folder and run again."


class FeatureStore:
    """Features by image key (vlmscale.images.image_key)."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise Damaged(f"{folder} has no index.json.", _REMEDY, folder)
        check_folder_content(folder)
        self.folder = folder
        self.rows: dict[str, int] = read_json(index)["rows"]
        # Copy on write, because torch refuses read-only arrays.
        self.features = np.load(folder / "features.npy", mmap_mode="c")

    def get(self, key: str) -> Tensor:
        """Return the features of one image, (s + p, l d), float32, read from disk when they are used."""
        if key not in self.rows:
            raise Damaged(
                f"{self.folder} has no features of image {key}: it was made from other data.",
                _REMEDY,
                self.folder,
            )
        return torch.from_numpy(self.features[self.rows[key]])


def write_store(
    tower: Path,
    images: Iterable[tuple[str, Any]],
    total: int,
    folder: Path,
    *,
    feature_layers: Sequence[int],
    image_size: int | None = None,
    precision: Precision = "fp32",
) -> None:
    """Run the tower over `images`, pairs of a key and a PIL image, and write their features.

    `total` is the number of images; image_size as of load_tower. The tower computes in `precision`, as in
    a training from pixels, on a GPU if there is one. Features are stored as float32.
    """
    model, processor = load_tower(tower, image_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model.eval().to(device, dtype)
    positions = count_special_positions(model.config) + find_grid_side(model.config) ** 2
    shape = (total, positions, len(feature_layers) * model.config.hidden_size)
    rows: dict[str, int] = {}
    with atomic_folder(folder) as scratch:
        store = np.lib.format.open_memmap(
            scratch / "features.npy", mode="w+", dtype=np.float32, shape=shape
        )
        with tqdm(total=total, desc="tower", unit="image") as bar:
            left = iter(images)
            while batch := list(islice(left, _BATCH)):
                pixels = to_pixels([image for _, image in batch], processor, "pad")
                pixels = pixels.to(device, dtype)
                features = compute_tower_features(model, pixels, list(feature_layers))
                store[len(rows) : len(rows) + len(batch)] = features.float().cpu().numpy()
                rows.update({key: len(rows) + i for i, (key, _) in enumerate(batch)})
                bar.update(len(batch))
        write_json(scratch / "index.json", {"feature_layers": list(feature_layers), "rows": rows})
