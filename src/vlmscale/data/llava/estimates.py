"""Disk space and time that preparing datasets takes, checked before it begins."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vlmscale.data.llava.download import count_missing_bytes
from vlmscale.data.llava.sources import Source, locate_own_images, read_sources
from vlmscale.errors import UserError
from vlmscale.resources import find_resource

_DOWNLOAD_RATE = 50e6  # bytes per second
# Samples per second and process: decoding a photograph of 640 x 480 pixels took 4 ms of one core.
_CONVERSION_RATE = 150.0
_MARGIN = 1.05  # free disk space to ask for, over what is expected to be written


class Estimate(NamedTuple):
    """What is left to do for a dataset: a sentence, and the bytes to be written to each folder."""

    text: str
    disk: list[tuple[Path, float]]


def print_estimates(
    datasets: Mapping[Path, str], others: Mapping[Path, float], *, raw: Path, workers: int
) -> None:
    """Print what all downloads of a study take, before the first one begins.

    datasets: folder of a split -> name in resources/datasets.csv. others: folder -> bytes to download
    into it. Raises UserError if the disks have no room for all of it together.
    """
    table, disk = find_resource("datasets.csv"), list(others.items())
    for output, name in datasets.items():
        estimate = estimate_dataset(read_sources(table, name), raw, output, workers)
        print(estimate.text, flush=True)
        disk += estimate.disk
    for folder, size in others.items():
        minutes = size / _DOWNLOAD_RATE / 60
        print(f"{folder}: about {size / 1e9:.0f} GB to download ({minutes:.0f} min).", flush=True)
    check_disk_space(disk)


def estimate_dataset(
    sources: Sequence[Source], raw: Path, output: Path, workers: int, limit: int | None = None
) -> Estimate:
    """Estimate what is left to do for a dataset, given its files with the records first."""
    first = {source.holds: source for source in reversed(sources)}.values()
    # A folder among the user's own images will hardly need its archive.
    needed = [s for s in first if not (locate_own_images(raw, s) / s.holds).is_dir()]
    samples = sources[0].count or 0
    share = 1.0 if limit is None or not samples else min(1.0, limit / samples)
    download = sum(count_missing_bytes(source, raw) for source in needed)
    written = 1e9 * sources[0].converted_gigabytes * share
    written = max(0.0, written - count_shard_bytes(locate_parts(output)))
    text = (
        f"{sources[0].dataset}: about {download / 1e9:.0f} GB to download into {raw} "
        f"({download / _DOWNLOAD_RATE / 60:.0f} min at {_DOWNLOAD_RATE / 1e6:.0f} MB/s), then "
        f"{written / 1e9:.0f} GB to write to {output} "
        f"({samples * share / _CONVERSION_RATE / workers / 60:.0f} min with {workers} processes)."
    )
    return Estimate(text, [(raw, download), (output, written)])


def locate_parts(output: Path) -> Path:
    """Return the folder in which the parts of a split wait until all are written."""
    return output.with_name(f".{output.name}.parts")


def count_shard_bytes(folder: Path) -> int:
    """Return the size of all shards in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def check_disk_space(needed: Sequence[tuple[Path, float]]) -> None:
    """Raise UserError unless each disk has room for the bytes to be written to its folders."""
    by_disk: dict[int, list[tuple[Path, float]]] = {}
    for folder, size in needed:
        by_disk.setdefault(_find_existing(folder).stat().st_dev, []).append((folder, size))
    for folders in by_disk.values():
        size = _MARGIN * sum(size for _, size in folders)
        free = shutil.disk_usage(_find_existing(folders[0][0])).free
        if size > free:
            names = " and ".join(dict.fromkeys(str(folder) for folder, _ in folders))
            raise UserError(
                f"The disk of {names} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are needed. Make "
                "room or choose other folders."
            )


def _find_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
