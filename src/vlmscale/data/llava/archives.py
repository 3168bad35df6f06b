"""Images read in place: from zip archives, which are never unpacked to disk, and from your own files."""

import stat
import unicodedata
import zipfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from vlmscale.errors import UserError
from vlmscale.images import UnreadableImage

MAX_FILES = 2_000_000  # in one archive; the largest of ours has 558,128
MAX_IMAGE_BYTES = 64 * 2**20
_MAX_EXPANSION = 20  # times an archive's own size; images are compressed already


# Unlike the others these unpack step by step, so that no member gives more bytes than it announces.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHER_METHODS = {
    9: "deflate64",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "LZMA",
    93: "zstandard",
}
_ACCENTS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")


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
    problem: str = ""  # why it cannot be used

    def read(self) -> bytes:
        """Return the image file's content. Raises UnreadableImage."""
        if self.problem:
            raise UnreadableImage(self.problem)
        if self.size > MAX_IMAGE_BYTES:
            raise UnreadableImage(f"too large ({self.size:,} bytes)")
        try:
            if self.entry is None:
                return self.file.read_bytes()
            with _Archive(self.file) as archive, archive.open(self.entry) as member:
                content = member.read(self.size + 1)  # at its end zipfile compares the checksum
        except OSError as error:
            raise UnreadableImage(f"not readable ({error.strerror})") from None
        except Exception:  # zipfile raises whatever it meets in a damaged archive
            content = b""
        if len(content) != self.size:
            raise UnreadableImage("damaged in its archive")
        return content


def find_own_images(folder: Path, paths: Iterable[str]) -> dict[str, StoredImage]:
    """Return those of `paths` that are files below `folder`."""
    images: dict[str, StoredImage] = {}
    for path in filter(is_inside, paths if folder.exists() else ()):
        # File systems keep accents as they came, composed or decomposed.
        for name in (path, *(unicodedata.normalize(form, path) for form in _ACCENTS)):
            with suppress(OSError, ValueError):  # no such file, or a name that no file can have
                status = (folder / name).stat()
                if stat.S_ISREG(status.st_mode):
                    images[path] = StoredImage(folder / name, status.st_size, status.st_mtime_ns)
                    break
    return images


def find_archived_images(
    archive: Path, folder: str, paths: Collection[str]
) -> dict[str, StoredImage]:
    """Return those of `paths`, all in `folder`, that the archive holds.

    Matches file names without extension, in any folder of the archive: mirrors pack images differently,
    and the records call a GIF .jpg. Of several different members those with the record's folders come
    first, then those with its extension; if that leaves several, none can be used. Raises UserError for an
    archive that is damaged or holds what no archive of images holds.
    """
    prefix = "" if folder == "." else f"{folder}/"
    wanted = {_get_stem(path) for path in paths}
    members: dict[str, list[zipfile.ZipInfo]] = {}
    for info in _read_index(archive):
        stem = _get_stem(info.filename)
        if stem in wanted and not info.is_dir():
            members.setdefault(stem, []).append(info)
    return {
        path: _choose_member(archive, path.removeprefix(prefix), members[_get_stem(path)])
        for path in paths
        if _get_stem(path) in members
    }


def _choose_member(archive: Path, path: str, candidates: Sequence[zipfile.ZipInfo]) -> StoredImage:
    tail = PurePosixPath("/", unicodedata.normalize("NFC", path))

    def rank(info: zipfile.ZipInfo) -> tuple[bool, bool]:
        name = PurePosixPath("/", unicodedata.normalize("NFC", info.filename))
        in_folder = str(name.with_suffix("")).endswith(str(tail.with_suffix("")))
        return not in_folder, name.suffix != tail.suffix

    best = min(map(rank, candidates))
    chosen = sorted((c for c in candidates if rank(c) == best), key=lambda info: info.filename)
    if len({(info.file_size, info.CRC) for info in chosen}) > 1:
        names = ", ".join(info.filename for info in chosen[:3])
        return StoredImage(archive, 0, 0, problem=f"one of several in its archive ({names})")
    return StoredImage(archive, chosen[0].file_size, chosen[0].CRC, chosen[0])


def _get_stem(path: str) -> str:
    return PurePosixPath(unicodedata.normalize("NFC", path)).stem


def is_inside(path: str) -> bool:
    """Return whether a relative path stays below the folder it starts from."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return bool(parts) and path[0] != "/" and ".." not in parts and "\\" not in path


def _read_index(archive: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as file:
            index = file.infolist()
    except OSError as error:
        raise UserError(f"{archive} cannot be read: {error.strerror}") from None
    except Exception as error:  # zipfile raises whatever it meets in a damaged archive
        raise UserError(
            f"{archive} is damaged ({error}). Delete it and run again to download it anew."
        ) from None
    for info in index:
        if info.compress_type not in _METHODS:
            method = _OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise UserError(
                f"{archive} compresses {info.filename!r} by {method}, which could unpack without bound. "
                "Pack the images anew by zip -0 (they are compressed already), or use another mirror."
            )
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
