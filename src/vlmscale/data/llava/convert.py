"""Convert records and stored images to Parquet shards, in several processes, resuming after a stop.

A part is one shard with its own manifest, written by an atomic rename. Its name has a hash of what it is
made from: a part from an earlier run is used only if it would come out the same.
"""

import hashlib
import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.data.columns import SAMPLE
from vlmscale.data.llava.archives import StoredImage
from vlmscale.data.llava.image_repair import repair_image
from vlmscale.data.llava.records import UnusableSample, clean_conversation, get_image_path, get_name
from vlmscale.data.shards import write_split
from vlmscale.errors import UserError
from vlmscale.images import UnreadableImage
from vlmscale.jobs.entry import is_disk_full
from vlmscale.jobs.fingerprint import fingerprint
from vlmscale.records.files import atomic_path, list_versions, read_json, write_json

# Bounds of a shard. A process needs about three times as much memory.
MAX_ROWS = 2048
MAX_BYTES = 128 * 2**20

_FACTS = {"width": pa.int32(), "height": pa.int32(), "mode": pa.string(), "repair": pa.string()}
_IMAGES = pa.schema({"image": pa.string(), "sha256": pa.string(), **_FACTS})


@dataclass(frozen=True)
class Part:
    """Records that become one shard, the position of the first in the list, and their images."""

    number: int
    first: int
    records: list[dict[str, Any]]
    images: list[StoredImage | None]  # None: text only, or missing

    @property
    def shard(self) -> str:
        return f"shard-{self.number:05d}"

    @property
    def name(self) -> str:
        identities = [image and (image.size, image.version) for image in self.images]
        content = json.dumps([self.number, self.first, self.records, identities])
        return f"{self.shard}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def split_into_parts(
    records: Iterable[Mapping[str, Any]], images: Mapping[str, StoredImage]
) -> Iterator[Part]:
    """Yield the parts that `records` make, in order. images: path -> image."""
    part, size = Part(0, 0, [], []), 0
    for position, record in enumerate(records):
        image = images.get(get_image_path(record) or "")
        image_size = image.size if image else 0
        if len(part.records) == MAX_ROWS or (part.records and size + image_size > MAX_BYTES):
            yield part
            part, size = Part(part.number + 1, position, [], []), 0
        keys = ("id", "image", "conversations")
        part.records.append({key: record[key] for key in keys if key in record})
        part.images.append(image)
        size += image_size
    if part.records:
        yield part


def convert_parts(
    parts: Iterable[Part], folder: Path, workers: int, report: Callable[[int], None]
) -> list[Path]:
    """Write all parts below `folder` and return their folders in order.

    report: called with the number of samples done. Raises UserError when the disk or the memory is full.
    """
    # Parts made by other code are discarded. Installed versions count: a wheel has no lock file.
    packages = list_versions(("pillow", "pyarrow"))
    code = "-".join([fingerprint(["vlmscale.data.llava.convert"]), *packages.values()])
    for older in folder.glob("*"):
        if older.name != code:
            shutil.rmtree(older)
    folder = folder / code
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    samples, running = 0, deque[tuple[int, Future[Path]]]()
    # Forked, because a spawned process would run the caller's script again from its top.
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:

        def wait_until_running(limit: int) -> None:
            nonlocal samples
            while len(running) > limit:
                size, job = running.popleft()
                written.append(job.result())
                samples += size
                report(samples)

        try:
            for part in parts:
                running.append((len(part.records), pool.submit(convert_part, part, folder)))
                wait_until_running(2 * workers)  # bounds the parts in memory
            wait_until_running(0)
        except BrokenProcessPool:
            raise UserError(
                "A process was killed while it converted, most likely because the memory was full. Run "
                "again with fewer processes: finished parts are kept."
            ) from None
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise UserError(
                f"The disk of {folder} is full. Make room and run again: finished parts are kept."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return written


def convert_part(part: Part, folder: Path) -> Path:
    """Write one part below `folder`, unless it is there, and return its folder."""
    target = folder / part.name
    if (target / f"{part.shard}.parquet").exists():
        return target
    rows, skipped, repairs = [], [], Counter[str]()
    images: dict[str, dict[str, Any]] = {}
    for position, (record, stored) in enumerate(
        zip(part.records, part.images, strict=True), part.first
    ):
        path, name = get_image_path(record), get_name(record, position)
        row: dict[str, Any] = {"id": name, "image": None, "image_key": None}
        try:
            row["conversations"], made = clean_conversation(record)
            if path is not None:
                if stored is None:
                    raise UnreadableImage("missing")
                original = stored.read()
                image = repair_image(original)
                row |= {"image": {"bytes": image.content, "path": None}, "image_key": image.key}
                facts = {fact: getattr(image, fact) for fact in _FACTS}
                digest = hashlib.sha256(original).hexdigest()
                images[path] = {"image": path, "sha256": digest, **facts}
        except (UnusableSample, UnreadableImage) as reason:
            skipped.append({"position": position, "id": name, "image": path, "reason": str(reason)})
            continue
        rows.append(row)
        repairs += made
    about = {"images": list(images.values()), "skipped": skipped, "repairs": repairs}
    write_split(target, {part.shard: rows}, SAMPLE, about)
    return target


def read_skipped(parts: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the samples that the parts lack: position, id, image, reason."""
    return [sample for part in parts for sample in read_json(part / "manifest.json")["skipped"]]


def join_parts(parts: Iterable[Path], output: Path, about: Mapping[str, Any]) -> None:
    """Move the shards of `parts` into one split, with a manifest and the table images.parquet.

    The table has a row for each image: its path in the records, the SHA-256 of the original file, width
    and height in pixels, colour mode, and what was repaired.
    """
    manifests = {part: read_json(part / "manifest.json") for part in parts}
    images = {image["image"]: image for made in manifests.values() for image in made["images"]}
    repairs = (Counter(made["repairs"]) for made in manifests.values())
    with atomic_path(output) as scratch:
        scratch.mkdir()
        rows = [images[path] for path in sorted(images)]
        pq.write_table(pa.Table.from_pylist(rows, schema=_IMAGES), scratch / "images.parquet")
        manifest = {
            **about,
            "rows": sum(made["rows"] for made in manifests.values()),
            "images": len(images),
            "repaired_images": Counter(row["repair"] for row in rows if row["repair"]),
            "repaired_conversations": sum(repairs, Counter()),
            "skipped": read_skipped(manifests),
            "shards": {
                name: shard for made in manifests.values() for name, shard in made["shards"].items()
            },
        }
        write_json(scratch / "manifest.json", manifest)
        for part, made in manifests.items():
            for name in made["shards"]:
                shutil.move(part / name, scratch / name)
