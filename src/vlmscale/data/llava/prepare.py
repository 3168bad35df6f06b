"""LLaVA's training data, from the released files to a split that training reads.

Everything that needs the network or much disk happens here, on one machine; it may be stopped and
started again at any point.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from vlmscale.records.files import read_json, versions
from vlmscale.resources import resource

LARGEST_LOSS = 0.001  # share of the samples; more than that is another dataset
_TEXT, _NOWHERE = "text only", "no known folder"
_EXAMPLES = 5

Have = Callable[[Sequence[Source]], dict[Source, str]]  # downloads; returns failures with reasons


@dataclass
class Survey:
    """What the records ask for."""

    samples: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # folder of the image, or none -> samples
    images: dict[str, Counter[str]] = field(default_factory=dict)  # folder -> path -> samples


def prepare_dataset(
    dataset: str,
    *,
    raw: Path,
    output: Path,
    workers: int,
    limit: int | None = None,
    mirrors: Sequence[str] = (),
    timeout: float = 60.0,
    table: Path | None = None,
) -> dict[str, Any]:
    """Download, check and convert `dataset`, a name in resources/datasets.csv; returns the manifest.

    raw: folder of the downloaded files, kept for the next time. Images of one's own in `raw`/own/`dataset`,
    under the paths that the records have, come before any archive and are the cure for what those lack.
    output: folder of the split, appears when it is complete. workers: processes. limit: only so many
    records, from the first. mirrors: addresses laid out like `raw`, tried first. timeout: seconds
    without a byte, or with hardly any, after which a connection is given up.

    Raises UserError if the disk is too small, a file cannot be had, or more than 0.1 % of the samples
    are lost; what has been done is kept for the next run.
    """
    sources = read_sources(table or resource("datasets.csv"), dataset)
    records, archives = sources[0], sources[1:]
    takes = estimate_dataset(sources, raw, output, workers, limit)
    print(takes, file=sys.stderr, flush=True)
    check_disk_space([(raw, takes.download), (output, takes.written)])
    parts_in = locate_parts(output)

    def have(wanted: Sequence[Source]) -> dict[Source, str]:
        check_disk_space([(raw, sum(count_missing_bytes(source, raw) for source in wanted))])
        return download_all(wanted, raw, mirrors=mirrors, timeout=timeout)

    failed = have([records])
    if failed:
        raise UserError(f"{dataset} cannot be had. {_not_had(failed, raw)}")
    survey = _survey(records, archives, raw, limit)
    found, used, failed = _find_images(survey, archives, raw, have)
    lost = [
        (path, "missing")
        for paths in survey.images.values()
        for path in paths.elements()
        if path not in found
    ]
    _check_loss(lost, survey, archives, raw, failed)
    check_disk_space([(output, _size_of_images(survey, found) - count_shard_bytes(parts_in))])
    with show_progress() as bar:
        count = bar(f"converting {dataset}")
        parts = convert_parts(
            split_into_parts(_records(records, raw, limit), found),
            parts_in,
            workers,
            lambda done: count(done, survey.samples),
        )
    skipped = [(lost["image"], lost["reason"]) for lost in read_skipped(parts)]
    _check_loss(skipped, survey, archives, raw, failed)
    about = {
        "dataset": dataset,
        "limit": limit,
        "records": survey.samples,
        "samples_by_source": survey.kinds,
        "sources": {source.file: _provenance(source, raw) for source in [records, *used]},
        "licence": "; ".join(dict.fromkeys(source.licence for source in [records, *used])),
        "versions": versions(("vlmscale", "pillow", "pyarrow")),
    }
    join_parts(parts, output, about)
    shutil.rmtree(parts_in)
    return read_json(output / "manifest.json")


def _records(source: Source, raw: Path, limit: int | None) -> Iterator[dict[str, Any]]:
    return islice(read_records(raw / source.file), limit)


def _survey(records: Source, archives: Sequence[Source], raw: Path, limit: int | None) -> Survey:
    survey, folders = Survey(), [source.holds for source in archives]
    for record in _records(records, raw, limit):
        survey.samples += 1
        path = get_image_path(record)
        kind = _kind(path, folders)
        survey.kinds[kind] += 1
        if path is not None:
            survey.images.setdefault(kind, Counter())[path] += 1
    if limit is None and records.count not in (None, survey.samples):
        raise UserError(
            f"{raw / records.file} has {survey.samples:,} records, {records.count:,} were expected: "
            "it is not the version in resources/datasets.csv."
        )
    return survey


def _size_of_images(survey: Survey, found: Mapping[str, StoredImage]) -> int:
    """Bytes, an image that several samples show counted for each of them."""
    uses = [use for paths in survey.images.values() for use in paths.items()]
    return sum(found[path].size * samples for path, samples in uses if path in found)


def _kind(path: str | None, folders: Sequence[str]) -> str:
    return _TEXT if path is None else match_folder(path, folders) or _NOWHERE


def _find_images(
    survey: Survey, archives: Sequence[Source], raw: Path, have: Have
) -> tuple[dict[str, StoredImage], list[Source], dict[Source, str]]:
    """Where each image is, the files used for that, and those that could not be had with the reasons.

    One's own images come first, then the first archive of each folder, then the next for what is lacking.
    """
    found: dict[str, StoredImage] = {}
    for paths in survey.images.values():
        found |= find_own_images(locate_own_images(raw, archives[0]), paths)
    used: list[Source] = []
    failed: dict[Source, str] = {}
    untried = list(archives)
    while True:
        lacking = {
            folder: [path for path in paths if path not in found]
            for folder, paths in survey.images.items()
        }
        turn = {source.holds: source for source in reversed(untried) if lacking.get(source.holds)}
        if not turn:
            return found, used, failed
        failed |= have(list(turn.values()))
        for folder, source in turn.items():
            untried.remove(source)
            if source not in failed:
                used.append(source)
                found |= find_archived_images(raw / source.file, folder, lacking[folder])


def _check_loss(
    lost: Sequence[tuple[str | None, str]],
    survey: Survey,
    archives: Sequence[Source],
    raw: Path,
    failed: Mapping[Source, str],
) -> None:
    """Raise UserError if too many samples, given as image path and reason, are lost."""
    if len(lost) <= LARGEST_LOSS * survey.samples:
        return
    by_kind: dict[str, list[str]] = {}
    for path, reason in lost:
        kind = _kind(path, [source.holds for source in archives])
        by_kind.setdefault(kind, []).append(f"{path or 'a conversation'}: {reason}")
    lines = [
        f"{len(lost):,} of {survey.samples:,} samples are lost, {len(lost) / survey.samples:.2%}; "
        f"at most {LARGEST_LOSS:.1%} may be.",
        *(
            f"  {kind}: {len(cases):,} of {survey.kinds[kind]:,}, such as "
            + ", ".join(list(dict.fromkeys(cases))[:_EXAMPLES])
            for kind, cases in sorted(by_kind.items())
        ),
        f"Put the images into {locate_own_images(raw, archives[0])} under these paths and run again: "
        "what is done is kept.",
    ]
    raise UserError("\n".join(lines) + (f"\n{_not_had(failed, raw)}" if failed else ""))


def _not_had(failed: Mapping[Source, str], raw: Path) -> str:
    lines = [f"  {source.file}: {reasons}" for source, reasons in failed.items()]
    return "\n".join(
        [
            "Files that could not be had:",
            *lines,
            f"Put them into {raw} under these names, or name mirrors, and run again.",
        ]
    )


def _provenance(source: Source, raw: Path) -> dict[str, Any]:
    return {**(read_record(raw / source.file) or {}), "licence": source.licence}
