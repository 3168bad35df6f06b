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
    """Reads single members without the index, which has half a million entries for every image read."""

    def _RealGetContents(self) -> None:
        pass


@dataclass(frozen=True)
class ArchivedImage:
    """An image in a zip archive."""

    archive: Path
    info: zipfile.ZipInfo

    @property
    def size(self) -> int:
        return self.info.file_size

    @property
    def identity(self) -> tuple[int, int]:
        return self.size, self.info.CRC

    def read(self) -> bytes:
        """Return the file's content. Raises UnreadableImage if it differs from the archive's index."""
        _check_size(self.size)
        try:
            with _Archive(self.archive) as archive, archive.open(self.info) as file:
                content = file.read(self.size + 1)  # zipfile compares the checksum at the end
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
            raise UnreadableImage("damaged in its archive") from None
        if len(content) != self.size:
            raise UnreadableImage("damaged in its archive")
        return content


@dataclass(frozen=True)
class OwnImage:
    """An image file that the user put into the folder of own images."""

    file: Path
    size: int
    modified: int  # nanoseconds

    @property
    def identity(self) -> tuple[int, int]:
        return self.size, self.modified

    def read(self) -> bytes:
        """Return the file's content. Raises UnreadableImage."""
        _check_size(self.size)
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise UnreadableImage(f"not readable ({error.strerror})") from None


StoredImage = ArchivedImage | OwnImage


def find_own_images(folder: Path, paths: Iterable[str]) -> dict[str, StoredImage]:
    """Return those of `paths` that are files below `folder`."""
    images: dict[str, StoredImage] = {}
    for path in paths if folder.exists() else ():
        file = folder / path
        if is_inside(path) and file.is_file():
            status = file.stat()
            images[path] = OwnImage(file, status.st_size, status.st_mtime_ns)
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
            images[path] = ArchivedImage(archive, info)
    return images


def is_inside(path: str) -> bool:
    """Return whether a relative path stays below the folder it starts from."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path


def _check_size(size: int) -> None:
    if size > MAX_IMAGE_BYTES:
        raise UnreadableImage(f"too large ({size:,} bytes)")


def _read_index(archive: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as file:
            index = file.infolist()
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
