"""Compute the tower's features of a split's images once, before training."""

from vlmscale.data.shards import read_unique_images
from vlmscale.images import decode_image
from vlmscale.models.feature_store import write_store
from vlmscale.training.spec import FeaturesSpec


def encode_images(spec: FeaturesSpec) -> None:
    """Write the features of every image of `spec.data`. Raises UserError for a damaged image."""
    images = read_unique_images(spec.data)
    write_store(
        spec.tower,
        ((key, decode_image(content, f"{spec.data}, image {key}")) for key, content in images),
        len(images),
        spec.output,
        feature_layers=spec.feature_layers,
        image_size=spec.image_size,
        precision=spec.precision,
    )
