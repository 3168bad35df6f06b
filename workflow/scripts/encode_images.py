from pathlib import Path

from vlmscale.data.images import decode
from vlmscale.data.shards import unique_images
from vlmscale.jobs import logged
from vlmscale.models.feature_store import write_store

with logged(snakemake.log[0]):
    data = snakemake.input.data
    images = unique_images(Path(data))
    write_store(
        Path(snakemake.input.tower),
        ((key, decode(content, f"{data}, image {key}")) for key, content in images),
        len(images),
        Path(snakemake.output[0]),
        feature_layers=snakemake.params.feature_layers,
    )
