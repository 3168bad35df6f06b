"""Prepare LLaVA's training data: from the released files to a split that training reads.

All work that needs the network or much disk is done here. It may be stopped and started again at any point.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vlmscale.data.llava.archives import StoredImage, find_archived_images, find_own_images
from vlmscale.data.llava.convert import convert_parts, join_parts, read_skipped, split_into_parts
from vlmscale.data.llava.download import count_missing_bytes, download_all
from vlmscale.data.llava.estimates import (
    check_disk_space,
    count_shard_bytes,
    estimate_dataset,
    locate_parts,
)
from vlmscale.data.llava.progress import show_progress
from vlmscale.data.llava.records import get_image_path, read_records
from vlmscale.data.llava.sources import Source, locate_own_images, match_folder, read_sources
from vlmscale.data.llava.verify import read_record
from vlmscale.errors import UserError
from vlmscale.records.files import list_versions, read_json
from vlmscale.resources import find_resource

MAX_LOSS = 0.001  # share of the samples; with more missing it is another dataset
_TEXT, _NO_FOLDER = "text only", "no known folder"
_EXAMPLES = 5

# Downloads files and returns those that failed, with the reasons.
Download = Callable[[Sequence[Source]], dict[Source, str]]


def prepare_dataset(
    dataset: str,
    *,
    raw: Path,
    output: Path,
    workers: int,
    limit: int | None = None,
    mirrors: Sequence[str] = (),
    table: Path | None = None,
) -> dict[str, Any]:
    """Download, check and convert `dataset`, a name in resources/datasets.csv; return the manifest.

    raw: folder of the downloaded files, which are kept. The user's own images in `raw`/own/`dataset`, under
    the records' paths, are used before any archive. output: folder of the split, created when complete.
    workers: number of processes. limit: use only this many records, from the first.
    mirrors: addresses laid out like `raw`, tried first. table: another datasets.csv.

    Raises UserError if the disk is too small, a file cannot be downloaded, or more than 0.1 % of the
    samples are lost; finished work is kept for the next run.
    """
    sources = read_sources(table or find_resource("datasets.csv"), dataset)
    if output.is_file() or (output.is_dir() and _holds_other_files(output)):
        raise UserError(
            f"{output} exists, holds other files and would be replaced. Name a folder that does not exist."
        )
    if raw.resolve().is_relative_to(output.resolve()):
        raise UserError(
            f"the downloads in {raw} would go when {output} is written; name another folder"
        )
    estimate = estimate_dataset(sources, raw, output, workers, limit)
    print(estimate.text, file=sys.stderr, flush=True)
    check_disk_space(estimate.disk)

    def download(needed: Sequence[Source]) -> dict[Source, str]:
        check_disk_space([(raw, sum(count_missing_bytes(source, raw) for source in needed))])
        return download_all(needed, raw, mirrors=mirrors)

    if failed := download(sources[:1]):
        raise UserError(f"{dataset} cannot be prepared. {_format_failures(failed, raw)}")
    survey = _Survey(sources, raw, limit)
    images, used = survey.find_images(download)
    survey.check_loss((path, "missing") for path in survey.paths.elements() if path not in images)
    parts_folder = locate_parts(output)
    # An image counts once for each sample that shows it.
    size = sum(image.size * survey.paths[path] for path, image in images.items())
    check_disk_space([(output, size - count_shard_bytes(parts_folder))])
    with show_progress() as add_bar:
        report, total = add_bar(f"converting {dataset}"), survey.samples.total()
        parts = split_into_parts(survey.read_records(), images)
        written = convert_parts(parts, parts_folder, workers, lambda done: report(done, total))
    survey.check_loss((sample["image"], sample["reason"]) for sample in read_skipped(written))
    files = [survey.records, *used]
    about = {
        "dataset": dataset,
        "limit": limit,
        "records": total,
        "samples_by_source": survey.samples,
        "sources": {
            source.file: {**read_record(raw / source.file), "licence": source.licence}
            for source in files
        },
        "licence": "; ".join(dict.fromkeys(source.licence for source in files)),
        "versions": list_versions(("vlmscale", "pillow", "pyarrow")),
    }
    join_parts(written, output, about)
    shutil.rmtree(parts_folder)
    return read_json(output / "manifest.json")


class _Survey:
    """The records of a dataset, counted by the folder of their images, and where these images are."""

    def __init__(self, sources: Sequence[Source], raw: Path, limit: int | None) -> None:
        self.records, *self.archives = sources
        self.raw, self.limit = raw, limit
        self.own_images = locate_own_images(raw, self.records)
        self.samples = Counter[str]()  # by folder
        self.paths = Counter[str]()  # samples by image
        self.failed: dict[Source, str] = {}
        for record in self.read_records():
            path = get_image_path(record)
            self.samples[self._name_folder(path)] += 1
            if path is not None:
                self.paths[path] += 1
        total = self.samples.total()
        if not total:
            raise UserError(f"{raw / self.records.file} has no records. Delete it and run again.")
        if limit is None and self.records.count not in (None, total):
            raise UserError(
                f"{raw / self.records.file} has {total:,} records, {self.records.count:,} were expected: "
                "it is not the version in resources/datasets.csv. Delete it and run again."
            )

    def read_records(self) -> Iterator[dict[str, Any]]:
        return islice(read_records(self.raw / self.records.file), self.limit)

    def find_images(self, download: Download) -> tuple[dict[str, StoredImage], list[Source]]:
        """Return where each image is, and the archives used.

        The user's own images come first, then the first archive of each folder, then the next one for what
        is still missing.
        """
        images = find_own_images(self.own_images, self.paths)
        used: list[Source] = []
        untried = list(self.archives)
        while True:
            missing: dict[str, list[str]] = {}
            for path in self.paths:
                if path not in images:
                    missing.setdefault(self._name_folder(path), []).append(path)
            batch = {s.holds: s for s in reversed(untried) if s.holds in missing}
            if not batch:
                return images, used
            self.failed |= download(list(batch.values()))
            for folder, source in batch.items():
                untried.remove(source)
                if source not in self.failed:
                    used.append(source)
                    images |= find_archived_images(self.raw / source.file, folder, missing[folder])

    def check_loss(self, lost: Iterable[tuple[str | None, str]]) -> None:
        """Raise UserError if too many samples, given as image path and reason, are lost."""
        lost, total = list(lost), self.samples.total()
        if len(lost) <= MAX_LOSS * total:
            return
        by_folder: dict[str, list[str]] = {}
        for path, reason in lost:
            cases = by_folder.setdefault(self._name_folder(path), [])
            cases.append(f"{path or 'a conversation'}: {reason}")
        lines = [
            f"{len(lost):,} of {total:,} samples are lost, {len(lost) / total:.2%}; "
            f"at most {MAX_LOSS:.1%} may be."
        ]
        for folder, cases in sorted(by_folder.items()):
            examples = ", ".join(list(dict.fromkeys(cases))[:_EXAMPLES])
            lines.append(
                f"  {folder}: {len(cases):,} of {self.samples[folder]:,}, such as {examples}"
            )
        lines.append(
            f"Put the images into {self.own_images} under these paths and run again: "
            "finished work is kept."
        )
        if self.failed:
            lines.append(_format_failures(self.failed, self.raw))
        raise UserError("\n".join(lines))

    def _name_folder(self, path: str | None) -> str:
        folders = [source.holds for source in self.archives]
        return _TEXT if path is None else match_folder(path, folders) or _NO_FOLDER


def _format_failures(failed: Mapping[Source, str], raw: Path) -> str:
    lines = [f"  {source.file}: {reasons}\n" for source, reasons in failed.items()]
    return (
        f"These files cannot be downloaded:\n{''.join(lines)}"
        f"Put them into {raw} under these names, or name mirrors, and run again."
    )


def _holds_other_files(folder: Path) -> bool:
    """Tell whether a folder holds anything without being a split that was prepared before."""
    return not (folder / "manifest.json").is_file() and any(folder.iterdir())
