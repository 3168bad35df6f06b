"""From records and stored images to Parquet shards: in parts, by several processes, going on after a stop.

A part is one shard with its own manifest, written whole or not at all. Its name has a hash of what it is
made from, so a part left by a killed run is taken up again only if it would be made the same.
"""

import errno
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.data.llava.archives import StoredImage, UnreadableImage
from vlmscale.data.llava.image_repair import repair_image
from vlmscale.data.llava.records import UnusableSample, clean_conversation, get_image_path
from vlmscale.data.shards import SAMPLE, write_split
from vlmscale.errors import UserError
from vlmscale.jobs.fingerprint import fingerprint
from vlmscale.records.files import atomic_path, read_json, write_json

# Bounds of a shard, which is also what a process holds in memory, some three times over.
_ROWS = 2048
_BYTES = 128 * 2**20

_IMAGES = pa.schema(
    {
        "image": pa.string(),
        "sha256": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "mode": pa.string(),
        "repair": pa.string(),
    }
)


@dataclass(frozen=True)
class Part:
    """Records that become one shard: their place in the list, and where their images are."""

    number: int
    first: int
    records: list[dict[str, Any]]
    images: list[StoredImage | None]  # None: text only, or found nowhere

    @property
    def shard(self) -> str:
        return f"shard-{self.number:05d}"

    @property
    def name(self) -> str:
        identities = [image and image.identity for image in self.images]
        content = json.dumps([self.number, self.first, self.records, identities])
        return f"{self.shard}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def split_into_parts(
    records: Iterable[Mapping[str, Any]], found: Mapping[str, StoredImage]
) -> Iterator[Part]:
    """The parts that `records` make, in order; `found` has the images by path."""
    part, size = Part(0, 0, [], []), 0
    for position, record in enumerate(records):
        image = found.get(get_image_path(record) or "")
        more = image.size if image else 0
        if len(part.records) == _ROWS or (part.records and size + more > _BYTES):
            yield part
            part, size = Part(part.number + 1, position, [], []), 0
        part.records.append({key: record.get(key) for key in ("id", "image", "conversations")})
        part.images.append(image)
        size += more
    if part.records:
        yield part


def convert_parts(
    parts: Iterable[Part], folder: Path, workers: int, count: Callable[[int], None]
) -> list[Path]:
    """The folders of all parts below `folder`, in order; `count` is told how many samples are done."""
    # Changed code does not take up what older code made.
    code = fingerprint(["vlmscale.data.llava.convert"], packages=("pillow", "pyarrow"))
    for older in folder.glob("*"):
        if older.name != code:
            shutil.rmtree(older)
    folder = folder / code
    folder.mkdir(parents=True, exist_ok=True)
    finished, samples = dict[int, Path](), 0
    # Forked, because a spawned process would run the caller's script again from its top.
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        running: dict[Future[Path], Part] = {}

        def collect(most: int) -> None:
            nonlocal samples
            while len(running) > most:
                for job in wait(running, return_when=FIRST_COMPLETED).done:
                    part = running.pop(job)
                    finished[part.number] = job.result()
                    samples += len(part.records)
                    count(samples)

        try:
            for part in parts:
                running[pool.submit(convert_part, part, folder)] = part
                collect(2 * workers)  # no more are held in memory
            collect(0)
        except BrokenProcessPool:
            raise UserError(
                "A process was killed while it converted, most likely because the memory was full. Run "
                "again with fewer processes: what is done is kept."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"The disk of {folder} is full. Make room and run again: what is done is kept."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return [finished[number] for number in sorted(finished)]


def convert_part(part: Part, folder: Path) -> Path:
    """Write one part below `folder`, or find it there from before."""
    target = folder / part.name
    if (target / f"{part.shard}.parquet").exists():
        return target
    rows, skipped, repairs = [], [], Counter[str]()
    images: dict[str, dict[str, Any]] = {}
    for offset, (record, stored) in enumerate(zip(part.records, part.images, strict=True)):
        path, name = get_image_path(record), str(record["id"])
        try:
            turns, mended = clean_conversation(record)
            row: dict[str, Any] = {
                "id": name,
                "image": None,
                "image_key": None,
                "conversations": turns,
            }
            if path is not None:
                if stored is None:
                    raise UnreadableImage("missing")
                original = stored.read()
                image = repair_image(original)
                row |= {"image": {"bytes": image.content, "path": None}, "image_key": image.key}
                images[path] = {
                    "image": path,
                    "sha256": hashlib.sha256(original).hexdigest(),
                    "width": image.width,
                    "height": image.height,
                    "mode": image.mode,
                    "repair": image.repair,
                }
        except (UnusableSample, UnreadableImage) as reason:
            lost = {"position": part.first + offset, "id": name, "image": path}
            skipped.append({**lost, "reason": str(reason)})
            continue
        rows.append(row)
        repairs += mended
    about = {"images": list(images.values()), "skipped": skipped, "repairs": repairs}
    write_split(target, {part.shard: rows}, SAMPLE, about)
    return target


def read_skipped(parts: Iterable[Path]) -> list[dict[str, Any]]:
    """The samples left out of the parts: position, id, image, reason."""
    return [lost for part in parts for lost in read_json(part / "manifest.json")["skipped"]]


def join_parts(parts: Iterable[Path], output: Path, about: Mapping[str, Any]) -> None:
    """Move the shards of `parts` into one split, with a manifest and the table images.parquet.

    The table has a row for each image: its path in the records, the SHA-256 of the original file, width
    and height in pixels, colour mode, and what was repaired.
    """
    parts = list(parts)
    manifests = [read_json(part / "manifest.json") for part in parts]
    images = {image["image"]: image for manifest in manifests for image in manifest["images"]}
    repaired = Counter(image["repair"] for image in images.values() if image["repair"])
    with atomic_path(output) as scratch:
        scratch.mkdir()
        rows = [images[path] for path in sorted(images)]
        pq.write_table(pa.Table.from_pylist(rows, schema=_IMAGES), scratch / "images.parquet")
        manifest = {
            **about,
            "rows": sum(manifest["rows"] for manifest in manifests),
            "images": len(images),
            "repaired_images": repaired,
            "repaired_conversations": sum((Counter(m["repairs"]) for m in manifests), Counter()),
            "skipped": [lost for manifest in manifests for lost in manifest["skipped"]],
            "shards": {name: shard for m in manifests for name, shard in m["shards"].items()},
        }
        write_json(scratch / "manifest.json", manifest)
        for part, made in zip(parts, manifests, strict=True):
            for name in made["shards"]:
                shutil.move(part / name, scratch / name)
