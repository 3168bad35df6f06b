"""Downloads that resume where they stopped.

A file is written as `.part` beside its place and moved there once verified.

huggingface_hub resolves addresses on the hub (revision, checksum, token). Its own download restarts a file
after its process was killed, so files of the hub are downloaded here like all others.
"""

import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils import build_hf_headers
from rich.progress import DownloadColumn, TransferSpeedColumn

from vlmscale.data.hub import get_endpoint, hide_credentials
from vlmscale.data.llava.progress import Report, show_progress
from vlmscale.data.llava.sources import Source
from vlmscale.data.llava.verify import DownloadError, add_suffix, is_verified, verify
from vlmscale.errors import UserError
from vlmscale.jobs.entry import is_disk_full
from vlmscale.records.files import read_json, write_json
from vlmscale.records.locks import acquire_lock

_THREADS = 4
_TRIES = 5  # in a row without a single new byte, then the next address
TIMEOUT = 60.0  # seconds for a connection, and for the next bytes
PAUSE = 2.0  # seconds before the second try; doubled before each further one
_MIN_SPEED = 10_000  # bytes per second over a timeout; a slower server is left for the next mirror
_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)@(?P<revision>[^/]+)/(?P<path>.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Remote:
    """The address of a file; `sha256` and `revision` if it is on the hub."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    revision: str | None = None


def count_missing_bytes(source: Source, folder: Path) -> float:
    """Estimate how much of a file is still to be downloaded."""
    if (file := folder / source.file).exists():
        return 0.0
    return max(0.0, source.gigabytes * 1e9 - _size(add_suffix(file, ".part")))


def download_all(
    sources: Sequence[Source], folder: Path, *, mirrors: Sequence[str] = ()
) -> dict[Source, str]:
    """Download `sources` into `folder`, several at a time; return those that failed, with the reasons.

    mirrors: addresses of folders laid out like `folder`, tried first. Raises UserError when the disk is
    full.
    """
    failed, stop = {}, threading.Event()

    def download(source: Source, report: Report) -> None:
        def report_or_stop(done: float, total: float | None) -> None:
            if stop.is_set():
                raise CancelledError
            report(done, total)

        download_file(source, folder, mirrors, report=report_or_stop)

    with (
        show_progress(DownloadColumn(), TransferSpeedColumn()) as add_bar,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        jobs = {pool.submit(download, source, add_bar(source.file)): source for source in sources}
        try:
            for job in as_completed(jobs):
                try:
                    job.result()
                except DownloadError as error:
                    failed[jobs[job]] = str(error)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def download_file(
    source: Source,
    folder: Path,
    mirrors: Sequence[str] = (),
    report: Report = lambda done, total: None,
) -> Path:
    """Download the file of `source` to `folder`, unless it exists, and return it; see `download_all`.

    Raises DownloadError with the reason for every address, and UserError for a wrong mirror, or a wrong
    file that the user put in its place.
    """
    file = folder / source.file
    addresses = [*(_join_address(mirror, source.file) for mirror in mirrors), *source.urls]
    if is_verified(source, folder):
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        try:
            verify(file, file, source)
        except DownloadError as reason:
            raise UserError(f"{file} cannot be used: {reason}. Remove or replace it.") from None
        return file
    part, reasons = add_suffix(file, ".part"), []
    busy = f"{part} is being written by another process. Wait for it."
    with acquire_lock(add_suffix(part, ".lock"), busy):
        if is_verified(source, folder):
            return file  # another process has just downloaded it
        for url in addresses:
            try:
                remote = _resolve(url)
                _download(remote, part, report)
                _move_verified(part, file, source, remote)
            except DownloadError as reason:
                reasons.append(f"{hide_credentials(url)}: {hide_credentials(str(reason))}")
            except OSError as error:
                if not is_disk_full(error):
                    raise
                raise UserError(
                    f"The disk of {part.parent} is full: {part.name} has {_size(part):,} bytes so far. "
                    "Make room and run again: the download resumes."
                ) from None
            else:
                return file
    raise DownloadError("; ".join(reasons))


def _join_address(mirror: str, file: str) -> str:
    try:
        parts = urlsplit(mirror)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[^\s/]+", parts.netloc):
        raise UserError(
            f"the mirror {hide_credentials(mirror)} is no address of a web server. Name one that begins "
            "with https:// or http://; files of this machine are put into the folder of raw files instead."
        )
    return parts._replace(path=f"{parts.path.rstrip('/')}/{file}").geturl()


def _resolve(url: str) -> _Remote:
    """Return the HTTP address of `url`; on the hub pinned to a commit, with the checksum given there."""
    if (hub := _HUB.fullmatch(url)) is None:
        return _Remote(url)
    address = partial(
        hf_hub_url, hub["repo"], hub["path"], repo_type="dataset", endpoint=get_endpoint()
    )
    try:
        metadata = get_hf_file_metadata(
            address(revision=hub["revision"]),
            timeout=TIMEOUT,
            endpoint=get_endpoint(),
            retry_on_errors=True,
        )
    except (httpx2.HTTPError, EntryNotFoundError, ConnectionError) as error:
        raise DownloadError(_first_line(error)) from None
    # The hub's tag of a large file is the SHA-256 of its content; that of a small one is git's own.
    sha256 = metadata.etag if metadata.etag and _SHA256.fullmatch(metadata.etag) else None
    commit = metadata.commit_hash or hub["revision"]
    return _Remote(address(revision=commit), build_hf_headers(), sha256, commit)


def _download(remote: _Remote, part: Path, report: Report) -> None:
    """Complete `part`, over as many connections as it takes while each brings new bytes."""
    failures = 0
    with httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as client:
        while True:
            before = _size(part)
            report(before, None)
            try:
                return _continue(client, remote, part, report)
            except httpx2.HTTPStatusError as error:
                code = error.response.status_code
                reason = f"the server answers {code}"
                if code < 500 and code not in (408, 416, 429):
                    raise DownloadError(reason) from None
            except httpx2.TimeoutException:
                reason = f"nothing came for {TIMEOUT:g} s"
            except httpx2.HTTPError as error:
                reason = f"the connection broke ({_first_line(error)})"
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _TRIES:
                raise DownloadError(f"{reason}, {failures} times without a new byte")
            time.sleep(PAUSE * 2 ** (failures - 1))


def _continue(client: httpx2.Client, remote: _Remote, part: Path, report: Report) -> None:
    """Download the rest of `part` over one connection; all of it if the file on the server has changed."""
    state_file = add_suffix(part, ".json")
    state = read_json(state_file) if state_file.exists() else {}
    shown = hide_credentials(remote.url)
    size = _size(part) if state.get("url") == shown and state.get("validator") else 0
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if size:
        headers |= {"Range": f"bytes={size}-", "If-Range": state["validator"]}
    with client.stream("GET", remote.url, headers=headers) as answer:
        if answer.status_code == 416:
            if answer.headers.get("Content-Range") == f"bytes */{size}":
                return  # it was complete
            _discard(part)  # the file on the server has changed: start again
        answer.raise_for_status()
        if answer.status_code == 206:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
                raise DownloadError("the server sends another range than requested")
        else:
            size = 0
            write_json(state_file, {"url": shown, "validator": _get_validator(answer)})
        length = answer.headers.get("Content-Length")
        total = size + int(length) if length else None
        window_start, window_size = time.monotonic(), size
        with part.open("ab" if size else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                file.flush()  # kept even if the process is killed
                size += len(chunk)
                report(size, total)
                if time.monotonic() > window_start + TIMEOUT:
                    if size < window_size + _MIN_SPEED * TIMEOUT:
                        raise DownloadError(
                            f"it sent {size - window_size:,} bytes in {TIMEOUT:g} s"
                        )
                    window_start, window_size = time.monotonic(), size
            os.fsync(file.fileno())


def _get_validator(answer: httpx2.Response) -> str | None:
    """Return what identifies this version of a file: a strong entity tag, else the date."""
    tag = answer.headers.get("ETag")
    if tag is None or tag.startswith("W/"):
        return answer.headers.get("Last-Modified")
    return str(tag)


def _move_verified(part: Path, file: Path, source: Source, remote: _Remote) -> None:
    """Move a download to its place; discard it, raising DownloadError, if it is not the right file."""
    try:
        url = hide_credentials(remote.url)
        verify(part, file, source, url=url, revision=remote.revision, sha256=remote.sha256)
    except DownloadError:
        _discard(part)
        raise
    part.replace(file)
    _discard(part)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    add_suffix(part, ".json").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
