"""Downloads that resume where they stopped.

A file is written as `.part` beside its place and moved there once verified.

huggingface_hub resolves addresses on the hub (revision, checksum, token). Its own download restarts a file
after its process was killed, so files of the hub are downloaded here like all others.
"""

import errno
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils import build_hf_headers
from rich.progress import DownloadColumn, TransferSpeedColumn

from vlmscale.data.hub import get_endpoint
from vlmscale.data.llava.progress import Report, show_progress
from vlmscale.data.llava.sources import Source
from vlmscale.data.llava.verify import DownloadError, add_suffix, is_verified, verify
from vlmscale.errors import UserError
from vlmscale.records.files import read_json, write_json
from vlmscale.records.locks import acquire_lock

_THREADS = 4
_TRIES = 5  # in a row without a single new byte, then the next address
PAUSE = 2.0  # seconds before the second try; doubled before each further one
_MIN_SPEED = 10_000  # bytes per second over a timeout; a slower server is left for the next mirror
_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)@(?P<revision>[^/]+)/(?P<path>.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Stopped(Exception):
    """Another download failed in a way that ends them all."""


@dataclass(frozen=True)
class _Remote:
    """The address of a file; `sha256` and `revision` if it is on the hub."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    revision: str | None = None


def count_missing_bytes(source: Source, folder: Path) -> float:
    """Estimate how much of a file is still to be downloaded."""
    file = folder / source.file
    if file.exists():
        return 0.0
    return max(0.0, source.gigabytes * 1e9 - _size(add_suffix(file, ".part")))


def download_all(
    sources: Sequence[Source], folder: Path, *, mirrors: Sequence[str] = (), timeout: float = 60.0
) -> dict[Source, str]:
    """Download `sources` into `folder`, several at a time; return those that failed, with the reasons.

    mirrors: addresses of folders laid out like `folder`, tried first. timeout: seconds for a connection
    and for the next bytes. Raises UserError when the disk is full.
    """
    failed, stop = {}, threading.Event()

    def download(source: Source, report: Report) -> None:
        def report_or_stop(done: float, total: float | None) -> None:
            if stop.is_set():
                raise _Stopped
            report(done, total)

        download_file(source, folder, mirrors, timeout, report_or_stop)

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
    timeout: float = 60.0,
    report: Report = lambda done, total: None,
) -> Path:
    """Download the file of `source` to `folder`, unless it exists, and return it; see `download_all`.

    Raises DownloadError with the reason for every address, and UserError if the user put a wrong file in
    its place.
    """
    file = folder / source.file
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
        for url in (*(f"{base.rstrip('/')}/{source.file}" for base in mirrors), *source.urls):
            try:
                remote = _resolve(url, timeout)
                _download(remote, part, timeout, report)
                _move_verified(part, file, source, remote)
            except DownloadError as reason:
                reasons.append(f"{url}: {reason}")
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise UserError(
                    f"The disk of {part.parent} is full: {part.name} has {_size(part):,} bytes so far. "
                    "Make room and run again: the download resumes."
                ) from None
            else:
                return file
    raise DownloadError("; ".join(reasons))


def _resolve(url: str, timeout: float) -> _Remote:
    """Return the HTTP address of `url`; on the hub pinned to a commit, with the checksum given there."""
    hub = _HUB.fullmatch(url)
    if hub is None:
        return _Remote(url)
    endpoint = get_endpoint()

    def address(revision: str) -> str:
        return hf_hub_url(
            hub["repo"], hub["path"], repo_type="dataset", revision=revision, endpoint=endpoint
        )

    try:
        metadata = get_hf_file_metadata(
            address(hub["revision"]), timeout=timeout, endpoint=endpoint, retry_on_errors=True
        )
    except (httpx2.HTTPError, EntryNotFoundError, ConnectionError) as error:
        raise DownloadError(_first_line(error)) from None
    # The hub's tag of a large file is the SHA-256 of its content; that of a small one is git's own.
    sha256 = metadata.etag if metadata.etag and _SHA256.fullmatch(metadata.etag) else None
    commit = metadata.commit_hash or hub["revision"]
    return _Remote(address(commit), build_hf_headers(), sha256, commit)


def _download(remote: _Remote, part: Path, timeout: float, report: Report) -> None:
    """Complete `part`, over as many connections as it takes while each brings new bytes."""
    failures = 0
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        while True:
            before = _size(part)
            report(before, None)
            try:
                return _continue(client, remote, part, timeout, report)
            except httpx2.HTTPStatusError as error:
                code = error.response.status_code
                reason = f"the server answers {code}"
                if code < 500 and code not in (408, 416, 429):
                    raise DownloadError(reason) from None
            except httpx2.TimeoutException:
                reason = f"nothing came for {timeout:g} s"
            except httpx2.HTTPError as error:
                reason = f"the connection broke ({_first_line(error)})"
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _TRIES:
                raise DownloadError(f"{reason}, {failures} times without a new byte")
            time.sleep(PAUSE * 2 ** (failures - 1))


def _continue(
    client: httpx2.Client, remote: _Remote, part: Path, timeout: float, report: Report
) -> None:
    """Download the rest of `part` over one connection; all of it if the file on the server has changed."""
    state_file = add_suffix(part, ".json")
    state = read_json(state_file) if state_file.exists() else {}
    size = _size(part) if state.get("url") == remote.url and state.get("validator") else 0
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
            write_json(state_file, {"url": remote.url, "validator": _get_validator(answer)})
        length = answer.headers.get("Content-Length")
        total = size + int(length) if length else None
        window_start, window_size = time.monotonic(), size
        with part.open("ab" if size else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                file.flush()  # kept even if the process is killed
                size += len(chunk)
                report(size, total)
                if time.monotonic() > window_start + timeout:
                    if size < window_size + _MIN_SPEED * timeout:
                        raise DownloadError(
                            f"it sent {size - window_size:,} bytes in {timeout:g} s"
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
        verify(part, file, source, url=remote.url, revision=remote.revision, sha256=remote.sha256)
    except DownloadError:
        _discard(part)
        raise
    part.replace(file)
    add_suffix(part, ".json").unlink(missing_ok=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    add_suffix(part, ".json").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
