"""Downloads that go on where they stopped, and files that are whole or not there.

A file is written beside its place as `.part` and moved there when it is found to be what it should be.

huggingface_hub resolves addresses on the hub (revision, checksum, token); its own download starts a
file anew after a killed process, so the bytes come by the same way as all others.
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
from vlmscale.data.llava.verify import DownloadError, add_suffix, is_verified, verify, write_record
from vlmscale.errors import UserError
from vlmscale.records.files import read_json, write_json
from vlmscale.records.locks import acquire_lock

_TRIES = 5  # in a row without a single new byte, then the next address
_PAUSE = 2.0  # seconds before the second try; doubled before each further one
_SLOWEST = 10_000  # bytes a second over a time-out; a slower server is left for the next mirror
_HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)@(?P<revision>[^/]+)/(?P<path>.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Stopped(Exception):
    """Another download failed in a way that ends them all."""


@dataclass(frozen=True)
class _Remote:
    """Where a file is: `sha256` and `revision` if the hub has told them."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    revision: str | None = None


def count_missing_bytes(source: Source, folder: Path) -> float:
    """About how much of a file is still to be downloaded."""
    file = folder / source.file
    if file.exists():
        return 0.0
    return max(0.0, source.gigabytes * 1e9 - _size(add_suffix(file, ".part")))


def download_all(
    sources: Sequence[Source],
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    at_once: int = 4,
    timeout: float = 60.0,
) -> dict[Source, str]:
    """Have every file of `sources` whole below `folder`; what could not be had, with the reasons.

    `mirrors` are addresses of folders laid out like `folder`, tried first. `timeout` is in seconds, for a
    connection and for the next bytes. Raises UserError when the disk is full.
    """
    failed, stop = {}, threading.Event()

    def one(source: Source, tell: Report) -> str | None:
        def count(done: float, total: float | None) -> None:
            if stop.is_set():
                raise _Stopped
            tell(done, total)

        try:
            download_file(source, folder, mirrors, timeout, count)
        except DownloadError as reasons:
            return str(reasons)
        return None

    with (
        show_progress(DownloadColumn(), TransferSpeedColumn()) as bar,
        ThreadPoolExecutor(at_once) as pool,
    ):
        jobs = {pool.submit(one, source, bar(source.file)): source for source in sources}
        try:
            for job in as_completed(jobs):
                reasons = job.result()
                if reasons is not None:
                    failed[jobs[job]] = reasons
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
    count: Report = lambda done, total: None,
) -> Path:
    """The file of `source`, downloaded if need be. See `fetch_all`; raises Unusable with the reasons."""
    file = folder / source.file
    if is_verified(source, folder):
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        return _accept_own(source, file)
    part, reasons = add_suffix(file, ".part"), []
    busy = f"{part} is being written by another process. Wait for it."
    with acquire_lock(add_suffix(part, ".lock"), busy):
        if is_verified(source, folder):
            return file  # another process has just brought it
        for url in (*(f"{base.rstrip('/')}/{source.file}" for base in mirrors), *source.urls):
            try:
                remote = _resolve(url, timeout)
                _download(remote, part, timeout, count)
                _settle(part, file, source, remote)
            except DownloadError as reason:
                reasons.append(f"{url}: {reason}")
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise UserError(_full(part)) from None
                raise
            else:
                return file
    raise DownloadError("; ".join(reasons))


def _resolve(url: str, timeout: float) -> _Remote:
    """The plain address of `url`; for the hub pinned to one commit, with the checksum it promises."""
    hub = _HUB.fullmatch(url)
    if hub is None:
        return _Remote(url)

    def address(revision: str) -> str:
        return hf_hub_url(
            hub["repo"],
            hub["path"],
            repo_type="dataset",
            revision=revision,
            endpoint=get_endpoint(),
        )

    try:
        found = get_hf_file_metadata(
            address(hub["revision"]), timeout=timeout, endpoint=get_endpoint(), retry_on_errors=True
        )
    except (httpx2.HTTPError, EntryNotFoundError, ConnectionError) as error:
        raise DownloadError(_first_line(error)) from None
    # The hub's tag of a large file is the SHA-256 of its content; that of a small one is git's own.
    promised = found.etag if found.etag and _SHA256.fullmatch(found.etag) else None
    commit = found.commit_hash or hub["revision"]
    return _Remote(address(commit), build_hf_headers(), promised, commit)


def _download(remote: _Remote, part: Path, timeout: float, count: Report) -> None:
    """Bring `part` to its full length, over as many connections as it takes."""
    failures = 0
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        while True:
            before = _size(part)
            count(before, None)
            try:
                return _continue(client, remote, part, timeout, count)
            except httpx2.HTTPStatusError as error:
                code = error.response.status_code
                if code < 500 and code not in (408, 416, 429):
                    raise DownloadError(f"the server answers {code}") from None
                reason = f"the server answers {code}"
            except httpx2.TimeoutException:
                reason = f"nothing came for {timeout:g} s"
            except httpx2.HTTPError as error:
                reason = f"the connection broke ({_first_line(error)})"
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _TRIES:
                raise DownloadError(f"{reason}, {failures} times without a new byte")
            time.sleep(_PAUSE * 2 ** (failures - 1))


def _continue(
    client: httpx2.Client, remote: _Remote, part: Path, timeout: float, count: Report
) -> None:
    """One connection. The server is asked for the rest only of a file that it has not changed since."""
    state_file = add_suffix(part, ".json")
    state = read_json(state_file) if state_file.exists() else {}
    have = _size(part) if state.get("url") == remote.url and state.get("validator") else 0
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state["validator"]}
    with client.stream("GET", remote.url, headers=headers) as answer:
        if answer.status_code == 416:
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it was there
            _discard(part)  # the server has another file by now: from the start
        answer.raise_for_status()
        if answer.status_code == 206:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise DownloadError("the server sends another part than the one asked for")
        else:
            have = 0
            write_json(state_file, {"url": remote.url, "validator": _validator(answer)})
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        since, then = time.monotonic(), have
        with part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                file.flush()  # kept even if the process is killed
                have += len(chunk)
                count(have, total)
                if time.monotonic() > since + timeout:
                    if have < then + _SLOWEST * timeout:
                        raise DownloadError(f"it sent {have - then:,} bytes in {timeout:g} s")
                    since, then = time.monotonic(), have
            os.fsync(file.fileno())


def _validator(answer: httpx2.Response) -> str | None:
    """What tells this version of a file from others: a strong entity tag, else the date."""
    tag = answer.headers.get("ETag")
    if tag is None or tag.startswith("W/"):
        return answer.headers.get("Last-Modified")
    return str(tag)


def _settle(part: Path, file: Path, source: Source, remote: _Remote) -> None:
    """Move a download into its place if it is what it should be; throw it away if not."""
    try:
        found = verify(part, file, source, remote.sha256)
    except DownloadError:
        _discard(part)
        raise
    write_record(file, found, remote.url, remote.revision)
    part.replace(file)
    add_suffix(part, ".json").unlink(missing_ok=True)


def _accept_own(source: Source, file: Path) -> Path:
    """A file that somebody put there: taken if it is what a download would have to be."""
    try:
        found = verify(file, file, source, None)
    except DownloadError as reason:
        raise UserError(f"{file} cannot be used: {reason}. Remove or replace it.") from None
    write_record(file, found, None, None)
    return file


def _full(part: Path) -> str:
    return (
        f"The disk of {part.parent} is full: {part.name} has {_size(part):,} bytes so far. "
        "Make room and run again: the download goes on from there."
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    add_suffix(part, ".json").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
