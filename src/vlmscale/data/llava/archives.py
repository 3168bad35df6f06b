"""Images read in place: from zip archives, which are never unpacked to disk, and from your own files."""

import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlmscale.errors import UserError

MAX_FILES = 2_000_000  # in one archive; the largest of ours has 558,128
MAX_IMAGE_BYTES = 64 * 2**20
_MAX_EXPANSION = 20  # times an archive's own size; images are compressed already


class UnreadableImage(Exception):
    """The bytes of an image cannot be read; the message says why."""


class _Archive(zipfile.ZipFile):
    """Reads single members without the index, whose half a million entries ZipFile reads when it opens."""

    def _RealGetContents(self) -> None:
        pass


@dataclass(frozen=True)
class StoredImage:
    """An image in a zip archive, or one of the user's own image files."""

    file: Path  # the archive, or the image file
    size: int
    version: int  # checksum in the archive, or modification time in nanoseconds
    entry: zipfile.ZipInfo | None = None  # in the index of the archive

    def read(self) -> bytes:
        """Return the image file's content. Raises UnreadableImage."""
        if self.size > MAX_IMAGE_BYTES:
            raise UnreadableImage(f"too large ({self.size:,} bytes)")
        if self.entry is None:
            try:
                return self.file.read_bytes()
            except OSError as error:
                raise UnreadableImage(f"not readable ({error.strerror})") from None
        try:
            with _Archive(self.file) as archive, archive.open(self.entry) as member:
                content = member.read(self.size + 1)  # at its end zipfile compares the checksum
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
            content = b""
        if len(content) != self.size:
            raise UnreadableImage("damaged in its archive")
        return content


def find_own_images(folder: Path, paths: Iterable[str]) -> dict[str, StoredImage]:
    """Return those of `paths` that are files below `folder`."""
    images: dict[str, StoredImage] = {}
    for path in paths if folder.exists() else ():
        file = folder / path
        if is_inside(path) and file.is_file():
            status = file.stat()
            images[path] = StoredImage(file, status.st_size, status.st_mtime_ns)
    return images


def find_archived_images(
    archive: Path, folder: str, paths: Collection[str]
) -> dict[str, StoredImage]:
    """Return those of `paths`, all in `folder`, that the archive holds.

    Matches file names without extension, in any folder of the archive: mirrors pack images differently,
    and the records call a GIF .jpg. Raises UserError for an archive that is damaged or holds what no
    archive of images holds.
    """
    prefix = "" if folder == "." else f"{folder}/"
    wanted = {PurePosixPath(path).stem for path in paths}
    members: dict[str, list[zipfile.ZipInfo]] = {}
    for info in _read_index(archive):
        stem = PurePosixPath(info.filename).stem
        if stem in wanted and not info.is_dir():
            members.setdefault(stem, []).append(info)
    images: dict[str, StoredImage] = {}
    for path in paths:
        if candidates := members.get(PurePosixPath(path).stem):
            # Of several, prefer the one with the record's folders and extension.
            tail = f"/{path.removeprefix(prefix)}"
            info = min(candidates, key=lambda i: (not f"/{i.filename}".endswith(tail), i.filename))
            images[path] = StoredImage(archive, info.file_size, info.CRC, info)
    return images


def is_inside(path: str) -> bool:
    """Return whether a relative path stays below the folder it starts from."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return bool(parts) and path[0] != "/" and ".." not in parts and "\\" not in path


def _read_index(archive: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as file:
            index = file.infolist()
    # NotImplementedError: a compression or zip version that zipfile does not read.
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{archive} is damaged ({error}). Delete it and run again to download it anew."
        ) from None
    if objection := _find_objection(index, archive.stat().st_size):
        raise UserError(
            f"{archive} holds {objection}: it is not the archive it should be. "
            "Delete it and run again; use another mirror if the error comes back."
        )
    return index


def _find_objection(index: list[zipfile.ZipInfo], archive_bytes: int) -> str | None:
    """Return what an archive of images must not hold, or None."""
    if len(index) > MAX_FILES:
        return f"{len(index):,} files, more than {MAX_FILES:,}"
    if sum(info.file_size for info in index) > _MAX_EXPANSION * archive_bytes:
        return f"files that unpack to more than {_MAX_EXPANSION} times its own size"
    for info in index:
        if not is_inside(info.filename):
            return f"a path that leads outside, {info.filename!r}"
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            return f"a link or device, {info.filename!r}"
    return None
